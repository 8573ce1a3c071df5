"""Images with several labels each: how labels are read, what is learnt, said, measured and saved."""

from __future__ import annotations

import csv
import io
import json
from itertools import permutations
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from conftest import Make
from drawing import Pixels, draw, write_png
from helpers import refused
from networks import TINY
from pages import Page
from sklearn.metrics import average_precision_score, f1_score

import transferkit as tk
from transferkit import comparison
from transferkit.__main__ import main
from transferkit.classifier import explaining
from transferkit.errors import InvalidInputError
from transferkit.features import forecast
from transferkit.results import MultiLabelEvaluation, MultiLabelPredictions, plots
from transferkit.training import fitting

KINDS = ("lying", "red", "standing")
Names = list[list[str]]


def side_by_side(count: int, seed: int) -> tuple[Pixels, Names]:
    """Pictures of 32 x 64 pixels with two halves, each one of three kinds or grey, and the kinds in each."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for _ in range(count):
        halves = [KINDS[code] if code < 3 else None for code in rng.integers(0, 4, 2)]
        grey = np.full((32, 32, 3), 128, np.uint8)
        images.append(np.concatenate([grey if kind is None else draw(kind, rng, (32, 32)) for kind in halves], axis=1))
        labels.append(sorted({kind for kind in halves if kind}))
    return np.stack(images), labels


def matrix(labels: Names) -> npt.NDArray[np.int64]:
    return np.array([[kind in names for kind in KINDS] for names in labels], np.int64)


def answers(clf: tk.TransferClassifier, images: Pixels) -> Any:
    predictions = clf.predict(images, verbose=0)
    assert isinstance(predictions, MultiLabelPredictions)
    return predictions


@pytest.fixture(scope="module")
def several() -> tk.TransferClassifier:
    images, labels = side_by_side(90, seed=1)
    return tk.TransferClassifier("TransferKitTiny", seed=0, cache=False).fit(images, labels, verbose=0)


@pytest.fixture(scope="module")
def evaluation(several: tk.TransferClassifier) -> MultiLabelEvaluation:
    found = several.evaluate(*side_by_side(60, seed=2), verbose=0)
    assert isinstance(found, MultiLabelEvaluation)
    return found


# ---- what is learnt ----


def test_labels_are_learnt_found_by_themselves_and_measured(evaluation: MultiLabelEvaluation) -> None:
    assert evaluation.classes.tolist() == list(KINDS)
    assert evaluation.mean_average_precision > 0.9
    assert evaluation.macro_f1 > 0.8
    assert min(scores.recall for scores in evaluation.per_label.values()) > 0.7


def test_the_figures_are_those_of_scikit_learn(evaluation: MultiLabelEvaluation) -> None:
    true = matrix(side_by_side(60, seed=2)[1])
    given = matrix([list(names) for names in evaluation.predictions.labels])
    probabilities = evaluation.predictions.probabilities
    assert evaluation.mean_average_precision == pytest.approx(
        average_precision_score(true, probabilities, average="macro")
    )
    assert evaluation.micro_f1 == pytest.approx(f1_score(true, given, average="micro"))
    assert evaluation.macro_f1 == pytest.approx(f1_score(true, given, average="macro"))
    assert evaluation.accuracy == pytest.approx((true == given).all(axis=1).mean())
    losses = keras.losses.binary_crossentropy(true.astype(np.float32), probabilities)
    assert evaluation.loss == pytest.approx(float(np.mean(losses)), abs=1e-5)
    assert "mean average precision" in str(evaluation)
    frame = evaluation.to_dataframe()
    assert list(frame.columns[:5]) == ["path", "label", "predicted", "confidence", "loss"]
    assert frame["loss"].mean() == pytest.approx(evaluation.loss)


def test_the_page_shows_all_labels_and_the_highest_losses_first(evaluation: MultiLabelEvaluation) -> None:
    evaluation.html("page.html")
    page = Page(Path("page.html"))
    assert all(kind in page.text for kind in KINDS)
    assert f"mean average precision {evaluation.mean_average_precision:.4f}" in page.text
    losses = [float(caption.split("loss ")[1].split("image")[0]) for _, caption in page.figures]
    frame = evaluation.to_dataframe().sort_values("loss", ascending=False)
    assert losses == sorted(losses, reverse=True) == frame["loss"].round(2).tolist()[: len(losses)]
    (pictures, caption), worst = page.figures[0], frame.iloc[0]
    assert caption.startswith(f"{', '.join(worst['label']) or '-'}; predicted: {', '.join(worst['predicted']) or '-'};")
    assert pictures[0].size == (64, 32)
    with refused(InvalidInputError, "must end in .html"):
        evaluation.html("page.txt")


def test_the_figure_has_a_bar_for_each_label(evaluation: MultiLabelEvaluation) -> None:
    (axes,) = evaluation.plot().axes
    rows = [evaluation.per_label[tick.get_text()] for tick in axes.get_yticklabels()]
    bars: list[float] = [patch.get_width() for patch in axes.containers[0]]
    assert bars == sorted(bars) == [row.average_precision for row in rows]
    precision, recall = (np.asarray(line.get_xdata()).tolist() for line in axes.lines)
    assert precision == [row.precision for row in rows]
    assert recall == [row.recall for row in rows]
    assert len(plots.precisions([], np.empty((0, 3))).axes[0].patches) == 0


def test_predictions_are_tuples_of_names_above_their_thresholds(several: tk.TransferClassifier) -> None:
    images, _ = side_by_side(30, seed=3)
    predictions = answers(several, images)
    sums = predictions.probabilities.sum(axis=1)
    assert sums.max() - sums.min() > 0.5
    for number, prediction in enumerate(predictions):
        own = predictions.probabilities[number]
        assert set(prediction.label) == {
            k for k, p, t in zip(KINDS, own, predictions.thresholds, strict=True) if p >= t
        }
        assert list(prediction.confidence) == sorted(prediction.confidence, reverse=True)
    assert {len(p.label) for p in predictions} >= {1, 2}
    chosen = predictions[[4, 2]]
    assert [p.label for p in chosen] == [predictions[4].label, predictions[2].label]
    assert predictions[1:1].labels.tolist() == []
    assert predictions.to_dataframe()["label"].tolist() == list(predictions.labels)


@pytest.mark.thorough
@pytest.mark.parametrize("weight", ["balanced", {"red": 5.0}])
def test_weights_raise_the_probability_of_a_label_that_few_images_have(weight: Any, few_red: Any, make: Make) -> None:
    (images, labels), test, plain = few_red
    weighted = make(cache=False).fit(images, labels, validation=None, class_weight=weight, verbose=0)
    assert weighted.predict_proba(test, verbose=0)[:, 1].mean() > plain


@pytest.fixture(scope="module")
def few_red() -> Any:
    """Pictures of which six have the label "red", others, and the mean probability of it without weights."""
    images, labels = side_by_side(60, seed=5)
    holders = [number for number, names in enumerate(labels) if "red" in names][6:]
    kept = np.setdiff1d(np.arange(len(images)), holders)
    images, labels, test = images[kept], [labels[number] for number in kept], side_by_side(40, seed=6)[0]
    clf = tk.TransferClassifier(TINY, weights=None, seed=0, cache=False).fit(images, labels, validation=None, verbose=0)
    return (images, labels), test, clf.predict_proba(test, verbose=0)[:, 1].mean()


@pytest.mark.thorough
def test_rare_labels_are_on_both_sides_and_keep_their_threshold(make: Make) -> None:
    images, labels = side_by_side(40, seed=7)
    labels = [[*names, *["rare"] * (number < 5), *["once"] * (number == 9)] for number, names in enumerate(labels)]
    order = np.random.default_rng(0).permutation(len(images))  # which does not matter
    one = make(cache=False).fit(images, labels, validation=0.2, verbose=0)
    other = make(cache=False).fit(images[order], [labels[at] for at in order], validation=0.2, verbose=0)
    (phase,) = one.history_.phases
    assert phase.validation_images == 8
    assert phase.images["rare"] == 4
    assert phase.images["once"] == 1
    counts = np.array([sum(kind in names for names in labels) for kind in KINDS])
    trained = np.array([phase.images[kind] for kind in KINDS])
    assert (np.abs(trained - 0.8 * counts) <= 1.5).all()
    thresholds = dict(zip(one.classes_.tolist(), answers(one, images[:1]).thresholds, strict=True))
    assert thresholds["once"] == thresholds["rare"] == 0.5
    assert 0.5 not in [thresholds[kind] for kind in KINDS]
    assert one.predict_proba(images[:5], verbose=0) == pytest.approx(
        other.predict_proba(images[:5], verbose=0), abs=1e-5
    )


def test_logits_neighbours_and_typicality_are_there_too(several: tk.TransferClassifier) -> None:
    images, labels = side_by_side(90, seed=1)
    predictions = answers(several, images[:4])
    logits = several.decision_function(images[:4], verbose=0)
    assert 1 / (1 + np.exp(-logits)) == pytest.approx(predictions.probabilities, abs=1e-5)
    nearest: Any = several.neighbours(images[:4], 1, verbose=0)
    assert [found[0].label for found in nearest] == list(map(tuple, labels[:4]))
    assert predictions[0].typicality == pytest.approx(predictions.typicalities[0])
    assert predictions[1:3].typicalities.tolist() == predictions.typicalities[1:3].tolist()


@pytest.mark.parametrize("validation", [None, 0.25])
def test_a_head_that_is_trained_by_steps_learns_several_labels(validation: Any, make: Make) -> None:
    images, labels = side_by_side(60, seed=1)
    clf = make(cache=False).fit(images, labels, validation=validation, epochs=60, learning_rate=0.02, verbose=0)
    (phase,) = clf.history_.phases
    assert phase.metrics["loss"][-1] < 0.8 * phase.metrics["loss"][0]
    assert phase.metrics["loss"][0] < 0.75
    probabilities = clf.predict_proba(images, verbose=0)
    assert average_precision_score(matrix(labels), probabilities, average="macro") > 0.75


@pytest.mark.parametrize(
    "validation", [pytest.param("auto", marks=pytest.mark.thorough), pytest.param(None, marks=pytest.mark.slow)]
)
def test_fine_tune_learns_several_labels(validation: Any, make: Make) -> None:
    images, labels = side_by_side(60, seed=1)
    clf = make(cache=False).fit(images, labels, verbose=0)
    before = average_precision_score(matrix(labels), clf.predict_proba(images, verbose=0), average="macro")
    clf.fine_tune(at="stage1", steps=60, learning_rate=0.01, validation=validation, verbose=0)
    phase = clf.history_.phases[1]
    after = average_precision_score(matrix(labels), clf.predict_proba(images, verbose=0), average="macro")
    assert phase.metrics["loss"][-1] < phase.metrics["loss"][0]
    assert (phase.selection is None) == (validation is None)
    assert after > before
    assert len(answers(clf, images).thresholds) == 3


# ---- explained ----


def test_the_heatmap_of_a_label_lies_on_the_half_that_has_it(several: tk.TransferClassifier) -> None:
    rng = np.random.default_rng(4)
    images = [np.concatenate([draw(kind, rng, (32, 32)) for kind in pair], axis=1) for pair in permutations(KINDS, 2)]
    asked = [pair[0] for pair in permutations(KINDS, 2)]
    found = several.explain(images, asked, verbose=0)
    width = found[0].heatmap.shape[1]
    assert [one.label for one in found] == asked
    assert min(one.heatmap[:, : width // 2].sum() / one.heatmap.sum() for one in found) > 0.6
    probabilities = several.predict_proba(images, verbose=0)
    sure = several.explain(images, verbose=0)
    assert [one.label for one in sure] == several.classes_[probabilities.argmax(axis=1)].tolist()
    assert [one.confidence for one in sure] == pytest.approx(probabilities.max(axis=1).tolist(), abs=1e-5)


def test_the_places_add_up_to_how_far_a_label_is_above_its_threshold(several: tk.TransferClassifier) -> None:
    size = several.network_.input_shape[1:3]
    images = np.stack([draw(kind, np.random.default_rng(4), size) for kind in KINDS])
    network, codes = several._fitted.network, np.array([2, 0, 1])
    given = keras.ops.convert_to_tensor(images.astype(np.float32))
    places = explaining._activation_map(network, network.backbone.output, given, codes)
    thresholds = answers(several, images[:1]).thresholds
    wanted = several.decision_function(images, verbose=0) - np.log(thresholds / (1 - thresholds))
    np.testing.assert_allclose(places.numpy().mean(axis=(1, 2)), wanted[np.arange(3), [2, 0, 1]], atol=0.02)


# ---- compared ----


@pytest.mark.thorough
def test_backbones_are_compared_by_the_loss_that_fit_finds(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "TIMED_SECONDS", 0.01)
    monkeypatch.setattr(fitting, "REPEATS", 1)
    monkeypatch.setattr(comparison, "LOOK_SIZE", (16, 32))  # as `fit` reads the images: the folds depend on their order
    images, labels = side_by_side(60, seed=1)
    found = tk.compare(images, labels, {"wide": make(input_size=(16, 32)), "tiny": make(input_size=16)}, verbose=0)
    first, second = found.rows
    assert first.loss < second.loss
    assert second.behind == pytest.approx(second.loss - first.loss)
    assert second.behind_error > 0
    best = found.best(verbose=0)
    phase = best.history_.phases[0]
    assert best.network_.input_shape[1:3] == first.input_size
    assert first.loss == pytest.approx(phase.metrics["val_loss"][0], rel=1e-3)
    assert first.accuracy == pytest.approx(phase.metrics["val_accuracy"][0])
    assert found.plot().axes[0].get_ylabel() == "cross-validated loss"


@pytest.mark.thorough
def test_a_classifier_says_that_lists_of_one_label_are_several_labels(make: Make) -> None:
    images, labels = side_by_side(8, seed=1)[0], [["a"], ["b"]] * 4
    with refused(InvalidInputError, "labels='multiple'"):
        tk.compare(images, labels, make())
    assert tk.compare(images, labels, make(labels="multiple"), verbose=0).best(verbose=0).labels == "multiple"


# ---- saved ----


@pytest.mark.thorough
def test_a_saved_classifier_gives_the_same_labels_here_and_in_plain_keras(
    several: tk.TransferClassifier, tmp_path: Path
) -> None:
    images, _ = side_by_side(8, seed=8)
    expected = answers(several, images)
    several.save(tmp_path / "several.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "several.keras")
    found = answers(loaded, images)
    assert loaded.labels == "multiple"
    assert found.labels.tolist() == expected.labels.tolist()
    assert found.thresholds.tolist() == expected.thresholds.tolist()
    assert "none, one or several of 3 labels" in loaded.card()
    assert "share of images whose labels are all correct" in loaded.card()
    assert "3 classes" in loaded.summary()
    size = several.network_.input_shape[1:3]
    same_size = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype(np.uint8)
    plain = keras.saving.load_model(tmp_path / "several.keras").predict(same_size.astype(np.float32), verbose=0)
    assert plain == pytest.approx(several.predict_proba(same_size, verbose=0), abs=1e-4)


@pytest.mark.thorough
def test_the_command_line_writes_all_labels_of_an_image(
    several: tk.TransferClassifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, path = tmp_path / "several.keras", tmp_path / "a.png"
    several.save(file)
    write_png(path, np.concatenate([draw(kind, np.random.default_rng(0), (32, 32)) for kind in KINDS[:2]], axis=1))
    expected: Any = several.predict([path], verbose=0)[0]
    assert main(["predict", str(file), str(path)]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert tuple(row["label"].split(";")) == expected.label
    assert main(["predict", str(file), str(path), "--format", "jsonl"]) == 0
    assert tuple(json.loads(capsys.readouterr().out)["label"]) == expected.label


# ---- how labels are read ----


@pytest.mark.parametrize("form", ["tuples", "sets", "frame", "nullable frame", "columns", "column of lists", "dataset"])
def test_every_form_gives_the_same_labels(form: str, tmp_path: Path) -> None:
    images, labels = side_by_side(30, seed=9)
    paths = [str(tmp_path / f"{number:02d}.png") for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        write_png(Path(path), image)
    table = pd.DataFrame(matrix(labels), columns=list(KINDS))
    data: Any = paths
    given: Any = {"tuples": [tuple(names) for names in labels], "sets": [set(names) for names in labels]}.get(form)
    if form == "frame":
        given = table.astype(bool)
    elif form == "nullable frame":
        given = table.astype("boolean")
    elif form == "columns":
        data = table.assign(path=paths)
    elif form == "column of lists":
        data = pd.DataFrame({"image": paths, "labels": labels})
    elif form == "dataset":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((images, matrix(labels))).batch(5)
        data.class_names = list(KINDS)
    report = tk.check_images(data, given, cache=False, verbose=0)
    assert report.counts == dict(zip(KINDS, matrix(labels).sum(axis=0).tolist(), strict=True))


def test_labels_may_be_whole_numbers() -> None:
    images, labels = side_by_side(12, seed=9)
    numbers = [[10 * KINDS.index(name) for name in names] for names in labels]
    assert list(tk.check_images(images, numbers, cache=False, verbose=0).counts) == [0, 10, 20]


def test_one_label_in_each_list_needs_a_word(make: Make) -> None:
    images, kinds = side_by_side(6, seed=1)[0], [["a"], ["b"]] * 3
    with refused(InvalidInputError, "lists of one label each", "labels='multiple'"):
        make().fit(images, kinds)
    clf = make(labels="multiple", cache=False).fit(images, kinds, validation=None, verbose=0)
    assert answers(clf, images).probabilities.shape == (6, 2)


@pytest.mark.parametrize(
    ("kind", "labels", "parts"),
    [
        ("auto", ["a", ["b", "c"], "a", "b"], ["'a'", "not a list of labels", "['cat']"]),
        ("auto", [["a", "b"], None, ["b"], ["a"]], ["None", "not a list of labels"]),
        ("auto", [["a", "b"], ["a", None], ["b"], ["a"]], ["missing"]),
        ("auto", [["a", "b"], ["a", 1], ["b"], ["a"]], ["mix types"]),
        ("auto", [["a", "b"], ["a"]], ["2 images", "4 images"]),
        ("auto", [["a"], [], ["a"], ["a"]], ["only the class 'a'"]),
        ("auto", np.array([[1, 1], [0, 1], [0, 0], [1, 0]]), ["(4, 2)", "DataFrame(array, columns=names)"]),
        ("multiple", np.eye(4, dtype=int), ["(4, 4)", "DataFrame(array, columns=names)"]),
        ("multiple", ["a", "b", "a", "b"], ["'a'", "not a list of labels"]),
        ("single", [["a", "b"], ["a"], ["b"], ["a"]], ["['a', 'b']", "labels='multiple'"]),
        ("several", ["a", "b", "a", "b"], ["'several'", "'auto', 'single', 'multiple'"]),
    ],
)
def test_labels_that_break_a_rule_are_refused(kind: Any, labels: Any, parts: list[str], make: Make) -> None:
    with refused(InvalidInputError, *parts):
        make(labels=kind).fit(side_by_side(4, seed=1)[0], labels)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"date": ["2024", "2025"] * 2}, ["column 'date' holds '2024' at 0", "Drop columns that are not labels"]),
        ({"red": [1, 0, np.nan, 1]}, ["column 'red' holds nan at 2", "fill in"]),
        ({"red": [1, 0, 0, 2]}, ["column 'red' holds 2 at 3", "correct"]),
        ({"lying": [1, 1, None, None], "red": [None, None, 1, 1]}, ["column 'lying' holds nan at 2", "fill in"]),
    ],
)
@pytest.mark.parametrize("kind", ["auto", "multiple"])
def test_a_column_that_is_not_0_and_1_is_named(kind: Any, changes: Any, parts: list[str], make: Make) -> None:
    table = pd.DataFrame({"lying": [1, 1, 0, 0], "red": [1, 0, 1, 1], **changes})
    with refused(InvalidInputError, *parts, "in a DataFrame must be one column, or a column of 0 and 1 for each class"):
        make(labels=kind).fit(side_by_side(4, seed=1)[0], table)
    with refused(InvalidInputError, *parts, "beside 'Path'", "a column called 'label', or a column of 0 and 1"):
        make(labels=kind).fit(table.assign(Path=list("abcd")))


def test_a_folder_has_one_label_an_image(make: Make, photos: Path, several: tk.TransferClassifier) -> None:
    Path("table.csv").write_text("path,red\n")
    with refused(InvalidInputError, "folder", "list of labels per image"):
        make(labels="multiple").fit(photos / "train")
    with refused(InvalidInputError, "test data is a folder"):
        several.evaluate(photos / "test")
    with refused(InvalidInputError, "'table.csv' is a file: the test data must be", "pandas.read_csv"):
        several.evaluate("table.csv")


def test_one_file_has_one_list_of_labels(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_png(path, side_by_side(1, seed=1)[0][0])
    with refused(InvalidInputError, "a.png", "all labels of an image are in one list"):
        make().fit([path, path], [["a", "b"], ["b"]])


def test_an_unknown_label_of_test_data_is_refused(several: tk.TransferClassifier) -> None:
    with refused(InvalidInputError, "'rde'", "did you mean 'red'?"):
        several.evaluate(side_by_side(2, seed=1)[0], [["rde"], []])


def test_the_data_check_counts_labels_and_finds_copies_with_other_labels() -> None:
    images, labels = side_by_side(30, seed=1)
    images[1] = images[0]
    labels[0], labels[1] = ["red"], []
    report = tk.check_images(images, labels, verbose=0)
    assert report.counts == dict(zip(KINDS, matrix(labels).sum(axis=0).tolist(), strict=True))
    (fault,) = [fault for fault in report.faults if fault.kind == "conflicting duplicate"]
    assert "which has the labels 'red'" in fault.detail


def test_a_batch_is_answered_with_lists_as_predict_gives_tuples(several: tk.TransferClassifier) -> None:
    images, _ = side_by_side(20, seed=3)
    expected = answers(several, images)
    answer = tk.PredictBatch(several, probabilities=True)({"image": [*images, b"broken"]})
    assert answer["label"].tolist() == [*map(list, expected.labels), None]
    assert answer["confidence"].tolist() == [*map(list, expected.confidences), None]
    assert {len(names) for names in expected.labels} >= {1, 2}
    assert np.array_equal(answer["probabilities"][:-1], expected.probabilities)
    assert answer["error"].tolist() == [None] * 20 + ["it is not an image of a known format"]


# ---- what is for one label an image ----


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (lambda clf, images: clf.coverage(images, [[]] * len(images)), "Each label has its own threshold instead"),
        (lambda clf, images: clf.predict(images, min_confidence=0.5), "Each label has its own threshold instead"),
        (lambda clf, images: answers(clf, images).at_least(0.5), "each label has a threshold"),
        (lambda clf, images: clf.suspicious_labels(), "highest losses"),
    ],
)
def test_what_knows_one_label_only_is_refused(call: Any, remedy: str, several: tk.TransferClassifier) -> None:
    with refused(InvalidInputError, "is for one label per image", remedy):
        call(several, side_by_side(6, seed=1)[0])


def test_unlabelled_images_are_for_one_label(make: Make) -> None:
    images, labels = side_by_side(6, seed=1)
    with refused(InvalidInputError, "unlabelled", "several labels"):
        make().fit(images, labels, unlabelled=images)


def test_labels_that_were_never_held_out_are_not_made_more_certain(make: Make) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    clf = make(labels="multiple").fit(images, [["a"], ["b"], *[[]] * 10], verbose=0)
    assert clf.history_.phases[0].temperature >= 1


def test_a_table_without_a_column_for_a_class_is_refused(several: tk.TransferClassifier) -> None:
    images, labels = side_by_side(6, seed=5)
    table = pd.DataFrame(matrix(labels), columns=list(KINDS))
    assert several.evaluate(images, table, verbose=0).classes.tolist() == list(KINDS)
    with refused(InvalidInputError, "test data", "no column for the class 'red'"):
        several.evaluate(images, table.drop(columns="red"), verbose=0)


@pytest.mark.parametrize(
    "classes", [2, pytest.param(3, marks=pytest.mark.thorough), pytest.param(4, marks=pytest.mark.thorough), 5]
)
def test_some_images_get_the_bits_that_they_get_among_many(make: Make, pictures: Any, classes: int) -> None:
    images = pictures[0]
    labels = [[f"label {code}" for code in range(classes) if (number + code) % 3] for number in range(len(images))]
    clf = make(cache=False).fit(images, labels, verbose=0)
    whole = clf.predict_proba(images, verbose=0)
    for count in (1, 2, 3, 7):
        assert np.array_equal(clf.predict_proba(images[:count], verbose=0), whole[:count])
