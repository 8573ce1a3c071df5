"""Values at a cut, as training takes them: stored ones, or computed again in each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .decoding import load
from .frozen import THREADS, FrozenPart
from .images import Images
from .resizing import Pixels
from .tables import RowsOnDisk
from .workers import in_background

__all__ = ["LiveValues", "Rows", "StoredValues", "Values"]

Rows = npt.NDArray[Any] | RowsOnDisk  # one array `(n, ...)`, in memory or on disk
Batches = Sequence[npt.NDArray[np.int64]]


@dataclass(frozen=True)
class StoredValues:
    """Values at the cut that were computed once.

    Attributes:
        tensors: one array per tensor that crosses the cut.
        rows: int64 `(views, n)`: where in the tensors each view of each image is. Epochs go through
            the views one after the other.
    """

    tensors: Sequence[Rows]
    rows: npt.NDArray[np.int64]

    @classmethod
    def of(cls, tensors: Sequence[Rows]) -> StoredValues:
        """All rows in their order, one view of each image."""
        return cls(tensors, np.arange(len(tensors[0]))[np.newaxis])

    def __len__(self) -> int:
        return int(self.rows.shape[1])

    @property
    def row_bytes(self) -> int:
        """Bytes of the values of one image."""
        return sum(int(np.prod(tensor.shape[1:])) * 4 for tensor in self.tensors)

    def batches(self, batches: Batches, epoch: int = 0) -> Iterator[list[npt.NDArray[Any]]]:
        """The values of each batch of positions, read ahead where they are on disk."""
        rows = self.rows[epoch % len(self.rows)]
        if not any(isinstance(tensor, RowsOnDisk) for tensor in self.tensors):
            for batch in batches:
                yield self._gathered(rows[batch])
            return
        for future in in_background(self._gathered, (rows[batch] for batch in batches), threads=1, ahead=2):
            yield future.result()

    def _gathered(self, rows: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        return [tensor[rows] for tensor in self.tensors]


@dataclass(frozen=True)
class LiveValues:
    """Values at the cut that are computed each time: from pixels, or from pixels augmented at random."""

    images: Images
    part: FrozenPart
    augment: Callable[[Any], Any] | None = field(default=None)

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, batches: Batches, epoch: int = 0) -> Iterator[list[npt.NDArray[Any]]]:  # noqa: ARG002
        """The values of each batch of positions, augmented if asked; images are decoded ahead."""
        order = [int(index) for batch in batches for index in batch]
        decoded = in_background(self._load, order, THREADS, 4 * max(map(len, batches), default=1))
        with ThreadPoolExecutor(THREADS) as pool:
            for batch in batches:
                pixels = np.stack([next(decoded).result() for _ in batch])
                if self.augment is not None:
                    pixels = self.augment(pixels).numpy()
                yield self.part.in_chunks(pixels, pool)

    def _load(self, index: int) -> Pixels:
        return load(self.images, index, self.part.size)


Values = StoredValues | LiveValues
