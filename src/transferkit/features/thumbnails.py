"""A thumbnail of a hundred bytes per image, which shows whether two images look alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..images import Pixels, resize

__all__ = ["COLOURS", "GRID", "THUMBNAIL_BYTES", "thumbnail"]

GRID = 9  # areas along each side of the grey thumbnail
COLOURS = 3  # along each side of the coloured one
THUMBNAIL_BYTES = GRID * GRID + COLOURS * COLOURS * 3


def thumbnail(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Pixels `(h, w, 3)`, 0-255 -> uint8 `(THUMBNAIL_BYTES,)`: 9 x 9 grey areas, then 3 x 3 coloured ones."""
    if min(pixels.shape[:2]) < GRID:
        pixels = resize(pixels, (GRID, GRID))
    height, width = pixels.shape[:2]
    top, left = (np.arange(GRID) * length // GRID for length in (height, width))
    # Down the columns first: rows are contiguous in memory.
    rows = np.add.reduceat(pixels.reshape(height, width * 3), top, axis=0).reshape(GRID, width, 3)
    areas = np.add.reduceat(rows, left, axis=1)
    areas /= np.outer(np.diff(top, append=height), np.diff(left, append=width))[..., np.newaxis]
    coloured = areas.reshape(COLOURS, GRID // COLOURS, COLOURS, GRID // COLOURS, 3).mean(axis=(1, 3))
    return np.concatenate([areas.mean(axis=2).ravel(), coloured.ravel()]).round().astype(np.uint8)
