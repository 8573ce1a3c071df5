"""From a folder of photos to a saved classifier, offline: the backbone is part of the package.

    python examples/quickstart.py photos                 # one folder per class in photos/
    python examples/quickstart.py                        # draws a small set of shapes

Every fifth photo of a class is held out for the test. The classifier is saved as transferkit-quickstart.keras, or as
--output says.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # set before the import: no message about missing GPUs

import numpy as np
import numpy.typing as npt
import tensorflow as tf

import transferkit as tk

SHAPES = ("circles", "squares", "stars", "stripes", "triangles")
PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
EVERY = 5


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train a classifier on a folder of photos, test it and save it.")
    parser.add_argument("folder", nargs="?", type=Path, help="holds one folder per class; without it, shapes are drawn")
    parser.add_argument("--output", type=Path, default=Path("transferkit-quickstart.keras"), metavar="FILE.keras")
    args = parser.parse_args(arguments)

    if args.folder is not None:
        folder = args.folder.expanduser()
        training, test = divided(folder)
        if len({path.parent for path in training}) < 2 or not test:
            parser.error(
                f"{folder} holds {len(training) + len(test)} photos in folders: it must hold a folder for each of two or "
                f"more classes, with {EVERY} or more photos in each"
            )
        train_and_save(folder, training, test, args.output)
        return
    print("No folder given, so this draws shapes. For your own photos: make quickstart PHOTOS=FOLDER")
    with tempfile.TemporaryDirectory() as drawn:
        draw_shapes(Path(drawn))
        train_and_save(Path(drawn), *divided(Path(drawn)), args.output)


def divided(folder: Path) -> tuple[list[Path], list[Path]]:
    """The training photos and the test photos of all classes; hidden folders and other files are ignored."""
    training: list[Path] = []
    test: list[Path] = []
    for kind in sorted(folder.glob("[!.]*/")):
        photos = [path for path in sorted(kind.glob("[!.]*")) if path.suffix.lower() in PHOTOS]
        test += photos[EVERY - 1 :: EVERY]
        training += [path for number, path in enumerate(photos, 1) if number % EVERY]
    return training, test


def train_and_save(folder: Path, training: list[Path], test: list[Path], output: Path) -> None:
    """Solve for a head, fine-tune the later blocks, compare the two on the test photos, and save the classifier."""
    labels, truth = ([path.parent.name for path in paths] for paths in (training, test))
    clf = tk.TransferClassifier("TransferKitTiny", seed=0)

    started = time.perf_counter()
    clf.fit(training, labels)
    first, first_seconds = clf.evaluate(test, truth), time.perf_counter() - started

    started = time.perf_counter()
    clf.fine_tune(steps=100)  # a quarter of the default, for a first look
    tuned, tuned_seconds = clf.evaluate(test, truth), time.perf_counter() - started

    print(f"\n{tuned}\n\n{'':<12}accuracy  seconds")
    print(f"{'fit':<12}{first.accuracy:8.3f} {first_seconds:8.1f}")
    print(f"{'fine_tune':<12}{tuned.accuracy:8.3f} {tuned_seconds:8.1f}\n")
    some = test[:: max(1, len(test) // 10)][:10]
    for path, prediction in zip(some, clf.predict(some), strict=True):
        print(f"{path.relative_to(folder)}: {prediction.label} ({prediction.confidence:.0%})")
    clf.save(output)
    print(f"\nSaved as {output.resolve()}")


def draw_shapes(folder: Path, count: int = 100, seed: int = 0) -> None:
    """Write `count` pictures of each shape, one folder per shape."""
    rng = np.random.default_rng(seed)
    for shape in SHAPES:
        (folder / shape).mkdir()
        for number in range(count):
            picture = tf.io.encode_png(draw(shape, rng)).numpy()
            (folder / shape / f"{number:03d}.png").write_bytes(picture)


def draw(shape: str, rng: np.random.Generator, side: int = 96) -> npt.NDArray[np.uint8]:
    """A bright shape on a dark background, in random colours, at a random position and angle: uint8 `(side, side, 3)`."""
    y, x = np.mgrid[:side, :side] - side / 2 + rng.uniform(-side / 8, side / 8, (2, 1, 1))
    turn = rng.uniform(0, 2 * np.pi)
    angle, radius = np.arctan2(y, x) + turn, rng.uniform(side / 4, side / 2.5)
    within = np.hypot(x, y) / radius
    inside = {
        "circles": within < 0.8,
        "squares": within < polygon(angle, 4),
        "stars": within < 0.65 + 0.35 * np.cos(5 * angle),
        "stripes": np.sin(14 * (x * np.cos(turn) + y * np.sin(turn)) / radius) > 0,
        "triangles": within < polygon(angle, 3),
    }[shape]
    bright, dark = rng.uniform(130, 255, 3), rng.uniform(0, 100, 3)
    noise = rng.normal(0, 8, (side, side, 3))
    return np.clip(np.where(inside[..., np.newaxis], bright, dark) + noise, 0, 255).astype(np.uint8)


def polygon(angle: npt.NDArray[np.float64], corners: int) -> npt.NDArray[np.float64]:
    """The distance from the centre of a regular polygon to its outline; the corners are at distance 1."""
    step = 2 * np.pi / corners
    return np.cos(step / 2) / np.cos(angle % step - step / 2)


if __name__ == "__main__":
    main()
