"""Images with or without labels, in files or in memory, and the types in which users pass them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._common.arguments import LabelKind
from .._common.remote import Remote
from .folders import ClassFolder, ImageFile
from .labels import Codes

if TYPE_CHECKING:
    import pandas
    import tensorflow as tf


# For signatures; `reading` checks what is passed.
ImageLike: TypeAlias = "str | PathLike[str] | bytes | npt.NDArray[np.generic] | Image.Image"
ImageData: TypeAlias = (
    "str | PathLike[str] | Sequence[ImageLike] | npt.NDArray[np.generic] | pandas.DataFrame | tf.data.Dataset"
)
Labels: TypeAlias = "Sequence[str] | Sequence[int] | Sequence[bool] | npt.NDArray[np.generic] | pandas.Series"
# A share, images, "auto" (a string, like a path), or None.
Validation: TypeAlias = "float | ImageData | tuple[ImageData, Labels] | None"

# The bytes of an image file, or an array `(h, w, 3)`, RGB 0-255, uint8 or float.
Content = bytes | npt.NDArray[Any]


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class Images:
    """A sequence of images.

    Attributes:
        sources: each image's file, or its content.
        positions: each image's position in the user's data, and which data if not the training data, such as
            ``"3 of the test data"``; None = the same order.
        left_out: folders that could not be listed, and why.
    """

    sources: Sequence[ImageFile | Content]
    positions: tuple[int | str, ...] | None = None
    left_out: tuple[tuple[Path, str], ...] = ()

    def __len__(self) -> int:
        return len(self.sources)

    def path(self, index: int) -> str | None:
        """The path or full URL of an image's file; None if it is in memory."""
        source = self.sources[index]
        return source.url if isinstance(source, Remote) else source if isinstance(source, str) else None

    def suffix(self, index: int) -> str | None:
        """The extension of an image's file, in lower case; None if it is in memory."""
        source = self.sources[index]
        name = source.name if isinstance(source, Remote) else source
        return os.path.splitext(name)[1].lower() if isinstance(name, str) else None  # noqa: PTH122

    def name(self, index: int) -> str:
        """How errors and reports name an image."""
        path, number = self.path(index), f"image {index if self.positions is None else self.positions[index]}"
        shown = str(self.sources[index]) if path else number
        return shown if shown in (path, number) else f"{shown} ({number})"  # images may differ only in what was hidden

    @property
    def files(self) -> Iterator[ImageFile]:
        return (source for source in self.sources if isinstance(source, (str, Remote)))

    @property
    def are_remote(self) -> bool:
        return any(isinstance(source, Remote) for source in self.sources)

    def absolute(self) -> Images:
        """The same images by absolute paths, which survive a change of the working directory."""
        sources = [
            str(Path(source).absolute()) if isinstance(source, str) and not os.path.isabs(source) else source  # noqa: PTH117
            for source in self.sources
        ]
        return replace(self, sources=sources, left_out=tuple((folder.absolute(), why) for folder, why in self.left_out))

    def as_now(self) -> Images:
        """The same without the versions of URLs that were noted earlier."""
        sources = [Remote(source.url) if isinstance(source, Remote) else source for source in self.sources]
        return replace(self, sources=sources)

    def named(self, what: str) -> Images:
        """The same, where the names of images in memory say which data they are from."""
        if all(isinstance(source, (str, Remote)) for source in self.sources):
            return self
        return replace(self, positions=tuple(f"{index} of the {what}" for index in range(len(self))))

    def subset(self, indices: Iterable[int]) -> Images:
        chosen = list(indices)
        positions = tuple(chosen if self.positions is None else (self.positions[index] for index in chosen))
        return Images([self.sources[index] for index in chosen], positions)

    def __add__(self, other: Images) -> Images:
        positions = [range(len(one)) if one.positions is None else one.positions for one in (self, other)]
        sources, left_out = [*self.sources, *other.sources], self.left_out + other.left_out
        return Images(sources, (*positions[0], *positions[1]), left_out)


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images, and the class or classes of each.

    Attributes:
        codes: int64 `(n,)`, positions in `classes`; with several labels per image, `(n, n_classes)` of 0 and 1.
        classes: class names `(n_classes,)`, of type str, int64 or bool.
        folder: the folder that was read, if the data was one.
    """

    images: Images
    codes: Codes
    classes: npt.NDArray[Any]
    folder: ClassFolder | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def kind(self) -> LabelKind:
        """Whether an image may have several labels."""
        return "multiple" if self.codes.ndim == 2 else "single"

    def counts(self, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """The number of these images in each class."""
        codes = self.codes if rows is None else self.codes[rows]
        return codes.sum(axis=0) if codes.ndim == 2 else np.bincount(codes, minlength=len(self.classes))

    def label(self, index: int) -> Any:
        """The class name of an image; with several labels per image, a tuple of names."""
        if self.kind == "single":
            return self.classes[self.codes[index]].item()
        return tuple(self.classes[self.codes[index] == 1].tolist())

    def absolute(self) -> LabelledImages:
        return replace(self, images=self.images.absolute())

    def as_now(self) -> LabelledImages:
        return replace(self, images=self.images.as_now())

    def named(self, what: str) -> LabelledImages:
        return replace(self, images=self.images.named(what))

    def subset(self, indices: npt.NDArray[np.int64]) -> LabelledImages:
        return replace(self, images=self.images.subset(indices.tolist()), codes=self.codes[indices])
