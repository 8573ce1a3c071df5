"""`compare`: its order of backbones against the order on test photos, and its time against plain Keras trainings.

    python benchmarks/compare.py [--sets flowers_large ...] [--photos 1250] [--time flowers_large] [--epochs 5]

The order holds for a pair of backbones if the test photos put them in the same order, or apart by no more than one standard
error of the difference, paired photo by photo. With --time, one set is compared cold (an empty store), once
more warm, and timed against a training of plain Keras for each backbone, all from photos on disk.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any

from sides import ASSETS, folder_of, timed

import keras  # isort: skip  # after sides, which quiets TensorFlow
import numpy as np
import tensorflow as tf

import transferkit as tk

FILES = {
    "MobileNetV2_0.35": "mobilenet_v2_0.35_224_imagenet_notop.weights.h5",
    "MobileNetV2": "mobilenet_v2_1.0_224_imagenet_notop.weights.h5",
    "DenseNet121": "densenet121_imagenet_notop.weights.h5",
}
BACKBONES = {name: tk.TransferClassifier(name, weights=ASSETS / "weights" / file) for name, file in FILES.items()}


def test_photos(data: str, most: int) -> tuple[list[str], list[str]]:
    """Paths and classes of so many test photos, drawn at random."""
    paths = sorted(folder_of(data).glob("test/*/*"))
    chosen = [paths[index] for index in np.random.default_rng(0).permutation(len(paths))[:most]]
    return [str(path) for path in chosen], [path.parent.name for path in chosen]


def order(data: str, most: int) -> None:
    """The two orders of one set."""
    train, (paths, labels) = folder_of(data) / "train", test_photos(data, most)
    comparison = tk.compare(train, backbones=BACKBONES, budget=None, verbose=0)
    print(f"\n{data}: {comparison}", flush=True)
    right: dict[str, Any] = {}
    for row in comparison.rows:
        clf = tk.TransferClassifier(row.name, weights=BACKBONES[row.name].weights, seed=0).fit(train, verbose=0)
        right[row.name] = np.asarray(clf.predict(paths, verbose=0)) == np.array(labels)
        error = right[row.name].std(ddof=1) / np.sqrt(len(paths))
        found = f"{right[row.name].mean():.4f} +-{error:.4f} on {len(paths)} test photos"
        print(f"  {row.name:<18} {row.accuracy:.4f} +-{row.accuracy_error:.4f} cross-validated, {found}", flush=True)
    for better, worse in itertools.combinations(comparison.rows, 2):
        gain = right[better.name].astype(float) - right[worse.name]
        mean, error = gain.mean(), gain.std(ddof=1) / np.sqrt(len(gain))
        verdict = "same order" if mean > 0 else "within one standard error" if -mean <= error else "ANOTHER ORDER"
        said = f"{better.accuracy - worse.accuracy:+.4f}, test photos {mean:+.4f} +-{error:.4f}"
        print(f"  {better.name} - {worse.name}: compare {said}: {verdict}")


def plain_keras(name: str, folder: Path, epochs: int) -> None:
    """The script that tutorials show, for one backbone."""
    record = tk.get_backbone(name)
    options = {"image_size": (224, 224), "batch_size": 32, "verbose": False, "validation_split": 0.2, "seed": 0}
    training, validation = keras.utils.image_dataset_from_directory(folder, subset="both", **options)
    base = record.build((224, 224))
    base.load_weights(BACKBONES[name].weights)
    base.trainable = False
    inputs = keras.Input((224, 224, 3))
    x = keras.layers.GlobalAveragePooling2D()(base(record.preprocess_input(inputs), training=False))
    outputs = keras.layers.Dense(len(training.class_names), activation="softmax")(x)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    ready = [part.prefetch(tf.data.AUTOTUNE) for part in (training, validation)]
    model.fit(ready[0], validation_data=ready[1], epochs=epochs, verbose=0)


def times(folder: Path, epochs: int) -> None:
    """Seconds of a cold and a warm comparison, and of the trainings."""
    with tempfile.TemporaryDirectory() as store:
        cold, _ = timed(lambda: tk.compare(folder, backbones=BACKBONES, budget=None, cache=store, verbose=0))
        warm, _ = timed(lambda: tk.compare(folder, backbones=BACKBONES, budget=None, cache=store, verbose=0))
    trained, _ = timed(lambda: [plain_keras(name, folder, epochs) for name in BACKBONES])
    print(f"\ncold {cold:.1f} s, warm {warm:.1f} s, plain Keras, {epochs} epochs each, {trained:.1f} s")
    print(f"cold is {trained / cold:.2f} times as fast as plain Keras")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="*", default=["flowers_large", "textures", "cifar10_large"])
    parser.add_argument("--photos", type=int, default=1250, help="test photos of each set, at most")
    parser.add_argument("--time", metavar="SET", help="time the comparison of this set")
    parser.add_argument("--epochs", type=int, default=5)
    asked = parser.parse_args()
    for data in asked.sets:
        order(data, asked.photos)
    if asked.time:
        times(folder_of(asked.time) / "train", asked.epochs)


if __name__ == "__main__":
    main()
