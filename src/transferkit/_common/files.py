"""Folders for downloads and computed values, checks that they are private, and atomic replacement of files."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

VARIABLE = "TRANSFERKIT_WEIGHTS"  # the environment variable that names a folder of weights files
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # errors of this process, which say nothing about a file
LITTER_AGE = 3600  # seconds without a change after which nobody is still writing a temporary file
# The addresses of Keras Applications' files, which Keras's own cache holds.
KERAS = (
    "https://storage.googleapis.com/tensorflow/keras-applications/",
    "https://storage.googleapis.com/keras-applications/",
)


def cache_folders(url: str) -> list[Path]:
    """The folders for the file downloaded from an address, best first.

    Keras keeps all its files in one folder by name, so only its own files belong there. Every other address has its own
    folder, since model.weights.h5 is a common name.
    """
    address = hashlib.sha256(url.encode()).hexdigest()[:16]
    keras = expanded(os.environ.get("KERAS_HOME") or "~/.keras")
    own = _user_cache()
    temporary = Path(tempfile.gettempdir(), f"transferkit-{os.getuid() if hasattr(os, 'getuid') else 'cache'}", address)
    return [
        *([keras / "models"] if keras and url.startswith(KERAS) else []),
        *([own / "transferkit" / "weights" / address] if own else []),
        temporary,
    ]


def values_folder() -> Path | None:
    """The default folder of stored values."""
    own = _user_cache()
    return own / "transferkit" / "values" if own else None


def _user_cache() -> Path | None:
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")


def local_path(path: str | os.PathLike[str]) -> Path:
    """A path that a user passed, with ``~`` expanded."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # Path.expanduser raises if there is no such user


def expanded(text: str) -> Path | None:
    """A path with ``~`` expanded; None if there is no such folder."""
    try:
        return Path(text).expanduser().absolute()
    except (OSError, RuntimeError, ValueError):  # no such user, no home, no current folder
        return None


def is_private(folder: Path) -> bool:
    """Whether nobody but this user (or the administrator) could have put a file there."""
    if not hasattr(os, "geteuid"):
        return True  # on Windows a profile is private by default
    for place in (folder, folder.parent):  # whoever may write to the parent can replace the folder
        status = place.stat()
        others = stat.S_IWOTH if status.st_gid == os.getegid() else stat.S_IWOTH | stat.S_IWGRP
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & others:
            return False
    return True


def make_private(folder: Path) -> None:
    """Make a folder and its missing parents, for this user only; existing folders do not change."""
    missing = [place for place in (folder, *folder.parents) if not place.is_dir()]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path for a new file that takes the place of `target` when the block ends.

    The new file is on the disk before it takes that place: a kill or a power cut at any moment leaves either the old
    file or the new one, complete. A link stays a link, and the mode of an existing file is kept.

    Raises:
        OSError: the folder cannot be written to, or `target` is a folder, a device or anything else but a file.
    """
    place = Path(os.path.realpath(target))
    # Replacing a folder fails later, with a message of its own.
    if place.exists() and not (place.is_file() or place.is_dir()):
        raise FileExistsError(errno.EEXIST, "It is not a regular file", str(place))
    prefix = f".transferkit-{zlib.crc32(os.fsencode(place.name)):08x}-"
    _remove_litter(place.parent, prefix)
    # In a private folder beside the file, so that the rename stays within one file system.
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place.parent) as folder:
        temporary = Path(folder, target.name)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if place.exists():
            shutil.copymode(place, temporary)
        temporary.replace(place)
        _flush_folder(place.parent)


def _remove_litter(folder: Path, prefix: str) -> None:
    """Remove what writers of the same file left behind when they were killed."""
    for old in folder.glob(f"{prefix}*"):
        with suppress(OSError):  # another process removes it, or it belongs to another user
            if max(path.lstat().st_mtime for path in (old, *old.iterdir())) < time.time() - LITTER_AGE:
                shutil.rmtree(old, ignore_errors=True)


def _flush_folder(folder: Path) -> None:
    """Flush the new name to the disk; some systems and network folders cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def replacing_all(target: Path) -> Iterator[Path]:
    """A private folder for a new file or folder `target.name` and files beside it; at the end, they move into place.

    The one of this name moves last. An existing folder is moved away first, so for a moment there is none. If a move
    fails, everything is put back.
    """
    prefix = f".transferkit-{zlib.crc32(os.fsencode(target.name)):08x}-"
    _remove_litter(target.parent, prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent) as temporary:
        folder = Path(temporary, "new")
        folder.mkdir()
        yield folder
        with ExitStack() as undo:
            for made in sorted(folder.iterdir(), key=lambda path: path.name == target.name):
                _put_in_place(made, target.with_name(made.name), Path(temporary, f"old-{made.name}"), undo)
            undo.pop_all()


def _put_in_place(made: Path, place: Path, old: Path, undo: ExitStack) -> None:
    """Move a file or folder to its place, and what is there to `old`; `undo` puts it back."""
    if place.is_dir():
        place.replace(old)
        undo.callback(old.replace, place)
    elif place.exists():
        shutil.copy2(place, old)  # a file is replaced in one step, so that there always is one
        undo.callback(old.replace, place)
    else:
        undo.callback(place.unlink, missing_ok=True)
    made.replace(place)
