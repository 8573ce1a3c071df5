"""How a classifier did on labelled images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from .._public import public_in_room
from . import plots
from .predictions import Label, Prediction, Predictions
from .text import text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ClassScores", "Evaluation"]


@public_in_room
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


@public_in_room
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
        probabilities, size = predictions.probabilities, len(predictions.classes)
        predicted = probabilities.argmax(axis=1)
        self.predictions = predictions
        self.classes: npt.NDArray[np.generic] = predictions.classes
        self.labels: npt.NDArray[np.generic] = self.classes[codes]
        self.loss = float(-np.log(np.clip(probabilities[np.arange(len(codes)), codes], 1e-7, 1.0)).mean())
        self.accuracy = float((predicted == codes).mean())
        matrix = np.bincount(codes * size + predicted, minlength=size**2).reshape(size, size)
        self.confusion_matrix: npt.NDArray[np.int64] = matrix
        right, predictions_of, images_of = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            figures = right / predictions_of, right / images_of, 2 * right / (predictions_of + images_of)
        scores = map(ClassScores, *(column.tolist() for column in (*figures, images_of)))
        self.per_class: dict[Label, ClassScores] = dict(zip(self.classes.tolist(), scores, strict=True))

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
        return f"{self._headline()}\n\n{text_table(['class', 'precision', 'recall', 'f1', 'images'], rows)}"

    def __repr__(self) -> str:
        return f"<Evaluation: {self._headline()}>"

    def _headline(self) -> str:
        return f"accuracy {self.accuracy:.4f}, loss {self.loss:.4f}, {len(self.labels)} images"
