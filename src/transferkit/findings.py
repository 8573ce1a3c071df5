"""What a pass sees of the images that go through it: their contents, thumbnails, and what is odd about each one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from .decoding import PIXEL_RULE, content_of, to_pixels
from .errors import ImageReadError
from .folders import EXTENSIONS
from .images import ImageFiles, Images
from .likeness import THUMBNAIL_BYTES, thumbnail
from .opening import Header, header_of, open_image
from .resizing import Pixels, Size
from .shards import KEY_BYTES, content_key
from .store import Store

__all__ = ["REMEDY", "Findings", "Look", "OpenedImage", "ThumbnailCache", "all_unreadable"]

# How the error of images that cannot be read ends where they can be left out.
REMEDY = " Pass on_bad_image='skip' to go on without them."
TINY = 32  # pixels of the shorter side

Oddity = tuple[str, str]  # a kind of fault and its detail


@dataclass(frozen=True)
class Look:
    """What was seen of one image.

    Attributes:
        key: stands for its content.
        thumbnail: uint8 `(THUMBNAIL_BYTES,)`.
        is_new: whether the thumbnail was made just now.
    """

    key: bytes
    thumbnail: npt.NDArray[np.uint8]
    is_new: bool
    oddities: tuple[Oddity, ...] = ()


@dataclass
class Findings:
    """What a pass saw of `count` images.

    Attributes:
        looks: whether it looks for more than images that cannot be read.
        goes_on: whether the others are computed although some cannot be read.
        keys: uint8 `(count, 16)`, zeros where an image was not read.
        thumbnails: uint8 `(count, THUMBNAIL_BYTES)`.
        failures: by position.
        oddities: (kind, detail) pairs by position.
    """

    count: int
    looks: bool = True
    goes_on: bool = False
    failures: dict[int, ImageReadError] = field(default_factory=dict)
    oddities: dict[int, tuple[Oddity, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = self.count if self.looks else 0
        self.keys = np.zeros((rows, KEY_BYTES), np.uint8)
        self.thumbnails = np.zeros((rows, THUMBNAIL_BYTES), np.uint8)

    def note(self, index: int, look: Look) -> None:
        self.keys[index] = np.frombuffer(look.key, np.uint8)
        self.thumbnails[index] = look.thumbnail
        if look.oddities:
            self.oddities[index] = _shared(look.oddities)

    def good(self) -> npt.NDArray[np.int64]:
        """int64 `(n,)`: the positions of the images that can be read."""
        return np.setdiff1d(np.arange(self.count), np.fromiter(self.failures, np.int64, len(self.failures)))

    def reasons(self, images: Images) -> dict[str, str]:
        """What cannot be read -> why: folders that cannot be looked into, then images."""
        folders = images.left_out if isinstance(images, ImageFiles) else ()
        reasons = {str(folder): reason for folder, reason in folders}
        for index in sorted(self.failures):
            (reason,) = self.failures[index].failures.values()
            reasons[images.name(index)] = reason
        return reasons

    def part(self, start: int, stop: int) -> Findings:
        """What was seen of some of the images, as if they had been looked at alone."""
        part = Findings(stop - start, self.looks, self.goes_on)
        part.keys, part.thumbnails = self.keys[start:stop], self.thumbnails[start:stop]
        part.failures = {index - start: error for index, error in self.failures.items() if start <= index < stop}
        part.oddities = {index - start: found for index, found in self.oddities.items() if start <= index < stop}
        return part


class ThumbnailCache:
    """Thumbnails by content, kept in a store if there is one.

    They depend a little on the size that an image is reduced to, so each size has its own.
    """

    def __init__(self, store: Store | None, size: Size) -> None:
        computation = f"thumbnails/1/{size}/{PIXEL_RULE}"
        self._session = None if store is None else store.session(computation, (("uint8", (THUMBNAIL_BYTES,)),))

    def find(self, key: bytes) -> npt.NDArray[np.uint8] | None:
        """uint8 `(THUMBNAIL_BYTES,)`, if the image was decoded before; from any thread."""
        row = None if self._session is None else self._session.find(key)
        return None if row is None else row["f0"][0]

    def keep(self, look: Look) -> None:
        """Store a new one; from one thread."""
        if self._session is not None and look.is_new:
            row = np.empty(1, self._session.table.dtype)
            row["f0"] = look.thumbnail
            self._session.put(look.key, row)

    def close(self) -> None:
        """Store the rest."""
        if self._session is not None:
            self._session.flush()


class OpenedImage:
    """One image, read once, decoded once, and only if need be."""

    def __init__(self, images: Images, index: int, size: Size, keyed: bool) -> None:
        self._size, self._name, self._path = size, images.name(index), images.path(index)
        self._content = content_of(images, index)
        self._opened: Image.Image | None = None
        self._pixels: Pixels | None = None
        self.key = content_key(self._content) if keyed else index.to_bytes(KEY_BYTES, "big")

    def pixels(self) -> Pixels:
        """float32 `(height, width, 3)`, RGB 0-255, upright, of the wanted size."""
        if self._pixels is None:
            self._pixels = to_pixels(self._content, self._name, self._size, self._opened)
        return self._pixels

    def look(self, thumbnails: ThumbnailCache) -> Look:
        """What the doctor wants to know; it is decoded unless its thumbnail shows that it was before."""
        oddities = self._oddities()
        found = thumbnails.find(self.key)
        if found is not None:
            return Look(self.key, found, False, oddities)
        return Look(self.key, thumbnail(self.pixels()), True, oddities)

    def _oddities(self) -> tuple[Oddity, ...]:
        if not isinstance(self._content, bytes):
            return _of_size(*self._content.shape[:2])
        self._opened = open_image(self._content, self._name)
        header = header_of(self._opened, self._content, self._name)
        name = () if self._path is None else _of_name(header.format, Path(self._path).suffix.lower())
        return (*_of_header(header), *name)


@lru_cache(maxsize=4096)
def _shared(oddities: tuple[Oddity, ...]) -> tuple[Oddity, ...]:
    """One tuple for all images that are odd in one way: there may be many."""
    return oddities


def _of_header(header: Header) -> tuple[Oddity, ...]:
    found = [*_of_size(header.height, header.width)]
    if header.orientation > 1:
        found.append(("sideways", f"EXIF orientation {header.orientation}; it is turned upright"))
    if header.oddity:
        found.append(("unusual mode", f"{header.oddity}; it is brought to 8-bit RGB"))
    if header.frames > 1:
        found.append(("animated", f"{header.frames} pictures; the first one counts"))
    return tuple(found)


def _of_size(height: int, width: int) -> tuple[Oddity, ...]:
    return (("tiny", f"{width} x {height} pixels"),) if 0 < min(height, width) < TINY else ()


def _of_name(format_name: str, suffix: str) -> tuple[Oddity, ...]:
    if suffix in EXTENSIONS.get(format_name, (suffix,)):
        return ()
    article = "an" if format_name in ("ICO", "AVIF") else "a"
    return (("wrong extension", f"it is {article} {format_name}, whatever its name says"),)


def all_unreadable(errors: dict[int, ImageReadError], remedy: str = "") -> ImageReadError:
    """One error that names all images that cannot be read, in the order of the data."""
    ordered = [errors[index] for index in sorted(errors)]
    failures = {name: reason for error in ordered for name, reason in error.failures.items()}
    kinds = {name: kind for error in ordered for name, kind in error.kinds.items()}
    if len(errors) == 1:
        return ImageReadError(f"{ordered[0]}{remedy}", failures, kinds)
    named = "; ".join(f"{name!r}: {reason}" for name, reason in list(failures.items())[:20])
    more = f"; and {len(failures) - 20} more in .failures of this error" if len(failures) > 20 else ""
    return ImageReadError(
        f"{len(failures)} images cannot be read ({named}{more}): every image must be whole and of a known format. Repair "
        f"them or take them out; check_images(data) lists all faults of a data set.{remedy}",
        failures,
        kinds,
    )
