"""The learning rates and callbacks that a user passes, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from .errors import InvalidInputError, bad_argument

__all__ = ["LearningRate", "check_callbacks", "check_rate"]

LearningRate = float | keras.optimizers.schedules.LearningRateSchedule

# Adam moves each weight by about the rate in each step. Weights are mostly below 1, those of a head on features of unit
# size as well: a rate above this is a slip, such as 1e6 for 1e-6.
HIGHEST_RATE = 100.0


def check_callbacks(callbacks: object) -> list[keras.callbacks.Callback]:
    """One Keras callback or several -> a list.

    Raises:
        InvalidInputError: something else is among them.
    """
    listed = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    for callback in listed:
        if not isinstance(callback, keras.callbacks.Callback):
            raise bad_argument(
                "callbacks", callback, "must hold Keras callbacks", "Pass for example [keras.callbacks.CSVLogger(path)]"
            )
    return listed


def check_rate(rate: object, callbacks: Sequence[keras.callbacks.Callback]) -> Any:
    """A learning rate: a positive number up to 100, or a Keras schedule if no callback sets rates.

    Raises:
        InvalidInputError: something else, a number or a schedule's first value that no training survives, or both a
            schedule and a callback that sets rates.
    """
    schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
    number = isinstance(rate, (int, float, np.number)) and not isinstance(rate, bool)
    if not schedule and not (number and 0 < float(rate) < math.inf):  # type: ignore[arg-type]
        raise bad_argument(
            "learning_rate", rate, "must be a number above 0 or a Keras schedule", "Pass for example 0.001"
        )
    first = _first_value(rate) if schedule else float(rate)  # type: ignore[arg-type]
    if first is not None and not 0 <= first <= HIGHEST_RATE:  # a schedule may begin at 0, to warm up
        start = f"starts at {first:g}, and " if schedule else ""
        raise bad_argument(
            "learning_rate",
            rate,
            f"{start}must be at most {HIGHEST_RATE:g}: Adam moves each weight by about the rate in each step",
            "Pass for example 0.001",
        )
    setters = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
    clash = [type(callback).__name__ for callback in callbacks if isinstance(callback, setters)]
    if schedule and clash:
        raise InvalidInputError(
            f"The callback {clash[0]} sets the learning rate, which a schedule sets already: only one of them can. Pass "
            f"learning_rate as a number, for example 0.001."
        )
    return rate if schedule else float(rate)  # type: ignore[arg-type]


def _first_value(schedule: Any) -> float | None:
    """A schedule's rate of the first step, None where it cannot be had outside of training."""
    try:
        return float(schedule(0))
    except Exception:  # a schedule of the user's may need whatever it likes
        return None
