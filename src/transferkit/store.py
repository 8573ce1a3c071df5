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

    def __init__(self) -> None:
        self._rows: dict[bytes, Row] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: bytes) -> Row | None:
        return self._rows.get(key)

    def put(self, key: bytes, row: Row) -> None:
        """Keep a row; a caller must not write to its arrays any more."""
        if key not in self._rows:
            self._rows[key] = row
            self.size += sum(array.nbytes for array in row)


class Store:
    """Shelves by the name of their computation, within a limit of bytes."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._shelves: OrderedDict[str, Shelf] = OrderedDict()
        self._lock = threading.Lock()

    def shelf(self, name: str) -> Shelf:
        """The shelf of a computation, empty if it is new."""
        with self._lock:
            shelf = self._shelves.setdefault(name, Shelf())
            self._shelves.move_to_end(name)
            return shelf

    def room(self, size: int) -> bool:
        """Make room for `size` bytes, if need be by dropping shelves that were used longest ago."""
        with self._lock:
            if size > self.limit:
                return False
            while len(self._shelves) > 1 and size + sum(s.size for s in self._shelves.values()) > self.limit:
                self._shelves.popitem(last=False)
            return size + sum(s.size for s in self._shelves.values()) <= self.limit

    def clear(self) -> None:
        with self._lock:
            self._shelves.clear()
