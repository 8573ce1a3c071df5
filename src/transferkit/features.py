"""The pass: the frozen part over images, once per image and view, through the store.

Files are read, decoded and computed on a few threads at once, in small batches. What the store holds
already is neither decoded nor computed again. What was computed before an error or Ctrl-C is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .augmentation import FixedViews
from .errors import ImageReadError, WeightsError, some_of
from .findings import Album, Findings, Look, OpenedImage, all_unreadable
from .forecast import Forecast
from .frozen import THREADS, FrozenPart
from .images import Images
from .placement import NoRoomError, Placement
from .progress import Bar
from .resizing import Pixels, Size
from .segments import Row, Segment, Tensors
from .shelves import Shelf, Writer
from .store import Store, has_room_for_temporary
from .values import Rows
from .workers import in_background

__all__ = ["Plan", "compute", "inspect", "is_kept"]

# Values of more bytes than this stay on disk, mapped into memory: memory stays flat however many images there are.
MEMORY_BYTES = 2**28
HALF_RANGE = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Plan:
    """Which rows a pass computes: the views of the first `viewed` images, then the other images as they are.

    Without views, one row for each image.
    """

    images: Images
    views: FixedViews | None = None
    viewed: int = 0

    def __len__(self) -> int:
        return len(self.images) + self.viewed * (self._times - 1)

    @property
    def _times(self) -> int:
        return self.views.count if self.views is not None else 1

    def item(self, row: int) -> tuple[int, int | None]:
        """The image and the view of a row; None = the image as it is."""
        if self.views is not None and row < self.viewed * self._times:
            return row // self._times, row % self._times
        return row - self.viewed * (self._times - 1), None

    def rows_of_views(self) -> npt.NDArray[np.int64]:
        """int64 `(views, viewed)`: the rows of the first images; one view where there are none."""
        return np.arange(self.viewed * self._times).reshape(self.viewed, self._times).T

    def rows_of_others(self) -> npt.NDArray[np.int64]:
        """int64 `(1, n)`: the rows of the other images."""
        return np.arange(self.viewed * self._times, len(self))[np.newaxis]


def compute(
    part: FrozenPart,
    plan: Plan,
    store: Store | None,
    verbose: str | int,
    title: str,
    half: bool = False,
    in_memory: bool = True,
    findings: Findings | None = None,
) -> list[Rows]:
    """The values of every row of a plan: one array `(n, ...)` per tensor that crosses the cut.

    Args:
        store: where values are found and kept; None = nothing outlives the call.
        half: keep them in float16.
        in_memory: hold them in memory, whatever they take, where the disk has no room for them.
        findings: takes what is seen of the images, those that cannot be read among them, whose rows then mean
            nothing.

    Raises:
        ImageReadError: files that cannot be read, all of them named together; not with `findings`.
        WeightsError: values that are no numbers.
        NoRoomError: `in_memory` is False, and the disk is full.
    """
    seen = Findings(len(plan.images), looks=False) if findings is None else findings
    album = Album(store if seen.looks else None, part.size)
    try:
        rows = _rows(part, plan, store, seen, album, verbose, title, half, in_memory)
    finally:
        album.close()
    if findings is None and seen.failures:
        raise all_unreadable(seen.failures)
    return rows


def _rows(
    part: FrozenPart,
    plan: Plan,
    store: Store | None,
    seen: Findings,
    album: Album,
    verbose: str | int,
    title: str,
    half: bool,
    in_memory: bool,
) -> list[Rows]:
    """The values where there is room for them."""
    tensors = _halved(part.tensors) if half else part.tensors
    size = _bytes_of(tensors, len(plan))
    home = store if store is not None and size <= store.limit else None
    if size > MEMORY_BYTES:
        place = home or Store.temporary()
        try:
            if home is None and not place.has_room(size):
                raise NoRoomError
            return _Pass(part, plan, place, tensors, seen, album, verbose, title).into_files()
        except NoRoomError:
            if not in_memory:
                raise
    return _Pass(part, plan, home, tensors, seen, album, verbose, title).into_memory()


def is_kept(part: FrozenPart, rows: int, store: Store | None, limit: int, half: bool = False) -> bool:
    """Whether the values of so many rows can be kept: in the store, or for the call alone within `limit` bytes."""
    tensors = _halved(part.tensors) if half else part.tensors
    size = _bytes_of(tensors, rows)
    if size <= MEMORY_BYTES and size <= limit:
        return True
    if store is not None and size <= store.limit:
        return store.has_room(max(0, size - _bytes_of(tensors, len(store.shelf(part.name, tensors)))))
    return size <= limit and has_room_for_temporary(size)


def inspect(
    images: Images, size: Size, store: Store | None, findings: Findings, verbose: str | int, title: str
) -> None:
    """Read every image once, and decode what the store does not know; `findings` takes what is seen."""
    album = Album(store, size)

    def look(index: int) -> Look:
        return OpenedImage(images, index, size, keyed=True).look(album)

    try:
        with Bar(title, len(images), "images", verbose) as bar:
            looks = in_background(look, range(len(images)), THREADS, 4 * THREADS)
            for index, future in enumerate(looks):
                bar.advance()
                try:
                    seen = future.result()
                except ImageReadError as error:
                    findings.failures[index] = error
                    continue
                findings.note(index, seen)
                album.keep(seen)
    finally:
        album.close()


@dataclass(frozen=True)
class _Result:
    """The values of one row: found in a file of the store, or new."""

    row: int
    key: bytes
    values: Row
    segment: Segment | None = None
    number: int = 0


class _Pass:
    """One pass over the rows of a plan."""

    def __init__(
        self,
        part: FrozenPart,
        plan: Plan,
        store: Store | None,
        tensors: Tensors,
        findings: Findings,
        album: Album,
        verbose: str | int,
        title: str,
    ) -> None:
        self.part, self.plan, self.tensors, self.verbose, self.title = part, plan, tensors, verbose, title
        self.findings, self.album = findings, album
        self.store = store  # a temporary store goes when nothing refers to it any more
        self.shelf: Shelf | None = None if store is None else store.shelf(part.name, tensors)
        self.writer: Writer | None = None if self.shelf is None else self.shelf.writer()
        self.used: dict[int, Segment] = {}  # by id

    def into_memory(self) -> list[Rows]:
        """The values as arrays in memory; new ones are stored if there is a store."""
        values = [np.empty((len(self.plan), *shape), dtype) for dtype, shape in self.tensors]

        def take(result: _Result) -> None:
            for array, value in zip(values, result.values, strict=True):
                array[result.row] = value
            if self.writer is not None and result.segment is None:
                self.writer.put(result.key, result.values)

        self._run(take)
        return list(values)

    def into_files(self) -> list[Rows]:
        """The values as rows of the store's files."""
        assert self.shelf is not None and self.writer is not None
        writer = self.writer
        placement = Placement(self.shelf, len(self.plan))

        def settle(keys: Sequence[bytes]) -> None:
            if writer.stopped:
                raise NoRoomError
            placement.settle(keys, writer.last)

        def take(result: _Result) -> None:
            if result.segment is not None:
                placement.place(result.segment, result.number, [result.row])
            else:
                placement.expect(result.key, result.row)
                settle(writer.put(result.key, result.values))

        self._run(take, finish=lambda: settle(writer.flush()))
        return [placement.rows(number, self.store, self.tensors[number]) for number in range(len(self.tensors))]

    def _run(self, take: Any, finish: Any = lambda: None) -> None:
        """Compute every row and hand it on, in the order of the plan."""
        total, chunk = len(self.plan), self.part.chunk
        worker = _Worker(self.part, self.plan, self.shelf, self.tensors, self.findings, self.album)
        unit = "views" if self.plan.views is not None else "images"
        bytes_each = _bytes_of(self.tensors, 1) if self.writer is not None else 0
        forecast = Forecast(self.title, total, unit, bytes_each, 2 * THREADS * chunk, self.verbose)
        try:
            with Bar(self.title, total, unit, self.verbose) as bar:
                chunks = [range(start, min(start + chunk, total)) for start in range(0, total, chunk)]
                for future, rows in zip(in_background(worker, chunks, THREADS, 2 * THREADS), chunks, strict=True):
                    results, looks = future.result()
                    for index, look in looks:
                        self.findings.note(index, look)
                        self.album.keep(look)
                    for result in results:
                        self._touch(result.segment)
                        take(result)
                    bar.advance(len(rows))
                    forecast.note(sum(result.segment is None for result in results), len(rows))
            finish()
        finally:
            if self.writer is not None:
                self.writer.close()

    def _touch(self, segment: Segment | None) -> None:
        if segment is not None and self.shelf is not None and id(segment) not in self.used:
            for before in self.used.values():
                before.release()
            self.used[id(segment)] = segment
            self.shelf.touch([segment])


class _Worker:
    """Reads, decodes and computes a few rows; runs on several threads at once."""

    def __init__(
        self, part: FrozenPart, plan: Plan, shelf: Shelf | None, tensors: Tensors, findings: Findings, album: Album
    ) -> None:
        self.part, self.plan, self.shelf, self.findings, self.album = part, plan, shelf, findings, album
        self.dtypes = [np.dtype(dtype) for dtype, _ in tensors]
        self.looks = findings.looks and plan.views is None
        # Views are drawn by content, and twins are known by it.
        self.keyed = shelf is not None or plan.views is not None or self.looks

    def __call__(self, rows: range) -> tuple[list[_Result], list[tuple[int, Look]]]:
        """The values of each row, and what was seen of each image; what cannot be read goes to the findings."""
        found: list[_Result] = []
        looks: list[tuple[int, Look]] = []
        missing: list[tuple[int, bytes, Pixels]] = []
        opened: dict[int, OpenedImage] = {}
        failures = self.findings.failures
        for row in rows:
            index, view = self.plan.item(row)
            try:
                if index not in opened:
                    opened = {index: OpenedImage(self.plan.images, index, self.part.size, self.keyed)}
                image = opened[index]
                if self.looks:
                    looks.append((index, image.look(self.album)))
                key = image.key if view is None else self._views.key(image.key, view)
                stored = None if self.shelf is None else self.shelf.find(key)
                if stored is not None:
                    found.append(_Result(row, key, stored[2], stored[0], stored[1]))
                    continue
                pixels = image.pixels()
                missing.append((row, key, pixels if view is None else self._views.draw(pixels, image.key, view)))
            except ImageReadError as error:
                failures[index] = error
        # After a failure the rest is only read, so that every bad file is named without a long wait.
        if missing and (self.findings.goes_on or not failures):
            arrays = self._computed(missing)
            found += [_Result(row, key, tuple(a[n] for a in arrays)) for n, (row, key, _) in enumerate(missing)]
        return found, looks

    def _computed(self, missing: list[tuple[int, bytes, Pixels]]) -> list[npt.NDArray[Any]]:
        arrays = self.part(np.stack([pixels for _, _, pixels in missing]))
        if not all(np.isfinite(array).all() for array in arrays):
            bad = [n for n in range(len(missing)) if not all(np.isfinite(array[n]).all() for array in arrays)]
            indices = [self.plan.item(missing[n][0])[0] for n in bad]
            names = [self.plan.images.name(index) for index in indices]
            raise WeightsError(
                f"The frozen layers give values that are NaN or infinite for {some_of(names)}: they must be numbers. Check "
                f"the file of weights, the record's preprocessing, and an augmentation of your own."
            )
        return self._in_storage_form(arrays)

    @property
    def _views(self) -> FixedViews:
        assert self.plan.views is not None
        return self.plan.views

    def _in_storage_form(self, arrays: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """In half precision where that was asked for; what is out of its range goes to its end."""
        return [
            array if array.dtype == dtype else np.clip(array, -HALF_RANGE, HALF_RANGE).astype(dtype)
            for array, dtype in zip(arrays, self.dtypes, strict=True)
        ]


def _halved(tensors: Tensors) -> Tensors:
    return tuple(("float16" if dtype == "float32" else dtype, shape) for dtype, shape in tensors)


def _bytes_of(tensors: Tensors, rows: int) -> int:
    return rows * sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for dtype, shape in tensors)
