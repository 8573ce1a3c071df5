"""Values on disk, keyed by content: what was computed once for an image is found again under its hash.

Knows keys, arrays and files, nothing of networks or images. Each computation (one network, one cut, one
image size) has a folder, its shelf. The files that were used longest ago go first when the store reaches its limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from .places import make_private
from .segments import Tensors, is_segment
from .shelves import Shelf, remove, segment_paths

__all__ = ["DEFAULT_LIMIT", "Store", "has_room_for_temporary"]

DEFAULT_LIMIT = 4 * 10**9  # bytes
SETTINGS = "transferkit-store.json"
# So much of the disk stays free whatever the limit says.
RESERVE = 10**9
SHELVES = 4  # that are kept open: each of their files takes a file descriptor
ABANDONED_SECONDS = 3600.0  # temporary files of processes that died
SHELF_NAME = re.compile(r"[0-9a-f]{32}")
TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{32}\.\d+-[0-9a-f]{8}\.tmp")


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
            shelf = self._shelves.pop((computation, tensors), None) or Shelf(
                self.folder, computation, tensors, self.make_room
            )
            self._shelves[computation, tensors] = shelf  # the last one is the one used last
            while len(self._shelves) > SHELVES:
                self._shelves.pop(next(iter(self._shelves)))
        shelf.refresh()
        return shelf

    def segments(self) -> Iterator[Path]:
        """All files of values."""
        for folder in _folders(self.folder):
            yield from segment_paths(folder)

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
                freed += remove(path)
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
                remove(path)
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


def _remove_abandoned(folder: Path, age: float) -> None:
    """Remove temporary files that a process left behind when it died."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY_NAME.fullmatch(entry.name) and time.time() - entry.stat().st_mtime >= age:
                remove(Path(entry.path))
