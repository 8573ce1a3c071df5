"""Read the user's data (folder, paths, arrays, DataFrame, dataset) as images and labels, checked without decoding."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, MappingView, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._common.arguments import LabelKind
from .._common.remote import Location, Remote, located
from ..errors import InvalidInputError, TransferKitError, bad_argument, shown, some_of
from .arrays import checked_image, dataset_images, image_contents, is_dataset, named_labels
from .folders import ImageFile, list_class_folder, list_files
from .images import Content, Images, LabelledImages
from .label_sets import label_columns, label_sets
from .labels import class_names, encode, encode_sets, label_array

# Column names of a DataFrame, ignoring case; the first one present is used.
IMAGE_COLUMNS = ("path", "image", "file", "filename", "filepath")
LABEL_COLUMNS = ("label", "class", "target", "labels")
ONE_IMAGE = (bytes, bytearray, memoryview, Image.Image)


def read_labelled(
    data: object,
    labels: object = None,
    classes: npt.NDArray[Any] | None = None,
    what: str = "data",
    empty_classes: bool = False,
    lenient: bool = False,
    kind: LabelKind = "single",
) -> LabelledImages:
    """Read any form of labelled data.

    Args:
        data: a folder with one folder per class; paths, URLs, arrays, bytes of files or Pillow images with `labels`;
            a DataFrame with one of `IMAGE_COLUMNS` and one of `LABEL_COLUMNS`, or a column of 0 and 1 for each class; a
            batched dataset of ``(image, label)``.
        classes: the known classes; None = the classes of the data, sorted, at least two.
        what: what error messages call this data.
        empty_classes: allow class folders without images, and files with two labels, which the data check reports.
        lenient: allow files that are missing or not regular, and folders that cannot be listed; they are reported when
            the images are read.
        kind: whether an image has one label or several; ``"auto"`` = find out.

    Raises:
        InvalidInputError: the data breaks a rule.
    """
    data, labels = _unpaired(data, labels)
    if isinstance(data, (str, os.PathLike)):
        path = named_path(data)
        if isinstance(path, Path):
            _check_folder(path, what)
        if kind == "multiple":
            raise InvalidInputError(
                f"The {what} is a folder, whose images have one label each: there must be a list of labels per image. Pass "
                f"the paths of the images and their labels."
            )
        _no_labels(labels, "a folder's labels are the names of the folders in it")
        return _from_folder(path, classes, what, empty_classes, lenient)
    _check_type(data, what)
    images, labels, names = _images_and_labels(data, labels, what)
    rows = label_sets(labels, len(images), kind, names is not None)
    flat = [label for row in rows or () for label in row]
    raw = label_array(labels, len(images)) if rows is None else label_array(flat, len(flat))
    if not len(images):
        raise InvalidInputError(f"The {what} holds no images: at least one is needed. Check what you pass.")
    if names is not None and len(raw):
        raw = named_labels(raw, names)
    if classes is not None and rows is not None and names is not None:
        _refuse_missing_columns(classes, names, what)
    if classes is None and names is not None and rows is None and not empty_classes:
        _refuse_empty_classes(raw, names)
    classes = class_names(raw, names) if classes is None else classes
    codes = encode(raw, classes, what) if rows is None else encode_sets(rows, raw, classes, what)
    labelled = LabelledImages(images, codes, classes)
    if paths := list(images.files):
        _check_files(paths, lenient)
        if not empty_classes:
            _refuse_two_labels(paths, labelled)
    return labelled


def _unpaired(data: Any, labels: object) -> tuple[Any, object]:
    """Data and labels, also from a pair (images, labels), the form of `validation`; two images are not a pair."""
    if not isinstance(data, tuple) or len(data) != 2 or labels is not None:
        return data, labels
    one = str, os.PathLike, *ONE_IMAGE, type(None)
    return (data, labels) if any(isinstance(part, one) for part in data) else data


def _images_and_labels(data: Any, labels: object, what: str) -> tuple[Images, object, Sequence[str] | None]:
    """The images and labels of data that is not a folder, and the class names, if the data states them."""
    if is_dataset(data):
        _no_labels(labels, "a dataset contains its labels")
        found, labels = dataset_images(data, labelled=True)
        return Images(found), labels, _class_names_of(data)
    names = None
    if _is_frame(data) and labels is not None and not _names_of(data).keys() & set(LABEL_COLUMNS):
        data = _column(data, IMAGE_COLUMNS)
    if _is_frame(data):
        _no_labels(labels, "a DataFrame has its labels in the column 'label'")
        data, labels, names = _labelled_columns(data)
    elif _is_frame(labels) and _is_pandas(labels):
        rule = "labels in a DataFrame must be one column, or a column of 0 and 1 for each class"
        labels, names = label_columns(labels, rule) or (labels, None)
    images = _sequence([data] if isinstance(data, ONE_IMAGE) else data, what)
    if labels is None and len(images):
        form = f"an array of shape {data.shape}" if isinstance(data, np.ndarray) else f"a {type(data).__name__}"
        raise InvalidInputError(
            f"The {what} has no labels: {form} must come with `labels`, one per image. "
            f"Pass labels=[...], or a folder with one folder per class."
        )
    return images, [] if labels is None else labels, names


def _class_names_of(data: Any) -> list[str] | None:
    """The names that Keras, or the user, has given a dataset, as text."""
    names = getattr(data, "class_names", None)
    if names is None:
        return None
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _refuse_empty_classes(labels: npt.NDArray[Any], names: Sequence[str]) -> None:
    """Refuse a class that a table or a dataset names and no image has, as `_from_folder` does."""
    if empty := sorted(set(names).difference(labels.tolist())):
        raise InvalidInputError(
            f"The class {some_of(empty)} has no images: every class must have some. Drop its column, or its name from "
            f"`class_names`, or add images."
        )


def _refuse_missing_columns(classes: npt.NDArray[Any], names: Sequence[str], what: str) -> None:
    """Require a column for each class: in a table of several labels, a missing one does not mean that no image has it."""
    if lacking := [str(name) for name in classes.tolist() if str(name) not in set(map(str, names))]:
        raise InvalidInputError(
            f"The {what} has no column for the class {some_of(lacking)}: a table needs a column of 0 and 1 for each class. "
            f"Add it, or pass a list of names for each image."
        )


def read_images(images: object, lenient: bool = False) -> Images:
    """Read unlabelled images from any of these forms; one image becomes a sequence of one.

    Args:
        lenient: as for `read_labelled`.

    Raises:
        InvalidInputError: a path does not exist, or an array is not an image.
    """
    images = _unwrapped(images)
    if isinstance(images, (str, os.PathLike)):
        path = named_path(images)
        if path.is_dir() if isinstance(path, Path) else not path.is_web:
            listed = list_files(path, lenient)
            return Images(listed.files, left_out=tuple(listed.unreadable))
        images = [images]
    _check_type(images, "data")
    if is_dataset(images):
        return Images(dataset_images(images, labelled=False)[0])
    if _is_frame(images):
        images = _column(images, IMAGE_COLUMNS)
    is_one = isinstance(images, ONE_IMAGE) or (not isinstance(images, (list, tuple)) and np.asarray(images).ndim == 3)
    found = _sequence([images], "image") if is_one else _sequence(images, "array of images")
    _check_files(list(found.files), lenient)
    return found


def read_each(items: Iterable[object]) -> tuple[Images, dict[int, str]]:
    """Read one image from each item, and the faults by position; an item that is not an image becomes an empty file."""
    sources: list[ImageFile | Content] = []
    faults: dict[int, str] = {}
    for index, item in enumerate(items):
        found = _unwrapped(item)
        try:
            sources.append(_file(found) if _is_path(found) else checked_image(found, "the image"))
        except (TransferKitError, ValueError, TypeError) as error:  # NumPy cannot convert it
            sources.append(b"")
            faults[index] = str(error)
    return Images(sources), faults


def split_pair(value: object) -> tuple[object, object]:
    """Split `validation=` into data and labels: a pair, or any form that contains its labels."""
    return tuple(value) if isinstance(value, (tuple, list)) and len(value) == 2 else (value, None)


def _check_folder(path: Path, what: str) -> None:
    if not path.exists():
        hint = " A URL must be text, not a Path." if re.match(r"\w{2,}:[/\\]\w", str(path)) else ""
        raise InvalidInputError(f"The folder {str(path)!r} does not exist. Check the path.{hint}")
    if not path.is_dir():
        raise InvalidInputError(
            f"{str(path)!r} is a file: the {what} must be a folder with one folder per class. Pass the folder, a list of "
            f"paths with labels, or for a table the result of pandas.read_csv."
        )


def _from_folder(
    path: Location, classes: npt.NDArray[Any] | None, what: str, empty_classes: bool, lenient: bool
) -> LabelledImages:
    found = list_class_folder(path, lenient, may_be_one=classes is not None)
    raw = np.array(found.labels)
    if classes is None:
        if found.empty_classes and not empty_classes:
            blocked = "".join(f" ({folder} cannot be read: {reason})" for folder, reason in found.unreadable)
            raise InvalidInputError(
                f"The class folder {some_of(found.empty_classes)} in {str(found.root)!r} holds no images{blocked}: every "
                f"class must have some. Add images to it, or remove the folder."
            )
        classes = class_names(np.array([*found.labels, *found.empty_classes]))
    spelled = {str(name): name for name in classes.tolist()}
    if set(found.labels) <= set(spelled):  # folder names are text, the classes may be of another type
        raw = np.array([spelled[label] for label in found.labels])
    files = Images(found.files, left_out=tuple(found.unreadable))
    return LabelledImages(files, encode(raw, classes, what), classes, found)


def named_path(path: Any) -> Location:
    """A path that a user passed; an empty one, which would mean the current folder, is probably an unset variable."""
    if not os.fspath(path):
        raise InvalidInputError("The path is empty: it must name a file or a folder. Pass '.' for the current folder.")
    return located(path)


def _file(path: Any) -> ImageFile:
    found = named_path(path)
    return found if isinstance(found, Remote) else str(found)


def _is_path(item: object) -> bool:
    return isinstance(item, (str, os.PathLike))


def _unwrapped(item: Any) -> Any:
    """The bytes or the path in a dict of both, as in Hugging Face datasets of encoded images; else the item."""
    if not isinstance(item, Mapping) or not item.keys() & {"bytes", "path"}:
        return item
    return item.get("path") if item.get("bytes") is None else item["bytes"]


def _check_type(data: object, what: str) -> None:
    """Refuse data that cannot be read again in the same order, and other libraries' datasets and generators."""
    forms = "a folder, a list of paths or images, an array, a pandas DataFrame or a batched tf.data.Dataset"
    if data is None:
        raise InvalidInputError(f"The {what} is None: images must be given. Pass {forms}.")
    name = type(data).__name__
    if hasattr(data, "read"):
        raise InvalidInputError(f"The {what} is an open file: its content is needed. Pass file.read().")
    if isinstance(data, (Set, MappingView)) or (isinstance(data, Iterator) and not hasattr(data, "__getitem__")):
        raise InvalidInputError(
            f"The {what} has the type {name}: images must be in a list, in a fixed order. Pass a list of them."
        )
    if not (
        isinstance(data, (Sequence, Image.Image)) or hasattr(data, "__array__") or is_dataset(data) or _is_frame(data)
    ):
        raise InvalidInputError(f"The {what} has the type {name}: it must be {forms}. Convert it.")


def _sequence(data: Any, what: str) -> Images:
    """Paths, or images in memory, as `Images`; the files are not checked yet."""
    if _is_pandas(data) or (isinstance(data, np.ndarray) and data.ndim == 1 and data.dtype.kind in "UO"):
        data = list(data)
    if isinstance(data, Sequence) and any(isinstance(item, Mapping) for item in data):
        data = list(map(_unwrapped, data))
    if not isinstance(data, Sequence) or not any(map(_is_path, data)):
        return Images(image_contents(data, what))
    wrong = [f"{shown(item)} at {at}" for at, item in enumerate(data) if not _is_path(item)]
    if wrong:
        raise InvalidInputError(
            f"The list of paths holds {', '.join(wrong[:5])}: a list must hold only paths (text or Path) or only "
            f"images. Complete the list, or split it in two."
        )
    return Images([_file(item) for item in data])


def _check_files(files: Iterable[ImageFile], lenient: bool) -> None:
    """Check that local files exist; checking each one at a URL would take as long as reading it."""
    if lenient:
        return
    paths = [file for file in files if isinstance(file, str)]
    missing = [path for path in paths if not os.path.lexists(path)]
    if missing:
        remedy = "Pass the folder, or glob.glob(pattern)" if "*" in missing[0] else "Check the paths"
        raise InvalidInputError(f"There is no file {some_of(missing)}: every path must exist. {remedy}.")
    odd = [path for path in paths if not os.path.isfile(path)]  # noqa: PTH113  # Path.is_file may raise
    if odd and os.path.isdir(odd[0]):  # noqa: PTH112
        raise InvalidInputError(
            f"{odd[0]!r} is a folder, not a regular file. Leave it out of the list, or pass it alone, without a list."
        )
    if odd:
        raise InvalidInputError(f"{some_of(odd)} is not a regular file. Leave it out of the list.")


def _refuse_two_labels(paths: Sequence[ImageFile], images: LabelledImages) -> None:
    first: dict[ImageFile, Any] = {}
    twice: dict[ImageFile, Any] = {}
    rule = "an image has one class" if images.kind == "single" else "all labels of an image are in one list"
    for index, path in enumerate(paths):
        label = images.label(index)
        if first.setdefault(path, label) != label:
            twice.setdefault(path, label)
    if twice:
        listed = [f"{str(path)!r} with {some_of([first[path], label])}" for path, label in list(twice.items())[:5]]
        more = f" and {len(twice) - 5:,} more" if len(twice) > 5 else ""
        raise InvalidInputError(
            f"{len(twice):,} {'file is' if len(twice) == 1 else 'files are'} listed with two labels "
            f"({'; '.join(listed)}{more}): {rule}. Drop one of the two."
        )


def _labelled_columns(frame: Any) -> tuple[list[Any], Any, Sequence[str] | None]:
    """Images, labels and class names of a table with a label column, or with a column of 0 and 1 for each class."""
    images = _column(frame, IMAGE_COLUMNS)
    if _is_pandas(frame):
        spelled = {str(column).lower(): column for column in frame.columns}
        own = next(spelled[name] for name in IMAGE_COLUMNS if name in spelled)
        others = frame.drop(columns=own)
        ones = others.isin([0, 1])
        if not spelled.keys() & set(LABEL_COLUMNS) and (ones.any() & (ones | others.isna()).all()).any():
            rule = f"beside {own!r} there must be a column called 'label', or a column of 0 and 1 for each class"
            if found := label_columns(others, rule):
                return images, *found
    return images, _column(frame, LABEL_COLUMNS), _class_names(frame)


def _column(frame: Any, names: tuple[str, ...]) -> list[Any]:
    """The first column with one of these names, ignoring case."""
    present = _names_of(frame)
    for name in names:
        if name in present:
            column = frame[present[name]]
            if getattr(column, "ndim", 1) > 1:
                raise InvalidInputError(
                    f"The data has several columns called {name!r}: there must be one. Rename the others."
                )
            return list(column)
    raise InvalidInputError(
        f"The data has the columns {some_of(present.values())}: one of them must be called {some_of(names)}. Rename its "
        f"columns."
    )


def _names_of(frame: Any) -> dict[str, Any]:
    """The names of the columns, by themselves in lower case."""
    return {str(column).lower(): column for column in getattr(frame, "column_names", None) or frame.columns}


def _no_labels(labels: object, rule: str) -> None:
    if labels is not None:
        raise bad_argument("labels", labels, f"must be left out: {rule}", "Drop the argument")


def _is_pandas(data: object) -> bool:
    return type(data).__module__.partition(".")[0] == "pandas"


def _is_frame(data: object) -> bool:
    """Whether this is a pandas DataFrame or a Hugging Face `Dataset` (not a `DatasetDict`)."""
    return (_is_pandas(data) and hasattr(data, "columns")) or (
        hasattr(data, "column_names") and hasattr(data, "features") and not isinstance(data, Mapping)
    )


def _class_names(frame: Any) -> Sequence[str] | None:
    """The names of the numbers in the label column, if a Hugging Face `Dataset` states them."""
    features = getattr(frame, "features", None)
    label = next((features[name] for name in LABEL_COLUMNS if name in features), None) if features else None
    return getattr(getattr(label, "feature", label), "names", None)  # a sequence feature wraps the one of its items
