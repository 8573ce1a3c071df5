"""Predicts probabilities for images with a fitted network: feature extraction, then the head."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._common.console import Console
from ..cache import Store
from ..errors import WeightsError
from ..images import Images
from ..network import FeatureExtractor, Network, checksum_of
from .augmentation import MirrorViews
from .extraction import Plan, Storage, extract
from .inspection import Inspection
from .typicality import Typicality
from .values import Rows

Array = npt.NDArray[np.float32]

CHUNK = 4096  # rows of features that the head takes at a time
ROWS = 16  # the head takes a multiple of this many rows
# A call that computes fewer images stores nothing: a server that predicts one image at a time would fill the store with
# small files.
STORE_FROM = 256


class Scored(NamedTuple):
    """The predictions for the images that can be read, as means over their views.

    Attributes:
        logits: float32 `(n, n_classes)`.
        probabilities: float32 `(n, n_classes)`, rows add up to 1.
        typicalities: float32 `(n,)`, NaN if the classifier has no typicality.
        inspection: which images could be read.
    """

    logits: Array
    probabilities: Array
    typicalities: Array
    inspection: Inspection


class Predictor:
    """Predicts with the weights that the network has at each call: users may change them."""

    def __init__(self, network: Network, typicality: Typicality | None) -> None:
        self._network, self._typicality = network, typicality
        self._head = network.head_model()
        self._checksum = checksum_of(network.features_model())
        self._current: tuple[bytes, FeatureExtractor] | None = None

    def __call__(
        self, images: Images, store: Store | None, console: Console, title: str, skip: bool | None, views: int = 1
    ) -> Scored:
        """Features, then the head.

        Args:
            skip: as for `extract`.
            views: 2 = means over each image and its mirror image.

        Raises:
            ImageReadError: images cannot be read; one error names them all. Not with `skip`.
        """
        features, of_views, inspection = self._features(images, store, console, title, skip, views)
        scored = [self._scored(features, rows) for rows in of_views]
        logits, probabilities, typicalities = (np.mean(arrays, axis=0) for arrays in zip(*scored, strict=True))
        return Scored(logits, probabilities, typicalities, inspection)

    def features(self, images: Images, store: Store | None, console: Console) -> Array:
        """The inputs of the head, float32 `(n, d)`; all images must be readable. Raises the errors of a call."""
        values, (rows,), _ = self._features(images, store, console, "computing features", None, 1)
        return np.asarray(values[rows], np.float32)

    def _features(
        self, images: Images, store: Store | None, console: Console, title: str, skip: bool | None, views: int
    ) -> tuple[Rows, npt.NDArray[np.int64], Inspection]:
        """Features of all views, and the rows `(views, n)` of the images that can be read."""
        storage = Storage(store, store_from=STORE_FROM)
        plan = Plan(images, MirrorViews() if views == 2 else None)
        extraction = extract(self._current_extractor(), plan, storage, console, title, skip)
        rows = plan.rows_of_views()[:, extraction.inspection.readable()]
        return extraction.values[0], rows, extraction.inspection

    def _scored(self, features: Rows, rows: npt.NDArray[np.int64]) -> tuple[Array, ...]:
        """Logits, probabilities and typicalities of these rows, a few thousand at a time."""
        chunks = (features[rows[start : start + CHUNK]] for start in range(0, max(1, len(rows)), CHUNK))
        return tuple(map(np.concatenate, zip(*map(self._scored_chunk, chunks), strict=True)))

    def _scored_chunk(self, features: Array) -> list[Array]:
        # A single row, and a sigmoid outside of whole vectors, round differently: a prediction must not depend on how many
        # images are in a call.
        rows = np.pad(features, ((0, -len(features) % ROWS), (0, 0)), mode="edge") if len(features) else features
        logits, probabilities = (np.asarray(found, np.float32) for found in self._head(rows, training=False))
        if not np.isfinite(logits).all():
            raise WeightsError(
                "The head gives NaN or infinite logits: its weights must be finite. Correct the weights that were set in "
                "network_, or load the classifier again."
            )
        known = self._typicality
        typicalities = np.full(len(rows), np.nan, np.float32) if known is None else known(rows)
        return [array[: len(features)] for array in (logits, probabilities, typicalities)]

    def _current_extractor(self) -> FeatureExtractor:
        current, checksum = self._current, self._checksum()
        if current is None or current[0] != checksum:
            current = self._current = checksum, self._network.feature_extractor()
        return current[1]
