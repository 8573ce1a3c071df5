"""Decode files, bytes and arrays to upright RGB of one size, the same for training, prediction and the data check.

16-bit greyscale is scaled from its full range, 0-65535, as PNG requires; 32-bit and float greyscale from the range of
its values, since their scale is unknown. Only the first image of an animation is used. Transparent pixels are drawn on
white.

All images are resized with Pillow's bilinear filter, whose support grows with the reduction (antialiasing). An image
whose aspect ratio differs from the target is distorted (as in Keras's own image loading), cropped or padded.

A JPEG of a megapixel or more, at least three times as large as needed, is reduced during decoding, by a power of two up
to 8 (DCT scaling). On average over a photo, the result is within one grey level of 255 of the full decode.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._common.arguments import Resize
from .._common.files import EXHAUSTED
from .._common.remote import Remote
from ..errors import ImageReadError
from .images import Content, Images
from .opening import open_image, orientation_of, reading, unreadable

Pixels = npt.NDArray[np.float32]
Size = tuple[int, int]  # height, width
Box = tuple[float, float, float, float]  # left, upper, right, lower

# The version of the rules that turn bytes into pixels, to tell stored values apart: raise it whenever pixels change.
PIXEL_RULE = "pillow-bilinear-1"
MAX_BYTES = 2**30  # a larger file is not read
# Smaller JPEGs are always decoded in full: it takes little time, and gives the same pixels as the decoded array.
DRAFT_PIXELS = 1_000_000
DRAFT_GAP = 1.5  # a reduced JPEG stays at least this many times as large as needed, for the filter to work on
# A larger image is first reduced by a whole factor, to no less than this many times the size: little accuracy is lost.
REDUCING_GAP = 2.0
GREY_OF_16_BITS = np.round(np.arange(65536) * (255 / 65535)).astype(np.uint8)
FILL = 127  # mean grey, close to the means that preprocessing rules subtract: almost zero for the network
BOX = "box of the whole image"  # key in the `info` of a Pillow image
# The transpositions that undo the orientations 2 to 8.
T = Image.Transpose
TURNS = [T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM, T.TRANSPOSE, T.ROTATE_270, T.TRANSVERSE, T.ROTATE_90]


class Resizing(NamedTuple):
    """The size that images are resized to, and the rule for other aspect ratios."""

    size: Size
    rule: Resize = "squash"

    @property
    def turned(self) -> Resizing:
        """The same for an image stored on its side."""
        return self._replace(size=self.size[::-1])


def load(images: Images, index: int, resizing: Resizing) -> Pixels:
    """Load image `index` as upright RGB of the target size, float32 `(height, width, 3)`, 0-255.

    Raises:
        ImageReadError: the file cannot be read; the message names it.
    """
    return to_pixels(content_of(images, index), images.name(index), resizing)


def content_of(images: Images, index: int) -> Content:
    """The bytes of image `index`, or its array.

    Raises:
        ImageReadError: the file cannot be read, or is not a regular file; a FIFO or a device never blocks.
    """
    path, name = images.sources[index], images.name(index)
    if isinstance(path, Remote):
        return _downloaded(path, name)
    if not isinstance(path, str):
        return path
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise unreadable(name, "it is not a regular file", "not a regular file")
            if state.st_size > MAX_BYTES:
                raise _too_large(name, state.st_size)
            return file.read()
    except ImageReadError:
        raise
    except (OSError, ValueError) as error:  # ValueError: no file can have this name
        if getattr(error, "errno", None) in EXHAUSTED:  # says nothing about the image
            raise
        odd = os.path.lexists(path) and not os.path.isfile(path)  # noqa: PTH113  # Path.is_file may raise
        kind = "not a regular file" if odd else "unreadable"
        raise unreadable(name, getattr(error, "strerror", None) or str(error), kind) from error


def _downloaded(file: Remote, name: str) -> bytes:
    try:
        size = file.stat().size
        if (size or 0) > MAX_BYTES:
            raise _too_large(name, size)
        return file.read()
    except OSError as error:
        raise unreadable(name, str(error)) from error


def _too_large(name: str, size: int | None) -> ImageReadError:
    return unreadable(name, f"the file is too large ({size:,} bytes)", "huge")


def _without_waiting(path: str, flags: int) -> int:  # opening a FIFO waits for a writer
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def to_pixels(content: Content, name: str, resizing: Resizing, opened: Image.Image | None = None) -> Pixels:
    """Do the same as `load` from the content of an image; `opened` is the result of `open_image`, if already known."""
    if isinstance(content, np.ndarray):
        return resize(content, *resizing)
    image = open_image(content, name) if opened is None else opened
    with reading(name, content):
        return padded(to_rgb(image, resizing), resizing.size)


def decode(data: bytes, name: str = "image", size: Size | None = None) -> npt.NDArray[np.uint8]:
    """Decode the bytes of a file to upright RGB, uint8 `(h, w, 3)`; the array may be read-only.

    Args:
        size: a JPEG much larger than this may be decoded at a reduced size.

    Raises:
        ImageReadError: empty, truncated, not an image, or too large.
    """
    image = open_image(data, name)
    with reading(name, data):
        if size is not None:
            _reduce(image, (max(size), max(size)))
        return np.asarray(to_rgb(image))


def thumbnails(images: Images, indices: Sequence[int], side: int) -> list[npt.NDArray[np.uint8] | None]:
    """Images as upright RGB, uint8 `(h, w, 3)`, reduced to at most `side` pixels a side; None if unreadable."""
    return [_thumbnail(images, index, side) for index in indices]


def _thumbnail(images: Images, index: int, side: int) -> npt.NDArray[np.uint8] | None:
    try:
        content = content_of(images, index)
        pixels = decode(content, size=(side, side)) if isinstance(content, bytes) else content
    except ImageReadError:
        return None
    small = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    small.thumbnail((side, side))
    return np.asarray(small)


def to_rgb(image: Image.Image, resizing: Resizing | None = None) -> Image.Image:
    """Convert a Pillow image to upright RGB, resized (but not `padded`) if asked; resizing comes before rotation."""
    if image.format not in ("JPEG", "MPO"):
        image.load()  # this rotates a TIFF, and finds EXIF data after the pixels of a PNG
    orientation = orientation_of(image)
    if resizing is None:
        rgb = _in_8_bit_rgb(image)
    else:
        stored = resizing if orientation < 5 else resizing.turned
        box = _reduce(image, stored.size)
        rgb = resize_image(_in_8_bit_rgb(image), *stored, box)
    return rgb.transpose(TURNS[orientation - 2]) if orientation > 1 else rgb


def _reduce(image: Image.Image, size: Size) -> Box | None:
    """Let a JPEG be decoded at a reduced size; return the whole image's box in the result, even if already decoded.

    The size is large enough for every rule: a crop has the same scale, and an image to be padded is smaller.
    """
    if BOX not in image.info:
        large = image.width * image.height >= DRAFT_PIXELS
        drafted = image.draft("RGB", (int(DRAFT_GAP * size[1]), int(DRAFT_GAP * size[0]))) if large else None
        image.info[BOX] = drafted[1] if drafted else None
    box: Box | None = image.info[BOX]
    return box


def _in_8_bit_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _in_8_bits(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy it
    rgba = image.convert("RGBA")
    rgb = Image.new("RGB", rgba.size, "white")  # the colours of fully transparent pixels are arbitrary
    rgb.paste(rgba, mask=rgba)
    return rgb


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Scale deeper greyscale to 8 bits, with alpha if one value is transparent; Pillow would clip nearly all values."""
    values: npt.NDArray[Any] = np.asarray(image)
    if image.mode.startswith("I;16") or image.format == "PPM":
        grey = Image.fromarray(GREY_OF_16_BITS[values])
    else:
        if not np.isfinite(values).all():
            raise ValueError("it holds NaN or infinity")
        low, high = float(values.min()), float(values.max())
        scaled = (values.astype(np.float64) - low) * (255 / ((high - low) or 1))
        grey = Image.fromarray(np.round(scaled, out=scaled).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def resize(image: npt.NDArray[Any], size: Size, rule: Resize = "squash") -> Pixels:
    """Resize an array `(h, w, 3)`, 0-255, to float32 `(height, width, 3)`; the argument is never changed.

    Whole numbers of any dtype are resized and rounded like the pixels of a file; fractions are not rounded.
    """
    if image.shape[:2] == size:
        return image.astype(np.float32)
    whole = np.ascontiguousarray(image, np.uint8)
    if image.dtype.kind in "ui" or np.array_equal(whole, image):
        return padded(resize_image(Image.fromarray(whole), size, rule), size)
    channels = [Image.fromarray(np.ascontiguousarray(image[..., channel], np.float32)) for channel in range(3)]
    return padded(np.stack([resize_image(channel, size, rule) for channel in channels], axis=-1), size)


def resize_image(image: Image.Image, size: Size, rule: Resize = "squash", box: Box | None = None) -> Image.Image:
    """Resize a Pillow image, or the `box` in it, without the padding that `padded` adds."""
    height, width = size
    left, upper, right, lower = box or (0, 0, *image.size)
    across, down = right - left, lower - upper
    if rule == "crop":
        across, down = min(across, down * width / height), min(down, across * height / width)
        left, upper = left + (right - left - across) / 2, upper + (lower - upper - down) / 2
    elif rule == "pad":
        fitting = max(1, round(across * height / down)), max(1, round(down * width / across))
        width, height = min(width, fitting[0]), min(height, fitting[1])
    box = left, upper, left + across, upper + down
    return image.resize((width, height), Image.Resampling.BILINEAR, box, REDUCING_GAP)


def padded(image: Any, size: Size) -> Pixels:
    """Centre an array or a Pillow image of up to `size` on mean grey, as float32 `(height, width, 3)`."""
    pixels = np.asarray(image, np.float32)
    if pixels.shape[:2] == size:
        return pixels
    missing = [(whole - part) for whole, part in zip(size, pixels.shape, strict=False)]
    return np.pad(pixels, [*((free // 2, free - free // 2) for free in missing), (0, 0)], constant_values=FILL)
