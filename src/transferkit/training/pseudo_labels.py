"""A head that also learns from unlabelled images: it labels those that it is confident about, and is solved for again.

Self-training on fixed features (Lee, 2013, "Pseudo-Label"). Each round uses a larger share of the images assigned to
each class, the most confident first, so that no class takes over. ``benchmarks/unlabelled.py`` measures the gain.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .._common.console import Console
from ..images import Codes, Indices
from ..results import Selection
from .head import Array, Head, HeadSolver, center_of
from .scores import Scores
from .selection import select

ROUNDS = 5
SHARE = 0.9  # of the unlabelled images, in the last round
WEIGHT = 0.3  # of an unlabelled image, times its confidence; a labelled one has 1
# Each fold solves for a head in each round: more images take more time, and the gain stops growing at a few thousand.
MOST_UNLABELLED = 5000


def learn_unlabelled(
    head: Head,
    features: Array,
    measured: Array,
    codes: Codes,
    weights: npt.NDArray[Any],
    folds: Indices,
    unlabelled: Array,
    console: Console,
) -> tuple[Head, Selection]:
    """A head that also learns from `unlabelled`, if its out-of-fold loss is lower; else `head` unchanged.

    The other arguments are those from which `fit_head` made `head`, which must have heads of folds.

    Args:
        unlabelled: float32 `(m, d)`.
    """
    views = len(features) // len(codes)
    weights, codes_of_all, folds_of_all = (np.tile(array, views) for array in (weights, codes, folds))
    setting = unlabelled, head.bias.size, head.strength
    logits, heads = np.zeros_like(head.logits), {}
    with console.bar("learning from unlabelled images", len(head.fold_heads) + 1, "heads") as bar:
        for fold in head.fold_heads:
            inside, outside = folds_of_all != fold, np.flatnonzero(folds == fold)
            part = features[inside], codes_of_all[inside], weights[inside]
            kernel, bias = heads[fold] = _taught(*part, *setting)
            logits[outside] = measured[outside] @ kernel + bias
            bar.advance(1)
        rows = head.held_out
        selection, _ = select(head.logits[rows], {"unlabelled": logits[rows]}, codes[rows], len(heads))
        if selection.kept == "before":
            return head, replace(selection, kept="labelled")
        kernel, bias = _taught(features, codes_of_all, weights, *setting)
        bar.advance(1)
    scores = Scores.of(logits[rows], codes[rows])
    return replace(head, kernel=kernel, bias=bias, logits=logits, scores=scores, fold_heads=heads), selection


def _taught(
    features: Array, codes: Codes, weights: npt.NDArray[Any], unlabelled: Array, n_classes: int, strength: float
) -> tuple[Array, Array]:
    """A head solved for on labelled features, then on these and the unlabelled ones, in rounds."""
    center = center_of(np.concatenate([features, unlabelled]))
    solver, features, others = HeadSolver(center, n_classes), features - center, unlabelled - center
    head = solver.head(strength, features, codes, weights)
    for number in range(1, ROUNDS + 1):
        rows, guessed, confidence = _surest(unlabelled @ head[0] + head[1], SHARE * number / ROUNDS)
        inputs, targets = np.concatenate([features, others[rows]]), np.concatenate([codes, guessed])
        head = solver.head(strength, inputs, targets, np.concatenate([weights, WEIGHT * confidence]))
    return head


def _surest(logits: Array, share: float) -> tuple[Indices, Codes, npt.NDArray[Any]]:
    """For each class, this share of the images that the head assigns to it: their rows, classes and confidences."""
    guessed = logits.argmax(axis=1)
    confidence = np.exp(-Scores.of(logits, guessed).losses)
    order = np.argsort(-confidence, kind="stable")
    by_class = [order[guessed[order] == code] for code in np.unique(guessed)]
    rows = np.concatenate([found[: int(np.ceil(share * len(found)))] for found in by_class])
    return rows, guessed[rows], confidence[rows]
