"""The steps of training on several devices, each of which takes its share of the images of a batch.

TensorFlow's strategies copy each variable to every device and add up the gradients. This module does the rest that
makes training equal to that on one device: it divides losses by the size of the whole batch, and draws dropout for the
whole batch. The devices do not run the loop over batches, since TensorFlow cannot add up gradients inside a loop.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ..errors import InvalidInputError, bad_argument
from ..images import Codes, Indices
from .steps import Loop, Settings, compiled, logits_of

PADDING = -1  # the code, or all codes, of a row that only pads a share and is ignored
UNUSABLE = ("ParameterServerStrategy", "TPUStrategy", "CentralStorageStrategy")


def replicas_here(strategy: Any) -> list[int]:
    """The numbers of the replicas that this process runs; only one process runs number 0."""

    def number() -> tf.Tensor:
        return tf.distribute.get_replica_context().replica_id_in_sync_group

    numbers = compiled(lambda: strategy.run(number), [])()  # without a graph, TensorFlow warns that it is slow
    return [int(found) for found in strategy.experimental_local_results(numbers)]


def check_strategy(strategy: Any, seed: int | None) -> Any:
    """A strategy that keeps a copy of each variable on each device.

    Raises:
        InvalidInputError: something else, or several processes without a shared seed.
    """
    remedy = "Pass for example tf.distribute.MirroredStrategy()"
    if not isinstance(strategy, tf.distribute.Strategy):
        raise bad_argument("strategy", strategy, "must be a tf.distribute.Strategy", remedy)
    if any(kind.__name__.startswith(UNUSABLE) for kind in type(strategy).__mro__):
        rule = "is not supported: each device must have a copy of all variables, and batches of any length"
        raise bad_argument("strategy", type(strategy).__name__, rule, remedy)
    if seed is None and strategy.num_replicas_in_sync > len(replicas_here(strategy)):
        raise InvalidInputError(
            "strategy has several processes, and the classifier has no seed: they would train on different batches. Pass "
            "the same seed to TransferClassifier in each process, for example seed=0."
        )
    return strategy


class MirroredLoop(Loop):
    """Steps on all devices of a strategy, with the same resulting weights as on one device up to rounding."""

    def __init__(self, model: keras.Model, settings: Settings, whole: keras.Model | None, strategy: Any) -> None:
        super().__init__(model, settings, whole)
        self.strategy, self.replicas = strategy, strategy.num_replicas_in_sync
        here = replicas_here(strategy)
        self.first, self.here = min(here), len(here)
        self.global_size = settings.batch_size
        self.batch_size = -(-settings.batch_size // self.replicas) * self.here
        for layer in model._flatten_layers():  # Keras has no public API for the layers inside a layer
            if type(layer).call is keras.layers.Dropout.call:
                layer.call = partial(_dropout_of_whole_batch, layer)

    def refuse_disagreement(self, facts: list[int]) -> None:
        mine = tf.constant(facts, tf.float32)
        if self.here == self.replicas or np.array_equal(facts, self._mean_of_all(mine)):
            return
        raise InvalidInputError(
            "The processes of strategy differ in the number of their images, or of the epochs done: they would wait for each "
            "other forever. Pass the same data in each of them, and a resume folder that all of them can read."
        )

    def _mean_of_all(self, mine: tf.Tensor) -> npt.NDArray[np.float32]:
        def mean() -> tf.Tensor:
            return tf.distribute.get_replica_context().all_reduce("MEAN", mine)

        means = compiled(lambda: self.strategy.run(mean), [])()
        return self.strategy.experimental_local_results(means)[0].numpy()  # type: ignore[no-any-return]

    def own(self, images: Indices, codes: Codes) -> tuple[Indices, Codes]:
        """The rows of this process; shares are padded, so that all shares of a batch are equally long."""
        rows = np.concatenate([self._own(start, len(images)) for start in range(0, len(images), self.global_size)])
        own = codes[rows]
        own[rows < 0] = PADDING
        return images[np.maximum(rows, 0)], own

    def _own(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        share = -(-min(self.global_size, stop - start) // self.replicas)
        rows = start + share * self.first + np.arange(share * self.here)
        return np.where(rows < min(start + self.global_size, stop), rows, PADDING)

    def _step(self, values: list[tf.Tensor], codes: tf.Tensor) -> tf.Tensor:
        rate = tf.cast(self.optimizer.learning_rate, tf.float32)  # before the step counts as done
        sums = self.strategy.run(self._share_of_step, (values, codes))
        loss, correct = tf.unstack(self.strategy.reduce("SUM", sums, axis=None))
        return tf.stack([loss, correct, self._sum_of_weights(), rate])

    def _share_of_step(self, values: list[tf.Tensor], codes: tf.Tensor) -> tf.Tensor:
        """One device's share of a step: the sums of its losses and correct answers."""
        context = tf.distribute.get_replica_context()
        share = tf.shape(codes)[0] // self.here
        start = (context.replica_id_in_sync_group - self.first) * share
        with tf.device("CPU:0"):  # a device is sent only its own rows
            values, codes = [value[start : start + share] for value in values], codes[start : start + share]
        is_image = tf.cast((codes[:, 0] if self.has_several else codes) != PADDING, tf.float32)
        count = context.all_reduce("SUM", tf.reduce_sum(is_image))
        with tf.GradientTape() as tape:
            logits = logits_of(self.model, values, training=True)
            loss = tf.reduce_sum(is_image * self._losses(logits, tf.maximum(codes, 0)))
            others = [other / self.replicas for other in self.model.losses]  # each device has them all
            scaled = self.optimizer.scale_loss(tf.add_n([loss / count, *others]))
        gradients = tape.gradient(scaled, [variable.value for variable in self.variables])
        self.optimizer.apply(gradients, self.variables)  # adds up the gradients of all devices
        correct = tf.reduce_sum(is_image * self._is_right(logits, codes))
        return tf.stack([loss, correct])


def _dropout_of_whole_batch(layer: keras.layers.Dropout, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Apply `layer` to this device's share, dropping what one device with the whole batch would drop."""
    if not training or not layer.rate:
        return inputs
    context, share = tf.distribute.get_replica_context(), tf.shape(inputs)[0]
    ones = tf.ones([share * context.num_replicas_in_sync, *tf.unstack(tf.shape(inputs)[1:])], inputs.dtype)
    factors = keras.random.dropout(ones, layer.rate, layer.noise_shape, seed=layer.seed_generator)
    start = context.replica_id_in_sync_group * share
    return inputs * factors[start : start + share]
