"""The inspection of images while they are read: which cannot be read, what is odd about each one, and thumbnails."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..cache import KEY_BYTES
from ..errors import ImageReadError
from ..images import EXTENSIONS, Header, Images, Indices, Pixels, resize

GRID = 9  # areas along each side of the grey thumbnail
COLOURS = 3  # along each side of the coloured one
THUMBNAIL_BYTES = GRID * GRID + COLOURS * COLOURS * 3

# The end of the error on images that cannot be read, if they can be left out.
REMEDY = " Pass on_bad_image='skip' to go on without them."
TINY = 32  # pixels of the shorter side
NAMED = 20  # images that an error names

Oddity = tuple[str, str]  # a kind of fault and its detail


class Seen(NamedTuple):
    """What the inspection of one image found.

    Attributes:
        thumbnail: uint8 `(THUMBNAIL_BYTES,)`.
        header: what the file says about itself.
    """

    thumbnail: npt.NDArray[np.uint8]
    header: Header


def thumbnail(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Pixels `(h, w, 3)`, 0-255 -> uint8 `(THUMBNAIL_BYTES,)`: 9 x 9 grey areas, then 3 x 3 coloured ones."""
    if min(pixels.shape[:2]) < GRID:
        pixels = resize(pixels, (GRID, GRID))
    height, width = pixels.shape[:2]
    top, left, sizes = _areas(height, width)
    # Down the columns first: rows are contiguous in memory.
    rows = np.add.reduceat(pixels.reshape(height, width * 3), top, axis=0).reshape(GRID, width, 3)
    areas = np.add.reduceat(rows, left, axis=1)
    areas /= sizes
    coloured = areas.reshape(COLOURS, GRID // COLOURS, COLOURS, GRID // COLOURS, 3).mean(axis=(1, 3))
    return np.concatenate([areas.mean(axis=2).ravel(), coloured.ravel()]).round().astype(np.uint8)


@lru_cache
def _areas(height: int, width: int) -> tuple[Indices, Indices, Indices]:
    """Where the areas of an image begin, down and across, and how many pixels each has."""
    top, left = (np.arange(GRID) * length // GRID for length in (height, width))
    return top, left, np.outer(np.diff(top, append=height), np.diff(left, append=width))[..., np.newaxis]


class Inspection:
    """What the inspection of `count` images found.

    Attributes:
        failures: the errors of images that cannot be read, by position.
        oddities: (kind, detail) pairs, by position.
        keys: uint8 `(count, 16)`, by content, or by position where content keys are not needed; undefined where an image
            cannot be read.
        thumbnails: uint8 `(count, THUMBNAIL_BYTES)`.
    """

    def __init__(self, count: int, keeps_thumbnails: bool = True) -> None:
        self.count = count
        self.failures: dict[int, ImageReadError] = {}
        self.oddities: dict[int, tuple[Oddity, ...]] = {}
        self.keys = np.zeros((count, KEY_BYTES), np.uint8)
        self.thumbnails = np.zeros((count if keeps_thumbnails else 0, THUMBNAIL_BYTES), np.uint8)

    def readable(self) -> npt.NDArray[np.int64]:
        """int64 `(n,)`: the positions of the images that can be read."""
        return np.setdiff1d(np.arange(self.count), np.fromiter(self.failures, np.int64, len(self.failures)))

    def reasons(self, images: Images) -> dict[str, str]:
        """What cannot be read -> the reason: folders that could not be listed, then images."""
        reasons = {str(folder): reason for folder, reason in images.left_out}
        for index in sorted(self.failures):
            (reasons[images.name(index)],) = self.failures[index].failures.values()
        return reasons

    def errors(self, others: Mapping[int, str]) -> list[str | None]:
        """Why each image cannot be read, None if it can; `others` are reasons that are known already."""
        reasons: list[str | None] = [None] * self.count
        for index, error in self.failures.items():
            (reasons[index],) = error.failures.values()
        return [others.get(index, reason) for index, reason in enumerate(reasons)]


def refuse_unreadable(failures: Mapping[int, ImageReadError], remedy: str = REMEDY) -> None:
    """Raise one error for all images that cannot be read, in the order of the data.

    Raises:
        ImageReadError: there are such images.
    """
    if not failures:
        return
    reasons: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for _, error in sorted(failures.items()):
        reasons |= error.failures
        kinds |= error.kinds
    if len(failures) == 1:
        raise ImageReadError(f"{error}{remedy}", reasons, kinds)
    named = "; ".join(f"{name!r}: {reason}" for name, reason in list(reasons.items())[:NAMED])
    more = f"; and {len(reasons) - NAMED} more in .failures of this error" if len(reasons) > NAMED else ""
    raise ImageReadError(
        f"{len(failures)} images cannot be read ({named}{more}): every image must be complete and of a known format. Repair "
        f"or remove them; check_images(data) lists all faults of a data set.{remedy}",
        reasons,
        kinds,
    )


@lru_cache(maxsize=4096)  # images that are odd in the same way share one tuple: there may be many
def oddities_of(header: Header, suffix: str | None) -> tuple[Oddity, ...]:
    found = []
    if 0 < min(header.height, header.width) < TINY:
        found.append(("tiny", f"{header.width} x {header.height} pixels"))
    if header.orientation > 1:
        found.append(("sideways", f"EXIF orientation {header.orientation}; it is turned upright"))
    if header.oddity:
        found.append(("unusual mode", f"{header.oddity}; it is converted to 8-bit RGB"))
    if header.frames > 1:
        found.append(("animated", f"{header.frames} pictures; only the first is used"))
    if suffix is not None and suffix not in EXTENSIONS.get(header.format, (suffix,)):
        found.append(("wrong extension", f"the content is {header.format}"))
    return tuple(found)
