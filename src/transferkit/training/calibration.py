"""What is chosen on images that were not trained on: the scale of logits and, for several labels, the thresholds.

Logits are multiplied by one number, which goes into the last layer (Guo et al., 2017, "On Calibration of Modern Neural
Networks"): a saved network gives the same probabilities in plain Keras, and no prediction changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from ..images import Codes, Indices
from .head import Head
from .scores import Scores, best_factor

# A threshold chosen on fewer images with the label fits only those images.
FEWEST = 5
HALF = 0.5


def calibrate(dense: keras.layers.Dense, logits: npt.NDArray[Any], codes: Codes) -> float:
    """Scale the last layer, which computed these logits of held-out images, and return the temperature."""
    factor = best_factor(logits, codes) if np.isfinite(logits).all() else 1.0
    scale_logits(dense, factor)
    return 1 / factor


def scale_logits(dense: keras.layers.Dense, factor: float) -> None:
    """Multiply the output of the last layer by a number."""
    for variable in (dense.kernel, dense.bias):
        variable.assign(variable * factor)


def calibrated(head: Head, codes: Codes, folds: Indices) -> Head:
    """The head, scaled by its out-of-fold logits, with their scores; unchanged if there are none."""
    if not head.fold_heads:
        return head
    logits, codes, folds = head.logits[head.held_out], codes[head.held_out], folds[head.held_out]
    factor = np.float32(min(best_factor(logits, codes), 1.0 if head.unmeasured else np.inf))
    scaled = {fold: (kernel * factor, bias * factor) for fold, (kernel, bias) in head.fold_heads.items()}
    scores = cross_fitted(logits, codes, folds)
    kernel, bias = head.kernel * factor, head.bias * factor
    return replace(head, kernel=kernel, bias=bias, scores=scores, fold_heads=scaled, temperature=float(1 / factor))


def cross_fitted(logits: npt.NDArray[Any], codes: Codes, folds: Indices) -> Scores:
    """Scores of out-of-fold logits, each fold at the temperature of the others: no image scales its own logits."""
    factors = np.ones((len(codes), 1))
    if len(np.unique(folds)) > 1:
        for fold in np.unique(folds).tolist():
            factors[folds == fold] = best_factor(logits[folds != fold], codes[folds != fold])
    return Scores.of(factors * logits, codes)


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
