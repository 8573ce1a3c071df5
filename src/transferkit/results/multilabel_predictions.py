"""The predicted labels of images, any number for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._public import public_in_room
from ..errors import InvalidInputError
from .predictions import Predictions
from .text import Table, listed


@public_in_room
class MultiLabelPredictions(Predictions):
    """The predicted labels of several images, any number for each.

    Like `Predictions`, but ``label`` and ``confidence`` of a `Prediction` are tuples: the names of all labels whose
    probabilities reach their thresholds, the most probable first, and these probabilities.

    Attributes:
        classes: class names `(n_classes,)`.
        probabilities: float32 `(n, n_classes)`; each label has its own, so rows do not add up to 1.
        thresholds: the lowest probability at which each label is predicted, float64 `(n_classes,)`.
        paths: a path or None per image.
        labels: the tuples of names, an array of objects `(n,)`.
        confidences: the tuples of probabilities, an array of objects `(n,)`.
        typicalities, skipped, positions: as in `Predictions`.
    """

    def __init__(
        self,
        classes: npt.NDArray[np.generic],
        probabilities: npt.NDArray[np.float32],
        paths: Sequence[str | None],
        skipped: Mapping[str, str] | None = None,
        typicalities: npt.NDArray[np.float32] | None = None,
        positions: npt.NDArray[np.int64] | None = None,
        thresholds: npt.NDArray[np.float64] | float = 0.5,
    ) -> None:
        super().__init__(classes, probabilities, paths, skipped, typicalities, positions)
        self.thresholds = np.broadcast_to(np.asarray(thresholds, np.float64), len(classes))
        rows = [np.flatnonzero(row) for row in probabilities >= self.thresholds]
        rows = [row[np.argsort(-own[row], kind="stable")] for row, own in zip(rows, probabilities, strict=True)]
        self.labels = array_of_tuples([tuple(classes[row].tolist()) for row in rows])
        found = [tuple(own[row].tolist()) for row, own in zip(rows, probabilities, strict=True)]
        self.confidences = array_of_tuples(found)

    def at_least(self, min_confidence: float) -> Predictions:  # noqa: ARG002
        """Raise an InvalidInputError, since each label has its own threshold."""
        raise InvalidInputError(
            "min_confidence is for one label per image: with several, each label has a threshold. Leave it out, and compare "
            "`probabilities` with numbers of your own."
        )

    def _parts(self) -> tuple[str, Table, str]:
        return listed(["image", "labels"], self, self._row)

    def _row(self, number: int, p: Any) -> list[str]:
        pairs = zip(p.label, p.confidence, strict=True)
        given = ", ".join(f"{name} {confidence:.3f}" for name, confidence in pairs)
        return [self.name(number), given or "-"]

    def __repr__(self) -> str:
        return f"<MultiLabelPredictions: {len(self)} images, {len(self.classes)} labels>"


def array_of_tuples(values: list[tuple[Any, ...]]) -> npt.NDArray[Any]:
    """An array of tuples, which NumPy itself would turn into a matrix if they have equal lengths."""
    array = np.empty(len(values), object)
    array[:] = values
    return array
