"""The bytes of an image file -> a Pillow image that is not decoded yet, and what its header says.

The content decides how a file is read, not its name. The size is checked before anything is inflated. Every failure
is an `ImageReadError` that names the image.
"""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from .errors import ImageReadError

__all__ = ["Header", "header_of", "open_image", "orientation_of", "reading", "unreadable"]

# Pillow knows more formats, some of which start other programs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "ICO", "JPEG2000", "PPM")
# Pillow's modes that do not go into 8-bit RGB as they are, in words.
UNUSUAL_MODES = {"CMYK": "CMYK", "LAB": "Lab", "HSV": "HSV", "F": "32-bit float", "I": "32-bit", "1": "1-bit"}
# An image of more pixels is refused by its header. The largest sensors of phones have 200 million.
MAX_PIXELS = 200_000_000
ORIENTATION = 0x0112  # the EXIF tag
# What announces an orientation that may stand behind the pixels of a PNG.
METADATA_OF_PNG = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type exif")

Image.init()  # registers the plugins of all formats


@dataclass(frozen=True)
class Header:
    """What is known of an image without its pixels."""

    format: str  # Pillow's name of it
    height: int
    width: int
    oddity: str = ""  # what is unusual about its colours, for example "CMYK, transparency"
    frames: int = 1  # images that are shown one after the other, or pages
    orientation: int = 1  # 1 (upright) to 8, as in EXIF


def open_image(data: bytes, name: str = "image") -> Image.Image:
    """The bytes of a file -> an image that is not decoded yet.

    Raises:
        ImageReadError: empty, not an image, damaged, or too large.
    """
    if not data:
        raise unreadable(name, "the file is empty", "empty file")
    known = _format_of(data)
    if known is None:
        raise unreadable(name, "it is not an image of a known format", "not an image")
    with reading(name, data):
        # Image.open would apply a limit of the whole process, which is below ours.
        image: Image.Image = Image.OPEN[known][0](io.BytesIO(data), "")
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise unreadable(name, f"{width} x {height} pixels are too many", "huge")
    return image


def header_of(image: Image.Image, data: bytes, name: str = "image") -> Header:
    """What the header says of an image that `open_image` made of `data` and that is not decoded yet."""
    with reading(name, data):
        oddity = _oddity(image)
        # Pillow decodes a PNG to look behind its pixels.
        plain = image.format == "PNG" and not any(mark in data for mark in METADATA_OF_PNG)
        orientation = 1 if plain else orientation_of(image)
        return Header(_format_of(data) or "", image.height, image.width, oddity, _frames(image), orientation)


def orientation_of(image: Image.Image) -> int:
    """1 (upright) to 8, by EXIF or, where that says nothing, by XMP; damaged metadata count as upright."""
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # the parsers raise all sorts of errors; if the pixels are damaged, decoding will say so
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def unreadable(name: str, reason: str, kind: str = "unreadable") -> ImageReadError:
    """The one wording of an image that cannot be read."""
    return ImageReadError(
        f"The image {name!r} cannot be read ({reason}): every image must be whole and of a known format. Repair it or "
        f"take it out.",
        {name: reason},
        {name: kind},
    )


@contextlib.contextmanager
def reading(name: str, data: bytes = b"") -> Iterator[None]:
    """While Pillow reads: whatever it raises becomes an `ImageReadError`, and its warnings are not shown.

    Args:
        name: of the image.
        data: its file, which tells whether it was cut off.
    """
    try:
        with _quiet:
            yield
    except Exception as error:  # the parsers raise all sorts of errors
        known = _format_of(data) or "image"
        if isinstance(error, Image.DecompressionBombError):
            raise unreadable(name, f"the {known} has too many pixels", "huge") from error
        if _is_cut_off(data, known):
            raise unreadable(name, f"the {known} is cut off", "truncated") from error
        raise unreadable(name, f"the {known} cannot be decoded: {_in_words(error)}") from error


def _format_of(data: bytes) -> str | None:
    """Pillow's name of the format, by the first bytes."""
    start = data[:16].ljust(16, b"\0")
    return next((name for name in FORMATS if Image.OPEN[name][1](start) is True), None)


def _is_cut_off(data: bytes, known: str) -> bool:
    """Whether the end of a damaged file is missing."""
    if known == "JPEG":
        return data.find(b"\xff\xd9", max(0, data.rfind(b"\xff\xda"))) < 0
    if known == "PNG":
        return b"IEND\xae\x42\x60\x82" not in data[-4096:]
    if known == "GIF":
        return not data.rstrip(b"\0").endswith(b"\x3b")
    if known == "WEBP":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    return known == "BMP" and len(data) < int.from_bytes(data[2:6], "little")


def _in_words(error: Exception) -> str:
    """What a plugin says, in one line and without the place of a buffer in memory."""
    text = " ".join(str(error).partition(" <_io.BytesIO")[0].split()).rstrip(".")
    return text[:200] or type(error).__name__


def _oddity(image: Image.Image) -> str:
    """What is unusual about the colours; before the image is decoded, after which the depth in the file is lost."""
    deep = image.mode.startswith("I;16") or f"{image.mode};16" in str(image.tile)
    mode = "16-bit" if deep else UNUSUAL_MODES.get(image.mode, "")
    return ", ".join(filter(None, [mode, "transparency" if image.has_transparency_data else ""]))


def _frames(image: Image.Image) -> int:
    """How many images follow each other; the further views of a stereo photo do not count."""
    try:
        return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except Exception:  # those behind the first are damaged
        image.seek(0)
        return 1


class _Quiet:
    """While a thread is in here, warnings of Pillow are not shown: they do not name the file; the data check does.

    Filters are those of the whole process. The first thread that enters sets them, the last one that leaves takes them
    back, so that none waits for another.
    """

    _lock, _inside, _before = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(None, None, None)


_quiet = _Quiet()
