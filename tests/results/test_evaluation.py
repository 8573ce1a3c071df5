"""Evaluations: the figures, against scikit-learn and by hand, and what is shown of them."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from drawing import picture
from helpers import refused, steady
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pages import Page, in_chromium
from PIL import Image

import transferkit as tk
from transferkit import results

CLASSES = np.array(["cat", "dog", "owl"])
ROWS = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25], [0.05, 0.9, 0.05]], np.float32)


def evaluation(codes: list[int], rows: np.ndarray = ROWS, classes: np.ndarray = CLASSES) -> results.Evaluation:
    return results.Evaluation(
        results.Predictions(classes, rows, [f"{n}.jpg" for n in range(len(rows))]), np.array(codes)
    )


def test_an_evaluation_has_the_figures_of_its_predictions() -> None:
    report = evaluation([0, 2, 0, 1])
    assert report.accuracy == 0.75
    assert report.loss == pytest.approx(-np.log([0.7, 0.6, 0.25, 0.9]).mean(), rel=1e-6)
    assert report.confusion_matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert report.labels.tolist() == ["cat", "owl", "cat", "dog"]
    assert report.classes.tolist() == CLASSES.tolist()
    assert type(report.accuracy) is type(report.loss) is float


PROBABILITIES = st.integers(2, 5).flatmap(
    lambda classes: st.tuples(
        arrays(np.float32, (12, classes), elements=st.floats(0.0625, 1, width=32)),
        st.lists(st.integers(0, classes - 1), min_size=12, max_size=12),
    )
)


@steady
@given(PROBABILITIES)
def test_the_figures_are_those_of_scikit_learn(drawn: tuple[np.ndarray, list[int]]) -> None:
    from sklearn import metrics

    raw, codes = drawn
    rows = raw / raw.sum(axis=1, keepdims=True)
    names = np.arange(rows.shape[1]) * 10
    report = evaluation(codes, rows, names)
    predicted = rows.argmax(axis=1)
    assert report.accuracy == pytest.approx(metrics.accuracy_score(codes, predicted))
    assert report.confusion_matrix.tolist() == metrics.confusion_matrix(codes, predicted, labels=names // 10).tolist()
    known = metrics.precision_recall_fscore_support(codes, predicted, labels=names // 10, zero_division=np.nan)
    found = np.array([report.per_class[name] for name in names.tolist()]).T
    np.testing.assert_allclose(found[:4], np.array(known, float), rtol=1e-6)
    assert report.loss == pytest.approx(-np.log(rows[np.arange(12), codes]).mean(), rel=1e-5)


def test_a_class_without_images_has_no_recall_and_one_never_predicted_no_precision() -> None:
    scores = evaluation([0, 0, 0, 0], np.repeat(ROWS[:2], 2, axis=0)).per_class
    assert tuple(scores["cat"])[:4] == (1.0, 0.5, pytest.approx(2 / 3), 4)
    assert (scores["owl"].precision, scores["owl"].f1, scores["owl"].support) == (0.0, 0.0, 0)
    assert math.isnan(scores["owl"].recall)
    assert all(math.isnan(value) for value in scores["dog"][:3])


def test_a_certain_mistake_has_a_finite_loss() -> None:
    rows = np.array([[1, 0, 0]], np.float32)
    assert evaluation([1], rows).loss == pytest.approx(-np.log(1e-7))
    assert evaluation([0], rows).loss == 0


def test_mistakes_are_listed_the_most_confident_first() -> None:
    mistakes = evaluation([1, 1, 0, 1]).mistakes
    assert [(true, p.label, p.path) for true, p in mistakes] == [
        ("dog", "cat", "0.jpg"),
        ("dog", "owl", "1.jpg"),
        ("cat", "dog", "2.jpg"),
    ]
    assert [p.confidence for _, p in mistakes] == pytest.approx([0.7, 0.6, 0.5])


def test_an_evaluation_prints_as_a_table() -> None:
    report = evaluation([0, 2, 0, 1])
    lines = str(report).splitlines()
    assert lines[0] == f"accuracy 0.7500 (95 % interval 0.3006 to 0.9544), loss {report.loss:.4f}, 4 images"
    assert lines[2].split() == ["class", "precision", "recall", "f1", "roc", "auc", "images"]
    assert lines[4].split() == ["cat", "1.000", "0.500", "0.667", "1.000", "2"]
    assert "accuracy 0.7500" in repr(report)


def test_the_figure_of_an_evaluation_holds_its_confusion_matrix() -> None:
    report = evaluation([0, 2, 0, 1], classes=np.array([1, 2, 3]))
    axes = report.plot().axes[0]
    assert [text.get_text() for text in axes.texts] == [str(n) for n in report.confusion_matrix.ravel()]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "3"]


# ---- more figures ----


def random_evaluation(classes: int, count: int, seed: int = 0, thumbnails: object = None) -> results.Evaluation:
    """Of a classifier that is often right, and else often mistakes a class for the next."""
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(classes), rng.integers(0, classes, count - classes)])
    logits = rng.normal(0, 1, (count, classes))
    logits[np.arange(count), codes] += 2
    logits[np.arange(count), (codes + 1) % classes] += 1
    rows = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = np.array([f"class {n:03d}" for n in range(classes)])
    paths = [f"{n}.jpg" for n in range(count)]
    return results.Evaluation(results.Predictions(names, rows.astype(np.float32), paths), codes, thumbnails)


def test_the_summary_figures_are_those_of_scikit_learn() -> None:
    from sklearn import metrics

    report = random_evaluation(7, 90)
    rows, true, predicted = report.predictions.probabilities, report.labels, report.predictions.labels
    known = metrics.precision_recall_fscore_support(true, predicted, average="macro")
    np.testing.assert_allclose(report.macro[:3], known[:3])
    assert report.macro.support == 90
    assert report.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(true, predicted))
    assert report.roc_auc == pytest.approx(
        np.mean([metrics.roc_auc_score(true == c, rows[:, n]) for n, c in enumerate(report.classes)])
    )
    for k in (1, 2, 5):
        assert report.top_k(k) == pytest.approx(metrics.top_k_accuracy_score(true, rows, k=k))


def test_means_are_over_the_classes_that_have_images() -> None:
    report = evaluation([0, 0, 1, 1], ROWS[[0, 1, 2, 2]])  # no owls, but one prediction of them
    assert report.balanced_accuracy == report.macro.recall == 0.75
    assert report.macro.precision == 1.0
    assert report.macro.f1 == pytest.approx((2 / 3 + 1) / 2)
    assert math.isnan(report.per_class["owl"].roc_auc)
    assert report.roc_auc == pytest.approx((report.per_class["cat"].roc_auc + report.per_class["dog"].roc_auc) / 2)


def test_a_class_that_was_never_predicted_has_precision_0_in_the_mean() -> None:
    report = evaluation([0, 2], ROWS[[0, 0]])
    assert math.isnan(report.per_class["owl"].precision)
    assert report.macro.precision == pytest.approx(0.5 / 2)


def test_images_of_one_class_alone_have_no_area() -> None:
    report = evaluation([1, 1, 1, 1])
    assert math.isnan(report.roc_auc)
    assert "nan" not in str(report)


@pytest.mark.parametrize(
    ("right", "count", "low", "high"), [(0, 10, 0, 0.2775), (10, 10, 0.7225, 1), (81, 263, 0.2553, 0.3662)]
)
def test_the_interval_of_the_accuracy_is_that_of_wilson(right: int, count: int, low: float, high: float) -> None:
    rows = np.tile(np.array([0.9, 0.1], np.float32), (count, 1))
    report = evaluation([0] * right + [1] * (count - right), rows, CLASSES[:2])
    assert report.accuracy_interval == pytest.approx((low, high), abs=5e-5)


def test_the_best_of_equal_classes_is_the_first_as_in_the_prediction() -> None:
    report = evaluation([1], np.full((1, 3), 1 / 3, np.float32))
    assert (report.accuracy, report.top_k(1), report.top_k(2), report.top_k(9)) == (0, 0, 1, 1)


def test_the_calibration_error_weighs_the_gap_of_each_bin_by_its_images() -> None:
    rows = np.array([[0.95, 0.05]] * 4 + [[0.6, 0.4]] * 6, np.float32)
    report = evaluation([0, 0, 0, 1, 0, 0, 0, 1, 1, 1], rows, CLASSES[:2])
    assert report.calibration_error == pytest.approx(0.4 * 0.2 + 0.6 * 0.1, abs=1e-6)
    certain = evaluation([0, 1], np.array([[1, 0], [0, 1]], np.float32), CLASSES[:2])
    assert certain.calibration_error == 0
    assert certain.loss == 0
    assert "-0.0" not in str(certain)


def test_the_highest_losses_come_first() -> None:
    report = evaluation([1, 1, 0, 1])
    images = report.top_losses(3)
    assert [(i.label, i.predicted, i.path, i.position) for i in images] == [
        ("dog", "cat", "0.jpg", 0),
        ("cat", "dog", "2.jpg", 2),
        ("dog", "owl", "1.jpg", 1),
    ]
    assert [i.loss for i in images] == pytest.approx(-np.log([0.2, 0.25, 0.3]))
    assert images[0].confidence == pytest.approx(0.7)
    assert len(report.top_losses(99)) == 4


def test_confused_pairs_are_the_most_frequent_mistakes() -> None:
    report = evaluation([1, 1, 0, 1, 0, 0, 0], ROWS[[0, 0, 2, 3, 1, 0, 0]])
    assert report.confused_pairs() == [
        ("dog", "cat", 2, pytest.approx(2 / 3)),
        ("cat", "dog", 1, 0.25),
        ("cat", "owl", 1, 0.25),
    ]
    assert len(report.confused_pairs(1)) == 1
    assert evaluation([0, 2, 1, 1]).confused_pairs() == []


@pytest.mark.parametrize("name", ["top_losses", "confused_pairs", "top_k", "plot_top_losses"])
@pytest.mark.parametrize("count", [0, 2.5, "3", True])
def test_a_count_is_a_whole_number(name: str, count: object) -> None:
    with refused(tk.InvalidInputError, "must be a whole number of 1 or more"):
        getattr(evaluation([0, 2, 1, 1]), name)(count)


def test_an_evaluation_becomes_a_data_frame_of_its_images() -> None:
    report = evaluation([1, 2, 1, 1])
    frame = report.to_dataframe()
    assert frame.columns.tolist() == [
        "path",
        "label",
        "predicted",
        "confidence",
        "loss",
        "typicality",
        *(f"probability of {c}" for c in CLASSES),
    ]
    assert frame["label"].tolist() == ["dog", "owl", "dog", "dog"]
    assert frame["predicted"].tolist() == ["cat", "owl", "dog", "dog"]
    assert frame["loss"].mean() == pytest.approx(report.loss)


def test_of_many_classes_the_worst_are_printed() -> None:
    report = random_evaluation(40, 400)
    lines = str(report).splitlines()
    assert len(lines) == 2 + 2 + 20 + 1
    assert "20 of 40 classes" in lines[-1]
    printed = [float(line.split()[4]) for line in lines[4:-1]]
    assert printed == sorted(printed)
    assert printed[-1] <= sorted(round(s.f1, 3) for s in report.per_class.values())[20]
    assert len(str(random_evaluation(30, 300)).splitlines()) == 2 + 2 + 30


def test_long_class_names_do_not_make_the_table_wide() -> None:
    names = np.array(["x" * 300, "y" * 300, "z"])
    lines = str(evaluation([0, 2, 1, 1], classes=names)).splitlines()
    assert max(map(len, lines[2:])) < 100


def test_a_notebook_shows_an_evaluation_as_a_table() -> None:
    shown = evaluation([0, 2, 1, 1], classes=np.array(["<b>", "&", "owl"]))._repr_html_()
    assert "accuracy 1.0000" in shown
    assert shown.count("<tr>") == 4
    assert "<td>&lt;b&gt;</td>" in shown
    assert "<td>&amp;</td>" in shown


# ---- the images ----


def test_the_images_are_read_again_to_be_drawn(loaded, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    report = loaded.evaluate("test", verbose=0)
    monkeypatch.chdir(photos.parent)
    axes = report.plot_top_losses(3).axes
    worst = report.top_losses(3)
    for one, drawn in zip(worst, axes, strict=True):
        assert np.array_equal(drawn.images[0].get_array(), np.asarray(Image.open(photos / one.path)))
        assert drawn.get_title() == f"{one.label}\npredicted: {one.predicted}\nconfidence {one.confidence:.2f}"


def test_images_in_memory_are_drawn_too(loaded, pictures) -> None:
    images, labels = pictures
    report = loaded.evaluate(images.astype(np.float32), labels, verbose=0)
    (axes,) = report.plot_top_losses(1).axes
    assert np.array_equal(axes.images[0].get_array(), images[report.top_losses(1)[0].position])


def test_what_cannot_be_read_any_more_has_an_empty_tile(loaded, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.png" for n in range(4)]
    for n, path in enumerate(paths):
        Image.fromarray(picture(n)).save(path)
    report = loaded.evaluate(paths, ["red", "lying"] * 2, verbose=0)
    paths[1].unlink()
    paths[2].write_bytes(b"no image")
    drawn = [[text.get_text() for text in axes.texts] for axes in report.plot_top_losses(4).axes]
    assert sorted(drawn) == [[], [], ["cannot be read"], ["cannot be read"]]
    report.html("page.html")
    page = Page(Path("page.html"))
    assert sorted(len(pictures) for pictures, _ in page.figures) == [0, 0, 1, 1]
    assert page.source.count("cannot be read</span>") == 2


def test_left_out_images_do_not_shift_the_others(loaded, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.png" for n in range(4)]
    for n, path in enumerate(paths):
        Image.fromarray(picture(n)).save(path)
    paths[0].write_bytes(b"no image")
    report = loaded.evaluate(paths, ["red", "lying"] * 2, on_bad_image="skip", verbose=0)
    for one, axes in zip(report.top_losses(3), report.plot_top_losses(3).axes, strict=True):
        assert np.array_equal(axes.images[0].get_array(), np.asarray(Image.open(one.path)))
    report.html("page.html")
    assert "Unreadable images, left out: 1" in Page(Path("page.html")).text


def test_an_evaluation_can_be_pickled(loaded, photos: Path) -> None:
    report = loaded.evaluate(photos / "test", verbose=0)
    twin = pickle.loads(pickle.dumps(report))
    assert str(twin) == str(report)
    first, second = (one.plot_top_losses(1).axes[0].images[0].get_array() for one in (twin, report))
    assert np.array_equal(first, second)


# ---- the page ----


def colours(rows: list[int], side: int) -> list[np.ndarray | None]:
    return [picture(row, (side * 3 // 4, side)) for row in rows]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Of three classes with names and paths that try to be more than text."""
    names = np.array(["<script>window.hacked = 1</script>", 'a" onclick="window.hacked = 1', "$title & more"])
    paths = [
        "</title><script>window.hacked = 1</script>.jpg",
        "'><img src=x onerror='window.hacked = 1'>.jpg",
        None,
        "d.jpg",
    ]
    report = results.Evaluation(results.Predictions(names, ROWS, paths), np.array([0, 2, 0, 2]), colours)
    report.html(tmp_path / "page.html")
    return tmp_path / "page.html"


def test_the_page_needs_no_other_file_and_holds_names_as_text(page: Path) -> None:
    found = Page(page)
    tags = [tag for tag, _ in found.tags]
    assert tags.count("script") == 1
    assert tags.count("img") == 4
    assert not {"link", "iframe", "object"} & set(tags)
    attributes = [item for _, pairs in found.tags for item in pairs.items()]
    assert not [name for name, _ in attributes if name.startswith("on")]
    assert all((value or "").startswith("data:") for name, value in attributes if name in ("src", "href"))
    assert "<script>window.hacked = 1</script>" in found.text
    assert "$title & more" in found.text


def test_the_page_says_what_the_evaluation_does(tmp_path: Path) -> None:
    report = random_evaluation(8, 200, thumbnails=colours)
    report.html(str(tmp_path / "page.html"))
    text = Page(tmp_path / "page.html").text
    assert str(report).splitlines()[0] in text
    for figure in (report.balanced_accuracy, report.roc_auc, report.calibration_error, report.top_k(5)):
        assert f"{figure:.4f}" in text
    worst, pair = report.top_losses(1)[0], report.confused_pairs(1)[0]
    assert f"{worst.label}, predicted {worst.predicted} ({worst.confidence:.3f}), loss {worst.loss:.2f}" in text
    assert f"{pair.label}{pair.predicted}{pair.images}{100 * pair.share:.1f} %" in text


def test_the_page_of_many_images_stays_small(tmp_path: Path) -> None:
    report = random_evaluation(114, 1250, thumbnails=colours)
    report.html(tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 1_000_000
    assert Page(tmp_path / "page.html").source.count("<img") == 48
    random_evaluation(301, 400).html(tmp_path / "page.html")
    assert "Not shown for 301 classes" in Page(tmp_path / "page.html").text


@pytest.mark.parametrize("path", ["report.pdf", 3, None])
def test_another_ending_is_refused_before_images_are_read(path: object) -> None:
    report = random_evaluation(2, 10, thumbnails=lambda *_: pytest.fail("too late"))
    with refused(tk.InvalidInputError, f"`path={path!r}` must end in .html"):
        report.html(path)


def test_in_a_browser_the_page_loads_all_and_runs_nothing_of_its_names(page: Path) -> None:
    loaded, console = in_chromium(page, "[[...document.images].map(i => i.naturalWidth), typeof window.hacked]")
    assert loaded == [[128] * 4, "undefined"]
    assert console == []


SORTING = """(() => {
  const table = document.querySelector(".sortable"), heads = [...table.tHead.rows[0].cells];
  const column = n => [...table.tBodies[0].rows].map(row => row.cells[n].textContent);
  const press = n => { heads[n].querySelector("button").click(); return column(n); };
  const sorts = () => heads.map(head => head.getAttribute("aria-sort"));
  const buttons = [...document.querySelectorAll(".sortable th button")].every(b => b.tabIndex === 0);
  return [press(3), press(3), sorts(), press(0), press(5), sorts(), buttons, document.querySelector(".matrix").tabIndex];
})()"""


def test_in_a_browser_a_click_on_a_head_sorts(tmp_path: Path) -> None:
    rows = np.repeat(np.eye(4, dtype=np.float32)[[0, 1, 0]], [1200, 3, 1], axis=0)
    report = evaluation([0] * 1200 + [1] * 4, rows, np.array(["10", "9", "b", "a"]))
    report.html(tmp_path / "page.html")
    (rising, falling, marked, names, images, remarked, buttons, matrix), console = in_chromium(
        tmp_path / "page.html", SORTING
    )
    figures = sorted(f"{s.f1:.3f}" for s in report.per_class.values() if s.support)
    assert rising == [*figures, "-", "-"]
    assert falling == [*figures[::-1], "-", "-"], "what is not defined comes last both ways"
    assert marked == [None, None, None, "descending", None, None]
    assert names == ["9", "10", "a", "b"]
    assert images == ["0", "0", "4", "1200"]
    assert remarked == [None] * 5 + ["ascending"]
    assert buttons
    assert matrix == 0
    assert console == []
