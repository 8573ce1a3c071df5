"""One size for every image, without aliasing, and the same for files and arrays.

First by whole factors, by averaging areas, until less than a factor of two is left, or two and a quarter; then
bilinear interpolation does the rest. Plain bilinear interpolation reads two pixels per output pixel and skips those
between them, which aliases fine patterns where many are skipped; the antialiased kind costs two thirds of the
throughput. The aspect ratio is not kept, as in Keras's own image loading.

The factor of an image that is much larger than wanted is a multiple of a power of two, so that a large JPEG can be
reduced by that power while it is decoded.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

__all__ = ["Pixels", "Size", "power_of_two", "resize"]

Pixels = npt.NDArray[np.float32]
Size = tuple[int, int]

# A side this many times as long as wanted is averaged first: bilinear interpolation alone would skip more than every
# ninth pixel. Photos of 500 px on a side, which most collections have, are 2.23 times 224.
LEAST_FACTOR = 2.25
# Fresh memory costs as much as the sums that go into it: each thread keeps so many bytes of it.
SCRATCH_BYTES = 2**22

_scratch = threading.local()


def resize(image: npt.NDArray[Any], size: Size) -> Pixels:
    """An image `(h, w, 3)`, 0-255 -> float32 `(height, width, 3)`; the argument is never changed."""
    if image.shape[:2] == size:
        return image.astype(np.float32)
    down, across = _whole_factors(image.shape[:2], size)
    if image.dtype != np.uint8:
        image = image.astype(np.float32)
    areas = _area_sums(image, down, across)[np.newaxis]
    # The public tf.image.resize would bring all of the image to float32 first, which costs as much again.
    resized: Pixels = np.asarray(tf.raw_ops.ResizeBilinear(images=areas, size=size, half_pixel_centers=True))[0]
    if (down, across) == (1, 1):
        return resized
    mean: Pixels = resized / np.float32(down * across)
    return mean


def power_of_two(shape: Size, size: Size) -> int:
    """The largest power of two that, divided by, both sides are still twice as long as wanted; 1 at least."""
    left = min(shape[0] // (2 * size[0]), shape[1] // (2 * size[1]))
    return int(2 ** (left.bit_length() - 1)) if left else 1


def _whole_factors(shape: Size, size: Size) -> tuple[int, int]:
    """By how much each side is reduced before the interpolation."""
    power = power_of_two(shape, size)
    down, across = (
        side // (power * wanted) if side // power >= LEAST_FACTOR * wanted else 1  # as of what was decoded reduced
        for side, wanted in zip(shape, size, strict=True)
    )
    return power * down, power * across


def _area_sums(image: npt.NDArray[Any], down: int, across: int) -> npt.NDArray[Any]:
    """The sums over areas of `down` x `across` pixels; what is left over at the far edges is not used.

    Rows first, which lie together in memory, then column by column of each channel. What comes out may be
    overwritten by the next call on the same thread.
    """
    if (down, across) == (1, 1):
        return image
    height, width = image.shape[0] // down, image.shape[1] // across
    exact = np.uint16 if image.dtype == np.uint8 and down * across <= 257 else np.float32
    rows = _memory("rows", (height, image.shape[1], 3), exact)
    if down == 1:
        np.copyto(rows, image[:height])  # sums of one type are twice as fast as those that convert
    else:
        np.add(image[: height * down : down], image[1 : height * down : down], out=rows, dtype=exact)
    for start in range(2, down):
        np.add(rows, image[start : height * down : down], out=rows)
    if across == 1:
        return rows
    sums = _memory("sums", (height, width, 3), exact)
    stop = width * across
    for channel in range(3):
        columns = sums[..., channel]
        np.add(rows[:, :stop:across, channel], rows[:, 1:stop:across, channel], out=columns)
        for start in range(2, across):
            np.add(columns, rows[:, start:stop:across, channel], out=columns)
    return sums


def _memory(name: str, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """An array whose values are of no use any more, of this thread."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size > SCRATCH_BYTES:
        return np.empty(shape, dtype)
    kept = getattr(_scratch, name, None)
    if kept is None:
        kept = np.empty(SCRATCH_BYTES, np.uint8)
        setattr(_scratch, name, kept)
    whole: npt.NDArray[Any] = kept[:size].view(dtype).reshape(shape)
    return whole
