"""`fine_tune` against plain Keras, from the same layer on: seconds, accuracy, and the ratio.

    python benchmarks/fine_tune_vs_keras.py [--at block_13] [--epochs 10] [--rounds 1]

Both start from a trained head (5 epochs for transferkit; 2 for Keras, to save time), which is not timed. All of the
fine-tuning is timed: for transferkit, computing the values before the cut and the epochs on them; for Keras, the epochs
through the whole network. Both leave BatchNormalization fixed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from peers import datasets, frozen_base
from sides import MOBILENET, folder_of, in_turns, print_table, timed

import keras  # isort: skip  # after sides, which quiets TensorFlow

import peers

import transferkit as tk


def plain_keras(number: int, at: str, epochs: int) -> Mapping[str, float]:
    keras.utils.set_random_seed(number)
    training, validation, testing = datasets(number)
    base = frozen_base()
    inputs = keras.Input((224, 224, 3))
    x = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    model = keras.Model(inputs, keras.layers.Dense(peers.classes(), activation="softmax")(x))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(training, epochs=2, verbose=0)
    base.trainable = True
    first = next(index for index, layer in enumerate(base.layers) if layer.name.startswith(f"{at}_"))
    for index, layer in enumerate(base.layers):
        layer.trainable = index >= first and not isinstance(layer, keras.layers.BatchNormalization)
    model.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy", metrics=["accuracy"])
    seconds, _ = timed(lambda: model.fit(training, validation_data=validation, epochs=epochs, verbose=0))
    return {"seconds": seconds, "accuracy": model.evaluate(testing, verbose=0)[1]}


def transferkit(number: int, at: str, epochs: int) -> Mapping[str, float]:
    clf = tk.TransferClassifier("MobileNetV2", weights=MOBILENET, cache=False, seed=number)
    clf.fit(peers.FOLDER / "train", epochs=5, verbose=0)
    seconds, _ = timed(lambda: clf.fine_tune(at=at, epochs=epochs, learning_rate=1e-5, verbose=0))
    return {
        "seconds": seconds,
        "of which feature extraction": clf.history_.phases[-1].pass_seconds,
        "accuracy": clf.evaluate(peers.FOLDER / "test", verbose=0).accuracy,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cats_dogs")
    parser.add_argument("--at", default="block_13")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    peers.FOLDER = folder_of(asked.data)
    print(f"{asked.data}, MobileNetV2 at 224 px, fine-tuning from {asked.at} for {asked.epochs} epochs")
    sides = {
        "transferkit": lambda number: transferkit(number, asked.at, asked.epochs),
        "keras": lambda number: plain_keras(number, asked.at, asked.epochs),
    }
    print_table(in_turns(sides, asked.rounds), "transferkit")


if __name__ == "__main__":
    main()
