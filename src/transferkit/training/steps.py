"""The compiled steps of training: a batch of values at the cut -> a better model, and the numbers of the step.

Where the values are stored feature vectors, many steps are one compiled loop: Keras's own `fit` spends several times
the arithmetic of a small head on each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from .._console import Console
from ..features import Values
from ..images import Codes, Images

__all__ = ["CORRECT", "LOSS", "RATE", "WEIGHTS", "Data", "Loop", "Settings"]

# Feature vectors that are scored in one call; images and feature maps come in batches as in training.
SCORED_ROWS = 4096
# The columns of a step's numbers: the sums of its losses and right answers, the sum of all weights, the rate.
LOSS, CORRECT, WEIGHTS, RATE = range(4)


@dataclass(frozen=True)
class Data:
    """Values at the cut, the codes of their classes, and the images that errors name."""

    values: Values
    codes: Codes
    images: Images

    def __len__(self) -> int:
        return len(self.codes)

    def names(self, positions: npt.NDArray[np.int64]) -> list[str]:
        """How errors name the images at these positions."""
        return [self.images.name(index) for index in positions.tolist()]


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        class_weights: float32 `(n_classes,)`.
        keep_best: keep the best epoch by validation, or the state before; else keep the last epoch.
    """

    optimizer: keras.optimizers.Optimizer
    epochs: int
    batch_size: int
    seed: int
    class_weights: npt.NDArray[np.float32]
    callbacks: Sequence[keras.callbacks.Callback]
    keep_best: bool
    title: str
    console: Console


class Loop:
    """The compiled functions of one phase."""

    def __init__(self, model: keras.Model, settings: Settings) -> None:
        self.model = model
        self.optimizer = model.optimizer  # compile wraps it where mixed precision needs the loss scaled
        self.batch_size = settings.batch_size
        self.variables = model.trainable_variables
        self.class_weights = tf.constant(settings.class_weights)
        self.optimizer.build(self.variables)
        values = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]
        self.signature = [values, tf.TensorSpec((None,), tf.int64)]

    # Concrete functions: TensorFlow warns of every `tf.function` that replaces one of an earlier call.
    @cached_property
    def _one_step(self) -> Any:
        return self._compiled(self._step)

    @cached_property
    def _many_steps(self) -> Any:
        return self._compiled(self._steps)

    @cached_property
    def _score(self) -> Any:
        return self._compiled(lambda values, codes: self._scores(values, codes, training=False))

    def _compiled(self, function: Any) -> Any:
        return tf.function(function, input_signature=self.signature, autograph=False).get_concrete_function()

    def train(self, values: list[npt.NDArray[Any]], codes: Codes) -> npt.NDArray[np.float32]:
        """A step for each batch of these, one after the other, in one call: float32 `(steps, 4)`."""
        compiled = self._many_steps if len(codes) > self.batch_size else self._one_step
        numbers: npt.NDArray[np.float32] = compiled(self._as_inputs(values), tf.constant(codes)).numpy().reshape(-1, 4)
        return numbers

    def sum_of_weights(self) -> float:
        """NaN or infinite if one of the weights is, trained or not."""
        fixed = [variable for variable in self.model.non_trainable_variables if "float" in str(variable.dtype)]
        return float(self._sum_of_weights()) + sum(float(tf.reduce_sum(variable.value)) for variable in fixed)

    def losses(self, data: Data) -> tuple[npt.NDArray[np.float32], float]:
        """The cross-entropy of each image `(n,)` and the number of right answers, without dropout and class weights."""
        size = self.batch_size if len(self.model.inputs[0].shape) > 2 else SCORED_ROWS
        batches = [np.arange(start, min(start + size, len(data))) for start in range(0, len(data), size)]
        losses, correct = np.empty(len(data), np.float32), 0.0
        for batch, values in zip(batches, data.values.batches(batches), strict=True):
            batch_losses, batch_correct = self._score(self._as_inputs(values), tf.constant(data.codes[batch]))
            losses[batch], correct = batch_losses.numpy(), correct + float(batch_correct)
        return losses, correct

    def _as_inputs(self, values: list[npt.NDArray[Any]]) -> list[tf.Tensor]:
        """What was stored in half precision, in the precision of the computation."""
        return [
            tf.constant(array.astype(to.dtype, copy=False)) for array, to in zip(values, self.model.inputs, strict=True)
        ]

    def _step(self, values: list[tf.Tensor], codes: tf.Tensor) -> tf.Tensor:
        rate = tf.cast(self.optimizer.learning_rate, tf.float32)  # before the step counts as done
        with tf.GradientTape() as tape:
            losses, correct = self._scores(values, codes, training=True)
            loss = tf.reduce_mean(losses * tf.gather(self.class_weights, codes))
            # A backbone of the user's may carry regularizers; Keras collects their losses.
            scaled = self.optimizer.scale_loss(tf.add_n([loss, *self.model.losses]))
        gradients = tape.gradient(scaled, [variable.value for variable in self.variables])
        # Gradients are not checked: where the loss is scaled, infinite ones are expected, and their step is left out.
        self.optimizer.apply(gradients, self.variables)
        count = tf.cast(tf.size(codes), tf.float32)
        return tf.stack([loss * count, correct, self._sum_of_weights(), rate])

    def _steps(self, values: list[tf.Tensor], codes: tf.Tensor) -> tf.Tensor:
        count = -(-tf.size(codes) // self.batch_size)

        def body(step: tf.Tensor, numbers: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            start = step * self.batch_size
            stop = start + self.batch_size
            taken = self._step([value[start:stop] for value in values], codes[start:stop])
            return step + 1, numbers.write(step, taken)

        # A loop in Python would need AutoGraph, which gives up where warnings are errors (Python 3.13).
        numbers = tf.TensorArray(tf.float32, count, element_shape=(4,))
        _, numbers = tf.while_loop(lambda step, _: step < count, body, (0, numbers), parallel_iterations=1)
        return numbers.stack()

    def _sum_of_weights(self) -> tf.Tensor:
        """The sum of all trained weights: NaN or infinite if one of them is.

        In float32, since the sum of many small weights can exceed float16.
        """
        return tf.add_n([tf.reduce_sum(tf.cast(variable.value, tf.float32)) for variable in self.variables])

    def _scores(self, values: list[tf.Tensor], codes: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """The cross-entropy of each image `(n,)` and the number of right answers."""
        logits = self.model(values if len(values) > 1 else values[0], training=training)
        correct = tf.reduce_sum(tf.cast(tf.argmax(logits, axis=-1) == codes, tf.float32))
        return tf.nn.sparse_softmax_cross_entropy_with_logits(codes, logits), correct
