"""Figures of numbers and of images, drawn with matplotlib (extra ``plot``); they are returned, never shown."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from ..errors import TransferKitError, import_extra
from .scores import Bin
from .text import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LARGEST = 40  # the longest side of a figure in inches
FEW = 12  # up to this many classes, counts of 0 are written too
LONGEST = 40  # characters of a class name beside a matrix
TITLE = 28  # characters of a line above an image


class Drawn:
    """An object that a notebook shows as its figure, if it has one and matplotlib is installed."""

    def plot(self) -> Figure:
        raise NotImplementedError

    def _repr_png_(self) -> bytes | None:
        with contextlib.suppress(TransferKitError):
            return _png(self.plot())
        return None


def _figure(width: float, height: float) -> Figure:
    """A figure made without pyplot, so that no global state changes; as the value of a cell, a notebook shows it."""
    matplotlib = import_extra("matplotlib.figure", "Drawing", "plot")
    figure: Any = matplotlib.Figure(figsize=(width, height), layout="constrained")
    figure._repr_png_ = partial(_png, figure)  # by themselves, notebooks show only pyplot's figures
    return cast("Figure", figure)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def history(metrics: Mapping[str, Sequence[float]], switches: Sequence[int], phases: Sequence[str]) -> Figure:
    """Loss and accuracy by epoch; a line where one phase ends and the next begins."""
    figure = _figure(10, 4)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label, marker in ((name, "training", "o"), (f"val_{name}", "validation", "s")):
            if key in metrics:
                epochs = np.arange(1, len(metrics[key]) + 1)
                axes.plot(epochs, metrics[key], marker=marker, markersize=4, label=label)
                axes.set_xlim(0.5, len(epochs) + 0.5)
        for switch, phase in zip(switches, phases[1:], strict=True):
            axes.axvline(switch + 0.5, color="grey", linestyle="--", label=phase if switch == switches[0] else None)
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.legend()
    return figure


def confusion(matrix: npt.NDArray[np.int64], names: Sequence[str]) -> Figure:
    """A confusion matrix with its counts, where they fit; colours are shares of the true class."""
    count, names = len(names), [shortened(name, LONGEST) for name in names]
    cell = min(max(9 / count, 0.16), 0.9, LARGEST / count)  # inches
    step = math.ceil(0.1 / cell)  # names that would be too small to read are left out
    font = min(10.0, 60 * cell * step)
    margin = 0.5 + max(map(len, names)) * font * 0.6 / 72
    figure = _figure(count * cell + margin + 1, count * cell + margin)
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=min(1.0, 4 / (count * cell)), aspect=30)
    ticks, upright = range(0, count, step), count > 10
    turned = {"rotation": 90} if upright else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(ticks, names[::step], fontsize=font, parse_math=False, **turned)
    axes.set_yticks(ticks, names[::step], fontsize=font, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    _write_counts(axes, matrix, shares, 72 * cell)
    return figure


def _write_counts(axes: Axes, matrix: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], width: float) -> None:
    """Write the counts into cells of `width` points, unless they would be too small to read."""
    font = min(10.0, 0.55 * width, 1.3 * width / len(str(matrix.max())))
    for row, column in np.argwhere(matrix if len(matrix) > FEW else matrix >= 0) if font >= 5 else ():
        colour = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour, fontsize=font)


def calibration(bins: Sequence[Bin]) -> Figure:
    """Accuracy by confidence with 95 % intervals, above the number of images with that confidence."""
    figure = _figure(5, 6)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    count, confidence, accuracy, intervals = (np.array(column) for column in zip(*bins, strict=True))
    reach = np.abs(intervals.T - accuracy)
    top.plot([0, 1], [0, 1], color="grey", linestyle="--", label="confidence = accuracy")
    top.errorbar(confidence, accuracy, reach, fmt="o", capsize=3, label="images, 95 % interval")
    top.set(ylabel="accuracy", xlim=(0, 1.02), ylim=(-0.02, 1.02))
    top.legend()
    below.bar(confidence, count, width=0.03)
    below.set(xlabel="confidence", ylabel="images")
    return figure


def grid(images: Sequence[npt.NDArray[np.uint8 | np.float32] | None], titles: Sequence[str]) -> Figure:
    """Images RGB 0-255 in rows of up to six, each under its title; None is an image that cannot be read."""
    lines = max((title.count("\n") for title in titles), default=0)
    short = ["\n".join(shortened(line, TITLE) for line in title.split("\n")) for title in titles]
    figure, tiles = _tiles(short, 2, 2.4 + 0.2 * lines)
    for axes, image in zip(tiles, images, strict=True):
        if image is None:
            axes.imshow(np.full((3, 4, 3), 235, np.uint8))
            axes.text(1.5, 1, "cannot be read", ha="center", va="center")
        else:
            axes.imshow(np.clip(np.round(image), 0, 255).astype(np.uint8))
    return figure


def overlays(
    images: Sequence[npt.NDArray[np.uint8]],
    heatmaps: Sequence[npt.NDArray[np.float32] | None],
    shapes: Sequence[tuple[int, int]],
    titles: Sequence[str],
) -> Figure:
    """Images RGB 0-255 in rows of up to six, each in the aspect ratio of its shape (height, width), under a heatmap 0-1."""
    figure, tiles = _tiles(titles, 2.4, 2.7)
    for axes, image, heatmap, (height, width) in zip(tiles, images, heatmaps, shapes, strict=True):
        extent = 0, width, height, 0
        if heatmap is None:
            axes.imshow(image, extent=extent)
        else:
            axes.imshow(image.mean(axis=-1), extent=extent, cmap="gray", vmin=0, vmax=255)
            axes.imshow(heatmap, extent=extent, cmap="viridis", vmin=0, vmax=1, alpha=0.2 + 0.4 * heatmap)
    return figure


def _tiles(titles: Sequence[str], width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with a tile of `width` x `height` inches for each title, in rows of up to six."""
    columns = min(6, max(1, len(titles)))
    rows = -(-len(titles) // columns)
    figure = _figure(width * columns, height * max(1, rows))
    tiles = [figure.add_subplot(rows, columns, number) for number in range(1, len(titles) + 1)]
    for axes, title in zip(tiles, titles, strict=True):
        axes.set_title(title, fontsize=9, parse_math=False)
        axes.axis("off")
    return figure, tiles


def tradeoff(
    names: Sequence[str],
    costs: Sequence[float],
    figures: Sequence[float],
    errors: Sequence[float],
    unbeaten: Sequence[bool],
    *,
    title: str,
) -> Figure:
    """Accuracies or losses, the best first, against milliseconds per image; a line joins those unbeaten at their cost.

    The names are in a column, each joined to its point, so that they never overlap.
    """
    figure = _figure(8, max(4.0, 0.35 * len(names) + 1))
    axes = figure.subplots()
    line = sorted((cost, one) for cost, one, is_on in zip(costs, figures, unbeaten, strict=True) if is_on)
    axes.plot(*zip(*line, strict=True), color="tab:orange", label="no other is both as accurate and as fast")
    axes.errorbar(costs, figures, yerr=errors, fmt="o", color="tab:blue", capsize=3, label="with its standard error")
    joined = {"arrowstyle": "-", "color": "lightgrey", "relpos": (0, 0.5), "shrinkB": 4}
    options: dict[str, Any] = {"textcoords": "axes fraction", "arrowprops": joined, "va": "center", "parse_math": False}
    for number, (name, cost, one) in enumerate(zip(names, costs, figures, strict=True)):
        axes.annotate(name, (cost, one), (1.05, 1 - (number + 0.5) / len(names)), **options)
    axes.set_xscale("log")
    ticker = import_extra("matplotlib.ticker", "Drawing", "plot")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("milliseconds per image")
    axes.set_ylabel(title)
    if figures[0] < figures[-1]:  # losses: the best on top
        axes.invert_yaxis()
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    return figure


def precisions(names: Sequence[str], figures: npt.NDArray[np.float64]) -> Figure:
    """Average precision, precision and recall of labels `(n, 3)`, the lowest first, which is drawn at the bottom."""
    count, places = len(names), np.arange(len(names))
    step = max(1, math.ceil(count / LARGEST / 6))  # names that would be too small to read are left out
    figure = _figure(8, min(LARGEST, 0.25 * count + 1.2))
    axes = figure.subplots()
    axes.barh(places, figures[:, 0], color="lightsteelblue", label="average precision")
    axes.plot(figures[:, 1], places, "o", clip_on=False, color="tab:blue", label="precision at the threshold")
    axes.plot(figures[:, 2], places, "x", clip_on=False, color="tab:orange", label="recall at the threshold")
    axes.set_yticks(places[::step], [shortened(name, LONGEST) for name in names[::step]], parse_math=False)
    axes.set(xlim=(0, 1.02), ylim=(-0.7, count - 0.3))
    figure.legend(loc="outside upper left", ncols=3, frameon=False)
    return figure


def coverage(shares: npt.NDArray[np.float64], accuracies: npt.NDArray[np.float64]) -> Figure:
    """The accuracy on the most confident images, against their share of all."""
    figure = _figure(6, 4)
    axes = figure.subplots()
    axes.plot(100 * shares, 100 * accuracies, drawstyle="steps-pre")
    axes.set_xlim(0, 100)
    axes.set_ylim(top=100 + 0.02 * (100 - axes.get_ylim()[0]))  # the line at 100 shows, and nothing above it
    axes.set_xlabel("images answered, the most confident first (%)")
    axes.set_ylabel("accuracy on these (%)")
    axes.grid(alpha=0.3)
    return figure
