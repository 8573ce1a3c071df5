"""Classify every photo in a folder, as CSV on standard output.

python examples/predict_folder.py pets.keras photos/new > predictions.csv
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # set before the import: no message about missing GPUs

import transferkit as tk


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Classify every photo in a folder; prints CSV.")
    parser.add_argument("classifier", type=Path, help="a file that TransferClassifier.save wrote")
    parser.add_argument("folder", type=Path, help="photos, in this folder or in folders below it")
    args = parser.parse_args(arguments)

    clf = tk.TransferClassifier.load(args.classifier)
    table = csv.writer(sys.stdout)
    table.writerow(["path", "label", "confidence"])
    for prediction in clf.predict(args.folder):
        table.writerow([prediction.path, prediction.label, f"{prediction.confidence:.4f}"])


if __name__ == "__main__":
    main()
