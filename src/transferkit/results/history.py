"""The history of training: the metrics of each epoch of each phase."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .._public import public_in_room
from ..errors import import_extra
from . import plots
from .predictions import Label
from .text import Printed, Table

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


KEPT = {
    "before": "the previous classifier",
    "half-way": "the half-way point between the previous network and the tuned one",
    "three-quarters": "the point three quarters of the way from the previous network to the tuned one",
    "tuned": "the tuned network",
    "labelled": "the head trained on the labelled images alone",
    "unlabelled": "the head trained on the unlabelled images too",
}


@public_in_room
@dataclass(frozen=True)
class Selection:
    """How `fine_tune` chose between its result and the previous classifier, or `fit` whether to use unlabelled images.

    Attributes:
        kept: ``"tuned"``, ``"three-quarters"`` or ``"half-way"`` (each weight that far from its value before to the
            tuned one) or ``"before"``; in `fit` ``"unlabelled"`` or ``"labelled"``, by the images that the head was
            trained on.
        loss_before, loss: mean cross-entropy of the previous classifier, and of the candidate that was compared with
            it; each with its logits multiplied by the number that gives the lowest loss.
        error: the standard error of the difference between the two, paired by image.
        accuracy_before, accuracy: 0 to 1.
        images: how many images were compared; none of them was trained on.
        folds: how many folds these are from; 0 = they are validation images.
    """

    kept: str
    loss_before: float
    loss: float
    error: float
    accuracy_before: float
    accuracy: float
    images: int
    folds: int = 0

    def __str__(self) -> str:
        return (
            f"{'out-of-fold' if self.folds else 'validation'} loss {self.loss_before:.3f} -> {self.loss:.3f} "
            f"(+-{self.error:.3f}) on {self.images:,} images, accuracy {self.accuracy_before:.3f} -> {self.accuracy:.3f}; "
            f"kept {KEPT[self.kept]}"
        )


@public_in_room
@dataclass(frozen=True)
class Phase:
    """One call of `fit` or `fine_tune`.

    Attributes:
        name: ``"fit"`` or ``"fine_tune"``.
        first_layer: the first layer that was trained.
        metrics: name -> one float per epoch: ``loss``, ``accuracy``, with validation also ``val_loss`` and
            ``val_accuracy``, and ``learning_rate`` at the end of the epoch. Empty if the folds showed `fine_tune` that
            a run on all images would not be kept.
        kept: the epoch, counted from 1, that the classifier was made from; 0 = the previous classifier was kept.
        seconds: wall time of the training alone, including runs in folds.
        pass_seconds: wall time of checking the images and extracting their features.
        skipped: image -> reason, for images that could not be read and were left out; not part of a saved classifier.
        folds: the number of cross-validation folds, where ``val_loss`` and ``val_accuracy`` are means over all images;
            0 = there are separate validation images, or none.
        errors: the standard errors of ``val_loss`` and ``val_accuracy`` at the end of `fit`, if they were measured.
        selection: how `fine_tune` chose, or `fit` with unlabelled images; None if there was no choice, or nothing to
            measure with.
        images: class name -> number of images trained on.
        validation_images: how many images were held out.
        data: a SHA-256 of the contents of the images that were trained on, whatever their order.
        temperature: the number, 0.5 to 2, that divides the logits from the end of the phase on, for the lowest loss on
            images that were not trained on; 1 = unchanged, or there were no such images. The figures of a head that is
            solved for include it (in folds, each fold uses that of the others); those of epochs do not.
    """

    name: str
    first_layer: str
    metrics: Mapping[str, Sequence[float]]
    kept: int
    seconds: float = 0.0
    pass_seconds: float = 0.0
    skipped: Mapping[str, str] = field(default_factory=dict)
    folds: int = 0
    errors: Mapping[str, float] = field(default_factory=dict)
    selection: Selection | None = None
    images: Mapping[Label, int] = field(default_factory=dict)
    validation_images: int = 0
    data: str = ""
    temperature: float = 1.0

    @property
    def kept_epoch(self) -> int:
        """The epoch whose network was kept as it is; 0 = none, as where `fine_tune` keeps a point on the way to it."""
        chosen = None if self.selection is None or self.name == "fit" else self.selection.kept
        return self.kept if chosen in (None, "tuned") else 0

    @property
    def epochs(self) -> int:
        """How many epochs were run on all images."""
        return len(self.metrics.get("loss", ()))


@public_in_room
@dataclass(frozen=True)
class History(Printed, Mapping[str, list[float]]):
    """The epochs of all phases, in order: a mapping from the name of a metric to one float per epoch.

    ``history["val_accuracy"]`` is NaN where a phase had no validation; ``history.epochs`` is the number of epochs.

    Attributes:
        phases: a `Phase` for each call of `fit` or `fine_tune`.
    """

    phases: tuple[Phase, ...] = ()

    @property
    def epochs(self) -> int:
        """How many epochs were run in all."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def metrics(self) -> list[str]:
        """The names that ``history[name]`` takes."""
        return list(dict.fromkeys(name for phase in self.phases for name in phase.metrics))

    @property
    def skipped(self) -> dict[str, str]:
        """Image -> reason, for all images that could not be read and were left out (``on_bad_image="skip"``)."""
        return {name: reason for phase in self.phases for name, reason in phase.skipped.items()}

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.metrics:
            raise KeyError(f"{name!r} is not recorded; there are {', '.join(self.metrics)}")
        return [v for phase in self.phases for v in phase.metrics.get(name, [math.nan] * phase.epochs)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per epoch, with the phase's name (extra ``pandas``)."""
        phases = [phase.name for phase in self.phases for _ in range(phase.epochs)]
        columns = {"phase": phases, "epoch": range(1, self.epochs + 1), **self}
        return import_extra("pandas", "A DataFrame", "pandas").DataFrame(columns)

    def plot(self) -> Figure:
        """A figure of loss and accuracy over all phases; it is returned, not shown (extra ``plot``)."""
        drawn = [phase for phase in self.phases if phase.epochs]
        ends = np.cumsum([phase.epochs for phase in drawn])[:-1].tolist()
        return plots.history(dict(self), ends, [phase.name for phase in drawn])

    def _parts(self) -> tuple[str, Table, str]:
        shown = [name for name in self.metrics if name != "learning_rate"]
        rows = [
            [phase.name, f"{epoch + 1}{'*' if epoch + 1 == phase.kept_epoch else ''}"]
            + [f"{phase.metrics[name][epoch]:.4f}" if name in phase.metrics else "-" for name in shown]
            for phase in self.phases
            for epoch in range(phase.epochs)
        ]
        below = ["* the epoch that was kept"]
        below += [f"{phase.name}: {phase.selection}" for phase in self.phases if phase.selection is not None]
        below += [f"unreadable images left out: {len(self.skipped):,}"] if self.skipped else []
        return "", (["phase", "epoch", *shown], rows), "\n".join(below)

    def __repr__(self) -> str:
        return f"<History: {self.epochs} epochs in {len(self.phases)} phases>"
