"""The bytes of an image file -> upright RGB uint8. Training, evaluating, predicting and the doctor share this decoder.

The content decides how a file is read, not its name. TensorFlow decodes what it decodes rightly; the rest goes through
Pillow (extra ``images``). 16-bit pictures are scaled by their whole range, 0-65535, as PNG asks for; pictures of 32
bits or floats by the range that they have, since nothing says what else it could be. Of an animation the first
picture counts. Transparent pixels are composited on white.

A JPEG that is much larger than wanted is reduced while it is decoded, by a power of two up to 8 (DCT scaling). That
takes half the time, and leaves the result within one grey level of 255, on average over a photo, of the full decode.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from .errors import ImageReadError, MissingExtraError
from .formats import is_cut_off, read_header
from .headers import DamagedHeaderError, Header, first_picture
from .images import ImageFiles, Images
from .orientation import upright
from .pillow import open_with_pillow, quiet_pillow
from .resizing import Pixels, Size, power_of_two, resize

__all__ = ["PIXEL_RULE", "decode", "header_of", "load", "read_bytes", "unreadable"]

# JPEGs of fewer bytes are decoded in full: they take no time.
LARGE_BYTES = 100_000
# Stands for all rules by which bytes become pixels: stored values depend on it, so a change that changes pixels
# changes it too.
PIXEL_RULE = "area-bilinear-3"
# Transparent pixels are composited on this colour: what hides under full transparency is arbitrary.
BACKGROUND = 255.0
# A picture of more pixels than this is refused by its header, before any of it is inflated. The largest sensors of
# phones have 200 million.
MAX_PIXELS = 200_000_000
# Formats whose header always tells the size: without it, a decoder might find more pixels than that.
TOLD_BY_HEADER = frozenset(["JPEG", "PNG", "GIF", "BMP", "WebP"])
# A file of more bytes is not read at all: it holds no picture that small.
MAX_BYTES = 2**30

Image = npt.NDArray[np.uint8]


def load(images: Images, index: int, size: Size) -> Pixels:
    """Image `index` as float32 `(height, width, 3)`, RGB 0-255, upright, of the wanted size.

    Raises:
        ImageReadError: the file cannot be read; the message names it.
    """
    if isinstance(images, ImageFiles):
        return resize(decode(read_bytes(images, index), str(images.paths[index]), size), size)
    return resize(images.array(index), size)


def read_bytes(images: ImageFiles, index: int) -> bytes:
    """The bytes of one file.

    Raises:
        ImageReadError: it cannot be read, or is no regular file; a FIFO or a device is never waited for.
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


def unreadable(name: str, reason: str, kind: str = "unreadable") -> ImageReadError:
    """The one wording of an image that cannot be read."""
    return ImageReadError(
        f"The image {name!r} cannot be read ({reason}): every image must be whole and of a known format. Repair it or "
        f"take it out.",
        {name: reason},
        {name: kind},
    )


def decode(data: bytes, name: str = "image", size: Size | None = None, header: Header | None = None) -> Image:
    """The bytes of a file -> uint8 `(h, w, 3)`, RGB, upright; it may be read-only.

    Args:
        size: what the image will be resized to; a much larger one may come out reduced.
        header: what `header_of` made of the bytes, where that is known already.

    Raises:
        ImageReadError: empty, truncated, not an image, or too large.
        MissingExtraError: the format needs Pillow.
    """
    header = header_of(data, name) if header is None else header
    try:
        if header.format in TOLD_BY_HEADER and not header.height * header.width:
            raise _DamagedError("its header tells no size")
        if header.format == "JPEG":
            return _decode_jpeg(data, header, size)
        decoder = _decoder(data, header)
        if decoder is None:
            return np.ascontiguousarray(_decode_with_pillow(data, name))
        image = decoder(data, header)
    except (tf.errors.OpError, _DamagedError) as error:
        if is_cut_off(data, header):
            raise unreadable(name, f"the {header.format} is cut off", "truncated") from error
        if type(error.__cause__).__name__ == "DecompressionBombError":  # Pillow's, which may not be installed
            raise unreadable(name, f"the {header.format} has too many pixels", "huge") from error
        raise unreadable(name, _reason(header, error)) from error
    return np.ascontiguousarray(upright(image, header.orientation))


def header_of(data: bytes, name: str = "image") -> Header:
    """What the first bytes of a file say, checked before anything is inflated.

    Raises:
        ImageReadError: empty, not an image, or too large.
    """
    if not data:
        raise unreadable(name, "the file is empty", "empty file")
    try:
        header = read_header(data)
    except DamagedHeaderError as error:
        raise unreadable(name, str(error)) from error
    if not header.format:
        raise unreadable(name, "it is not an image of a known format", "not an image")
    if header.height * header.width > MAX_PIXELS:
        raise unreadable(name, f"{header.width} x {header.height} pixels are too many", "huge")
    return header


class _DamagedError(Exception):
    """What a picture cannot be decoded for, whatever Pillow's plugins raise included."""


def _decoder(data: bytes, header: Header) -> Callable[[bytes, Header], Image] | None:
    """Who decodes this without Pillow, where TensorFlow does it rightly; None = Pillow alone.

    TensorFlow blackens what is transparent in a GIF, and takes palettes of BMPs for colours; animated WebP makes it
    write beyond its memory (2.21).
    """
    if header.format == "PNG":
        return _decode_png
    if header.format == "GIF" and not header.oddity:
        return _decode_gif
    if header.format == "WebP" and data[12:16] in (b"VP8 ", b"VP8L"):  # one picture and nothing else
        return _decode_webp
    return _decode_bmp if header.format == "BMP" and _is_plain_bmp(data) else None


def _is_plain_bmp(data: bytes) -> bool:
    """24 bits a pixel, uncompressed, under a header of Windows."""
    return data[14:18] != b"\x0c\0\0\0" and data[28:30] == b"\x18\0" and data[30:34] == b"\0\0\0\0"


def _decode_jpeg(data: bytes, header: Header, size: Size | None) -> Image:
    shape, ratio = (header.height, header.width), 1
    if size is not None and len(data) > LARGE_BYTES:
        power = min(8, power_of_two(shape, size if header.orientation < 5 else size[::-1]))
        # Pixels that no whole area covers are left out at the far edges, which are elsewhere in a turned photo.
        if header.orientation == 1 or (shape[0] % power, shape[1] % power) == (0, 0):
            ratio = power
    # The accurate integer transform gives the pixels that Pillow and most viewers give.
    image: Image = np.asarray(tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE"))
    if ratio > 1:
        image = image[: shape[0] // ratio, : shape[1] // ratio]
    if header.orientation == 1:
        return image
    return np.ascontiguousarray(upright(image, header.orientation))


def _decode_png(data: bytes, header: Header) -> Image:
    # TensorFlow makes up a wrong alpha for pictures of less than 8 bits: it is asked for only where there is one.
    image: Image = np.asarray(tf.io.decode_png(data, channels=4 if header.has_alpha else 3))
    return _on_background(image) if header.has_alpha else image


def _decode_gif(data: bytes, header: Header) -> Image:  # noqa: ARG001  # as the others
    # TensorFlow would inflate all pictures before it takes the first.
    image: Image = np.asarray(tf.io.decode_image(first_picture(data), channels=3, expand_animations=False))
    return image


def _decode_webp(data: bytes, header: Header) -> Image:
    image: Image = np.asarray(tf.io.decode_webp(data, channels=4 if header.has_alpha else 3))[0]
    return _on_background(image) if header.has_alpha else image


def _decode_bmp(data: bytes, header: Header) -> Image:  # noqa: ARG001
    image: Image = np.asarray(tf.io.decode_bmp(data, channels=3))
    return image


def _on_background(rgba: Image) -> Image:
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return rgb
    shown = np.empty(rgb.shape, np.uint8)
    for start in range(0, len(rgba), 64):  # in strips: as floats, all of a large picture would take eight bytes for one
        strip = slice(start, start + 64)
        share = alpha[strip].astype(np.float32) / 255
        shown[strip] = np.round(rgb[strip] * share + BACKGROUND * (1 - share))
    return shown


def _decode_with_pillow(data: bytes, name: str) -> Image:
    try:
        from PIL import ImageOps

        opened = open_with_pillow(data)
    except ImportError:
        raise MissingExtraError(f"Reading {name!r}", "images") from None
    except Exception as error:
        raise _DamagedError(_in_words(error)) from error
    try:
        with quiet_pillow, opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
                return _on_background(np.asarray(image.convert("RGBA")))
            if image.mode.startswith(("I", "F")):
                return _scaled_to_8_bits(np.asarray(image), image.mode.startswith("I;16") or opened.format == "PPM")
            return np.asarray(image.convert("RGB"))
    except Exception as error:
        raise _DamagedError(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    """What a plugin of Pillow says, in one line and without the place of a buffer in memory."""
    text = " ".join(str(error).partition(" <_io.BytesIO")[0].split())
    return f"{type(error).__name__}: {text}"[:200]


def _scaled_to_8_bits(grey: npt.NDArray[Any], whole_range: bool) -> Image:
    """Grey values of more than 8 bits: a plain conversion would clip nearly all of them."""
    if not np.isfinite(grey).all():
        raise ValueError("it holds values that are no numbers")
    values = grey.astype(np.float64)
    low, high = (0.0, 65535.0) if whole_range else (float(values.min()), float(values.max()))
    scaled = np.round((values - low) * (255 / ((high - low) or 1))).astype(np.uint8)
    return np.repeat(scaled[..., np.newaxis], 3, axis=-1)


def _reason(header: Header, error: Exception) -> str:
    """What TensorFlow or Pillow says, without the part that names its operation."""
    if header.format == "JPEG" and header.mode.endswith("bit"):
        return f"JPEGs of {header.mode.removesuffix('-bit')} bits per colour are not known here"
    text = str(error.message) if isinstance(error, tf.errors.OpError) else str(error)
    text = text.partition("[Op:")[0].replace("{{function_node", "{{").strip()
    text = text.rpartition("}}")[2].strip().rstrip(".")
    return f"damaged {header.format}: {text}" if text else f"damaged {header.format}"
