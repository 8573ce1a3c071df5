"""Several labels per image: read lists of names, or one column of 0 and 1 per class, as the labels of each image."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
import numpy.typing as npt

from .._common.arguments import LabelKind
from ..errors import InvalidInputError, shown, some_of

MULTIPLE = "TransferClassifier(labels='multiple')"


def label_sets(labels: Any, count: int, kind: LabelKind, has_names: bool) -> list[list[Any]] | None:
    """The list of labels of each image; None if each image has one label, which `label_array` reads.

    Args:
        count: the number of images.
        kind: what the user says about the labels; ``"auto"`` = find out.
        has_names: whether the class of each column of a matrix is known; a matrix then gives column numbers.

    Raises:
        InvalidInputError: the form is ambiguous, contradicts `kind`, or does not name the classes; or another length.
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
    """The values and the column names of a DataFrame of 0 and 1; None if it has fewer than two columns.

    Raises:
        InvalidInputError: a column contains another value; `rule` is the rule that the message states.
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
    """Labels as a matrix of 0 and 1 with two or more columns; None if they are not one."""
    try:
        array = np.asarray(labels)
    except ValueError:  # rows of different lengths
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
