"""Images with or without labels, in files, read when needed, or in memory, never written to; all are used alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .folders import ClassFolder
from .labels import Codes

__all__ = ["Content", "ImageArrays", "ImageFiles", "Images", "LabelledImages", "joined"]

# The bytes of an image file, or an array `(h, w, 3)`, RGB 0-255, uint8 or float.
Content = bytes | npt.NDArray[Any]


@dataclass(frozen=True)
class ImageFiles:
    """Images in files, by path; `left_out` has the folders that could not be listed, and why."""

    paths: tuple[Path, ...]
    left_out: tuple[tuple[Path, str], ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """How errors and reports name this image."""
        return str(self.paths[index])

    path = name

    def absolute(self) -> ImageFiles:
        """By paths that stay right when the working directory changes."""
        left_out = tuple((folder.absolute(), reason) for folder, reason in self.left_out)
        return ImageFiles(tuple(path.absolute() for path in self.paths), left_out)

    def subset(self, indices: Iterable[int]) -> ImageFiles:
        return ImageFiles(tuple(self.paths[i] for i in indices))


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class ImageArrays:
    """Images in memory; `origin` maps back to the user's order."""

    contents: Sequence[Content]
    origin: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.origin)

    def path(self, _: int) -> None:
        return None

    def name(self, index: int) -> str:
        return f"image {self.origin[index]}"

    def content(self, index: int) -> Content:
        return self.contents[self.origin[index]]

    def absolute(self) -> ImageArrays:
        return self

    def subset(self, indices: Iterable[int]) -> ImageArrays:
        return ImageArrays(self.contents, tuple(self.origin[i] for i in indices))


Images = ImageFiles | ImageArrays


def joined(first: Images, second: Images) -> Images | None:
    """Both as one sequence if both are files, or both come from the same images in memory; else None."""
    if isinstance(first, ImageFiles) and isinstance(second, ImageFiles):
        return ImageFiles(first.paths + second.paths)
    if isinstance(first, ImageArrays) and isinstance(second, ImageArrays) and first.contents is second.contents:
        return ImageArrays(first.contents, first.origin + second.origin)
    return None


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images, and the class of each.

    Attributes:
        codes: int64 `(n,)`, positions in `classes`.
        classes: class names `(n_classes,)`, of type str, int64 or bool.
        names: a name per image that does not depend on the order of listing; splits sort by it.
        folder: the folder that was read, if the data was one.
    """

    images: Images
    codes: Codes
    classes: npt.NDArray[Any]
    names: tuple[str, ...] = field(repr=False)
    folder: ClassFolder | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.codes)

    def absolute(self) -> LabelledImages:
        return replace(self, images=self.images.absolute(), folder=self.folder and self.folder.absolute())

    def subset(self, indices: npt.NDArray[np.int64]) -> LabelledImages:
        chosen = indices.tolist()
        return replace(
            self,
            images=self.images.subset(chosen),
            codes=self.codes[indices],
            names=tuple(self.names[i] for i in chosen),
        )
