"""What `fit` and `fine_tune` do without further arguments, and that fine-tuning never costs what it can measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from helpers import refused

import transferkit as tk
from transferkit.training.optimizer import LayerwiseAdam
from transferkit.training.selection import select


@pytest.fixture
def solved(make: Any, photos: Path) -> tk.TransferClassifier:
    """A classifier whose head was solved for."""
    return make().fit(photos / "train", verbose=0)


# ---- the head ----


def test_fit_without_arguments_measures_all_images_and_holds_none_out(solved: tk.TransferClassifier) -> None:
    (phase,) = solved.history_.phases
    assert (phase.folds, phase.epochs, phase.kept) == (5, 1, 1)
    assert set(phase.metrics) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert 0 < phase.errors["val_loss"] < 0.2
    assert solved._fitted.split is not None
    assert solved._fitted.split.validation is None


@pytest.mark.parametrize("copies", [1, 3])
def test_out_of_fold_figures_are_those_of_images_that_a_head_has_not_seen(make: Any, copies: int) -> None:
    """Labels drawn at random cannot be known; copies in another fold would tell them."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    labels = np.array(["a", "b"] * 30)
    clf = make().fit(np.concatenate([images] * copies), np.tile(labels, copies), verbose=0)
    assert 0.25 < clf.history_["val_accuracy"][0] < 0.75


def test_one_image_a_class_is_enough(make: Any, pictures: Any) -> None:
    images, labels = pictures
    first = np.unique(labels, return_index=True)[1]
    clf = make().fit(images[first], labels[first], verbose=0)
    assert set(clf.history_.phases[0].metrics) == {"loss", "accuracy"}
    assert clf.score(images[first], labels[first]) == 1


def test_the_head_is_a_logistic_regression(make: Any, pictures: Any) -> None:
    from sklearn.linear_model import LogisticRegression

    images, labels = pictures
    network = make().fit(images, labels, verbose=0)._fitted.network
    features = network.feature_extractor()(images)[0] * network.feature_scale
    kernel, bias = (variable.numpy() for variable in network.head[-1].weights)
    distances = []
    for strength in (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0):
        model = LogisticRegression(C=strength, max_iter=3000, tol=1e-6).fit(features, labels)
        distances.append(np.abs(keras.ops.softmax(features @ kernel + bias) - model.predict_proba(features)).max())
    assert min(distances) < 0.01
    assert max(distances) > 0.1


def _arrays(folder: Path) -> tuple[Any, list[str]]:
    paths = sorted(folder.rglob("*.png"))
    images = [keras.utils.img_to_array(keras.utils.load_img(path, target_size=(32, 32))) for path in paths]
    return np.stack(images), [path.parent.name for path in paths]


def test_more_images_hold_a_share_out(make: Any, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferkit.classifier.CROSS_VALIDATED", 20)
    clf = make().fit(photos / "train", verbose=0)
    assert clf.history_.phases[0].folds == 0
    assert len(clf._fitted.split.validation) == 5  # 15 % of 36


@pytest.mark.parametrize("given", [{"epochs": 2}, {"learning_rate": 1e-3}, {"callbacks": [keras.callbacks.Callback()]}])
def test_what_says_how_to_train_trains_by_steps(make: Any, photos: Path, given: dict[str, Any]) -> None:
    clf = make().fit(photos / "train", verbose=0, **given)
    assert clf.history_.epochs == given.get("epochs", 30)
    assert clf.history_.phases[0].folds == 0


# ---- fine-tuning ----


def test_fine_tune_without_arguments_says_what_it_measured(
    solved: tk.TransferClassifier, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    solved.fine_tune()
    phase = solved.history_.phases[-1]
    assert phase.selection is not None
    assert (phase.selection.folds, phase.selection.images) == (5, 36)
    assert f"fine_tune: {phase.selection}" in capsys.readouterr().out
    solved.save(tmp_path / "clf.keras")
    assert tk.TransferClassifier.load(tmp_path / "clf.keras").history_.phases == solved.history_.phases


@pytest.mark.parametrize("rate", [1e-6, 1e-3, 1e-2])
def test_no_rate_costs_anything_on_the_images_that_are_compared(make: Any, photos: Path, rate: float) -> None:
    clf = make().fit(photos / "train", validation=photos / "test", verbose=0)
    before, answers = clf.evaluate(photos / "test", verbose=0).loss, clf.predict_proba(photos / "new", verbose=0)
    clf.fine_tune(at="stage1", learning_rate=rate, steps=20, verbose=0)
    selection = clf.history_.phases[-1].selection
    if selection.kept == "before":
        assert np.array_equal(clf.predict_proba(photos / "new", verbose=0), answers)
    else:
        after = clf.evaluate(photos / "test", verbose=0).loss
        assert after < before
        assert after == pytest.approx(selection.loss, abs=1e-3)


def test_gamma_and_beta_are_trained_and_statistics_stay(solved: tk.TransferClassifier) -> None:
    def numbers() -> dict[str, Any]:
        return {variable.path: variable.numpy() for variable in solved.network_.variables}

    before = numbers()
    solved.fine_tune(at="stage1", steps=20, learning_rate=0.01, validation=0, verbose=0)
    after = numbers()
    moved = {
        path for path in before if "float" in str(before[path].dtype) and not np.array_equal(before[path], after[path])
    }
    assert any(path.endswith("gamma") for path in moved)
    assert not any("moving" in path for path in moved)


def test_a_second_call_without_validation_images_says_that_it_cannot_compare(
    solved: tk.TransferClassifier, capsys: pytest.CaptureFixture[str]
) -> None:
    solved.fine_tune(steps=4, validation=0, verbose=0)
    solved.fine_tune(steps=4)
    assert "cannot be compared" in capsys.readouterr().out
    assert solved.history_.phases[-1].selection is None


def test_new_data_without_a_class_does_not_take_its_answers_away(solved: tk.TransferClassifier, photos: Path) -> None:
    images, labels = _arrays(photos / "train")
    some = [index for index, label in enumerate(labels) if label != "red"]
    solved.fine_tune(images[some], [labels[index] for index in some], steps=2, validation=0, verbose=0)
    assert "red" in {prediction.label for prediction in solved.predict(photos / "test" / "red", verbose=0)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 5, "epochs": 5}, "together with epochs"),
        ({"steps": 0}, "steps=0"),
        ({"layer_decay": 0}, "above 0"),
        ({"layer_decay": 2}, "at most 1"),
        ({"label_smoothing": 1}, "below 1"),
    ],
)
def test_wrong_numbers_are_refused(solved: tk.TransferClassifier, given: dict[str, Any], message: str) -> None:
    with refused(tk.InvalidInputError, message):
        solved.fine_tune("nowhere", **given)


@pytest.mark.parametrize(
    ("backbone", "stage"), [("MobileNetV2", "block_6"), ("ResNet50", "conv4"), ("VGG16", "block5")]
)
def test_the_default_cut_is_where_maps_shrink_to_a_sixteenth(backbone: str, stage: str) -> None:
    from transferkit.network import assemble

    record = tk.get_backbone(backbone)
    network = assemble(record, record.build((96, 96)), (96, 96), 2, 0.1, 0)
    assert network.default_cut() == network.resolve(stage)


def test_each_variable_moves_by_its_own_rate() -> None:
    variables = [keras.Variable([1.0]), keras.Variable([1.0])]
    optimizer = LayerwiseAdam(0.1, [0.3, 1.0])
    optimizer.build(variables)
    optimizer.apply([keras.ops.array([5.0]), keras.ops.array([0.01])], variables)
    assert [float(1 - variable[0]) for variable in variables] == pytest.approx([0.03, 0.1], rel=1e-3)


# ---- the choice ----

CODES = np.arange(200) % 4


def logits(quality: float, seed: int = 0) -> Any:
    noise = np.random.default_rng(seed).normal(size=(200, 4))
    return noise + quality * np.eye(4)[CODES]


@pytest.mark.parametrize(("quality", "kept"), [(3.0, "tuned"), (1.0, "before")])
def test_what_is_better_is_kept(quality: float, kept: str) -> None:
    selection, factor = select(logits(2.0), {"tuned": logits(quality), "half-way": logits(quality) / 9}, CODES)
    assert selection.kept == kept
    assert (factor != 1) == (kept == "tuned")


def test_equal_classifiers_change_nothing() -> None:
    wrong = 0
    for seed in range(100):
        candidates = {"tuned": logits(2.0, 2 * seed), "half-way": logits(1.0, 2 * seed)}
        wrong += select(logits(2.0, 2 * seed + 1), candidates, CODES)[0].kept != "before"
    assert wrong < 45  # a gain above half of its error: 31 % by chance


def test_numbers_that_are_not_finite_are_never_kept() -> None:
    broken = np.full((200, 4), np.nan)
    selection, _ = select(logits(2.0), {"tuned": broken, "half-way": broken}, CODES)
    assert selection.kept == "before"
