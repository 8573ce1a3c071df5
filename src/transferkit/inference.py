"""A fitted network over images -> probabilities: the frozen pass up to the features, then the head."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .features import FrozenPart, compute
from .images import Images
from .network import Network
from .store import Store

__all__ = ["Predictor"]

CHUNK = 4096  # rows of features that the head takes at a time


class Predictor:
    """The compiled network as it is now; training that changes its weights calls for a new one."""

    def __init__(self, network: Network) -> None:
        self._part = FrozenPart(network.features_model(), network.size, f"{network.record.name}/features")
        self._head = network.head_model()

    def probabilities(
        self, images: Images, store: Store | None, verbose: str | int, title: str
    ) -> npt.NDArray[np.float32]:
        """float32 `(n, n_classes)`; rows add up to 1."""
        if not len(images):
            return np.zeros((0, self._head.output.shape[-1]), np.float32)
        features = compute(self._part, images, store, verbose, title)[0]
        chunks = [features[start : start + CHUNK] for start in range(0, len(features), CHUNK)]
        return np.concatenate([np.asarray(self._head(chunk, training=False), np.float32) for chunk in chunks])
