"""A fitted network over images -> probabilities: feature extraction, then the head."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..cache import Store
from ..images import Images
from ..network import FrozenPart, Network
from .extraction import Plan, compute
from .inspection import REMEDY, Findings, all_unreadable

__all__ = ["Predictor"]

CHUNK = 4096  # rows of features that the head takes at a time
# A call that computes fewer images writes nothing: a server that asks for one image at a time would fill the store
# with small files.
STORE_FROM = 256


class Predictor:
    """Predicts with the weights that the network has at each call."""

    def __init__(self, network: Network, precision: str) -> None:
        self._network, self._precision = network, precision
        self._head = network.head_model()
        self._part: FrozenPart | None = None
        self._version = -1

    def probabilities(
        self, images: Images, store: Store | None, verbose: str | int, title: str, findings: Findings
    ) -> npt.NDArray[np.float32]:
        """float32 `(n, n_classes)`, of the images that can be read; rows add up to 1.

        Raises:
            ImageReadError: images cannot be read, all named together; not if `findings` goes on without them.
        """
        part, plan = self._current_part(), Plan(images)
        features = compute(part, plan, store, verbose, title, findings=findings, store_from=STORE_FROM)[0]
        if findings.failures and not findings.goes_on:
            raise all_unreadable(findings.failures, REMEDY)
        rows = findings.good()
        chunks = (features[rows[start : start + CHUNK]] for start in range(0, max(1, len(rows)), CHUNK))
        return np.concatenate([np.asarray(self._head(chunk, training=False), np.float32) for chunk in chunks])

    def _current_part(self) -> FrozenPart:
        """The frozen part with the present weights: a callback may predict in the middle of a fine-tuning."""
        network, version = self._network, self._network.version
        if self._part is None or version != self._version:
            model = network.features_model()
            self._part = FrozenPart(model, network.size, network.computation(model, "features"), self._precision)
            self._version = version
        return self._part
