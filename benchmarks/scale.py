"""How a store of many rows behaves: seconds and memory to open it and to find 10,000 rows, each size in a process.

python benchmarks/scale.py --rows 10000 100000 1000000

A row is 1,280 values of float32, as the features of MobileNetV2 are: a million take 5 GB of the temporary folder. They
are written in shards of 32 MB, as one process writes them, or of `--shard-rows` rows, as the batches of workers are.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from transferkit.cache import KEY, Store
from transferkit.cache.tables import SHARD_BYTES

WIDTH, FOUND = 1280, 10_000
TENSORS = (("float32", (WIDTH,)),)
ROW_BYTES = WIDTH * 4


def keys_of(numbers: np.ndarray) -> np.ndarray:
    """16 bytes for each number, in no order, as hashes are."""
    mixed = np.stack([numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15), numbers.astype(np.uint64)], axis=1)
    return np.ascontiguousarray(mixed).view(KEY).ravel()


def fill(folder: Path, rows: int, each: int) -> float:
    """Write the rows; seconds."""
    started = time.perf_counter()
    table = Store(folder, 2**63).table("scale", TENSORS)
    for start in range(0, rows, each):
        numbers = np.arange(start, min(start + each, rows))
        values = np.empty(len(numbers), table.dtype)
        values["f0"] = numbers[:, np.newaxis]
        table.write(keys_of(numbers), values)
    return time.perf_counter() - started


def find(folder: Path, rows: int) -> str:
    """Open the store and read some of its rows, spread over all; a line of figures."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    session = Store(folder, 2**63).session("scale", TENSORS)
    opened = time.perf_counter()
    wanted = np.linspace(0, rows - 1, min(rows, FOUND)).astype(np.int64)
    values, found = session.read(keys_of(wanted))
    ended = time.perf_counter()
    assert found.all()
    assert np.array_equal(values["f0"][:, 0], wanted.astype(np.float32))
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    times = f"opened in {opened - started:.2f} s, {len(wanted):,} rows found in {ended - opened:.2f} s"
    return f"{times}, {memory:.0f} MB above the peak of the imports"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a store of many rows.")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--shard-rows", type=int, default=SHARD_BYTES // ROW_BYTES)
    parser.add_argument("--find", type=Path, help=argparse.SUPPRESS)  # what the program starts itself with
    args = parser.parse_args()
    if args.find is not None:
        print(find(args.find, args.rows[0]))
        return
    for rows in args.rows:
        with tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
            seconds = fill(Path(folder), rows, args.shard_rows)
            command = [sys.executable, __file__, "--find", folder, "--rows", str(rows)]
            line = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            print(f"{rows:>11,} rows: written in {seconds:.1f} s, {line}", flush=True)


if __name__ == "__main__":
    main()
