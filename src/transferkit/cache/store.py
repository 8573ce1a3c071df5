"""Values on disk, keyed by content: the values computed for an image are stored under its hash.

The store knows keys, arrays and files, but no networks or images. Each computation (one network, one cut, one image
size) has a folder, its table. When the store reaches its limit, the least recently used shards are removed first.
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
from collections.abc import Iterator
from pathlib import Path

from .._common.files import LITTER_AGE, make_private, replacing
from .shards import ShardFiles, Tensors, list_shards, lost_is_absent, remove_shard
from .tables import Session, Table

DEFAULT_LIMIT = 4 * 10**9  # bytes
SETTINGS = "transferkit-store.json"
RESERVE = 10**9  # bytes of the disk that stay free, regardless of the limit
TABLES = 4  # tables whose indexes stay in memory
TABLE_NAME = re.compile(r"[0-9a-f]{32}")


class Store:
    """Tables in a folder, within a limit in bytes. Other files in the folder are never touched.

    Args:
        folder: created when the first value is stored.
        limit: bytes; None = the limit set for this folder, else 4 GB.
        shared: many processes fill it at once. None removes older values to make room, and each reads a table from disk
            only on first use, since the others write all the time, and for other images.
    """

    def __init__(self, folder: Path, limit: int | None = None, shared: bool = False) -> None:
        self.folder, self._shared = folder, shared
        self._limit = limit
        self._size: int | None = None  # bytes of all shards as far as this process knows; None = not counted yet
        self._tables: dict[tuple[str, Tensors], Table] = {}
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._lock = threading.Lock()

    @classmethod
    def temporary(cls) -> Store:
        """A store that is deleted when nothing refers to it any more, at the latest when the process ends."""
        _remove_abandoned()
        store = cls(Path(tempfile.mkdtemp(prefix=f"transferkit-{os.getpid()}-")), 2**63)
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
        """Set it for every process that uses the folder, and remove values over it."""
        make_private(self.folder)
        with replacing(self.folder / SETTINGS) as file:
            file.write_text(json.dumps({"limit": size}) + "\n")
        with self._lock:
            self._size = self._shrink(size)

    def table(self, computation: str, tensors: Tensors) -> Table:
        """The table of a computation, as it is on disk now; in a shared store, as it was on first use."""
        name = hashlib.blake2b(f"{computation}{tensors}".encode(), digest_size=16).hexdigest()
        with self._lock:
            known = self._tables.pop((computation, tensors), None)
            table = Table(self.folder / name, tensors) if known is None else known
            self._tables[computation, tensors] = table  # the most recently used table is the last
            if len(self._tables) > TABLES:
                self._tables.pop(next(iter(self._tables)))
        if known is None or not self._shared:
            table.refresh()
        return table

    def session(self, computation: str, tensors: Tensors, store_from: int = 0) -> Session:
        """Open a session on a table; while it exists, the shards that it uses are not removed to make room."""
        session = Session(self.table(computation, tensors), self.make_room, store_from)
        with self._lock:
            self._sessions.add(session)
        return session

    def shards(self) -> list[ShardFiles]:
        """All shards of all tables."""
        return [shard for folder in self._folders() for shard in list_shards(folder)]

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes fit on the disk, and under the limit once older values are removed."""
        return size <= self.limit and self._free() - size >= RESERVE

    def make_room(self, size: int) -> bool:
        """Reserve `size` bytes, removing the least recently used shards if need be; False if they do not fit.

        The shards of other processes are counted before the first one, and when the limit seems to be reached.
        """
        with self._lock:
            if not self.has_room(size):
                return False
            if self._size is None or self._size + size > self.limit:
                self._size = self._shrink(2**63 if self._shared else self.limit - size)
            fits = self._size + size <= self.limit
            self._size += size if fits else 0
            return fits

    def clear(self) -> int:
        """Remove all values, and the folders that are then empty; return the number of bytes freed."""
        with self._lock:
            self._tables.clear()
            self._size = None
            freed = sum(shard.size for shard in self.shards() if remove_shard(shard.path))
            for folder in self._folders():
                with contextlib.suppress(OSError):  # it contains other files
                    folder.rmdir()
        return freed

    def _shrink(self, limit: int) -> int:
        """Remove abandoned shards, and the least recently used ones down to `limit` bytes; return the bytes left."""
        in_use = {path for session in self._sessions for path in list(session.used)}
        shards = sorted(self.shards(), key=lambda shard: shard.used)
        size = sum(shard.size for shard in shards)
        for shard in shards:
            goes = shard.is_abandoned or (size > limit and shard.path not in in_use)
            if goes and remove_shard(shard.path):
                size -= shard.size
        return size

    def _folders(self) -> Iterator[Path]:
        """The folders of tables."""
        with lost_is_absent(), os.scandir(self.folder) as entries:
            for entry in entries:
                if TABLE_NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                    yield Path(entry.path)

    def _free(self) -> int:
        """The free bytes on the disk."""
        for place in (self.folder, *self.folder.parents):
            with contextlib.suppress(OSError):
                return shutil.disk_usage(place).free
        return 0


def _remove_abandoned() -> None:
    """Remove the temporary stores of processes that were killed: unchanged for an hour, and their process is gone."""
    if os.name != "posix":  # on Windows, `os.kill` would end the process
        return
    for folder in Path(tempfile.gettempdir()).glob("transferkit-*-*"):
        with contextlib.suppress(OSError, ValueError):
            if time.time() - folder.stat().st_mtime > LITTER_AGE and not _is_running(int(folder.name.split("-")[1])):
                shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def has_room_for_temporary(size: int) -> bool:
    """Whether a temporary store of `size` bytes would leave enough of its disk free."""
    return Store(Path(tempfile.gettempdir()), 2**63).has_room(size)
