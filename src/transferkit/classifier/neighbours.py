"""The training images that are most similar to an image, by the angle between features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..images import Split
from ..results import Neighbour


def nearest(
    features: npt.NDArray[np.float32], known: npt.NDArray[np.float32], split: Split, k: int
) -> list[list[Neighbour]]:
    """For each of the features `(n, d)`, the `k` most similar training images, whose features are `known`."""
    from sklearn.neighbors import NearestNeighbors  # takes a second to import

    if not len(features):  # scikit-learn refuses an empty array
        return []
    search = NearestNeighbors(n_neighbors=min(k, len(known)), metric="cosine").fit(known)
    distances, rows = (found.tolist() for found in search.kneighbors(features))
    images, label, positions = split.training.images, split.training.label, split.rows[0].tolist()
    return [
        [Neighbour(images.path(row), label(row), 1 - far, positions[row]) for far, row in zip(*found, strict=True)]
        for found in zip(distances, rows, strict=True)
    ]
