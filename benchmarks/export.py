"""Exported files against the classifier: differences in batches of 1 and 5, accuracy and size when quantized.

    python benchmarks/export.py [--photos 300] [--backbones TransferKitTiny MobileNetV2 DenseNet121]

A classifier of each backbone learns 200 photos of cats_dogs. Its files are run by their own runtimes on photos of the
test folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sides import ASSETS, MOBILENET, folder_of

import transferkit as tk
from transferkit.export import exporting, formats, photos_for
from transferkit.images import Resizing

WEIGHTS: dict[str, Any] = {
    "TransferKitTiny": "pretrained",
    "MobileNetV2": MOBILENET,
    "DenseNet121": ASSETS / "weights" / "densenet121_imagenet_notop.weights.h5",
}
QUANTIZED: tuple[tuple[str, Any], ...] = (
    ("pets.tflite", "float16"),
    ("pets.tflite", "dynamic"),
    ("pets.tflite", "int8"),
    ("pets.xml", "float16"),
)


def part_of(folder: Path, count: int) -> tuple[list[Path], list[str]]:
    """So many photos, spread over the classes, and their labels."""
    photos = sorted(folder.glob("*/*.jpg"))
    chosen = [photos[at] for at in np.linspace(0, len(photos) - 1, count).astype(int)]
    return chosen, [photo.parent.name for photo in chosen]


def largest_difference(clf: tk.TransferClassifier, path: Path, pixels: np.ndarray, batch: int) -> float:
    """Of all probabilities, the file's in batches of `batch` against the network's."""
    run = formats.check_target(path, None)[1].run(path)
    found = np.concatenate([run(pixels[start : start + batch]) for start in range(0, len(pixels), batch)])
    return float(np.abs(found - clf.network_.predict(pixels, batch_size=32, verbose=0)).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--backbones", nargs="+", default=list(WEIGHTS), choices=list(WEIGHTS))
    asked = parser.parse_args()
    data = folder_of("cats_dogs")
    paths, labels = part_of(data / "test", asked.photos)
    exporting.BATCH = 5
    for backbone in asked.backbones:
        clf = tk.TransferClassifier(backbone, weights=WEIGHTS[backbone], seed=0)
        clf.fit(*part_of(data / "train", 200), verbose=0)
        pixels = photos_for(paths, labels, clf.classes_, "single", None, Resizing(clf.network_.input_shape[1:3])).pixels
        with tempfile.TemporaryDirectory() as folder:
            print(f"{backbone}, {len(pixels)} photos of cats_dogs")
            sizes = {}
            for name in ("pets", "pets.onnx", "pets.tflite", "pets.xml"):
                report = clf.export(Path(folder, name), check=paths, labels=labels, verbose=0)
                sizes[name] = report.size
                differences = [largest_difference(clf, report.path, pixels, batch) for batch in (1, 5)]
                shown = ", ".join(f"{difference:.1e}" for difference in differences)
                print(
                    f"  {report.format:<11} float32  {report.size / 1e6:6.1f} MB  largest differences {shown}",
                    flush=True,
                )
            for name, kind in QUANTIZED:
                report = clf.export(Path(folder, name), check=paths, labels=labels, quantize=kind, verbose=0)
                print(
                    f"  {report.format:<11} {kind:<8} {report.size / 1e6:6.1f} MB  "
                    f"{sizes[name] / report.size:.1f} times smaller  same class {report.same_answers:.1%}  "
                    f"accuracy {report.accuracy_before:.4f} -> {report.accuracy:.4f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
