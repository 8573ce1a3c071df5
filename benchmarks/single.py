"""One photo at a time, as a server gets them: `clf.predict` against the bare network.

    python benchmarks/single.py [--calls 200]

The two take turns, call by call, in one process, after a first call that compiles. Photos are arrays in memory, each new to
the cache. The bare call is the whole network as one `tf.function`, which does not check, hash or name anything.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from sides import MOBILENET, folder_of

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow
import tensorflow as tf

import transferkit as tk
from transferkit.images.decoding import Resizing, load
from transferkit.images.reading import read_images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=200)
    asked = parser.parse_args()
    images = read_images(folder_of("cats_dogs") / "test")
    photos = [load(images, index, Resizing((224, 224))) for index in range(asked.calls)]
    with tempfile.TemporaryDirectory() as folder:
        clf = tk.TransferClassifier("MobileNetV2", weights=MOBILENET, cache=folder, seed=0)
        clf.fit(folder_of("cats_dogs") / "train", epochs=1, verbose=0)
        files = {path for path in Path(folder).rglob("*") if path.is_file()}
        bare = tf.function(clf.network_, autograph=False)
        sides = {
            "clf.predict": lambda photo: clf.predict(photo, verbose=0),
            "the network as a tf.function": lambda photo: bare(tf.constant(photo[np.newaxis]), training=False).numpy(),
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for number, photo in enumerate([photos[0], *photos]):
            for name, call in sides.items():
                started = time.perf_counter()
                call(photo + np.float32(0.001 * number / asked.calls))
                times[name] += [time.perf_counter() - started][: number > 0]
        written = {path for path in Path(folder).rglob("*") if path.is_file()} - files
    medians = {name: 1000 * float(np.median(seconds)) for name, seconds in times.items()}
    for name, median in medians.items():
        print(f"  {name:<30} median {median:.2f} ms, 95 % below {1000 * np.quantile(times[name], 0.95):.2f} ms")
    ours, other = medians.values()
    print(f"  ratio {ours / other:.2f}; files written by {asked.calls + 1} calls of clf.predict: {len(written)}")


if __name__ == "__main__":
    main()
