"""Features of a test image, saved with a classifier: a loaded network must compute the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..network import Network
from .manifest import FEATURES

__all__ = ["computes_as_saved", "self_test"]

# The features may differ by this share of the largest. Other processors and precisions round differently; other
# preprocessing or layers differ by far more. Probabilities would not do: a sure classifier is often just as sure of the
# wrong pixels.
TOLERANCE = 0.02


def self_test(network: Network) -> npt.NDArray[np.float64]:
    """Up to 64 features, float64 `(n,)`, of a test image that is the same in every version: waves in each channel."""
    y, x = np.mgrid[: network.size[0], : network.size[1]].astype(np.float32)
    waves = [np.sin(x / 7 + k) + np.cos(y / 5 - k) for k in range(3)]
    picture = (127.5 + 63.75 * np.stack(waves, axis=-1))[np.newaxis].astype(np.float32)
    features = np.asarray(network.features_model()(picture, training=False)[0], np.float64).ravel()
    return features[np.linspace(0, len(features) - 1, min(FEATURES, len(features))).astype(np.int64)]


def computes_as_saved(network: Network, saved: list[float]) -> bool:
    features, expected = self_test(network), np.array(saved, np.float64)
    tolerance = TOLERANCE * float(np.abs(expected).max(initial=0))
    return features.shape == expected.shape and bool(np.allclose(features, expected, rtol=0, atol=tolerance))
