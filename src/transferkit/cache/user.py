"""Show, limit and clear the values that transferkit stores on disk."""

from __future__ import annotations

import functools
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal as readable

from .._common.arguments import check_count
from .._common.files import expanded, make_private, values_folder
from .._common.remote import refuse_url
from ..errors import InvalidInputError, bad_argument
from .store import Store

CachePath = str | os.PathLike[str]

_store_in = functools.cache(Store)
_shared_store = functools.cache(functools.partial(Store, shared=True))
_temporary_store = functools.cache(Store.temporary)  # for a user whose cache folder cannot be written to


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds.

    Attributes:
        path: its folder.
        size: bytes of all values.
        limit: bytes that it may hold; the least recently used values are removed first.
        files: the number of files.
    """

    path: Path
    size: int
    limit: int
    files: int

    def __str__(self) -> str:
        return f"{readable(self.size)} of {readable(self.limit)} in {self.files} files in {self.path}"


def info(path: CachePath | None = None) -> CacheInfo:
    """How much is stored, and where.

    Args:
        path: None = the user's cache folder; or the folder that a classifier was given as ``cache``.

    Example:
        >>> import transferkit as tk
        >>> tk.cache.info().size <= tk.cache.info().limit
        True
    """
    store = store_at(path)
    shards = store.shards()
    return CacheInfo(store.folder, sum(one.size for one in shards), store.limit, sum(one.files for one in shards))


def set_limit(size: int, path: CachePath | None = None) -> None:
    """Set how many bytes the cache may hold, for every process from now on; values over it are removed.

    Args:
        size: bytes, 0 or more; 0 = nothing is stored. The default is 4 GB (4 * 10**9).
        path: as for `info`.

    Raises:
        InvalidInputError: `size` is not a whole number of 0 or more, or the folder cannot be written to.

    Example:
        >>> import transferkit as tk
        >>> tk.cache.set_limit(8 * 10**9)
        >>> tk.cache.info().limit
        8000000000
    """
    size = check_count("size", size, minimum=0, example=4 * 10**9)
    store = store_at(path)
    try:
        store.limit = size
    except OSError as error:
        raise _not_writable(store.folder, error) from error


def clear(path: CachePath | None = None) -> int:
    """Remove all values, and nothing else that may be in the folder.

    Args:
        path: as for `info`.

    Returns:
        The number of bytes freed.

    Example:
        >>> import transferkit as tk
        >>> freed = tk.cache.clear()
        >>> tk.cache.info().size
        0
    """
    return store_at(path).clear()


def open_store(choice: object, lenient: bool = False) -> Store | None:
    """The store for the ``cache`` argument of a classifier; None for False.

    With `lenient`, a folder that cannot be written to gives a warning and None.
    """
    if choice is False:
        return None
    if choice is True:
        store = store_at(None)
        return store if _can_write(store.folder) else _temporary_store()
    store = store_at(_named(choice))
    try:
        return _made(store)
    except InvalidInputError as refusal:
        if not lenient:
            raise
        warnings.warn(f"{refusal} Until then nothing is stored.", stacklevel=4)
        return None


def shared_store(path: object) -> Store:
    """A store that many processes fill; none removes what another has just written."""
    return _made(_shared_store(_named(path)))


def _made(store: Store) -> Store:
    try:
        make_private(store.folder)
    except (OSError, ValueError) as error:  # ValueError: a path that contains a null byte
        raise _not_writable(store.folder, error) from error
    return store


def _named(path: object) -> Path:
    """A folder that the user named."""
    refuse_url("cache", path)
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str) or not os.fspath(path):
        raise bad_argument("cache", path, "must be True, False or the path of a folder", "Pass cache=True")
    folder = expanded(os.fspath(path))
    if folder is None or "\0" in str(folder):
        raise bad_argument("cache", path, "is not a path on this machine", "Pass the path of a folder, or cache=True")
    return folder


def store_at(path: object) -> Store:
    folder = values_folder() if path is None else _named(path)
    return _temporary_store() if folder is None else _store_in(folder)


def _can_write(folder: Path) -> bool:
    """Whether a folder, or its nearest parent that exists, can be written to."""
    try:
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    except (OSError, StopIteration):  # this user cannot look into one of its parents
        return False


def _not_writable(folder: Path, error: Exception) -> InvalidInputError:
    reason = getattr(error, "strerror", None) or error
    return InvalidInputError(
        f"The cache folder {str(folder)!r} cannot be written to ({reason}): it must be a folder that you can write to. "
        f"Pass another path, or cache=False."
    )
