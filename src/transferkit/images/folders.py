"""A folder on disk -> the image files in it, by class, and what was left out and why. It decodes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError, some_of
from .labels import as_names

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
IMAGE_START = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP|....ftyp(avif|heic)", re.DOTALL
)
# Names that operating systems and tools leave behind, besides dot files.
SYSTEM_NAMES = {"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "@eadir"}
# The parent of train/ and test/ is refused: without this check, these would become the classes.
TRAIN_NAMES = {"train", "training", "training_set", "train_set"}
OTHER_SPLIT_NAMES = {"test", "testing", "test_set", "val", "valid", "validation", "validation_set"}


@dataclass
class FileList:
    """The images below one folder, sorted by path, and what was left out.

    Attributes:
        not_regular: devices, pipes and links that lead nowhere.
        unreadable: folders that cannot be listed, and why.
    """

    files: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    not_images: list[Path] = field(default_factory=list)
    not_regular: list[Path] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    def note_unreadable(self, error: OSError) -> None:
        self.unreadable.append((Path(error.filename), error.strerror or str(error)))

    def refuse_unreadable(self) -> None:
        if self.unreadable:
            reasons = sorted({reason for _, reason in self.unreadable})
            raise InvalidInputError(
                f"The folder {some_of(str(folder) for folder, _ in self.unreadable)} cannot be read "
                f"({', '.join(reasons)}): every folder below the data must be readable. Change its permissions or move "
                f"it elsewhere."
            )


@dataclass(kw_only=True)
class ClassFolder(FileList):
    """The images of a folder with one folder per class; `labels` has the class of each file."""

    root: Path
    labels: list[str] = field(default_factory=list)
    empty_classes: list[str] = field(default_factory=list)
    beside_classes: list[Path] = field(default_factory=list)

    def absolute(self) -> ClassFolder:
        """With absolute paths of all that was left out: they stay right when the working directory changes."""
        names = ("hidden", "not_images", "not_regular", "beside_classes")
        paths: dict[str, Any] = {name: [path.absolute() for path in getattr(self, name)] for name in names}
        return replace(self, unreadable=[(path.absolute(), reason) for path, reason in self.unreadable], **paths)


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def list_files(folder: Path, lenient: bool = False) -> FileList:
    """Every image below `folder`, at any depth; links are followed, each folder is entered once.

    A name with an image extension counts as an image, even if the content turns out not to be one, or not to be a
    file: the user should hear of it. Other files count if they begin like an image.

    Raises:
        InvalidInputError: a folder cannot be listed; with `lenient`, it is noted instead.
    """
    found = FileList()
    _collect(folder, {os.path.realpath(folder)}, found)
    found.files.sort()
    if not lenient:
        found.refuse_unreadable()
    return found


def list_class_folder(root: Path, lenient: bool = False) -> ClassFolder:
    """The images of a folder with one folder per class.

    Raises:
        InvalidInputError: the folder has another form, or cannot be listed, a class folder has a name that cannot be
            one of a class, or a folder in it cannot be listed; with `lenient`, the last is noted instead.
    """
    found = ClassFolder(root=root)
    names, found.beside_classes = next(_walk(root, found), (root, [], []))[1:]
    class_of = dict(zip(names, as_names(names, f"class folder in {str(root)!r} named"), strict=True))
    folders = [root / name for name in names]
    # A link inside one class to the root or to another class would give its images a second label.
    others = {os.path.realpath(folder) for folder in (root, *folders)}
    for folder in folders:
        _collect(folder, set(others), found)
    found.files.sort()
    found.labels = [class_of[path.parts[len(root.parts)]] for path in found.files]
    found.empty_classes = sorted(set(class_of.values()).difference(found.labels))
    if not (lenient and folders):
        found.refuse_unreadable()
    _refuse_wrong_level(found, folders)
    return found


def _collect(folder: Path, entered: set[str], found: FileList) -> None:
    """Add what is below `folder` to `found`; the folders in `entered`, by their real path, are not entered again."""
    for parent, names, files in _walk(folder, found):
        real = {os.path.realpath(parent / name): name for name in names}
        names[:] = [name for path, name in real.items() if path not in entered]
        entered.update(real)
        for path in files:
            if path.suffix.lower() in IMAGE_SUFFIXES or _starts_like_image(path):
                found.files.append(path)
            else:
                # Path.is_file would raise in a folder whose files may not be looked at.
                (found.not_images if os.path.isfile(path) else found.not_regular).append(path)  # noqa: PTH113


def _walk(folder: Path, found: FileList) -> Iterator[tuple[Path, list[str], list[Path]]]:
    """`os.walk`, sorted: each folder, the names of the folders in it, and its files; the rest is noted in `found`.

    The caller takes those names out of the list that are not to be entered.
    """
    for top, names, files in os.walk(folder, onerror=found.note_unreadable, followlinks=True):
        found.hidden += [Path(top, name) for name in sorted([*names, *files]) if is_hidden(name)]
        names[:] = sorted(name for name in names if not is_hidden(name))
        yield Path(top), names, sorted(Path(top, name) for name in files if not is_hidden(name))


def _refuse_wrong_level(found: ClassFolder, folders: list[Path]) -> None:
    if not found.files:
        flat = [path for path in found.beside_classes if path.suffix.lower() in IMAGE_SUFFIXES]
        what = f"holds {len(flat)} images but no folder per class" if flat else "holds no images"
        raise InvalidInputError(
            f"The folder {str(found.root)!r} {what}: it must hold one folder per class with that class's images in it. "
            f"Pass such a folder, or a list of paths with labels."
        )
    splits = {folder.name: folder for folder in folders if folder.name.lower() in TRAIN_NAMES | OTHER_SPLIT_NAMES}
    training = [name for name in splits if name.lower() in TRAIN_NAMES]
    nested = all(next(_walk(folder, FileList()), (folder, [], []))[1] for folder in splits.values())
    if 0 < len(training) < len(splits) and nested:
        raise InvalidInputError(
            f"The folder {str(found.root)!r} holds {some_of(splits)}, which are splits, not classes. Pass one of them, "
            f"for example {str(splits[training[0]])!r}."
        )


def _starts_like_image(path: Path) -> bool:
    """Whether a regular file begins like an image; no other file is opened, as a pipe would block."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return IMAGE_START.match(file.read(12)) is not None
    except OSError:
        return False
