"""A batched `tf.data.Dataset` -> images and labels in memory, without an import of TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInputError, shown
from .arrays import image_contents
from .images import Content

__all__ = ["dataset_arrays", "is_dataset", "named_labels"]


def is_dataset(data: object) -> bool:
    """Whether this is a `tf.data.Dataset`."""
    return hasattr(data, "element_spec") and hasattr(data, "as_numpy_iterator")


def dataset_arrays(data: Any, labelled: bool) -> tuple[list[Content], Any]:
    """Every image and label of a batched `tf.data.Dataset`.

    Raises:
        InvalidInputError: not batched, of another form, or without an end.
    """
    spec = data.element_spec
    pair = isinstance(spec, tuple) and len(spec) == 2
    image = spec[0] if pair else spec
    rank = getattr(getattr(image, "shape", None), "rank", None)
    if (labelled and not pair) or rank not in (4, None) or isinstance(image, (tuple, dict)):
        wanted = "(image, label)" if labelled else "images"
        raise InvalidInputError(
            f"The dataset yields {shown(spec)}: it must yield batches of {wanted}, with images of shape "
            f"(batch, height, width, 3). Map it to that form and call .batch(32) on it."
        )
    if int(data.cardinality()) == -1:
        raise InvalidInputError(
            "The dataset never ends: it must be finite. Drop its .repeat(), or call .take(n) on it."
        )
    arrays: list[Content] = []
    labels: list[npt.NDArray[Any]] = []
    for element in data.as_numpy_iterator():
        arrays.extend(image_contents(element[0] if pair else element, "dataset"))
        if labelled:
            labels.append(np.asarray(element[1]))
    return arrays, np.concatenate(labels) if labels else np.zeros(0, np.int64)


def named_labels(raw: npt.NDArray[Any], names: Sequence[str]) -> npt.NDArray[Any]:
    """Indices into `names` -> the names."""
    if raw.dtype.kind not in "ib" or raw.min() < 0 or raw.max() >= len(names):
        raise InvalidInputError(
            f"The dataset names {len(names)} classes but its labels go from {raw.min()} to {raw.max()}: labels must "
            f"count from 0 to {len(names) - 1}. Check its `class_names`."
        )
    return np.array(list(names))[raw.astype(np.int64)]
