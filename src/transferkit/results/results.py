"""Predictions, evaluations and the history of training, with class names everywhere."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from .._public import public
from ..errors import import_extra
from . import plots

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["ClassScores", "Evaluation", "History", "Phase", "Prediction", "Predictions"]

Label = Any  # str, int or bool, as the labels of the training data


@public
class Prediction(NamedTuple):
    """The most probable class of one image.

    Attributes:
        label: the class name.
        confidence: its probability, 0 to 1.
        path: the image's file, or None if it came as an array.
    """

    label: Label
    confidence: float
    path: str | None = None


@public
class Predictions(Sequence[Prediction]):
    """The predictions of several images, in their order.

    A sequence of `Prediction`; ``np.asarray(predictions)`` is the array of labels `(n,)`. A slice, a boolean mask
    `(n,)` and a list of positions give `Predictions` again: ``predictions[predictions.confidences < 0.8]``.

    Attributes:
        classes: class names `(n_classes,)`.
        probabilities: float32 `(n, n_classes)`, rows add up to 1.
        paths: a path or None per image.
        labels: the predicted class names `(n,)`.
        confidences: the probability of each predicted class, float32 `(n,)`.
        skipped: image -> reason, of the images that could not be read and are left out (``on_bad_image="skip"``).
    """

    def __init__(
        self,
        classes: npt.NDArray[Any],
        probabilities: npt.NDArray[np.float32],
        paths: Sequence[str | None],
        skipped: Mapping[str, str] | None = None,
    ) -> None:
        self.classes = classes
        self.probabilities = probabilities
        self.paths = list(paths)
        self.skipped = dict(skipped or {})
        self.labels: npt.NDArray[Any] = classes[probabilities.argmax(axis=1)]
        self.confidences: npt.NDArray[np.float32] = probabilities.max(axis=1)

    def to_dataframe(self) -> pandas.DataFrame:
        """A DataFrame with the columns path, label, confidence, and one of probabilities per class (extra ``pandas``)."""
        columns: dict[str, Any] = {"path": self.paths, "label": self.labels, "confidence": self.confidences}
        for code, name in enumerate(self.classes.tolist()):
            columns[f"probability of {name}"] = self.probabilities[:, code]
        return import_extra("pandas", "A DataFrame", "pandas").DataFrame(columns)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | npt.NDArray[Any]) -> Predictions: ...
    def __getitem__(self, index: Any) -> Prediction | Predictions:
        if isinstance(index, numbers.Integral):
            return Prediction(self.labels[index].item(), float(self.confidences[index]), self.paths[int(index)])
        paths = np.array(self.paths, object)[index].tolist()
        return Predictions(self.classes, self.probabilities[index], paths, self.skipped)

    def __len__(self) -> int:
        return len(self.probabilities)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.labels, dtype=dtype)

    def __str__(self) -> str:
        rows = [[p.path or f"image {i}", str(p.label), f"{p.confidence:.3f}"] for i, p in enumerate(self[:20])]
        more = f"\n... and {len(self) - 20} more" if len(self) > 20 else ""
        return _table(["image", "label", "confidence"], rows) + more

    def __repr__(self) -> str:
        return f"<Predictions: {len(self)} images, {len(self.classes)} classes>"


@public
class ClassScores(NamedTuple):
    """The figures of one class; NaN where a figure is not defined (no image of it, or never predicted).

    Attributes:
        precision: share of the images predicted as this class that belong to it.
        recall: share of the images of this class that were predicted as it.
        f1: the harmonic mean of the two.
        support: number of images of this class.
    """

    precision: float
    recall: float
    f1: float
    support: int


@public
class Evaluation:
    """How a classifier did on labelled images; prints as a table.

    Attributes:
        loss: mean cross-entropy in nats (probabilities are clipped at 1e-7).
        accuracy: share of images whose most probable class is the right one, 0 to 1.
        confusion_matrix: int64 `(n_classes, n_classes)`; rows are the true classes, columns the predicted ones.
        classes: class names `(n_classes,)`, the order of rows and columns.
        per_class: class name -> `ClassScores`.
        predictions: the `Predictions` behind the figures.
        labels: the true class names `(n,)`.
    """

    def __init__(self, predictions: Predictions, codes: npt.NDArray[np.int64]) -> None:
        probabilities, count = predictions.probabilities, len(codes)
        predicted = probabilities.argmax(axis=1)
        self.predictions, self.classes = predictions, predictions.classes
        self.labels = predictions.classes[codes]
        self.loss = float(-np.log(np.clip(probabilities[np.arange(count), codes], 1e-7, 1.0)).mean())
        self.accuracy = float((predicted == codes).mean())
        size = len(self.classes)
        self.confusion_matrix = matrix = np.bincount(codes * size + predicted, minlength=size**2).reshape(size, size)
        right, predictions_of, images_of = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            figures = right / predictions_of, right / images_of, 2 * right / (predictions_of + images_of)
        columns = [column.tolist() for column in (*figures, images_of)]
        self.per_class = {
            name: ClassScores(*scores) for name, *scores in zip(self.classes.tolist(), *columns, strict=True)
        }

    @property
    def mistakes(self) -> list[tuple[Label, Prediction]]:
        """(true class, prediction) of every image that was classified wrongly, the most confident first."""
        wrong = [(t, p) for t, p in zip(self.labels.tolist(), self.predictions, strict=True) if t != p.label]
        return sorted(wrong, key=lambda pair: -pair[1].confidence)

    def plot(self) -> Figure:
        """The confusion matrix as a figure, returned and not shown (extra ``plot``)."""
        return plots.confusion(self.confusion_matrix, [str(name) for name in self.classes])

    def __str__(self) -> str:
        rows = [
            [str(name), f"{s.precision:.3f}", f"{s.recall:.3f}", f"{s.f1:.3f}", str(s.support)]
            for name, s in self.per_class.items()
        ]
        head = f"accuracy {self.accuracy:.4f}, loss {self.loss:.4f}, {len(self.labels)} images\n\n"
        return head + _table(["class", "precision", "recall", "f1", "images"], rows)

    def __repr__(self) -> str:
        return f"<Evaluation: accuracy {self.accuracy:.4f}, loss {self.loss:.4f}, {len(self.labels)} images>"


@public
@dataclass(frozen=True)
class Phase:
    """One call of `fit` or `fine_tune`.

    Attributes:
        name: ``"fit"`` or ``"fine_tune"``.
        first_layer: the first layer that was trained.
        metrics: name -> one float per epoch: ``loss``, ``accuracy``, with validation also ``val_loss`` and
            ``val_accuracy``, and ``learning_rate`` at the end of the epoch.
        kept: the epoch, counted from 1, whose weights the classifier has; 0 = the weights from before the phase.
        seconds: wall time of the training alone.
        pass_seconds: wall time of checking the images and computing their values.
        skipped: image -> reason, of images that could not be read and were left out; not part of a saved classifier.
    """

    name: str
    first_layer: str
    metrics: Mapping[str, Sequence[float]]
    kept: int
    seconds: float = 0.0
    pass_seconds: float = 0.0
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """How many epochs were run."""
        return len(self.metrics["loss"])


@public
@dataclass(frozen=True)
class History(Mapping[str, list[float]]):
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
        """Image -> reason, of all images that could not be read and were left out (``on_bad_image="skip"``)."""
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
        """Loss and accuracy over all phases as a figure, returned and not shown (extra ``plot``)."""
        ends = np.cumsum([phase.epochs for phase in self.phases])[:-1].tolist()
        return plots.history(dict(self), ends, [phase.name for phase in self.phases])

    def __str__(self) -> str:
        shown = [name for name in self.metrics if name != "learning_rate"]
        rows = [
            [phase.name, f"{epoch + 1}{'*' if epoch + 1 == phase.kept else ''}"]
            + [f"{phase.metrics[name][epoch]:.4f}" if name in phase.metrics else "-" for name in shown]
            for phase in self.phases
            for epoch in range(phase.epochs)
        ]
        left_out = f"\n{len(self.skipped):,} images could not be read and were left out" if self.skipped else ""
        return _table(["phase", "epoch", *shown], rows) + "\n* the epoch whose weights were kept" + left_out

    def __repr__(self) -> str:
        return f"<History: {self.epochs} epochs in {len(self.phases)} phases>"


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Text in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    aligned = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines)
    return "\n".join("  ".join(cells) for cells in aligned)
