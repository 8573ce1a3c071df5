"""The compiled steps of training: each takes a batch of values at the cut, updates the model, and returns its numbers.

On stored feature vectors, one compiled loop runs many steps: the overhead of a step in Keras's own `fit` is several
times the arithmetic of a small head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from .._common.console import Console
from ..features import Values
from ..images import Codes, Images, Indices
from .checkpoints import Checkpoint
from .optimizer import WarmUpCosine

# Feature vectors that are scored in one call; images and feature maps come in batches as in training.
SCORED_ROWS = 4096
# The columns of a step's numbers: the sums of its losses and correct answers, the sum of all weights, the rate.
LOSS, CORRECT, WEIGHTS, RATE = range(4)


@dataclass(frozen=True)
class Data:
    """Values at the cut, their class codes, and the images that errors name."""

    values: Values
    codes: Codes
    images: Images

    def __len__(self) -> int:
        return len(self.codes)

    def subset(self, positions: npt.NDArray[np.int64]) -> Data:
        """Some of the images."""
        return Data(self.values.subset(positions), self.codes[positions], self.images.subset(positions.tolist()))

    def without_changes(self) -> Data:
        """The same images, not augmented."""
        return replace(self, values=self.values.without_changes())

    def names(self, positions: npt.NDArray[np.int64]) -> list[str]:
        """How errors name the images at these positions."""
        return [self.images.name(index) for index in positions.tolist()]


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        class_weights: float32 `(n_classes,)`; with several labels per image, `(2, n_classes)`, without and with each.
        smoothing: the share of each label that is spread evenly over all classes (Szegedy et al., 2016).
        also: variables to train besides the trainable ones of the model.
        checkpoint: stores the state of the run, so that it can go on after a kill; None = nothing is stored.
        start_strength: solve for a head with this C first, and start from it; None = start from the current head.
        course: the schedule of the rate, stretched to the length of a run; None = the rate does not depend on it.
    """

    optimizer: keras.optimizers.Optimizer
    epochs: int
    batch_size: int
    seed: int
    class_weights: npt.NDArray[np.float32]
    callbacks: Sequence[keras.callbacks.Callback]
    title: str
    console: Console
    smoothing: float = 0.0
    also: Sequence[keras.Variable] = ()
    start_strength: float | None = None
    checkpoint: Checkpoint | None = None
    course: WarmUpCosine | None = None


class Inference:
    """Computes the outputs of a model, without dropout."""

    def __init__(self, model: keras.Model, batch_size: int) -> None:
        self.model, self.batch_size = model, batch_size

    @cached_property
    def _compiled(self) -> Any:
        return compiled(lambda values: logits_of(self.model, values, training=False), [signature(self.model)])

    def __call__(self, data: Data) -> npt.NDArray[np.float32]:
        """The outputs for each image, float32 `(n, ...)`."""
        size = self.batch_size if len(self.model.inputs[0].shape) > 2 else SCORED_ROWS
        batches = [np.arange(start, min(start + size, len(data))) for start in range(0, len(data), size)]
        given = data.values.batches(batches)
        return np.concatenate([self._compiled(as_inputs(self.model, values)).numpy() for values in given])


class Loop:
    """The compiled functions of one phase; several runs may use them, one after the other.

    `whole` is the model that callbacks get, whose last part is `model`; None = `model` itself.
    """

    def __init__(self, model: keras.Model, settings: Settings, whole: keras.Model | None = None) -> None:
        self.model, self.shown = model, whole or model
        self.has_several = settings.class_weights.ndim == 2
        of_code = [model.output_shape[-1]] if self.has_several else []  # the shape of an image's code
        loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=whole is None)
        accuracy: Any = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        if self.has_several:
            loss = keras.losses.BinaryCrossentropy(from_logits=whole is None)
            accuracy = keras.metrics.BinaryAccuracy(name="accuracy")
        model.compile(optimizer=settings.optimizer)
        self.shown.compile(optimizer=model.optimizer, loss=loss, metrics=[accuracy])
        # Builds the metric: callbacks that monitor it ask the model whether higher is better.
        self.shown.compute_metrics(
            None, np.zeros([1, *of_code], np.int64), np.zeros((1, model.output_shape[-1]), np.float32)
        )
        self.optimizer = model.optimizer  # compile wraps it where mixed precision needs the loss scaled
        self.batch_size = settings.batch_size
        self.smoothing = settings.smoothing
        self.variables = [*model.trainable_variables, *settings.also]
        self.class_weights = tf.constant(settings.class_weights)
        self.optimizer.build(self.variables)
        self._fresh = [(variable, variable.numpy()) for variable in self.optimizer.variables]
        self.logits = Inference(model, settings.batch_size)
        self.signature = [signature(model), tf.TensorSpec([None, *of_code], tf.int64)]

    @cached_property
    def _one_step(self) -> Any:
        return compiled(self._step, self.signature)

    @cached_property
    def _many_steps(self) -> Any:
        return compiled(self._steps, self.signature)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(tf.convert_to_tensor(self.optimizer.learning_rate))  # `float` fails for several devices

    def refuse_disagreement(self, facts: list[int]) -> None:
        """Refuse to train if another process has different facts: each would wait for the other forever."""

    def own(self, images: Indices, codes: Codes) -> tuple[Indices, Codes]:
        """The images of one or more batches that this process reads, and their codes for `train`."""
        return images, codes

    def train(self, values: list[npt.NDArray[Any]], codes: Codes) -> npt.NDArray[np.float32]:
        """Take a step for each batch, one after the other, in one call; returns float32 `(steps, 4)`."""
        function = self._many_steps if len(codes) > self.batch_size else self._one_step
        numbers: npt.NDArray[np.float32] = (
            function(as_inputs(self.model, values), tf.constant(codes)).numpy().reshape(-1, 4)
        )
        return numbers

    def sum_of_weights(self) -> float:
        """The sum of all weights, trained or not: NaN or infinite if one of them is."""
        fixed = [variable for variable in self.model.non_trainable_variables if "float" in str(variable.dtype)]
        return float(self._sum_of_weights()) + sum(float(tf.reduce_sum(variable.value)) for variable in fixed)

    def reset(self) -> None:
        """Forget the momentum and the step count of an earlier run."""
        for variable, value in self._fresh:
            variable.assign(value)

    def _step(self, values: list[tf.Tensor], codes: tf.Tensor) -> tf.Tensor:
        rate = tf.cast(self.optimizer.learning_rate, tf.float32)  # before the step counts as done
        with tf.GradientTape() as tape:
            logits = logits_of(self.model, values, training=True)
            loss = tf.reduce_mean(self._losses(logits, codes))
            # A user's backbone may have regularizers; Keras collects their losses.
            scaled = self.optimizer.scale_loss(tf.add_n([loss, *self.model.losses]))
        gradients = tape.gradient(scaled, [variable.value for variable in self.variables])
        # Gradients are not checked: with a scaled loss, infinite ones are expected, and the optimizer skips their step.
        self.optimizer.apply(gradients, self.variables)
        count = tf.cast(tf.shape(codes)[0], tf.float32)
        correct = tf.reduce_sum(self._is_right(logits, codes))
        return tf.stack([loss * count, correct, self._sum_of_weights(), rate])

    def _is_right(self, logits: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """1 for each correctly classified image, else 0; with several labels per image, all must be correct."""
        if self.has_several:
            return tf.cast(tf.reduce_all((logits >= 0) == (codes == 1), axis=-1), tf.float32)
        return tf.cast(tf.argmax(logits, axis=-1) == codes, tf.float32)

    def _losses(self, logits: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """The weighted cross-entropy of each image; with several labels per image, the mean over the labels."""
        if self.has_several:
            targets = (1 - self.smoothing) * tf.cast(codes, tf.float32) + self.smoothing / 2
            losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
            return tf.reduce_mean(losses * tf.where(codes == 1, self.class_weights[1], self.class_weights[0]), axis=-1)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(codes, logits)
        if self.smoothing:
            losses += self.smoothing * (tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1) - losses)
        return losses * tf.gather(self.class_weights, codes)

    def _steps(self, values: list[tf.Tensor], codes: tf.Tensor) -> tf.Tensor:
        count = -(-tf.shape(codes)[0] // self.batch_size)

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

        In float32, since the sum of many small weights can exceed the range of float16.
        """
        return tf.add_n([tf.reduce_sum(tf.cast(variable.value, tf.float32)) for variable in self.variables])


def signature(model: keras.Model) -> list[tf.TensorSpec]:
    """The input signature of a model, for batches of any length."""
    return [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]


def compiled(function: Any, given: Sequence[Any]) -> Any:
    """A concrete function: TensorFlow warns about every `tf.function` that replaces one of an earlier call."""
    return tf.function(function, input_signature=given, autograph=False).get_concrete_function()


def as_inputs(model: keras.Model, values: list[npt.NDArray[Any]]) -> list[tf.Tensor]:
    """Values, which may be stored in half precision, as tensors in the precision of the model."""
    return [tf.constant(array.astype(to.dtype, copy=False)) for array, to in zip(values, model.inputs, strict=True)]


def logits_of(model: keras.Model, values: list[tf.Tensor], training: bool) -> tf.Tensor:
    return model(values if len(values) > 1 else values[0], training=training)
