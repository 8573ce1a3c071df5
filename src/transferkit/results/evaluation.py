"""How well a classifier does on labelled images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from .._common.arguments import check_count
from .._public import public_in_room
from . import pages, plots, scores
from .predictions import Label, Prediction, Predictions
from .scores import ClassScores, ConfusedPair, ScoredImage
from .text import Printed, Table, figure_text, html_table, safe, shortened

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


# Positions of images, and the longer side in pixels -> each image as uint8 `(h, w, 3)`, RGB; None if unreadable.
Thumbnails: TypeAlias = "Callable[[Sequence[int], int], list[npt.NDArray[np.uint8] | None]]"

PRINTED = 30  # up to this many classes, the printed table lists all
WORST = 20  # classes that it lists if there are more
LONGEST = 50  # characters of a class name in it
PICTURES = 48  # on the page
PAIRS = 50
SIDE = 128  # pixels of the longer side of a picture


class Measured(Printed):
    """What evaluations with one and with several labels per image share: table, page and DataFrame."""

    predictions: Predictions
    classes: npt.NDArray[np.generic]
    labels: npt.NDArray[Any]
    losses: npt.NDArray[np.float64]
    _thumbnails: Thumbnails | None
    _LOWEST: ClassVar[str]  # what a table of `_lowest_first` lists, and where the rest is
    # Methods of the subclasses:
    _headline: Callable[[], str]
    _sections: Callable[[], str]  # the HTML between the headline and the pictures
    _caption: Callable[[int], str]
    _rows: Callable[[Sequence[Label]], Table]
    _lowest_first: Callable[[], list[Label]]  # class names in ascending order of a figure; those without one come last

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per image: path, label, predicted, confidence, loss, typicality, and a column of probabilities per class.

        It needs the extra ``pandas``.
        """
        frame = self.predictions.to_dataframe().rename(columns={"label": "predicted"})
        frame.insert(1, "label", self.labels)
        frame.insert(4, "loss", self.losses)
        return frame

    def html(self, path: str | PathLike[str]) -> None:
        """Write all of it, with the images of highest loss, to one page that needs no other file and no network.

        Args:
            path: a path or URL that ends in ``.html``; an existing file is replaced.

        Raises:
            InvalidInputError: another ending, or a path that cannot be written to.

        Example:
            >>> import transferkit as tk
            >>> clf = tk.TransferClassifier.load("pets.keras")
            >>> clf.evaluate("photos/test", verbose=0).html("evaluation.html")
        """
        target = pages.page_path(path)
        skipped = len(self.predictions.skipped)
        left_out = f"<p>Unreadable images, left out: {skipped:,}</p>" if skipped else ""
        worst = self._highest_losses(PICTURES)
        paths = [self.predictions.name(position) for position in worst]
        lines = list(zip(map(self._caption, worst), paths, strict=True))
        body = (
            f"<p>{safe(self._headline())}</p>{left_out}{self._sections()}"
            f"<h2>Highest losses</h2>{pages.gallery(self._pictures(worst, SIDE), lines)}"
        )
        pages.write_page(target, "Evaluation", body)

    def _highest_losses(self, n: int) -> list[int]:
        return [int(position) for position in np.argsort(-self.losses, kind="stable")[:n]]

    def _pictures(self, positions: Sequence[int], side: int) -> list[npt.NDArray[np.uint8] | None]:
        return self._thumbnails(positions, side) if self._thumbnails else [None] * len(positions)

    def _parts(self) -> tuple[str, Table, str]:
        names, below = self.classes.tolist(), ""
        if len(names) > PRINTED:
            below = f"The {WORST} of {len(names)} {self._LOWEST}"
            names = self._lowest_first()[:WORST]
        head, rows = self._rows(names)
        return self._headline(), (head, [[shortened(name, LONGEST), *figures] for name, *figures in rows]), below

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._headline()}>"


@public_in_room
class Evaluation(Measured):
    """How well a classifier does on labelled images; prints as a table.

    Attributes:
        loss: mean cross-entropy in nats (probabilities are clipped at 1e-7).
        losses: the cross-entropy of each image, float64 `(n,)`.
        accuracy: share of images whose most probable class is correct, 0 to 1.
        confusion_matrix: int64 `(n_classes, n_classes)`; rows are the true classes, columns the predicted ones.
        classes: class names `(n_classes,)`, the order of rows and columns.
        predictions: the `Predictions` behind the figures.
        labels: the true class names `(n,)`.

    Files are read again to be drawn; for this, images in memory are kept as long as the evaluation.
    """

    _LOWEST = "classes with the lowest f1; .per_class has all."

    def __init__(self, predictions: Predictions, codes: scores.Codes, thumbnails: Thumbnails | None = None) -> None:
        probabilities, size = predictions.probabilities, len(predictions.classes)
        predicted = probabilities.argmax(axis=1)
        self.predictions = predictions
        self.classes: npt.NDArray[np.generic] = predictions.classes
        self.labels: npt.NDArray[np.generic] = self.classes[codes]
        of_label = probabilities[np.arange(len(codes)), codes]
        self.losses: npt.NDArray[np.float64] = 0 - np.log(of_label.clip(1e-7, 1), dtype=float)
        self.loss = float(self.losses.mean())
        self.accuracy = float((predicted == codes).mean())
        matrix = np.bincount(codes * size + predicted, minlength=size**2).reshape(size, size)
        self.confusion_matrix: npt.NDArray[np.int64] = matrix
        self._codes, self._thumbnails = codes, thumbnails

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy (Wilson, 1927), assuming independent images."""
        return scores.wilson(int(np.trace(self.confusion_matrix)), len(self.labels))

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that have images, 0 to 1; all count equally, however many images they have."""
        return self.macro.recall

    @property
    def roc_auc(self) -> float:
        """The mean of the classes' areas under the ROC curve, each class against the others; NaN if not defined."""
        return self.macro.roc_auc

    @property
    def calibration_error(self) -> float:
        """The mean gap between accuracy and confidence, over 15 confidence bins of equal width (Guo et al., 2017).

        0 = of the images classified with 90 % confidence, 90 % are classified correctly, and so on.
        """
        return scores.calibration_error(self._calibration)

    @cached_property
    def per_class(self) -> dict[Label, ClassScores]:
        """Class name -> `ClassScores`."""
        matrix = self.confusion_matrix
        right, predictions_of, images_of = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            figures = right / predictions_of, right / images_of, 2 * right / (predictions_of + images_of)
        areas = scores.roc_auc(self.predictions.probabilities, self._codes)
        columns = (*(column.tolist() for column in (*figures, images_of)), areas)
        return dict(zip(self.classes.tolist(), map(ClassScores, *columns), strict=True))

    @property
    def macro(self) -> ClassScores:
        """The mean of each figure over the classes that have images; a class never predicted has precision 0."""
        present = np.array([figures for figures in self.per_class.values() if figures.support])
        precision, recall, f1, support, area = present.T
        precision, recall, f1, area = (float(column.mean()) for column in (np.nan_to_num(precision), recall, f1, area))
        return ClassScores(precision, recall, f1, int(support.sum()), area)

    def top_k(self, k: int) -> float:
        """The share of images whose true class is among the `k` most probable, 0 to 1; 1 with at most `k` classes."""
        k = check_count("k", k, example=5)
        return float(scores.in_top(self.predictions.probabilities, self._codes, k).mean())

    @property
    def mistakes(self) -> list[tuple[Label, Prediction]]:
        """(true class, prediction) of every misclassified image, the most confident first."""
        wrong = [(t, p) for t, p in zip(self.labels.tolist(), self.predictions, strict=True) if t != p.label]
        return sorted(wrong, key=lambda pair: -pair[1].confidence)

    def top_losses(self, n: int = 10) -> list[ScoredImage]:
        """The `n` images with the lowest probability of their true class, the lowest first."""
        return [self._scored(position) for position in self._highest_losses(check_count("n", n, example=10))]

    def confused_pairs(self, n: int = 10) -> list[ConfusedPair]:
        """The `n` most frequent pairs of a true class and another one that was predicted, the most frequent first."""
        matrix, names = self.confusion_matrix, self.classes.tolist()
        images_of = matrix.sum(axis=1)
        pairs = [
            ConfusedPair(
                names[true], names[other], int(matrix[true, other]), float(matrix[true, other] / images_of[true])
            )
            for true, other in np.argwhere(matrix).tolist()
            if true != other
        ]
        return sorted(pairs, key=lambda pair: (-pair.images, -pair.share))[: check_count("n", n, example=10)]

    def plot(self) -> Figure:
        """The same as `plot_confusion_matrix`."""
        return self.plot_confusion_matrix()

    def plot_confusion_matrix(self) -> Figure:
        """A figure of the confusion matrix, coloured by share of the true class; not shown (extra ``plot``)."""
        return plots.confusion(self.confusion_matrix, self._names)

    def plot_calibration(self) -> Figure:
        """A figure of accuracy by confidence, with 95 % intervals and the numbers of images (extra ``plot``)."""
        return plots.calibration(self._calibration)

    def plot_top_losses(self, n: int = 12) -> Figure:
        """The images of `top_losses`, each under its true class and its prediction (extra ``plot``)."""
        images = self.top_losses(n)
        titles = [f"{i.label}\npredicted: {i.predicted}\nconfidence {i.confidence:.2f}" for i in images]
        return plots.grid(self._pictures([image.position for image in images], 2 * SIDE), titles)

    def _sections(self) -> str:
        pairs = [
            [str(p.label), str(p.predicted), str(p.images), f"{100 * p.share:.1f} %"]
            for p in self.confused_pairs(PAIRS)
        ]
        return (
            f"{html_table(['figure', 'value'], self._figures())}"
            f"<h2>Classes</h2>{html_table(*self._rows(list(self.per_class)), sortable=True)}"
            f"<h2>Confusion matrix</h2>{pages.matrix(self.confusion_matrix, self._names)}"
            f"<h2>Most confused classes</h2>{html_table(['true', 'predicted', 'images', 'share'], pairs, sortable=True)}"
            f"<h2>Calibration</h2>{pages.calibration(self._calibration)}"
        )

    @property
    def _names(self) -> list[str]:
        return [str(name) for name in self.classes]

    @cached_property
    def _calibration(self) -> list[scores.Bin]:
        return scores.calibration_bins(self.predictions.confidences, self.predictions.labels == self.labels)

    def _scored(self, position: int) -> ScoredImage:
        label, predictions = self.labels[position].item(), self.predictions
        predicted, confidence = predictions.labels[position].item(), float(predictions.confidences[position])
        loss, path = float(self.losses[position]), predictions.paths[position]
        return ScoredImage(path, label, predicted, confidence, loss, position)

    def _caption(self, position: int) -> str:
        image = self._scored(position)
        return f"{image.label}, predicted {image.predicted} ({image.confidence:.3f}), loss {image.loss:.2f}"

    def _figures(self) -> list[list[str]]:
        """The page's figures over all classes, besides the headline."""
        macro = self.macro
        return [
            *([["top-5 accuracy", f"{self.top_k(5):.4f}"]] if len(self.classes) > 5 else []),
            ["balanced accuracy", f"{self.balanced_accuracy:.4f}"],
            ["macro precision", f"{macro.precision:.4f}"],
            ["macro F1", f"{macro.f1:.4f}"],
            ["macro ROC AUC", figure_text(macro.roc_auc, 4)],
            ["calibration error", f"{self.calibration_error:.4f}"],
        ]

    def _rows(self, names: Sequence[Label]) -> Table:
        rows = []
        for name in names:
            found = self.per_class[name]
            figures = map(figure_text, (found.precision, found.recall, found.f1, found.roc_auc))
            rows.append([str(name), *figures, str(found.support)])
        return ["class", "precision", "recall", "f1", "roc auc", "images"], rows

    def _lowest_first(self) -> list[Label]:
        return sorted(self.per_class, key=lambda name: np.nan_to_num(self.per_class[name].f1, nan=2))

    def _headline(self) -> str:
        low, high = self.accuracy_interval
        return (
            f"accuracy {self.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), loss {self.loss:.4f}, "
            f"{len(self.labels):,} images"
        )
