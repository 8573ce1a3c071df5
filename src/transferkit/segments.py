"""One file of the store: rows of arrays under their keys, written once, checked when read.

    magic | length and CRC-32 of the header | header (JSON) | keys | CRC-32 of each row | tensors | magic

The tensors start at multiples of 64 bytes, so that they are used from the file without being read into
memory. The name of a file is the hash of its header, keys and checksums: nothing in it can change
without being seen. NumPy's own formats have no checksums, safetensors neither.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

__all__ = [
    "KEY_BYTES",
    "DamagedSegmentError",
    "Row",
    "Segment",
    "Tensors",
    "is_segment",
    "open_segment",
    "write_segment",
]

Row = tuple[npt.NDArray[Any], ...]  # the values of one image: one array per tensor
Tensors = tuple[tuple[str, tuple[int, ...]], ...]  # dtype and shape of each array of a row

MAGIC = b"TKVALUE1"
KEY_BYTES = 16
ALIGNMENT = 64
NAME = re.compile(r"[0-9a-f]{32}\.tkv")
PREFIX = struct.Struct("<8sII")


class DamagedSegmentError(Exception):
    """A file of the store's own that is not what was written; it is internal, no user sees it."""


@dataclass(frozen=True)
class Segment:
    """An open file: its keys, and its rows mapped into memory."""

    path: Path
    identity: int  # of the file on disk: another may come under the same name
    keys: npt.NDArray[np.bytes_]  # (n,), each of 16 bytes
    checksums: npt.NDArray[np.uint32]  # (n,)
    tensors: tuple[npt.NDArray[Any], ...]  # one array (n, ...) each, read from the file when used
    mapping: mmap.mmap

    def __len__(self) -> int:
        return len(self.keys)

    def release(self) -> None:
        """Give back the memory that reading took: it counts as the process's own until the system wants it."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.mapping.madvise(mmap.MADV_DONTNEED)

    def row(self, number: int) -> Row:
        """The arrays of one row.

        Raises:
            DamagedSegmentError: they are not those that were written.
        """
        row = tuple(tensor[number] for tensor in self.tensors)
        if _checksum(row) != self.checksums[number]:
            raise DamagedSegmentError(str(self.path))
        return row


def write_segment(folder: Path, computation: str, keys: Sequence[bytes], rows: Sequence[Row]) -> Path:
    """Write rows of equal shapes under another name, then rename: no reader ever sees half a file.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    form = [[str(array.dtype), list(array.shape)] for array in rows[0]]
    header = json.dumps({"computation": computation, "tensors": form, "rows": len(rows)}).encode()
    table = b"".join(keys) + np.array([_checksum(row) for row in rows], "<u4").tobytes()
    name = hashlib.blake2b(header + table, digest_size=16).hexdigest()
    temporary = folder / f".{name}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
    target = folder / f"{name}.tkv"
    try:
        with temporary.open("xb") as file:
            file.write(PREFIX.pack(MAGIC, len(header), zlib.crc32(header)) + header + table)
            for tensor in range(len(form)):
                _align(file)
                for row in rows:
                    file.write(_raw(row[tensor]))
            file.write(MAGIC)
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return target


def open_segment(path: Path, computation: str, tensors: Tensors) -> Segment:
    """Open a file and check all of it but the rows, which are checked one by one when they are used.

    Raises:
        DamagedSegmentError: it is not what was written, or not of this computation.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        size, identity = status.st_size, status.st_ino
        header = _read_header(file, size)
        if header is None:
            raise DamagedSegmentError(str(path))
        stated = json.loads(header)
        count, form = stated["rows"], tuple((dtype, tuple(shape)) for dtype, shape in stated["tensors"])
        table_bytes = count * (KEY_BYTES + 4)
        spans, end = _layout(PREFIX.size + len(header) + table_bytes, form, count)
        if stated["computation"] != computation or form != tensors or size != end + len(MAGIC):
            raise DamagedSegmentError(str(path))
        table = file.read(table_bytes)
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hashlib.blake2b(header + table, digest_size=16).hexdigest() != path.stem:
        raise DamagedSegmentError(str(path))
    content = np.frombuffer(mapping, np.uint8)
    at = PREFIX.size + len(header) + table_bytes
    for start, stop in spans:
        if content[at:start].any():  # the gaps hold zeros: a change there harms nothing, but tells of a bad disk
            raise DamagedSegmentError(str(path))
        at = stop
    if content[end:].tobytes() != MAGIC:
        raise DamagedSegmentError(str(path))
    arrays = [
        content[start:stop].view(dtype).reshape(count, *shape)
        for (start, stop), (dtype, shape) in zip(spans, form, strict=True)
    ]
    keys = np.frombuffer(table, f"S{KEY_BYTES}", count)
    checksums = np.frombuffer(table, "<u4", count, count * KEY_BYTES)
    return Segment(path, identity, keys, checksums, tuple(arrays), mapping)


def is_segment(path: Path) -> bool:
    """Whether a file was written by `write_segment`, damaged since or not: by its name and either end of it."""
    if not NAME.fullmatch(path.name):
        return False
    try:
        with path.open("rb") as file:
            begins = file.read(len(MAGIC)) == MAGIC
            file.seek(-min(len(MAGIC), os.fstat(file.fileno()).st_size), os.SEEK_END)
            return begins or file.read() == MAGIC
    except OSError:
        return False


def _read_header(file: BinaryIO, size: int) -> bytes | None:
    """The header, if it is whole."""
    prefix = file.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    magic, length, checksum = PREFIX.unpack(prefix)
    header = file.read(length) if length < size else b""
    return header if magic == MAGIC and len(header) == length and zlib.crc32(header) == checksum else None


def _layout(start: int, form: Tensors, count: int) -> tuple[list[tuple[int, int]], int]:
    """From where to where each tensor lies, and where the last one ends."""
    spans = []
    for dtype, shape in form:
        start += -start % ALIGNMENT
        stop = start + count * int(np.dtype(dtype).itemsize * np.prod(shape, dtype=np.int64))
        spans.append((start, stop))
        start = stop
    return spans, start


def _align(file: BinaryIO) -> None:
    file.write(bytes(-file.tell() % ALIGNMENT))


def _checksum(row: Row) -> int:
    checksum = 0
    for array in row:
        checksum = zlib.crc32(_raw(array), checksum)
    return checksum


def _raw(array: npt.NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
