"""`fit` against what people use today, on the same photos and weights: seconds, accuracy, ratios.

    python benchmarks/peers.py [--epochs 5] [--rounds 3] [--sides transferkit bfloat16 keras hub sklearn]

All programs run in this process, in turns, each with an empty cache. The time is that from photos on disk to a trained
classifier, without building the network.

- bfloat16: transferkit with precision="bfloat16", if the processor supports it.
- keras: the script that tutorials show: image_dataset_from_directory, preprocess_input, a frozen base, average
  pooling, dropout, a dense layer, Model.fit.
- hub: keras_hub.models.ImageClassifier on the same frozen backbone and the same dataset.
- sklearn: the best script that one writes by hand: features by Model.predict, once, then LogisticRegression on them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sides import MOBILENET, folder_of, in_turns, print_table, timed

import keras  # isort: skip  # after sides, which quiets TensorFlow
import numpy as np
import tensorflow as tf

import transferkit as tk

FOLDER = Path()
EPOCHS = 5


def datasets(seed: int) -> tuple[Any, Any, Any]:
    """Training, validation and test photos, scaled as MobileNetV2 expects them."""
    options = {"image_size": (224, 224), "batch_size": 32, "verbose": False}
    training, validation = keras.utils.image_dataset_from_directory(
        FOLDER / "train", validation_split=0.15, subset="both", seed=seed, **options
    )
    testing = keras.utils.image_dataset_from_directory(FOLDER / "test", shuffle=False, **options)

    def prepared(dataset: tf.data.Dataset) -> tf.data.Dataset:
        scaled = dataset.map(lambda x, y: (keras.applications.mobilenet_v2.preprocess_input(x), y))
        return scaled.prefetch(tf.data.AUTOTUNE)

    return prepared(training), prepared(validation), prepared(testing)


def classes() -> int:
    return sum(path.is_dir() for path in (FOLDER / "train").iterdir())


def frozen_base() -> keras.Model:
    base = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(224, 224, 3))
    base.load_weights(MOBILENET)
    base.trainable = False
    return base


def plain_keras(number: int) -> Mapping[str, float]:
    keras.utils.set_random_seed(number)
    training, validation, testing = datasets(number)
    inputs = keras.Input((224, 224, 3))
    x = keras.layers.GlobalAveragePooling2D()(frozen_base()(inputs, training=False))
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(classes(), activation="softmax")(x))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    seconds, _ = timed(lambda: model.fit(training, validation_data=validation, epochs=EPOCHS, verbose=0))
    return {"seconds": seconds, "accuracy": model.evaluate(testing, verbose=0)[1]}


def keras_hub(number: int) -> Mapping[str, float]:
    import keras_hub

    keras.utils.set_random_seed(number)
    training, validation, testing = datasets(number)
    model = keras_hub.models.ImageClassifier(backbone=frozen_base(), num_classes=classes(), dropout=0.2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss, metrics=["accuracy"])
    seconds, _ = timed(lambda: model.fit(training, validation_data=validation, epochs=EPOCHS, verbose=0))
    return {"seconds": seconds, "accuracy": model.evaluate(testing, verbose=0)[1]}


def logistic_regression(number: int) -> Mapping[str, float]:
    from sklearn.linear_model import LogisticRegression

    training, _, testing = datasets(number)
    base = frozen_base()
    model = keras.Sequential([base, keras.layers.GlobalAveragePooling2D()])

    def features(dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
        fixed = list(dataset)  # it is shuffled each time it is read, so read it once
        images, labels = (np.concatenate([part[n] for part in fixed]) for n in range(2))
        return model.predict(images, verbose=0), labels

    def train() -> LogisticRegression:
        return LogisticRegression(max_iter=1000).fit(*features(training))

    seconds, fitted = timed(train)
    return {"seconds": seconds, "accuracy": fitted.score(*features(testing))}


def transferkit(number: int, precision: Literal["float32", "bfloat16"] = "float32") -> Mapping[str, float]:
    clf = tk.TransferClassifier("MobileNetV2", weights=MOBILENET, cache=False, precision=precision, seed=number)
    seconds, _ = timed(lambda: clf.fit(FOLDER / "train", epochs=EPOCHS, verbose=0))
    return {"seconds": seconds, "accuracy": clf.evaluate(FOLDER / "test", verbose=0).accuracy}


SIDES = {
    "transferkit": transferkit,
    "bfloat16": lambda number: transferkit(number, "bfloat16"),
    "keras": plain_keras,
    "hub": keras_hub,
    "sklearn": logistic_regression,
}


def main() -> None:
    global FOLDER, EPOCHS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cats_dogs")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    asked = parser.parse_args()
    FOLDER, EPOCHS = folder_of(asked.data), asked.epochs
    print(f"{asked.data}, MobileNetV2 at 224 px, {asked.epochs} epochs, {asked.rounds} rounds")
    print_table(in_turns({name: SIDES[name] for name in asked.sides}, asked.rounds), "transferkit")


if __name__ == "__main__":
    main()
