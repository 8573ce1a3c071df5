"""Answers only where the classifier is sure: `predict(min_confidence=...)` and `coverage`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import refused

import transferkit as tk
from transferkit.results import Coverage, Predictions

CONFIDENCES = np.array([0.9, 0.6, 0.8, 0.7, 0.9], np.float32)
CORRECT = np.array([True, False, True, False, True])


@pytest.fixture
def coverage() -> Coverage:
    return Coverage(CONFIDENCES, CORRECT)


def test_images_of_one_confidence_are_answered_together(coverage: Coverage) -> None:
    np.testing.assert_allclose(coverage.thresholds, [0.9, 0.8, 0.7, 0.6], rtol=1e-6)
    np.testing.assert_allclose(coverage.coverage, [0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(coverage.accuracy, [1, 1, 0.75, 0.6])


def test_the_accuracy_at_a_share_of_the_images(coverage: Coverage) -> None:
    assert [coverage.at(share) for share in (0.1, 0.6, 0.61, 1)] == [1, 1, 0.75, 0.6]


def test_the_threshold_for_an_accuracy_is_one_that_predict_takes(coverage: Coverage) -> None:
    assert coverage.threshold_for(accuracy=0.7) == float(np.float32(0.7))
    assert coverage.threshold_for(0.6) == float(np.float32(0.6))
    assert (coverage.threshold_for(1) <= CONFIDENCES).sum() == 3


def test_an_accuracy_that_is_out_of_reach_is_refused() -> None:
    with refused(tk.InvalidInputError, "`accuracy=0.9`", "highest", "0.5000"):
        Coverage(CONFIDENCES, np.array([True, False, False, False, False])).threshold_for(0.9)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, "half", True])
def test_a_share_is_above_0_to_1(coverage: Coverage, share: Any) -> None:
    with refused(tk.InvalidInputError, "coverage", "0.9"):
        coverage.at(share)


def test_it_prints_as_a_table_and_becomes_a_data_frame(coverage: Coverage) -> None:
    lines = str(coverage).splitlines()
    assert lines[0].split() == ["min_confidence", "answered", "accuracy", "95", "%", "interval"]
    assert lines[2].split()[:3] == ["0.600000", "1.000", "0.6000"]
    assert len(lines) == 2 + 3  # shares of 1, 0.8 and 0.6: others are no different
    assert coverage.to_dataframe().columns.tolist() == ["min_confidence", "coverage", "accuracy"]
    assert repr(coverage) == "<Coverage: 5 images, accuracy 0.6000, 0.6000 at 90 % coverage>"


def test_a_printed_threshold_answers_what_its_row_says() -> None:
    confidences = np.array([0.9999999, 0.9999997, 0.6299996, 0.1], np.float32)
    lines = str(Coverage(confidences, np.ones(4, bool))).splitlines()[2:]
    assert len(lines) == 3
    for threshold, share, *_ in map(str.split, lines):
        assert (confidences >= float(threshold)).mean() >= float(share)


def test_it_is_drawn(coverage: Coverage) -> None:
    (axes,) = coverage.plot().axes
    assert axes.lines[0].get_xdata().tolist() == pytest.approx([40, 60, 80, 100])
    assert "%" in axes.get_xlabel()


# ---- predictions ----


def test_below_the_confidence_the_label_is_none() -> None:
    rows = np.array([[0.95, 0.05], [0.4, 0.6]], np.float32)
    unsure = Predictions(np.array([3, 7]), rows, ["a", "b"]).at_least(0.9)
    assert unsure.labels.tolist() == [3, None]
    assert [(p.label, type(p.label)) for p in unsure] == [(3, int), (None, type(None))]
    assert unsure[1].confidence == pytest.approx(0.6)
    np.testing.assert_array_equal(unsure.probabilities, rows)
    assert unsure[1:].labels.tolist() == [None]
    assert unsure.at_least(0.5).labels.tolist() == [3, 7]
    assert str(unsure).splitlines()[3].split() == ["b", "-", "0.600"]
    assert unsure.to_dataframe()["label"].tolist() == [3, None]


def test_predict_takes_a_confidence(loaded: tk.TransferClassifier, pictures: Any) -> None:
    plain = loaded.predict(pictures[0], verbose=0)
    middle = float(np.median(plain.confidences))
    unsure = loaded.predict(pictures[0], min_confidence=middle, verbose=0)
    assert unsure.labels.dtype == object
    np.testing.assert_array_equal(unsure.labels == None, plain.confidences < middle)  # noqa: E711
    np.testing.assert_array_equal(unsure.probabilities, plain.probabilities)


@pytest.mark.parametrize("least", [-0.1, 1.5, float("nan"), "high", True])
def test_a_confidence_is_0_to_1(loaded: tk.TransferClassifier, least: Any) -> None:
    with refused(tk.InvalidInputError, "min_confidence", "must be a number of at least 0 and at most 1", "0.9"):
        loaded.predict("nowhere", min_confidence=least)


def test_coverage_of_a_classifier(loaded: tk.TransferClassifier, photos: Any) -> None:
    found = loaded.coverage(photos / "test", verbose=0)
    assert found.images == 18
    assert found.at(1) == loaded.score(photos / "test")
