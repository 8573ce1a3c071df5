"""Explanations: where in each image the classifier finds evidence for a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt

from .._public import public_in_room
from ..errors import InvalidInputError
from . import plots
from .predictions import Label
from .text import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@public_in_room
@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class Explanation(plots.Drawn):
    """Where in one image the classifier finds evidence for a class.

    Attributes:
        label: the class that is explained.
        confidence: its probability, 0 to 1.
        heatmap: float32 `(h, w)`, of the network's input size, 0 to 1: the evidence for the class at each place, as a
            share of the strongest evidence for or against it; 0 where there is no evidence for it.
        image: uint8 `(h, w, 3)`, RGB, as the network sees it.
        shape: the image's own height and width in pixels, or the network's input size if it is cropped or padded;
            figures show the image in this aspect ratio.
        path: the image's file, or None if it came as an array.
    """

    label: Label
    confidence: float
    heatmap: npt.NDArray[np.float32] = field(repr=False)
    image: npt.NDArray[np.uint8] = field(repr=False)
    shape: tuple[int, int]
    path: str | None = None

    def plot(self) -> Figure:
        """A figure of the image without and with the heatmap; it is returned, not shown (extra ``plot``)."""
        name = one_line(Path(self.path).name) if self.path else "image"
        return plots.overlays([self.image] * 2, [None, self.heatmap], [self.shape] * 2, [name, self._title()])

    def _title(self) -> str:
        return f"{self.label} {self.confidence:.2f}"


@public_in_room
class Explanations(plots.Drawn, Sequence[Explanation]):
    """The explanations of several images, in order; a slice gives `Explanations` again.

    Attributes:
        skipped: image -> reason, for images that could not be read and were left out (``on_bad_image="skip"``).
    """

    def __init__(self, explanations: Sequence[Explanation], skipped: Mapping[str, str] | None = None) -> None:
        self._explanations = list(explanations)
        self.skipped: dict[str, str] = dict(skipped or {})

    @property
    def heatmaps(self) -> npt.NDArray[np.float32]:
        """All heatmaps, float32 `(n, h, w)`."""
        return np.array([one.heatmap for one in self], np.float32)

    def plot(self) -> Figure:
        """A grid of the images under their heatmaps; a single image is drawn without its heatmap, too (extra ``plot``).

        Raises:
            InvalidInputError: there are none.
        """
        if not len(self):
            raise InvalidInputError(
                "There are no explanations to draw: a figure needs at least one image. Explain images that can be read."
            )
        if len(self) == 1:
            return self[0].plot()
        columns = [one.image for one in self], [one.heatmap for one in self], [one.shape for one in self]
        return plots.overlays(*columns, [one._title() for one in self])

    @overload
    def __getitem__(self, index: int) -> Explanation: ...
    @overload
    def __getitem__(self, index: slice) -> Explanations: ...
    def __getitem__(self, index: int | slice) -> Explanation | Explanations:
        found = self._explanations[index]
        return Explanations(found, self.skipped) if isinstance(found, list) else found

    def __len__(self) -> int:
        return len(self._explanations)

    def __repr__(self) -> str:
        return f"<Explanations: {len(self)} images>"
