"""Files and arrays resized by the same rule: Pillow's bilinear filter, whose support grows with the reduction.

That is antialiasing. The aspect ratio is not kept, as in Keras's own image loading.
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

# A larger image is first reduced by whole factors, but no further than this many times the size: little accuracy is lost.
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
    """The same for a Pillow image, or for the `box` in it."""
    return image.resize(size[::-1], Image.Resampling.BILINEAR, box, REDUCING_GAP)
