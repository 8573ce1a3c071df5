"""What the benchmarks share: where the photos and weights are, and how the programs that they compare run in turns."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

ASSETS = Path(os.environ.get("TRANSFERKIT_TEST_ASSETS") or Path(__file__).parents[2] / "shared")
MOBILENET = ASSETS / "weights" / "mobilenet_v2_1.0_224_imagenet_notop.weights.h5"

Side = Callable[[int], Mapping[str, float]]  # the round -> "seconds" and other figures


def folder_of(data: str) -> Path:
    """A folder with train/ and test/; ends the program if the photos are missing."""
    folder = ASSETS / "data" / data
    if not (folder / "train").is_dir():
        print(f"skipped: no photos in {folder} (set TRANSFERKIT_TEST_ASSETS)")
        raise SystemExit(0)
    return folder


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that a call takes, and its result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def in_turns(sides: Mapping[str, Side], rounds: int, warm_up: bool = False) -> dict[str, dict[str, float]]:
    """Run every side once per round, print the figures, and return the medians."""
    figures: dict[str, list[Mapping[str, float]]] = {name: [] for name in sides}
    width = max(map(len, sides))
    for number in range(-1 if warm_up else 0, rounds):
        for name, run in sides.items():
            found = run(max(number, 0))
            if number < 0:
                continue
            figures[name].append(found)
            shown = "   ".join(f"{figure} {value:.4g}" for figure, value in found.items())
            print(f"  round {number + 1}  {name:<{width}}  {shown}", flush=True)
    return {
        name: {figure: statistics.median(found[figure] for found in all_found) for figure in all_found[0]}
        for name, all_found in figures.items()
    }


def print_table(medians: Mapping[str, Mapping[str, float]], ours: str, figure: str = "seconds") -> None:
    """Print the medians, and how much longer each side takes than ours (for rates: how much faster ours is)."""
    print("  medians")
    width = max(map(len, medians))
    for name, found in medians.items():
        ratio = found[figure] / medians[ours][figure] if figure == "seconds" else medians[ours][figure] / found[figure]
        shown = "   ".join(f"{key} {value:.4g}" for key, value in found.items())
        print(f"    {name:<{width}}  {shown}   ratio {ratio:.2f}")
