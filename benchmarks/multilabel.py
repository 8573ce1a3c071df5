"""Several labels a photo: `fit` without arguments against plain Keras with a sigmoid head.

    python benchmarks/multilabel.py [train photos] [test photos] [draws]

Each picture shows a photo of textures and one of flowers_large side by side, and has both classes as labels; a quarter of the
halves are grey. Test pictures are made of test photos. Keras trains a dense sigmoid layer for 10 epochs, with Adam at 0.001,
on MobileNetV2, frozen, from pixels. Both start from files, and nothing is stored. Prints mean average precision and seconds.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sides import MOBILENET, folder_of, in_turns, print_table, timed

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow
import keras
import tensorflow as tf
from PIL import Image, ImageOps
from sklearn.metrics import average_precision_score

import transferkit as tk

SIDE = 224
GREY = 0.25  # of the halves
EPOCHS = 10
Photos = tuple[list[str], list[list[str]]]


def pictures(part: str, count: int, draw: int, folder: Path) -> Photos:
    """Paths and labels of new pictures in `folder`."""
    rng = random.Random(f"{part} {draw}")
    photos = [sorted((folder_of(data) / part).rglob("*.jpg")) for data in ("textures", "flowers_large")]
    paths, labels = [], []
    for number in range(count):
        picture, names = Image.new("RGB", (SIDE, SIDE), (128, 128, 128)), []
        for place, files in enumerate(photos):
            if rng.random() >= GREY:
                file = rng.choice(files)
                half = ImageOps.fit(Image.open(file).convert("RGB"), (SIDE // 2, SIDE))
                picture.paste(half, (place * SIDE // 2, 0))
                names.append(file.parent.name)
        paths.append(str(folder / f"{part}-{number}.jpg"))
        picture.save(paths[-1], quality=95)
        labels.append(names)
    return paths, labels


def binary(labels: list[list[str]], classes: list[str]) -> Any:
    return np.array([[name in names for name in classes] for names in labels], np.float32)


def ours(train: Photos, test: Photos) -> dict[str, float]:
    clf = tk.TransferClassifier("MobileNetV2", weights=MOBILENET, cache=False, seed=0)
    seconds, _ = timed(lambda: clf.fit(*train, verbose=0))
    evaluation = clf.evaluate(*test, verbose=0)
    figures = {"mAP": evaluation.mean_average_precision, "micro F1": evaluation.micro_f1}
    return {"seconds": seconds, **figures, "macro F1": evaluation.macro_f1}


def plain_keras(train: Photos, test: Photos) -> Mapping[str, float]:
    classes = sorted({name for names in train[1] for name in names})

    def batches(photos: Photos, shuffled: bool) -> tf.data.Dataset:
        data = tf.data.Dataset.from_tensor_slices((photos[0], binary(photos[1], classes)))
        data = data.shuffle(len(photos[0]), seed=0) if shuffled else data
        decoded = data.map(
            lambda path, label: (tf.io.decode_jpeg(tf.io.read_file(path), 3), label),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return decoded.batch(32).prefetch(2)

    def fitted() -> keras.Model:
        keras.utils.set_random_seed(0)
        backbone = keras.applications.MobileNetV2(
            input_shape=(SIDE, SIDE, 3), include_top=False, weights=str(MOBILENET), pooling="avg"
        )
        backbone.trainable = False
        inputs = keras.Input((SIDE, SIDE, 3))
        features = backbone(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs), training=False)
        model = keras.Model(inputs, keras.layers.Dense(len(classes), activation="sigmoid")(features))
        model.compile(keras.optimizers.Adam(0.001), "binary_crossentropy")
        model.fit(batches(train, True), epochs=EPOCHS, verbose=0)
        return model

    seconds, model = timed(fitted)
    probabilities = model.predict(batches(test, False), verbose=0)
    return {
        "seconds": seconds,
        "mAP": average_precision_score(binary(test[1], classes), probabilities, average="macro"),
    }


def main(train_count: int, test_count: int, draws: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        sets = []
        for draw in range(draws):
            (folder := Path(temporary, str(draw))).mkdir()
            sets.append((pictures("train", train_count, draw, folder), pictures("test", test_count, draw, folder)))
        sides = {"fit": lambda draw: ours(*sets[draw]), "plain Keras": lambda draw: plain_keras(*sets[draw])}
        print_table(in_turns(sides, draws), "fit")


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    main(*[*numbers, *(500, 500, 3)[len(numbers) :]])
