"""TransferKitTiny: its accuracy against ImageNet and random weights, and its speed.

    python benchmarks/tiny.py [probe] [fit] [speed] [--seeds 3] [--rounds 5]

probe: logistic regression on standardized features; cross-validation on the training photos chooses its regularization.
fit: the classifier with its defaults. Both are compared with the same network with random weights, and with MobileNetV2 0.35
with the ImageNet weights for 224 px, all at 96 px. (Keras also has weights for 96 px; they are not among the test assets.)
speed: images per second from arrays, in turns, against MobileNetV2 at 224 px.
"""

from __future__ import annotations

import argparse
import os
import statistics
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from sides import ASSETS, MOBILENET, in_turns, print_table, timed

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow
import numpy.typing as npt

import transferkit as tk
from transferkit._common.console import Console
from transferkit.backbones.loading import build_with_weights
from transferkit.backbones.weights import check_weights, find_weights
from transferkit.images.decoding import Resizing, load
from transferkit.images.images import Images
from transferkit.network.extractor import FeatureExtractor
from transferkit.network.network import assemble

# It was trained on photos like those of the first three, without labels; it has not seen digits.
DATA = ("cats_dogs", "flowers", "cifar10", "mnist_png")
SIZE = (96, 96)
SMALL = ASSETS / "weights" / "mobilenet_v2_0.35_224_imagenet_notop.weights.h5"
STRENGTHS = np.logspace(-5, -1, 5)


class Side(NamedTuple):
    backbone: str
    weights: str | Path | None


OURS, RANDOM, IMAGENET = "TransferKitTiny", "random weights", "MobileNetV2_0.35"
SIDES = {
    OURS: Side("TransferKitTiny", "pretrained"),
    RANDOM: Side("TransferKitTiny", None),
    IMAGENET: Side("MobileNetV2_0.35", SMALL),
}


class Photos(NamedTuple):
    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.str_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"probe": probe, "fit": fit, "speed": speed}
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(parts)}; without one, all of them")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    if not set(asked.parts) <= set(parts):
        parser.error(f"a part is one of {', '.join(parts)}")
    wanted = asked.parts or list(parts)
    there = (ASSETS / "data").is_dir() and SMALL.is_file() and MOBILENET.is_file()
    if not there and set(wanted) != {"speed"}:
        print(f"skipped: no photos or weights in {ASSETS} (set TRANSFERKIT_TEST_ASSETS)")
        wanted = [part for part in wanted if part == "speed"]
    for part in wanted:
        parts[part](asked)


# ---- accuracy ----


def probe(asked: argparse.Namespace) -> None:
    print(f"Linear probe at 96 px, accuracy on the test photos, median of {asked.seeds} seeds")
    compare(asked.seeds, probed)


def fit(asked: argparse.Namespace) -> None:
    print(f"fit with its defaults at 96 px, accuracy on the test photos, median of {asked.seeds} seeds")
    compare(asked.seeds, fitted)


def compare(seeds: int, measure: Any) -> None:
    for data in DATA:
        scores = {name: [measure(data, side, seed) for seed in range(seeds)] for name, side in SIDES.items()}
        medians = {name: statistics.median(found) for name, found in scores.items()}
        gain = (medians[OURS] - medians[RANDOM]) / (medians[IMAGENET] - medians[RANDOM])
        shown = "   ".join(f"{name} {medians[name]:.3f} ({listed(scores[name])})" for name in SIDES)
        print(f"  {data:<10} {shown}   share of ImageNet's gain {gain:.2f}", flush=True)


def listed(scores: list[float]) -> str:
    return " ".join(f"{score:.3f}" for score in scores)


def probed(data: str, side: Side, seed: int) -> float:
    """The seed determines the random weights and the folds."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    extract = part_of(side, SIZE, seed)
    train, test = photos(data, "train"), photos(data, "test")
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    classifier = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=STRENGTHS, cv=folds, max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of options that change their defaults
        classifier.fit(features(extract, train.images), train.labels)
        return float(classifier.score(features(extract, test.images), test.labels))


def part_of(side: Side, size: tuple[int, int], seed: int) -> FeatureExtractor:
    """Images -> pooled features, as `fit` computes them."""
    record = tk.get_backbone(side.backbone)
    weights = find_weights(record, check_weights(record, side.weights, size), Console(0))
    network = assemble(record, build_with_weights(record, size, weights, seed), size, 2, 0.1, seed)
    return FeatureExtractor(network.features_model(), size, "benchmark")


def features(part: FeatureExtractor, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    chunks = [part(images[start : start + 32])[0] for start in range(0, len(images), 32)]
    return np.concatenate(chunks).reshape(len(images), -1)


def photos(data: str, split: str) -> Photos:
    paths = sorted((ASSETS / "data" / data / split).glob("*/*"))
    files = Images([*map(str, paths)])
    images = np.stack([load(files, number, Resizing(SIZE)) for number in range(len(files))])
    return Photos(images, np.array([path.parent.name for path in paths]))


def fitted(data: str, side: Side, seed: int) -> float:
    folder = ASSETS / "data" / data
    clf = tk.TransferClassifier(side.backbone, weights=side.weights, input_size=SIZE, cache=False, seed=seed)
    clf.fit(folder / "train", verbose=0)
    return float(clf.evaluate(folder / "test", verbose=0).accuracy)


# ---- speed ----


def speed(asked: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    sides: dict[str, Any] = {}
    for name, side in (("TransferKitTiny", Side("TransferKitTiny", None)), ("MobileNetV2", Side("MobileNetV2", None))):
        size = tk.get_backbone(side.backbone).input_size(None)
        images = rng.uniform(0, 255, (256, *size, 3)).astype(np.float32)
        part = part_of(side, size, 0)
        record = tk.get_backbone(side.backbone)
        model = assemble(record, record.build(size), size, 2, 0.1, 0).features_model()
        sides[f"{name} at {size[0]} px, frozen part"] = rate(lambda x=images, part=part: features(part, x), len(images))
        sides[f"{name} at {size[0]} px, Model.predict"] = rate(
            lambda x=images, model=model: model.predict(x, batch_size=32, verbose=0), len(images)
        )
    print(f"Images/s from arrays of float32, {os.cpu_count()} cores, {asked.rounds} rounds after one that compiles")
    medians = in_turns(sides, asked.rounds, warm_up=True)
    for kind in ("frozen part", "Model.predict"):
        print_table(
            {name: found for name, found in medians.items() if name.endswith(kind)},
            f"TransferKitTiny at 96 px, {kind}",
            "images/s",
        )


def rate(work: Any, count: int) -> Any:
    return lambda _: {"images/s": count / timed(work)[0]}


if __name__ == "__main__":
    main()
