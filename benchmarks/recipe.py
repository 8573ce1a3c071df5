"""Where the defaults of `fit` come from: recipes for the head, compared by test accuracy on stored features.

    python benchmarks/recipe.py [--assets FOLDER] [--seeds 9] [--photos N]

--photos limits how many photos of each class are used for training. Differences of less than 0.01 are within the variation
of the seeds; if recipes do equally well, the simplest is the default.

Each recipe trains the same head on the same features (scaled to unit size) of the same images; the split
and the order of images change with the seed. The program prints the mean test accuracy over the seeds.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import transferkit as tk
from transferkit._common.console import Console
from transferkit.backbones.loading import build_with_weights
from transferkit.cache.store import Store
from transferkit.cache.user import open_store
from transferkit.features.extraction import Plan, Storage, extract
from transferkit.features.values import StoredValues
from transferkit.images.images import LabelledImages
from transferkit.images.reading import read_labelled
from transferkit.images.splits import stratified_split
from transferkit.network.extractor import FeatureExtractor
from transferkit.network.network import Network, assemble
from transferkit.training import inputs
from transferkit.training.loop import train
from transferkit.training.steps import Data, Settings

ROOT = Path(__file__).parents[1]
ASSETS = Path(os.environ.get("TRANSFERKIT_TEST_ASSETS") or ROOT.parent / "shared")
SETS = [
    ("cats_dogs", "MobileNetV2", "mobilenet_v2_1.0_224_imagenet_notop.weights.h5"),
    ("flowers", "MobileNetV2", "mobilenet_v2_1.0_224_imagenet_notop.weights.h5"),
    ("flowers", "DenseNet121", "densenet121_imagenet_notop.weights.h5"),
]


def cosine(rate: float, steps: int) -> Any:
    return keras.optimizers.schedules.CosineDecay(rate, steps)


# name -> (epochs, steps -> optimizer)
RECIPES: dict[str, tuple[int, Callable[[int], keras.optimizers.Optimizer]]] = {
    "Adam 0.001, 5 epochs": (5, lambda steps: keras.optimizers.Adam(1e-3)),
    "Adam 0.001, 30 epochs (default)": (30, lambda steps: keras.optimizers.Adam(1e-3)),
    "Adam 0.005 cosine, 30 epochs": (30, lambda steps: keras.optimizers.Adam(cosine(5e-3, steps))),
    "AdamW 0.005 cosine, decay 0.1, 30 epochs": (30, lambda steps: decayed(5e-3, steps, 0.1)),
    "AdamW 0.005 cosine, decay 1, 30 epochs": (30, lambda steps: decayed(5e-3, steps, 1.0)),
    "AdamW 0.005 cosine, decay 4, 30 epochs": (30, lambda steps: decayed(5e-3, steps, 4.0)),
    "AdamW 0.020 cosine, decay 1, 30 epochs": (30, lambda steps: decayed(2e-2, steps, 1.0)),
    "AdamW 0.005 cosine, decay 1, 5 epochs": (5, lambda steps: decayed(5e-3, steps, 1.0)),
}


def decayed(rate: float, steps: int, decay: float) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.AdamW(cosine(rate, steps), weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def run(
    network: Network,
    part: FeatureExtractor,
    store: Store | None,
    sets: tuple[LabelledImages, LabelledImages],
    name: str,
    seed: int,
    share: float,
) -> float:
    """Test accuracy of one head, trained on all but a share of the photos."""
    everything, testing = sets
    chosen, _ = stratified_split(everything.codes, np.arange(len(everything)), share, seed)
    data = everything.subset(chosen)
    values = extract(part, Plan(data.images), Storage(store), Console(0), "").values
    cut = network.cut_before_head()
    for layer in network.head:
        for weight in layer.weights:
            weight.assign(np.zeros(weight.shape))
    network.set_feature_scale(inputs.unit_scale(values[0][np.arange(len(data))]))
    epochs, build = RECIPES[name]
    optimizer = build(epochs * -(-len(data) // 32))
    ones = np.ones(len(everything.classes), np.float32)
    train(
        cut.trainable,
        Data(StoredValues(values, np.arange(len(data))[np.newaxis]), data.codes, data.images),
        None,
        Settings(optimizer, epochs, 32, seed, ones, [], title="", console=Console(0)),
    )
    features = extract(part, Plan(testing.images), Storage(store), Console(0), "").values[0][np.arange(len(testing))]
    logits = np.asarray(cut.trainable(features, training=False))
    return float((logits.argmax(axis=1) == testing.codes).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=ASSETS)
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--photos", type=int, help="of each class; the default is 85 %% of all")
    asked = parser.parse_args()
    if not (asked.assets / "data").is_dir():
        print(f"skipped: no photos in {asked.assets}")
        return
    for data, backbone, file in SETS:
        record = tk.get_backbone(backbone)
        size = record.input_size(None)
        folder = asked.assets / "data" / data
        everything = read_labelled(folder / "train")
        testing = read_labelled(folder / "test", classes=everything.classes)
        backbone_model = build_with_weights(record, size, asked.assets / "weights" / file, 0)
        network = assemble(record, backbone_model, size, len(everything.classes), 0.1, 0)
        part = FeatureExtractor(network.features_model(), size, f"{data}/{backbone}")
        store = open_store(True)
        share = 0.15 if asked.photos is None else 1 - asked.photos * len(everything.classes) / len(everything)
        print(f"{data}, {backbone}, {asked.seeds} seeds", flush=True)
        for name in RECIPES:
            sets = everything, testing
            scores = [run(network, part, store, sets, name, seed, share) for seed in range(asked.seeds)]
            print(f"  {name:<50} mean {np.mean(scores):.4f}  lowest {min(scores):.4f}", flush=True)


if __name__ == "__main__":
    main()
