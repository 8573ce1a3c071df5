"""Adam with a separate rate for each variable, and the schedule of the rate over a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

WARM_UP = 0.1  # of all steps: Adam has no statistics of the gradients yet


class LayerwiseAdam(keras.optimizers.Adam):  # type: ignore[misc]  # Keras has no types
    """Adam with a factor on the rate of each variable, in the order of `build`.

    Scaling the gradients instead has no effect: Adam divides by their size.
    """

    def __init__(self, learning_rate: Any, rates: Sequence[float]) -> None:
        super().__init__(learning_rate)
        self.rates = list(rates)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient, variable, learning_rate * self.rates[self._get_variable_index(variable)])


class WarmUpCosine(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # Keras has no types
    """Up to `peak` in a tenth of the steps, then down to zero along a cosine; a single step has the rate `peak`.

    After Loshchilov and Hutter (2017), "SGDR"; the warm-up after Goyal et al. (2017). A compiled step reads `steps`,
    which each run sets to its own length.
    """

    def __init__(self, peak: float) -> None:
        self.peak, self.steps = peak, tf.Variable(1.0, trainable=False)

    def __call__(self, step: Any) -> Any:
        done, warm_up = tf.cast(step, tf.float32), tf.maximum(1.0, tf.round(WARM_UP * self.steps))
        falling = tf.clip_by_value((done - warm_up) / tf.maximum(1.0, self.steps - warm_up), 0.0, 1.0)
        return self.peak * tf.where(done < warm_up, (done + 1) / warm_up, 0.5 * (1 + tf.cos(math.pi * falling)))

    def get_config(self) -> dict[str, float]:
        return {"peak": self.peak}
