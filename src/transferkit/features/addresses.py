"""Remembers which content is at a URL: a file that has not changed is not downloaded again to find out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .._common.remote import Remote
from ..cache import KEY, KEY_BYTES, Store, content_key

COMPUTATION, TENSORS = "addresses/1", (("uint8", (KEY_BYTES,)),)


class Addresses:
    """The keys of contents, by URL, size and version.

    Args:
        store_from: new keys are stored once there are this many.
    """

    def __init__(self, store: Store, store_from: int = 0) -> None:
        self._session = store.session(COMPUTATION, TENSORS, store_from)

    def find(self, file: Remote) -> bytes | None:
        """The key of the content at a URL; None if unknown. `file` has its version. Call from any thread."""
        rows, found = self._session.read(np.frombuffer(_key(file), KEY))
        return rows["f0"].tobytes() if file.version and found.all() else None

    def keep(self, pairs: Iterable[tuple[Remote, bytes]]) -> None:
        """Remember files and the keys of their contents. Call from one thread only."""
        known = [(_key(file), key) for file, key in pairs if file.version]
        if known:
            rows = np.array([(np.frombuffer(key, np.uint8),) for _, key in known], self._session.table.dtype)
            self._session.put(np.frombuffer(b"".join(address for address, _ in known), KEY), rows)

    def close(self) -> None:
        """Store what has not been stored yet."""
        self._session.flush()


def _key(file: Remote) -> bytes:
    return content_key(f"{file.url} {file.version}".encode())
