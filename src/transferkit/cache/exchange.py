"""Copy a cache to or from a URL. Shards never change and are named by content, so only missing ones are copied."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from rich.filesize import decimal as readable

from .._common.remote import READERS, Remote, located
from ..errors import InvalidInputError, bad_argument
from .shards import WHOLE, ShardFiles, file_of, new_shard, parsed_name
from .store import TABLE_NAME
from .user import CachePath, store_at

T = TypeVar("T")


def push(url: str, path: CachePath | None = None) -> int:
    """Copy cached values to a folder at a URL, except those already there (extra ``remote``).

    Other machines `pull` them. Any number of machines may push to one URL at once.

    Args:
        url: the URL of the folder, for example ``"s3://bucket/values"``.
        path: as for `info`.

    Returns:
        The number of bytes copied.

    Raises:
        InvalidInputError: not a URL, or it cannot be read or written.

    Example:
        >>> import transferkit as tk
        >>> copied = tk.cache.push("memory://values")
        >>> tk.cache.push("memory://values")
        0
    """
    folder, store = _folder(url), store_at(path)
    there = _shards(folder)

    def upload(shard: ShardFiles) -> int:
        for kind in ("rows", "keys"):  # the keys commit a shard
            file = file_of(shard.path, kind)
            Remote(f"{folder.url}/{_name(shard.path)}.{kind}.npy").write(file)
        return shard.size

    missing = [one for one in store.shards() if one.files == WHOLE and not _is_same(one, there[_name(one.path)])]
    return _copied(upload, missing, folder)


def pull(url: str, path: CachePath | None = None) -> int:
    """Copy the values at a URL into the cache, except those already there (extra ``remote``).

    Pull only values that you trust: they are checked for damage, but not for who computed them.

    Args:
        url: where `push` put them.
        path: as for `info`.

    Returns:
        The number of bytes copied.

    Raises:
        InvalidInputError: not a URL, it cannot be read or holds no values, or they do not fit under the limit of the cache.

    Example:
        >>> import transferkit as tk
        >>> clf = tk.TransferClassifier("TransferKitTiny").fit("photos/train", verbose=0)
        >>> copied = tk.cache.push("memory://values-of-all")
        >>> tk.cache.pull("memory://values-of-all", "own-values") == copied
        True
    """
    folder, store = _folder(url), store_at(path)
    here = {_name(shard.path) for shard in store.shards() if shard.files == WHOLE}
    there = {name: files for name, files in _shards(folder).items() if len(files) == WHOLE}
    missing = {name: files for name, files in there.items() if name not in here}
    for name in here & there.keys():
        with suppress(OSError):  # the least recently used make room for others, and these must stay
            os.utime(file_of(store.folder / name, "rows"))
    if not there:
        raise InvalidInputError(
            f"There are no values at {str(folder)!r}: pull copies what push has put there. Check the URL."
        )
    size = sum(file.size or 0 for files in missing.values() for file in files.values())
    if not store.make_room(size):
        raise InvalidInputError(
            f"The values at {str(folder)!r} need {readable(size)} more, but the cache may hold {readable(store.limit)}"
            f", or its disk is full: there must be room for all. Raise the limit with set_limit, or free space."
        )

    def download(name: str) -> int:
        with new_shard(store.folder / name) as files:
            for kind, file in missing[name].items():
                file.download(files[kind])
        return sum(file.size or 0 for file in missing[name].values())

    return _copied(download, missing, folder)


def _copied(copy: Callable[[T], int], items: Iterable[T], folder: Remote) -> int:
    try:
        with ThreadPoolExecutor(READERS) as pool:
            return sum(pool.map(copy, items))
    except OSError as error:
        raise InvalidInputError(
            f"The values could not be copied between the cache and {str(folder)!r} ({error}): the target must be "
            f"writable. Values already copied are kept; check the URL and call it again."
        ) from error


def _folder(url: object) -> Remote:
    folder = located(url) if isinstance(url, str) else None
    if not isinstance(folder, Remote) or folder.is_web:
        remedy = "Pass for example 's3://bucket/values'"
        raise bad_argument("url", url, "must be the URL of a folder that can be listed", remedy)
    return Remote(folder.url.rstrip("/"))


def _shards(folder: Remote) -> defaultdict[str, dict[str, Remote]]:
    """The files at a URL, by table and shard; other files there are ignored."""
    found: defaultdict[str, dict[str, Remote]] = defaultdict(dict)
    try:
        listed = folder.files()
    except FileNotFoundError:
        return found
    except OSError as error:
        raise InvalidInputError(f"The folder {str(folder)!r} cannot be listed ({error}). Check the URL.") from None
    for inner, file in listed:
        table, _, name = inner.partition("/")
        parsed = parsed_name(name)
        if parsed is not None and TABLE_NAME.fullmatch(table):
            found[f"{table}/{parsed[0]}"][parsed[1]] = file
    return found


def _is_same(shard: ShardFiles, there: dict[str, Remote]) -> bool:
    """Whether both files are there in full: an upload that was cut off may leave a part of one."""
    return len(there) == WHOLE and sum(file.size or 0 for file in there.values()) in (0, shard.size)


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
