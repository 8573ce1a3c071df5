"""Where a classifier is written to and read from: a path, a URL, or an open binary file."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from .._common.arguments import check_parent
from .._common.files import replacing
from .._common.remote import Location, Remote, located
from ..errors import BundleError, bad_argument, shown_url

Place: TypeAlias = str | os.PathLike[str] | BinaryIO


def check_target(place: object) -> Location | BinaryIO:
    """A path that ends in ``.keras``, in an existing folder; such a URL; or a binary file that is open for writing."""
    if _is_file(place, "write"):
        return _checked_file(place, "writable", "wb")
    target = _as_path(place)
    if target.suffix != ".keras":
        better = str(target).removesuffix(target.suffix) + ".keras"
        raise bad_argument("path", str(target), "must end in .keras", f"Pass {better!r}")
    if isinstance(target, Remote):
        return target
    check_parent("path", target)
    if target.is_dir():
        raise bad_argument("path", str(target), "is a folder: save writes a file", "Choose another name")
    return target


@contextmanager
def writing(target: Location | BinaryIO) -> Iterator[Path]:
    """A path for a new file, which takes the place of `target`, or is written to it, when the block ends.

    Raises:
        BundleError: it cannot be written.
    """
    try:
        if isinstance(target, Path):
            with replacing(target) as temporary:
                yield temporary
        else:
            with tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
                yield (temporary := Path(folder, "classifier.keras"))
                if isinstance(target, Remote):
                    target.write(temporary)
                    return
                with temporary.open("rb") as file:
                    while piece := file.read(2**20):
                        _write_all(target, piece)
                getattr(target, "flush", lambda: None)()
    except OSError as error:
        raise BundleError(
            f"The classifier could not be written to {shown_place(target)} ({error.strerror or error}): save needs a "
            f"place that you can write to, on a disk with room for the file. Make room, or pass another path."
        ) from error


def _write_all(target: BinaryIO, piece: bytes) -> None:
    """An unbuffered file may write less than it is given."""
    rest = memoryview(piece)
    while rest:
        count = target.write(rest)
        rest = rest[len(rest) if count is None else count :]


@contextmanager
def opened(place: object) -> Iterator[BinaryIO]:
    """The file, open at its start; for an open binary file, what follows its current position.

    Raises:
        BundleError: there is no such file, or it cannot be read.
    """
    source = _checked_file(place, "readable", "rb") if _is_file(place, "read") else _as_path(place)
    try:
        # A pipe would block. Path.is_file raises for a name that is too long.
        if isinstance(source, Path) and not os.path.isfile(source):  # noqa: PTH113
            raise FileNotFoundError(source)
        if isinstance(source, Remote):
            file: BinaryIO = io.BytesIO(source.read())
        else:
            file = source.open("rb") if isinstance(source, Path) else _copied(source)
    except FileNotFoundError as error:
        shown = shown_place(place)
        is_folder = isinstance(source, Path) and os.path.isdir(source)  # noqa: PTH112
        fault = f"{shown} is a folder" if is_folder else f"There is no file {shown}"
        raise BundleError(
            f"{fault}: load needs the file of a classifier, as save writes it. Check the path."
        ) from error
    except OSError as error:
        raise BundleError(
            f"{shown_place(place)} cannot be read ({error.strerror or error}): load needs a file that you may read. "
            f"Change its permissions, or pass another path."
        ) from error
    with file:
        yield file


def _copied(source: BinaryIO) -> BinaryIO:
    """A private copy of the rest of a file or stream, which nobody else can change."""
    copy: Any = tempfile.TemporaryFile(prefix="transferkit-")  # noqa: SIM115  # the caller closes it
    try:
        shutil.copyfileobj(source, copy)
        if not copy.tell():
            raise bad_argument("path", source, "has no bytes left to read", "Call its seek(0) first")
    except BaseException:
        copy.close()
        raise
    file: BinaryIO = copy
    return file


def shown_place(place: object) -> str:
    """How messages name a file."""
    if isinstance(place, (str, os.PathLike, Remote)):
        return repr(shown_url(str(place)))
    name = getattr(place, "name", None)
    return repr(name) if isinstance(name, str) else f"the {type(place).__name__}"


def _as_path(place: object) -> Location:
    if not isinstance(place, (str, os.PathLike)):
        raise bad_argument("path", place, "must be a path or an open binary file", "Pass for example 'pets.keras'")
    return located(place)


def _is_file(place: object, verb: str) -> bool:
    return hasattr(place, verb) and not isinstance(place, (str, os.PathLike))


def _checked_file(place: Any, ability: str, mode: str) -> BinaryIO:
    """An open file that reads or writes bytes."""
    is_closed, is_text = getattr(place, "closed", False), isinstance(place, io.TextIOBase)
    if is_closed or is_text or not getattr(place, ability, lambda: True)():
        raise bad_argument("path", place, f"is closed, open as text or not {ability}", f"Open it with mode {mode!r}")
    file: BinaryIO = place
    return file
