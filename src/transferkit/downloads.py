"""A file on a server -> a verified file in a folder: a temporary name, checks, then a rename."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from .sources import WeightsFile
from .transfers import HDF5, DownloadError, Transfer

__all__ = ["digest_file", "fault_of", "fetch", "record_digest", "recorded_digest"]

# No file of weights is larger: for a network of so many values, and for one that is not known.
MARGIN, MOST = 64 * 2**20, 16 * 2**30  # bytes
STALE = 24 * 3600  # seconds after which a temporary file was left by a process that was killed
PREFIX, SUFFIX = ".transferkit-", ".part"


def fetch(file: WeightsFile, folder: Path, values: int, title: str, verbose: str | int) -> Path:
    """Download a file into a folder, where it appears under its name only once it is whole and right.

    Args:
        file: what to download.
        folder: exists and can be written to.
        values: how many numbers the file should hold; 0 = not known.
        title: what the message and the progress bar say.
        verbose: 0 = neither.

    Raises:
        DownloadError: no connection, an error of the server, a stall, or something else than the file.
    """
    _sweep(folder)
    try:
        with _temporary(folder) as temporary:
            with temporary.open("wb") as out:
                transfer = Transfer(file.url, out, 8 * values + MARGIN if values else MOST, title, verbose)
                transfer.run()
                out.flush()
                os.fsync(out.fileno())
            stated = "" if file.digest else _fault_to_the_server(temporary, transfer.md5)
            fault = stated or fault_of(temporary, file, values)
            if fault:
                raise DownloadError(f"what the server sent {fault}")
            if not file.digest:
                record_digest(temporary, folder / file.name)
            temporary.replace(folder / file.name)
    except OSError as error:  # of the folder, or a file of certificates that is missing
        raise DownloadError(f"{error.filename or folder}: {error.strerror or error}") from error
    return folder / file.name


def _fault_to_the_server(path: Path, md5: str) -> str:
    """Whether a file has the hash that the server stated, where it stated one."""
    with path.open("rb") as handle:
        found = base64.b64encode(bytes.fromhex(_digest(handle, "md5"))).decode() if md5 else ""
    return "has another hash than the server states" if found != md5 else ""


def fault_of(path: Path, file: WeightsFile, values: int = 0) -> str:
    """What is wrong with a file, as the end of a sentence; empty if nothing is.

    The hash decides where one is known: that of `file`, else the one that was recorded beside the
    file when it was first seen. Without one it must be an HDF5 file of as many numbers as expected.
    """
    with path.open("rb") as handle:
        if handle.read(len(HDF5)) != HDF5:
            return "is no HDF5 file"
        expected = file.digest or recorded_digest(path)
        if expected:
            kind, _, digits = expected.partition(":")
            handle.seek(0)
            found = _digest(handle, kind)
            if found == digits:
                return ""
            source = "" if file.digest else f", as {digest_file(path).name!r} beside it says"
            return f"has the {kind} hash {found} where {digits} is expected{source}"
    return _fault_of_form(path, values)


def record_digest(source: Path, target: Path) -> None:
    """Write the SHA-256 of `source` beside `target`, in the form of sha256sum: later damage is seen by it."""
    with source.open("rb") as handle:
        line = f"{_digest(handle, 'sha256')}  {target.name}\n"
    with _temporary(target.parent) as temporary:
        temporary.write_text(line, encoding="utf-8")
        temporary.replace(digest_file(target))


def recorded_digest(path: Path) -> str:
    """``"sha256:..."`` as `record_digest` wrote it, or empty."""
    try:
        digits = digest_file(path).read_text(encoding="utf-8").split()[0].lower()
    except (OSError, UnicodeDecodeError, IndexError):
        return ""
    return f"sha256:{digits}" if len(digits) == 64 else ""


def digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _digest(handle: IO[bytes], kind: str) -> str:
    digest = hashlib.new(kind, usedforsecurity=kind == "sha256")
    while piece := handle.read(2**20):
        digest.update(piece)
    return digest.hexdigest()


def _fault_of_form(path: Path, values: int) -> str:
    import h5py

    held = 0

    def add(_: str, item: Any) -> None:
        nonlocal held
        held += item.size or 0 if isinstance(item, h5py.Dataset) else 0  # an empty one has no size

    try:
        with h5py.File(path, "r") as content:
            content.visititems(add)
    except Exception as error:  # h5py raises many kinds for a damaged file
        return f"is a damaged HDF5 file ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    if values and abs(held - values) > 10_000:  # a few numbers may be Keras's own: seeds, counters
        return f"holds {held:,} numbers where {values:,} are expected"
    return ""


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """The path of a new file that only this process knows; gone at the end, unless it was renamed."""
    path = folder / f"{PREFIX}{uuid.uuid4().hex}{SUFFIX}"
    path.touch(exist_ok=False)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left here: files of our own naming, a day old."""
    for path in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()
