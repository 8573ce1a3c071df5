"""The accuracy of answering only where the classifier is sure: the risk-coverage curve (El-Yaniv and Wiener, 2010)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .._common.arguments import check_number, check_share
from .._public import public_in_room
from ..errors import InvalidInputError, import_extra
from . import plots
from .scores import wilson
from .text import Printed, Table

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


SHOWN = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)  # shares of images in the printed table


@public_in_room
class Coverage(Printed):
    """The share of labelled images answered at each `min_confidence`, and the accuracy on them; prints as a table.

    Attributes:
        thresholds: the distinct confidences of the images, float64 `(k,)`, in descending order.
        coverage: the share of images with at least this confidence, float64 `(k,)`, rising to 1.
        accuracy: the accuracy on these, float64 `(k,)`.
        images: the number of images.
    """

    def __init__(self, confidences: npt.NDArray[np.float32], correct: npt.NDArray[np.bool_]) -> None:
        order = np.argsort(-confidences, kind="stable")
        ends = np.flatnonzero(np.diff(confidences[order], append=-1))  # equal confidences are answered together
        self.images = len(order)
        self.thresholds: npt.NDArray[np.float64] = confidences[order][ends].astype(np.float64)
        self.coverage: npt.NDArray[np.float64] = (ends + 1) / self.images
        self.accuracy: npt.NDArray[np.float64] = np.cumsum(correct[order])[ends] / (ends + 1)

    def at(self, coverage: float) -> float:
        """The accuracy on the most confident images that make up at least this share of all, above 0 to 1."""
        return float(self.accuracy[self._index(coverage)])

    def threshold_for(self, accuracy: float) -> float:
        """The lowest `min_confidence` at which the answers have at least this accuracy, 0 to 1.

        It is chosen on these images: measure the accuracy that it gives on others.

        Raises:
            InvalidInputError: no threshold reaches it.
        """
        wanted = check_share("accuracy", accuracy, 0.99)
        reached = np.flatnonzero(self.accuracy >= wanted)
        if not len(reached):
            raise InvalidInputError(
                f"`accuracy={accuracy}` is not reached at any threshold: the highest accuracy on these {self.images:,} "
                f"images is {self.accuracy.max():.4f}. Pass at most that."
            )
        return float(self.thresholds[reached[-1]])

    def plot(self) -> Figure:
        """A figure of accuracy against coverage; it is returned, not shown (extra ``plot``)."""
        return plots.coverage(self.coverage, self.accuracy)

    def to_dataframe(self) -> pandas.DataFrame:
        """A DataFrame with the columns min_confidence, coverage and accuracy (extra ``pandas``)."""
        columns = {"min_confidence": self.thresholds, "coverage": self.coverage, "accuracy": self.accuracy}
        return import_extra("pandas", "A DataFrame", "pandas").DataFrame(columns)

    def _index(self, coverage: float) -> int:
        share = check_number("coverage", coverage, low=0, high=1, example=0.9, open_low=True, closed=True)
        return int(np.searchsorted(self.coverage, share - 1e-9))

    def _parts(self) -> tuple[str, Table, str]:
        rows = []
        for index in dict.fromkeys(map(self._index, SHOWN)):
            share, accuracy = self.coverage[index], self.accuracy[index]
            count = round(share * self.images)
            low, high = wilson(round(accuracy * count), count)
            threshold = math.floor(1e6 * self.thresholds[index]) / 1e6  # rounded up, it would leave out its own image
            rows.append([f"{threshold:.6f}", f"{share:.3f}", f"{accuracy:.4f}", f"{low:.4f} to {high:.4f}"])
        return "", (["min_confidence", "answered", "accuracy", "95 % interval"], rows), ""

    def __repr__(self) -> str:
        return (
            f"<Coverage: {self.images} images, accuracy {self.accuracy[-1]:.4f}, {self.at(0.9):.4f} at 90 % coverage>"
        )
