"""A fitted network over images -> probabilities: feature extraction, then the head."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .._console import Console
from ..cache import Store
from ..images import Images
from ..network import FeatureExtractor, Network, checksum_of
from .augmentation import MirrorViews
from .extraction import Plan, Storage, extract
from .inspection import Inspection
from .values import Rows

__all__ = ["Predictor"]

CHUNK = 4096  # rows of features that the head takes at a time
# A call that computes fewer images writes nothing: a server that asks for one image at a time would fill the store
# with small files.
STORE_FROM = 256


class Predictor:
    """Predicts with the weights that the network has at each call: users may set some of their own."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._head = network.head_model()
        self._checksum = checksum_of(network.features_model())
        self._current: tuple[bytes, FeatureExtractor] | None = None

    def probabilities(
        self, images: Images, store: Store | None, console: Console, title: str, skip: bool, views: int = 1
    ) -> tuple[npt.NDArray[np.float32], Inspection]:
        """float32 `(n, n_classes)`, of the images that can be read, rows add up to 1; and which images these are.

        Args:
            views: 2 = means over each image and its mirror image.

        Raises:
            ImageReadError: images cannot be read, all named together; not with `skip`.
        """
        storage = Storage(store, store_from=STORE_FROM)
        plan = Plan(images, MirrorViews() if views == 2 else None, len(images))
        extraction = extract(self._current_extractor(), plan, storage, console, title, skip)
        features, readable = extraction.values[0], extraction.inspection.readable()
        of_views = [self._scored(features, rows[readable]) for rows in plan.rows_of_views()]
        return np.mean(of_views, axis=0), extraction.inspection

    def _scored(self, features: Rows, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        chunks = (features[rows[start : start + CHUNK]] for start in range(0, max(1, len(rows)), CHUNK))
        return np.concatenate(list(map(self._scored_chunk, chunks)))

    def _scored_chunk(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        # A product with a single row is rounded differently: an image must not depend on how many come with it.
        rows = np.repeat(features, 2, axis=0) if len(features) == 1 else features
        return np.asarray(self._head(rows, training=False), np.float32)[: len(features)]

    def _current_extractor(self) -> FeatureExtractor:
        current, checksum = self._current, self._checksum()
        if current is None or current[0] != checksum:
            current = self._current = checksum, self._network.feature_extractor()
        return current[1]
