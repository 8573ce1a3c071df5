"""Files, bytes, arrays -> upright RGB of one size. Training, evaluating, predicting and the data check share this.

Grey of 16 bits is scaled by its whole range, 0-65535, as PNG asks for; grey of 32 bits or floats by the range that it
has, since nothing says what else it could be. Of an animation the first image counts. Transparent pixels lie on white.

A JPEG that is at least three times as large as needed is reduced while it is decoded, by a power of two up to 8 (DCT
scaling). The result is within one grey level of 255, on average over a photo, of the full decode.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import ImageReadError
from .images import Content, ImageFiles, Images
from .opening import open_image, orientation_of, reading, unreadable
from .resizing import Box, Pixels, Size, resize, resize_image

__all__ = ["PIXEL_RULE", "content_of", "decode", "load", "read_bytes", "to_pixels", "to_rgb"]

# Stands for all rules by which bytes become pixels: stored values depend on it, so a change that changes pixels
# changes it too.
PIXEL_RULE = "pillow-bilinear-1"
# A file of more bytes is not read at all.
MAX_BYTES = 2**30
# How many times as large as needed a JPEG stays at least while it is reduced: the filter's blur is then part of it.
DRAFT_GAP = 1.5
# What undoes each orientation, from 2 on.
T = Image.Transpose
TURNS = [T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM, T.TRANSPOSE, T.ROTATE_270, T.TRANSVERSE, T.ROTATE_90]


def load(images: Images, index: int, size: Size) -> Pixels:
    """Image `index` as float32 `(height, width, 3)`, RGB 0-255, upright, of the wanted size.

    Raises:
        ImageReadError: the file cannot be read; the message names it.
    """
    return to_pixels(content_of(images, index), images.name(index), size)


def content_of(images: Images, index: int) -> Content:
    """The bytes of image `index`, or its array.

    Raises:
        ImageReadError: the file cannot be read.
    """
    return read_bytes(images, index) if isinstance(images, ImageFiles) else images.content(index)


def to_pixels(content: Content, name: str, size: Size, opened: Image.Image | None = None) -> Pixels:
    """The same of a content; `opened` is what `open_image` made of it, where that is known already."""
    if isinstance(content, np.ndarray):
        return resize(content, size)
    image = open_image(content, name) if opened is None else opened
    with reading(name, content):
        return np.asarray(to_rgb(image, size), np.float32)


def decode(data: bytes, name: str = "image", size: Size | None = None) -> npt.NDArray[np.uint8]:
    """The bytes of a file -> uint8 `(h, w, 3)`, RGB, upright; it may be read-only.

    Args:
        size: a JPEG that is much larger than this may come out reduced.

    Raises:
        ImageReadError: empty, truncated, not an image, or too large.
    """
    image = open_image(data, name)
    with reading(name, data):
        if size is not None:
            _reduce(image, (max(size), max(size)))
        return np.asarray(to_rgb(image))


def to_rgb(image: Image.Image, size: Size | None = None) -> Image.Image:
    """Any image of Pillow's -> RGB, upright, of the wanted size or of its own. It is resized first, then turned."""
    if image.format not in ("JPEG", "MPO"):
        image.load()  # which turns a TIFF, and finds the EXIF data behind the pixels of a PNG
    orientation = orientation_of(image)
    if size is None:
        rgb = _in_8_bit_rgb(image)
    else:
        stored = size if orientation < 5 else size[::-1]
        box = _reduce(image, stored)
        rgb = resize_image(_in_8_bit_rgb(image), stored, box)
    return rgb.transpose(TURNS[orientation - 2]) if orientation > 1 else rgb


def _reduce(image: Image.Image, size: Size) -> Box | None:
    """Let a JPEG be decoded reduced; the part of it that the whole image then is."""
    drafted = image.draft("RGB", (int(DRAFT_GAP * size[1]), int(DRAFT_GAP * size[0])))
    return drafted[1] if drafted else None


def _in_8_bit_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _in_8_bits(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
    rgba = image.convert("RGBA")
    rgb = Image.new("RGB", rgba.size, "white")  # what hides under full transparency is arbitrary
    rgb.paste(rgba, mask=rgba)
    return rgb


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, with alpha where one value is transparent: Pillow would clip nearly all values."""
    values: npt.NDArray[Any] = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not numbers")
    values = values.astype(np.float64)
    whole_range = image.mode.startswith("I;16") or image.format == "PPM"
    low, high = (0.0, 65535.0) if whole_range else (float(values.min()), float(values.max()))
    grey = Image.fromarray(np.round((values - low) * (255 / ((high - low) or 1))).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def read_bytes(images: ImageFiles, index: int) -> bytes:
    """The bytes of one file.

    Raises:
        ImageReadError: it cannot be read, or is not a regular file; a FIFO or a device is never waited for.
    """
    name = str(images.paths[index])
    try:
        with open(images.paths[index], "rb", opener=_opened_without_waiting) as file:  # Path.open has none
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise unreadable(name, "it is not a regular file", "not a regular file")
            if state.st_size > MAX_BYTES:
                raise unreadable(name, f"its {state.st_size:,} bytes are too many for a picture", "huge")
            return file.read()
    except ImageReadError:
        raise
    except (OSError, ValueError) as error:  # the latter of a name that no file can have
        kind = "unreadable" if _is_regular(images.paths[index]) else "not a regular file"
        raise unreadable(name, getattr(error, "strerror", None) or str(error), kind) from error


def _opened_without_waiting(path: str, flags: int) -> int:
    """A FIFO that nobody writes to would be waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return not path.is_symlink()  # a link that leads nowhere
