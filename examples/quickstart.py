"""From a folder of photos to a saved classifier.

    python examples/quickstart.py photos                 # one folder per class in photos/
    python examples/quickstart.py                        # draws a small set of shapes itself, needs no network

Every fifth photo is set aside for the test. The classifier ends up in transferkit-quickstart.keras, or where
--output says.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported: it remarks on missing GPUs

import numpy as np
import numpy.typing as npt
import tensorflow as tf

import transferkit as tk

SHAPES = ("circles", "squares", "stripes", "triangles")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train a classifier on a folder of photos, test it and save it.")
    parser.add_argument("folder", nargs="?", type=Path, help="holds one folder per class; without it, shapes are drawn")
    parser.add_argument(
        "--weights", default="pretrained", help="a file of MobileNetV2's weights, instead of a download"
    )
    parser.add_argument("--output", type=Path, default=Path("transferkit-quickstart.keras"), metavar="FILE.keras")
    args = parser.parse_args(arguments)

    if args.folder is not None:
        clf = tk.TransferClassifier("MobileNetV2", weights=args.weights, seed=0)
        train_and_save(clf, args.folder, args.output)
        return
    print("No folder was given, so shapes are drawn. Random weights are enough for them; photos want pretrained ones.")
    with tempfile.TemporaryDirectory() as folder:
        draw_shapes(Path(folder))
        clf = tk.TransferClassifier("MobileNetV2_0.35", weights=None, input_size=96, seed=0)
        # Random layers have more to learn than pretrained ones: more of them are trained, at a higher rate.
        train_and_save(clf, Path(folder), args.output, at="block_6", epochs=8, learning_rate=1e-3)


def train_and_save(
    clf: tk.TransferClassifier,
    folder: Path,
    output: Path,
    at: str = "block_13",
    epochs: int = 5,
    learning_rate: float = 1e-5,
) -> None:
    """The main job, in the five calls that it takes."""
    photos = [path for path in sorted(folder.glob("*/*")) if not path.name.startswith(".")]
    test = photos[::5]
    training = sorted(set(photos) - set(test))

    clf.fit(training, [path.parent.name for path in training])
    clf.fine_tune(at=at, epochs=epochs, learning_rate=learning_rate)
    evaluation = clf.evaluate(test, [path.parent.name for path in test])
    print(f"\n{evaluation}\n")
    some = test[:: max(1, len(test) // 12)][:12]
    for path, prediction in zip(some, clf.predict(some), strict=True):
        print(f"{path.relative_to(folder)}: {prediction.label} ({prediction.confidence:.0%})")
    clf.save(output)
    print(f"\nSaved as {output.resolve()}")


def draw_shapes(folder: Path, count: int = 150, seed: int = 0) -> None:
    """Write `count` pictures of each shape, one folder per shape."""
    rng = np.random.default_rng(seed)
    for shape in SHAPES:
        (folder / shape).mkdir()
        for number in range(count):
            picture = tf.io.encode_png(draw(shape, rng)).numpy()
            (folder / shape / f"{number:03d}.png").write_bytes(picture)


def draw(shape: str, rng: np.random.Generator, side: int = 96) -> npt.NDArray[np.uint8]:
    """A bright shape on a dark ground, in random colours, at a random place, with noise: uint8 `(side, side, 3)`."""
    y, x = np.mgrid[:side, :side] - side / 2 + rng.uniform(-side / 6, side / 6, (2, 1, 1))
    radius = rng.uniform(side / 5, side / 3)
    inside = {
        "circles": np.hypot(x, y) < radius,
        "squares": np.maximum(np.abs(x), np.abs(y)) < 0.9 * radius,
        "stripes": np.sin(11 * x / radius) > 0,
        "triangles": (y < 0.8 * radius) & (2 * np.abs(x) < y + 1.2 * radius),
    }[shape]
    bright, dark = rng.uniform(130, 255, 3), rng.uniform(0, 100, 3)
    noise = rng.normal(0, 8, (side, side, 3))
    return np.clip(np.where(inside[..., np.newaxis], bright, dark) + noise, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
