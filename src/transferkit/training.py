"""The trained part on values at the cut: steps, epochs, callbacks, and the state that is kept.

One compiled step serves all cases. Where the values are stored feature vectors, many such steps are one
compiled loop: Keras's own `fit` spends several times the arithmetic of a small head on each step.

Numbers that go wrong stop training in the epoch where they appear. Each step gives its loss and the sum of all
weights, which is NaN or infinite as soon as one of them is; the numbers of a whole compiled loop are looked at in one go.
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

from .errors import InvalidInputError, TrainingError, bad_argument, some_of
from .images import Images
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
# Adam moves each weight by about the rate in each step. Weights are mostly below 1, those of a head on features of unit
# size as well: a rate above this is a slip, such as 1e6 for 1e-6.
HIGHEST_RATE = 100.0
# A mean cross-entropy of so many nats says that the wrong class was held for certain, up to e^-1000, image after image.
# No training that learns gets there; weights that ran away without becoming infinite do.
HIGHEST_LOSS = 1000.0
# What a step gives, in this order: the sums of its losses and right answers, the sum of all weights, the rate.
LOSS, CORRECT, WEIGHTS, RATE = range(4)
UNCHANGED = "the classifier is as it was before the call."  # how each message of a stopped training ends
BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


@dataclass(frozen=True)
class Data:
    """Values at the cut with the codes of their classes, and the images that errors name, if these are known."""

    values: Values
    codes: Codes
    images: Images | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def names(self, positions: npt.NDArray[np.int64]) -> list[str]:
        """How errors name the images at these positions."""
        if self.images is None:
            return []
        return [self.images.path(index) or self.images.name(index) for index in positions.tolist()]


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
class _Tally:
    """The numbers of an epoch so far: sums of losses and right answers, the highest rate, the worst batch."""

    loss: float = 0.0
    correct: float = 0.0
    rate: float = 0.0
    worst: float = -math.inf
    worst_batch: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


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


def train(part: TrainedPart, data: Data, validation: Data | None, settings: Settings) -> Outcome:
    """Train the part in place.

    If it is stopped (an error, Ctrl-C), the part goes back to the state before.

    Raises:
        TrainingError: loss or weights became NaN or infinite, or the loss of an epoch so high that nothing is learnt.
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
                    self._refuse_wrong_weights(f"before the first step of epoch {epoch}")
                    logs = self._epoch(epoch)
                    self._record(epoch, logs)
                    callbacks.on_epoch_end(epoch - 1, logs)
                    if self.part.stop_training:
                        break
                callbacks.on_train_end(logs)
            self._keep()
            self._refuse_wrong_weights("after the last epoch")
        except BaseException:
            _set_weights(self.part, self.before)
            raise
        self.outcome.seconds = time.monotonic() - started
        return self.outcome

    def _score_before(self) -> None:
        """The validation score that this phase has to beat."""
        if self.settings.keep_best and self.validation is not None:
            before = _means(*self.loop.losses(self.validation))
            self.outcome.before = before
            self.best_score = _score(before)

    def _epoch(self, epoch: int) -> dict[str, float]:
        order = self.random.permutation(len(self.data))
        self.epoch, self.tally = epoch, _Tally()
        run = self._fused_epoch if self._can_fuse() else self._stepped_epoch
        run(order, epoch - 1)
        self.bar.advance(0, title=f"{self.settings.title}, epoch {epoch} of {self.settings.epochs}")
        logs = {"loss": self.tally.loss / len(self.data), "accuracy": self.tally.correct / len(self.data)}
        self._refuse_divergence(logs["loss"])
        if self.validation is not None:
            logs.update({f"val_{name}": value for name, value in self._validated(self.validation).items()})
        logs["learning_rate"] = float(self.loop.optimizer.learning_rate)
        return logs

    def _count(self, numbers: npt.NDArray[np.float32], positions: npt.NDArray[np.int64]) -> None:
        """Add what some steps gave, one row each, to the epoch's tally; the first step that went wrong stops training.

        Args:
            numbers: float32 `(steps, 4)`, the columns as `LOSS` and its like say.
            positions: the images of these steps, one batch after the other.
        """
        tally, size = self.tally, self.settings.batch_size
        finite = np.isfinite(numbers).all(axis=1)
        if not finite.all():
            wrong = int(finite.argmin())
            tally.rate = float(np.maximum(tally.rate, numbers[: wrong + 1, RATE].max()))  # NaN stays NaN
            raise self._wrong_step(numbers[wrong], positions[wrong * size : (wrong + 1) * size])
        sums = numbers.sum(axis=0, dtype=np.float64)
        tally.loss, tally.correct = tally.loss + float(sums[LOSS]), tally.correct + float(sums[CORRECT])
        tally.rate = max(tally.rate, float(numbers[:, RATE].max()))
        means = numbers[:, LOSS] / np.minimum(size, len(positions) - size * np.arange(len(numbers)))
        worst = int(means.argmax())
        if means[worst] > tally.worst:
            tally.worst, tally.worst_batch = float(means[worst]), positions[worst * size : (worst + 1) * size]

    def _wrong_step(self, numbers: npt.NDArray[np.float32], batch: npt.NDArray[np.int64]) -> TrainingError:
        """The error of a step after which the loss or a weight is not finite."""
        loss = float(numbers[LOSS]) / len(batch)
        weights = f"The weights became NaN or infinite (the loss was {loss:.4g})"
        what = weights if math.isfinite(loss) else f"The loss became {_word(loss)}"
        names = self.data.names(batch)
        return TrainingError(
            f"{what} in epoch {self.epoch}, {self._at_rate()}{_of_batch(', in the batch of', names)}: training goes on with "
            f"finite numbers alone. Lower learning_rate, or look at "
            f"{'these images' if names else 'the images'} and what the augmentation makes of them; {UNCHANGED}",
            names,
        )

    def _refuse_divergence(self, loss: float) -> None:
        limit = HIGHEST_LOSS * max(1.0, float(self.settings.class_weights.max()))
        if loss <= limit:
            return
        names = self.data.names(self.tally.worst_batch)
        raise TrainingError(
            f"The mean loss of epoch {self.epoch} was {loss:.4g}, {self._at_rate()}"
            f"{_of_batch(', the highest in the batch of', names)}: a training that learns stays below {limit:g}. Lower "
            f"learning_rate, or check whether {'these images' if names else 'some images'} hold far larger values than the "
            f"others; {UNCHANGED}",
            names,
        )

    def _refuse_wrong_weights(self, when: str) -> None:
        """What the steps gave was looked at already: this finds what came in between them."""
        if math.isfinite(self.loop.sum_of_weights()):
            return
        raise TrainingError(
            f"The trained weights hold NaN or infinite values {when}, which no step of training brought in: training goes "
            f"on with finite numbers alone. Look at the callbacks, and at the weights that it started from; {UNCHANGED}"
        )

    def _validated(self, validation: Data) -> dict[str, float]:
        """The figures of validation; a loss that is NaN or infinite stops training as one of its own does."""
        losses, correct = self.loop.losses(validation)
        wrong = np.flatnonzero(~np.isfinite(losses))
        if wrong.size:
            names = validation.names(wrong)
            raise TrainingError(
                f"The validation loss became {_word(float(losses[wrong[0]]))} in epoch {self.epoch}, {self._at_rate()}"
                f"{_of_batch(', for', names)}: validation needs finite numbers, as training does. Lower learning_rate, or "
                f"look at {'these images' if names else 'the validation images'}; {UNCHANGED}",
                names,
            )
        return _means(losses, correct)

    def _at_rate(self) -> str:
        return f"at a learning rate of {self.tally.rate:g}"

    def _can_fuse(self) -> bool:
        values = self.data.values
        if self.hooks is not None or not isinstance(values, StoredValues):
            return False
        return all(len(tensor.shape) == 2 for tensor in values.tensors)

    def _fused_epoch(self, order: npt.NDArray[np.int64], epoch: int) -> None:
        """Many steps in one compiled call."""
        values, size = self.data.values, self.settings.batch_size
        assert isinstance(values, StoredValues)
        rows = max(1, BLOCK_BYTES // (values.row_bytes * size)) * size  # whole batches
        blocks = [order[start : start + rows] for start in range(0, len(order), rows)]
        for block, arrays in zip(blocks, values.batches(blocks, epoch), strict=True):
            self._count(self.loop.steps(arrays, self.data.codes[block]), block)
            self.bar.advance(-(-len(block) // size))

    def _stepped_epoch(self, order: npt.NDArray[np.int64], epoch: int) -> None:
        size = self.settings.batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        for step, (batch, values) in enumerate(zip(batches, self.data.values.batches(batches, epoch), strict=True)):
            if self.hooks is not None:
                self.hooks.on_train_batch_begin(step)
            numbers = self.loop.step(values, self.data.codes[batch])
            self._count(numbers, batch)
            if self.hooks is not None:
                self.hooks.on_train_batch_end(step, {"loss": float(numbers[0, LOSS]) / len(batch)})
            self.bar.advance()

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

    def step(self, values: list[npt.NDArray[Any]], codes: Codes) -> npt.NDArray[np.float32]:
        """One step: float32 `(1, 4)`, the columns as `LOSS` and its like say."""
        numbers: npt.NDArray[np.float32] = self._compiled_step(self._as_inputs(values), codes).numpy()
        return numbers[np.newaxis]

    def steps(self, values: list[npt.NDArray[Any]], codes: Codes) -> npt.NDArray[np.float32]:
        """A step for each batch of these, one after the other, in one call: a row for each."""
        numbers: npt.NDArray[np.float32] = self._compiled_steps(self._as_inputs(values), codes).numpy()
        return numbers

    def sum_of_weights(self) -> float:
        """NaN or infinite if one of the trained weights is."""
        return float(self._sum_of_weights())

    def _as_inputs(self, values: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """What was stored in half precision, in the precision that is computed in."""
        return [array.astype(dtype, copy=False) for array, dtype in zip(values, self.dtypes, strict=True)]

    def losses(self, data: Data) -> tuple[npt.NDArray[np.float32], float]:
        """The cross-entropy of each image `(n,)` and the number of right answers, without dropout and class weights."""
        size = self.batch_size if len(self.part.inputs[0].shape) > 2 else SCORED_ROWS
        batches = [np.arange(start, min(start + size, len(data))) for start in range(0, len(data), size)]
        losses, correct = np.empty(len(data), np.float32), 0.0
        for batch, values in zip(batches, data.values.batches(batches), strict=True):
            batch_losses, batch_correct = self._compiled_score(self._as_inputs(values), data.codes[batch])
            losses[batch], correct = batch_losses.numpy(), correct + float(batch_correct)
        return losses, correct

    def _step(self, values: list[tf.Tensor], codes: tf.Tensor) -> tf.Tensor:
        rate = tf.cast(self.optimizer.learning_rate, tf.float32)  # before the step counts as done
        with tf.GradientTape() as tape:
            logits = self.part(_unpacked(values), training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(codes, logits)
            loss = tf.reduce_mean(losses * tf.gather(self.class_weights, codes))
            # A backbone of the user's may carry regularizers; Keras collects their losses.
            total = tf.add_n([loss, *self.part.losses])
            scaled = self.optimizer.scale_loss(total)
        gradients = tape.gradient(scaled, [variable.value for variable in self.variables])
        # Gradients are not looked at: where the loss is scaled, infinite ones are expected, and their step is left out.
        self.optimizer.apply(gradients, self.variables)
        return tf.stack(
            [loss * tf.cast(tf.size(codes), tf.float32), _correct(logits, codes), self._sum_of_weights(), rate]
        )

    def _steps(self, values: list[tf.Tensor], codes: tf.Tensor) -> tf.Tensor:
        count = -(-tf.size(codes) // self.batch_size)
        numbers = tf.TensorArray(tf.float32, count, element_shape=(4,))
        for step in tf.range(count):
            start = step * self.batch_size
            stop = start + self.batch_size
            numbers = numbers.write(step, self._step([value[start:stop] for value in values], codes[start:stop]))
        return numbers.stack()

    def _sum_of_weights(self) -> tf.Tensor:
        """One number that NaN and infinity in any weight show in: what is not finite stays so in sums.

        In float32, since the sum of many small weights can exceed float16.
        """
        return tf.add_n([tf.reduce_sum(tf.cast(variable.value, tf.float32)) for variable in self.variables])

    def _score_batch(self, values: list[tf.Tensor], codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = self.part(_unpacked(values), training=False)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(codes, logits), _correct(logits, codes)


def _correct(logits: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(tf.argmax(logits, axis=-1) == codes, tf.float32))


def _means(losses: npt.NDArray[np.float32], correct: float) -> dict[str, float]:
    """Mean cross-entropy and accuracy."""
    return {"loss": float(losses.mean(dtype=np.float64)), "accuracy": correct / len(losses)}


def _word(number: float) -> str:
    return "NaN" if math.isnan(number) else "infinite"


def _of_batch(words: str, names: list[str]) -> str:
    """The words with the first few of the names, nothing where no names are known."""
    return f"{words} {some_of(names)}" if names else ""


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
