"""Feature extraction by two processes with one thread each into one store, against one process with two threads.

    python benchmarks/processes.py [--count 400] [--rounds 3]

All three are started once, and work through their photos in a first round that is not counted: start-up, imports and
compilation are left out. Then the sides take turns, each into an empty store. Needs two cores that nothing else uses.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from sides import MOBILENET, folder_of, in_turns, print_table, timed

WORKER = """
import json, sys
import transferkit as tk
clf = tk.TransferClassifier("MobileNetV2", weights=sys.argv[1], seed=0)
for line in sys.stdin:
    task = json.loads(line)
    answer = tk.FeatureBatch(clf, store=task["store"], image="path", num_cpus=int(sys.argv[2]))({"path": task["paths"]})
    print(sum(reason is None for reason in answer["error"]), flush=True)
"""


class Worker:
    """A process that extracts features."""

    def __init__(self, cpus: int) -> None:
        command = [sys.executable, "-c", WORKER, str(MOBILENET), str(cpus)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(self, store: str, paths: Sequence[Path]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"store": store, "paths": [str(path) for path in paths]}) + "\n")
        self._process.stdin.flush()

    def count(self) -> int:
        """How many photos it could read, once it is done with them."""
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.communicate()


def extract(workers: Sequence[Worker], photos: Sequence[Path]) -> Mapping[str, float]:
    """Each worker takes as many of the photos."""

    def work() -> int:
        for number, worker in enumerate(workers):
            worker.start(store, photos[number :: len(workers)])
        return sum(worker.count() for worker in workers)

    with tempfile.TemporaryDirectory() as store:
        seconds, count = timed(work)
    assert count == len(photos)
    return {"seconds": seconds, "photos/s": count / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    photos = sorted(folder_of("cats_dogs").rglob("*.jpg"))[: asked.count]
    one, two = [Worker(2)], [Worker(1), Worker(1)]
    print(f"{len(photos)} photos of cats_dogs, MobileNetV2 at 224 px")
    sides = {
        "one process, 2 threads": lambda _: extract(one, photos),
        "two processes, 1 thread": lambda _: extract(two, photos),
    }
    print_table(in_turns(sides, asked.rounds, warm_up=True), "one process, 2 threads")
    for worker in one + two:
        worker.stop()


if __name__ == "__main__":
    main()
