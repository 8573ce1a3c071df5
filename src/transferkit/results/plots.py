"""Figures of numbers and of images, drawn with matplotlib (extra ``plot``); returned, never shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import import_extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["confusion", "grid", "history"]


def _figure(width: float, height: float) -> Figure:
    """A figure outside of pyplot: nothing global changes, and nothing is shown."""
    matplotlib = import_extra("matplotlib.figure", "Drawing", "plot")
    figure: Figure = matplotlib.Figure(figsize=(width, height), layout="constrained")
    return figure


def history(metrics: Mapping[str, Sequence[float]], switches: Sequence[int], phases: Sequence[str]) -> Figure:
    """Loss and accuracy by epoch; a line where one phase ends and the next begins."""
    figure = _figure(10, 4)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in metrics:
                epochs = np.arange(1, len(metrics[key]) + 1)
                axes.plot(epochs, metrics[key], marker="o", markersize=3, label=label)
        for switch, phase in zip(switches, phases[1:], strict=True):
            axes.axvline(switch + 0.5, color="grey", linestyle="--", label=phase if switch == switches[0] else None)
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    return figure


def confusion(matrix: npt.NDArray[np.int64], names: Sequence[str]) -> Figure:
    """A confusion matrix with its counts; colours are shares of the true class."""
    side = max(4.0, 0.6 * len(names) + 2)
    figure = _figure(side, side)
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(names) <= 30:
        for row, column in np.ndindex(matrix.shape):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour)
    return figure


def grid(images: Sequence[npt.NDArray[np.uint8 | np.float32]], titles: Sequence[str]) -> Figure:
    """Images RGB 0-255 in rows of up to six, each under its title."""
    columns = min(6, max(1, len(images)))
    rows = -(-len(images) // columns)
    figure = _figure(2 * columns, 2.3 * max(1, rows))
    for number, (image, title) in enumerate(zip(images, titles, strict=True)):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.imshow(np.clip(np.round(image), 0, 255).astype(np.uint8))
        axes.set_title(title, fontsize=9, parse_math=False)
        axes.axis("off")
    return figure
