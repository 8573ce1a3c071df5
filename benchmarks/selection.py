"""How `fine_tune` chooses: from one or two short runs or from five whole ones, and among three points or two.

    python benchmarks/selection.py [--backbone MobileNetV2_0.35] [--size 96] [--sets ...] [--images 5 10 20 50] [--draws 2]
                                   [--rules default thorough ...]

All rules start from the same `fit` on the same photos: "default" is that of the library, "thorough" measures in all five
folds, by runs as long as the one that is kept, and "two points" does without the one three quarters of the way. What differs
is the choice alone: the run on all photos is the same. Gains are on the test photos, in points of accuracy and in loss,
against `fit`.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from typing import Any
from unittest import mock

from accuracy import SETS, draw
from sides import ASSETS, folder_of

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow

import transferkit as tk
from transferkit.training import tuning

WEIGHTS = {"MobileNetV2": "1.0", "MobileNetV2_0.35": "0.35"}
# What each rule changes in `tuning`.
RULES: dict[str, dict[str, Any]] = {
    "default": {},
    "thorough": {"runs_for": lambda count: 5, "fold_epochs": lambda epochs: epochs},
    "two points": {"SHARES": {name: share for name, share in tuning.SHARES.items() if name != "three-quarters"}},
}


def measure(make: Any, photos: Any, test: Any, rules: list[str]) -> dict[str, tuple[str, float, float, float]]:
    """For each rule what was kept, the gain in points and in loss, and the seconds of `fine_tune`."""
    found = {}
    for name in rules:
        clf = make().fit(*photos, verbose=0)
        before = clf.evaluate(test, verbose=0)
        started = time.perf_counter()
        with ExitStack() as patched:
            for attribute, value in RULES[name].items():
                patched.enter_context(mock.patch.object(tuning, attribute, value))
            clf.fine_tune(verbose=0)
        seconds = time.perf_counter() - started
        after = clf.evaluate(test, verbose=0)
        selection = clf.history_.phases[-1].selection
        assert selection is not None
        gain = 100 * (after.accuracy - before.accuracy)
        found[name] = (selection.kept, gain, before.loss - after.loss, seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="MobileNetV2_0.35", choices=WEIGHTS)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--images", nargs="+", type=int, default=[5, 10, 20, 50], help="a class")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=RULES, help="always name default too")
    asked = parser.parse_args()
    weights = ASSETS / "weights" / f"mobilenet_v2_{WEIGHTS[asked.backbone]}_224_imagenet_notop.weights.h5"
    rows = []
    for data in asked.sets:
        for count in asked.images:
            for number in range(asked.draws):
                photos = draw(data, count, number)

                def make(number: int = number) -> tk.TransferClassifier:
                    return tk.TransferClassifier(
                        asked.backbone, weights=weights, input_size=asked.size, seed=number, labels="single"
                    )

                rows.append(measure(make, photos, folder_of(data) / "test", asked.rules))
                shown = "   ".join(
                    f"{name}: {kept}, {gain:+.1f} points, loss {-loss:+.3f}, {seconds:.0f} s"
                    for name, (kept, gain, loss, seconds) in rows[-1].items()
                )
                print(f"{data:<14} {count:>3} {number}   {shown}", flush=True)
    for title, place in (("points of accuracy", 1), ("loss saved", 2), ("seconds", 3)):
        values = {name: np.array([row[name][place] for row in rows]) for name in asked.rules}
        for name, own in values.items():
            less = values["default"] - own
            error = less.std(ddof=1) / np.sqrt(len(rows))
            print(
                f"{title}, {name}: mean {own.mean():+.3f}, lowest {own.min():+.3f}; default is {less.mean():+.3f} "
                f"+-{error:.3f} higher"
            )
    for name in asked.rules:
        agree = sum((row["default"][0] == "before") == (row[name][0] == "before") for row in rows)
        print(f"{name}: tuned or not as by default in {agree} of {len(rows)} draws")


if __name__ == "__main__":
    main()
