"""Convert the user's labels to class codes 0..n-1, and to class names of the same type (str, int or bool)."""

from __future__ import annotations

import difflib
import math
import numbers
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInputError, bad_argument, shown, some_of

Codes = npt.NDArray[np.int64]  # class positions `(n,)`; with several labels per image, `(n, n_classes)` of 0 and 1
ClassWeight: TypeAlias = Literal["balanced"] | Mapping[Any, float] | None
LIST = re.compile(r"""\[\]|\(\)|\[\s*(['"]).*\1\s*\]|\(\s*(['"]).*\2\s*,?\s*\)""", re.DOTALL)  # as `repr` writes it
KINDS = {"U": "text", "i": "whole numbers", "b": "booleans"}


def label_array(labels: object, count: int) -> npt.NDArray[Any]:
    """Convert labels to an array `(count,)` of str, int64 or bool; one-hot rows become their index.

    Raises:
        InvalidInputError: another length, mixed types, missing values, or fractions.
    """
    array = _as_array(labels)
    if array is None or array.ndim == 0:
        raise bad_argument("labels", labels, "must hold one label per image", "Pass a list or an array of labels")
    if array.shape[0] != count:
        raise InvalidInputError(
            f"{array.shape[0]} labels were given for {count} images: there must be one label per image, in the same "
            f"order. Check the two lists."
        )
    typed = _typed(_flat(array))
    if typed.dtype.kind == "U" and (lists := [text for text in typed.tolist() if LIST.fullmatch(text)]):
        raise InvalidInputError(
            f"The label {shown(lists[0])} is the text of a list, as a CSV file holds it: several labels per image must be "
            f"lists. Convert the column, for example with .map(ast.literal_eval)."
        )
    return np.array(as_names(typed.tolist(), "label"), str) if typed.dtype.kind == "U" else typed


def as_names(texts: Sequence[str], what: str) -> list[str]:
    """Bring class names into one Unicode form: an accent is part of its letter on Linux, but may follow it on macOS.

    Raises:
        InvalidInputError: a name is blank, is not UTF-8, or contains a line break.
    """
    names = {text: unicodedata.normalize("NFC", text) for text in dict.fromkeys(texts)}
    for text in names:
        is_utf8 = text == text.encode(errors="ignore").decode()
        fault = "" if is_utf8 else "is not UTF-8"
        fault = fault or ("" if text.strip() else "is blank")
        fault = fault or ("" if "".join(text.splitlines()) == text else "holds a line break")
        if fault:
            raise InvalidInputError(
                f"The {what} {shown(text)} {fault}: class names must be one line of text. Rename it."
            )
    return [names[text] for text in texts]


def _as_array(labels: object) -> npt.NDArray[Any] | None:
    """Make an array that keeps the labels' types; NumPy would turn ``["cat", 1]`` and missing labels into text."""
    try:
        array = np.asarray(labels)
    except ValueError:  # rows of different lengths
        return None
    mixed = isinstance(labels, Sequence) and array.ndim == 1 and len({type(label) for label in labels}) > 1
    return np.array(labels, dtype=object) if mixed else array


def _flat(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 1:
        return array
    one_in_each_row = array.ndim == 2 and array.dtype.kind in "biuf" and ((array != 0).sum(axis=1) == 1).all()
    if not one_in_each_row or not (array.sum(axis=1) == 1).all():
        raise InvalidInputError(
            f"The labels have the shape {array.shape}: they must be one label per image, or one-hot rows with a "
            f"single 1. Pass an array of shape ({array.shape[0]},)."
        )
    return np.asarray(array.argmax(axis=1))


def _typed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert an array to str, int64 or bool; refuse anything else, with the reason."""
    for at, label in enumerate(array if array.dtype.kind in "ufO" else ()):
        value = label.item() if isinstance(label, np.generic) else label
        if isinstance(value, (int, float)) and abs(value) < math.inf and not -(2**63) <= value < 2**63:
            raise InvalidInputError(
                f"The label at {at} is {shown(value)}: whole numbers must lie between -2**63 and 2**63 - 1. Write such "
                f"labels as text."
            )
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind in "Ub":
        return array
    values = [v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v for v in array]
    missing = [i for i, value in enumerate(values) if _is_missing(value)]
    if missing:
        raise InvalidInputError(
            f"The labels at {some_of(missing)} are missing: every image needs a label. Fill them in or drop the images."
        )
    kinds = {np.asarray(value).dtype.kind for value in values}
    if len(kinds) > 1 or not kinds <= set("Uiubf"):
        examples = {type(value).__name__: value for value in values}
        fault = "mix types" if len(kinds) > 1 else f"have the type {' or '.join(examples)}"
        raise InvalidInputError(
            f"The labels {fault}, for example {some_of(examples.values())}: all labels must be text, or all whole numbers, "
            f"or all booleans. Convert them to one type."
        )
    typed = np.array(values, dtype=None if values else str)
    if kinds != {"f"}:
        return _typed(typed)
    bad = np.flatnonzero(~np.isfinite(typed) | (typed != np.round(typed)))
    if bad.size:
        raise InvalidInputError(
            f"The label at {int(bad[0])} is {shown(typed[bad[0]].item())}: labels must be text, whole numbers or "
            f"booleans. This is a classifier; convert the values into classes first."
        )
    return typed.astype(np.int64)


def _is_missing(value: object) -> bool:
    """None, NaN (which differs from itself), or the NA or NaT of pandas."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)


def class_names(raw: npt.NDArray[Any], names: Iterable[str] | None = None) -> npt.NDArray[Any]:
    """The sorted classes of a training set, or `names` if the labels are indices into them.

    Raises:
        InvalidInputError: fewer than two classes, or two with the same name.
    """
    classes = np.unique(raw) if names is None else np.array(as_names(list(map(str, names)), "class name"))
    if twice := [name for name, count in Counter(classes.tolist()).items() if count > 1]:
        raise InvalidInputError(f"The class names hold {some_of(twice)} more than once: each must differ. Rename one.")
    if len(classes) < 2:
        found = f"only the class {some_of(classes.tolist())}" if len(classes) else "no classes"
        raise InvalidInputError(
            f"The training data holds {found}: a classifier needs images of two classes or more. Add a second class."
        )
    return classes


def encode(raw: npt.NDArray[Any], classes: npt.NDArray[Any], what: str = "data") -> Codes:
    """Convert labels to their positions in `classes`.

    Raises:
        InvalidInputError: labels of another type, or one that is not in `classes`; the nearest name is suggested.
    """
    if not len(raw):
        return np.zeros(0, np.int64)
    if classes.dtype.kind != raw.dtype.kind:
        lost = classes.dtype.kind == "U" and raw.dtype.kind in "iu"
        hint = " A dataset that lost its class names can be given them as its attribute `class_names`." if lost else ""
        raise InvalidInputError(
            f"The labels of the {what} are {KINDS[raw.dtype.kind]}, the labels of the training data "
            f"{KINDS[classes.dtype.kind]}: both must have the same type. The known classes are {some_of(classes.tolist())}."
            f"{hint}"
        )
    code_of = {name: code for code, name in enumerate(classes.tolist())}
    unknown = sorted(set(raw.tolist()) - code_of.keys())
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), [str(c) for c in classes], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InvalidInputError(
            f"The {what} holds the class {some_of(unknown)}, which the classifier was not trained on: {hint}"
            f"its classes are {some_of(classes.tolist(), 10)}. Rename the class or leave its images out."
        )
    return np.array([code_of[label] for label in raw.tolist()], np.int64)


def encode_sets(
    rows: Sequence[Sequence[Any]], raw: npt.NDArray[Any], classes: npt.NDArray[Any], what: str = "data"
) -> Codes:
    """Convert the labels of each image to int64 `(n, n_classes)` of 0 and 1; `raw` is all labels, concatenated.

    Raises:
        InvalidInputError: as for `encode`.
    """
    codes = np.zeros((len(rows), len(classes)), np.int64)
    codes[np.repeat(np.arange(len(rows)), list(map(len, rows))), encode(raw, classes, what)] = 1
    return codes


def check_class_weight(choice: object, classes: npt.NDArray[Any]) -> ClassWeight:
    """Check a `class_weight`: None, "balanced" or {class name: weight}.

    Raises:
        InvalidInputError: anything else, an unknown class, a weight that is not finite or below 0, or only zeros.
    """
    if choice is None:
        return None
    if isinstance(choice, str) and choice == "balanced":
        return "balanced"
    if not isinstance(choice, Mapping):
        rule = "must be None, 'balanced' or a dict from class name to weight"
        raise bad_argument("class_weight", choice, rule, "Pass class_weight='balanced'")
    names = classes.tolist()
    keys = [as_names([key], "class name")[0] if isinstance(key, str) else key for key in choice]
    keys = [names[names.index(key)] if key in names else key for key in keys]  # NumPy's numbers become Python's
    choice = dict(zip(keys, choice.values(), strict=True))
    for name, weight in choice.items():
        if name not in names:
            raise InvalidInputError(
                f"`class_weight` names the class {shown(name)}: the classes are {some_of(names, 10)}. Use those names."
            )
        if isinstance(weight, bool) or not isinstance(weight, numbers.Real) or not 0 <= float(weight) < np.inf:
            raise bad_argument(
                f"class_weight[{name!r}]", weight, "must be a finite number of 0 or more", "Pass for example 2.0"
            )
    if all(float(choice.get(name, 1.0)) == 0 for name in names):
        raise bad_argument("class_weight", choice, "gives every class the weight 0", "Leave a class out of it")
    return {name: float(weight) for name, weight in choice.items()}


def class_weights(choice: ClassWeight, codes: Codes, classes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The weight of each class for a checked choice, float32 `(n_classes,)`; 1.0 for classes that are not named.

    "balanced" is n_images / (n_classes * count of the class), as in scikit-learn. With several labels per image, the
    result is float32 `(2, n_classes)`: the weights of the images without each label, and of those with it.
    """
    if codes.ndim == 2:
        ones, counts = np.ones(len(classes), np.float32), codes.sum(axis=0)
        if choice != "balanced":
            return np.stack([ones, class_weights(choice, codes[:, 0], classes)])
        return (len(codes) / (2 * np.maximum([len(codes) - counts, counts], 1))).astype(np.float32)
    if isinstance(choice, Mapping):
        return np.array([choice.get(name, 1.0) for name in classes.tolist()], np.float32)
    if choice is None:
        return np.ones(len(classes), np.float32)
    counts = np.bincount(codes, minlength=len(classes))
    return (len(codes) / (len(classes) * np.maximum(counts, 1))).astype(np.float32)


def image_weights(weights: npt.NDArray[np.float32], codes: Codes) -> npt.NDArray[np.float32]:
    """The weight of each image `(n,)`, from `class_weights`; with several labels per image, `(n, n_classes)`."""
    return np.where(codes, weights[1], weights[0]) if codes.ndim == 2 else weights[codes]
