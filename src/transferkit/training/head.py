"""The best head on stored features: logistic regression, with its penalty chosen by cross-validation.

A head that is trained by steps is as good only if their number and rate suit the images: with many classes of few
images, 30 epochs of Adam stay several points below. The solver needs no such settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .._common.console import Console
from ..images import Codes, Indices
from .scores import Scores
from .solver import Array, HeadSolver, center_of

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
