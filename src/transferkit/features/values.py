"""Values at a cut, as training reads them: stored, or computed again in each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import BoundedSemaphore
from typing import Any

import numpy as np
import numpy.typing as npt

from .._common.remote import READERS
from ..cache import RowsOnDisk
from ..images import Images, Pixels, content_of, to_pixels
from ..network import FeatureExtractor, thread_count
from .augmentation import Augmenter
from .reader import in_background

Rows = npt.NDArray[Any] | RowsOnDisk  # one array `(n, ...)`, in memory or on disk
Batches = Sequence[npt.NDArray[np.int64]]


@dataclass(frozen=True)
class StoredValues:
    """Values at the cut that were computed once.

    Attributes:
        tensors: one array per tensor that crosses the cut.
        rows: int64 `(views, n)`: the row in the tensors of each view of each image. Epochs use the
            views in turn.
        unchanged: the values of the unchanged images; None = the first view takes their place.
    """

    tensors: Sequence[Rows]
    rows: npt.NDArray[np.int64]
    unchanged: StoredValues | None = None

    def __len__(self) -> int:
        return int(self.rows.shape[1])

    def subset(self, positions: npt.NDArray[np.int64]) -> StoredValues:
        """The values of some of the images."""
        unchanged = None if self.unchanged is None else self.unchanged.subset(positions)
        return replace(self, rows=self.rows[:, positions], unchanged=unchanged)

    def without_changes(self) -> StoredValues:
        """The values of the unchanged images."""
        return StoredValues(self.tensors, self.rows[:1]) if self.unchanged is None else self.unchanged

    @property
    def row_bytes(self) -> int:
        """Bytes of the values of one image."""
        return sum(int(np.prod(tensor.shape[1:])) * 4 for tensor in self.tensors)

    def batches(self, batches: Batches, epoch: int = 0) -> Iterator[list[npt.NDArray[Any]]]:
        """The values of each batch of positions, read ahead where they are on disk."""
        rows = self.rows[epoch % len(self.rows)]

        def gathered(batch: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
            return [tensor[rows[batch]] for tensor in self.tensors]

        if any(isinstance(tensor, RowsOnDisk) for tensor in self.tensors):
            yield from in_background(gathered, batches, threads=1, ahead=2)
        else:
            yield from map(gathered, batches)


@dataclass(frozen=True)
class LiveValues:
    """Values at the cut that are computed in each epoch, from pixels that `augment`, if given, changes first."""

    images: Images
    extractor: FeatureExtractor
    augment: Augmenter | None = None

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, positions: npt.NDArray[np.int64]) -> LiveValues:
        """The values of some of the images."""
        return replace(self, images=self.images.subset(positions.tolist()))

    def without_changes(self) -> LiveValues:
        """The values of the unchanged images."""
        return replace(self, augment=None)

    def batches(self, batches: Batches, epoch: int = 0) -> Iterator[list[npt.NDArray[Any]]]:
        """The values of each batch of positions; images are decoded ahead."""

        working = BoundedSemaphore(thread_count())

        def pixels_of(index: int) -> Pixels:
            content = content_of(self.images, index)
            with working:
                return to_pixels(content, self.images.name(index), self.extractor.resizing)

        if self.augment is not None:
            self.augment.restart(epoch)
        order = (int(index) for batch in batches for index in batch)
        threads = READERS if self.images.are_remote else thread_count()
        decoded = in_background(pixels_of, order, threads, 4 * max(map(len, batches), default=1))
        with ThreadPoolExecutor(thread_count()) as pool:
            for batch in batches:
                pixels = np.stack([next(decoded) for _ in batch])
                if self.augment is not None:
                    pixels = self.augment(pixels).numpy()
                yield self.extractor.in_chunks(pixels, pool)


Values = StoredValues | LiveValues
