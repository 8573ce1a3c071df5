"""Values keyed by content: what was computed once for an image is found again under its hash.

Knows keys and arrays, nothing of networks or images. The values live in memory, as long as the
process, up to a number of bytes; the shelf that was used longest ago goes first.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Row", "Shelf", "Store", "content_key"]

Row = tuple[npt.NDArray[Any], ...]  # the values of one image: one array per tensor

LIMIT = 2**30  # bytes


def content_key(content: bytes | npt.NDArray[Any]) -> bytes:
    """16 bytes that stand for the bytes of a file, or for the type, shape and values of an array."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(content, np.ndarray):
        digest.update(f"{content.dtype}{content.shape}".encode())
        content = np.ascontiguousarray(content).tobytes()
    digest.update(content)
    return digest.digest()


class Shelf:
    """The values of one computation (one network, one cut, one image size), by image."""

    def __init__(self, store: Store) -> None:
        self._rows: dict[bytes, Row] = {}
        self._store = store
        self.size = 0

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: bytes) -> Row | None:
        return self._rows.get(key)

    def put(self, key: bytes, row: Row) -> None:
        """Keep a row while there is room; a caller must not write to its arrays any more."""
        size = sum(array.nbytes for array in row)
        if key not in self._rows and self._store.size + size <= self._store.limit:
            self._rows[key] = row
            self.size += size


class Store:
    """Shelves by the name of their computation, within a limit of bytes."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._shelves: OrderedDict[str, Shelf] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes of all values."""
        return sum(shelf.size for shelf in list(self._shelves.values()))

    def shelf(self, name: str, size: int) -> Shelf | None:
        """The shelf of a computation, with room for `size` bytes in all.

        Others make room if need be, those that were used longest ago first. None if `size` is more than
        the store may hold.
        """
        if size > self.limit:
            return None
        with self._lock:
            shelf = self._shelves.setdefault(name, Shelf(self))
            self._shelves.move_to_end(name)
            while len(self._shelves) > 1 and self.size - shelf.size + max(size, shelf.size) > self.limit:
                self._shelves.popitem(last=False)
            return shelf

    def clear(self) -> None:
        with self._lock:
            self._shelves.clear()
