"""A GPU: cold `fit`, `fine_tune` and `predict` against plain Keras with the same decoding, in photos per second.

    python benchmarks/gpu.py [--backbone ResNet50] [--photos 10000] [--epochs 5] [--precision float32] [--mirrored]

The photos are random crops of the shared ones, all different, written before anything is timed. Both sides decode them
with transferkit's decoder, Keras on as many threads as there are cores. Weights are random, since rates do not depend on
them, and nothing is cached between the calls. The rates of `fit` and `fine_tune` count each photo once an epoch. Building
the network is timed for transferkit alone.

The columns "GPU %" and "cores" say what was busy: the mean utilisation that nvidia-smi reports, and the seconds of
processor time per second. "decoding" is the rate of the decoder alone on all cores: no side can be faster in its first
epoch. Without a GPU, the program runs on the processor with few photos, to be tried.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sides import folder_of, in_turns, print_table

import keras  # isort: skip  # after sides, which quiets TensorFlow
import numpy as np
import tensorflow as tf
from PIL import Image

import transferkit as tk
from transferkit.images import Images, Resizing, load

CORES = os.cpu_count() or 1
GPUS = tf.config.list_physical_devices("GPU")
SIZE = (224, 224)
STEPS = ("fit", "fine_tune", "predict")


def write_photos(folder: Path, count: int, side: int) -> None:
    """Different photos in a folder for each class."""
    classes = [sorted(path.glob("*.jpg")) for path in sorted((folder_of("cats_dogs") / "train").iterdir())]

    def write(number: int) -> None:
        rng, photos = np.random.default_rng(number), classes[number % len(classes)]
        with Image.open(photos[rng.integers(len(photos))]) as opened:
            photo = opened.convert("RGB")
        width, height = (int(edge * rng.uniform(0.7, 1)) for edge in photo.size)
        left, top = (
            int(rng.integers(whole - part + 1)) for whole, part in zip(photo.size, (width, height), strict=True)
        )
        target = folder / photos[0].parent.name / f"{number:06d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        photo.resize((side, side), box=(left, top, left + width, top + height)).save(target, quality=90)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(write, range(count)))


def decoded(path: Path) -> np.ndarray:
    """float32 `(224, 224, 3)`, as transferkit reads it."""
    return load(Images([str(path)]), 0, Resizing(SIZE))


class Photos(keras.utils.PyDataset):
    """Batches of photos and classes in a new order each epoch, decoded on all cores."""

    def __init__(self, paths: Sequence[Path], batch: int, preprocess: Callable[[Any], Any]) -> None:
        super().__init__(workers=CORES, max_queue_size=2 * CORES)
        self.paths, self.batch, self.preprocess = list(paths), batch, preprocess
        self.classes = sorted({path.parent.name for path in paths})

    def __len__(self) -> int:
        return -(-len(self.paths) // self.batch)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        paths = self.paths[number * self.batch :][: self.batch]
        pixels = np.stack([decoded(path) for path in paths])
        return self.preprocess(pixels), np.array([self.classes.index(path.parent.name) for path in paths])

    def on_epoch_end(self) -> None:
        np.random.default_rng(0).shuffle(self.paths)


class Usage:
    """How busy the GPUs and the cores are in a `with` block."""

    def __enter__(self) -> Usage:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
        found = GPUS and shutil.which("nvidia-smi")
        self.sampler = subprocess.Popen(query, stdout=subprocess.PIPE, text=True) if found else None
        self.started, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.started
        self.cores = (time.process_time() - self.cpu) / self.seconds
        self.gpu = float("nan")
        if self.sampler is not None:
            self.sampler.terminate()
            samples = [float(line) for line in self.sampler.communicate()[0].split() if line.isdigit()]
            self.gpu = float(np.mean(samples)) if samples else self.gpu


def measured(figures: dict[str, float], step: str, photos: int, work: Callable[[], object]) -> None:
    """Add the rate of a step, and what was busy in it."""
    with Usage() as usage:
        work()
    figures |= {step: photos / usage.seconds, f"{step} GPU %": usage.gpu, f"{step} cores": usage.cores}


def transferkit(folder: Path, asked: argparse.Namespace, number: int) -> Mapping[str, float]:
    figures: dict[str, float] = {}
    strategy = tf.distribute.MirroredStrategy() if asked.mirrored else None
    clf = tk.TransferClassifier(
        asked.backbone, weights=None, input_size=SIZE, cache=False, precision=asked.precision, seed=number
    )
    given: dict[str, Any] = {"epochs": asked.epochs, "batch_size": asked.batch, "validation": None, "verbose": 0}
    photos = asked.photos * asked.epochs
    measured(figures, "fit", photos, lambda: clf.fit(folder / "train", **given))
    tuned = {"at": asked.at, "learning_rate": 1e-5, "strategy": strategy}
    measured(figures, "fine_tune", photos, lambda: clf.fine_tune(**tuned, **given))
    measured(figures, "predict", asked.test, lambda: clf.predict(folder / "test", verbose=0))
    return figures


def plain_keras(folder: Path, asked: argparse.Namespace, number: int) -> Mapping[str, float]:
    figures: dict[str, float] = {}
    keras.utils.set_random_seed(number)
    record = tk.get_backbone(asked.backbone)
    base = record.build(SIZE)
    training, testing = (
        Photos(sorted((folder / part).rglob("*.jpg")), asked.batch, record.preprocess_input)
        for part in ("train", "test")
    )
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    model = keras.Model(inputs, keras.layers.Dense(len(training.classes), activation="softmax")(x))

    def train(first: int, rate: float) -> None:
        base.trainable = True
        for index, layer in enumerate(base.layers):
            layer.trainable = index >= first and not isinstance(layer, keras.layers.BatchNormalization)
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(training, epochs=asked.epochs, verbose=0)

    first = next(index for index, layer in enumerate(base.layers) if layer.name.startswith(asked.at))
    photos = asked.photos * asked.epochs
    measured(figures, "fit", photos, lambda: train(len(base.layers), 1e-3))
    measured(figures, "fine_tune", photos, lambda: train(first, 1e-5))
    measured(figures, "predict", asked.test, lambda: model.predict(testing, verbose=0))
    return figures


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--at", help="the first layer of fine_tune; by default block_13 or conv5")
    parser.add_argument("--photos", type=int, default=10_000 if GPUS else 48)
    parser.add_argument("--test", type=int, default=2_000 if GPUS else 32)
    parser.add_argument("--side", type=int, default=500, help="of the photos, in pixels")
    parser.add_argument("--epochs", type=int, default=5 if GPUS else 2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", choices=("float32", "bfloat16", "auto"), default="float32")
    parser.add_argument("--mirrored", action="store_true", help="fine_tune on all GPUs")
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    asked.at = asked.at or ("block_13" if asked.backbone == "MobileNetV2" else "conv5")
    return asked


def main() -> None:
    asked = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_photos(folder / "train", asked.photos, asked.side)
        write_photos(folder / "test", asked.test, asked.side)
        kinds = [tf.config.experimental.get_device_details(gpu).get("device_name", "a GPU") for gpu in GPUS]
        print(f"{asked.backbone}, {asked.photos} photos, {asked.epochs} epochs; {kinds or 'no GPU'}, {CORES} cores")
        with ThreadPoolExecutor(CORES) as pool, Usage() as usage:
            list(pool.map(decoded, (folder / "test").rglob("*.jpg")))
        print(f"  decoding: {asked.test / usage.seconds:.0f} photos per second")
        sides = {"transferkit": transferkit, "keras": plain_keras}
        medians = in_turns(
            {name: lambda n, run=run: run(folder, asked, n) for name, run in sides.items()}, asked.rounds
        )
    for step in STEPS:
        part = {
            name: {key: value for key, value in found.items() if key.split()[0] == step}
            for name, found in medians.items()
        }
        print_table(part, "transferkit", step)


if __name__ == "__main__":
    main()
