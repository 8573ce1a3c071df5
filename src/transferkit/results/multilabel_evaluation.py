"""How well a classifier predicts several labels per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from .._public import public_in_room
from . import plots
from .evaluation import Measured, Thumbnails
from .multilabel_predictions import MultiLabelPredictions, array_of_tuples
from .predictions import Label
from .text import Table, figure_text, html_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@public_in_room
class LabelScores(NamedTuple):
    """The figures of one label; NaN where a figure is not defined (no image has it, or it was never predicted).

    Attributes:
        average_precision: the mean of the precisions at all images that have the label, ordered by its probability.
        precision: share of the images predicted to have the label that have it.
        recall: share of the images with the label that were predicted to have it.
        f1: the harmonic mean of the two.
        threshold: the lowest probability at which the label is predicted.
        support: number of images that have it.
    """

    average_precision: float
    precision: float
    recall: float
    f1: float
    threshold: float
    support: int


@public_in_room
class MultiLabelEvaluation(Measured):
    """How well a classifier predicts several labels per image; prints as a table.

    Attributes:
        loss: the mean binary cross-entropy over images and labels, in nats (probabilities are clipped at 1e-7).
        losses: that of each image, float64 `(n,)`.
        accuracy: share of images whose labels are all correct, 0 to 1.
        mean_average_precision: the mean over the labels that images have, 0 to 1; it needs no thresholds.
        micro_f1: F1 of all labels of all images together, 0 to 1.
        macro_f1: the mean F1 of the labels that images have; a label never predicted correctly counts as 0.
        per_label: name -> `LabelScores`.
        classes: class names `(n_classes,)`.
        predictions: the `MultiLabelPredictions` behind the figures.
        labels: the true names of each image, tuples in an array of objects `(n,)`.

    Files are read again to be drawn; for this, images in memory are kept as long as the evaluation.
    """

    predictions: MultiLabelPredictions
    _LOWEST = "labels with the lowest average precision; .per_label has all."

    def __init__(
        self, predictions: MultiLabelPredictions, codes: npt.NDArray[np.int64], thumbnails: Thumbnails | None = None
    ) -> None:
        from sklearn.metrics import average_precision_score  # takes a second to import

        true, given = codes == 1, predictions.probabilities >= predictions.thresholds
        self.predictions, self.classes, self._thumbnails = predictions, predictions.classes, thumbnails
        self.labels = array_of_tuples([tuple(self.classes[row].tolist()) for row in true])
        own = np.where(true, predictions.probabilities, 1 - predictions.probabilities)
        self.losses = -np.log(own.clip(1e-7, 1), dtype=float).mean(axis=1)
        self.loss, self.accuracy = float(self.losses.mean()), float((true == given).all(axis=1).mean())
        right, given_to, support = (true & given).sum(axis=0), given.sum(axis=0), true.sum(axis=0)
        areas = [
            float(average_precision_score(one, p)) if one.any() else np.nan
            for one, p in zip(true.T, predictions.probabilities.T, strict=True)
        ]
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            figures = right / given_to, right / support, 2 * right / (given_to + support)
        columns = (areas, *(column.tolist() for column in (*figures, predictions.thresholds, support)))
        self.per_label: dict[Label, LabelScores] = dict(
            zip(self.classes.tolist(), map(LabelScores, *columns), strict=True)
        )
        found = [scores for scores in self.per_label.values() if scores.support]
        self.mean_average_precision = float(np.mean([s.average_precision for s in found])) if found else np.nan
        self.macro_f1 = float(np.mean([s.f1 for s in found])) if found else np.nan
        total = int(given_to.sum() + support.sum())
        self.micro_f1 = 2 * int(right.sum()) / total if total else np.nan

    def plot(self) -> Figure:
        """A figure of the average precision, precision and recall of each label that images have (extra ``plot``).

        The label with the highest average precision is on top. The figure is returned, not shown.
        """
        found = [name for name in self._lowest_first() if self.per_label[name].support]
        figures = np.array([self.per_label[name][:3] for name in found]).reshape(-1, 3)
        return plots.precisions([str(name) for name in found], figures)

    def _sections(self) -> str:
        return f"<h2>Labels</h2>{html_table(*self._rows(self.classes.tolist()), sortable=True)}"

    def _caption(self, position: int) -> str:
        sets = self.labels[position], self.predictions.labels[position]
        true, given = (", ".join(map(str, names)) or "-" for names in sets)
        return f"{true}; predicted: {given}; loss {self.losses[position]:.2f}"

    def _lowest_first(self) -> list[Label]:
        return sorted(self.per_label, key=lambda name: np.nan_to_num(self.per_label[name].average_precision, nan=2))

    def _rows(self, names: Sequence[Label]) -> Table:
        rows = []
        for name in names:
            *figures, support = self.per_label[name]
            rows.append([str(name), *map(figure_text, figures), str(support)])
        return ["label", "avg prec", "precision", "recall", "f1", "threshold", "images"], rows

    def _headline(self) -> str:
        figures = {
            "mean average precision": self.mean_average_precision,
            "micro F1": self.micro_f1,
            "macro F1": self.macro_f1,
            "all labels right": self.accuracy,
            "loss": self.loss,
        }
        parts = [f"{name} {figure_text(value, 4)}" for name, value in figures.items()]
        return ", ".join([*parts, f"{len(self.labels):,} images"])
