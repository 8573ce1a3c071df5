"""The checked options of a call of `fit` or `fine_tune`, and the checks of learning rates and callbacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import keras
import numpy as np

from .._common.console import Console
from ..cache import Store
from ..errors import InvalidInputError, bad_argument
from ..features import Augmenter, FixedViews
from .checkpoints import Checkpoint, RunFolder

LearningRate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule | Literal["auto"]

# Adam moves each weight by about the rate in each step. Weights are mostly below 1, also in a head on features of unit
# size: a higher rate is a typo, such as 1e6 for 1e-6.
HIGHEST_RATE = 100.0


@dataclass(frozen=True)
class FitOptions:
    """The checked options of a call of `fit` or `fine_tune`.

    Attributes:
        epochs: None = as many as the recipe uses.
        rate: None = the rate of the recipe.
        skip: leave out images that cannot be read.
        augment: changes a batch of training pixels, or None.
        views: fixed changed versions of each training image, or None; `augment` then only serves values not stored.
        store: where computed values are stored, or None.
        seed: of the order of images.
        folder: where the state of the run is stored, or None.
        strategy: a `tf.distribute.Strategy` for training by steps; None = one device.
    """

    epochs: int | None
    batch_size: int
    rate: LearningRate | None
    callbacks: list[keras.callbacks.Callback]
    skip: bool
    console: Console
    augment: Augmenter | None
    views: FixedViews | None
    store: Store | None
    seed: int
    folder: RunFolder | None = None
    strategy: Any = None

    def scope(self) -> AbstractContextManager[Any]:
        """The scope in which to create variables that each device of the strategy has a copy of."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    @property
    def checkpoint(self) -> Checkpoint | None:
        """Stores the state of the run on all images."""
        return None if self.folder is None else self.folder.checkpoint("run")

    @property
    def solves(self) -> bool:
        """Whether `fit` solves for the head: no option says how to train it, and its features are stored."""
        by_steps = self.epochs is not None or self.rate is not None or self.callbacks
        return not by_steps and (self.augment is None or self.views is not None)


@dataclass(frozen=True)
class Tuning:
    """The checked options that only `fine_tune` has.

    Attributes:
        steps: None = as many as the recipe uses.
        new_head: start from a head solved for on these images alone: the classifier has seen no others.
        layer_decay: the rate of the first trained layer, as a share of that of the head.
    """

    steps: int | None
    layer_decay: float
    label_smoothing: float
    new_head: bool = True


def check_callbacks(callbacks: object) -> list[keras.callbacks.Callback]:
    """One Keras callback, several or None -> a list.

    Raises:
        InvalidInputError: one of them is not a Keras callback, or cannot work here.
    """
    several = () if callbacks is None else callbacks
    listed = list(several) if isinstance(several, (list, tuple)) else [several]
    for callback in listed:
        if not isinstance(callback, keras.callbacks.Callback):
            raise bad_argument(
                "callbacks", callback, "must hold Keras callbacks", "Pass for example [keras.callbacks.CSVLogger(path)]"
            )
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise InvalidInputError(
                "The callback BackupAndRestore would restore weights, but neither the epoch nor the optimizer. Pass "
                "resume=folder instead, which restores all of them."
            )
    return listed


def check_rate(rate: Any, callbacks: Sequence[keras.callbacks.Callback]) -> Any:
    """A learning rate: a positive number up to 100, or a Keras schedule if no callback sets rates; None for ``"auto"``.

    Raises:
        InvalidInputError: something else, a first value out of range, or both a schedule and a callback that sets
            rates.
    """
    remedy = "Pass for example 0.001"
    if isinstance(rate, str) and rate == "auto":
        return None
    is_schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
    is_number = isinstance(rate, (int, float, np.number)) and not isinstance(rate, bool)
    if not is_schedule and not (is_number and 0 < rate < math.inf):
        raise bad_argument("learning_rate", rate, "must be a number above 0, a Keras schedule or 'auto'", remedy)
    first = _first_value(rate) if is_schedule else float(rate)
    if first is not None and not 0 <= first <= HIGHEST_RATE:  # a schedule may begin at 0, to warm up
        start = f"starts at {first:g}, and " if is_schedule else ""
        rule = f"{start}must be at most {HIGHEST_RATE:g}: Adam moves each weight by about the rate in each step"
        raise bad_argument("learning_rate", rate, rule, remedy)
    if is_schedule:
        refuse_rate_setters(callbacks, "the schedule", "Pass learning_rate as a number, for example 0.001")
    return rate if is_schedule else first


def refuse_rate_setters(callbacks: Sequence[keras.callbacks.Callback], other: str, remedy: str) -> None:
    """Refuse callbacks that set the learning rate if `other` does so, too.

    Raises:
        InvalidInputError: there is such a callback.
    """
    setters = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
    for callback in callbacks:
        if isinstance(callback, setters):
            raise InvalidInputError(
                f"The callback {type(callback).__name__} sets the learning rate, and so does {other}: only one of them "
                f"can. {remedy}."
            )


def _first_value(schedule: Any) -> float | None:
    """A schedule's rate at the first step; None if it cannot be computed outside training."""
    try:
        return float(schedule(0))
    except Exception:  # a user's schedule may need anything
        return None
