"""The frozen pass in chunks, one call per core, against batches of 32 on all cores, and `keras.Model.predict`.

    python benchmarks/forward.py [--rounds 5]

Random weights and random pixels: only the time counts. Sides run in turns in this process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

import transferkit as tk
from transferkit.features import THREADS, FrozenPart
from transferkit.network import assemble

COUNT = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    record = tk.get_backbone(asked.backbone)
    size = record.input_size(None)
    network = assemble(record, record.build(size), size, 2, 0.1, 0)
    model = network.features_model()
    part = FrozenPart(model, size, "benchmark")
    images = np.random.default_rng(0).uniform(0, 255, (COUNT, *size, 3)).astype(np.float32)
    pool = ThreadPoolExecutor(THREADS)
    sides: dict[str, Callable[[], object]] = {
        "keras.Model.predict, batches of 32": lambda: model.predict(images, batch_size=32, verbose=0),
        "compiled, batches of 32": lambda: [part(images[start : start + 32]) for start in range(0, COUNT, 32)],
        f"compiled, chunks of {part.chunk} on {THREADS} threads": lambda: part.in_chunks(images, pool),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(asked.rounds + 1):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            if number:  # the first round compiles
                rates[name].append(COUNT / (time.perf_counter() - started))
    slowest = statistics.median(next(iter(rates.values())))
    print(f"{record.name} at {size[0]} px, {COUNT} images, median of {asked.rounds} rounds")
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"  {name:<40} {rate:7.1f} images/s   {rate / slowest:.2f} times")


if __name__ == "__main__":
    main()
