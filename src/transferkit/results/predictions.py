"""Predictions: the most probable class of each image, by name."""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from .._common.arguments import check_share
from .._public import public_in_room
from ..errors import import_extra, shown_url
from .text import Printed, Table, listed

if TYPE_CHECKING:
    import pandas


Label: TypeAlias = str | int | bool  # a class name, of the type of the labels of the training data


@public_in_room
class Prediction(NamedTuple):
    """The most probable class of one image.

    Attributes:
        label: the class name; None if its probability is below the `min_confidence` of `predict`.
        confidence: the probability of the most probable class, 0 to 1.
        path: the image's file, or None if it came as an array.
        typicality: how much the image resembles the training images: the share of them that are less typical, 0 to 1.
            NaN if not known: the classifier was trained on fewer than 20 images or on images whose features are all
            alike, or saved by a version that did not measure it.
    """

    label: Label | None
    confidence: float
    path: str | None = None
    typicality: float = math.nan


@public_in_room
class Predictions(Printed, Sequence[Prediction]):
    """The predictions of several images, in order.

    A sequence of `Prediction`; ``np.asarray(predictions)`` is the array of labels `(n,)`. A slice, a boolean mask
    `(n,)` or a list of positions gives `Predictions` again: ``predictions[predictions.confidences < 0.8]``.

    Attributes:
        classes: class names `(n_classes,)`.
        probabilities: float32 `(n, n_classes)`, rows add up to 1.
        paths: a path or None per image.
        labels: the predicted class names `(n,)`; with `min_confidence`, an array of objects, None below it.
        confidences: the probability of each image's most probable class, float32 `(n,)`.
        typicalities: the `Prediction.typicality` of each image, float32 `(n,)`.
        skipped: image -> reason, for images that could not be read and were left out (``on_bad_image="skip"``).
        positions: the position of each image in the data passed, from 0, int64 `(n,)`.
    """

    def __init__(
        self,
        classes: npt.NDArray[np.generic],
        probabilities: npt.NDArray[np.float32],
        paths: Sequence[str | None],
        skipped: Mapping[str, str] | None = None,
        typicalities: npt.NDArray[np.float32] | None = None,
        positions: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.classes = classes
        self.probabilities = probabilities
        self.paths: list[str | None] = list(paths)
        self.skipped: dict[str, str] = dict(skipped or {})
        self.labels: npt.NDArray[Any] = classes[probabilities.argmax(axis=1)]
        self.confidences: npt.NDArray[np.float32] = probabilities.max(axis=1)
        unknown = np.full(len(probabilities), np.nan, np.float32)
        self.typicalities: npt.NDArray[np.float32] = unknown if typicalities is None else typicalities
        self.positions: npt.NDArray[np.int64] = np.arange(len(probabilities)) if positions is None else positions

    def at_least(self, min_confidence: float) -> Predictions:
        """The same with None as the label below this confidence, as `predict` gives with `min_confidence`."""
        least = check_share("min_confidence", min_confidence)
        unsure = copy.copy(self)
        unsure.labels = self.classes[self.probabilities.argmax(axis=1)].astype(object)
        unsure.labels[self.confidences < least] = None
        return unsure

    def to_dataframe(self) -> pandas.DataFrame:
        """A DataFrame: path, label, confidence, typicality, and a column of probabilities per class (extra ``pandas``)."""
        columns: dict[str, object] = {"path": self.paths, "label": self.labels, "confidence": self.confidences}
        columns["typicality"] = self.typicalities
        for code, name in enumerate(self.classes):
            columns[f"probability of {name}"] = self.probabilities[:, code]
        return import_extra("pandas", "A DataFrame", "pandas").DataFrame(columns)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | npt.NDArray[np.generic]) -> Predictions: ...
    def __getitem__(self, index: int | slice | Sequence[int] | npt.NDArray[np.generic]) -> Prediction | Predictions:
        if isinstance(index, numbers.Integral):
            typicality = float(self.typicalities[index])
            found = _plain(self.labels[index]), _plain(self.confidences[index]), self.paths[int(index)]
            # One NaN object makes two tuples equal.
            return Prediction(*found, typicality if math.isfinite(typicality) else math.nan)
        part = copy.copy(self)
        part.paths = np.array(self.paths, object)[index].tolist()
        for name in ("probabilities", "labels", "confidences", "typicalities", "positions"):
            setattr(part, name, getattr(self, name)[index])
        return part

    def __len__(self) -> int:
        return len(self.probabilities)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[np.generic]:
        return np.array(self.labels, dtype=dtype)

    def name(self, row: int) -> str:
        """How tables and pages name an image."""
        return shown_url(self.paths[row] or f"image {self.positions[row]}")

    def _parts(self) -> tuple[str, Table, str]:
        head = ["image", "label", "confidence", "typicality"][: 4 if np.isfinite(self.typicalities).any() else 3]
        return listed(head, self, self._row)

    def _row(self, number: int, p: Prediction) -> list[str]:
        label = "-" if p.label is None else str(p.label)
        return [self.name(number), label, f"{p.confidence:.3f}", f"{p.typicality:.2f}"]

    def __repr__(self) -> str:
        return f"<Predictions: {len(self)} images, {len(self.classes)} classes>"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value  # None and tuples have no NumPy type
