"""What the user hands over (folder, paths, arrays, DataFrame, dataset) -> images and labels.

All checks that need no decoding are made here, once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .arrays import image_content, image_contents
from .datasets import dataset_arrays, is_dataset, named_labels
from .errors import InvalidInputError, bad_argument, shown, some_of
from .folders import ClassFolder, list_class_folder, list_files
from .images import Content, ImageArrays, ImageFiles, Images, LabelledImages
from .labels import Codes, class_names, encode, label_array

__all__ = ["read_images", "read_labelled", "split_pair"]


def read_labelled(
    data: object,
    labels: object = None,
    classes: npt.NDArray[Any] | None = None,
    what: str = "data",
    empty_classes: bool = False,
    lenient: bool = False,
) -> LabelledImages:
    """Any form of labelled data -> `LabelledImages`.

    Args:
        data: a folder with one folder per class; paths, arrays, bytes of files or Pillow images with `labels`; a
            DataFrame with the columns ``path`` or ``image``, and ``label``; a batched dataset of ``(image, label)``.
        classes: the known classes; None = those of the data, sorted, two at least.
        what: how errors call this data.
        empty_classes: whether a folder may hold classes without images, and one file have two labels: the doctor lists
            them.
        lenient: let files that are missing, or no regular files, and folders that cannot be looked into pass: whoever
            reads the images names them.

    Raises:
        InvalidInputError: whatever is wrong, in one sentence.
    """
    if _is_frame(data):
        _no_labels(labels, "a DataFrame has its labels in the column 'label'")
        data, labels = _image_column(data), _column(data, "label")
    if is_dataset(data):
        _no_labels(labels, "a dataset brings its own labels")
        return _from_dataset(data, classes, what)
    if isinstance(data, (str, os.PathLike)):
        _no_labels(labels, "a folder's labels are the names of the folders in it")
        return _from_folder(_folder(_named_path(data), lenient), classes, what, empty_classes)
    if labels is None:
        raise InvalidInputError(
            f"The {what} came without labels: {_description(data)} must come with `labels`, one per image. "
            f"Pass labels=[...], or a folder with one folder per class."
        )
    data = _listed(data)
    if _are_paths(data):
        return _from_paths(data, labels, classes, what, lenient, empty_classes)
    contents = image_contents(data, what)
    return _from_contents(contents, label_array(labels, len(contents)), classes, None, what)


def read_images(images: object, lenient: bool = False) -> Images:
    """Any form of unlabelled images -> `Images`; one image becomes a sequence of one. `lenient` is that of `read_labelled`.

    Raises:
        InvalidInputError: a path that does not exist, or an array that is not an image.
    """
    if _is_frame(images):
        images = _image_column(images)
    if is_dataset(images):
        arrays, _ = dataset_arrays(images, labelled=False)
        return ImageArrays(arrays, tuple(range(len(arrays))))
    if isinstance(images, (str, os.PathLike)):
        path = _named_path(images)
        if path.is_dir():
            found = list_files(path, lenient)
            return ImageFiles(tuple(found.files), tuple(found.unreadable))
        return ImageFiles(_existing([path], lenient))
    images = _listed(images)
    if _are_paths(images):
        return ImageFiles(_existing(images, lenient))  # type: ignore[arg-type]
    contents = [image_content(images, "the image")] if _is_one(images) else image_contents(images, "array of images")
    return ImageArrays(contents, tuple(range(len(contents))))


def split_pair(value: object) -> tuple[object, object]:
    """`validation=` as data: a pair (data, labels), or anything that brings its labels along."""
    if isinstance(value, tuple) and len(value) == 2:
        return value
    return value, None


def _from_folder(
    found: ClassFolder, classes: npt.NDArray[Any] | None, what: str, empty_classes: bool
) -> LabelledImages:
    raw = np.array(found.labels)
    if classes is None:
        if found.empty_classes and not empty_classes:
            blocked = "".join(f" ({folder} cannot be read: {reason})" for folder, reason in found.left_out.unreadable)
            raise InvalidInputError(
                f"The class folder {some_of(found.empty_classes)} in {str(found.root)!r} holds no images{blocked}: every "
                f"class must have some. Add images to it, or remove the folder."
            )
        classes = class_names(np.array([*found.labels, *found.empty_classes]))
    elif classes.dtype.kind in "ib":  # folders are named in text, whatever the type of the classes
        spelled = {str(name): name for name in classes.tolist()}
        if set(found.labels) <= set(spelled):
            raw = np.array([spelled[label] for label in found.labels])
    names = tuple(os.fsdecode(os.fsencode(path.relative_to(found.root).as_posix())) for path in found.files)
    files = ImageFiles(tuple(found.files), tuple(found.left_out.unreadable))
    return LabelledImages(files, encode(raw, classes, what), classes, names, found)


def _from_paths(
    data: Any, labels: object, classes: npt.NDArray[Any] | None, what: str, lenient: bool, two_labels: bool
) -> LabelledImages:
    listed = list(data)
    raw = label_array(labels, len(listed))
    _not_empty(listed, what)
    paths = _existing(listed, lenient)
    classes = class_names(raw) if classes is None else classes
    codes = encode(raw, classes, what)
    if not two_labels:
        _refuse_two_labels(paths, codes, classes)
    return LabelledImages(ImageFiles(paths), codes, classes, tuple(map(str, paths)))


def _refuse_two_labels(paths: Sequence[Path], codes: Codes, classes: npt.NDArray[Any]) -> None:
    """One file cannot be of two classes."""
    first: dict[Path, int] = {}
    for path, code in zip(paths, codes.tolist(), strict=True):
        if first.setdefault(path, code) != code:
            both = some_of([classes[first[path]].item(), classes[code].item()])
            raise InvalidInputError(
                f"The file {str(path)!r} is listed with the labels {both}: an image has one class. Drop one of the two."
            )


def _from_contents(
    contents: Sequence[Content],
    raw: npt.NDArray[Any],
    classes: npt.NDArray[Any] | None,
    names: Sequence[str] | None,
    what: str,
) -> LabelledImages:
    _not_empty(contents, what)
    if names is not None:
        raw = named_labels(raw, names)
    if classes is None:
        classes = class_names(raw, names)
    count = len(contents)
    width = len(str(count))
    keys = tuple(f"{i:0{width}d}" for i in range(count))
    return LabelledImages(ImageArrays(contents, tuple(range(count))), encode(raw, classes, what), classes, keys)


def _from_dataset(data: Any, classes: npt.NDArray[Any] | None, what: str) -> LabelledImages:
    arrays, raw = dataset_arrays(data, labelled=True)
    return _from_contents(arrays, label_array(raw, len(arrays)), classes, getattr(data, "class_names", None), what)


def _named_path(path: str | os.PathLike[str]) -> Path:
    """A path; the empty text, which would mean the current folder, is most likely a variable that was not set."""
    if not os.fspath(path):
        raise InvalidInputError("The path is empty: it must name a file or a folder. Pass '.' for the current folder.")
    return Path(path)


def _folder(path: Path, lenient: bool) -> ClassFolder:
    if not path.exists():
        raise InvalidInputError(f"The folder {str(path)!r} does not exist: data must be there. Check the path.")
    if not path.is_dir():
        raise InvalidInputError(
            f"{str(path)!r} is a file: training data must be a folder with one folder per class. Pass the folder, or "
            f"a list of paths with labels."
        )
    return list_class_folder(path, lenient)


def _existing(paths: Iterable[Any], lenient: bool) -> tuple[Path, ...]:
    """Paths as `Path` objects, each of a regular file unless `lenient`."""
    given = list(paths)
    wrong = [
        f"{shown(path)} at {index}" for index, path in enumerate(given) if not isinstance(path, (str, os.PathLike))
    ]
    if wrong:
        raise InvalidInputError(
            f"The list of paths holds {', '.join(wrong[:5])}: a list must hold paths (text or Path) alone, or images alone. "
            f"Fill the gap, or split the list in two."
        )
    listed = tuple(Path(path) for path in given)
    if lenient:
        return listed
    missing = [str(path) for path in listed if not os.path.lexists(path)]
    if missing:
        raise InvalidInputError(f"There is no file {some_of(missing)}: every path must exist. Check the paths.")
    odd = [str(path) for path in listed if not _is_regular(path)]
    if odd:
        raise InvalidInputError(
            f"{some_of(odd)} is not a regular file: an image must be an ordinary file. Leave it out of the list."
        )
    return listed


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _column(frame: Any, name: str) -> list[Any]:
    if name not in frame.columns:
        raise InvalidInputError(
            f"The DataFrame has the columns {some_of(frame.columns)}: it must have 'path' and 'label', or 'image' in the "
            f"place of 'path'. Rename its columns."
        )
    return list(frame[name])


def _image_column(frame: Any) -> list[Any]:
    return _column(frame, "image" if "image" in frame.columns else "path")


def _no_labels(labels: object, rule: str) -> None:
    if labels is not None:
        raise bad_argument("labels", labels, f"must be left out: {rule}", "Drop the argument")


def _not_empty(items: Sequence[Any], what: str) -> None:
    if not len(items):
        raise InvalidInputError(f"The {what} holds no images: at least two are needed. Check what you pass.")


def _is_frame(data: object) -> bool:
    return type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns")


def _listed(data: Any) -> Any:
    """A pandas column, or an array of texts or objects, as a list; anything else as it is."""
    is_column = type(data).__module__.partition(".")[0] == "pandas"
    is_array = isinstance(data, np.ndarray) and data.ndim == 1 and data.dtype.kind in "UO"
    return list(data) if is_column or is_array else data


def _are_paths(data: object) -> bool:
    """Whether this is a list of paths: one tells; `_existing` names what is not one."""
    return isinstance(data, Sequence) and any(isinstance(item, (str, os.PathLike)) for item in data)


def _is_one(images: Any) -> bool:
    """Whether this is one image in memory, and not several."""
    if isinstance(images, (list, tuple)):
        return False
    return isinstance(images, (bytes, Image.Image)) or np.ndim(images) == 3


def _description(data: object) -> str:
    if isinstance(data, np.ndarray):
        return f"an array of shape {data.shape}"
    return f"a {type(data).__name__}"
