"""Logistic regression for a dense layer on features: scikit-learn's solver, set up to be fast and exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .._common.sharing import ignoring, one_thread
from ..images import Codes

Array = npt.NDArray[np.float32]

ITERATIONS = 300


def center_of(features: Array) -> Array:
    """The mean of the features: the solver is several times as fast on centered features."""
    center: Array = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    return center


class HeadSolver:
    """Solves for kernel `(d, n_classes)` and bias `(n_classes,)`; each solution starts from the previous one.

    Args:
        center: `(d,)`, already subtracted from the features that it gets; its heads are for uncentered features.
    """

    def __init__(self, center: Array, n_classes: int) -> None:
        from sklearn.linear_model import LogisticRegression  # takes a second to import

        self._center, self._n_classes = center, n_classes
        self._model = LogisticRegression(max_iter=ITERATIONS, warm_start=True)
        self._of_labels: list[HeadSolver] = []

    def head(self, strength: float, features: Array, codes: Codes, weights: npt.NDArray[Any]) -> tuple[Array, Array]:
        """The head for centered features `(n, d)`; `strength` is C of scikit-learn.

        With several labels per image, codes and weights are `(n, n_classes)`, and each label has its own regression.
        """
        if codes.ndim == 2:
            self._of_labels = self._of_labels or [HeadSolver(self._center, 2) for _ in range(self._n_classes)]
            columns = zip(self._of_labels, codes.T, weights.T, strict=True)
            heads = [solver._of_label(strength, features, *column) for solver, *column in columns]
            return np.stack([kernel for kernel, _ in heads], axis=1), np.array([bias for _, bias in heads], np.float32)
        self._model.C = strength
        # Weak penalties may not converge: the next warm start goes on from there.
        with ignoring(module=r"(sklearn|scipy|joblib)\."), one_thread():
            self._model.fit(features, codes, weights)
        kernel, bias = self._dense()
        return kernel, bias - self._center @ kernel

    def _of_label(
        self, strength: float, features: Array, codes: Codes, weights: npt.NDArray[Any]
    ) -> tuple[Array, np.float32]:
        """Kernel `(d,)` and bias of one label; if all or no images have it, a bias from its smoothed frequency."""
        count, positive = len(codes), int(codes.sum())
        if positive in (0, count):
            return np.zeros(features.shape[1], np.float32), np.float32(
                np.log((positive + 0.5) / (count - positive + 0.5))
            )
        kernel, bias = self.head(strength, features, codes, weights)
        return kernel[:, 1] - kernel[:, 0], bias[1] - bias[0]

    def _dense(self) -> tuple[Array, Array]:
        """Kernel and bias of a softmax over all classes; a class without images is never predicted."""
        kernel, bias = self._model.coef_.T, self._model.intercept_
        if kernel.shape[1] == 1:  # two classes: scikit-learn gives the difference
            kernel, bias = np.concatenate([-kernel / 2, kernel / 2], axis=1), np.concatenate([-bias / 2, bias / 2])
        whole = np.zeros((len(kernel), self._n_classes), np.float32)
        start = np.full(self._n_classes, bias.min() - 20, np.float32)
        whole[:, self._model.classes_], start[self._model.classes_] = kernel, bias
        return whole, start
