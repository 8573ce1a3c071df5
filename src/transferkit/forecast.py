"""How long a pass will take, said from the first images that it computes."""

from __future__ import annotations

import time

from .progress import duration, readable, say

__all__ = ["Forecast"]

# A pass that takes longer than this says so at its start.
FORECAST_SECONDS = 3.0


class Forecast:
    """Says how long a pass will take, from the first images that it computes."""

    def __init__(self, title: str, total: int, unit: str, bytes_each: int, sample: int, verbose: str | int) -> None:
        self._title, self._total, self._unit, self._bytes, self._verbose = title, total, unit, bytes_each, verbose
        self._sample = sample  # so many images are timed
        self._seen = self._computed = 0
        self._started = 0.0
        self._said = verbose == 0

    def note(self, computed: int, seen: int) -> None:
        """Count rows; those that were found in the store take no time worth a forecast."""
        self._seen += seen
        if self._said or not computed:
            return
        now = time.monotonic()
        if not self._started:  # the first call also compiles
            self._started = now
            return
        self._computed += computed
        if self._computed < self._sample:
            return
        self._said = True
        rate = self._computed / (now - self._started)
        rest = self._total - self._seen
        if rest / rate > FORECAST_SECONDS:
            disk = f", {readable(rest * self._bytes)} on disk" if self._bytes else ""
            say(
                f"{self._title}: {rest:,} {self._unit} at {rate:.0f} a second, about {duration(rest / rate)}{disk}.",
                self._verbose,
            )
