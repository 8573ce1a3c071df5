"""The trained part on values at the cut: steps, epochs, callbacks, and the state that is kept.

One compiled step serves all cases. Where the values are stored feature vectors, many such steps are one
compiled loop: Keras's own `fit` spends several times the arithmetic of a small head on each step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from .errors import InvalidInputError, TrainingError, bad_argument
from .labels import Codes
from .network import TrainedPart
from .progress import Bar, say
from .values import StoredValues, Values

__all__ = ["Data", "Outcome", "Settings", "check_callbacks", "check_rate", "train"]

LearningRate = float | keras.optimizers.schedules.LearningRateSchedule
Weights = list[npt.NDArray[Any]]

# The compiled loop of an epoch takes values of about so many bytes at a time.
BLOCK_BYTES = 2**23
# Feature vectors that are scored in one call; images and feature maps come in batches as in training.
SCORED_ROWS = 4096
BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


@dataclass(frozen=True)
class Data:
    """Values at the cut with the codes of their classes."""

    values: Values
    codes: Codes

    def __len__(self) -> int:
        return len(self.codes)


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
    verbose: str | int


@dataclass
class Outcome:
    """What a phase gave: figures per epoch, the epoch whose weights were kept (0 = those before), seconds."""

    metrics: dict[str, list[float]] = field(default_factory=dict)
    kept: int = 0
    before: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


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
    """A learning rate: a positive number, or a Keras schedule if no callback sets rates."""
    schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
    number = isinstance(rate, (int, float, np.number)) and not isinstance(rate, bool)
    if not schedule and not (number and 0 < float(rate) < math.inf):  # type: ignore[arg-type]
        raise bad_argument(
            "learning_rate", rate, "must be a number above 0 or a Keras schedule", "Pass for example 0.001"
        )
    setters = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
    clash = [type(callback).__name__ for callback in callbacks if isinstance(callback, setters)]
    if schedule and clash:
        raise InvalidInputError(
            f"The callback {clash[0]} sets the learning rate, which a schedule sets already: only one of them can. Pass "
            f"learning_rate as a number, for example 0.001."
        )
    return rate if schedule else float(rate)  # type: ignore[arg-type]


def train(part: TrainedPart, data: Data, validation: Data | None, settings: Settings) -> Outcome:
    """Train the part in place.

    If it is stopped (an error, Ctrl-C), the part goes back to the state before.

    Raises:
        TrainingError: the loss became NaN or infinite.
    """
    part.compile(optimizer=settings.optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return _Run(part, data, validation, settings).run()


class _Run:
    """One phase of training."""

    def __init__(self, part: TrainedPart, data: Data, validation: Data | None, settings: Settings) -> None:
        self.part, self.data, self.validation, self.settings = part, data, validation, settings
        self.random = np.random.default_rng(settings.seed)
        self.steps = -(-len(data) // settings.batch_size)
        self.loop = _Loop(part, settings)
        self.outcome = Outcome()
        self.before = self.best = _weights(part)
        self.best_score = (-math.inf, -math.inf)

    def run(self) -> Outcome:
        settings, started = self.settings, time.monotonic()
        callbacks = keras.callbacks.CallbackList(
            list(settings.callbacks), model=self.part, epochs=settings.epochs, steps=self.steps, verbose=0
        )
        self.part.stop_training = False
        self.hooks = callbacks if any(map(_has_batch_hooks, settings.callbacks)) else None
        self._score_before()
        logs: dict[str, float] = {}
        try:
            with Bar(settings.title, settings.epochs * self.steps, "steps", settings.verbose) as self.bar:
                callbacks.on_train_begin()
                for epoch in range(1, settings.epochs + 1):
                    callbacks.on_epoch_begin(epoch - 1)
                    logs = self._epoch(epoch)
                    self._record(epoch, logs)
                    callbacks.on_epoch_end(epoch - 1, logs)
                    if self.part.stop_training:
                        break
                callbacks.on_train_end(logs)
        except BaseException:
            _set_weights(self.part, self.before)
            raise
        self._keep()
        self.outcome.seconds = time.monotonic() - started
        return self.outcome

    def _score_before(self) -> None:
        """The validation score that this phase has to beat."""
        if self.settings.keep_best and self.validation is not None:
            before = self.loop.evaluate(self.validation)
            self.outcome.before = before
            self.best_score = _score(before)

    def _epoch(self, epoch: int) -> dict[str, float]:
        order = self.random.permutation(len(self.data))
        run = self._fused_epoch if self._can_fuse() else self._stepped_epoch
        totals = run(order, epoch - 1)
        loss, correct = float(totals[0]), float(totals[1])
        self.bar.advance(0, title=f"{self.settings.title}, epoch {epoch} of {self.settings.epochs}")
        logs = {"loss": loss / len(self.data), "accuracy": correct / len(self.data)}
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"The loss became {logs['loss']} in epoch {epoch}: the learning rate is too high for this data, or the data "
                f"holds values that are no numbers. Lower learning_rate; the classifier is as it was before."
            )
        if self.validation is not None:
            logs.update({f"val_{name}": value for name, value in self.loop.evaluate(self.validation).items()})
        logs["learning_rate"] = float(self.loop.optimizer.learning_rate)
        return logs

    def _can_fuse(self) -> bool:
        values = self.data.values
        if self.hooks is not None or not isinstance(values, StoredValues):
            return False
        return all(len(tensor.shape) == 2 for tensor in values.tensors)

    def _fused_epoch(self, order: npt.NDArray[np.int64], epoch: int) -> tuple[float, float]:
        """Many steps in one compiled call."""
        values, size = self.data.values, self.settings.batch_size
        assert isinstance(values, StoredValues)
        rows = max(1, BLOCK_BYTES // (values.row_bytes * size)) * size  # whole batches
        blocks = [order[start : start + rows] for start in range(0, len(order), rows)]
        loss = correct = 0.0
        for block, arrays in zip(blocks, values.batches(blocks, epoch), strict=True):
            block_loss, block_correct = self.loop.steps(arrays, self.data.codes[block])
            loss, correct = loss + float(block_loss), correct + float(block_correct)
            self.bar.advance(-(-len(block) // size))
        return loss, correct

    def _stepped_epoch(self, order: npt.NDArray[np.int64], epoch: int) -> tuple[float, float]:
        size = self.settings.batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        loss = correct = 0.0
        for step, (batch, values) in enumerate(zip(batches, self.data.values.batches(batches, epoch), strict=True)):
            if self.hooks is not None:
                self.hooks.on_train_batch_begin(step)
            step_loss, step_correct = self.loop.step(values, self.data.codes[batch])
            loss, correct = loss + float(step_loss), correct + float(step_correct)
            if self.hooks is not None:
                self.hooks.on_train_batch_end(step, {"loss": float(step_loss) / len(batch)})
            self.bar.advance()
        return loss, correct

    def _record(self, epoch: int, logs: dict[str, float]) -> None:
        for name, value in logs.items():
            self.outcome.metrics.setdefault(name, []).append(value)
        score = (0.0, float(epoch)) if not self._by_validation() else _score(logs, "val_")
        if score > self.best_score or not self._by_validation():
            self.best_score, self.best, self.outcome.kept = score, _weights(self.part), epoch
        if self.settings.verbose == 2:
            figures = ", ".join(f"{name} {value:.4g}" for name, value in logs.items())
            say(f"{self.settings.title}, epoch {epoch} of {self.settings.epochs}: {figures}", 2)

    def _by_validation(self) -> bool:
        return self.settings.keep_best and self.validation is not None

    def _keep(self) -> None:
        """Bring back the best state; without one, note if a callback brought back an earlier epoch of its own."""
        if self._by_validation():
            _set_weights(self.part, self.best)
            return
        for callback in self.settings.callbacks:
            if isinstance(callback, keras.callbacks.EarlyStopping) and callback.restore_best_weights:
                self.outcome.kept = callback.best_epoch + 1


class _Loop:
    """The compiled functions of one phase."""

    def __init__(self, part: TrainedPart, settings: Settings) -> None:
        self.part = part
        self.optimizer = part.optimizer  # compile wraps it where mixed precision needs the loss scaled
        self.batch_size = settings.batch_size
        self.variables = part.trainable_variables
        self.class_weights = tf.constant(settings.class_weights)
        self.optimizer.build(self.variables)
        self.dtypes = [tensor.dtype for tensor in part.inputs]
        values = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in part.inputs]
        codes = tf.TensorSpec((None,), tf.int64)
        self._compiled_step = tf.function(self._step, input_signature=[values, codes])
        self._compiled_steps = tf.function(self._steps, input_signature=[values, codes])
        self._compiled_score = tf.function(self._score_batch, input_signature=[values, codes])

    def step(self, values: list[npt.NDArray[Any]], codes: Codes) -> tuple[tf.Tensor, tf.Tensor]:
        """One step: the sum of its losses and of its right answers."""
        result: tuple[tf.Tensor, tf.Tensor] = self._compiled_step(self._as_inputs(values), codes)
        return result

    def steps(self, values: list[npt.NDArray[Any]], codes: Codes) -> tuple[tf.Tensor, tf.Tensor]:
        """A step for each batch of these, one after the other, in one call."""
        result: tuple[tf.Tensor, tf.Tensor] = self._compiled_steps(self._as_inputs(values), codes)
        return result

    def _as_inputs(self, values: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """What was stored in half precision, in the precision that is computed in."""
        return [array.astype(dtype, copy=False) for array, dtype in zip(values, self.dtypes, strict=True)]

    def evaluate(self, data: Data) -> dict[str, float]:
        """Mean cross-entropy and accuracy, without dropout and class weights."""
        size = self.batch_size if len(self.part.inputs[0].shape) > 2 else SCORED_ROWS
        batches = [np.arange(start, min(start + size, len(data))) for start in range(0, len(data), size)]
        loss = correct = 0.0
        for batch, values in zip(batches, data.values.batches(batches), strict=True):
            batch_loss, batch_correct = self._compiled_score(self._as_inputs(values), data.codes[batch])
            loss, correct = loss + float(batch_loss), correct + float(batch_correct)
        return {"loss": loss / len(data), "accuracy": correct / len(data)}

    def _step(self, values: list[tf.Tensor], codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = self.part(_unpacked(values), training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(codes, logits)
            loss = tf.reduce_mean(losses * tf.gather(self.class_weights, codes))
            # A backbone of the user's may carry regularizers; Keras collects their losses.
            total = tf.add_n([loss, *self.part.losses])
            scaled = self.optimizer.scale_loss(total)
        gradients = tape.gradient(scaled, [variable.value for variable in self.variables])
        self.optimizer.apply(gradients, self.variables)
        return loss * tf.cast(tf.size(codes), tf.float32), _correct(logits, codes)

    def _steps(self, values: list[tf.Tensor], codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        loss = correct = tf.constant(0.0)
        for start in tf.range(0, tf.size(codes), self.batch_size):
            stop = start + self.batch_size
            step_loss, step_correct = self._step([value[start:stop] for value in values], codes[start:stop])
            loss, correct = loss + step_loss, correct + step_correct
        return loss, correct

    def _score_batch(self, values: list[tf.Tensor], codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = self.part(_unpacked(values), training=False)
        return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(codes, logits)), _correct(logits, codes)


def _correct(logits: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(tf.argmax(logits, axis=-1) == codes, tf.float32))


def _score(figures: dict[str, float], prefix: str = "") -> tuple[float, float]:
    """What is compared: accuracy, and the loss where accuracies are equal (small validation sets tie often)."""
    loss = figures[f"{prefix}loss"]
    return figures[f"{prefix}accuracy"], -loss if math.isfinite(loss) else -math.inf


def _has_batch_hooks(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback wants to be called at every step."""
    base = keras.callbacks.Callback
    return any(getattr(type(callback), h) is not getattr(base, h) or h in vars(callback) for h in BATCH_HOOKS)


def _weights(part: TrainedPart) -> Weights:
    return [variable.numpy() for variable in part.trainable_variables]


def _set_weights(part: TrainedPart, weights: Weights) -> None:
    for variable, value in zip(part.trainable_variables, weights, strict=True):
        variable.assign(value)


def _unpacked(values: list[tf.Tensor]) -> Any:
    return values if len(values) > 1 else values[0]
