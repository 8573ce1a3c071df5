"""How long feature extraction will take, estimated from the first images that it computes."""

from __future__ import annotations

import time

from .._console import Console, duration, readable

__all__ = ["Forecast"]

FORECAST_SECONDS = 3.0  # shorter work needs no forecast


class Forecast:
    """Says once how long the rest will take, when `sample` images have been timed."""

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
