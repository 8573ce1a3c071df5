"""The best head on stored features: logistic regression, its strength chosen by cross-validation.

A head that is trained by steps is as good only if their number and rate suit the images: with many classes of few
images, 30 epochs of Adam stay several points below. The solver has no such choice to make.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from .._console import Console
from ..images import Codes, Indices
from .scores import Scores

__all__ = ["Head", "fit_head", "head_of_strength"]

Array = npt.NDArray[np.float32]

# C of scikit-learn, for features of unit size: from almost only the means of the classes to almost no penalty.
STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
STRENGTH = 0.3  # where nothing can be held out: what was best with 3 to 20 images a class
ITERATIONS = 300


@dataclass(frozen=True)
class Head:
    """A dense layer on features.

    Attributes:
        kernel: float32 `(d, n_classes)`.
        bias: float32 `(n_classes,)`.
        scores: of the images that were held out in a fold, by the head of that fold.
        fold_heads: kernel and bias of the head that was trained without each fold.
    """

    kernel: Array
    bias: Array
    scores: Scores
    fold_heads: dict[int, tuple[Array, Array]] = field(default_factory=dict)


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

    From a strong penalty to weaker ones: the search ends as soon as the loss rises.

    Args:
        features: float32 `(views * n, d)`, all images of one view after those of another.
        measured: float32 `(n, d)`, of the images as they are.
        codes, weights, folds: `(n,)`: the class, the weight in the loss, and the fold that holds the image out, -1 for
            none.
    """
    center, views = _center(features), len(features) // len(codes)
    features = features - center
    weights, codes_of_all, folds_of_all = (np.tile(array, views) for array in (weights, codes, folds))
    held_out = np.flatnonzero(folds >= 0)
    models = {fold: _model() for fold in np.unique(folds[held_out]).tolist()}
    best = _Trial(STRENGTH)
    # Several threads, and those of TensorFlow, get into each other's way: products this small take one.
    with threadpool_limits(1), console.bar("solving for the head", len(STRENGTHS), "penalties") as bar:
        for strength in STRENGTHS if models else ():
            trial = _Trial(strength, np.zeros((len(codes), n_classes), np.float32))
            for fold, model in models.items():
                inside = folds_of_all != fold
                _solve(model, strength, features[inside], codes_of_all[inside], weights[inside])
                kernel, bias = trial.heads[fold] = _moved(_dense(model, n_classes), center)
                outside = np.flatnonzero(folds == fold)
                trial.logits[outside] = measured[outside] @ kernel + bias
                bar.advance(1 / len(models))
            trial.scores = Scores.of(trial.logits[held_out], codes[held_out])
            if best.heads and trial.scores.loss >= best.scores.loss:
                break
            best = trial
        model = _model()
        _solve(model, best.strength, features, codes_of_all, weights)
    return Head(*_moved(_dense(model, n_classes), center), best.scores, best.heads)


def head_of_strength(
    features: Array, codes: Codes, weights: npt.NDArray[Any], n_classes: int, strength: float
) -> tuple[Array, Array]:
    """Kernel and bias of the head with this C; arguments as for `fit_head`."""
    center, model = _center(features), _model()
    with threadpool_limits(1):
        _solve(model, strength, features - center, codes, weights)
    return _moved(_dense(model, n_classes), center)


def _center(features: Array) -> Array:
    """The mean of the features: the solver is several times as fast around zero."""
    center: Array = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    return center


@dataclass
class _Trial:
    """One strength and what it gave."""

    strength: float
    logits: Array = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    scores: Scores = field(default_factory=lambda: Scores(np.zeros(0), np.zeros(0, bool)))
    heads: dict[int, tuple[Array, Array]] = field(default_factory=dict)


def _model() -> Any:
    from sklearn.linear_model import LogisticRegression  # takes a second to import

    return LogisticRegression(max_iter=ITERATIONS, warm_start=True)


def _solve(model: Any, strength: float, features: Any, codes: Codes, weights: Any) -> None:
    model.C = strength
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a weak penalty has not converged: warm starts go on from there
        model.fit(features, codes, weights)


def _moved(head: tuple[Array, Array], center: Array) -> tuple[Array, Array]:
    """A head for features as they are, from one for features minus their mean."""
    kernel, bias = head
    return kernel, bias - center @ kernel


def _dense(model: Any, n_classes: int) -> tuple[Array, Array]:
    """Kernel and bias of a softmax over all classes; a class without images is never the answer."""
    kernel, bias = model.coef_.T, model.intercept_
    if kernel.shape[1] == 1:  # two classes: scikit-learn gives the difference
        kernel, bias = np.concatenate([-kernel / 2, kernel / 2], axis=1), np.concatenate([-bias / 2, bias / 2])
    whole = np.zeros((len(kernel), n_classes), np.float32)
    start = np.full(n_classes, bias.min() - 20, np.float32)
    whole[:, model.classes_], start[model.classes_] = kernel, bias
    return whole, start
