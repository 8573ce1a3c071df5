"""Predictions: the most probable class of each image, by its name."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from .._public import public_in_room
from ..errors import import_extra, shown_url
from .text import Printed, Table

if TYPE_CHECKING:
    import pandas

__all__ = ["Label", "Prediction", "Predictions"]

Label: TypeAlias = str | int | bool  # a class name, of the type that the labels of the training data have


@public_in_room
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


@public_in_room
class Predictions(Printed, Sequence[Prediction]):
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
        classes: npt.NDArray[np.generic],
        probabilities: npt.NDArray[np.float32],
        paths: Sequence[str | None],
        skipped: Mapping[str, str] | None = None,
    ) -> None:
        self.classes = classes
        self.probabilities = probabilities
        self.paths: list[str | None] = list(paths)
        self.skipped: dict[str, str] = dict(skipped or {})
        self.labels: npt.NDArray[np.generic] = classes[probabilities.argmax(axis=1)]
        self.confidences: npt.NDArray[np.float32] = probabilities.max(axis=1)

    def to_dataframe(self) -> pandas.DataFrame:
        """A DataFrame with the columns path, label, confidence, and one of probabilities per class (extra ``pandas``)."""
        columns: dict[str, object] = {"path": self.paths, "label": self.labels, "confidence": self.confidences}
        for code, name in enumerate(self.classes):
            columns[f"probability of {name}"] = self.probabilities[:, code]
        return import_extra("pandas", "A DataFrame", "pandas").DataFrame(columns)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | npt.NDArray[np.generic]) -> Predictions: ...
    def __getitem__(self, index: int | slice | Sequence[int] | npt.NDArray[np.generic]) -> Prediction | Predictions:
        if isinstance(index, numbers.Integral):
            return Prediction(self.labels[index].item(), float(self.confidences[index]), self.paths[int(index)])
        paths = np.array(self.paths, object)[index].tolist()
        return Predictions(self.classes, self.probabilities[index], paths, self.skipped)

    def __len__(self) -> int:
        return len(self.probabilities)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[np.generic]:
        return np.array(self.labels, dtype=dtype)

    def _parts(self) -> tuple[str, Table, str]:
        names = [shown_url(p.path or f"image {i}") for i, p in enumerate(self[:20])]
        rows = [[name, str(p.label), f"{p.confidence:.3f}"] for name, p in zip(names, self, strict=False)]
        more = f"... and {len(self) - 20} more" if len(self) > 20 else ""
        return "", (["image", "label", "confidence"], rows), more

    def __repr__(self) -> str:
        return f"<Predictions: {len(self)} images, {len(self.classes)} classes>"
