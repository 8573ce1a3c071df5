"""A second `fit` in a new process, with other settings of the head, on photos whose features are stored.

    python benchmarks/warm.py [--rounds 3]

Each call runs in a separate process with the same cache folder. The time is that of `fit`, without imports.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from sides import MOBILENET, folder_of, in_turns, print_table

FIT = """
import sys, time
import transferkit as tk
tk.TransferClassifier  # imports TensorFlow
started = time.perf_counter()
clf = tk.TransferClassifier("MobileNetV2", weights=sys.argv[1], cache=sys.argv[2], seed=0, dropout=float(sys.argv[4]))
clf.fit(sys.argv[3], epochs=5, learning_rate=float(sys.argv[5]), verbose=0)
print(time.perf_counter() - started)
"""


def fit(cache: str, photos: str, dropout: float, rate: float) -> Mapping[str, float]:
    code = [sys.executable, "-c", FIT, str(MOBILENET), cache, photos, str(dropout), str(rate)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(code, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return {"seconds": float(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    photos = str(folder_of("cats_dogs") / "train")
    print("cats_dogs, MobileNetV2 at 224 px, 5 epochs, a process for each fit")
    with tempfile.TemporaryDirectory() as folder:
        sides = {
            "first fit, empty cache": lambda n: fit(f"{folder}/{n}", photos, 0.1, 1e-3),
            "second fit, warm cache": lambda n: fit(f"{folder}/{n}", photos, 0.4, 3e-3),
        }
        print_table(in_turns(sides, asked.rounds), "second fit, warm cache")


if __name__ == "__main__":
    main()
