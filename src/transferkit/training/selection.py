"""Whether a tuned network is better than the previous one, measured on images that neither was trained on.

Epochs are not compared: with few images, the best of many epochs is the luckiest one. The candidates are the tuned network
and two points on the line from the previous one to it (Wortsman et al., 2022, "WiSE-FT"). The gain in loss, image by
image, is compared with its standard error. Of candidates of which none is clearly better, the one nearest to the tuned
network is preferred: runs in folds are shorter than the final one, which makes the other points look better than they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..images import Codes
from ..results import Selection
from .scores import Scores, best_factor

# A gain must be more than this many of its standard errors.
ERRORS = 0.5

# How far each candidate is from the previous network (0) to the tuned one (1); of two that are as good, the first is kept.
SHARES = {"tuned": 1.0, "three-quarters": 0.75, "half-way": 0.5}


def select(
    before: npt.NDArray[Any], candidates: Mapping[str, npt.NDArray[Any]], codes: Codes, folds: int = 0
) -> tuple[Selection, float]:
    """The state to keep, and the factor to multiply its logits by.

    Args:
        before: logits `(n, n_classes)` of the previous classifier.
        candidates: logits of the others, by name; of two that are as good, the first is chosen.
        codes: the classes of the images.
        folds: how many folds the images are from; 0 = a validation set.
    """
    # At its best temperature too: otherwise a mere change in confidence would pass for a better network.
    old = Scores.of(best_factor(before, codes) * before, codes)
    candidates = {name: logits for name, logits in candidates.items() if np.isfinite(logits).all()}
    if not candidates:
        inf = float("inf")
        return Selection("before", old.loss, inf, inf, old.accuracy, 0.0, len(codes), folds), 1.0
    factors = {name: best_factor(logits, codes) for name, logits in candidates.items()}
    found = {name: Scores.of(factors[name] * logits, codes) for name, logits in candidates.items()}
    best = min(found.values(), key=lambda scores: scores.loss)
    name = next(name for name, scores in found.items() if not _is_better(best, scores))
    new = found[name]
    is_better = _is_better(new, old)
    figures = (old.loss, new.loss, old.gain(new)[1], old.accuracy, new.accuracy, len(codes), folds)
    return Selection(name if is_better else "before", *figures), factors[name] if is_better else 1.0


def _is_better(new: Scores, old: Scores) -> bool:
    gain, error = old.gain(new)
    return gain > ERRORS * error
