"""List the image files in a folder on disk or at a URL, by class, and what was left out and why; nothing is decoded."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from .._common.remote import READERS, Location, Remote
from ..errors import InvalidInputError, some_of
from .labels import as_names

# Local paths are strings: there may be a million, and a Path takes four times the memory.
ImageFile: TypeAlias = "str | Remote"

# Pillow's format names -> the extensions of their files.
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
HEIC = rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)"  # the photos of iPhones; they cannot be decoded, but are named
IMAGE_START = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP|....ftyp(avif|avis)|" + HEIC, re.DOTALL
)
# Names that operating systems and tools leave behind, besides dot files.
SYSTEM_NAMES = {"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "@eadir"}
# The parent of train/ and test/ is refused, and so is that of seg_train/ and seg_test/, which are equal apart from these
# words; otherwise, these would become the classes.
TRAIN, OTHER_SPLIT = re.compile(r"train(ing)?"), re.compile(r"test(ing)?|val(id(ation)?)?|dev")
NO_PART_OF_A_NAME = re.compile(r"[^a-z0-9]|set")


@dataclass
class FileList:
    """The images under one folder, sorted by path, and what was left out.

    Attributes:
        not_regular: devices, pipes and broken links.
        unreadable: folders that cannot be listed, and why.
    """

    files: list[ImageFile] = field(default_factory=list)
    hidden: list[Location] = field(default_factory=list)
    not_images: list[Location] = field(default_factory=list)
    not_regular: list[Location] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    def note_unreadable(self, error: OSError) -> None:
        self.unreadable.append((Path(error.filename), error.strerror or str(error)))

    def refuse_unreadable(self) -> None:
        if self.unreadable:
            reasons = sorted({reason for _, reason in self.unreadable})
            raise InvalidInputError(
                f"The folder {some_of(str(folder) for folder, _ in self.unreadable)} cannot be read "
                f"({', '.join(reasons)}): every folder in the data must be readable. Change its permissions or move "
                f"it elsewhere."
            )


@dataclass(kw_only=True)
class ClassFolder(FileList):
    """The images of a folder with one folder per class; `labels` has the class of each file."""

    root: Location
    labels: list[str] = field(default_factory=list)
    empty_classes: list[str] = field(default_factory=list)
    beside_classes: list[Location] = field(default_factory=list)


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def list_files(folder: Location, lenient: bool = False) -> FileList:
    """List every image under `folder`, at any depth; links are followed, and each folder is entered once.

    The URL of a file stands for that one file.

    A name with an image extension counts as an image, even if it turns out not to be an image or not to be a file, so
    that the user hears of it. Other files count if they begin like an image.

    Raises:
        InvalidInputError: a folder cannot be listed; with `lenient`, it is recorded instead.
    """
    found = FileList()
    if isinstance(folder, Remote):
        below = list(_remote_files(folder, found))
        for (file, parts), is_image in zip(below, _are_images([file for file, _ in below]), strict=True):
            (found.files if is_image or not parts else found.not_images).append(file)
        return found
    found.files += _collect(folder, {os.path.realpath(folder)}, found)
    if not lenient:
        found.refuse_unreadable()
    return found


def list_class_folder(root: Location, lenient: bool = False, may_be_one: bool = False) -> ClassFolder:
    """List the images of a folder with one folder per class.

    Args:
        lenient: record folders in it that cannot be listed, instead of refusing them.
        may_be_one: images of a single class are enough, for a classifier that knows the others.

    Raises:
        InvalidInputError: the folder has another form or cannot be listed, a class folder's name is not a valid class
            name, or a folder in it cannot be listed; with `lenient`, the last is recorded instead.
    """
    found = ClassFolder(root=root)
    if isinstance(root, Remote):
        return _list_remote_classes(root, found, may_be_one)
    _, names, beside = next(_walk(root, found), (root, [], []))
    found.beside_classes = [*map(Path, beside)]
    class_of = dict(zip(names, as_names(names, f"class folder in {str(root)!r} named"), strict=True))
    real = [os.path.realpath(root / name) for name in names]
    times = Counter(real)
    if twice := [name for name, path in zip(names, real, strict=True) if times[path] > 1]:
        raise InvalidInputError(
            f"The class folders {some_of(twice)} in {str(root)!r} are the same folder: an image has one class. Remove the "
            f"links."
        )
    # A link inside one class to the root or to another class would give its images a second label.
    others = {os.path.realpath(root), *real}
    for name in names:
        files = _collect(root / name, set(others), found)
        found.files += files
        found.labels += [class_of[name]] * len(files)
    found.empty_classes = sorted(set(class_of.values()).difference(found.labels))
    if not (lenient and names):
        found.refuse_unreadable()
    _refuse_wrong_level(found, names, lambda name: next(_walk(root / name, FileList()), (root, [], []))[1], may_be_one)
    return found


def _list_remote_classes(root: Remote, found: ClassFolder, may_be_one: bool) -> ClassFolder:
    """Do the same at a URL, where the class of a file is the first part of its path."""
    below = list(_remote_files(root, found))
    names = sorted({parts[0] for _, parts in below if len(parts) > 1})
    class_of = dict(zip(names, as_names(names, f"class folder in {str(root)!r} named"), strict=True))
    found.beside_classes += [file for file, parts in below if len(parts) < 2]
    inside = [(file, parts) for file, parts in below if len(parts) > 1]
    for (file, parts), is_image in zip(inside, _are_images([file for file, _ in inside]), strict=True):
        if is_image:
            found.files.append(file)
            found.labels.append(class_of[parts[0]])
        else:
            found.not_images.append(file)
    found.empty_classes = sorted(set(class_of.values()).difference(found.labels))
    inner = {name: sorted({parts[1] for _, parts in below if parts[0] == name and len(parts) > 2}) for name in names}
    _refuse_wrong_level(found, names, inner.__getitem__, may_be_one)
    return found


def _remote_files(folder: Remote, found: FileList) -> Iterator[tuple[Remote, list[str]]]:
    """Each file under a URL, and the parts of its path in it (none for the URL of a file); hidden ones are recorded."""
    if folder.is_web:
        raise InvalidInputError(
            f"{str(folder)!r} cannot be listed, as web servers have no folders. Pass a list of URLs."
        )
    try:
        listed = folder.files()
    except OSError as error:
        raise InvalidInputError(f"The folder {str(folder)!r} cannot be listed ({error}). Check the URL.") from None
    if not listed:
        raise InvalidInputError(f"There is nothing at {str(folder)!r}. Check the URL.")
    for inner, file in listed:
        parts = inner.split("/") if inner else []
        if any(map(is_hidden, parts)):
            found.hidden.append(file)
        else:
            yield file, parts


def _collect(folder: Path, entered: set[str], found: FileList) -> list[str]:
    """Collect the images under `folder`, folder by folder; everything else is recorded in `found`.

    Folders whose real path is in `entered` are not entered again.
    """
    images: list[str] = []
    for parent, names, files in _walk(folder, found):
        real = {os.path.realpath(parent / name): name for name in names}
        names[:] = [name for path, name in real.items() if path not in entered]
        entered.update(real)
        for path in files:
            if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES or _starts_like_image(path):  # noqa: PTH122
                images.append(path)
            else:
                (found.not_images if os.path.isfile(path) else found.not_regular).append(Path(path))  # noqa: PTH113
    return sorted(images, key=lambda path: path.replace(os.sep, "\0"))  # as Path sorts: by folder name


def _walk(folder: Path, found: FileList) -> Iterator[tuple[Path, list[str], list[str]]]:
    """A sorted `os.walk`: each folder, the names of its subfolders, and its files; the rest is recorded in `found`.

    To skip a subfolder, the caller removes its name from the list.
    """
    for top, names, files in os.walk(folder, onerror=found.note_unreadable, followlinks=True):
        found.hidden += [Path(top, name) for name in sorted([*names, *files]) if is_hidden(name)]
        names[:] = sorted(name for name in names if not is_hidden(name))
        start = str(Path(top, "_"))[:-1]
        yield Path(top), names, [start + name for name in sorted(files) if not is_hidden(name)]


def _refuse_wrong_level(
    found: ClassFolder, names: Sequence[str], folders_in: Callable[[str], list[str]], may_be_one: bool
) -> None:
    """Refuse a folder without class folders, one around it, or one that holds several of them."""
    if not found.files:
        flat = [path for path in found.beside_classes if path.suffix.lower() in IMAGE_SUFFIXES]
        what = f"holds {len(flat)} images but no folder per class" if flat else "holds no images"
        raise InvalidInputError(
            f"The folder {str(found.root)!r} {what}: it must hold one folder per class with that class's images in it. "
            f"Pass such a folder, or a list of paths with labels."
        )
    if not may_be_one and len(names) == 1 and len(inner := folders_in(names[0])) > 1:
        raise InvalidInputError(
            f"The folder {str(found.root)!r} holds one folder, {names[0]!r}, which holds {some_of(inner)}: there must be one "
            f"folder per class. Pass {f'{found.root}/{names[0]}'!r}."
        )
    training, others = _without(TRAIN, names), _without(OTHER_SPLIT, names)
    for rest in sorted(training.keys() & others.keys()):
        if folders_in(training[rest]) and folders_in(others[rest]):
            splits = some_of(sorted([training[rest], others[rest]]))
            raise InvalidInputError(
                f"The folder {str(found.root)!r} holds {splits}, which are splits, not classes. Pass one of them, for "
                f"example {f'{found.root}/{training[rest]}'!r}."
            )


def _without(word: re.Pattern[str], names: Iterable[str]) -> dict[str, str]:
    """The rest of each name that holds the word -> the name."""
    found = {name: word.sub("", name.lower(), count=1) for name in names if word.search(name.lower())}
    return {NO_PART_OF_A_NAME.sub("", rest): name for name, rest in found.items()}


def _are_images(files: Sequence[Remote]) -> list[bool]:
    """Whether files at URLs are images, by their extension or else by their first bytes."""

    def is_image(file: Remote) -> bool:
        try:
            return file.suffix.lower() in IMAGE_SUFFIXES or IMAGE_START.match(file.read(12)) is not None
        except OSError:
            return True  # the user hears of it when it is read

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(is_image, files))


def _starts_like_image(path: str) -> bool:
    """Whether a regular file begins like an image; other files are not opened, since a pipe would block."""
    try:
        if not os.path.isfile(path):  # noqa: PTH113
            return False
        with open(path, "rb") as file:  # noqa: PTH123
            return IMAGE_START.match(file.read(12)) is not None
    except OSError:
        return False
