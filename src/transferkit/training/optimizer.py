"""Adam with a rate of its own for each variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

__all__ = ["LayerwiseAdam"]


class LayerwiseAdam(keras.optimizers.Adam):  # type: ignore[misc]  # Keras has no types
    """Adam; the rate is multiplied with the number of each variable, in the order of `build`.

    Gradients cannot be scaled instead: Adam divides by their size.
    """

    def __init__(self, learning_rate: Any, rates: Sequence[float]) -> None:
        super().__init__(learning_rate)
        self.rates = list(rates)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient, variable, learning_rate * self.rates[self._get_variable_index(variable)])
