"""What a call of `fit` or `fine_tune` asks for, checked before any work starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from .arguments import check_count, check_verbose
from .augmentation import FixedViews
from .rates import LearningRate, check_callbacks, check_rate
from .store import Store

__all__ = ["Augment", "Request", "request"]

Augment = Callable[[Any], Any]


@dataclass(frozen=True)
class Request:
    """What a call of `fit` or `fine_tune` asks for, checked, and what both phases need besides.

    Attributes:
        augment: changes a batch of training pixels, or None.
        views: fixed changed versions of each training image, or None; `augment` then serves where nothing is stored.
        store: where values are found again, or None.
        skip: leave out images that cannot be read.
        precision: of the frozen part, ``"float32"`` or ``"bfloat16"``.
    """

    epochs: int
    batch_size: int
    rate: LearningRate
    callbacks: list[keras.callbacks.Callback]
    verbose: str | int
    augment: Augment | None = None
    views: FixedViews | None = None
    store: Store | None = None
    seed: int = 0
    skip: bool = False
    precision: str = "float32"

    @property
    def redraws(self) -> bool:
        """Whether every epoch sees newly changed images."""
        return self.augment is not None and self.views is None


def request(epochs: object, batch_size: object, rate: object, callbacks: object, verbose: object) -> Request:
    """The arguments that `fit` and `fine_tune` share, checked before any work starts.

    Raises:
        InvalidInputError: one of them breaks a rule.
    """
    listed = check_callbacks(callbacks)
    return Request(
        check_count("epochs", epochs),
        check_count("batch_size", batch_size, example=32),
        check_rate(rate, listed),
        listed,
        check_verbose(verbose),
    )
