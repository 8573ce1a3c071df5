"""Peak memory of `fit`, for many images and for a tenth of them.

    python benchmarks/memory.py [--count 200000]

A tiny backbone on small PPM files that are drawn into a temporary folder; each run is a separate process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FIT = """
import resource, sys, time
import keras
import transferkit as tk

def build(input_shape):
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(512, 3, strides=2, activation="relu")(x))

tk.register_backbone(tk.Backbone(
    "Small", builder=build, preprocessing="tf", default_size=16, min_size=8, feature_dim=512
))
clf = tk.TransferClassifier("Small", weights=None, seed=0, cache=sys.argv[2])
started = time.perf_counter()
clf.fit(sys.argv[1], epochs=3, verbose=0)
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def draw(folder: Path, count: int) -> None:
    """`count` PPM files of 32 x 32 pixels in two class folders, no two alike."""
    import numpy as np

    rng = np.random.default_rng(0)
    for name in ("dark", "light"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        light = number % 2
        pixels = rng.integers(128 * light, 128 + 128 * light, (32, 32, 3), dtype=np.uint8)
        path = folder / ("light" if light else "dark") / f"{number:07d}.ppm"
        path.write_bytes(b"P6 32 32 255\n" + pixels.tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000)
    asked = parser.parse_args()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    most: list[float] = []
    for count in (asked.count // 10, asked.count):
        with tempfile.TemporaryDirectory() as folder:
            draw(Path(folder) / "photos", count)
            code = [sys.executable, "-c", FIT, f"{folder}/photos", f"{folder}/cache"]
            done = subprocess.run(code, check=True, stdout=subprocess.PIPE, text=True, env=environment)
            seconds, mebibytes = map(float, done.stdout.split())
            most.append(mebibytes)
            print(f"  {count:>8,} images   {seconds:7.1f} s   at most {mebibytes:7.0f} MiB", flush=True)
    slope = (most[1] - most[0]) * 2**20 / (asked.count - asked.count // 10)
    print(f"  ratio {most[1] / most[0]:.2f}, {slope:,.0f} bytes more per image")


if __name__ == "__main__":
    main()
