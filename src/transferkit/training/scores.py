"""Scores of logits, and what is chosen by them: the scale of logits and, for several labels, the thresholds.

Both are chosen on images that were not trained on. Logits are multiplied by one number, which goes into the last layer (Guo
et al., 2017, "On Calibration of Modern Neural Networks"): a saved network gives the same probabilities in plain Keras, and no
prediction changes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from ..images import Codes

# The factors that a temperature may apply: few images do not justify larger ones.
FACTORS = np.geomspace(0.5, 2.0, 41)
# A threshold chosen on fewer images with the label fits only those images.
FEWEST = 5
HALF = 0.5


class Scores(NamedTuple):
    """The scores of each image.

    Attributes:
        losses: float64 `(n,)`, cross-entropy.
        correct: bool `(n,)`; or float64, means over several divisions into folds.
    """

    losses: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_ | np.float64]

    @classmethod
    def of(cls, logits: npt.NDArray[Any], codes: Codes) -> Scores:
        """The scores of logits `(n, n_classes)`.

        With several labels per image, a loss is the mean binary cross-entropy of the labels, and an image is correct if
        all of its labels are, each predicted from a probability of 0.5 on.
        """
        logits = logits.astype(np.float64)
        if codes.ndim == 2:
            losses = np.logaddexp(0, np.where(codes, -logits, logits)).mean(axis=1)
            return cls(losses, ((logits >= 0) == codes).all(axis=1))
        logits = logits - logits.max(axis=1, keepdims=True)
        totals = np.log(np.exp(logits).sum(axis=1))
        return cls(totals - logits[np.arange(len(codes)), codes], logits.argmax(axis=1) == codes)

    @property
    def loss(self) -> float:
        return float(self.losses.mean())

    @property
    def accuracy(self) -> float:
        return float(self.correct.mean())

    @property
    def errors(self) -> dict[str, float]:
        """The standard errors of loss and accuracy."""
        return {"loss": _error(self.losses), "accuracy": _error(self.correct)}

    def gain(self, other: Scores) -> tuple[float, float]:
        """How much lower the mean loss of another classifier on the same images is, and the standard error of that."""
        gains = self.losses - other.losses
        return float(gains.mean()), _error(gains)


def best_factor(logits: npt.NDArray[Any], codes: Codes) -> float:
    """The factor on logits with the lowest loss, 0.5 to 2."""
    return float(min(FACTORS, key=lambda factor: Scores.of(factor * logits, codes).loss))


def calibrate(dense: keras.layers.Dense, logits: npt.NDArray[Any], codes: Codes) -> float:
    """Scale the last layer, which computed these logits of held-out images, and return the temperature."""
    factor = best_factor(logits, codes) if np.isfinite(logits).all() else 1.0
    scale_logits(dense, factor)
    return 1 / factor


def scale_logits(dense: keras.layers.Dense, factor: float) -> None:
    """Multiply the output of the last layer by a number."""
    for variable in (dense.kernel, dense.bias):
        variable.assign(variable * factor)


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


def _error(values: npt.NDArray[Any]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("inf")
