"""One size for every image, without aliasing, and the same for files and arrays.

Pillow's bilinear filter, whose support grows with the reduction, so that every pixel counts. An image that is more
than twice as large as needed is reduced by whole factors first. The aspect ratio is not kept, as in Keras's own image
loading.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["Box", "Pixels", "Size", "resize", "resize_image"]

Pixels = npt.NDArray[np.float32]
Size = tuple[int, int]  # height, width
Box = tuple[float, float, float, float]  # left, upper, right, lower

# What reducing by whole factors leaves to the filter: a factor of two or more. It is then hardly less accurate.
REDUCING_GAP = 2.0


def resize(image: npt.NDArray[Any], size: Size) -> Pixels:
    """An array `(h, w, 3)`, 0-255 -> float32 `(height, width, 3)`; the argument is never changed.

    Whole numbers of any type are resized, and rounded, as a file is; fractions are kept.
    """
    if image.shape[:2] == size:
        return image.astype(np.float32)
    whole = np.ascontiguousarray(image, np.uint8)
    if image.dtype.kind in "ui" or np.array_equal(whole, image):
        return np.asarray(resize_image(Image.fromarray(whole), size), np.float32)
    channels = [Image.fromarray(np.ascontiguousarray(image[..., channel], np.float32)) for channel in range(3)]
    return np.stack([np.asarray(resize_image(channel, size)) for channel in channels], axis=-1)


def resize_image(image: Image.Image, size: Size, box: Box | None = None) -> Image.Image:
    """The same for an image of Pillow's, or for the part of it that `box` names."""
    return image.resize(size[::-1], Image.Resampling.BILINEAR, box, REDUCING_GAP)
