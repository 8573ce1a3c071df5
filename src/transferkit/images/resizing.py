"""Files and arrays resized by the same rule: Pillow's bilinear filter, whose support grows with the reduction.

That is antialiasing. An image of another aspect ratio than wanted is distorted (as in Keras's own image loading), cropped
or padded.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._arguments import Resize

__all__ = ["Box", "Pixels", "Resizing", "Size", "padded", "resize", "resize_image"]

Pixels = npt.NDArray[np.float32]
Size = tuple[int, int]  # height, width
Box = tuple[float, float, float, float]  # left, upper, right, lower

# A larger image is first reduced by whole factors, but no further than this many times the size: little accuracy is lost.
REDUCING_GAP = 2.0
FILL = 127  # mean grey, about what the means of all preprocessing rules subtract: for the network, next to nothing


class Resizing(NamedTuple):
    """The size that images are brought to, and what becomes of those of another aspect ratio."""

    size: Size
    rule: Resize = "squash"

    @property
    def turned(self) -> Resizing:
        """The same for an image that lies on its side."""
        return self._replace(size=self.size[::-1])


def resize(image: npt.NDArray[Any], size: Size, rule: Resize = "squash") -> Pixels:
    """An array `(h, w, 3)`, 0-255 -> float32 `(height, width, 3)`; the argument is never changed.

    Whole numbers of any type are resized, and rounded, as a file is; fractions are kept.
    """
    if image.shape[:2] == size:
        return image.astype(np.float32)
    whole = np.ascontiguousarray(image, np.uint8)
    if image.dtype.kind in "ui" or np.array_equal(whole, image):
        return padded(resize_image(Image.fromarray(whole), size, rule), size)
    channels = [Image.fromarray(np.ascontiguousarray(image[..., channel], np.float32)) for channel in range(3)]
    return padded(np.stack([resize_image(channel, size, rule) for channel in channels], axis=-1), size)


def resize_image(image: Image.Image, size: Size, rule: Resize = "squash", box: Box | None = None) -> Image.Image:
    """The same for a Pillow image, or for the `box` in it; what `padded` would add is missing."""
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
    """An image of up to `size`, as an array or of Pillow -> float32 `(height, width, 3)`, centred on mean grey."""
    pixels = np.asarray(image, np.float32)
    if pixels.shape[:2] == size:
        return pixels
    missing = [(whole - part) for whole, part in zip(size, pixels.shape, strict=False)]
    return np.pad(pixels, [*((free // 2, free - free // 2) for free in missing), (0, 0)], constant_values=FILL)
