"""What `fit(unlabelled=...)` gains: few labelled photos of a class, the other training photos without their labels.

    python benchmarks/unlabelled.py [--draws 5]

Prints accuracy on the test photos with and without the unlabelled photos, both from `fit` with its defaults, and the mean
difference over the draws with its standard error. The last column tells in how many draws they were used.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sides import ASSETS

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow

import transferkit as tk

WEIGHTS = "weights/mobilenet_v2_1.0_224_imagenet_notop.weights.h5"


def main(shared: Path, draws: int) -> None:
    print(f"{'set':14} {'labels a class':>14} {'without':>8} {'gain':>6} {'+-':>5} {'used':>5}")
    for name in ("flowers_large", "textures", "cifar10_large", "cats_dogs"):
        for count in (4, 10):
            compare(shared, name, count, draws)


def compare(shared: Path, name: str, count: int, draws: int) -> None:
    files = np.array(sorted(path for path in (shared / "data" / name / "train").rglob("*.*")))
    labels = np.array([path.parent.name for path in files])
    rows = []
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(files))
        chosen = np.concatenate([order[labels[order] == label][:count] for label in np.unique(labels)])
        others = np.setdiff1d(np.arange(len(files)), chosen)
        accuracies = []
        for unlabelled in (None, list(files[others])):
            clf = tk.TransferClassifier("MobileNetV2", weights=shared / WEIGHTS, seed=draw)
            clf.fit(list(files[chosen]), labels[chosen], unlabelled=unlabelled, verbose=0)
            accuracies.append(100 * clf.score(shared / "data" / name / "test"))
        selection = clf.history_.phases[0].selection
        rows.append((*accuracies, selection is not None and selection.kept == "unlabelled"))
    without, with_them, used = np.array(rows, float).T
    gains = with_them - without
    error = gains.std(ddof=1) / np.sqrt(draws)
    print(
        f"{name:14} {count:14} {without.mean():8.1f} {gains.mean():+6.1f} {error:5.1f} {int(used.sum()):3}/{draws}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=5)
    main(ASSETS, parser.parse_args().draws)
