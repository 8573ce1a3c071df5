"""Seconds of ``import transferkit`` in a new process, against ``import keras``.

python benchmarks/import_time.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

PROGRAM = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def seconds(module: str) -> float:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM.format(module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = range(parser.parse_args().rounds)
    medians = {
        name: statistics.median(values)
        for name, values in {m: [seconds(m) for _ in rounds] for m in ("transferkit", "keras")}.items()
    }
    for name, value in medians.items():
        print(f"import {name:<12} {value:.3f} s")


if __name__ == "__main__":
    main()
