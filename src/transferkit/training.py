"""The trained part on values at the cut: epochs, callbacks, and the state that is kept.

Numbers that go wrong stop training in the epoch where they appear. Each step gives its loss and the sum of all
weights, which is NaN or infinite as soon as one of them is; the numbers of a whole compiled loop are looked at in one go.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from .errors import TrainingError, some_of
from .network import TrainedPart
from .progress import Bar, say
from .steps import CORRECT, LOSS, RATE, Data, Loop, Settings
from .values import StoredValues

__all__ = ["Outcome", "train"]

Weights = list[npt.NDArray[Any]]

# The compiled loop of an epoch takes values of about so many bytes at a time.
BLOCK_BYTES = 2**23
# A mean cross-entropy of so many nats says that the wrong class was held for certain, up to e^-1000, image after image.
# No training that learns gets there; weights that ran away without becoming infinite do.
HIGHEST_LOSS = 1000.0
UNCHANGED = "the classifier is as it was before the call."  # how each message of a stopped training ends
BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


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
        self.loop = Loop(part, settings)
        self.outcome = Outcome()
        self.before = [(variable, variable.numpy()) for variable in part.variables]  # a callback may change any
        self.best = _weights(part)
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
            for variable, value in self.before:
                variable.assign(value)
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
            f"The weights hold NaN or infinite values {when}, which no step of training brought in: training goes "
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
