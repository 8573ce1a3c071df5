"""What is seen of images while they are read: their contents, thumbnails, and what is odd about each one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..cache import KEY_BYTES, Store, content_key
from ..errors import ImageReadError
from ..images import (
    EXTENSIONS,
    PIXEL_RULE,
    Header,
    ImageFiles,
    Images,
    Pixels,
    Size,
    content_of,
    header_of,
    open_image,
    to_pixels,
)
from .thumbnails import THUMBNAIL_BYTES, thumbnail

__all__ = ["REMEDY", "Findings", "OpenedImage", "Seen", "ThumbnailCache", "all_unreadable"]

# How the error of images that cannot be read ends where they can be left out.
REMEDY = " Pass on_bad_image='skip' to go on without them."
TINY = 32  # pixels of the shorter side
NAMED = 20  # images that an error names

Oddity = tuple[str, str]  # a kind of fault and its detail


class Seen(NamedTuple):
    """What was seen of one image.

    Attributes:
        key: stands for its content.
        thumbnail: uint8 `(THUMBNAIL_BYTES,)`.
        is_new: whether the thumbnail was made just now.
        header: what the file says of itself.
    """

    key: bytes
    thumbnail: npt.NDArray[np.uint8]
    is_new: bool
    oddities: tuple[Oddity, ...] = ()
    header: Header = Header("", 0, 0)


@dataclass
class Findings:
    """What was seen of `count` images.

    Attributes:
        looks: whether more is looked for than images that cannot be read.
        goes_on: whether the others are computed although some cannot be read.
        failures: by position.
        failed_before: whether images of another set of the same call cannot be read.
        oddities: (kind, detail) pairs by position.
        keys: uint8 `(count, 16)`, zeros where an image was not read.
        thumbnails: uint8 `(count, THUMBNAIL_BYTES)`.
    """

    count: int
    looks: bool = True
    goes_on: bool = False
    failures: dict[int, ImageReadError] = field(default_factory=dict)
    failed_before: bool = False

    def __post_init__(self) -> None:
        rows = self.count if self.looks else 0
        self.keys = np.zeros((rows, KEY_BYTES), np.uint8)
        self.thumbnails = np.zeros((rows, THUMBNAIL_BYTES), np.uint8)
        self.oddities: dict[int, tuple[Oddity, ...]] = {}

    def note(self, index: int, seen: Seen) -> None:
        self.keys[index] = np.frombuffer(seen.key, np.uint8)
        self.thumbnails[index] = seen.thumbnail
        if seen.oddities:
            self.oddities[index] = seen.oddities

    @property
    def gives_up(self) -> bool:
        """Whether an error is certain: the rest is only read, so that it names every bad file without a long wait."""
        return not self.goes_on and (self.failed_before or bool(self.failures))

    def good(self) -> npt.NDArray[np.int64]:
        """int64 `(n,)`: the positions of the images that can be read."""
        return np.setdiff1d(np.arange(self.count), np.fromiter(self.failures, np.int64, len(self.failures)))

    def reasons(self, images: Images) -> dict[str, str]:
        """What cannot be read -> why: folders that cannot be looked into, then images."""
        folders = images.left_out if isinstance(images, ImageFiles) else ()
        reasons = {str(folder): reason for folder, reason in folders}
        for index in sorted(self.failures):
            (reasons[images.name(index)],) = self.failures[index].failures.values()
        return reasons


class ThumbnailCache:
    """Thumbnails and headers by content, kept in a store if there is one.

    Thumbnails depend a little on the size that an image is reduced to, so each size has its own.
    """

    def __init__(self, store: Store | None, size: Size) -> None:
        computation = f"thumbnails/2/{size}/{PIXEL_RULE}"
        tensors = (("uint8", (THUMBNAIL_BYTES,)), ("S64", ()))
        self._session = None if store is None else store.session(computation, tensors)

    def find(self, key: bytes) -> tuple[npt.NDArray[np.uint8], Header] | None:
        """uint8 `(THUMBNAIL_BYTES,)` and the header, if the image was decoded before; from any thread."""
        row = None if self._session is None else self._session.find(key)
        if row is None:
            return None
        kind, height, width, oddity, frames, orientation = row["f1"][0].decode().split("|")
        return row["f0"][0], Header(kind, int(height), int(width), oddity, int(frames), int(orientation))

    def keep(self, seen: Seen) -> None:
        """Store a new one; from one thread."""
        if self._session is not None and seen.is_new:
            header = "|".join(map(str, astuple(seen.header)))
            self._session.put(seen.key, np.array([(seen.thumbnail, header)], self._session.table.dtype))

    def close(self) -> None:
        """Store the rest."""
        if self._session is not None:
            self._session.flush()


class OpenedImage:
    """One image, read once, decoded at most once."""

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

    def seen(self, thumbnails: ThumbnailCache) -> Seen:
        """What the data check needs; the image is opened and decoded only if it is not known."""
        found = thumbnails.find(self.key)
        header = self._header() if found is None else found[1]
        small = thumbnail(self.pixels()) if found is None else found[0]
        oddities = _oddities(header, None if self._path is None else Path(self._path).suffix.lower())
        return Seen(self.key, small, found is None, oddities, header)

    def _header(self) -> Header:
        if not isinstance(self._content, bytes):
            return Header("", *self._content.shape[:2])
        self._opened = open_image(self._content, self._name)
        return header_of(self._opened, self._content, self._name)


@lru_cache(maxsize=4096)  # images that are odd in the same way share one tuple: there may be many
def _oddities(header: Header, suffix: str | None) -> tuple[Oddity, ...]:
    found = []
    if 0 < min(header.height, header.width) < TINY:
        found.append(("tiny", f"{header.width} x {header.height} pixels"))
    if header.orientation > 1:
        found.append(("sideways", f"EXIF orientation {header.orientation}; it is turned upright"))
    if header.oddity:
        found.append(("unusual mode", f"{header.oddity}; it is converted to 8-bit RGB"))
    if header.frames > 1:
        found.append(("animated", f"{header.frames} pictures; the first one counts"))
    if suffix is not None and suffix not in EXTENSIONS.get(header.format, (suffix,)):
        article = "an" if header.format in ("ICO", "AVIF") else "a"
        found.append(("wrong extension", f"it is {article} {header.format}, despite its name"))
    return tuple(found)


def all_unreadable(errors: Mapping[Any, ImageReadError], remedy: str = "") -> ImageReadError:
    """One error that names all images that cannot be read, in the order of the data."""
    failures: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for _, error in sorted(errors.items()):
        failures |= error.failures
        kinds |= error.kinds
    if len(errors) == 1:
        return ImageReadError(f"{error}{remedy}", failures, kinds)
    named = "; ".join(f"{name!r}: {reason}" for name, reason in list(failures.items())[:NAMED])
    more = f"; and {len(failures) - NAMED} more in .failures of this error" if len(failures) > NAMED else ""
    return ImageReadError(
        f"{len(failures)} images cannot be read ({named}{more}): every image must be whole and of a known format. Repair "
        f"them or take them out; check_images(data) lists all faults of a data set.{remedy}",
        failures,
        kinds,
    )
