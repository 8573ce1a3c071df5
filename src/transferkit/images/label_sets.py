"""Several labels an image: lists of names, or one column of 0 and 1 per class, become the names of each image."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arguments import LabelKind
from ..errors import InvalidInputError, shown, some_of

MULTIPLE = "TransferClassifier(labels='multiple')"


def label_sets(labels: Any, count: int, kind: LabelKind, has_names: bool) -> list[list[Any]] | None:
    """The labels of each image, none or several; None where each image has one, which `label_array` reads.

    Args:
        count: the number of images.
        kind: what the user says of the labels; ``"auto"`` = find out.
        has_names: whether it is known which class each column of a matrix is for; the answer is then column numbers.

    Raises:
        InvalidInputError: the form does not tell whether images have several labels, or is not the one that `kind` says.
    """
    matrix = _matrix(labels)
    if matrix is not None:
        is_one_hot = bool((matrix.sum(axis=1) == 1).all())
        if kind == "single" or (kind == "auto" and is_one_hot):
            return None
        if not has_names:
            raise InvalidInputError(
                f"The labels are an array of 0 and 1 of shape {matrix.shape}, which does not name its classes. Pass lists of "
                f"names, or pandas.DataFrame(array, columns=names)."
            )
        rows = [np.flatnonzero(row).tolist() for row in matrix]
    elif (found := _listed(labels, kind)) is None:
        return None
    else:
        rows = found
    if len(rows) != count:
        raise InvalidInputError(
            f"Labels of {len(rows)} images were given for {count} images: there must be a list of labels per image, in the "
            f"same order. Check the two lists."
        )
    return rows


def label_columns(frame: Any, rule: str) -> tuple[npt.NDArray[np.int64], list[str]] | None:
    """A DataFrame of 0 and 1 with two columns or more -> its values, and the names of its columns; of one column None.

    Raises:
        InvalidInputError: a column holds something else; `rule` says what there must be.
    """
    if frame.shape[1] < 2:
        return None
    is_other = ~frame.isin([0, 1]).to_numpy(bool)
    if is_other.any():
        column, row = np.argwhere(is_other.T)[0].tolist()
        value = frame.iloc[row, column]
        value = value.item() if isinstance(value, np.generic) else value
        raise InvalidInputError(
            f"The column {shown(frame.columns[column])} holds {shown(value)} at {row}: {rule}. Drop columns that are not "
            f"labels, and correct or fill in what is not 0 or 1."
        )
    return frame.to_numpy(np.int64), [str(column) for column in frame.columns]


def _matrix(labels: Any) -> npt.NDArray[Any] | None:
    """Labels as a matrix of 0 and 1 with two columns or more, if they are one."""
    try:
        array = np.asarray(labels)
    except ValueError:  # rows of several lengths
        return None
    is_matrix = array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biuf" and np.isin(array, (0, 1)).all()
    return array if is_matrix else None


def _listed(labels: Any, kind: LabelKind) -> list[list[Any]] | None:
    rows = list(labels) if hasattr(labels, "__iter__") and getattr(labels, "ndim", 1) == 1 else []
    are_lists = [isinstance(row, (list, tuple, Set, np.ndarray)) for row in rows]
    several = [row for row, is_list in zip(rows, are_lists, strict=True) if is_list and len(row) != 1]
    if kind == "single" and several:
        raise InvalidInputError(
            f"The labels hold {shown(several[0])} for one image: here, every image has one label. Pass one label per image; "
            f"for several, fit {MULTIPLE}."
        )
    if not all(are_lists) and (any(are_lists) or (kind == "multiple" and len(labels))):
        raise InvalidInputError(
            f"The labels hold {shown(rows[are_lists.index(False)] if rows else labels)}, which is not a list of labels: with "
            f"several labels per image, each image must have a list of them, which may be empty. Put single labels into "
            f"lists, such as ['cat']."
        )
    if kind == "single" or not any(are_lists):
        return None
    if kind == "auto" and not several:
        raise InvalidInputError(
            f"The labels are lists of one label each ({some_of(rows[:3])}), which does not tell whether images may have "
            f"several. Pass them without the lists, or use {MULTIPLE}."
        )
    return [list(row) for row in rows]
