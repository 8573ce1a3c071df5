"""The pass: the frozen part over images, once per image and view, through the store.

Files are read, decoded and computed on a few threads at once, in small batches. What the store holds
already is neither decoded nor computed again. What was computed before an error or Ctrl-C is stored.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .augmentation import FixedViews
from .decoding import Pixels, decode, in_background, load, read_bytes, resize
from .errors import ImageReadError
from .frozen import THREADS, FrozenPart
from .images import ImageFiles, Images
from .progress import Bar, duration, readable, say
from .segments import Row, Segment, Tensors
from .store import MappedRows, Shelf, Store, Writer, content_key, has_room_for_temporary
from .values import Rows

__all__ = ["NoRoomError", "Plan", "compute", "is_kept", "refuse_unreadable"]

# Values of more bytes than this stay on disk, mapped into memory: memory stays flat however many images there are.
MEMORY_BYTES = 2**28
# A pass that takes longer than this says so at its start.
FORECAST_SECONDS = 3.0
HALF_RANGE = float(np.finfo(np.float16).max)


class NoRoomError(Exception):
    """The disk filled up in the middle of a pass whose values must lie there; it is internal, no user sees it."""


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
) -> list[Rows]:
    """The values of every row of a plan: one array `(n, ...)` per tensor that crosses the cut.

    Args:
        store: where values are found and kept; None = nothing outlives the call.
        half: keep them in float16.
        in_memory: hold them in memory, whatever they take, where the disk has no room for them.

    Raises:
        ImageReadError: files that cannot be read, all of them named together.
        NoRoomError: `in_memory` is False, and the disk is full.
    """
    tensors = _halved(part.tensors) if half else part.tensors
    size = _bytes_of(tensors, len(plan))
    home = store if store is not None and size <= store.limit else None
    if size > MEMORY_BYTES:
        place = home or Store.temporary()
        try:
            if home is None and not place.has_room(size):
                raise NoRoomError
            return _Pass(part, plan, place, tensors, verbose, title).into_files()
        except NoRoomError:
            if not in_memory:
                raise
    return _Pass(part, plan, home, tensors, verbose, title).into_memory()


def is_kept(part: FrozenPart, rows: int, store: Store | None, limit: int, half: bool = False) -> bool:
    """Whether the values of so many rows can be kept: in the store, or for the call alone within `limit` bytes."""
    tensors = _halved(part.tensors) if half else part.tensors
    size = _bytes_of(tensors, rows)
    if size <= MEMORY_BYTES and size <= limit:
        return True
    if store is not None and size <= store.limit:
        return store.has_room(max(0, size - _bytes_of(tensors, len(store.shelf(part.name, tensors)))))
    return size <= limit and has_room_for_temporary(size)


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
        self, part: FrozenPart, plan: Plan, store: Store | None, tensors: Tensors, verbose: str | int, title: str
    ) -> None:
        self.part, self.plan, self.tensors, self.verbose, self.title = part, plan, tensors, verbose, title
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
        placement = _Placement(self.shelf, len(self.plan))

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
        worker = _Worker(self.part, self.plan, self.shelf, self.tensors)
        unit = "views" if self.plan.views is not None else "images"
        bytes_each = _bytes_of(self.tensors, 1) if self.writer is not None else 0
        forecast = _Forecast(self.title, total, unit, bytes_each, chunk, self.verbose)
        try:
            with Bar(self.title, total, unit, self.verbose) as bar:
                chunks = [range(start, min(start + chunk, total)) for start in range(0, total, chunk)]
                for future, rows in zip(in_background(worker, chunks, THREADS, 2 * THREADS), chunks, strict=True):
                    results = future.result()
                    for result in results:
                        self._touch(result.segment)
                        take(result)
                    bar.advance(len(rows))
                    forecast.note(sum(result.segment is None for result in results), len(rows))
            finish()
        finally:
            if self.writer is not None:
                self.writer.close()
        if worker.failures:
            raise _all_unreadable(dict(sorted(worker.failures.items())))

    def _touch(self, segment: Segment | None) -> None:
        if segment is not None and self.shelf is not None and id(segment) not in self.used:
            for before in self.used.values():
                before.release()
            self.used[id(segment)] = segment
            self.shelf.touch([segment])


class _Placement:
    """Where on disk each row lies."""

    def __init__(self, shelf: Shelf, count: int) -> None:
        self._shelf = shelf
        self._places = np.full((count, 2), -1, np.int64)
        self._files: list[Segment] = []
        self._numbers: dict[int, int] = {}  # of a file in `_files`, by its id
        self._waiting: dict[bytes, list[int]] = {}  # rows whose values are not on disk yet

    def place(self, segment: Segment, number: int, rows: Sequence[int]) -> None:
        if id(segment) not in self._numbers:
            self._numbers[id(segment)] = len(self._files)
            self._files.append(segment)
        self._places[rows] = self._numbers[id(segment)], number

    def expect(self, key: bytes, row: int) -> None:
        self._waiting.setdefault(key, []).append(row)

    def settle(self, keys: Sequence[bytes], path: Path | None) -> None:
        """Note that the rows of these keys lie in a file now, in this order."""
        if not keys or path is None:
            return
        segment = self._shelf.written(path)
        if segment is None:  # another process has merged it with others
            self._shelf.refresh()
        for number, key in enumerate(keys):
            found = (segment, number) if segment is not None else self._shelf.find(key)
            if found is None:
                raise NoRoomError
            self.place(found[0], found[1], self._waiting.pop(key))

    def rows(self, number: int, store: Store | None, form: tuple[str, tuple[int, ...]]) -> Rows:
        """One tensor of all rows."""
        if not self._files:
            return np.empty((0, *form[1]), form[0])
        return MappedRows(self._files, number, self._places, store)


class _Worker:
    """Reads, decodes and computes a few rows; runs on several threads at once."""

    def __init__(self, part: FrozenPart, plan: Plan, shelf: Shelf | None, tensors: Tensors) -> None:
        self.part, self.plan, self.shelf = part, plan, shelf
        self.dtypes = [np.dtype(dtype) for dtype, _ in tensors]
        self.keyed = shelf is not None or plan.views is not None  # views are drawn by content
        self.failures: dict[int, ImageReadError] = {}

    def __call__(self, rows: range) -> list[_Result]:
        """The values of each row; images that cannot be read go to `failures`."""
        found: list[_Result] = []
        missing: list[tuple[int, bytes, Pixels]] = []
        opened: dict[int, _Image] = {}
        for row in rows:
            index, view = self.plan.item(row)
            try:
                if index not in opened:
                    opened = {index: _Image(self.plan.images, index, self.part.size, self.keyed)}
                image = opened[index]
                key = image.key if view is None else self._views.key(image.key, view)
                stored = None if self.shelf is None else self.shelf.find(key)
                if stored is not None:
                    found.append(_Result(row, key, stored[2], stored[0], stored[1]))
                    continue
                pixels = image.pixels()
                missing.append((row, key, pixels if view is None else self._views.draw(pixels, image.key, view)))
            except ImageReadError as error:
                self.failures[index] = error
        # After a failure the rest is only read, so that every bad file is named without a long wait.
        if missing and not self.failures:
            arrays = self._in_storage_form(self.part(np.stack([pixels for _, _, pixels in missing])))
            found += [_Result(row, key, tuple(a[n] for a in arrays)) for n, (row, key, _) in enumerate(missing)]
        return found

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


class _Image:
    """One image, read once, decoded once, and only if need be."""

    def __init__(self, images: Images, index: int, size: tuple[int, int], keyed: bool) -> None:
        self._size = size
        self._name = images.name(index)
        self._content = read_bytes(images, index) if isinstance(images, ImageFiles) else images.array(index)
        self._pixels: Pixels | None = None
        self.key = content_key(self._content) if keyed else index.to_bytes(16, "big")

    def pixels(self) -> Pixels:
        if self._pixels is None:
            content = self._content
            image = decode(content, self._name, self._size) if isinstance(content, bytes) else content
            self._pixels = resize(image, self._size)
        return self._pixels


class _Forecast:
    """Says how long a pass will take, from the first images that it computes."""

    def __init__(self, title: str, total: int, unit: str, bytes_each: int, chunk: int, verbose: str | int) -> None:
        self._title, self._total, self._unit, self._bytes, self._verbose = title, total, unit, bytes_each, verbose
        self._sample = 2 * THREADS * chunk
        self._seen = self._computed = 0
        self._started = 0.0
        self._said = verbose == 0

    def note(self, computed: int, seen: int) -> None:
        """Count rows; those that were found in the store take no time worth a forecast."""
        self._seen += seen
        if self._said or not computed:
            return
        now = time.monotonic()
        if not self._started:  # the first call also compiles
            self._started = now
            return
        self._computed += computed
        if self._computed < self._sample:
            return
        self._said = True
        rate = self._computed / (now - self._started)
        rest = self._total - self._seen
        if rest / rate > FORECAST_SECONDS:
            disk = f", {readable(rest * self._bytes)} on disk" if self._bytes else ""
            say(
                f"{self._title}: {rest:,} {self._unit} at {rate:.0f} a second, about {duration(rest / rate)}{disk}.",
                self._verbose,
            )


def _halved(tensors: Tensors) -> Tensors:
    return tuple(("float16" if dtype == "float32" else dtype, shape) for dtype, shape in tensors)


def _bytes_of(tensors: Tensors, rows: int) -> int:
    return rows * sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for dtype, shape in tensors)


def _all_unreadable(errors: Mapping[int, ImageReadError]) -> ImageReadError:
    """One error that names all files that cannot be read."""
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
