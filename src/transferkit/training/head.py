"""The best head on stored features: logistic regression, with its penalty chosen by cross-validation.

A head that is trained by steps is as good only if their number and rate suit the images: with many classes of few
images, 30 epochs of Adam stay several points below. The solver needs no such settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .._common.console import Console
from .._common.sharing import ignoring, one_thread
from ..images import Codes, Indices
from .scores import Scores, best_factor

Array = npt.NDArray[np.float32]

ITERATIONS = 300
# C of scikit-learn, for features of unit size: from a head of little more than class means to almost no penalty.
STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
STRENGTH = 0.3  # if nothing can be held out: the best value with 3 to 20 images per class


@dataclass(frozen=True)
class Head:
    """A dense layer on features.

    Attributes:
        kernel: float32 `(d, n_classes)`.
        bias: float32 `(n_classes,)`.
        strength: C of scikit-learn; the lower, the stronger the penalty.
        logits: float32 `(n, n_classes)`, of each image from the head of the fold that held it out; 0 if none did.
        held_out: positions of the images that a fold held out.
        scores: of the held-out images.
        fold_heads: fold -> kernel and bias of the head that was trained without it.
        unmeasured: classes without a held-out image, about which nothing is known.
        temperature: what the logits of all these heads were divided by; `logits` are not divided.
    """

    kernel: Array
    bias: Array
    strength: float
    logits: Array
    held_out: Indices
    scores: Scores
    fold_heads: dict[int, tuple[Array, Array]] = field(default_factory=dict)
    temperature: float = 1.0
    unmeasured: tuple[int, ...] = ()


def fit_head(
    features: Array,
    measured: Array,
    codes: Codes,
    weights: npt.NDArray[Any],
    folds: Indices,
    n_classes: int,
    console: Console,
) -> Head:
    """The head with the lowest out-of-fold loss, trained on all images.

    The search goes from a strong penalty to weaker ones and ends as soon as the loss rises. The penalty per image is
    the same in the folds and at the end: with the same C, more images would make the head more confident.

    Args:
        features: float32 `(views * n, d)`, all images of one view after those of another.
        measured: float32 `(n, d)`, of the unchanged images.
        codes, weights, folds: `(n,)`: the class, the weight in the loss, and the fold that holds the image out, -1 for
            none. With several labels per image, codes and weights are `(n, n_classes)`.
    """
    center, views = center_of(features), len(features) // len(codes)
    features = features - center
    weights, codes_of_all, folds_of_all = (np.concatenate([array] * views) for array in (weights, codes, folds))
    held_out = np.flatnonzero(folds >= 0)
    solvers = {fold: HeadSolver(center, n_classes) for fold in np.unique(folds[held_out]).tolist()}
    unmeasured = _unmeasured(codes, held_out)
    # A choice measured on some of the classes suits only those.
    strengths = (STRENGTH,) if len(unmeasured) > n_classes / 10 else STRENGTHS
    best = _Trial(STRENGTH, np.zeros((len(codes), n_classes), np.float32))
    with console.bar("solving for the head", len(STRENGTHS), "penalties") as bar:
        for strength in strengths if solvers else ():
            trial = _Trial(strength, np.zeros((len(codes), n_classes), np.float32))
            for fold, solver in solvers.items():
                inside = folds_of_all != fold
                kernel, bias = trial.heads[fold] = solver.head(
                    strength, features[inside], codes_of_all[inside], weights[inside]
                )
                outside = np.flatnonzero(folds == fold)
                trial.logits[outside] = measured[outside] @ kernel + bias
                bar.advance(1 / len(solvers))
            trial.scores = Scores.of(trial.logits[held_out], codes[held_out])
            if best.heads and trial.scores.loss >= best.scores.loss:
                break
            best = trial
        strength = best.strength * (
            1 - len(held_out) / len(codes) / max(1, len(solvers))
        )  # the share that a fold trains on
        kernel, bias = HeadSolver(center, n_classes).head(strength, features, codes_of_all, weights)
    found = best.strength, best.logits, held_out, best.scores, best.heads
    return Head(kernel, bias, *found, unmeasured=unmeasured)


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


def _unmeasured(codes: Codes, held_out: Indices) -> tuple[int, ...]:
    """Classes that have images, but no held-out one; none of them if no image is held out."""
    if not len(held_out):
        return ()
    if codes.ndim > 1:
        return tuple(np.flatnonzero(codes.any(axis=0) & ~codes[held_out].any(axis=0)).tolist())
    return tuple(np.setdiff1d(codes, codes[held_out]).tolist())


def head_of_strength(
    features: Array, codes: Codes, weights: npt.NDArray[Any], n_classes: int, strength: float
) -> tuple[Array, Array]:
    """Kernel and bias of the head with this C; arguments as for `fit_head`."""
    center = center_of(features)
    return HeadSolver(center, n_classes).head(strength, features - center, codes, weights)


@dataclass
class _Trial:
    """One strength and its results."""

    strength: float
    logits: Array
    heads: dict[int, tuple[Array, Array]] = field(default_factory=dict)
    scores: Scores = field(default_factory=lambda: Scores(np.zeros(0), np.zeros(0, bool)))


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
