"""Labels that look wrong, by confident learning (Northcutt et al., 2021, "Confident Learning").

Heads that were not trained on an image predict its class. A class is likely if its probability is at least the average
for the images of that class; an image is suspicious if neither the most probable of its likely classes nor that of all
classes is its own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..images import Codes, Indices, Split
from ..results import SuspiciousLabel, SuspiciousLabels
from .head import head_of_strength

# The penalty per image (C of scikit-learn times images): strong, so that no head fits the wrong labels themselves.
STRENGTH = 1.5
ROUNDS = 2  # the second trains without the images that the first one finds suspicious


def suspicious_labels(
    features: npt.NDArray[np.float32], split: Split, folds: Indices, n: int | None
) -> SuspiciousLabels:
    """Labels that look wrong, ranked by how many times more probable another class is.

    Args:
        features: float32 `(n, d)`, of unit size.
        folds: the fold that holds each image out; -1 for none: such images are not judged.
        n: how many to list; None = all suspicious ones.
    """
    images, codes, names = split.training.images, split.training.codes, split.training.classes.tolist()
    if len(np.unique(codes)) < 2:
        return SuspiciousLabels([], 0)
    suspicious = np.zeros(len(codes), bool)
    for _ in range(ROUNDS):
        probabilities = _out_of_fold(features, codes, folds, ~suspicious, len(names))
        suspicious, suggested = _judged(probabilities, codes, folds >= 0)
    rows = np.arange(len(codes))
    confidence, other = probabilities[rows, codes], np.where(np.eye(len(names))[codes], 0, probabilities).max(axis=1)
    order = np.argsort(confidence / other, kind="stable")
    order = order[suspicious[order]] if n is None else order[folds[order] >= 0][:n]
    columns = (
        map(images.path, order.tolist()),
        (names[code] for code in codes[order]),
        (names[code] for code in suggested[order]),
        confidence[order].tolist(),
        split.rows[0][order].tolist(),
    )
    return SuspiciousLabels(list(map(SuspiciousLabel, *columns)), int((folds >= 0).sum()))


def _out_of_fold(
    features: npt.NDArray[np.float32], codes: Codes, folds: Indices, trusted: npt.NDArray[np.bool_], n_classes: int
) -> npt.NDArray[np.float64]:
    """Probabilities `(n, n_classes)` of each image, by a head that was trained on the trusted images of other folds.

    Equal for all classes if an image is in no fold.
    """
    probabilities = np.full((len(codes), n_classes), 1 / n_classes)
    for fold in np.unique(folds[folds >= 0]).tolist():
        inside, outside = (folds != fold) & trusted, folds == fold
        if len(np.unique(codes[inside])) < len(np.unique(codes)):
            inside = ~outside
        weights = np.ones(int(inside.sum()), np.float32)
        kernel, bias = head_of_strength(features[inside], codes[inside], weights, n_classes, STRENGTH / len(codes))
        logits = features[outside].astype(np.float64) @ kernel + bias
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities[outside] = shares / shares.sum(axis=1, keepdims=True)
    return probabilities


def _judged(
    probabilities: npt.NDArray[np.float64], codes: Codes, known: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], Codes]:
    """Which images are suspicious, and the class other than its own that fits each one best."""
    rows, n_classes = np.arange(len(codes)), probabilities.shape[1]
    owners = [known & (codes == code) for code in range(n_classes)]
    usual = np.array([probabilities[own, code].mean() if own.any() else 2.0 for code, own in enumerate(owners)])
    likely = np.where(probabilities >= usual, probabilities, -1.0)
    best = likely.argmax(axis=1)
    suspicious = known & (likely.max(axis=1) >= 0) & (best != codes) & (probabilities.argmax(axis=1) != codes)
    others = probabilities.copy()
    others[rows, codes] = -1.0
    return suspicious, np.where(suspicious, best, others.argmax(axis=1)).astype(np.int64)
