"""One shard of the store: rows of values and their keys, in two plain `.npy` files that never change.

    <name>.rows.npy   one record per row, one field per tensor
    <name>.keys.npy   the key of each row, and the CRC-32 of its bytes

The keys are written last and commit the shard. Its name is the hash of the keys, checksums and folder's name, which
identifies the computation: so the name verifies the keys, and the keys verify the rows. Rows are read, not mapped: a
map holds a file descriptor, and truncating a mapped file kills the process.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._common.files import EXHAUSTED, make_private

Tensors = tuple[tuple[str, tuple[int, ...]], ...]  # dtype and shape of each array of a row
Keys = npt.NDArray[np.void]  # (n,), of 16 bytes each
Records = npt.NDArray[np.void]  # (n,), one field per tensor
Entries = npt.NDArray[np.void]  # (n,), key and checksum

KEY_BYTES = 16
KEY = np.dtype(f"V{KEY_BYTES}")
ENTRY = np.dtype([("key", KEY), ("crc", "<u4")])
MAGIC = b"\x93NUMPY\x01\x00"
WHOLE = 2  # files of a committed shard
ABANDONED_SECONDS = 3600.0  # after this time, an unfinished shard belongs to a process that died
NAME = re.compile(r"([0-9a-f]{32})\.(keys|rows)\.npy")


class DamagedShardError(Exception):
    """A shard does not match what was written. Internal: no user sees this error."""


@contextlib.contextmanager
def lost_is_absent() -> Iterator[None]:
    """End a block early where a file or a folder is gone, locked or broken; its values are computed again."""
    try:
        yield
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise


class OpenShard(NamedTuple):
    """A shard whose rows can be read."""

    path: Path  # without the extensions
    rows: str  # the file of rows
    offset: int  # bytes before the first row

    def read(self, numbers: npt.NDArray[Any], checksums: npt.NDArray[Any], dtype: np.dtype[np.void]) -> Records:
        """Read some rows; raise a `DamagedShardError` if the file is gone, or a row does not match its checksum."""
        rows = np.empty(len(numbers), dtype)
        try:
            with open(self.rows, "rb", buffering=0) as file:  # noqa: PTH123  # a Path takes longer than the read
                for content, number in zip(_raw(rows), numbers.tolist(), strict=True):
                    file.seek(self.offset + number * dtype.itemsize)
                    filled = 0
                    while filled < len(content) and (count := file.readinto(content[filled:])):  # may read less
                        filled += count
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):
                raise DamagedShardError(str(self.path)) from error
            raise
        if _checksums(rows) != checksums.tolist():
            raise DamagedShardError(str(self.path))
        return rows

    def note_use(self) -> None:
        """Set its time stamp to now: the least recently used shards are removed first."""
        with contextlib.suppress(OSError):  # another process removed it, or the folder is read-only
            os.utime(self.rows)


@dataclass
class ShardFiles:
    """A shard on disk: its path without the extensions, the number and total bytes of its files, and its last use."""

    path: Path
    files: int = 0
    size: int = 0
    used: float = 0.0

    @property
    def is_abandoned(self) -> bool:
        return self.files < WHOLE and self.used < time.time() - ABANDONED_SECONDS


def content_key(content: bytes | npt.NDArray[Any]) -> bytes:
    """A 16-byte hash of the bytes of a file, or of the shape and values of an array: whole numbers of 0-255 are uint8."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    if isinstance(content, np.ndarray):
        with np.errstate(invalid="ignore"):  # of a cast
            whole = content.astype(np.uint8, copy=False)
        content = whole if np.array_equal(whole, content) else content.astype(np.float32, copy=False)
        digest.update(f"{content.dtype}{content.shape}".encode())
        content = np.ascontiguousarray(content).tobytes()
    digest.update(content)
    return digest.digest()


def record_dtype(tensors: Tensors) -> np.dtype[np.void]:
    """The dtype of a row as one record, with the fields f0, f1, ..."""
    return np.dtype([("", dtype, shape) for dtype, shape in tensors])


@contextlib.contextmanager
def new_shard(path: Path) -> Iterator[dict[str, Path]]:
    """Give the files for the rows and keys of a shard, which exists once the block ends; an error leaves nothing.

    The files have the names of unfinished shards, so that no reader ever sees half a file.
    """
    make_private(path.parent)
    files = {kind: file_of(path.with_name(os.urandom(16).hex()), "rows") for kind in ("rows", "keys")}
    try:
        yield files
        for kind, file in files.items():
            file.replace(file_of(path, kind))
    finally:
        for file in files.values():
            _remove(file)


def write_shard(folder: Path, keys: Keys, rows: Records) -> tuple[OpenShard, Entries]:
    """Write a new shard; return it, and the key and checksum of each row."""
    entries = np.empty(len(keys), ENTRY)
    entries["key"], entries["crc"] = keys, _checksums(rows)
    path = folder / _name(folder, entries)
    with new_shard(path) as files:
        offset = _save(files["rows"], rows)
        _save(files["keys"], entries)
    return OpenShard(path, str(file_of(path, "rows")), offset), entries


def parsed_name(name: str) -> tuple[str, str] | None:
    """The shard and the kind in the name of a file; None for other files."""
    match = NAME.fullmatch(name)
    return (match[1], match[2]) if match else None


def open_shard(path: Path, row_bytes: int) -> tuple[OpenShard, Entries]:
    """Open a shard; return it, and the key and checksum of each row. Rows are checked when they are read.

    Raises a `DamagedShardError` if the keys do not match the name, or the rows are truncated.
    """
    with file_of(path, "keys").open("rb") as keys, file_of(path, "rows").open("rb") as rows:
        _skip_header(keys)
        content = keys.read()
        entries = np.frombuffer(content[: len(content) // ENTRY.itemsize * ENTRY.itemsize], ENTRY)
        offset, size = _skip_header(rows), os.fstat(rows.fileno()).st_size
    if _name(path.parent, entries) != path.name or size != offset + len(entries) * row_bytes:
        raise DamagedShardError(str(path))
    return OpenShard(path, str(file_of(path, "rows")), offset), entries


def list_shards(folder: Path) -> list[ShardFiles]:
    """The shards in a folder, including unfinished ones; links and other files are ignored."""
    found: dict[str, ShardFiles] = {}
    with lost_is_absent(), os.scandir(folder) as entries:
        for entry in entries:
            match = NAME.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):  # another process has just removed it
                    status = entry.stat()
                    shard = found.setdefault(match[1], ShardFiles(folder / match[1]))
                    shard.files, shard.size = shard.files + 1, shard.size + status.st_size
                    shard.used = max(shard.used, status.st_mtime)
    return list(found.values())


def remove_shard(path: Path) -> bool:
    """Remove a shard, even if another process does so too; return whether it is gone."""
    return all(_remove(file_of(path, kind)) for kind in ("keys", "rows"))


def file_of(path: Path, kind: str) -> Path:
    return Path(f"{path}.{kind}.npy")


def _remove(path: Path) -> bool:
    """Remove a file; return whether it is gone."""
    try:
        path.unlink(missing_ok=True)
    except OSError:  # open in another process on Windows, or the folder is read-only
        return False
    return True


def _save(path: Path, content: npt.NDArray[Any]) -> int:
    """Write an array to a new file; return the number of bytes before its data."""
    with path.open("xb") as file:
        header = np.lib.format.header_data_from_array_1_0(content)
        np.lib.format.write_array_header_1_0(file, header)
        offset = file.tell()
        file.write(_raw(content).data)  # on a full disk, np.save truncates without an error
    return offset


def _skip_header(file: Any) -> int:
    """Skip the header of a `.npy` file, which only other readers need; return the number of bytes before the data."""
    head = file.read(len(MAGIC) + 2)
    if not head.startswith(MAGIC):
        raise DamagedShardError(file.name)
    length = int.from_bytes(head[len(MAGIC) :], "little")
    return int(file.seek(length, os.SEEK_CUR))


def _name(folder: Path, entries: Entries) -> str:
    return hashlib.blake2b(folder.name.encode() + entries.tobytes(), digest_size=16).hexdigest()


def _raw(rows: Records) -> npt.NDArray[np.uint8]:
    return rows.view(np.uint8).reshape(len(rows), rows.itemsize)


def _checksums(rows: Records) -> list[int]:
    return [zlib.crc32(row) for row in _raw(rows)]
