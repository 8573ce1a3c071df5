"""Test accuracy with the defaults and with five epochs, over three seeds.

python benchmarks/accuracy.py [--assets FOLDER] [--seeds 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import transferkit as tk

ROOT = Path(__file__).parents[1]
ASSETS = Path(os.environ.get("TRANSFERKIT_TEST_ASSETS") or ROOT.parent / "shared")
RUNS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("cats_dogs", "MobileNetV2", "mobilenet_v2_1.0_224_imagenet_notop.weights.h5", {"epochs": 5}),
    ("cats_dogs", "MobileNetV2", "mobilenet_v2_1.0_224_imagenet_notop.weights.h5", {}),
    ("flowers", "MobileNetV2", "mobilenet_v2_1.0_224_imagenet_notop.weights.h5", {}),
    ("flowers", "DenseNet121", "densenet121_imagenet_notop.weights.h5", {}),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=ASSETS)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    if not (asked.assets / "data").is_dir():
        print(f"skipped: no photos in {asked.assets}")
        return
    for data, backbone, weights, options in RUNS:
        folder = asked.assets / "data" / data
        scores = []
        for seed in range(asked.seeds):
            clf = tk.TransferClassifier(backbone, weights=asked.assets / "weights" / weights, seed=seed)
            clf.fit(folder / "train", verbose=0, **options)
            scores.append(clf.evaluate(folder / "test", verbose=0).accuracy)
        epochs = f"{options['epochs']} epochs" if options else "defaults"
        listed = " ".join(f"{score:.4f}" for score in scores)
        print(f"{data:<10} {backbone:<12} {epochs:<9} median {statistics.median(scores):.4f}  ({listed})", flush=True)


if __name__ == "__main__":
    main()
