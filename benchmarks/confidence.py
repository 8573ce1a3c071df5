"""Does confidence mean something: calibration, coverage, typicality of strange photos, and labels that were exchanged.

    python benchmarks/confidence.py [--backbone MobileNetV2] [--rounds 5] [--tune]

Each classifier is fitted on the training photos with no arguments and measured on all test photos. The calibration error
(15 bins) is the mean of the rounds, which divide the photos into other folds; the first figure is that of the same heads
with their logits multiplied by the temperature that `fit` divided them by. `--tune` also fine-tunes TransferKitTiny, which
takes minutes. Standard errors are those of the test photos, by 200 bootstrap draws; for exchanged labels, of the rounds,
which each give other 5 % of the training photos another class.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sides import MOBILENET, folder_of

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow

import transferkit as tk

CALIBRATED = ["cats_dogs", "flowers_large", "textures"]
BINS = 15
Array = np.ndarray[Any, Any]


def calibration_error(confidences: Array, right: Array) -> float:
    """The mean distance of confidence and accuracy over 15 bins of equal width (Guo et al., 2017)."""
    bins = np.minimum((confidences * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, confidences, BINS) - np.bincount(bins, right, BINS)
    return float(np.abs(gaps).sum() / len(right))


def error(figure: Callable[[Array], float], count: int) -> float:
    """The standard error of a figure of photos, by bootstrap."""
    draws = np.random.default_rng(0).integers(0, count, (200, count))
    return float(np.std([figure(draw) for draw in draws], ddof=1))


def classifier(data: str, backbone: str, seed: int = 0) -> tk.TransferClassifier:
    weights = MOBILENET if backbone == "MobileNetV2" else "pretrained"
    return tk.TransferClassifier(backbone, weights=weights, seed=seed).fit(folder_of(data) / "train", verbose=0)


def confidences(clf: tk.TransferClassifier, data: str, factor: float) -> Array:
    """Of the test photos, with the logits multiplied by a factor."""
    logits = factor * clf.decision_function(folder_of(data) / "test", verbose=0)
    if logits.ndim == 1:
        logits = np.stack([-logits / 2, logits / 2], axis=1)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares.max(axis=1) / shares.sum(axis=1))


def calibration(classifiers: list[tk.TransferClassifier], data: str) -> None:
    test, sides, temperatures = folder_of(data) / "test", [], []
    for clf in classifiers:
        evaluation = clf.evaluate(test, verbose=0)
        right, temperature = evaluation.labels == evaluation.predictions.labels, clf.history_.phases[-1].temperature
        sides.append((right, confidences(clf, data, temperature), confidences(clf, data, 1.0)))
        temperatures.append(temperature)

    def errors(rows: Array) -> Array:
        return np.mean(
            [[calibration_error(side[rows], right[rows]) for side in both] for right, *both in sides], axis=0
        )

    def gain(rows: Array) -> float:
        return float(np.subtract(*errors(rows)))

    def gained(rows: Array) -> float:
        right, _, sure = (side[rows] for side in sides[0])
        best = np.argsort(-sure, kind="stable")[: round(0.9 * len(rows))]
        return float(right[best].mean() - right.mean())

    everything = np.arange(len(sides[0][0]))
    before, after = errors(everything)
    print(
        f"{data}, {classifiers[0].history_.phases[-1].name}: calibration error {before:.4f} -> {after:.4f}, gain "
        f"{before - after:+.4f}, standard error {error(gain, len(everything)):.4f}; temperatures "
        f"{', '.join(f'{temperature:.2f}' for temperature in temperatures)}"
    )
    coverage = classifiers[0].coverage(test, verbose=0)
    whole, surest = coverage.at(1), coverage.at(0.9)
    print(
        f"  accuracy {whole:.4f}, at 90 % coverage {surest:.4f}: {surest - whole:+.4f}, "
        f"standard error {error(gained, len(everything)):.4f}"
    )


def typicality(clf: tk.TransferClassifier, others: list[str]) -> None:
    from sklearn.metrics import roc_auc_score

    usual = clf.predict(folder_of("flowers_large") / "test", verbose=0).typicalities
    below = 100 * (usual < 0.05).mean()
    print(f"flowers_large: mean typicality of test photos {usual.mean():.3f}, {below:.1f} % are below 0.05")
    for other in others:
        strange = clf.predict(folder_of(other) / "test", verbose=0).typicalities
        values, is_usual = np.concatenate([usual, strange]), np.repeat([True, False], [len(usual), len(strange)])

        def area(rows: Array, values: Array = values, is_usual: Array = is_usual) -> float:
            return float(roc_auc_score(is_usual[rows], values[rows]))

        whole, spread = area(np.arange(len(values))), error(area, len(values))
        print(f"  photos of {other}: AUROC {whole:.4f}, standard error {spread:.4f}, median {np.median(strange):.3f}")


def exchanged(data: str, backbone: str, rounds: int) -> None:
    folder = folder_of(data) / "train"
    paths = [str(path) for path in sorted(folder.glob("*/*")) if path.is_file()]
    true, figures = np.array([Path(path).parent.name for path in paths]), []
    weights = MOBILENET if backbone == "MobileNetV2" else "pretrained"
    for number in range(rounds):
        random, labels = np.random.default_rng(number), true.copy()
        wrong = random.permutation(len(paths))[: round(0.05 * len(paths))]
        for row in wrong:
            labels[row] = random.choice([name for name in np.unique(true) if name != true[row]])
        clf = tk.TransferClassifier(backbone, weights=weights, seed=number).fit(paths, labels, verbose=0)
        exchanged_paths = {paths[row] for row in wrong}
        is_wrong = [one.path in exchanged_paths for one in clf.suspicious_labels(max(25, len(wrong)), verbose=0)]
        listed = [one.path in exchanged_paths for one in clf.suspicious_labels(verbose=0)]
        figures.append(
            [np.mean(is_wrong[:25]), np.sum(is_wrong[: len(wrong)]) / len(wrong), len(listed), np.mean(listed)]
        )
    means, errors = np.mean(figures, axis=0), np.std(figures, axis=0, ddof=1) / np.sqrt(rounds)
    print(f"{data}, 5 % of labels exchanged, {rounds} rounds")
    for name, mean, spread in zip(
        ("precision of the first 25", "recall at 5 %", "listed without n", "precision of these"),
        means,
        errors,
        strict=True,
    ):
        print(f"  {name} {mean:.3f}, standard error {spread:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tune", action="store_true")
    asked = parser.parse_args()
    for data in CALIBRATED:
        calibration([classifier(data, asked.backbone, seed) for seed in range(asked.rounds)], data)
    typicality(classifier("flowers_large", asked.backbone), ["textures", "cats_dogs", "cifar10_large"])
    for data in ("flowers_large", "cats_dogs", "textures", "cifar10_large"):
        exchanged(data, asked.backbone, asked.rounds)
    if asked.tune:
        clf = classifier("cifar10_large", "TransferKitTiny")
        calibration([clf], "cifar10_large")
        calibration([clf.fine_tune(verbose=0)], "cifar10_large")


if __name__ == "__main__":
    main()
