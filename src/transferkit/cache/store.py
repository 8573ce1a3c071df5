"""Values on disk, keyed by content: what was computed once for an image is found again under its hash.

It knows keys, arrays and files, nothing of networks or images. Each computation (one network, one cut, one image size)
has a folder, its table. The shards used longest ago are removed first when the store reaches its limit.
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
import weakref
from collections.abc import Iterator
from pathlib import Path

from .._files import make_private, replacing
from .shards import ShardFiles, Tensors, list_shards, lost_is_absent, remove_shard
from .tables import Session, Table

DEFAULT_LIMIT = 4 * 10**9  # bytes
SETTINGS = "transferkit-store.json"
RESERVE = 10**9  # bytes of the disk that stay free, whatever the limit
TABLES = 4  # whose indexes stay in memory
TABLE_NAME = re.compile(r"[0-9a-f]{32}")


class Store:
    """Tables in a folder, within a limit of bytes. Files of others in the folder are never touched.

    Args:
        folder: made when the first value is stored.
        limit: bytes; None = what was set for this folder, else 4 GB.
        shared: many processes fill it at once. None removes what is older to make room, and a table is looked up when it
            is first used: others write all the time, and list other images.
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
        with replacing(self.folder / SETTINGS) as file:
            file.write_text(json.dumps({"limit": size}) + "\n")
        with self._lock:
            self._size = self._shrink(size)

    def table(self, computation: str, tensors: Tensors) -> Table:
        """The table of a computation, as it is on disk now; of a shared store, as it was at first."""
        name = hashlib.blake2b(f"{computation}{tensors}".encode(), digest_size=16).hexdigest()
        with self._lock:
            known = self._tables.pop((computation, tensors), None)
            table = known or Table(self.folder / name, tensors)
            self._tables[computation, tensors] = table  # the last one is the one used last
            if len(self._tables) > TABLES:
                self._tables.pop(next(iter(self._tables)))
        if known is None or not self._shared:
            table.refresh()
        return table

    def session(self, computation: str, tensors: Tensors, store_from: int = 0) -> Session:
        """Reads and writes a table; the shards that it uses are not removed to make room while it is there."""
        session = Session(self.table(computation, tensors), self.make_room, store_from)
        with self._lock:
            self._sessions.add(session)
        return session

    def shards(self) -> list[ShardFiles]:
        """All shards of all tables."""
        return [shard for folder in self._folders() for shard in list_shards(folder)]

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more fit on the disk, and under the limit when older values have made room."""
        return size <= self.limit and self._free() - size >= RESERVE

    def make_room(self, size: int) -> bool:
        """Reserve `size` bytes; drop what was used longest ago if need be. False if they do not fit.

        What other processes write is counted before the first shard, and when the limit seems to be reached.
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
        """Remove all values, and the folders that are empty then; the bytes that were freed."""
        with self._lock:
            self._tables.clear()
            self._size = None
            freed = sum(shard.size for shard in self.shards() if remove_shard(shard.path))
            for folder in self._folders():
                with contextlib.suppress(OSError):  # files of others are there
                    folder.rmdir()
        return freed

    def _shrink(self, limit: int) -> int:
        """Remove abandoned shards, and then by oldest use until `limit` bytes are left; the bytes that are left."""
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
        """Bytes that are free on the disk."""
        for place in (self.folder, *self.folder.parents):
            with contextlib.suppress(OSError):
                return shutil.disk_usage(place).free
        return 0


def has_room_for_temporary(size: int) -> bool:
    """Whether a temporary store of so many bytes would leave enough of its disk free."""
    return Store(Path(tempfile.gettempdir()), 2**63).has_room(size)
