"""Open the bytes of an image file as a Pillow image, without decoding it, and read its header.

The format is detected from the content, not the name. The size is checked before anything is decompressed.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from .._common.sharing import Shared, ignoring
from ..errors import ImageReadError
from .folders import EXTENSIONS, HEIC

# Pillow supports more formats, some of which start other programs.
FORMATS = tuple(EXTENSIONS)
# Names of the Pillow modes that lose information in 8-bit RGB.
UNUSUAL_MODES = {"CMYK": "CMYK", "LAB": "Lab", "HSV": "HSV", "F": "32-bit float", "I": "32-bit", "1": "1-bit"}
# An image whose header declares more pixels is refused. The largest phone sensors have 200 million.
MAX_PIXELS = 200_000_000
ORIENTATION = 0x0112  # the EXIF tag
# A PNG without these has no orientation data after its pixels.
METADATA_OF_PNG = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type exif")

Image.init()  # registers the plugins of all formats


class Header(NamedTuple):
    """What the header of a file says about the image."""

    format: str  # Pillow's name
    height: int
    width: int
    oddity: str = ""  # what is unusual about its colours, for example "CMYK, transparency"
    frames: int = 1  # of an animation, or pages
    orientation: int = 1  # 1 (upright) to 8, as in EXIF


def open_image(data: bytes, name: str = "image") -> Image.Image:
    """Open the bytes of a file as an image, without decoding it.

    Raises:
        ImageReadError: empty, not an image, damaged, or too large.
    """
    if not data:
        raise unreadable(name, "the file is empty", "empty file")
    known = _format_of(data)
    if known is None:
        if re.match(HEIC, data, re.DOTALL):
            raise unreadable(name, "HEIC is not supported: convert it to JPEG", "not an image")
        raise unreadable(name, "it is not an image of a known format", "not an image")
    with reading(name, data):
        # Image.open would apply a process-wide limit, which is below ours.
        image: Image.Image = Image.OPEN[known][0](io.BytesIO(data), "")
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise unreadable(name, f"it has too many pixels ({width} x {height})", "huge")
    return image


def header_of(image: Image.Image, data: bytes, name: str = "image") -> Header:
    """The header of an image that `open_image` made from `data` and that is not yet decoded."""
    with reading(name, data):
        deep = image.mode.startswith("I;16") or f"{image.mode};16" in str(image.tile)  # decoding loses the depth
        mode = "16-bit" if deep else UNUSUAL_MODES.get(image.mode, "")
        oddity = ", ".join(filter(None, [mode, "transparency" if image.has_transparency_data else ""]))
        # Pillow decodes a PNG to find metadata after its pixels.
        plain = image.format == "PNG" and not any(mark in data for mark in METADATA_OF_PNG)
        orientation = 1 if plain else orientation_of(image)
        return Header(_format_of(data) or "", image.height, image.width, oddity, _frames(image), orientation)


def orientation_of(image: Image.Image) -> int:
    """1 (upright) to 8, from EXIF or else XMP; damaged metadata counts as upright."""
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # the parsers raise all sorts of errors; if the pixels are damaged, decoding will say so
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def unreadable(name: str, reason: str, kind: str = "unreadable") -> ImageReadError:
    """The error for an image that cannot be read, always in the same words."""
    rule = "every image must be complete and of a known format. Repair or remove it."
    return ImageReadError(f"The image {name!r} cannot be read ({reason}): {rule}", {name: reason}, {name: kind})


@contextlib.contextmanager
def reading(name: str, data: bytes = b"") -> Iterator[None]:
    """Turn Pillow's errors into an `ImageReadError`, and hide its warnings and its log, which name no file.

    `data` is the bytes of the file, which show whether it is truncated.
    """
    try:
        with _quiet:
            yield
    except MemoryError:  # says nothing about the image
        raise
    except Exception as error:  # the parsers raise all sorts of errors
        known = _format_of(data) or "image"
        if isinstance(error, Image.DecompressionBombError):
            raise unreadable(name, f"the {known} has too many pixels", "huge") from error
        if _is_truncated(data, known):
            raise unreadable(name, f"the {known} is truncated", "truncated") from error
        # A plugin's message may have several lines and contain the address of a buffer.
        text = " ".join(str(error).partition(" <_io.BytesIO")[0].split()).rstrip(".")[:200]
        raise unreadable(name, f"the {known} cannot be decoded: {text or type(error).__name__}") from error


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    logger, handler = logging.getLogger("PIL"), logging.NullHandler()
    logger.addHandler(handler)  # otherwise, Python prints its errors if the user has not set up logging
    try:
        with ignoring(module=r"PIL\."):
            yield
    finally:
        logger.removeHandler(handler)


_quiet = Shared(_without_messages)


def _format_of(data: bytes) -> str | None:
    """Pillow's name for the format, from the first bytes."""
    start = data[:16].ljust(16, b"\0")
    return next((name for name in FORMATS if Image.OPEN[name][1](start) is True), None)


def _is_truncated(data: bytes, known: str) -> bool:
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


def _frames(image: Image.Image) -> int:
    """The number of frames or pages; the other views of a stereo photo do not count."""
    try:
        return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except Exception:  # a later frame is damaged
        image.seek(0)
        return 1
