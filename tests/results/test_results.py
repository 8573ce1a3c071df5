"""Predictions and histories: numbers with class names."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np
import pytest
from helpers import refused

import transferkit as tk
from transferkit import results

CLASSES = np.array(["cat", "dog", "owl"])
ROWS = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25], [0.05, 0.9, 0.05]], np.float32)
PATHS = ["a.jpg", "b.jpg", None, "d.jpg"]


@pytest.fixture
def predictions() -> results.Predictions:
    return results.Predictions(CLASSES, ROWS, PATHS)


# ---- predictions ----


def test_predictions_are_a_sequence_in_the_order_of_the_images(predictions: results.Predictions) -> None:
    assert len(predictions) == 4
    assert [p.label for p in predictions] == ["cat", "owl", "dog", "dog"]
    assert [p.path for p in predictions] == PATHS
    assert [p.confidence for p in predictions] == pytest.approx([0.7, 0.6, 0.5, 0.9])
    assert predictions[-1] == predictions[3] == predictions[np.int64(3)]
    assert predictions[0] in predictions
    with pytest.raises(IndexError):
        predictions[4]


def test_a_prediction_is_plain_python(predictions: results.Predictions) -> None:
    label, confidence, path, typicality = predictions[1]
    assert (type(label), type(confidence), type(path), type(typicality)) == (str, float, str, float)
    assert predictions[1] == results.Prediction("owl", confidence, "b.jpg")


@pytest.mark.parametrize("part", [[0, 2], [3, -1], [], np.array([2, 0]), np.array([True, False, False, True])])
def test_a_mask_or_positions_give_predictions(predictions: results.Predictions, part: object) -> None:
    chosen = predictions[part]  # type: ignore[index]
    assert isinstance(chosen, results.Predictions)
    positions = np.arange(4)[part].tolist()  # type: ignore[index]
    assert list(chosen) == [predictions[position] for position in positions]


def test_what_is_chosen_of_predictions_still_names_what_was_skipped() -> None:
    predictions = results.Predictions(CLASSES, ROWS, PATHS, {"c.jpg": "it is empty"})
    for chosen in (predictions[:2], predictions[[0, 1]], predictions[predictions.confidences < 0.65]):
        assert chosen.skipped == {"c.jpg": "it is empty"}


def test_positions_that_do_not_exist_are_an_index_error(predictions: results.Predictions) -> None:
    for wrong in ([4], np.ones(3, bool), "a"):
        with pytest.raises(IndexError):
            predictions[wrong]  # type: ignore[call-overload]


@pytest.mark.parametrize("part", [slice(1, 3), slice(None, None, -1), slice(9, 12), slice(-2, None)])
def test_a_slice_of_predictions_is_predictions(predictions: results.Predictions, part: slice) -> None:
    sliced = predictions[part]
    assert isinstance(sliced, results.Predictions)
    assert list(sliced) == list(predictions)[part]
    assert sliced.labels.tolist() == predictions.labels.tolist()[part]


def test_as_an_array_predictions_are_their_labels(predictions: results.Predictions) -> None:
    assert np.asarray(predictions).tolist() == ["cat", "owl", "dog", "dog"]
    assert np.array(predictions, dtype=object).dtype == object
    assert (np.asarray(predictions) == predictions.labels).all()
    assert predictions.confidences == pytest.approx([0.7, 0.6, 0.5, 0.9])


@pytest.mark.parametrize(("classes", "kind"), [([False, True], bool), ([3, 7], int), (["a", "b"], str)])
def test_labels_keep_the_type_of_the_classes(classes: list, kind: type) -> None:
    predictions = results.Predictions(np.array(classes), ROWS[:, :2], PATHS)
    assert [p.label for p in predictions] == [classes[i] for i in (0, 1, 1, 1)]
    assert {type(p.label) for p in predictions} == {kind}


def test_predictions_print_as_a_table(predictions: results.Predictions) -> None:
    lines = str(predictions).splitlines()
    assert lines[0].split() == ["image", "label", "confidence"]
    assert lines[2].split() == ["a.jpg", "cat", "0.700"]
    assert lines[4].split() == ["image", "2", "dog", "0.500"]
    assert len({len(line) for line in lines}) == 1
    assert repr(predictions) == "<Predictions: 4 images, 3 classes>"


def test_a_notebook_shows_predictions_as_a_table(predictions: results.Predictions) -> None:
    shown = predictions._repr_html_()
    assert shown.count("<tr>") == 5
    assert "<tr><td>image 2</td><td>dog</td><td>0.500</td></tr>" in shown


def test_many_predictions_print_their_first_twenty() -> None:
    many = results.Predictions(CLASSES, np.repeat(ROWS, 6, axis=0), [f"{n}.jpg" for n in range(24)])
    text = str(many)
    assert "19.jpg" in text
    assert "20.jpg" not in text
    assert text.endswith("... and 4 more")


def test_no_predictions_are_an_empty_sequence() -> None:
    none = results.Predictions(CLASSES, np.zeros((0, 3), np.float32), [])
    assert list(none) == []
    assert none.labels.shape == none.confidences.shape == (0,)
    assert np.asarray(none).tolist() == []
    assert str(none).split()[:3] == ["image", "label", "confidence"]


def test_predictions_become_a_data_frame(predictions: results.Predictions) -> None:
    frame = predictions.to_dataframe()
    assert frame.columns.tolist() == [
        "path",
        "label",
        "confidence",
        "typicality",
        *(f"probability of {c}" for c in CLASSES),
    ]
    assert frame["label"].tolist() == predictions.labels.tolist()
    np.testing.assert_array_equal(frame.iloc[:, 4:].to_numpy(np.float32), ROWS)


# ---- history ----

FIT = results.Phase(
    "fit",
    "dense",
    {"loss": [3.0, 2.0, 1.0], "accuracy": [0.1, 0.2, 0.3], "val_loss": [4.0, 3.0, 3.5], "learning_rate": [1, 1, 1]},
    2,
)
TUNE = results.Phase(
    "fine_tune", "block_13_expand", {"loss": [0.5, 0.25], "accuracy": [0.8, 0.9], "learning_rate": [0.1, 0.1]}, 0
)


@pytest.fixture
def history() -> results.History:
    return results.History((FIT, TUNE))


def test_a_history_runs_over_both_phases(history: results.History) -> None:
    assert history.epochs == 5
    assert history["loss"] == [3.0, 2.0, 1.0, 0.5, 0.25]
    assert (FIT.epochs, TUNE.epochs) == (3, 2)


def test_a_history_is_a_mapping_from_metrics_to_their_values(history: results.History) -> None:
    assert isinstance(history, Mapping)
    assert list(history) == list(history.keys()) == history.metrics == ["loss", "accuracy", "val_loss", "learning_rate"]
    assert len(history) == 4
    assert dict(history)["accuracy"] == history["accuracy"] == history.get("accuracy")
    assert "val_loss" in history
    assert "val_accuracy" not in history


def test_what_a_phase_did_not_record_is_nan(history: results.History) -> None:
    np.testing.assert_array_equal(history["val_loss"], [4.0, 3.0, 3.5, np.nan, np.nan])
    np.testing.assert_array_equal(results.History((TUNE, FIT))["val_loss"], [np.nan, np.nan, 4.0, 3.0, 3.5])


def test_an_unknown_metric_is_refused_with_those_recorded(history: results.History) -> None:
    with pytest.raises(KeyError, match=r"'val_acc' is not recorded; there are loss, accuracy, val_loss, learning_rate"):
        history["val_acc"]


def test_a_history_prints_each_epoch_and_marks_the_one_that_was_kept(history: results.History) -> None:
    lines = str(history).splitlines()
    assert lines[0].split() == ["phase", "epoch", "loss", "accuracy", "val_loss"]
    assert [line.split()[:3] for line in lines[2:7]] == [
        ["fit", "1", "3.0000"],
        ["fit", "2*", "2.0000"],
        ["fit", "3", "1.0000"],
        ["fine_tune", "1", "0.5000"],
        ["fine_tune", "2", "0.2500"],
    ]
    assert lines[6].split()[-1] == "-"
    assert lines[7].startswith("*")
    assert repr(history) == "<History: 5 epochs in 2 phases>"


def test_a_notebook_shows_a_history_as_a_table(history: results.History) -> None:
    shown = history._repr_html_()
    assert shown.count("<tr>") == 6
    assert "<td>2*</td><td>2.0000</td>" in shown
    assert "the epoch that was kept" in shown


def test_a_history_becomes_a_data_frame_of_epochs(history: results.History) -> None:
    frame = history.to_dataframe()
    assert frame["phase"].tolist() == ["fit"] * 3 + ["fine_tune"] * 2
    assert frame["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert frame["accuracy"].tolist() == history["accuracy"]


def test_the_figure_of_a_history_marks_the_switch(history: results.History) -> None:
    loss, accuracy = history.plot().axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    assert loss.lines[0].get_ydata().tolist() == history["loss"]
    assert loss.lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert [list(axes.lines[-1].get_xdata()) for axes in (loss, accuracy)] == [[3.5, 3.5]] * 2


def test_an_empty_history_has_no_epochs() -> None:
    assert results.History().epochs == 0
    assert dict(results.History()) == {}


def test_a_history_cannot_be_changed(history: results.History) -> None:
    with pytest.raises(AttributeError):
        history.phases = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        history.phases[0].kept = 1  # type: ignore[misc]


@pytest.mark.parametrize("of", ["predictions", "history"])
def test_without_pandas_a_data_frame_names_the_extra(of: str, request, monkeypatch: pytest.MonkeyPatch) -> None:
    result = request.getfixturevalue(of)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with refused(tk.MissingExtraError, "DataFrame", "pip install 'transferkit[pandas]'"):
        result.to_dataframe()


def test_a_name_that_no_terminal_can_show_prints_on_one_line() -> None:
    names = ["new\nline.jpg", "\udcff.jpg", "क्\u200dष.jpg"]
    found = results.Predictions(np.array(["a", "b"]), np.full((3, 2), 0.5, np.float32), names)
    lines = str(found).splitlines()
    assert len(lines) == 5
    assert [line.split()[0] for line in lines[2:]] == ["new\\nline.jpg", "\\udcff.jpg", "क्\u200dष.jpg"]
