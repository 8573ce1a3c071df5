"""Photos per second of 8 threads that share a classifier, against one thread with batches of the same size.

    python benchmarks/threads.py [--calls 100] [--batch 8]

The two take turns, round by round, in one process, after a first round that compiles; each thread makes `calls` calls, and
the one thread makes as many as all of them. Every answer is compared with that of one call on all photos.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

from sides import MOBILENET, folder_of

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow

import transferkit as tk
from transferkit.images.decoding import Resizing, load
from transferkit.images.reading import read_images

THREADS = 8
ROUNDS = 3
TOLERANCE = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8)
    asked = parser.parse_args()
    images = read_images(folder_of("cats_dogs") / "test")
    photos = np.stack([load(images, index, Resizing((224, 224))) for index in range(asked.batch * 4)])
    clf = tk.TransferClassifier("MobileNetV2", weights=MOBILENET, cache=False, seed=0)
    clf.fit(folder_of("cats_dogs") / "train", verbose=0)
    expected = clf.predict_proba(photos, verbose=0)

    def wrong(number: int) -> bool:
        chosen = slice(start := number % 4 * asked.batch, start + asked.batch)
        found = clf.predict_proba(photos[chosen], verbose=0)
        return bool(np.abs(found - expected[chosen]).max() > TOLERANCE)

    rates: dict[int, list[float]] = {1: [], THREADS: []}
    count = asked.calls * THREADS
    for round_number in range(ROUNDS + 1):
        for threads, found in rates.items():
            started = time.perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                errors = sum(pool.map(wrong, range(count)))
            found += [count * asked.batch / (time.perf_counter() - started)][: round_number > 0]
            print(f"  {threads} threads: {errors} of {count} answers wrong")
    medians = {threads: float(np.median(found)) for threads, found in rates.items()}
    for threads, rate in medians.items():
        print(f"  {threads} threads: {rate:.1f} photos/s in batches of {asked.batch}")
    print(f"  ratio {medians[THREADS] / medians[1]:.2f}")


if __name__ == "__main__":
    main()
