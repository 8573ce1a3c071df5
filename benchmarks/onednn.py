"""Feature extraction and fine-tuning with TensorFlow's oneDNN kernels, which transferkit asks for, and without.

    python benchmarks/onednn.py [--photos 300] [--rounds 3]

The setting is read when TensorFlow is imported, so each measurement is a process of its own; they take turns. Figures are
those of MobileNetV2 at 224 px, photos on disk, after a first call, which compiles. On a processor with AVX-512, oneDNN is
TensorFlow's own choice.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from sides import MOBILENET, folder_of, in_turns, print_table, timed

STEPS = 20


def measure(count: int) -> None:
    """Print the figures of this process."""
    import transferkit as tk

    paths = sorted((folder_of("flowers_large") / "train").glob("*/*"))
    chosen = [str(path) for path in paths[:: max(1, len(paths) // count)]][:count]
    labels = [Path(path).parent.name for path in chosen]
    clf = tk.TransferClassifier("MobileNetV2", weights=MOBILENET, cache=False, seed=0)
    clf.fit(chosen, labels, epochs=1, verbose=0)
    seconds, _ = timed(lambda: clf.transform(chosen, verbose=0))
    clf.fine_tune(at="block_13", steps=1, validation=None, verbose=0)
    tuning, _ = timed(lambda: clf.fine_tune(at="block_13", steps=STEPS, validation=None, verbose=0))
    print(json.dumps({"images/s": len(chosen) / seconds, "seconds of fine_tune": tuning}))


def run(setting: str, count: int, _: int) -> Mapping[str, float]:
    """The figures of a new process."""
    command = [sys.executable, __file__, "--measure", "--photos", str(count)]
    done = subprocess.run(
        command, env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": setting}, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        measure(asked.photos)
        return
    sides = {name: partial(run, setting, asked.photos) for name, setting in (("with", "1"), ("without", "0"))}
    print_table(in_turns(sides, asked.rounds), "with", "images/s")


if __name__ == "__main__":
    main()
