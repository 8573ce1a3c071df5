"""Figures: returned and not shown, and what is drawn in them."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from drawing import picture
from helpers import refused
from matplotlib.figure import Figure
from PIL import Image

from transferkit.errors import MissingExtraError
from transferkit.results import plots
from transferkit.results.scores import Bin

METRICS = {
    "loss": [3.0, 2.0, 1.0],
    "val_loss": [4.0, 3.0, 2.0],
    "accuracy": [0.1, 0.2, 0.3],
    "learning_rate": [1, 1, 1],
}


def drawn(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=40)
    return file.getvalue()


def labels(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_history_draws_training_and_validation_and_each_switch() -> None:
    figure = plots.history(METRICS, [1, 2], ["fit", "fine_tune", "fine_tune"])
    loss, accuracy = figure.axes
    assert labels(loss) == ["training", "validation", "fine_tune"]
    assert labels(accuracy) == ["training", "fine_tune"]
    assert [line.get_ydata().tolist() for line in loss.lines[:2]] == [METRICS["loss"], METRICS["val_loss"]]
    assert [line.get_xdata()[0] for line in loss.lines[2:]] == [1.5, 2.5]
    assert drawn(figure).startswith(b"\x89PNG")


def test_a_history_of_one_phase_has_no_switch() -> None:
    loss, _ = plots.history(METRICS, [], ["fit"]).axes
    assert len(loss.lines) == 2


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_epochs_are_counted_in_whole_numbers(epochs: int) -> None:
    figure = plots.history({"loss": [1.0] * epochs, "accuracy": [0.5] * epochs}, [], ["fit"])
    drawn(figure)
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == list(range(1, epochs + 1))


def test_a_confusion_matrix_is_coloured_by_shares_and_labelled_by_counts() -> None:
    matrix = np.array([[8, 2, 0], [0, 0, 0], [1, 0, 3]])
    axes = plots.confusion(matrix, ["cat", "dog", "owl"]).axes[0]
    assert [text.get_text() for text in axes.texts] == [str(n) for n in matrix.ravel()]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.8, 0.2, 0], [0, 0, 0], [0.25, 0, 0.75]])
    assert [text.get_color() for text in axes.texts] == ["white", *["black"] * 7, "white"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["cat", "dog", "owl"]


def test_of_many_classes_only_counts_above_0_are_written() -> None:
    names = [str(n) for n in range(47)]
    assert len(plots.confusion(7 * np.eye(47, dtype=int), names).axes[0].texts) == 47


def test_counts_that_do_not_fit_are_left_out() -> None:
    names = [str(n) for n in range(114)]
    assert len(plots.confusion(12 * np.eye(114, dtype=int), names).axes[0].texts) == 114
    assert len(plots.confusion(12345 * np.eye(114, dtype=int), names).axes[0].texts) == 0


@pytest.mark.parametrize(
    "count", [2, pytest.param(5, marks=pytest.mark.thorough), 47, pytest.param(114, marks=pytest.mark.thorough)]
)
def test_class_names_beside_a_matrix_do_not_overlap_and_lie_within_the_figure(count: int) -> None:
    names = [f"a class with a rather long name, number {n}" for n in range(count)]
    figure = plots.confusion(np.eye(count, dtype=int), names)
    figure.draw_without_rendering()
    axes, whole = figure.axes[0], figure.bbox
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(box.x0 >= whole.x0 and box.x1 <= whole.x1 for box in boxes)
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))
    assert axes.get_yticklabels()[0].get_fontsize() >= 5
    below = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(box.y0 >= whole.y0 for box in below)
    if count > 10:  # upright
        assert all(left.x1 <= right.x0 for left, right in pairwise(below))


def test_calibration_is_drawn_with_intervals_and_numbers_of_images() -> None:
    bins = [Bin(4, 0.55, 0.5, (0.15, 0.85)), Bin(30, 0.95, 0.9, (0.74, 0.97))]
    top, below = plots.calibration(bins).axes
    (bars,) = top.containers
    assert bars[0].get_xydata().tolist() == [[0.55, 0.5], [0.95, 0.9]]
    np.testing.assert_allclose([line[:, 1] for line in bars[2][0].get_segments()], [[0.15, 0.85], [0.74, 0.97]])
    assert [bar.get_height() for bar in below.containers[0]] == [4, 30]
    assert (top.get_ylabel(), below.get_xlabel(), below.get_ylabel()) == ("accuracy", "confidence", "images")


def test_a_grid_draws_each_image_under_its_title() -> None:
    images = [picture(seed) for seed in range(8)]
    figure = plots.grid(images, [f"no. {n}" for n in range(8)])
    assert [axes.get_title() for axes in figure.axes] == [f"no. {n}" for n in range(8)]
    for axes, image in zip(figure.axes, images, strict=True):
        assert np.array_equal(axes.images[0].get_array(), image)
    assert len({round(axes.get_position().y0, 3) for axes in figure.axes}) == 2


def test_pixels_off_the_scale_are_clipped_and_the_images_left_as_they_are() -> None:
    image = np.array([[[-20.0, 127.6, 300.0]]], np.float32)
    axes = plots.grid([image], ["x"]).axes[0]
    assert axes.images[0].get_array().tolist() == [[[0, 128, 255]]]
    assert image.max() == 300


def test_an_image_that_cannot_be_read_is_an_empty_tile_and_long_lines_keep_both_ends() -> None:
    axes = plots.grid([None, picture(0)], ["begin" + 50 * "-" + "end\nshort", "b"]).axes
    assert [text.get_text() for text in axes[0].texts] == ["cannot be read"]
    first, second = axes[0].get_title().split("\n")
    assert (first[:5], first[-3:], len(first), second) == ("begin", "end", 28, "short")


def test_a_grid_of_no_images_is_an_empty_figure() -> None:
    assert plots.grid([], []).axes == []


@pytest.mark.parametrize("name", ["$5 off", "a$\\bad$", "_hidden", "50 %"])
def test_names_are_drawn_as_they_are_written(name: str) -> None:
    assert drawn(plots.grid([picture(0)], [name]))
    assert drawn(plots.confusion(np.eye(2, dtype=int), [name, "b"]))


def test_drawing_changes_nothing_global() -> None:
    code = (
        "import sys; from transferkit.results import plots; plots.history({'loss': [1.0], 'accuracy': [1.0]}, [], ['fit']); "
        "assert 'matplotlib.figure' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_notebook_shows_a_figure_as_a_picture() -> None:
    figure = pickle.loads(pickle.dumps(plots.history(METRICS, [], ["fit"])))
    assert Image.open(io.BytesIO(figure._repr_png_())).size == (1000, 400)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with refused(MissingExtraError, "Drawing needs", "pip install 'transferkit[plot]'"):
        plots.grid([], [])
