"""With several labels per image: the probability from which each label is predicted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..images import Codes

# A threshold chosen on fewer images with the label fits only those images.
FEWEST = 5
HALF = 0.5


def best_thresholds(logits: npt.NDArray[np.float32], codes: Codes) -> npt.NDArray[np.float64]:
    """For each label, the threshold with the highest F1 on images that were not trained on; 0.5 if few or all have it.

    Args:
        logits: `(n, n_classes)`.
        codes: `(n, n_classes)` of 0 and 1.
    """
    probabilities = np.exp(-np.logaddexp(0, -logits.astype(np.float64)))
    pairs = zip(probabilities.T, codes.T, strict=True)
    return np.array([_best(*pair) if FEWEST <= pair[1].sum() < len(codes) else HALF for pair in pairs])


def _best(probabilities: npt.NDArray[np.float64], has_label: npt.NDArray[np.int64]) -> float:
    """The midpoint of the two probabilities that the best threshold separates; among ties, the one nearest to 0.5."""
    order = np.argsort(-probabilities, kind="stable")
    falling = probabilities[order]
    given = np.arange(1, len(order) + 1)
    f1 = 2 * np.cumsum(has_label[order]) / (given + has_label.sum())
    between = (falling + np.append(falling[1:], 0.0)) / 2
    f1[np.append(falling[1:] == falling[:-1], False)] = 0  # equal probabilities cannot be separated
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(min(between[best], key=lambda value: abs(value - HALF)))
