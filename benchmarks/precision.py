"""`precision="bfloat16"` against `"float32"`: seconds of a cold `fit` from photos on disk, and accuracy on test photos.

    python benchmarks/precision.py [--rounds 3] [--epochs 5] [--data cats_dogs flowers_large] [--together]

The precisions run in turns in this process, with an empty cache and a new seed in each round. The difference of the
accuracies is paired, photo by photo, over the mean of the rounds; its standard error is that of the test photos. With
`--together`, one `fit` takes all photos of these sets, those of the test too, and only the seconds are measured: building and
compiling the network take the same time in both precisions, and weigh less with more photos.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from sides import MOBILENET, folder_of, in_turns, print_table, timed

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow

import transferkit as tk

PRECISIONS = ("float32", "bfloat16")


def compare(data: str, rounds: int, epochs: int) -> None:
    folder = folder_of(data)
    right: dict[str, list[np.ndarray]] = {precision: [] for precision in PRECISIONS}

    def side(precision: Any, number: int) -> Mapping[str, float]:
        clf = tk.TransferClassifier("MobileNetV2", weights=MOBILENET, precision=precision, cache=False, seed=number)
        seconds, _ = timed(lambda: clf.fit(folder / "train", epochs=epochs, verbose=0))
        evaluation = clf.evaluate(folder / "test", verbose=0)
        right[precision].append(evaluation.labels == evaluation.predictions.labels)
        return {"seconds": seconds, "accuracy": evaluation.accuracy}

    print(f"{data}, MobileNetV2 at 224 px, {epochs} epochs, {rounds} rounds")
    sides = {precision: lambda number, precision=precision: side(precision, number) for precision in PRECISIONS}
    print_table(in_turns(sides, rounds), "bfloat16")
    means = {precision: np.mean(found, axis=0) for precision, found in right.items()}
    gains = means["bfloat16"] - means["float32"]
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    print(f"  accuracy of bfloat16 minus float32: {gains.mean():+.4f}, standard error {error:.4f}, {len(gains)} photos")


def time_together(sets: list[str], rounds: int) -> None:
    photos = [path for data in sets for path in sorted(folder_of(data).glob("*/*/*"))]
    labels = [path.parent.name for path in photos]

    def side(precision: Any, number: int) -> Mapping[str, float]:
        clf = tk.TransferClassifier("MobileNetV2", weights=MOBILENET, precision=precision, cache=False, seed=number)
        return {"seconds": timed(lambda: clf.fit(photos, labels, epochs=5, verbose=0))[0]}

    print(f"{' and '.join(sets)} together, {len(photos):,} photos, MobileNetV2 at 224 px, 5 epochs, {rounds} rounds")
    sides = {precision: lambda number, precision=precision: side(precision, number) for precision in PRECISIONS}
    print_table(in_turns(sides, rounds), "bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--data", nargs="+", default=["cats_dogs", "flowers_large"])
    parser.add_argument("--together", action="store_true")
    asked = parser.parse_args()
    if asked.together:
        time_together(asked.data, asked.rounds)
        return
    for data in asked.data:
        compare(data, asked.rounds, asked.epochs)


if __name__ == "__main__":
    main()
