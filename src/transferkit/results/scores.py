"""Scores of labelled probabilities: intervals, areas under curves, and the gap between confidence and accuracy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._public import public_in_room
from .predictions import Label

Codes = npt.NDArray[np.int64]  # the class of each image as its column of the probabilities
BINS = 15  # of confidence, of equal width, as Guo et al. (2017) use
NORMAL = 1.959964  # 95 % of a normal distribution lies within this many standard deviations


@public_in_room
class ClassScores(NamedTuple):
    """The figures of one class; NaN where a figure is not defined (no image of it, or never predicted).

    Attributes:
        precision: share of the images predicted as this class that belong to it.
        recall: share of the images of this class that were predicted as it.
        f1: the harmonic mean of the two.
        support: number of images of this class.
        roc_auc: how often an image of this class has a higher probability of it than an image of another class, 0 to 1.
    """

    precision: float
    recall: float
    f1: float
    support: int
    roc_auc: float = np.nan


@public_in_room
class ScoredImage(NamedTuple):
    """One image of an evaluation.

    Attributes:
        path: the image's file, or None if it came as an array.
        label: the true class.
        predicted: the class that was predicted.
        confidence: the probability of the predicted class, 0 to 1.
        loss: the cross-entropy of this image in nats.
        position: its position in ``evaluation.predictions``.
    """

    path: str | None
    label: Label
    predicted: Label
    confidence: float
    loss: float
    position: int


@public_in_room
class ConfusedPair(NamedTuple):
    """Images of one class that were predicted as another.

    Attributes:
        label: the true class.
        predicted: the class that was predicted.
        images: the number of such images.
        share: their share of the images of the true class, above 0 to 1.
    """

    label: Label
    predicted: Label
    images: int
    share: float


class Bin(NamedTuple):
    """The images whose confidence is in one range.

    Attributes:
        images: how many there are.
        confidence: their mean confidence.
        accuracy: the share of them that is classified correctly.
        interval: the 95 % interval of that share.
    """

    images: int
    confidence: float
    accuracy: float
    interval: tuple[float, float]


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927), assuming independent images."""
    share, scale = right / count, 1 + NORMAL**2 / count
    centre = share + NORMAL**2 / (2 * count)
    reach = NORMAL * (share * (1 - share) / count + (NORMAL / (2 * count)) ** 2) ** 0.5
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)


def calibration_bins(confidences: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> list[Bin]:
    """The confidence bins that contain images, in ascending order."""
    numbers = np.digitize(confidences, np.arange(1, BINS) / BINS, right=True)
    bins = []
    for number in np.unique(numbers):
        chosen = numbers == number
        count, hits = int(chosen.sum()), int(right[chosen].sum())
        mean = float(confidences[chosen].mean(dtype=float))
        bins.append(Bin(count, mean, hits / count, wilson(hits, count)))
    return bins


def calibration_error(bins: list[Bin]) -> float:
    """The mean gap between accuracy and confidence over all images, bin by bin (Guo et al., 2017)."""
    total = sum(one.images for one in bins)
    return sum(one.images / total * abs(one.accuracy - one.confidence) for one in bins)


def in_top(probabilities: npt.NDArray[np.float32], codes: Codes, k: int) -> npt.NDArray[np.bool_]:
    """Whether each image's class is among its `k` most probable; among equal ones, the first wins, as in `argmax`."""
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    found: npt.NDArray[np.bool_] = (top == codes[:, np.newaxis]).any(axis=1)
    return found


def roc_auc(probabilities: npt.NDArray[np.float32], codes: Codes) -> list[float]:
    """The area under the ROC curve of each class against the others; NaN if it has no images, or all of them."""
    from sklearn.metrics import roc_auc_score  # takes a second to import

    areas = []
    for code in range(probabilities.shape[1]):
        of_class = codes == code
        defined = 0 < of_class.sum() < len(codes)
        areas.append(float(roc_auc_score(of_class, probabilities[:, code])) if defined else np.nan)
    return areas
