"""How much images resemble the training images, judged by the features before the head.

One Gaussian describes features of unit length: the directions in which they vary most, and the same small variance in
all others (Tipping and Bishop, 1999, "Probabilistic PCA"). Strange images stand out in the directions in which training
images vary little. On photos from other sets, this separates as well as nearest neighbours do, and takes a few hundred
kilobytes instead of all features (benchmarks/confidence.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._common.sharing import one_thread
from ..images import Indices

Array = npt.NDArray[np.float32]

MOST_IMAGES = 4096  # that are measured: more give the same result
DIRECTIONS = 32
IMAGES_PER_DIRECTION = 10
FOLDS = 5
HEADER = 16  # bytes before the numbers in a file


@dataclass(frozen=True, eq=False)
class Typicality:
    """The distribution of the features of the training images.

    Attributes:
        center: float32 `(d,)`, their mean.
        axes: float32 `(k, d)`, orthonormal: the directions in which they vary most.
        variances: float32 `(k + 1,)`, along each axis, and along any other direction.
        distances: float32 `(m,)`, sorted: how far each training image is from those of the other folds.
    """

    center: Array
    axes: Array
    variances: Array
    distances: Array

    @classmethod
    def of_training(cls, features: npt.NDArray[Any]) -> Typicality | None:
        """Measure features `(n, d)` of any scale; None if they are too few, all alike or not finite."""
        units = units_of(features[sample(len(features))])
        if len(units) < 2 * IMAGES_PER_DIRECTION or not np.isfinite(units).all() or units.std(axis=0).max() < 1e-6:
            return None
        folds = np.random.default_rng(0).permutation(len(units)) % FOLDS
        with one_thread():
            left_out = [_gaussian(units[folds != fold]).distance(units[folds == fold]) for fold in range(FOLDS)]
            found = _gaussian(units)
        return cls(found.center, found.axes, found.variances, np.sort(np.concatenate(left_out)))

    def __call__(self, features: npt.NDArray[Any]) -> Array:
        """The share of training images that are less typical, float32 `(n,)`, 0 to 1, of features `(n, d)`."""
        nearer = np.searchsorted(self.distances, self.distance(units_of(features)), side="right")
        return (1 - nearer / len(self.distances)).astype(np.float32)

    def to_bytes(self) -> bytes:
        """For a file: the numbers of axes and distances, then all values as float32; little-endian."""
        numbers = [array.ravel() for array in (self.center, self.axes, self.variances, self.distances)]
        counts = np.array([len(self.axes), len(self.distances)], "<u8")
        return counts.tobytes() + np.concatenate(numbers).astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, content: bytes, width: int) -> Typicality:
        """The inverse of `to_bytes`, for features of this width.

        Raises:
            ValueError: `to_bytes` cannot have written `content`.
        """
        axes, distances = np.frombuffer(content[:HEADER], "<u8").tolist()
        sizes = [width, axes * width, axes + 1, distances]
        if not (1 <= axes <= min(DIRECTIONS, width) and 1 <= distances <= MOST_IMAGES):
            raise ValueError("its typicality values have the wrong shape")
        if len(content) != HEADER + 4 * sum(sizes):
            raise ValueError("its typicality values have the wrong length")
        numbers = np.frombuffer(content[HEADER:], "<f4").astype(np.float32)
        parts = np.split(numbers, np.cumsum(sizes)[:-1])
        if not np.isfinite(numbers).all() or parts[2].min() <= 0 or np.any(np.diff(parts[3]) < 0):
            raise ValueError("its typicality values are invalid")
        return cls(parts[0], parts[1].reshape(axes, width), parts[2], parts[3])

    @staticmethod
    def most_bytes(width: int) -> int:
        """How many bytes `to_bytes` returns at most, for features of this width."""
        return HEADER + 4 * ((1 + DIRECTIONS) * width + DIRECTIONS + 1 + MOST_IMAGES)

    def distance(self, units: Array) -> Array:
        """Squared Mahalanobis distances `(n,)` of features of unit length."""
        moved = units - self.center
        along = moved @ self.axes.T
        rest = np.maximum(np.square(moved).sum(axis=1) - np.square(along).sum(axis=1), 0)
        distances: Array = (np.square(along) / self.variances[:-1]).sum(axis=1) + rest / self.variances[-1]
        return distances


def sample(count: int) -> Indices:
    """Evenly spaced positions among `count` images: as many as are enough to measure."""
    return np.linspace(0, count - 1, min(count, MOST_IMAGES)).round().astype(np.int64)


def units_of(features: npt.NDArray[Any]) -> Array:
    """Features of unit length, float32 `(n, d)`."""
    values = np.asarray(features, np.float32)
    units: Array = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.float32(1e-12))
    return units


def _gaussian(units: Array) -> Typicality:
    from sklearn.utils.extmath import randomized_svd  # takes a second to import

    count, width = units.shape
    size = max(1, min(DIRECTIONS, count // IMAGES_PER_DIRECTION, width - 1))
    center = units.mean(axis=0)
    _, lengths, axes = randomized_svd(units - center, size, random_state=0)
    along = np.square(lengths) / count
    rest = (np.square(units - center).sum() / count - along.sum()) / max(1, width - size)
    variances = np.maximum(np.append(along, rest), 1e-6 * along.max())
    return Typicality(center, axes.astype(np.float32), variances.astype(np.float32), np.zeros(0, np.float32))
