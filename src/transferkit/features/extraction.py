"""Feature extraction: the frozen part over images, once per image and view, through the store.

Files are read, decoded and computed on a few threads at once, in small batches. Rows that the store holds are neither
decoded nor computed again. What was computed before an error or Ctrl-C is stored.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from .._console import Bar
from .._workers import in_background
from ..cache import KEY, Records, RowsOnDisk, Session, Store, Tensors, has_room_for_temporary, record_dtype
from ..errors import ImageReadError, WeightsError, some_of
from ..images import Images, Pixels, Size
from ..network import THREADS, FrozenPart
from .augmentation import FixedViews
from .forecast import Forecast
from .inspection import Findings, OpenedImage, Seen, ThumbnailCache, all_unreadable
from .values import Rows

__all__ = ["NoRoomError", "Plan", "compute", "inspect", "is_kept"]

# Values of more bytes than this stay on disk: memory stays flat however many images there are.
MEMORY_BYTES = 2**28
HALF_RANGE = float(np.finfo(np.float16).max)


class NoRoomError(Exception):
    """The disk has no room for values that must be stored there; internal, no user sees it."""


@dataclass(frozen=True)
class Plan:
    """Which rows to compute: the views of the first `viewed` images, then the other images as they are."""

    images: Images
    views: FixedViews | None = None
    viewed: int = 0

    def __len__(self) -> int:
        return len(self.images) + self.viewed * (self._times - 1)

    @property
    def _times(self) -> int:
        return self.views.count if self.views is not None else 1

    def image(self, row: int) -> int:
        """The image of a row."""
        return row // self._times if self._is_view(row) else row - self.viewed * (self._times - 1)

    def key(self, content: bytes, row: int) -> bytes:
        """The key of a row, from the key of its image's content."""
        return self.views.key(content, row % self._times) if self.views and self._is_view(row) else content

    def draw(self, pixels: Pixels, content: bytes, row: int) -> Pixels:
        """The image as this row shows it."""
        return self.views.draw(pixels, content, row % self._times) if self.views and self._is_view(row) else pixels

    def _is_view(self, row: int) -> bool:
        return row < self.viewed * self._times

    def rows_of_views(self) -> npt.NDArray[np.int64]:
        """int64 `(views, viewed)`: the rows of the first images; without views, `(1, viewed)`."""
        return np.arange(self.viewed * self._times).reshape(self.viewed, self._times).T


def compute(
    part: FrozenPart,
    plan: Plan,
    store: Store | None,
    verbose: str | int,
    title: str,
    half: bool = False,
    in_memory: bool = True,
    findings: Findings | None = None,
    store_from: int = 0,
) -> list[Rows]:
    """The values of every row of a plan: one array `(n, ...)` per tensor that crosses the cut.

    Args:
        store: where values are found and kept; None = nothing outlives the call.
        half: keep them in float16.
        in_memory: hold them in memory, however large, if the disk has no room for them.
        findings: takes what is seen of the images, and which cannot be read; the rows of unreadable ones mean nothing.
        store_from: new values are stored if there are so many, or if they are too large for memory.

    Raises:
        ImageReadError: files cannot be read, all named together; not with `findings`.
        WeightsError: values that are NaN or infinite.
        NoRoomError: `in_memory` is False, and the disk is full.
    """
    seen = Findings(len(plan.images), looks=False) if findings is None else findings
    tensors = _tensors(part, half)
    with closing(ThumbnailCache(store if seen.looks else None, part.size)) as thumbnails:
        rows = _Extraction(part, plan, tensors, seen, thumbnails, title, verbose).rows(store, in_memory, store_from)
    if findings is None and seen.failures:
        raise all_unreadable(seen.failures)
    return rows


def is_kept(part: FrozenPart, rows: int, store: Store | None, limit: int, half: bool = False) -> bool:
    """Whether the values of so many rows can be kept: in the store, or for the call alone within `limit` bytes."""
    tensors = _tensors(part, half)
    size = rows * record_dtype(tensors).itemsize
    if size <= MEMORY_BYTES and size <= limit:
        return True
    if store is not None and size <= store.limit:
        stored = len(store.table(part.name, tensors)) * record_dtype(tensors).itemsize
        return store.has_room(max(0, size - stored))
    return size <= limit and has_room_for_temporary(size)


def inspect(
    images: Images, size: Size, store: Store | None, findings: Findings, verbose: str | int, title: str
) -> None:
    """Read every image once, and decode those whose thumbnails the store does not hold; `findings` takes what is seen."""
    with closing(ThumbnailCache(store, size)) as thumbnails, Bar(title, len(images), "images", verbose) as bar:

        def look(index: int) -> Seen:
            return OpenedImage(images, index, size, keyed=True).seen(thumbnails)

        for index, future in enumerate(in_background(look, range(len(images)), THREADS, 4 * THREADS)):
            bar.advance()
            try:
                seen = future.result()
            except ImageReadError as error:
                findings.failures[index] = error
            else:
                findings.note(index, seen)
                thumbnails.keep(seen)


@dataclass
class _Row:
    """One row: with values if they were found in the store or are computed, else with the pixels to compute them from."""

    number: int
    key: bytes
    seen: Seen | None
    values: Records | None = None  # one record
    pixels: Pixels | None = None
    is_new: bool = False


@dataclass
class _Extraction:
    """One extraction of the rows of a plan."""

    part: FrozenPart
    plan: Plan
    tensors: Tensors
    findings: Findings
    thumbnails: ThumbnailCache
    title: str
    verbose: str | int
    session: Session | None = None

    def __post_init__(self) -> None:
        self.dtype = record_dtype(self.tensors)
        self.names = self.dtype.names or ()

    def rows(self, store: Store | None, in_memory: bool, store_from: int) -> list[Rows]:
        """The values, in memory or on disk; a session keeps a temporary store alive."""
        size = len(self.plan) * self.dtype.itemsize
        home = store if store is not None and size <= store.limit else None
        if size > MEMORY_BYTES:
            try:
                if home is None and not has_room_for_temporary(size):
                    raise NoRoomError
                return self._on_disk((home or Store.temporary()).session(self.part.name, self.tensors))
            except NoRoomError:
                if not in_memory:
                    raise
        return self._in_memory(None if home is None else home.session(self.part.name, self.tensors, store_from))

    def _in_memory(self, session: Session | None) -> list[Rows]:
        self.session = session
        arrays = [np.empty((len(self.plan), *shape), dtype) for dtype, shape in self.tensors]
        with closing(self._results()) as results:
            for number, _, values in results:
                for array, name in zip(arrays, self.names, strict=True):
                    array[number] = values[name][0]
        return list(arrays)

    def _on_disk(self, session: Session) -> list[Rows]:
        self.session = session
        keys = np.zeros(len(self.plan), KEY)
        with closing(self._results()) as results:
            for number, key, _ in results:
                keys[number] = key
                if session.is_full:
                    break
        if session.is_full:
            raise NoRoomError
        return [RowsOnDisk(session, keys, name) for name in self.names]

    def _results(self) -> Generator[tuple[int, bytes, Records]]:
        """Number, key and values of every row whose image can be read, in order; new ones are stored."""
        total, chunk, session = len(self.plan), self.part.chunk, self.session
        unit = "views" if self.plan.views is not None else "images"
        stored = self.dtype.itemsize if session is not None and session.store_from <= total else 0
        forecast = Forecast(self.title, total, unit, stored, 2 * THREADS * chunk, self.verbose)
        chunks = [range(start, min(start + chunk, total)) for start in range(0, total, chunk)]
        try:
            with Bar(self.title, total, unit, self.verbose) as bar:
                for future, numbers in zip(
                    in_background(self._work, chunks, THREADS, 2 * THREADS), chunks, strict=True
                ):
                    rows = future.result()
                    for row in rows:
                        if row.seen is not None:
                            self.findings.note(row.number, row.seen)
                            self.thumbnails.keep(row.seen)
                        if row.values is not None:
                            if session is not None and row.is_new:
                                session.put(row.key, row.values)
                            yield row.number, row.key, row.values
                    bar.advance(len(numbers))
                    forecast.note(sum(row.is_new for row in rows), len(numbers))
        finally:
            if session is not None:
                session.flush()

    def _work(self, numbers: range) -> list[_Row]:
        """The rows of a few images, on any thread."""
        rows = [row for index, group in groupby(numbers, self.plan.image) for row in self._read(index, list(group))]
        self._compute([row for row in rows if row.pixels is not None])
        return rows

    def _read(self, index: int, numbers: list[int]) -> list[_Row]:
        """The rows of one image, found or still to be computed; none if it cannot be read, which is noted."""
        # Views are drawn by content, and duplicates are recognized by it.
        is_keyed = self.session is not None or self.plan.views is not None or self.findings.looks
        try:
            image = OpenedImage(self.plan.images, index, self.part.size, is_keyed)
            seen = image.seen(self.thumbnails) if self.findings.looks else None
            return [self._row(image, number, seen) for number in numbers]
        except ImageReadError as error:
            self.findings.failures[index] = error
            return []

    def _row(self, image: OpenedImage, number: int, seen: Seen | None) -> _Row:
        key = self.plan.key(image.key, number)
        values = None if self.session is None else self.session.find(key)
        pixels = None if values is not None else self.plan.draw(image.pixels(), image.key, number)
        return _Row(number, key, seen, values, pixels)

    def _compute(self, rows: list[_Row]) -> None:
        """Turn pixels into values."""
        if not rows or self.findings.gives_up:
            return
        arrays = self.part(np.stack([row.pixels for row in rows if row.pixels is not None]))
        self._check(rows, arrays)
        records = np.empty(len(rows), self.dtype)
        for name, array in zip(self.names, arrays, strict=True):
            is_half = self.dtype[name].base != array.dtype  # what is out of its range goes to its end
            records[name] = np.clip(array, -HALF_RANGE, HALF_RANGE) if is_half else array
        for at, row in enumerate(rows):
            row.values, row.pixels, row.is_new = records[at : at + 1], None, True

    def _check(self, rows: list[_Row], arrays: list[npt.NDArray[Any]]) -> None:
        if all(np.isfinite(array).all() for array in arrays):
            return
        bad = [row for at, row in enumerate(rows) if not all(np.isfinite(array[at]).all() for array in arrays)]
        names = [self.plan.images.name(self.plan.image(row.number)) for row in bad]
        raise WeightsError(
            f"The frozen layers give values that are NaN or infinite for {some_of(names)}: they must be finite. Check the "
            f"weights file, the record's preprocessing, and an augmentation of your own."
        )


def _tensors(part: FrozenPart, half: bool) -> Tensors:
    """What crosses the cut, with `half` in float16 instead of float32."""
    return tuple(("float16" if half and dtype == "float32" else dtype, shape) for dtype, shape in part.tensors)
