"""The values of one computation, keyed by image content: a folder of shards, and an index of them in memory.

Any number of processes may read and write at once without locks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import TransferKitError
from .shards import (
    ENTRY,
    KEY,
    WHOLE,
    DamagedShardError,
    Entries,
    Keys,
    OpenShard,
    Records,
    Tensors,
    list_shards,
    lost_is_absent,
    open_shard,
    record_dtype,
    remove_shard,
    write_shard,
)

# A shard is written at this many bytes, or this many seconds after the last one, so that an interrupted feature
# extraction does not lose what it computed by then.
SHARD_BYTES = 32 * 2**20
SHARD_SECONDS = 60.0
TOUCH_SECONDS = 600.0  # between updates of the last use of a shard
RECENT = 2 * 10**9  # nanoseconds in which a folder may change again without a new time stamp
PLACE = np.dtype([("shard", "<u4"), ("row", "<u4"), ("crc", "<u4")])
Places = npt.NDArray[np.void]
Again = Callable[[npt.NDArray[np.int64], Keys], Records | None]


class Table:
    """Where the row of each key is; it takes 28 bytes of memory per row."""

    def __init__(self, folder: Path, tensors: Tensors) -> None:
        self.folder, self.dtype = folder, record_dtype(tensors)
        self.shards: list[OpenShard] = []  # by number; removed ones stay, so that the numbers remain valid
        self._numbers: dict[Path, int] = {}  # of the shards that still exist
        self._index: tuple[Keys, Places] = np.empty(0, KEY), np.empty(0, PLACE)  # by key; replaced, never changed
        self._seen: int | None = None  # the time stamp of the folder at the last refresh
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._index[0])

    def refresh(self) -> None:
        """Pick up what other processes wrote and removed; only one `stat` if the folder did not change."""
        with self._lock:
            changed = None
            with lost_is_absent():
                changed = self.folder.stat().st_mtime_ns
            if changed is not None and changed == self._seen:
                return
            paths = {shard.path for shard in list_shards(self.folder) if shard.files == WHOLE}
            self._update(self._numbers.keys() - paths, self._opened(paths - self._numbers.keys()))
            is_settled = changed is not None and time.time_ns() - changed > RECENT
            self._seen = changed if is_settled else None

    def locate(self, keys: Keys) -> tuple[Places, npt.NDArray[np.bool_]]:
        """The place of each key, and whether there is one."""
        known, places = self._index
        if not len(known):
            return np.zeros(len(keys), PLACE), np.zeros(len(keys), bool)
        at = np.minimum(known.searchsorted(keys), len(known) - 1)
        return places[at], known[at] == keys

    def write(self, keys: Keys, rows: Records) -> Path:
        """Add a shard; raise an OSError if it cannot be written."""
        shard, entries = write_shard(self.folder, keys, rows)
        with self._lock:
            self._update({shard.path} & self._numbers.keys(), [(shard, entries)])
        return shard.path

    def forget(self, path: Path) -> None:
        """Remove a shard from the index; its rows are computed again."""
        with self._lock:
            self._update({path} & self._numbers.keys(), [])

    def _opened(self, paths: Iterable[Path]) -> Iterable[tuple[OpenShard, Entries]]:
        for path in sorted(paths):
            with lost_is_absent():  # another process has just removed it
                try:
                    yield open_shard(path, self.dtype.itemsize)
                except DamagedShardError:
                    remove_shard(path)

    def _update(self, gone: Iterable[Path], new: Iterable[tuple[OpenShard, Entries]]) -> None:
        """Remove shards from the index, and add others."""
        numbers, gone, shards = dict(self._numbers), list(gone), list(self.shards)
        kept = ~np.isin(self._index[1]["shard"], [numbers.pop(path) for path in gone])
        keys, places = [self._index[0][kept]], [self._index[1][kept]]
        for shard, entries in new:  # which are opened here: that may fail, or Ctrl-C may stop it
            rows = np.empty(len(entries), PLACE)
            rows["shard"], rows["row"], rows["crc"] = len(shards), np.arange(len(entries)), entries["crc"]
            keys.append(entries["key"])
            places.append(rows)
            numbers[shard.path] = len(shards)
            shards.append(shard)
        all_keys, all_places = np.concatenate(keys), np.concatenate(places)
        order = np.argsort(all_keys, kind="stable")  # which merges sorted runs
        # The shards first: other threads read without the lock, and follow the index to them.
        self.shards, self._index, self._numbers = shards, (all_keys[order], all_places[order]), numbers


class Session:
    """One call's access to a table: it reads on any thread, and writes on one.

    Args:
        make_room: whether this many more bytes may be written; it keeps the store alive, which may be a temporary one.
        store_from: new rows are stored once there are this many.
    """

    def __init__(self, table: Table, make_room: Callable[[int], bool], store_from: int) -> None:
        self.table, self.store_from = table, store_from
        self.used: dict[Path, float] = {}  # the shards read or written, and when this was last noted on disk
        self.is_full = False  # no room for new rows, or the folder cannot be written to
        self.failure: OSError | None = None  # why it cannot be written to
        self._make_room = make_room
        self._new: dict[bytes, Records] = {}
        self._count = 0
        self._since = time.monotonic()

    def read(self, keys: Keys) -> tuple[Records, npt.NDArray[np.bool_]]:
        """Read the row of each key, and whether there is one; damaged shards are removed."""
        table = self.table
        rows = np.empty(len(keys), table.dtype)
        places, found = table.locate(keys)
        for number in set(places["shard"][found].tolist()):
            here = np.flatnonzero(found & (places["shard"] == number))
            shard = table.shards[number]
            part = None
            with lost_is_absent():
                part = self._rows_of(shard, places[here])
            if part is None:
                table.forget(shard.path)
                rows[here], found[here] = self.read(keys[here])  # another shard may hold them too
            else:
                rows[here] = part
        return rows, found

    def _rows_of(self, shard: OpenShard, places: Places) -> Records | None:
        """Read rows of one shard, which is removed if it is damaged."""
        try:
            rows = shard.read(places["row"], places["crc"], self.table.dtype)
        except DamagedShardError:
            remove_shard(shard.path)
            return None
        now = time.monotonic()
        if now - self.used.get(shard.path, -TOUCH_SECONDS) >= TOUCH_SECONDS:
            self.used[shard.path] = now
            shard.note_use()
        return rows

    def put(self, keys: Keys, rows: Records) -> None:
        """Add new rows, which the caller must not change afterwards."""
        if self.is_full:
            return
        for at, key in enumerate(keys.tolist()):
            self._new.setdefault(key, rows[at : at + 1])
        self._count += len(keys)
        is_late = time.monotonic() - self._since > SHARD_SECONDS
        if is_late or len(self._new) * rows.itemsize >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the new rows, if there are enough to be stored."""
        if self.is_full or not self._new or self._count < self.store_from:
            return
        keys, rows = np.frombuffer(b"".join(self._new), KEY), np.concatenate(list(self._new.values()))
        self._new, self._since = {}, time.monotonic()
        try:
            if self._make_room(len(keys) * (ENTRY.itemsize + rows.itemsize)):
                self.used[self.table.write(keys, rows)] = self._since
            else:
                self.is_full = True
        except OSError as error:  # the disk is full after all, or the folder is read-only
            self.is_full, self.failure = True, error


class RowsOnDisk:
    """An array `(n, ...)` whose rows are in shards; only the rows that are indexed are read.

    Args:
        again: recomputes rows that were since damaged or removed, by position and key; returns None if it cannot.
    """

    def __init__(self, session: Session, keys: Keys, field: str, again: Again) -> None:
        self._session, self._keys, self._field, self._again = session, keys, field, again
        tensor = session.table.dtype[field]
        self.shape, self.dtype = (len(keys), *tensor.shape), tensor.base

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        rows, found = self._session.read(self._keys[positions])
        if not found.all():
            rows[~found] = self._lost(positions[~found])
        return np.ascontiguousarray(rows[self._field])

    def _lost(self, positions: npt.NDArray[np.int64]) -> Records:
        rows = self._again(positions, self._keys[positions])
        if rows is None:
            raise TransferKitError(
                f"{len(positions)} values that this call stored in {str(self._session.table.folder)!r} were damaged or "
                f"removed while it ran, and their images have changed. Call it again."
            )
        return rows
