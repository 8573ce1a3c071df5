"""The page of an evaluation of 1,250 photos: how long it takes to write, and how large it is.

    python benchmarks/html_report.py

The time is that of `Evaluation.html` alone.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from sides import MOBILENET, folder_of, timed

import transferkit as tk


def main() -> None:
    photos = folder_of("flowers_large")
    clf = tk.TransferClassifier("MobileNetV2", weights=str(MOBILENET), seed=0).fit(photos / "train", verbose=0)
    evaluation = clf.evaluate(photos / "test", verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        seconds, _ = timed(lambda: evaluation.html(page))
        print(f"{len(evaluation.labels):,} photos: {seconds:.2f} s, {page.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
