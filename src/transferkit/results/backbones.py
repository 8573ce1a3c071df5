"""The results of a comparison of backbones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .._common.console import duration
from .._public import public_in_room
from .text import Table

HEAD = ["backbone", "input", "accuracy", "log loss", "behind the best", "ms per image", "extraction", "weights"]


@public_in_room
@dataclass(frozen=True)
class BackboneScores:
    """The accuracy and the cost of a head on one backbone; NaN where it was not measured.

    Attributes:
        name: the name of the backbone, or the one that `compare` was given.
        input_size: (height, width) in pixels; None if the backbone cannot be built for the requested size.
        accuracy, accuracy_error: share of the images, 0 to 1, classified correctly by a head solved for without their
            fold, and its standard error. With several labels per image, all of them must be correct.
        loss, loss_error: their mean cross-entropy in nats, and its standard error.
        behind, behind_error: how far the accuracy is below that of the most accurate backbone, and the standard error
            of this difference, paired by image. With several labels per image, how far the loss is above the lowest.
        milliseconds: per image, for the backbone alone, in batches on all cores.
        seconds: how long feature extraction took; almost 0 if the features were stored.
        megabytes: the size of the weights in float32.
        unbeaten: no other backbone is both at least as good and at least as fast, in milliseconds.
        reason: why it was not measured; empty if it was.
    """

    name: str
    input_size: tuple[int, int] | None = None
    accuracy: float = math.nan
    accuracy_error: float = math.nan
    loss: float = math.nan
    loss_error: float = math.nan
    behind: float = math.nan
    behind_error: float = math.nan
    milliseconds: float = math.nan
    seconds: float = math.nan
    megabytes: float = math.nan
    unbeaten: bool = False
    reason: str = ""


def judged(
    rows: Sequence[BackboneScores], goodness: Mapping[int, npt.NDArray[np.bool_ | np.float64]]
) -> tuple[list[BackboneScores], list[int]]:
    """The rows, best first and unmeasured last, with the fields that compare them; and the number that each had.

    Args:
        goodness: by row number, which images were correct, or how often; or their negative losses.
    """
    order = sorted(goodness, key=lambda number: (-goodness[number].mean(), rows[number].milliseconds))
    found: list[BackboneScores] = []
    for number in order:
        behind = goodness[order[0]].astype(float) - goodness[number]
        error = float(behind.std(ddof=1) / np.sqrt(len(behind))) if len(behind) > 1 else math.inf
        # All earlier rows are at least as good.
        unbeaten = all(rows[number].milliseconds < other.milliseconds for other in found)
        found.append(replace(rows[number], behind=float(behind.mean()), behind_error=error, unbeaten=unbeaten))
    others = [number for number, row in enumerate(rows) if row.reason]
    return found + [rows[number] for number in others], order + others


def backbone_parts(rows: Sequence[BackboneScores]) -> tuple[Table, str]:
    """A table of the measured rows, and the text below it: why the others were not measured."""
    cells = [_cells(row) for row in rows if not row.reason]
    lines = ["* no other backbone is both as accurate and as fast"] if cells else []
    return (HEAD, cells), "\n".join(lines + [f"not measured: {row.name}: {row.reason}" for row in rows if row.reason])


def _cells(row: BackboneScores) -> list[str]:
    return [
        row.name + " *" * row.unbeaten,
        "{} x {}".format(*row.input_size or (0, 0)),
        f"{row.accuracy:.4f} +-{row.accuracy_error:.4f}",
        f"{row.loss:.3f} +-{row.loss_error:.3f}",
        f"{row.behind:.4f} +-{row.behind_error:.4f}" if row.behind_error else "-",
        f"{row.milliseconds:.1f}",
        duration(row.seconds),
        f"{row.megabytes:.1f} MB",
    ]
