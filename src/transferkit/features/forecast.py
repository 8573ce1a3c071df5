"""How long feature extraction will take: estimated from its first images, or measured beforehand."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from rich.filesize import decimal as readable

from .._common.console import Console, duration
from ..cache import Keys, Store
from ..network import FeatureExtractor, thread_count

FORECAST_SECONDS = 3.0  # shorter work needs no forecast
TIMED_SECONDS = 0.5  # of work to measure a speed


class Forecast:
    """Says once how long the rest will take, after timing `sample` images."""

    def __init__(self, title: str, total: int, unit: str, bytes_each: int, sample: int, console: Console) -> None:
        self._title, self._unit, self._bytes, self._sample, self._console = title, unit, bytes_each, sample, console
        self._rest, self._computed, self._started = total, 0, 0.0

    def note(self, computed: int, seen: int) -> None:
        """Count rows; reading stored ones takes too little time to matter."""
        self._rest -= seen
        if not computed or self._computed >= self._sample:
            return
        if not self._started:  # the first call also compiles
            self._started = time.monotonic()
            return
        self._computed += computed
        if self._computed >= self._sample:
            self._say(self._computed / (time.monotonic() - self._started))

    def _say(self, rate: float) -> None:
        seconds = self._rest / rate
        if seconds > FORECAST_SECONDS:
            disk = f", {readable(self._rest * self._bytes)} on disk" if self._bytes else ""
            text = f"{self._rest:,} {self._unit} at {rate:.0f} a second, about {duration(seconds)}{disk}."
            self._console.say(f"{self._title}: {text}")


def milliseconds_per_image(extractor: FeatureExtractor) -> float:
    """The time per image in batches on all cores, after a first round that compiles."""
    images = (
        np.random.default_rng(0)
        .uniform(0, 255, (thread_count() * extractor.chunk, *extractor.size, 3))
        .astype(np.float32)
    )
    rounds: list[float] = []
    with ThreadPoolExecutor(thread_count()) as pool:
        while sum(rounds[1:]) < TIMED_SECONDS:
            started = time.monotonic()
            extractor.in_chunks(images, pool)
            rounds.append(time.monotonic() - started)
    return 1000 * statistics.median(rounds[1:]) / len(images)


def count_new(extractor: FeatureExtractor, keys: Keys, store: Store | None) -> int:
    """How many images with these keys have no stored values."""
    if store is None:
        return len(keys)
    return int((~store.table(extractor.name, extractor.tensors).locate(keys)[1]).sum())
