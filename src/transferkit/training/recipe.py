"""Choices that `fit` and `fine_tune` make where the user leaves them open: short pure functions, with their reasons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Up to this many images, each one both trains and validates, in turn. Above it, 15 % of them are enough to validate on.
CROSS_VALIDATED = 1000
FOLDS = 5
TUNING_STEPS = 400
# Fine-tuning starts from a head with a strong penalty (C of scikit-learn): with one that fits the images, the loss is
# so low at once that the layers below have little left to learn (1.2 instead of 3.1 points on cifar10_large).
START_STRENGTH = 0.01
# A small data set is memorized in fewer steps.
MOST_EPOCHS = 25
# Each fold of fine-tuning costs a training run on four fifths of the images. Measuring about this many held-out images,
# with runs of half the length, led to the same choice as five whole folds in 6 of 7 draws (benchmarks/selection.py).
MEASURED = 100
FOLD_LENGTH = 0.5
# Adam moves a weight by about the rate in each step, so the rate is a share of the size of the weights. With kernels of
# MobileNetV2's size (a root mean square of 0.05) it is 4e-4; 3e-4 and 5e-4 gain the same within a point.
RATE_SHARE = 0.008
RATES = (3e-5, 2e-3)


def epochs_for(steps: int, count: int, batch_size: int) -> int:
    """How many epochs of `count` images make about `steps` steps, 1 to 25."""
    return int(np.clip(round(steps / -(-count // batch_size)), 1, MOST_EPOCHS))


def runs_for(count: int) -> int:
    """How many of the five folds fine-tuning is measured in, 1 to 5."""
    return int(np.clip(np.ceil(MEASURED * FOLDS / count), 1, FOLDS))


def fold_epochs(epochs: int) -> int:
    """How many epochs to train in a fold, which only estimates the gain from the run of `epochs` on all images."""
    return max(1, round(FOLD_LENGTH * epochs))


def peak_rate(sizes: Sequence[float]) -> float:
    """The peak rate of fine-tuning, for kernels of these sizes (root mean squares)."""
    return float(np.clip(RATE_SHARE * np.median(sizes), *RATES)) if len(sizes) else RATES[0]


def layer_rates(depths: Sequence[float], decay: float) -> list[float]:
    """The factor on each variable's rate: 1 in the head, `decay` in the first trained layer.

    Lower layers are more general and need to move less (Howard and Ruder, 2018, "ULMFiT"; Bao et al., 2022, "BEiT").

    Args:
        depths: the position of each variable in the trained layers, 0 (first layer) to 1 (head).
    """
    return [decay ** (1 - depth) for depth in depths]
