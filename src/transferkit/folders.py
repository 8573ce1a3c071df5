"""A folder on disk -> the image files in it, by class, and what was left out and why.

Knows names, sizes and first bytes of files; decodes nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from .errors import InvalidInputError, some_of

__all__ = ["EXTENSIONS", "ClassFolder", "FileList", "list_class_folder", "list_files"]

# Pillow's names of the formats -> the extensions that their files have.
EXTENSIONS: dict[str, frozenset[str]] = {
    "JPEG": frozenset([".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"]),
    "PNG": frozenset([".png"]),
    "GIF": frozenset([".gif"]),
    "BMP": frozenset([".bmp", ".dib"]),
    "WEBP": frozenset([".webp"]),
    "TIFF": frozenset([".tif", ".tiff"]),
    "AVIF": frozenset([".avif"]),
    "ICO": frozenset([".ico"]),
    "JPEG2000": frozenset([".jp2", ".j2k"]),
    "PPM": frozenset([".ppm", ".pgm", ".pbm", ".pnm"]),
}
IMAGE_SUFFIXES = frozenset().union(*EXTENSIONS.values())
# Names that operating systems and tools leave behind; a dot file is hidden already.
SYSTEM_NAMES = frozenset(
    {"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "@eadir"}
)
# Someone points at the parent of train/ and test/: without this check, those would become the classes.
TRAIN_NAMES = frozenset({"train", "training", "training_set", "train_set"})
OTHER_SPLIT_NAMES = frozenset({"test", "testing", "test_set", "val", "valid", "validation", "validation_set"})


@dataclass
class FileList:
    """The images below one folder, sorted by relative path, and what was left out.

    Attributes:
        unreadable: folders that cannot be looked into, and why.
    """

    files: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    not_images: list[Path] = field(default_factory=list)
    not_regular: list[Path] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


@dataclass
class ClassFolder:
    """A folder with one folder per class."""

    root: Path
    files: list[Path]
    labels: list[str]
    empty_classes: list[str]
    beside_classes: list[Path]
    left_out: FileList

    def absolute(self) -> ClassFolder:
        """What was left out, by names that stay right wherever the process goes later."""
        out = self.left_out
        left_out = FileList(
            hidden=[path.absolute() for path in out.hidden],
            not_images=[path.absolute() for path in out.not_images],
            not_regular=[path.absolute() for path in out.not_regular],
            unreadable=[(path.absolute(), reason) for path, reason in out.unreadable],
        )
        return replace(self, left_out=left_out, beside_classes=[path.absolute() for path in self.beside_classes])


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is the system's rather than the user's."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def list_files(folder: Path, lenient: bool = False) -> FileList:
    """Every image below `folder`, however deep; links are followed, each folder is entered once.

    A name with an image extension counts as an image, whatever it is: if it turns out not to be one, or no file at
    all, the user wants to hear of it. Other files count if their first bytes are an image's.

    Raises:
        InvalidInputError: a folder cannot be looked into; not if `lenient`, which notes it.
    """
    found = _list_files(folder, set())
    if not lenient:
        _refuse_unreadable(found.unreadable)
    return found


def _list_files(folder: Path, entered: set[tuple[int, int]]) -> FileList:
    """`entered` are folders not to enter (again), by device and number."""
    found = FileList()
    for path, mode in _walk(folder, found, entered):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            found.files.append(path)
        elif not stat.S_ISREG(mode):
            found.not_regular.append(path)
        elif _starts_like_image(path):
            found.files.append(path)
        else:
            found.not_images.append(path)
    return found


def list_class_folder(root: Path, lenient: bool = False) -> ClassFolder:
    """The images of a folder with one folder per class.

    Raises:
        InvalidInputError: it is not one, or a folder in it cannot be looked into; not the latter if `lenient`.
    """
    beside: list[Path] = []
    folders: list[Path] = []
    hidden: list[Path] = []
    for entry in _entries_of_root(root):
        if is_hidden(entry.name):
            hidden.append(entry)
        else:
            (folders if entry.is_dir() else beside).append(entry)
    result = ClassFolder(root, [], [], [], beside, FileList(hidden=hidden))
    # A link inside one class to the root or to another class would give its images a second label.
    others = {_identity(folder) for folder in (root, *folders)}
    for folder in folders:
        found = _list_files(folder, others - {_identity(folder)})
        result.files += found.files
        result.labels += [folder.name] * len(found.files)
        if not found.files:
            result.empty_classes.append(folder.name)
        for name in ("hidden", "not_images", "not_regular", "unreadable"):
            getattr(result.left_out, name).extend(getattr(found, name))
    if not lenient:
        _refuse_unreadable(result.left_out.unreadable)
    _refuse_wrong_level(root, folders, beside, result)
    return result


def _entries_of_root(root: Path) -> list[Path]:
    try:
        return _entries(root)
    except OSError as error:
        _refuse_unreadable([(root, error.strerror or str(error))])
        raise


def _refuse_unreadable(folders: list[tuple[Path, str]]) -> None:
    if folders:
        reasons = sorted({reason for _, reason in folders})
        raise InvalidInputError(
            f"The folder {some_of(str(folder) for folder, _ in folders)} cannot be read ({', '.join(reasons)}): every "
            f"folder below the data must be readable. Change its permissions or move it away."
        )


def _refuse_wrong_level(root: Path, folders: list[Path], beside: list[Path], found: ClassFolder) -> None:
    if not found.files:
        flat = [p for p in beside if p.suffix.lower() in IMAGE_SUFFIXES]
        what = f"holds {len(flat)} images but no folder per class" if flat else "holds no images"
        raise InvalidInputError(
            f"The folder {str(root)!r} {what}: it must hold one folder per class with that class's images in it. "
            f"Pass such a folder, or a list of paths with labels."
        )
    splits = [folder for folder in folders if folder.name.lower() in TRAIN_NAMES | OTHER_SPLIT_NAMES]
    names = {folder.name.lower() for folder in splits}
    nested = all(_holds_folders(folder) for folder in splits)
    if names & TRAIN_NAMES and names & OTHER_SPLIT_NAMES and nested:
        training = next(folder for folder in splits if folder.name.lower() in TRAIN_NAMES)
        raise InvalidInputError(
            f"The folder {str(root)!r} holds {some_of(folder.name for folder in splits)}, which are splits and not "
            f"classes. Pass one of them, for example {str(training)!r}."
        )


def _holds_folders(folder: Path) -> bool:
    try:
        return any(entry.is_dir() and not is_hidden(entry.name) for entry in _entries(folder))
    except OSError:
        return False


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, in an order that does not depend on the file system."""
    return sorted(folder.iterdir(), key=lambda p: os.fsencode(p.name))


def _walk(folder: Path, found: FileList, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, int]]:
    """(path, mode) of every visible file below `folder`; hidden files are noted in `found`."""
    if _identity(folder) in seen:
        return
    seen.add(_identity(folder))
    try:
        entries = _entries(folder)
    except OSError as error:
        found.unreadable.append((folder, error.strerror or str(error)))
        return
    for path in entries:
        if is_hidden(path.name):
            found.hidden.append(path)
            continue
        try:
            mode = path.stat().st_mode
        except OSError:  # a link that leads nowhere
            mode = 0
        if stat.S_ISDIR(mode):
            yield from _walk(path, found, seen)
        else:
            yield path, mode


def _identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from others, whatever links lead to it."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _starts_like_image(path: Path) -> bool:
    """Whether a file without an image's extension is an image all the same, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or head[4:12] in (b"ftypavif", b"ftypheic")
    )
