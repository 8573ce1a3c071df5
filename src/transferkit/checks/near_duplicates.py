"""Find near duplicates: pairs of images whose thumbnails hardly differ.

128 bits are compared first: whether each of 8 x 8 areas is darker than its neighbours to the right and below
(difference hashing, as in the imagehash package). They survive resizing, compression and small colour changes. Pictures
on the same background share most bits, so images whose bits agree are also compared by brightness and colour.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..features import COLOURS, GRID

# The limits within which two thumbnails show the same picture: benchmarks/near_duplicates.py measures their errors.
MAX_BITS = 12
MAX_GREY = 6.0  # of 255, on average over the areas
MAX_COLOUR = 10.0
NOISE = 2  # of 255; differences in brightness up to this mean nothing
MIN_CONTRAST = 12  # of 255; thumbnails with less show nothing to compare
BANDS = 16
NEIGHBOURS = 12
PIECE = 4096
ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def contrast(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """int64 `(n,)`: the difference between the brightest and the darkest area of each thumbnail, 0-255."""
    return np.asarray(np.ptp(thumbnails[:, : GRID * GRID], axis=1), np.int64)


def spread(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """int64 `(n,)`: the largest difference between two areas of a thumbnail, in brightness or one colour, 0-255."""
    colours = thumbnails[:, GRID * GRID :].reshape(len(thumbnails), COLOURS * COLOURS, 3)
    return np.asarray(np.maximum(contrast(thumbnails), np.ptp(colours, axis=1).max(axis=1)))


def pairs_alike(thumbnails: npt.NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Pairs `(earlier, later)` of thumbnails that show the same picture; each later one is in only one pair.

    The bits are cut into 16 bands. Images that share a band are sorted by their bits, and each is compared with the
    next 12, so that a million pictures on white take no longer than others.
    """
    chosen = np.flatnonzero(contrast(thumbnails) >= MIN_CONTRAST)
    if len(chosen) < 2:
        return
    # In pieces, since the comparisons of a thumbnail take ten times its memory.
    bits = np.concatenate([_bits(thumbnails[chosen[at : at + PIECE]]) for at in range(0, len(chosen), PIECE)])
    twin: dict[int, int] = {}
    for first, second in _candidates(bits):
        close = ONES[bits[first] ^ bits[second]].sum(axis=1) <= MAX_BITS
        first, second = chosen[first[close]], chosen[second[close]]
        apart = np.abs(thumbnails[first].astype(np.int16) - thumbnails[second])
        grey, colour = apart[:, : GRID * GRID].mean(axis=1), apart[:, GRID * GRID :].mean(axis=1)
        same = (grey <= MAX_GREY) & (colour <= MAX_COLOUR)
        for one, other in zip(first[same].tolist(), second[same].tolist(), strict=True):
            earlier, later = sorted((one, other))
            twin[later] = min(earlier, twin.get(later, earlier))
    for later in sorted(twin):
        yield twin[later], later


def _bits(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """uint8 `(n, 16)`: 64 comparisons with the area to the right, 64 with the area below."""
    grey = thumbnails[:, : GRID * GRID].reshape(-1, GRID, GRID).astype(np.int16)
    across = grey[:, :-1, 1:] - grey[:, :-1, :-1] > NOISE
    down = grey[:, 1:, :-1] - grey[:, :-1, :-1] > NOISE
    return np.packbits(np.concatenate([across.reshape(len(grey), -1), down.reshape(len(grey), -1)], axis=1), axis=1)


def _candidates(bits: npt.NDArray[np.uint8]) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Pairs that may be close: they share a band and are near each other in sorted order."""
    for band in range(BANDS):
        rolled = np.ascontiguousarray(np.roll(bits, -band, axis=1))
        order = np.argsort(rolled.view(f"V{bits.shape[1]}").ravel(), kind="stable")
        value = rolled[order, 0]
        for step in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
            shared = np.flatnonzero(value[:-step] == value[step:])
            yield order[shared], order[shared + step]
