"""Training photos that are worth a look: those that an image resembles, and those whose labels look wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .._public import public_in_room
from ..errors import import_extra, shown_url
from .predictions import Label
from .text import Printed, Table, listed

if TYPE_CHECKING:
    import pandas


@public_in_room
class Neighbour(NamedTuple):
    """A training photo that an image resembles.

    Attributes:
        path: its file, or None if it came as an array.
        label: its class name; with several labels per image, a tuple of them.
        similarity: the cosine of the angle between the features of the two, at most 1.
        position: its position in the training data of `fit`; validation data passed to `fit` is counted on from there.
    """

    path: str | None
    label: Label
    similarity: float
    position: int


@public_in_room
class SuspiciousLabel(NamedTuple):
    """A training photo whose label looks wrong.

    Attributes:
        path: its file, or None if it came as an array.
        label: its class name in the data.
        suggested: the class name that fits better.
        self_confidence: the probability of `label`, 0 to 1, from a classifier that was not trained on the photo.
        position: its position in the training data of `fit`; validation data passed to `fit` is counted on from there.
    """

    path: str | None
    label: Label
    suggested: Label
    self_confidence: float
    position: int


@public_in_room
class SuspiciousLabels(Printed, Sequence[SuspiciousLabel]):
    """Training photos whose labels look wrong, the most suspicious first; prints as a table.

    A sequence of `SuspiciousLabel`; a slice is a list.

    Attributes:
        images: how many photos were checked.
    """

    def __init__(self, found: Sequence[SuspiciousLabel], images: int) -> None:
        self._found, self.images = list(found), images

    def to_dataframe(self) -> pandas.DataFrame:
        """A DataFrame with the columns path, label, suggested, self_confidence and position (extra ``pandas``)."""
        columns = list(SuspiciousLabel._fields)
        return import_extra("pandas", "A DataFrame", "pandas").DataFrame(self._found, columns=columns)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._found[index]

    def __len__(self) -> int:
        return len(self._found)

    def _parts(self) -> tuple[str, Table, str]:
        def row(_: int, p: SuspiciousLabel) -> list[str]:
            path = shown_url(p.path or f"image {p.position}")
            return [path, str(p.label), str(p.suggested), f"{p.self_confidence:.3f}"]

        return listed(["image", "label", "suggested", "self-confidence"], self, row)

    def __repr__(self) -> str:
        return f"<SuspiciousLabels: {len(self)} of {self.images} images>"
