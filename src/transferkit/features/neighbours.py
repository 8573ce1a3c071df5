"""The training images that are most similar to an image, by the angle between features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..images import Split
from ..results import Neighbour
from .typicality import units_of

CHUNK = 1024  # images that are compared with all training images at a time


def nearest(
    features: npt.NDArray[np.float32], known: npt.NDArray[np.float32], split: Split, k: int
) -> list[list[Neighbour]]:
    """For each of the features `(n, d)`, the `k` most similar training images, whose features are `known`."""
    known, training = units_of(known), split.training

    def found(rows: Any, similarities: Any) -> Iterator[list[Neighbour]]:
        for closest, of_one in zip(rows.tolist(), similarities, strict=True):
            yield [
                Neighbour(training.images.path(row), training.label(row), float(of_one[row]), int(split.rows[0][row]))
                for row in closest
            ]

    answers: list[list[Neighbour]] = []
    for start in range(0, len(features), CHUNK):
        similarities = units_of(features[start : start + CHUNK]) @ known.T
        answers += found(np.argsort(-similarities, axis=1, kind="stable")[:, :k], similarities)
    return answers
