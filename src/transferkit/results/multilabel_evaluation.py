"""How well a classifier predicts several labels per image."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from .._public import public_in_room
from ..errors import shown_url
from . import pages, plots
from .evaluation import PICTURES, SIDE, Thumbnails
from .multilabel_predictions import MultiLabelPredictions, array_of_tuples
from .predictions import Label
from .text import Printed, Table, figure_text, html_table, safe, shortened

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


PRINTED = 30  # labels that the printed table lists
LONGEST = 50  # characters of a name in it


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
class MultiLabelEvaluation(Printed):
    """How well a classifier predicts several labels per image; prints as a table.

    Attributes:
        loss: the mean binary cross-entropy over images and labels, in nats (probabilities are clipped at 1e-7).
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

    def __init__(
        self, predictions: MultiLabelPredictions, codes: npt.NDArray[np.int64], thumbnails: Thumbnails | None = None
    ) -> None:
        from sklearn.metrics import average_precision_score  # takes a second to import

        true, given = codes == 1, predictions.probabilities >= predictions.thresholds
        self.predictions, self.classes, self._thumbnails = predictions, predictions.classes, thumbnails
        self.labels = array_of_tuples([tuple(self.classes[row].tolist()) for row in true])
        own = np.where(true, predictions.probabilities, 1 - predictions.probabilities)
        self._losses = -np.log(own.clip(1e-7, 1), dtype=float).mean(axis=1)
        self.loss, self.accuracy = float(self._losses.mean()), float((true == given).all(axis=1).mean())
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

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per image: path, label, predicted, confidence, loss, and a probability per label (extra ``pandas``)."""
        frame = self.predictions.to_dataframe().rename(columns={"label": "predicted"})
        frame.insert(1, "label", self.labels)
        frame.insert(4, "loss", self._losses)
        return frame

    def plot(self) -> Figure:
        """A figure of the average precision, precision and recall of each label that images have (extra ``plot``).

        The label with the highest average precision is on top. The figure is returned, not shown.
        """
        found = [(str(name), scores) for name, scores in self._from_lowest() if scores.support]
        figures = np.array([scores[:3] for _, scores in found]).reshape(-1, 3)
        return plots.precisions([name for name, _ in found], figures)

    def html(self, path: str | PathLike[str]) -> None:
        """Write all of it, with the images of highest loss, to one page that needs no other file and no network.

        Args:
            path: a path or URL that ends in ``.html``; an existing file is replaced.

        Raises:
            InvalidInputError: another ending, or a path that cannot be written to.
        """
        target = pages.page_path(path)
        skipped = len(self.predictions.skipped)
        left_out = f"<p>{skipped:,} images could not be read and are left out.</p>" if skipped else ""
        head, rows = self._table(list(self.per_label.items()))
        body = (
            f"<p>{safe(self._headline())}</p>{left_out}<h2>Labels</h2>{html_table(head, rows, sortable=True)}"
            f"<h2>Highest losses</h2>{pages.gallery(*self._worst())}"
        )
        pages.write_page(target, "Evaluation", body)

    def _worst(self) -> tuple[list[npt.NDArray[np.uint8] | None], list[tuple[str, str]]]:
        """Pictures for the page, and the two lines below each."""
        positions = np.argsort(-self._losses, kind="stable")[:PICTURES].tolist()
        pictures: list[npt.NDArray[np.uint8] | None] = [None] * len(positions)
        if self._thumbnails:
            pictures = self._thumbnails(positions, SIDE)
        paths = [shown_url(self.predictions.paths[at] or f"image {at}") for at in positions]
        return pictures, list(zip(map(self._caption, positions), paths, strict=True))

    def _caption(self, at: int) -> str:
        sets = self.labels[at], self.predictions.labels[at]
        true, given = (", ".join(map(str, names)) or "-" for names in sets)
        return f"{true}; predicted: {given}; loss {self._losses[at]:.2f}"

    def _from_lowest(self) -> list[tuple[Label, LabelScores]]:
        """Labels in ascending order of average precision; those that no image has come last."""
        return sorted(self.per_label.items(), key=lambda row: np.nan_to_num(row[1].average_precision, nan=2))

    def _table(self, rows: Sequence[tuple[Label, LabelScores]]) -> Table:
        head = ["label", "avg prec", "precision", "recall", "f1", "threshold", "images"]
        return head, [[str(name), *map(figure_text, scores[:-1]), str(scores.support)] for name, scores in rows]

    def _parts(self) -> tuple[str, Table, str]:
        rows, below = list(self.per_label.items()), ""
        if len(rows) > PRINTED:
            rows = self._from_lowest()[:PRINTED]
            below = (
                f"The {PRINTED} of {len(self.classes)} labels with the lowest average precision; .per_label has all."
            )
        head, table = self._table(rows)
        return self._headline(), (head, [[shortened(name, LONGEST), *figures] for name, *figures in table]), below

    def __repr__(self) -> str:
        return f"<MultiLabelEvaluation: {self._headline()}>"

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
