"""Accuracy of `fit` with each `resize` rule: what it matters that photos are squashed, cropped or padded.

    python benchmarks/resizing.py [--sets flowers_large textures] [--sizes 20 all] [--draws 5]

Each draw takes so many training photos of each class, as in accuracy.py; all test photos are used. Differences from "squash"
are in points of accuracy, with two standard errors: over the draws, paired by draw, and over the test photos, paired by
photo. The first says what other training photos would change, the second what other test photos would; with all photos there
is one draw. "not square" counts only the test photos whose sides differ by more than a tenth.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from accuracy import draw
from sides import MOBILENET, folder_of

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow
import numpy.typing as npt
from PIL import Image

import transferkit as tk

RULES = ("squash", "crop", "pad")


def right_answers(rule: Any, photos: tuple[list[str], list[str]], seed: int, test: list[str]) -> npt.NDArray[np.bool_]:
    """Which of the test photos are answered right."""
    clf = tk.TransferClassifier("MobileNetV2", weights=MOBILENET, resize=rule, seed=seed)
    predictions = clf.fit(*photos, verbose=0).predict(test, verbose=0)
    return np.array([one.label == Path(path).parent.name for one, path in zip(predictions, test, strict=True)])


def is_long(path: str) -> bool:
    with Image.open(path) as image:
        return max(image.size) > 1.1 * min(image.size)


def gain(found: npt.NDArray[np.bool_], squashed: npt.NDArray[np.bool_]) -> str:
    """Of arrays (draws, test photos): the mean difference and its two standard errors."""
    differences = 100 * (found.astype(float) - squashed)
    return f"{differences.mean():+.2f} {error(differences.mean(axis=1))} {error(differences.mean(axis=0))}"


def error(values: npt.NDArray[np.float64]) -> str:
    return f"±{values.std(ddof=1) / math.sqrt(len(values)):.2f}" if len(values) > 1 else "-"


def compare(data: str, size: int | None, draws: int) -> None:
    """The rows of a set and a number of training photos."""
    test = sorted(str(path) for path in (folder_of(data) / "test").rglob("*") if path.is_file())
    long = np.array([is_long(path) for path in test])
    drawn = [(draw(data, size, number), number) for number in range(draws)]
    right = {rule: np.stack([right_answers(rule, *one, test) for one in drawn]) for rule in RULES}
    for rule, found in right.items():
        gains = [gain(found, right["squash"]), gain(found[:, long], right["squash"][:, long])]
        shown = (
            f"{gains[0]:>20} {gains[1]:>20}" if rule != "squash" else f"{'':20} {int(long.sum()):>12} of {len(long)}"
        )
        print(f"{data:14} {size or 'all':>7} {rule:7} {100 * found.mean():8.2f} {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["flowers_large", "textures"])
    parser.add_argument("--sizes", nargs="+", default=["20", "all"])
    parser.add_argument("--draws", type=int, default=5)
    asked = parser.parse_args()
    print(f"{'set':14} {'a class':>7} {'rule':7} {'accuracy':>8} {'- squash':>20} {'of not square':>20}")
    for data in asked.sets:
        for size in asked.sizes:
            compare(data, None if size == "all" else int(size), 1 if size == "all" else asked.draws)


if __name__ == "__main__":
    main()
