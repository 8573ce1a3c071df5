"""Training behind the cut: epochs, callbacks, which epoch is kept, and the errors that stop it.

NaN and infinite values stop training in the epoch where they appear. Each step returns its loss and the sum of all
weights, which is NaN or infinite as soon as any weight is.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from ..errors import TrainingError, some_of
from ..features import StoredValues
from ..results import Selection
from .scores import Scores
from .steps import CORRECT, LOSS, RATE, Data, Loop, Settings

State = list[tuple[keras.Variable, npt.NDArray[Any]]]

# The compiled loop takes about this many bytes of values at a time.
BLOCK_BYTES = 2**23
# A mean cross-entropy of this many nats means that the right class has a probability of e^-1000, image after image.
# A model that learns never gets there; weights that diverge without becoming infinite do.
HIGHEST_LOSS = 1000.0
UNCHANGED = "the classifier is unchanged."
NOT_FINITE = "loss became NaN or infinite"
BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


@dataclass
class TrainingResult:
    """The result of a run, or of all runs of a phase; attributes as in `Phase`."""

    metrics: dict[str, list[float]] = field(default_factory=dict)
    kept: int = 0
    seconds: float = 0.0
    folds: int = 0
    errors: dict[str, float] = field(default_factory=dict)
    selection: Selection | None = None
    temperature: float = 1.0


def train(loop: Loop, data: Data, validation: Data | None, settings: Settings) -> TrainingResult:
    """Train the model of a loop in place; an error or Ctrl-C restores its earlier state.

    Raises:
        TrainingError: loss or weights became NaN or infinite, or the loss of an epoch is too high to learn from.
    """
    loop.reset()
    started, before = time.monotonic(), state_of(loop.shown)
    _seed(loop.model, settings.seed)
    try:
        result = _Run(loop, data, validation, settings).run()
    except BaseException:
        restore(before)
        raise
    result.seconds = time.monotonic() - started
    return result


def loop_for(model: keras.Model, settings: Settings, whole: keras.Model | None, strategy: Any) -> Loop:
    """The compiled steps on one device, or on those of a strategy, in whose scope the variables were created."""
    if strategy is None:
        # One device has nothing to sum, and TensorFlow would keep the graph of the sum, and its model, for ever.
        settings.optimizer._all_reduce_sum_gradients = list
        return Loop(model, settings, whole)
    from .distribution import MirroredLoop

    return MirroredLoop(model, settings, whole, strategy)


class _Run:
    """One phase of training."""

    def __init__(self, loop: Loop, data: Data, validation: Data | None, settings: Settings) -> None:
        self.model, self.data, self.validation, self.settings = loop.model, data, validation, settings
        self.shown = loop.shown
        self.random = np.random.default_rng(settings.seed)
        self.loop = loop
        self.result = TrainingResult()

    def run(self) -> TrainingResult:
        settings, steps = self.settings, -(-len(self.data) // self.settings.batch_size)
        if settings.course is not None:
            settings.course.steps.assign(settings.epochs * steps)
        callbacks = keras.callbacks.CallbackList(
            list(settings.callbacks), model=self.shown, epochs=settings.epochs, steps=steps, verbose=0
        )
        self.hooks = callbacks if any(map(_has_batch_hooks, settings.callbacks)) else None
        self.shown.stop_training = False
        done = self._restored()
        self.loop.refuse_disagreement([done, len(self.data)])
        logs: dict[str, float] = {}
        with settings.console.bar(settings.title, settings.epochs * steps, "steps") as self.bar:
            self.bar.advance(done * steps)
            callbacks.on_train_begin()
            for epoch in range(done + 1, settings.epochs + 1):
                callbacks.on_epoch_begin(epoch - 1)
                self._refuse_wrong_weights(f"before the first step of epoch {epoch}")
                logs = self._epoch(epoch)
                self._record(epoch, logs)
                callbacks.on_epoch_end(epoch - 1, logs)
                if settings.checkpoint is not None:
                    settings.checkpoint.save(self._state, now=epoch == settings.epochs)
                if self.shown.stop_training:
                    break
            callbacks.on_train_end(logs)
        self._keep()
        self._refuse_wrong_weights("after the last epoch")
        return self.result

    def _state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that the next epochs depend on."""
        values = {f"variable {number}": v.numpy() for number, v in enumerate(self._variables())}
        texts = self.random.bit_generator.state, self.result.metrics
        return values | {"random and metrics": np.array([json.dumps(text) for text in texts])}

    def _restored(self) -> int:
        """Restore the state of an earlier call, and return how many epochs it completed."""
        state = self.settings.checkpoint.load() if self.settings.checkpoint is not None else None
        if state is None or "random and metrics" not in state:
            return 0
        for number, variable in enumerate(self._variables()):
            variable.assign(state[f"variable {number}"])
        self.random.bit_generator.state, self.result.metrics = map(json.loads, state["random and metrics"].tolist())
        self.result.kept = len(self.result.metrics["loss"])
        self.settings.console.say(f"{self.settings.title} continues after epoch {self.result.kept}.")
        return self.result.kept

    def _variables(self) -> list[keras.Variable]:
        """What training changes: weights, generator states, and the variables of the optimizer."""
        return [*self.model.variables, *self.loop.optimizer.variables]

    def _epoch(self, epoch: int) -> dict[str, float]:
        """Train for one epoch, and return its metrics as callbacks get them."""
        order = self.random.permutation(len(self.data))
        self.rate = 0.0  # the highest of the epoch so far
        numbers = np.concatenate(list(self._steps(order, epoch)))
        self.bar.advance(0, title=f"{self.settings.title}, epoch {epoch} of {self.settings.epochs}")
        loss, correct = numbers[:, [LOSS, CORRECT]].sum(axis=0, dtype=np.float64).tolist()
        order = order[: len(numbers) * self.settings.batch_size]  # a callback may have stopped the epoch
        logs = {"loss": loss / len(order), "accuracy": correct / len(order)}
        self._refuse_divergence(epoch, logs["loss"], numbers[:, LOSS], order)
        if self.validation is not None:
            logs |= {f"val_{name}": value for name, value in self._validated(epoch, self.validation).items()}
        logs["learning_rate"] = self.loop.learning_rate
        return logs

    def _steps(self, order: npt.NDArray[np.int64], epoch: int) -> Iterator[npt.NDArray[np.float32]]:
        """Run all steps, and yield their numbers, float32 `(steps, 4)`, call by call."""
        given, rows = self.data.values, self.settings.batch_size
        if self.hooks is None and isinstance(given, StoredValues) and all(len(t.shape) == 2 for t in given.tensors):
            rows *= max(1, BLOCK_BYTES // (given.row_bytes * rows))  # many batches of vectors in one compiled call
        calls = [order[start : start + rows] for start in range(0, len(order), rows)]
        own = [self.loop.own(images, self.data.codes[images]) for images in calls]
        read = given.batches([rows for rows, _ in own], epoch - 1)
        for number, (images, (_, codes), values) in enumerate(zip(calls, own, read, strict=True)):
            if self.hooks is not None:
                self.hooks.on_train_batch_begin(number)
            numbers = self.loop.train(values, codes)
            self._refuse_wrong_step(epoch, numbers, images)
            if self.hooks is not None:
                self.hooks.on_train_batch_end(number, {"loss": float(numbers[0, LOSS]) / len(images)})
            self.bar.advance(len(numbers))
            yield numbers
            if self.shown.stop_training:  # a callback has set it
                break

    def _record(self, epoch: int, logs: dict[str, float]) -> None:
        for name, value in logs.items():
            self.result.metrics.setdefault(name, []).append(value)
        self.result.kept = epoch
        figures = ", ".join(f"{name} {value:.4g}" for name, value in logs.items())
        self.settings.console.say(f"{self.settings.title}, epoch {epoch} of {self.settings.epochs}: {figures}", level=2)

    def _keep(self) -> None:
        """Note the epoch whose weights a callback restored, if one did."""
        for callback in self.settings.callbacks:
            if isinstance(callback, keras.callbacks.EarlyStopping) and callback.best_weights is not None:  # restored
                self.result.kept = callback.best_epoch + 1

    def _refuse_wrong_step(self, epoch: int, numbers: npt.NDArray[np.float32], images: npt.NDArray[np.int64]) -> None:
        """Stop at the first step whose loss or weights are not finite."""
        finite = np.isfinite(numbers).all(axis=1)
        wrong = len(numbers) if finite.all() else int(finite.argmin())
        self.rate = float(np.maximum(self.rate, numbers[: wrong + 1, RATE].max()))  # NaN stays NaN
        if wrong == len(numbers):
            return
        batch = images[wrong * self.settings.batch_size :][: self.settings.batch_size]
        loss = float(numbers[wrong, LOSS]) / len(batch)
        what = f"weights became NaN or infinite (the loss was {loss:.4g})" if math.isfinite(loss) else NOT_FINITE
        raise self._error(
            f"The {what} in epoch {epoch}",
            "in the batch of",
            self.data.names(batch),
            "training needs finite numbers",
            "look at these images and at what the augmentation does to them",
        )

    def _refuse_divergence(
        self, epoch: int, loss: float, losses: npt.NDArray[np.float32], order: npt.NDArray[np.int64]
    ) -> None:
        """Stop if the mean loss is too high to learn from; `losses` holds the sum of each step."""
        limit = HIGHEST_LOSS * max(1.0, float(self.settings.class_weights.max()))
        if loss <= limit:
            return
        size = self.settings.batch_size
        worst = int(np.argmax(losses / np.minimum(size, len(order) - size * np.arange(len(losses)))))
        raise self._error(
            f"The mean loss of epoch {epoch} was {loss:.4g}",
            "the highest in the batch of",
            self.data.names(order[worst * size :][:size]),
            f"the loss of a model that learns stays below {limit:g}",
            "check whether these images contain far larger values than the others",
        )

    def _validated(self, epoch: int, validation: Data) -> dict[str, float]:
        """The validation metrics; a loss that is not finite stops training."""
        scores = Scores.of(self.loop.logits(validation), validation.codes)
        wrong = np.flatnonzero(~np.isfinite(scores.losses))
        if wrong.size:
            raise self._error(
                f"The validation {NOT_FINITE} in epoch {epoch}",
                "for",
                validation.names(wrong),
                "validation needs finite numbers, as training does",
                "look at these images",
            )
        return {"loss": scores.loss, "accuracy": scores.accuracy}

    def _error(self, what: str, where: str, names: list[str], rule: str, remedy: str) -> TrainingError:
        return TrainingError(
            f"{what}, at a learning rate of {self.rate:g}, {where} {some_of(names)}: {rule}. Lower learning_rate, or "
            f"{remedy}; {UNCHANGED}",
            names,
        )

    def _refuse_wrong_weights(self, when: str) -> None:
        """Stop if something between steps, such as a callback, broke the weights; each step checks them itself."""
        if not math.isfinite(self.loop.sum_of_weights()):
            raise TrainingError(
                f"The weights hold NaN or infinite values {when}, which did not come from a training step: training "
                f"needs finite numbers. Check the callbacks, and the weights that training started from; {UNCHANGED}"
            )


def _has_batch_hooks(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback has to be called at every step."""
    base = keras.callbacks.Callback
    return any(getattr(type(callback), h) is not getattr(base, h) or h in vars(callback) for h in BATCH_HOOKS)


def _seed(model: keras.Model, seed: int) -> None:
    """Seed the generators of dropout layers, so that a phase does not depend on earlier draws."""
    states = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    for number, state in enumerate(states):
        state.assign([(seed + number) % 2**32, 0])


def state_of(model: keras.Model) -> State:
    """All variables and their values: a callback may change any of them."""
    return [(variable, variable.numpy()) for variable in model.variables]


def restore(state: State) -> None:
    for variable, value in state:
        variable.assign(value)
