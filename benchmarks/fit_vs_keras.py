"""`fit` against the plain Keras script, on the same photos and weights: seconds, accuracy, and the ratio.

    python benchmarks/fit_vs_keras.py [--assets FOLDER] [--epochs 5] [--rounds 3]

Both sides run in this process, in turns; what counts is the time of their fit. The plain script is the one
that articles show: image_dataset_from_directory, preprocess_input, a frozen base, average pooling, dropout,
a dense layer. Neither side finds anything stored from the round before.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

import transferkit as tk

ROOT = Path(__file__).parents[1]
ASSETS = Path(os.environ.get("TRANSFERKIT_TEST_ASSETS") or ROOT.parent / "shared")
WEIGHTS = "mobilenet_v2_1.0_224_imagenet_notop.weights.h5"


def plain_keras(train: Path, test: Path, weights: Path, epochs: int, seed: int) -> tuple[float, float]:
    """Seconds of `Model.fit` and test accuracy."""
    keras.utils.set_random_seed(seed)
    options = {"image_size": (224, 224), "batch_size": 32, "verbose": False}
    training, validation = keras.utils.image_dataset_from_directory(
        train, validation_split=0.15, subset="both", seed=seed, **options
    )
    testing = keras.utils.image_dataset_from_directory(test, shuffle=False, **options)

    def prepare(dataset: tf.data.Dataset) -> tf.data.Dataset:
        prepared = dataset.map(lambda x, y: (keras.applications.mobilenet_v2.preprocess_input(x), y))
        return prepared.prefetch(tf.data.AUTOTUNE)

    base = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(224, 224, 3))
    base.load_weights(weights)
    base.trainable = False
    inputs = keras.Input((224, 224, 3))
    x = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(len(training.class_names), activation="softmax")(x))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    started = time.perf_counter()
    model.fit(prepare(training), validation_data=prepare(validation), epochs=epochs, verbose=0)
    seconds = time.perf_counter() - started
    return seconds, model.evaluate(prepare(testing), verbose=0)[1]


def with_transferkit(train: Path, test: Path, weights: Path, epochs: int, seed: int) -> tuple[float, float]:
    """Seconds of `TransferClassifier.fit` and test accuracy."""
    clf = tk.TransferClassifier("MobileNetV2", weights=weights, cache=False, seed=seed)
    started = time.perf_counter()
    clf.fit(train, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - started
    return seconds, clf.evaluate(test, verbose=0).accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=ASSETS)
    parser.add_argument("--data", default="cats_dogs")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    folder, weights = asked.assets / "data" / asked.data, asked.assets / "weights" / WEIGHTS
    if not folder.is_dir():
        print(f"skipped: no photos in {folder}")
        return
    sides = {"plain Keras": plain_keras, "transferkit": with_transferkit}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    print(f"{asked.data}, MobileNetV2 at 224 px, {asked.epochs} epochs, {asked.rounds} rounds")
    for number in range(asked.rounds):
        for name, run in sides.items():
            took, accuracy = run(folder / "train", folder / "test", weights, asked.epochs, number)
            seconds[name].append(took)
            print(f"  round {number + 1}  {name:<12} {took:7.1f} s   test accuracy {accuracy:.4f}", flush=True)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["plain Keras"] / medians["transferkit"]
    print(
        f"  median: plain Keras {medians['plain Keras']:.1f} s, transferkit {medians['transferkit']:.1f} s: "
        f"{ratio:.1f} times faster"
    )


if __name__ == "__main__":
    main()
