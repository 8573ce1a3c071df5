"""Whether a tuned network is better than what there was before, measured on images that neither was trained on.

Epochs are not compared: the best of many by few images is the luckiest. There are two candidates, the tuned network and
the point half-way between it and the one before (Wortsman et al., 2022, "WiSE-FT"), and the gain in loss is compared
with its standard error, image by image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..images import Codes
from ..results import Selection
from .scores import Scores, temperature

# A gain must be more than this many of its standard errors.
ERRORS = 0.5


def select(
    before: npt.NDArray[Any], candidates: Mapping[str, npt.NDArray[Any]], codes: Codes, folds: int = 0
) -> tuple[Selection, float]:
    """The state to keep, and what to multiply its logits with.

    Args:
        before: logits `(n, n_classes)` of the classifier from before.
        candidates: logits of the others, by name.
        codes: the classes of the images.
        folds: how many folds these are from; 0 = a validation set.
    """
    # At its best temperature too: else a mere change of confidence would pass for a better network.
    old = Scores.of(temperature(before, codes) * before, codes)
    candidates = {name: logits for name, logits in candidates.items() if np.isfinite(logits).all()}
    if not candidates:
        inf = float("inf")
        return Selection("before", old.loss, inf, inf, old.accuracy, 0.0, len(codes), folds), 1.0
    factors = {name: temperature(logits, codes) for name, logits in candidates.items()}
    found = {name: Scores.of(factors[name] * logits, codes) for name, logits in candidates.items()}
    name = min(found, key=lambda name: found[name].loss)
    new = found[name]
    gain, error = old.gain(new)
    is_better = gain > ERRORS * error
    figures = (old.loss, new.loss, error, old.accuracy, new.accuracy, len(codes), folds)
    return Selection(name if is_better else "before", *figures), factors[name] if is_better else 1.0
