"""The frozen part over images: decode on threads, compute in batches, once per image.

The values that cross the cut come out as one array per tensor, in the order of the images. What the
store holds already is neither decoded nor computed again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from .decoding import Pixels, decode, in_background, load, read_bytes, resize
from .errors import ImageReadError
from .images import ImageFiles, Images
from .loading import weights_digest
from .progress import Bar
from .store import Row, Shelf, Store, content_key

__all__ = ["FrozenPart", "LiveValues", "StoredValues", "Values", "compute", "refuse_unreadable"]

THREADS = max(2, min(16, os.cpu_count() or 2))
# Images per call of the frozen part. On a CPU small batches stay in its caches, and one call per core
# beats one call on all cores: benchmarks/forward.py measured 1.7 times the images per second of batches of 32.
CPU_CHUNK = 4
GPU_CHUNK = 64
# The rules by which bytes become pixels; a change of decoding.py that changes pixels changes this.
PIXEL_RULE = "area-bilinear-1"


class FrozenPart:
    """A frozen part as one compiled function, for batches of any length.

    `name` tells which part of which network it is; with the hash of the weights it says what its
    values depend on, the images apart.
    """

    def __init__(self, model: keras.Model, size: tuple[int, int], name: str) -> None:
        self.size = size
        self.name = f"{name}/{weights_digest(model)}/{size}/{PIXEL_RULE}"
        self._outputs = [
            (tuple(tensor.shape[1:]), tf.as_dtype(tensor.dtype).as_numpy_dtype) for tensor in model.outputs
        ]
        # Traced here and now: TensorFlow takes the same line in several classifiers for a function that is
        # traced anew in each call, and warns of it.
        self._function = tf.function(lambda images: _as_list(model(images, training=False))).get_concrete_function(
            tf.TensorSpec((None, *size, 3), tf.float32)
        )

        self.chunk = GPU_CHUNK if tf.config.list_physical_devices("GPU") else CPU_CHUNK

    def __call__(self, images: Any) -> list[npt.NDArray[Any]]:
        """float32 `(n, h, w, 3)`, RGB 0-255 -> the values at the cut, one array `(n, ...)` per tensor."""
        return [tensor.numpy() for tensor in self._function(tf.convert_to_tensor(images, tf.float32))]

    def empty(self, count: int) -> list[npt.NDArray[Any]]:
        """Arrays for the values of `count` images; float32, or what a mixed precision policy computes in."""
        return [np.empty((count, *shape), dtype) for shape, dtype in self._outputs]

    def value_bytes(self, count: int) -> int:
        """Bytes that the values of `count` images take."""
        return count * sum(array.nbytes for array in self.empty(1))

    def in_chunks(self, images: npt.NDArray[Any], pool: ThreadPoolExecutor) -> list[npt.NDArray[Any]]:
        """The same, several chunks at once on the threads of `pool`."""
        if len(images) <= self.chunk:
            return self(images)
        chunks = [images[start : start + self.chunk] for start in range(0, len(images), self.chunk)]
        return [np.concatenate(parts) for parts in zip(*pool.map(self, chunks), strict=True)]


def compute(
    part: FrozenPart, images: Images, store: Store | None, verbose: str | int, title: str
) -> list[npt.NDArray[Any]]:
    """The values of every image: one array `(n, ...)` per tensor that crosses the cut.

    Raises:
        ImageReadError: files that cannot be read, all of them named together.
    """
    shelf = None if store is None else store.shelf(part.name, part.value_bytes(len(images)))
    values = part.empty(len(images))
    worker = _Worker(part, images, shelf)
    with Bar(title, len(images), "images", verbose) as bar:
        chunks = [range(start, min(start + part.chunk, len(images))) for start in range(0, len(images), part.chunk)]
        for future in in_background(worker, chunks, THREADS, 2 * THREADS):
            rows = future.result()
            for index, key, row in rows:
                for array, value in zip(values, row, strict=True):
                    array[index] = value
                if shelf is not None and key is not None:
                    shelf.put(key, tuple(array[index] for array in values))
            bar.advance(min(part.chunk, len(images) - bar.done))
    if worker.failures:
        raise _all_unreadable(dict(sorted(worker.failures.items())))
    return values


def refuse_unreadable(images: Images, verbose: str | int) -> None:
    """Decode every image once, where no pass does so before training.

    Raises:
        ImageReadError: files that cannot be read, all of them named together.
    """
    failures: dict[int, ImageReadError] = {}
    with Bar("reading images", len(images), "images", verbose) as bar:
        reading = in_background(lambda index: load(images, index, (1, 1)), range(len(images)), THREADS, 4 * THREADS)
        for index, future in enumerate(reading):
            bar.advance()
            try:
                future.result()
            except ImageReadError as error:
                failures[index] = error
    if failures:
        raise _all_unreadable(failures)


class _Worker:
    """Reads, decodes and computes a few images; runs on several threads at once."""

    def __init__(self, part: FrozenPart, images: Images, shelf: Shelf | None) -> None:
        self.part, self.images, self.shelf = part, images, shelf
        self.failures: dict[int, ImageReadError] = {}

    def __call__(self, indices: range) -> list[tuple[int, bytes | None, Row]]:
        """(index, key, values) of each image; those that cannot be read go to `failures`."""
        found: list[tuple[int, bytes | None, Row]] = []
        missing: list[tuple[int, bytes | None, Pixels]] = []
        for index in indices:
            try:
                key, row, pixels = self._load(index)
            except ImageReadError as error:
                self.failures[index] = error
                continue
            if row is None:
                missing.append((index, key, pixels))
            else:
                found.append((index, key, row))
        # After a failure the rest is only read, so that every bad file is named without a long wait.
        if missing and not self.failures:
            results = self.part(np.stack([pixels for _, _, pixels in missing]))
            found += [(index, key, tuple(r[n] for r in results)) for n, (index, key, _) in enumerate(missing)]
        return found

    def _load(self, index: int) -> tuple[bytes | None, Row | None, Any]:
        """The key, the stored values or None, the pixels or None."""
        images, shelf = self.images, self.shelf
        content = read_bytes(images, index) if isinstance(images, ImageFiles) else images.array(index)
        if shelf is None:
            return None, None, self._pixels(content, index)
        key = content_key(content)
        row = shelf.get(key)
        return key, row, None if row is not None else self._pixels(content, index)

    def _pixels(self, content: bytes | npt.NDArray[Any], index: int) -> Pixels:
        image = decode(content, self.images.name(index)) if isinstance(content, bytes) else content
        return resize(image, self.part.size)


def _all_unreadable(errors: Mapping[int, ImageReadError]) -> ImageReadError:
    failures = {name: reason for error in errors.values() for name, reason in error.failures.items()}
    if len(errors) == 1:
        return next(iter(errors.values()))
    named = "; ".join(f"{name}: {reason}" for name, reason in list(failures.items())[:20])
    more = f"; and {len(failures) - 20} more in .failures of this error" if len(failures) > 20 else ""
    return ImageReadError(
        f"{len(failures)} images cannot be read ({named}{more}): every image must be whole and of a known format. Repair "
        f"them or take them out; check_images(data) lists all faults of a data set.",
        failures,
    )


@dataclass(frozen=True)
class StoredValues:
    """Values at the cut that are held in memory: one array per tensor."""

    arrays: list[npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.arrays[0])

    def batches(self, batches: Sequence[npt.NDArray[np.int64]]) -> Iterator[list[Any]]:
        """The values of each batch of positions."""
        for batch in batches:
            yield [array[batch] for array in self.arrays]


@dataclass(frozen=True)
class LiveValues:
    """Values at the cut that are computed anew each time: from pixels, or of pixels augmented at random."""

    images: Images
    part: FrozenPart
    augment: Callable[[Any], Any] | None = field(default=None)

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, batches: Sequence[npt.NDArray[np.int64]]) -> Iterator[list[Any]]:
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


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
