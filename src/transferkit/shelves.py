"""The values of one computation, by the content of the images: files that are written once and never changed.

Any number of processes may read and write at once without locks. A damaged file is dropped, and its rows are computed
anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .places import make_private
from .segments import KEY_BYTES, DamagedSegmentError, Row, Segment, Tensors, is_segment, open_segment, write_segment

__all__ = ["MappedRows", "Shelf", "Writer", "content_key", "remove", "segment_paths"]

# Whether so many bytes more may be written, once old files have made room; files that must stay are named.
MakeRoom = Callable[[int, set[Path]], bool]

# A file is written when it has so many bytes, or so many seconds after the last: what an interrupted pass had
# computed by then is not lost.
SEGMENT_BYTES = 32 * 2**20
SEGMENT_SECONDS = 60.0
# Files of fewer bytes are merged when there are so many: a server that asks for one image at a time makes many.
SMALL_BYTES = 2**20
SMALL_FILES = 32
INDEXES = 16  # that a key is looked for in before they are made one


def content_key(content: bytes | npt.NDArray[Any]) -> bytes:
    """16 bytes that stand for the bytes of a file, or for the type, shape and values of an array."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    if isinstance(content, np.ndarray):
        digest.update(f"{content.dtype}{content.shape}".encode())
        content = np.ascontiguousarray(content).tobytes()
    digest.update(content)
    return digest.digest()


@dataclass(frozen=True)
class _Index:
    """Where each key of a shelf lies, as of one look at its folder."""

    segments: tuple[Segment, ...]
    keys: npt.NDArray[np.bytes_]  # (n,), sorted
    places: npt.NDArray[np.int64]  # (n, 2): segment, row

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> _Index:
        if not segments:
            return cls((), np.empty(0, f"S{KEY_BYTES}"), np.empty((0, 2), np.int64))
        keys = np.concatenate([segment.keys for segment in segments])
        numbers = np.repeat(np.arange(len(segments)), [len(segment) for segment in segments])
        rows = np.concatenate([np.arange(len(segment)) for segment in segments])
        order = np.argsort(keys, kind="stable")
        return cls(tuple(segments), keys[order], np.stack([numbers, rows], axis=1)[order])

    def place(self, key: bytes) -> tuple[int, int] | None:
        wanted = np.array(key, self.keys.dtype)
        at = int(np.searchsorted(self.keys, wanted))
        if at == len(self.keys) or self.keys[at] != wanted:
            return None
        segment, row = self.places[at]
        return int(segment), int(row)


class Shelf:
    """The values of one computation, by image."""

    def __init__(self, root: Path, computation: str, tensors: Tensors, make_room: MakeRoom) -> None:
        """In a folder below `root`; `make_room` is asked before a file is written."""
        name = hashlib.blake2b(f"{computation}{tensors}".encode(), digest_size=16).hexdigest()
        self.folder = root / name
        self.computation, self.tensors = computation, tensors
        self._make_room = make_room
        self._lock = threading.Lock()
        self._indexes: list[_Index] = []  # one of all that was there, and one of what each later look found
        self._seen: object = None

    def __len__(self) -> int:
        return sum(len(index.keys) for index in self._indexes)

    @property
    def _segments(self) -> list[Segment]:
        return [segment for index in self._indexes for segment in index.segments]

    def refresh(self) -> None:
        """Look at what lies on disk now."""
        with self._lock:
            state = _modified(self.folder)
            if state == self._seen and state is not None:
                return
            known = {(segment.path, segment.identity) for segment in self._segments}
            paths = {(path, _identity(path)): path for path in segment_paths(self.folder)}
            new = [segment for path in sorted(paths.keys() - known) if (segment := self._open(path[0])) is not None]
            kept = [segment for segment in self._segments if (segment.path, segment.identity) in paths]
            if len(kept) < len(known) or len(self._indexes) >= INDEXES:
                self._indexes = [_Index.of([*kept, *new])]
            elif new:
                self._indexes = [*self._indexes, _Index.of(new)]
            self._seen = state

    def get(self, key: bytes) -> Row | None:
        """The values under a key, as they were written; None if there are none, or they were damaged."""
        found = self.find(key)
        return None if found is None else tuple(np.array(array) for array in found[2])

    def find(self, key: bytes) -> tuple[Segment, int, Row] | None:
        """The same without a copy: the file, the row's number in it, and the row."""
        for index in self._indexes:
            place = index.place(key)
            if place is None:
                continue
            segment = index.segments[place[0]]
            try:
                return segment, place[1], segment.row(place[1])
            except DamagedSegmentError:
                self._drop(segment)
        return None

    def writer(self) -> Writer:
        return Writer(self, self._make_room)

    def written(self, path: Path) -> Segment | None:
        """A file that a writer has just finished."""
        return self._open(path)

    def touch(self, segments: Iterable[Segment]) -> None:
        """Note that files were used: those used longest ago go first."""
        for segment in segments:
            with contextlib.suppress(OSError):  # another process removed it, or the folder is read-only
                os.utime(segment.path)

    def merge_small(self) -> None:
        """Many small files become one."""
        self.refresh()
        small = [segment for segment in self._segments if _size(segment.path) < SMALL_BYTES]
        if len(small) < SMALL_FILES:
            return
        rows: dict[bytes, Row] = {}
        for segment in small:
            for number in range(len(segment)):
                with contextlib.suppress(DamagedSegmentError):
                    rows[_full_key(segment.keys, number)] = segment.row(number)
        if rows:
            merged = write_segment(self.folder, self.computation, list(rows), list(rows.values()))
            small = [segment for segment in small if segment.path != merged]
        for segment in small:
            remove(segment.path)

    def _open(self, path: Path) -> Segment | None:
        try:
            return open_segment(path, self.computation, self.tensors)
        except FileNotFoundError:  # another process has just removed it
            return None
        except OSError:
            return None
        except DamagedSegmentError:
            if is_segment(path):
                remove(path)
            return None

    def _drop(self, damaged: Segment) -> None:
        """Forget a damaged file and remove it: its rows are computed anew."""
        with self._lock:
            self._indexes = [_Index.of([segment for segment in self._segments if segment is not damaged])]
        if _identity(damaged.path) == damaged.identity:  # else a good one came in its place
            remove(damaged.path)


class Writer:
    """Collects new rows of a shelf and writes them a file at a time; for one thread."""

    def __init__(self, shelf: Shelf, make_room: MakeRoom) -> None:
        self._shelf, self._make_room = shelf, make_room
        self._rows: dict[bytes, Row] = {}
        self._size = 0
        self._since = time.monotonic()
        self._in_use: set[Path] = set()
        self.last: Path | None = None  # the file that was written last
        self.stopped = False  # there is no room, or the folder cannot be written to

    def put(self, key: bytes, row: Row) -> list[bytes]:
        """Take a row, whose arrays the caller does not change any more; the keys that this brought to disk."""
        if self.stopped or key in self._rows:
            return []
        self._rows[key] = row
        self._size += sum(array.nbytes for array in row)
        late = time.monotonic() - self._since > SEGMENT_SECONDS
        return self.flush() if late or self._size >= SEGMENT_BYTES else []

    def flush(self) -> list[bytes]:
        """Write what has been collected."""
        keys, rows = list(self._rows), list(self._rows.values())
        size, self._rows, self._size, self._since = self._size, {}, 0, time.monotonic()
        if not keys or self.stopped:
            return []
        try:
            if not self._make_room(size, self._in_use):
                self.stopped = True
                return []
            make_private(self._shelf.folder)
            self.last = write_segment(self._shelf.folder, self._shelf.computation, keys, rows)
            self._in_use.add(self.last)
        except OSError:  # the disk is full after all, or the folder is read-only
            self.stopped = True
            return []
        return keys

    def close(self) -> None:
        """Write the rest."""
        self.flush()
        if not self.stopped:
            with contextlib.suppress(OSError):
                self._shelf.merge_small()


class MappedRows:
    """One array `(n, ...)` whose rows lie in several files; only what is asked for is read."""

    def __init__(
        self, segments: Sequence[Segment], tensor: int, places: npt.NDArray[np.int64], store: object = None
    ) -> None:
        """Rows `places[i] = (segment, row)` of one tensor.

        A temporary `store` that they lie in lives as long as they do.
        """
        self._segments, self._tensor, self._places, self._store = segments, tensor, places, store
        first = segments[0].tensors[tensor]
        self.shape = (len(places), *first.shape[1:])
        self.dtype = first.dtype

    def __len__(self) -> int:
        return len(self._places)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __getitem__(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        rows = np.empty((len(positions), *self.shape[1:]), self.dtype)
        places = self._places[positions]
        for number in np.unique(places[:, 0]):
            here = np.flatnonzero(places[:, 0] == number)
            rows[here] = self._segments[number].tensors[self._tensor][places[here, 1]]
            self._segments[number].release()
        return rows


def segment_paths(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [Path(e.path) for e in entries if e.name.endswith(".tkv") and e.is_file(follow_symlinks=False)]
    return []


def remove(path: Path) -> int:
    """Remove a file, whoever else does so at the same time; its size."""
    size = _size(path)
    with contextlib.suppress(OSError):  # gone already, or open in another process on Windows
        path.unlink()
    return size


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _identity(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_ino
    return -1


def _modified(folder: Path) -> int | None:
    with contextlib.suppress(OSError):
        return folder.stat().st_mtime_ns
    return None


def _full_key(keys: npt.NDArray[np.bytes_], number: int) -> bytes:
    """A key with the zeros that NumPy cuts off its end."""
    return bytes(keys[number]).ljust(KEY_BYTES, b"\0")
