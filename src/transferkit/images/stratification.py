"""Divide images with several labels each, so that each part gets its share of every label, the rare ones first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .labels import Codes


def held_out_labels(codes: Codes, copies: npt.NDArray[np.int64], share: float, seed: int) -> npt.NDArray[np.int64]:
    """Positions of the images to hold out: about `share` of all, at least one if possible; copies as in `divided`."""
    share = max(share, 1 / len(np.unique(copies)))
    return np.flatnonzero(divided(codes, copies, [1 - share, share], seed) == 1)


def divided(codes: Codes, copies: npt.NDArray[np.int64], shares: Sequence[float], seed: int) -> npt.NDArray[np.int64]:
    """The part of each image, 0 to ``len(shares) - 1``; -1 = in none, so that every label has images outside each part.

    Copies of an image are in one part, or in none if their labels differ.

    Args:
        codes: int64 `(n, n_classes)` of 0 and 1.
        copies: `(n,)`, the same number for copies of an image. Images are drawn in the order of these numbers.
        shares: the share of each part; they add up to 1.
    """
    numbers, first, of_image = np.unique(copies, return_index=True, return_inverse=True)
    differs = (codes != codes[first][of_image.ravel()]).any(axis=1)
    clear = np.setdiff1d(np.arange(len(numbers)), of_image.ravel()[differs])
    part = np.full(len(numbers), -1)
    part[clear] = _dealt(codes[first][clear], shares, seed)
    part = part[of_image.ravel()]
    for label in codes.T == 1:
        if len(np.unique(part[label])) == 1:
            part[label] = -1
    return part


def _dealt(codes: Codes, shares: Sequence[float], seed: int) -> npt.NDArray[np.int64]:
    """Iterative stratification (Sechidis et al., 2011): the rarest label first, to the part that lacks it most."""
    rng = np.random.default_rng(seed)
    codes = np.concatenate([codes, np.ones((len(codes), 1), np.int64)], axis=1)  # an extra label that all images have
    lacking = np.outer(codes.sum(axis=0), shares)  # (labels, parts)
    part = np.full(len(codes), -1)
    while (part < 0).any():
        left = codes[part < 0].sum(axis=0)
        label = int(np.where(left > 0, left, len(codes) + 1).argmin())
        for index in rng.permutation(np.flatnonzero((part < 0) & (codes[:, label] == 1))).tolist():
            ranks = rng.random(len(shares)), np.round(lacking[-1], 9), np.round(lacking[label], 9)
            part[index] = chosen = int(np.lexsort(ranks)[-1])
            lacking[:, chosen] -= codes[index]
    return part
