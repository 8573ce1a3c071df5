"""Feature extraction: runs the frozen layers once per image and view, and stores the values.

A few threads at once read, decode and compute small batches. Rows that the store holds are neither decoded nor
computed again. Rows that were computed before an error or Ctrl-C are stored.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.filesize import decimal as readable

from .._common.console import Console
from ..cache import KEY, Keys, Records, RowsOnDisk, Session, Store, Tensors, has_room_for_temporary, record_dtype
from ..errors import ImageReadError, WeightsError, some_of
from ..images import Images, Pixels
from ..network import FeatureExtractor, thread_count
from .augmentation import FixedViews, MirrorViews
from .forecast import Forecast
from .inspection import REMEDY, Inspection, refuse_unreadable
from .reader import ImageReader, OpenedImage, in_background
from .values import Rows

# Values of more bytes than this stay on disk: memory use does not grow with the number of images.
MEMORY_BYTES = 2**28
HALF_RANGE = float(np.finfo(np.float16).max)
GROUP = 8  # the fewest rows that a thread reads together, in one read of the store


class NoRoomError(Exception):
    """The disk has no room for values that must be stored there; internal, never shown to users."""


@dataclass(frozen=True)
class Plan:
    """Which rows to compute: the views of each image or, without views, the images unchanged."""

    images: Images
    views: FixedViews | MirrorViews | None = None

    def __len__(self) -> int:
        return len(self.images) * self._times

    @property
    def _times(self) -> int:
        return self.views.count if self.views is not None else 1

    def image(self, row: int) -> int:
        """The image of a row."""
        return row // self._times

    def key(self, content: bytes, row: int) -> bytes:
        """The key of a row, from the key of its image's content."""
        return self.views.key(content, row % self._times) if self.views else content

    def draw(self, pixels: Pixels, content: bytes, row: int) -> Pixels:
        """The image as this row shows it."""
        return self.views.draw(pixels, content, row % self._times) if self.views else pixels

    def rows_of_views(self) -> npt.NDArray[np.int64]:
        """int64 `(views, images)`; without views, `(1, images)`."""
        return np.arange(len(self)).reshape(-1, self._times).T


@dataclass(frozen=True)
class Storage:
    """Where values are read from and stored.

    Attributes:
        store: None = nothing outlives the call.
        half: use float16.
        in_memory: hold them in memory, however large, if the disk has no room for them.
        store_from: new values are stored if there are at least this many, or if they are too large for memory.
    """

    store: Store | None
    half: bool = False
    in_memory: bool = True
    store_from: int = 0


@dataclass(frozen=True)
class Extraction:
    """The result of feature extraction.

    Attributes:
        values: one array `(n, ...)` per tensor that crosses the cut; rows of images that cannot be read are undefined.
        seconds: wall time.
    """

    values: list[Rows]
    inspection: Inspection
    seconds: float


def extract(
    extractor: FeatureExtractor,
    plan: Plan,
    storage: Storage,
    console: Console,
    title: str,
    skip: bool | None = False,
    inspects: bool = False,
) -> Extraction:
    """The values of every row of a plan.

    Args:
        title: of the progress bar.
        skip: leave out images that cannot be read; `inspection` names them. None = as False, but the error does not
            mention `on_bad_image`, which the caller does not have.
        inspects: also collect what the data check needs.

    Raises:
        ImageReadError: files cannot be read; one error names them all. Not with `skip`.
        WeightsError: values are NaN or infinite.
        NoRoomError: the values can be held neither in memory nor on disk.
    """
    started = time.monotonic()
    with closing(ImageReader(plan.images, extractor.resizing, storage.store, inspects, storage.store_from)) as reader:
        values = _Run(extractor, plan, storage, console, title, skip, reader).values()
    if not skip:
        refuse_unreadable(reader.inspection.failures, "" if skip is None else REMEDY)
    return Extraction(values, reader.inspection, time.monotonic() - started)


def is_kept(extractor: FeatureExtractor, rows: int, storage: Storage, limit: int) -> bool:
    """Whether the values of this many rows can be kept: in the store, or within `limit` bytes for the call alone."""
    tensors, store = _tensors(extractor, storage.half), storage.store
    size = rows * record_dtype(tensors).itemsize
    if size <= MEMORY_BYTES and size <= limit:
        return True
    if store is not None and size <= store.limit:
        stored = len(store.table(extractor.name, tensors)) * record_dtype(tensors).itemsize
        return store.has_room(max(0, size - stored))
    return size <= limit and has_room_for_temporary(size)


@dataclass
class _Chunk:
    """A few rows of a plan.

    Attributes:
        images: those that could be read, by position.
        rows: int64 `(k,)`, their positions in the plan, without those of images that cannot be read.
        is_new: bool `(k,)`, whether they were computed just now.
    """

    images: dict[int, OpenedImage]
    rows: npt.NDArray[np.int64]
    keys: Keys
    values: Records
    is_new: npt.NDArray[np.bool_]

    def keep(self, chosen: npt.NDArray[np.bool_]) -> None:
        """Drop the other rows."""
        self.rows, self.keys, self.values = self.rows[chosen], self.keys[chosen], self.values[chosen]
        self.is_new = self.is_new[chosen]


@dataclass
class _Run:
    """One run over the rows of a plan."""

    extractor: FeatureExtractor
    plan: Plan
    storage: Storage
    console: Console
    title: str
    skip: bool | None
    reader: ImageReader
    session: Session | None = None
    has_lost: bool = False

    def __post_init__(self) -> None:
        self.tensors = _tensors(self.extractor, self.storage.half)
        self.dtype = record_dtype(self.tensors)
        self.names = self.dtype.names or ()

    def values(self) -> list[Rows]:
        """The values, in memory or on disk; a session keeps a temporary store alive."""
        size, store, name = len(self.plan) * self.dtype.itemsize, self.storage.store, self.extractor.name
        home = store if store is not None and size <= store.limit else None
        if size > MEMORY_BYTES:
            try:
                if home is None and not has_room_for_temporary(size):
                    raise NoRoomError
                return self._on_disk((home or Store.temporary()).session(name, self.tensors))
            except NoRoomError:
                if not self.storage.in_memory:
                    raise
        if store is not None and home is None:
            self.console.say(
                f"The values take {readable(size)}, more than the limit of the cache ({readable(store.limit)}), so they are "
                f"not stored. transferkit.cache.set_limit raises it."
            )
        self.session = None if home is None else home.session(name, self.tensors, self.storage.store_from)
        return self._in_memory()

    def _in_memory(self) -> list[Rows]:
        arrays = [np.empty((len(self.plan), *shape), dtype) for dtype, shape in self.tensors]
        with closing(self._chunks()) as chunks:
            for chunk in chunks:
                for array, name in zip(arrays, self.names, strict=True):
                    array[chunk.rows] = chunk.values[name]
        if self.session is not None and self.session.is_full:
            failure = self.session.failure
            reason = (
                (failure.strerror or failure) if failure else "its limit is reached, or less than 1 GB would stay free"
            )
            self.console.say(f"No more values can be stored in {str(self.session.table.folder.parent)!r} ({reason}).")
        return list(arrays)

    def _on_disk(self, session: Session) -> list[Rows]:
        self.session = session
        keys = np.zeros(len(self.plan), KEY)
        with closing(self._chunks()) as chunks:
            for chunk in chunks:
                keys[chunk.rows] = chunk.keys
                if session.is_full:
                    break
        if session.is_full:
            raise NoRoomError
        return [RowsOnDisk(session, keys, name, self._again) for name in self.names]

    def _again(self, rows: npt.NDArray[np.int64], keys: Keys) -> Records | None:
        """The values of rows that are missing on disk, computed again; None if an image is missing or has changed."""
        if not self.has_lost:
            self.has_lost = True
            self.console.say("Some of the stored values were damaged or removed, and are computed again.")
        chunk = self._work(rows.tolist())
        if len(chunk.keys) < len(keys) or (chunk.keys != keys).any():
            return None
        if self.session is not None:
            self.session.put(keys, chunk.values)
        return chunk.values

    def _chunks(self) -> Generator[_Chunk]:
        """All rows whose images can be read, in order; new ones are stored."""
        total, step, session = len(self.plan), max(GROUP, self.extractor.chunk), self.session
        unit = "views" if self.plan.views is not None else "images"
        stored = self.dtype.itemsize if session is not None and session.store_from <= total else 0
        threads = self.reader.threads
        forecast = Forecast(self.title, total, unit, stored, 2 * thread_count() * step, self.console)
        parts = [range(start, min(start + step, total)) for start in range(0, total, step)]
        try:
            # Closed here: while a generator is garbage-collected, a second Ctrl-C would be lost.
            work = in_background(self._work, parts, threads, threads)
            with self.console.bar(self.title, total, unit) as bar, closing(work) as done:
                for chunk, part in zip(done, parts, strict=True):
                    self.reader.keep(chunk.images.values())
                    if session is not None:
                        session.put(chunk.keys[chunk.is_new], chunk.values[chunk.is_new])
                    yield chunk
                    bar.advance(len(part))
                    forecast.note(int(chunk.is_new.sum()), len(part))
        finally:
            if session is not None:
                session.flush()

    def _work(self, rows: Sequence[int]) -> _Chunk:
        """Read and compute a few rows. Call from any thread."""
        chunk = self._read(rows)
        for row in chunk.rows[chunk.is_new].tolist():
            image = chunk.images[self.plan.image(row)]
            with self.reader.noting_failure(image.index):
                image.content()
        with self.reader.working:
            self._compute(chunk)
        for image in chunk.images.values():
            image.close()
        return chunk

    def _read(self, part: Sequence[int]) -> _Chunk:
        """The rows of images that can be read, with the values that the store has."""
        # Views are drawn by content, and duplicates are recognized by it.
        keyed = self.session is not None or self.plan.views is not None or self.reader.inspects
        images = {image.index: image for image in self.reader.open(sorted(set(map(self.plan.image, part))), keyed)}
        rows = [row for row in part if self.plan.image(row) in images]
        keys = np.array([self.plan.key(images[self.plan.image(row)].key, row) for row in rows], KEY)
        if self.session is None:
            values, found = np.empty(len(rows), self.dtype), np.zeros(len(rows), bool)
        else:
            values, found = self.session.read(keys)
        return _Chunk(images, np.array(rows, np.int64), keys, values, ~found)

    def _compute(self, chunk: _Chunk) -> None:
        """Compute the new rows, a few at a time."""
        failures, new = self.reader.inspection.failures, np.flatnonzero(chunk.is_new)
        done = ~chunk.is_new
        for start in range(0, len(new), self.extractor.chunk):
            drawn = {at: self._pixels(chunk, at) for at in new[start : start + self.extractor.chunk].tolist()}
            pixels = {at: image for at, image in drawn.items() if image is not None}
            if pixels and (self.skip or not failures):  # else an error is certain, and the rest is only read
                at = np.array(list(pixels))
                arrays = self.extractor(np.stack(list(pixels.values())))
                self._refuse_wrong(chunk.rows[at], arrays)
                for name, array in zip(self.names, arrays, strict=True):
                    is_half = self.dtype[name].base != array.dtype  # values out of its range are clipped
                    chunk.values[name][at] = np.clip(array, -HALF_RANGE, HALF_RANGE) if is_half else array
                done[at] = True
        chunk.keep(done)

    def _pixels(self, chunk: _Chunk, at: int) -> Pixels | None:
        """The image of a row as the row shows it; None if it cannot be decoded."""
        row = int(chunk.rows[at])
        image = chunk.images[self.plan.image(row)]
        try:
            return self.plan.draw(image.pixels(), image.key, row)
        except ImageReadError as error:
            self.reader.inspection.failures[image.index] = error
            return None

    def _refuse_wrong(self, rows: npt.NDArray[np.int64], arrays: list[npt.NDArray[Any]]) -> None:
        finite = np.all([np.isfinite(array).reshape(len(rows), -1).all(axis=1) for array in arrays], axis=0)
        if finite.all():
            return
        names = [self.plan.images.name(self.plan.image(row)) for row in rows[~finite].tolist()]
        raise WeightsError(
            f"The frozen layers produce NaN or infinite values for {some_of(names)}: values must be finite. Check the "
            f"weights file, the record's preprocessing, and your augmentation layers."
        )


def _tensors(extractor: FeatureExtractor, half: bool) -> Tensors:
    """The dtypes and shapes of the values; with `half`, float16 instead of float32."""
    return tuple(("float16" if half and dtype == "float32" else dtype, shape) for dtype, shape in extractor.tensors)
