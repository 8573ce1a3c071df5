"""Test accuracy of `fit`, of a cross-validated logistic regression, and of `fine_tune`, with paired standard errors.

    python benchmarks/accuracy.py [--backbone MobileNetV2] [--sets flowers_large ...] [--sizes 5 20 50 all] [--draws 5]
                                  [--tune] [--json results.json]

Each draw takes so many training photos of each class, by the number of the draw; all test photos are used. What is measured
is added to the JSON file line by line, and what is there already is not measured again, so the program can be stopped and
started. Values come from the store. Differences are paired by draw; with one draw, their error is that of the test photos.

`calibration` is the calibration error after `fine_tune`, without the temperature and with it.
`regression` is scikit-learn's LogisticRegressionCV on the same features: five folds, ten strengths, by log loss.
`fit` and `fine_tune` have no arguments.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from pathlib import Path
from typing import Any

from confidence import calibration_error, confidences
from sides import MOBILENET, folder_of

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow

import transferkit as tk

SETS = ["flowers_large", "textures", "cifar10_large", "cats_dogs"]


def draw(data: str, size: int | None, number: int) -> tuple[list[str], list[str]]:
    """Paths and classes of the training photos of a draw."""
    random, paths, labels = np.random.default_rng(number), [], []
    for folder in sorted(path for path in (folder_of(data) / "train").iterdir() if path.is_dir()):
        photos = sorted(map(str, folder.iterdir()))
        chosen = [photos[index] for index in random.permutation(len(photos))[:size]]
        paths, labels = paths + chosen, labels + [folder.name] * len(chosen)
    return paths, labels


def scores(clf: tk.TransferClassifier, data: str) -> dict[str, Any]:
    """Figures on the test photos, which answers were right, and the calibration error with and without the temperature."""
    evaluation = clf.evaluate(folder_of(data) / "test", verbose=0)
    right = evaluation.labels == evaluation.predictions.labels
    unscaled = confidences(clf, data, clf.history_.phases[-1].temperature)
    return {
        "accuracy": evaluation.accuracy,
        "loss": evaluation.loss,
        "right": "".join(str(int(one)) for one in right),
        "calibration": [calibration_error(unscaled, right), evaluation.calibration_error],
    }


def regression(clf: tk.TransferClassifier, photos: tuple[list[str], list[str]], test: Path) -> dict[str, Any]:
    """What scikit-learn gives on the features of the fitted classifier."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    paths = sorted(str(path) for path in test.rglob("*") if path.is_file())
    truth = [Path(path).parent.name for path in paths]
    folds = min(5, min(photos[1].count(name) for name in set(photos[1])))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
        model = LogisticRegressionCV(Cs=np.logspace(-3.5, 1, 10), cv=splitter, scoring="neg_log_loss", max_iter=300)
        model.fit(clf.transform(photos[0], verbose=0).astype(np.float64), photos[1])
        probabilities = model.predict_proba(clf.transform(paths, verbose=0).astype(np.float64))
    right = model.classes_[probabilities.argmax(axis=1)] == np.array(truth)
    return {
        "accuracy": float(right.mean()),
        "loss": float(log_loss(truth, probabilities, labels=model.classes_)),
        "right": "".join(str(int(one)) for one in right),
    }


def measure(backbone: str, data: str, size: int | None, number: int, tune: bool) -> dict[str, Any]:
    """All figures of a draw."""
    photos, test = draw(data, size, number), folder_of(data) / "test"
    weights: Any = MOBILENET if backbone == "MobileNetV2" else "pretrained"
    clf = tk.TransferClassifier(backbone, weights=weights, seed=number)
    started = time.perf_counter()
    clf.fit(*photos, verbose=0)
    found: dict[str, Any] = {"fit": scores(clf, data) | {"seconds": time.perf_counter() - started}}
    found["regression"] = regression(clf, photos, test)
    if tune:
        started = time.perf_counter()
        clf.fine_tune(verbose=0)
        seconds = time.perf_counter() - started
        found["fine_tune"] = scores(clf, data) | {
            "seconds": seconds,
            "selection": str(clf.history_.phases[-1].selection),
        }
    return found


def difference(rows: list[dict[str, Any]], one: str, other: str) -> str:
    """The mean gain of one over the other in points of accuracy, and its standard error."""
    gains = [100 * (row[one]["accuracy"] - row[other]["accuracy"]) for row in rows]
    if len(gains) > 1:
        return f"{np.mean(gains):+.2f} +-{np.std(gains, ddof=1) / math.sqrt(len(gains)):.2f}"
    right = [np.array(list(rows[0][name]["right"]), int) for name in (one, other)]
    return f"{gains[0]:+.2f} +-{100 * np.std(right[0] - right[1], ddof=1) / math.sqrt(len(right[0])):.2f}"


def table(results: dict[str, dict[str, Any]], backbone: str) -> None:
    """A row for each set and size."""
    heads = ["draws", "fit", "- regression", "fine_tune - fit", "loss", "calibration", "s"]
    print("\n{:<14} {:>7} {:>5} {:>6} {:>15} {:>16} {:>14} {:>14} {:>5}".format("set", "a class", *heads))
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for key, found in results.items():
        used, data, size, _ = key.split("/")
        if used == backbone:
            cells.setdefault((data, size), []).append(found)
    for (data, size), rows in cells.items():
        tuned = [row for row in rows if "fine_tune" in row]
        fit = 100 * float(np.mean([row["fit"]["accuracy"] for row in rows]))
        columns = ["-", "-", "-", "-"]
        if tuned:
            losses = [np.mean([row[name]["loss"] for row in tuned]) for name in ("fit", "fine_tune")]
            seconds = np.mean([row["fine_tune"]["seconds"] for row in tuned])
            errors = np.mean([row["fine_tune"]["calibration"] for row in tuned], axis=0)
            columns = [
                difference(tuned, "fine_tune", "fit"),
                f"{losses[0]:.3f}->{losses[1]:.3f}",
                f"{errors[0]:.4f}->{errors[1]:.4f}",
                f"{seconds:.0f}",
            ]
        print(
            f"{data:<14} {size:>7} {len(rows):>5} {fit:>6.2f} {difference(rows, 'fit', 'regression'):>15} "
            f"{columns[0]:>16} {columns[1]:>14} {columns[2]:>14} {columns[3]:>5}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--sizes", nargs="+", default=["5", "20", "50", "all"])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--tune", action="store_true", help="also measure fine_tune(), which takes minutes a draw")
    parser.add_argument("--json", type=Path, default=Path("accuracy.json"))
    asked = parser.parse_args()
    lines = asked.json.read_text().splitlines() if asked.json.exists() else []
    results: dict[str, dict[str, Any]] = {}
    for line in lines:
        results.update(json.loads(line))
    for data in asked.sets:
        most = min(len(list(path.iterdir())) for path in (folder_of(data) / "train").iterdir() if path.is_dir())
        for size in asked.sizes:
            if size != "all" and int(size) >= most:
                continue
            for number in range(asked.draws):
                key = f"{asked.backbone}/{data}/{size}/{number}"
                if key in results and (not asked.tune or "fine_tune" in results[key]):
                    continue
                results[key] = measure(asked.backbone, data, None if size == "all" else int(size), number, asked.tune)
                with asked.json.open("a") as file:
                    file.write(json.dumps({key: results[key]}) + "\n")
                accuracies = {name: round(found["accuracy"], 4) for name, found in results[key].items()}
                print(key, accuracies, results[key].get("fine_tune", {}).get("selection", ""), flush=True)
    table(results, asked.backbone)


if __name__ == "__main__":
    main()
