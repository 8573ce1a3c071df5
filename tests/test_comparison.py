"""`compare`: backbones on the same images, in the same folds; what is left out, and why."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Make
from drawing import write
from helpers import refused
from matplotlib.figure import Figure
from networks import TINY

import transferkit as tk
from transferkit import comparison
from transferkit.features import forecast
from transferkit.results import BackboneScores, judged
from transferkit.training import fitting

Pictures = tuple[Any, Any]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speeds are measured, but not for long."""
    monkeypatch.setattr(forecast, "TIMED_SECONDS", 0.01)


@pytest.fixture
def both(make: Make) -> dict[str, tk.TransferClassifier]:
    """One backbone at two sizes."""
    return {"large": make(), "small": make(input_size=16)}


def names(found: tk.Comparison) -> list[str]:
    return [row.name for row in found.rows]


# ---- what is measured ----


@pytest.mark.thorough
def test_with_one_division_the_figures_are_those_of_fit(
    pictures: Pictures, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "REPEATS", 1)
    monkeypatch.setattr(comparison, "LOOK_SIZE", (32, 32))  # as `fit` reads the images: the folds depend on their order
    row = tk.compare(*pictures, make(), seed=3, verbose=0).rows[0]
    phase = make(seed=3).fit(*pictures, verbose=0).history_.phases[0]
    assert row.accuracy == phase.metrics["val_accuracy"][0]
    assert row.loss == pytest.approx(phase.metrics["val_loss"][0], rel=1e-3)
    assert row.accuracy_error == pytest.approx(phase.errors["val_accuracy"])
    assert row.loss_error == pytest.approx(phase.errors["val_loss"], rel=1e-2)
    assert (row.name, row.input_size, row.reason) == ("TinyNet", (32, 32), "")
    assert row.milliseconds > 0
    assert row.megabytes == pytest.approx(4e-6 * TINY.build((32, 32)).count_params())
    assert (row.behind, row.behind_error, row.unbeaten) == (0, 0, True)


@pytest.mark.thorough
def test_the_figures_are_means_over_three_divisions(
    pictures: Pictures, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pictures[0], np.random.default_rng(1).permutation(pictures[1])  # labels that nothing can learn
    row = tk.compare(*data, make(), seed=5, verbose=0).rows[0]
    monkeypatch.setattr(fitting, "REPEATS", 1)
    single = [tk.compare(*data, make(), seed=seed, verbose=0).rows[0] for seed in (5, 6, 7)]
    assert len({one.accuracy for one in single}) > 1
    assert row.accuracy == pytest.approx(np.mean([one.accuracy for one in single]), abs=0.03)
    assert row.loss == pytest.approx(np.mean([one.loss for one in single]), abs=0.05)
    assert row.accuracy_error < np.mean([one.accuracy_error for one in single])


@pytest.mark.thorough
def test_features_seen_before_are_not_computed_again(
    pictures: Pictures, both: Any, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "milliseconds_per_image", lambda extractor: 1.0)
    found = tk.compare(*pictures, both, verbose=0)
    assert sum(computed) == 2 * 36
    computed.clear()
    again = tk.compare(*pictures, both, verbose=0)
    found.best(verbose=0)
    assert computed == []
    assert [(row.name, row.accuracy) for row in again.rows] == [(row.name, row.accuracy) for row in found.rows]


@pytest.mark.thorough
def test_each_backbone_is_measured_at_each_size(pictures: Pictures) -> None:
    found = tk.compare(*pictures, ["TransferKitTiny"], sizes=[32, (40, 32)], verbose=0)
    assert sorted(row.input_size or () for row in found.rows) == [(32, 32), (40, 32)]
    found = tk.compare(*pictures, ["TransferKitTiny"], sizes=(40, 32), verbose=0)
    assert [row.input_size for row in found.rows] == [(40, 32)]


def test_of_many_images_some_are_drawn(pictures: Pictures, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "MOST_IMAGES", 20)
    found = tk.compare(*pictures, make(), verbose=0)
    assert found.images == 20
    assert found.best(verbose=0).classes_.tolist() == ["lying", "red", "standing"]


def test_of_a_fitted_classifier_it_says_what_is_compared(
    pictures: Pictures, loaded: tk.TransferClassifier, capsys: pytest.CaptureFixture[str]
) -> None:
    tk.compare(*pictures, {"new": loaded})
    assert "Of the fitted classifier 'new', a new head on its backbone is compared." in capsys.readouterr().out


def scores(name: str, milliseconds: float, correct: list[int]) -> tuple[BackboneScores, Any]:
    right = np.array(correct, bool)
    return BackboneScores(name, (8, 8), accuracy=float(right.mean()), milliseconds=milliseconds), right


def test_rows_are_judged_against_each_other() -> None:
    made = [
        scores("slow and poor", 9, [1, 0, 0, 0]),
        scores("cheap", 1, [1, 1, 0, 0]),
        scores("best", 5, [0, 1, 1, 1]),
        scores("as good, dearer", 6, [1, 1, 1, 0]),
        (BackboneScores("failed", reason="no weights"), None),
    ]
    correct = {number: right for number, (_, right) in enumerate(made) if right is not None}
    rows, order = judged([row for row, _ in made], correct)
    assert order == [2, 3, 1, 0, 4]
    assert [row.name for row in rows] == ["best", "as good, dearer", "cheap", "slow and poor", "failed"]
    assert [row.unbeaten for row in rows] == [True, False, True, False, False]
    assert [row.behind for row in rows[:4]] == [0, 0, 0.25, 0.5]
    # The differences are -1, 0, 1, 1 for the one that is cheap.
    assert rows[2].behind_error == pytest.approx(np.std([-1, 0, 1, 1], ddof=1) / 2)


# ---- the best ----


@pytest.mark.thorough
def test_the_best_is_fitted_and_may_be_the_cheapest_of_the_good_ones(pictures: Pictures, both: Any) -> None:
    found = tk.compare(*pictures, both, verbose=0)
    best = found.best(verbose=0)
    assert best.evaluate(*pictures, verbose=0).accuracy > 0.5
    close = [row for row in found.rows if row.behind <= row.behind_error]
    cheapest = min(close, key=lambda row: row.milliseconds)
    assert found.best("1se", verbose=0).network_.input_shape[1:3] == cheapest.input_size
    with refused(tk.InvalidInputError, "`within='2se'`"):
        found.best("2se")  # type: ignore[arg-type]


@pytest.mark.thorough
def test_the_best_has_the_settings_of_its_row(pictures: Pictures, make: Make) -> None:
    found = tk.compare(*pictures, [make(resize="crop"), make(), make(resize="pad")], verbose=0)
    assert {name.partition(", ")[2] for name in names(found)} == {
        f"resize={rule!r}" for rule in ("crop", "squash", "pad")
    }
    assert f"resize={found.best(verbose=0).resize!r}" in found.rows[0].name


# ---- what is left out ----


def test_what_fails_is_a_row_and_the_others_go_on(
    pictures: Pictures, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**options: Any) -> Any:
        raise RuntimeError("the builder is broken")

    small = tk.TransferClassifier("TransferKitTiny", input_size=16)
    record = replace(TINY, name="Broken", builder=broken)
    bad = tk.TransferClassifier(record, weights=None)
    asked: Any = {"no weights": "TinyNet", "offline": "MobileNetV2", "small": small, "broken": bad, "good": make()}
    found = tk.compare(*pictures, asked)
    assert names(found)[0] == "good"
    reasons = {row.name: row.reason for row in found.rows[1:]}
    for name, part in (
        ("no weights", "no pretrained weights"),
        ("offline", "could not be downloaded"),
        ("small", "too small for 'TransferKitTiny'"),
        ("broken", "the builder is broken"),
    ):
        assert part in reasons[name]
        assert f"not measured: {name}: {reasons[name]}" in str(found)
    assert all(math.isnan(row.accuracy) for row in found.rows[1:])
    assert "compare: good, 32 x 32 px: accuracy" in capsys.readouterr().out


@pytest.mark.thorough
def test_without_names_it_takes_what_is_here(pictures: Pictures) -> None:
    found = tk.compare(*pictures, verbose=0)
    assert names(found)[0] == "TransferKitTiny"
    assert set(names(found)) == set(comparison.DEFAULTS)


@pytest.mark.thorough
def test_the_budget_ends_it_between_backbones(
    pictures: Pictures, both: Any, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tk.compare(*pictures, both, budget=1e-6, verbose=0)
    assert computed == []
    assert {row.reason for row in found.rows} == {"the budget was already used up"}
    with refused(tk.InvalidInputError, "larger budget"):
        found.best()
    with refused(tk.InvalidInputError, "larger budget"):
        found.plot()
    tk.compare(*pictures, both["large"], verbose=0)
    monkeypatch.setattr(comparison, "milliseconds_per_image", lambda extractor: 1e6)
    found = tk.compare(*pictures, both, budget="1h", verbose=0)
    assert names(found) == ["large", "small"]  # the features of one are stored
    assert found.rows[1].reason.startswith("it takes about 10.0 h, and")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"budget": "5 minutes"}, ["`budget='5 minutes'`", "s, min or h"]),
        ({"budget": "0s"}, ["`budget='0s'`"]),
        ({"budget": -1}, ["`budget=-1`"]),
        ({"backbones": []}, ["`backbones=[]`"]),
        ({"backbones": {1: "TransferKitTiny"}}, ["`backbones=1`", "must be text"]),
        ({"sizes": [0]}, ["`sizes=0`"]),
        ({"seed": -1}, ["`seed=-1`"]),
        ({"on_bad_image": "ignore"}, ["`on_bad_image='ignore'`"]),
        ({"labels": list("abc") * 2}, ["No image can be held out"]),
    ],
)
def test_bad_arguments_fail_before_anything(changes: dict[str, Any], parts: list[str], computed: list[int]) -> None:
    images = np.arange(6)[:, None, None, None] * np.full((6, 8, 8, 3), 40, np.uint8)
    if "labels" in changes:
        images = images[[0, 1, 2] * 2]
    with refused(tk.InvalidInputError, *parts):
        tk.compare(images.astype(np.uint8), **{"labels": list("abcabc"), "verbose": 0, **changes})
    assert computed == []


def test_an_unknown_backbone_fails_before_the_data_is_read() -> None:
    with refused(tk.UnknownBackboneError, "MobilNet"):
        tk.compare("no such folder", backbones=["TransferKitTiny", "MobilNet"])


@pytest.mark.thorough
def test_images_that_cannot_be_read_are_named_or_left_out(
    photos: Path, make: Make, tmp_path: Path, computed: list[int]
) -> None:
    for number in range(4):
        write(tmp_path / "a" / f"{number}.png", number)
        write(tmp_path / "b" / f"{number}.png", 10 + number)
    broken = tmp_path / "a" / "x.png"
    broken.write_bytes(b"no image")
    with refused(tk.ImageReadError, "x.png"):
        tk.compare(tmp_path, backbones=make(), verbose=0)
    assert computed == []
    found = tk.compare(tmp_path, backbones=make(), on_bad_image="skip", verbose=0)
    assert found.images == 8
    assert list(found.skipped) == [str(broken)]
    assert found.best(verbose=0).history_.skipped == found.skipped


# ---- how it is shown ----


@pytest.mark.thorough
def test_it_is_shown_as_a_table_a_frame_and_a_figure(pictures: Pictures, both: Any) -> None:
    found = tk.compare(*pictures, {**both, "weightless": "TinyNet"}, verbose=0)
    assert repr(found) == "<Comparison: 3 backbones on 36 images>"
    lines = str(found).splitlines()
    assert lines[0].startswith("36 images of 3 classes")
    assert [line.split()[0] for line in lines[4:6]] == names(found)[:2]
    assert "<td>weightless" not in found._repr_html_()
    assert "not measured: weightless: " in found._repr_html_()
    frame = found.to_dataframe()
    assert frame["name"].tolist() == names(found)
    assert frame["accuracy"].isna().tolist() == [False, False, True]
    figure = found.plot()
    assert isinstance(figure, Figure)
    assert [text.get_text().split(",")[0] for text in figure.axes[0].texts] == names(found)[:2]


@pytest.mark.thorough
def test_candidates_that_print_alike_are_told_apart(pictures: Pictures, make: Make) -> None:
    names_of = [make(input_size=None, resize="crop"), make(input_size=32, resize="squash")]
    found = tk.compare(*pictures, names_of, verbose=0)
    assert f"resize={found.best(verbose=0).resize!r}" in found.rows[0].name
    record = tk.get_backbone("TransferKitTiny")
    other = replace(record, preprocessing="caffe")
    for records in ([record, other], [other, record]):
        found = tk.compare(*pictures, records, sizes=32, verbose=0)
        assert sorted(row.name for row in found.rows) == ["TransferKitTiny", "TransferKitTiny #2"]
        first = records[0 if found.rows[0].name == "TransferKitTiny" else 1]
        assert found.best(verbose=0).backbone is first


@pytest.mark.thorough
def test_the_labels_of_classifiers_are_those_of_the_comparison(pictures: Pictures, make: Make) -> None:
    lists = [[name] for name in pictures[1]]
    found = tk.compare(pictures[0], lists, [make(labels="single")], verbose=0)
    assert found.best(verbose=0).predict(pictures[0][:1], verbose=0)[0].label in set(pictures[1])
    found = tk.compare(pictures[0], lists, [make(labels="multiple", input_size=16), make()], verbose=0)
    assert isinstance(found.best(verbose=0).predict(pictures[0][:1], verbose=0)[0].label, tuple)
    with refused(tk.InvalidInputError, "labels='single' and others labels='multiple'"):
        tk.compare(pictures[0], lists, [make(labels="single"), make(labels="multiple")], verbose=0)
