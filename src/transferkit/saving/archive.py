"""The archive: a zip file of known members, stored uncompressed, that ends with a hash of all bytes before it.

The hash is the last thing in the file, in the comment of the zip archive, so it covers every byte: damage anywhere is
detected before anything is parsed. It does not stop an attacker, who can compute a new one; the other checks here do.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from pathlib import Path
from typing import BinaryIO

MANIFEST = "transferkit.json"
TRAINED_ON = "trained_on.bin"
TYPICALITY = "typicality.bin"
WEIGHTS = "model.weights.h5"
CONFIG, METADATA = "config.json", "metadata.json"  # for plain Keras, which reads them; `load` does not
# The members of a file, and whether each file has them.
MEMBERS = {MANIFEST: True, TRAINED_ON: True, WEIGHTS: True, TYPICALITY: False, CONFIG: False, METADATA: False}

SEAL = b"transferkit sha256 "  # before the hash
DIGITS = 64
PIECE = 2**20  # bytes to read at once
FLAGS = 0x0808  # allowed for a member: its size follows its content, its name is in UTF-8


# ---- writing ----


def foreign_members(path: Path) -> list[str]:
    """Members of an archive that `load` would refuse."""
    with zipfile.ZipFile(path) as archive:
        return [name for name in archive.namelist() if name not in MEMBERS]


def add_members(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def seal(path: Path) -> None:
    """Append the hash of an archive to it."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = SEAL + b"0" * DIGITS
    with path.open("rb+") as file:
        digest = _digest(file, path.stat().st_size - DIGITS)
        file.seek(-DIGITS, os.SEEK_END)
        file.write(digest)


# ---- reading ----


def is_sealed(file: BinaryIO) -> bool:
    """Whether a file ends with a hash.

    Raises:
        ValueError: it does, but the hash is not that of the bytes before it.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - len(SEAL) - DIGITS, 0))
    ending = file.read()
    if not ending.startswith(SEAL):
        return False
    if ending[len(SEAL) :] != _digest(file, size - DIGITS):
        raise ValueError("it does not have the hash that was saved with it")
    return True


def _digest(file: BinaryIO, size: int) -> bytes:
    """SHA-256 of the first bytes of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (piece := file.read(min(size, PIECE))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest().encode()


class _Pieces:
    """A file that refuses to read much at once: `zipfile` would read a list of members of any length into memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(PIECE + 1 if size < 0 else min(size, PIECE + 1))
        if len(piece) > PIECE:
            raise ValueError("its list of members is too long")
        return piece


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """An archive whose members are read in pieces."""
    return zipfile.ZipFile(_Pieces(file))  # has all that zipfile needs of a file


def check_members(archive: zipfile.ZipFile) -> None:
    """Check that each member is known, that none is there twice, and that none is missing.

    Raises:
        ValueError: one of these does not hold.
    """
    names = [member.orig_filename for member in archive.infolist()]
    if foreign := set(names) - set(MEMBERS):
        raise ValueError(f"it holds unknown members: {', '.join(sorted(map(repr, foreign))):.200}")
    if len(names) > len(set(names)):
        raise ValueError("it holds a member twice")
    if missing := [name for name, is_needed in MEMBERS.items() if is_needed and name not in names]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for member in archive.infolist():
        _check_member(member)


def _check_member(member: zipfile.ZipInfo) -> None:
    """Refuse all but plain files stored uncompressed, so that none can grow when it is read."""
    if member.flag_bits & ~FLAGS:
        raise ValueError(f"its member {member.filename} is encrypted or of an unknown kind")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise ValueError(f"its member {member.filename} is compressed, which save does not do")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        raise ValueError(f"its member {member.filename} is a link or a folder")


def read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The content of a member of at most `most` bytes."""
    member = archive.getinfo(name)
    _check_member(member)
    if member.file_size > most:
        raise ValueError(f"its member {name} takes more than {most:,} bytes")
    with archive.open(member) as file:
        content = b"".join(iter(lambda: file.read(PIECE), b""))
    if len(content) != member.file_size:
        raise ValueError(f"its member {name} is cut off")
    return content
