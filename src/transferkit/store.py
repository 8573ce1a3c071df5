"""Values on disk, keyed by content: what was computed once for an image is found again under its hash.

Knows keys, arrays and files, nothing of networks or images. Each computation (one network, one cut, one
image size) has a folder, its shelf; the files in it are written once and never changed, so any number of
processes may read and write at once without locks. A damaged file is dropped, and its rows are computed
anew. The files that were used longest ago go first when the store reaches its limit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .places import make_private
from .segments import KEY_BYTES, DamagedSegmentError, Row, Segment, Tensors, is_segment, open_segment, write_segment

__all__ = ["DEFAULT_LIMIT", "MappedRows", "Shelf", "Store", "Writer", "content_key", "has_room_for_temporary"]

DEFAULT_LIMIT = 4 * 10**9  # bytes
SETTINGS = "transferkit-store.json"
# So much of the disk stays free whatever the limit says.
RESERVE = 10**9
# A file is written when it has so many bytes, or so many seconds after the last: what an interrupted pass had
# computed by then is not lost.
SEGMENT_BYTES = 32 * 2**20
SEGMENT_SECONDS = 60.0
# Files of fewer bytes are merged when there are so many: a server that asks for one image at a time makes many.
SMALL_BYTES = 2**20
SMALL_FILES = 32
INDEXES = 16  # that a key is looked for in before they are made one
SHELVES = 4  # that are kept open: each of their files takes a file descriptor
ABANDONED_SECONDS = 3600.0  # temporary files of processes that died
SHELF_NAME = re.compile(r"[0-9a-f]{32}")
TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{32}\.\d+-[0-9a-f]{8}\.tmp")


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

    def __init__(self, store: Store, computation: str, tensors: Tensors) -> None:
        name = hashlib.blake2b(f"{computation}{tensors}".encode(), digest_size=16).hexdigest()
        self.folder = store.folder / name
        self.computation, self.tensors = computation, tensors
        self._store = store
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
            paths = {(path, _identity(path)): path for path in _segment_paths(self.folder)}
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
        return Writer(self._store, self)

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
            _remove(segment.path)

    def _open(self, path: Path) -> Segment | None:
        try:
            return open_segment(path, self.computation, self.tensors)
        except FileNotFoundError:  # another process has just removed it
            return None
        except OSError:
            return None
        except DamagedSegmentError:
            if is_segment(path):
                _remove(path)
            return None

    def _drop(self, damaged: Segment) -> None:
        """Forget a damaged file and remove it: its rows are computed anew."""
        with self._lock:
            self._indexes = [_Index.of([segment for segment in self._segments if segment is not damaged])]
        if _identity(damaged.path) == damaged.identity:  # else a good one came in its place
            _remove(damaged.path)


class Writer:
    """Collects new rows of a shelf and writes them a file at a time; for one thread."""

    def __init__(self, store: Store, shelf: Shelf) -> None:
        self._store, self._shelf = store, shelf
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
            if not self._store.make_room(size, self._in_use):
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
        self, segments: Sequence[Segment], tensor: int, places: npt.NDArray[np.int64], store: Store | None = None
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


class Store:
    """Shelves in a folder, within a limit of bytes. What else lies in the folder is never touched.

    Args:
        folder: made when the first value is stored.
        limit: bytes; None = what was set for this folder, else 4 GB.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder = folder
        self._limit = limit
        self._shelves: dict[tuple[str, Tensors], Shelf] = {}
        self._lock = threading.Lock()

    @classmethod
    def temporary(cls) -> Store:
        """A store that goes when nothing refers to it any more, and with the process at the latest."""
        store = cls(Path(tempfile.mkdtemp(prefix="transferkit-")), 2**63)
        weakref.finalize(store, shutil.rmtree, store.folder, ignore_errors=True)
        return store

    @property
    def limit(self) -> int:
        """Bytes that the store may hold."""
        if self._limit is not None:
            return self._limit
        try:
            stated = json.loads((self.folder / SETTINGS).read_text())["limit"]
        except (OSError, ValueError, KeyError, TypeError):
            return DEFAULT_LIMIT
        return stated if isinstance(stated, int) and stated >= 0 else DEFAULT_LIMIT

    @limit.setter
    def limit(self, size: int) -> None:
        """Set it for every process that uses the folder, and drop what is over it."""
        make_private(self.folder)
        target = self.folder / SETTINGS
        temporary = target.with_suffix(f".{os.getpid()}-{os.urandom(4).hex()}.tmp")
        temporary.write_text(json.dumps({"limit": size}) + "\n")
        temporary.replace(target)
        self._shrink(size, set())

    def shelf(self, computation: str, tensors: Tensors) -> Shelf:
        """The shelf of a computation, as it is on disk now."""
        with self._lock:
            shelf = self._shelves.pop((computation, tensors), None) or Shelf(self, computation, tensors)
            self._shelves[computation, tensors] = shelf  # the last one is the one used last
            while len(self._shelves) > SHELVES:
                self._shelves.pop(next(iter(self._shelves)))
        shelf.refresh()
        return shelf

    def segments(self) -> Iterator[Path]:
        """All files of values."""
        for folder in _folders(self.folder):
            yield from _segment_paths(folder)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more fit on the disk, and under the limit when older values have made room."""
        return size <= self.limit and self._free() - size >= RESERVE

    def make_room(self, size: int, keep: set[Path]) -> bool:
        """Drop what was used longest ago until `size` bytes more fit; False if they cannot."""
        if not self.has_room(size):
            return False
        return self._shrink(self.limit - size, keep)

    def clear(self) -> int:
        """Remove all values, and the folders that are empty then; the bytes that were freed."""
        freed = 0
        with self._lock:
            self._shelves.clear()  # what is open takes its place on the disk until it is closed
        for path in list(self.segments()):
            if is_segment(path):
                freed += _remove(path)
        for folder in _folders(self.folder):
            _remove_abandoned(folder, 0.0)
            with contextlib.suppress(OSError):  # something of others lies there
                folder.rmdir()
        return freed

    def _shrink(self, limit: int, keep: set[Path]) -> bool:
        """Remove files, oldest use first, until the others take `limit` bytes at most."""
        found: list[tuple[int, int, Path]] = []
        for path in self.segments():
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= limit:
                break
            if path not in keep and is_segment(path):
                _remove(path)
                total -= size
        for folder in _folders(self.folder):
            _remove_abandoned(folder, ABANDONED_SECONDS)
        return total <= limit

    def _free(self) -> int:
        """Bytes that are free on the disk."""
        for place in (self.folder, *self.folder.parents):
            with contextlib.suppress(OSError):
                return shutil.disk_usage(place).free
        return 0


def has_room_for_temporary(size: int) -> bool:
    """Whether a temporary store of so many bytes would leave enough of its disk free."""
    return Store(Path(tempfile.gettempdir()), 2**63).has_room(size)


def _folders(root: Path) -> list[Path]:
    """The shelves in a folder."""
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        return [Path(e.path) for e in entries if SHELF_NAME.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    return []


def _segment_paths(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [Path(e.path) for e in entries if e.name.endswith(".tkv") and e.is_file(follow_symlinks=False)]
    return []


def _remove_abandoned(folder: Path, age: float) -> None:
    """Remove temporary files that a process left behind when it died."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY_NAME.fullmatch(entry.name) and time.time() - entry.stat().st_mtime >= age:
                _remove(Path(entry.path))


def _remove(path: Path) -> int:
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
