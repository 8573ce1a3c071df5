"""The loss and correctness of each image, from logits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..images import Codes

# The factors that a temperature may apply: few images do not justify larger ones.
FACTORS = np.geomspace(0.5, 2.0, 41)


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
    """The factor on logits with the lowest loss, 0.5 to 2 (Guo et al., 2017, "On Calibration")."""
    return float(min(FACTORS, key=lambda factor: Scores.of(factor * logits, codes).loss))


def _error(values: npt.NDArray[Any]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("inf")
