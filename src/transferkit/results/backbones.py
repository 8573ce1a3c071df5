"""How backbones did in a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .._console import duration
from .._public import public_in_room
from .text import Table

HEAD = ["backbone", "input", "accuracy", "log loss", "behind the best", "ms per image", "extraction", "weights"]


@public_in_room
@dataclass(frozen=True)
class BackboneScores:
    """How good a head one backbone gives, and what that costs; NaN where it was not measured.

    Attributes:
        name: of the backbone, or the one that `compare` was given.
        input_size: (height, width) in pixels; None if the backbone cannot be built for the size that was asked for.
        accuracy, accuracy_error: share of the images, 0 to 1, that are right when the head is solved for without their
            fold, and its standard error. With several labels an image, all of them must be right.
        loss, loss_error: their mean cross-entropy in nats, and its standard error.
        behind, behind_error: by how much the accuracy is below that of the most accurate backbone, and the standard
            error of this difference, paired image by image. With several labels an image, by how much the loss is above
            the lowest.
        milliseconds: per image, of the backbone alone, in batches on all cores.
        seconds: that feature extraction took; next to nothing where features were stored.
        megabytes: of the weights in float32.
        unbeaten: nothing else is at least as good and as cheap, in milliseconds.
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
) -> list[BackboneScores]:
    """The same rows, best first, those that were not measured last, with what only all of them together tell.

    Args:
        goodness: by the number of the row, which images were right, or how often; or their losses, negative.
    """
    order = sorted(goodness, key=lambda number: (-goodness[number].mean(), rows[number].milliseconds))
    found: list[BackboneScores] = []
    for number in order:
        behind = goodness[order[0]].astype(float) - goodness[number]
        error = float(behind.std(ddof=1) / np.sqrt(len(behind))) if len(behind) > 1 else math.inf
        # All that come before are as good.
        unbeaten = all(rows[number].milliseconds < other.milliseconds for other in found)
        found.append(replace(rows[number], behind=float(behind.mean()), behind_error=error, unbeaten=unbeaten))
    return found + [row for row in rows if row.reason]


def backbone_parts(rows: Sequence[BackboneScores]) -> tuple[Table, str]:
    """A table of the rows that were measured, and the text below it: the reasons of the others."""
    cells = [_cells(row) for row in rows if not row.reason]
    lines = ["* nothing else is as good and as cheap"] if cells else []
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
