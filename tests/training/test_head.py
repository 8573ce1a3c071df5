"""`fit` without a number of epochs solves for the head, and the images validate each other."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from drawing import drawn, picture
from helpers import refused
from sklearn.linear_model import LogisticRegression

import transferkit as tk
from transferkit.results import Phase
from transferkit.training.head import HeadSolver

Pixels = npt.NDArray[np.uint8]


def phase_of(clf: tk.TransferClassifier) -> Phase:
    (phase,) = clf.history_.phases
    return phase


def unlike(count: int, seed: int = 0) -> Pixels:
    """Pictures that have nothing in common."""
    return np.stack([picture(1000 * seed + number, (16, 16)) for number in range(count)])


def features_of(clf: tk.TransferClassifier, images: Pixels) -> npt.NDArray[np.float32]:
    """What the last layer of the network gets."""
    network = clf.network_
    dense = next(layer for layer in network.layers if layer.name == "logits")
    return np.asarray(keras.Model(network.inputs[0], dense.input)(images.astype(np.float32)))


def dense_of(clf: tk.TransferClassifier) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    kernel, bias = clf.network_.get_layer("logits").get_weights()
    return kernel, bias


# ---- figures ----


def test_the_images_validate_each_other(make: Any, pictures: Any, capsys: pytest.CaptureFixture[str]) -> None:
    clf = make().fit(*pictures, verbose=1)
    phase = phase_of(clf)
    assert (phase.epochs, phase.kept, phase.folds) == (1, 1, 5)
    assert list(phase.metrics) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert phase.metrics["val_accuracy"][0] > 0.8
    assert phase.metrics["val_loss"][0] > phase.metrics["loss"][0]
    assert set(phase.errors) == {"val_loss", "val_accuracy"}
    assert 0 < phase.errors["val_loss"] < 0.1
    said = capsys.readouterr().out
    assert "36 images, which validate each other in folds." in said
    assert "fit: solved in" in said
    assert f"out-of-fold accuracy {phase.metrics['val_accuracy'][0]:.4f} (+-" in said


def test_one_image_a_class_cannot_be_validated(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    phase = phase_of(make().fit(*drawn(1, seed=0), verbose=1))
    assert (phase.folds, list(phase.metrics)) == (0, ["loss", "accuracy"])
    said = capsys.readouterr().out
    assert "images, none for validation." in said
    assert "no validation" in said


def test_figures_are_of_the_classifier(make: Any, pictures: Any) -> None:
    x, y = pictures
    clf = make().fit(x, y, validation=drawn(5, seed=8), verbose=0)
    phase = phase_of(clf)
    assert phase.folds == 0
    for prefix, images in (("", (x, y)), ("val_", drawn(5, seed=8))):
        found = clf.evaluate(*images, verbose=0)
        assert found.accuracy == phase.metrics[f"{prefix}accuracy"][0]
        assert found.loss == pytest.approx(phase.metrics[f"{prefix}loss"][0], abs=1e-4)


@pytest.mark.parametrize("validation", [None, 0])
def test_without_validation_there_are_no_figures_of_it(make: Any, pictures: Any, validation: Any) -> None:
    phase = phase_of(make().fit(*pictures, validation=validation, verbose=0))
    assert list(phase.metrics) == ["loss", "accuracy"]
    assert (phase.folds, dict(phase.errors)) == (0, {})


def test_a_share_is_held_out(make: Any, pictures: Any) -> None:
    phase = phase_of(make().fit(*pictures, validation=0.25, verbose=0))
    assert (phase.folds, len(phase.metrics["val_loss"])) == (0, 1)


def test_more_images_than_are_worth_folds_hold_out_a_share(
    make: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("transferkit.classifier.preparing.CROSS_VALIDATED", 35)
    phase = phase_of(make().fit(*pictures, verbose=1))
    assert phase.folds == 0
    assert "15 % of them for validation" in capsys.readouterr().out


def test_random_labels_are_learnt_by_heart_and_not_found_again_out_of_fold(make: Any) -> None:
    phase = phase_of(make().fit(unlike(200), np.random.default_rng(1).integers(0, 2, 200), verbose=0))
    assert phase.metrics["val_accuracy"][0] == pytest.approx(0.5, abs=0.12)


def test_copies_are_never_on_both_sides_of_a_fold(make: Any) -> None:
    x, y = np.concatenate([unlike(20)] * 9), np.tile(np.arange(20) % 2, 9)
    copies = phase_of(make().fit(x, y, verbose=0))
    assert copies.metrics["val_accuracy"][0] < 0.75
    x[:, 0, 0, 0] = np.arange(180)  # now they only look alike
    assert phase_of(make().fit(x, y, verbose=0)).metrics["val_accuracy"][0] > 0.9


def test_what_is_in_several_classes_validates_nothing(make: Any) -> None:
    x = unlike(12)
    both = np.concatenate([x, x[:3], x[6:7]])
    y = np.repeat(["a", "b", "b", "a"], [6, 6, 3, 1])
    clf = make().fit(both, y, verbose=0)
    split = clf._fitted.split
    folds = split.folds(5, 0)
    unclear = np.isin(split.keys[0], [key for key in split.keys[0] if (split.keys[0] == key).sum() > 1])
    assert unclear.sum() == 8
    assert (folds[unclear] == -1).all()
    assert (folds[~unclear] >= 0).all()
    assert phase_of(clf).folds == 5


# ---- few images, few and many classes ----


@pytest.mark.parametrize(("count", "folds"), [(3, 0), (4, 2), (6, 5), (9, 5)])
def test_few_images_are_divided_into_few_folds(make: Any, pictures: Any, count: int, folds: int) -> None:
    x, y = pictures
    clf = make().fit(x[:count], y[:count], verbose=0)
    assert phase_of(clf).folds == folds
    assert ("val_loss" in phase_of(clf).metrics) == (folds > 0)
    assert clf.evaluate(x[:count], y[:count], verbose=0).accuracy >= 0.75


def test_two_classes(make: Any, pictures: Any) -> None:
    x, y = pictures
    clf = make().fit(x, y == "red", verbose=0)
    assert clf.classes_.tolist() == [False, True]
    assert clf.evaluate(x, y == "red", verbose=0).accuracy == 1


def test_many_classes_of_few_images(make: Any) -> None:
    shades = np.random.default_rng(0).integers(0, 256, (80, 1, 1, 3))
    x = np.repeat(shades, 2, axis=0) + np.random.default_rng(1).integers(-3, 4, (160, 16, 16, 3))
    clf = make().fit(np.clip(x, 0, 255).astype(np.uint8), np.repeat(np.arange(80), 2), verbose=0)
    assert phase_of(clf).metrics["accuracy"][0] > 0.6
    assert phase_of(clf).metrics["val_accuracy"][0] > 0.3
    assert clf.network_.output_shape == (None, 80)


# ---- the solution ----


@pytest.mark.thorough
@pytest.mark.parametrize("names", ["three classes", "two classes", "weights"])
def test_it_is_the_logistic_regression_of_scikit_learn(make: Any, monkeypatch: pytest.MonkeyPatch, names: str) -> None:
    x, y = drawn(12, seed=3)
    y = y if names != "two classes" else np.where(y == "red", "red", "other")
    chosen: list[float] = []
    solve = HeadSolver.head
    monkeypatch.setattr(HeadSolver, "head", lambda self, c, *given: chosen.append(c) or solve(self, c, *given))
    weight = {"lying": 4.0, "red": 1.0, "standing": 1.0} if names == "weights" else None
    clf = make().fit(x, y, class_weight=weight, verbose=0)
    model = LogisticRegression(C=chosen[-1], max_iter=5000, tol=1e-6)
    model.fit(features_of(clf, x), y, None if weight is None else [weight[name] for name in y])
    given = drawn(8, seed=9)[0]
    expected = model.predict_log_proba(features_of(clf, given))
    logits = np.log(clf.predict_proba(given, verbose=0)) * phase_of(clf).temperature
    found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(found - np.exp(expected)).max() < 2e-3  # the solver stops when little changes


@pytest.mark.thorough
def test_class_weights_move_the_answers(make: Any) -> None:
    x, y = unlike(60), np.arange(60) % 2
    shares = [
        clf.predict_proba(unlike(40, 9), verbose=0)[:, 1].mean()
        for clf in (make().fit(x, y, class_weight={0: 1, 1: w}, verbose=0) for w in (0.2, 1, 5))
    ]
    assert shares[0] < shares[1] - 0.1
    assert shares[1] < shares[2] - 0.1


@pytest.mark.thorough
def test_the_same_seed_gives_the_same_bits_in_any_order(make: Any, pictures: Any) -> None:
    x, y = pictures
    order = np.random.default_rng(0).permutation(len(x))
    one, same, turned, other = (
        make(seed=seed).fit(x[rows], y[rows], verbose=0)
        for seed, rows in ((0, slice(None)), (0, slice(None)), (0, order), (1, slice(None)))
    )
    for clf in (same, turned):
        assert all(np.array_equal(a, b) for a, b in zip(dense_of(one), dense_of(clf), strict=True))
        assert phase_of(one).metrics == phase_of(clf).metrics
    assert phase_of(one).metrics != phase_of(other).metrics


# ---- when steps are taken instead ----


@pytest.mark.thorough
@pytest.mark.parametrize(
    "given",
    [{"epochs": 30}, {"learning_rate": 1e-3}, {"callbacks": [keras.callbacks.Callback()]}],
    ids=["epochs", "learning_rate", "callbacks"],
)
def test_what_says_how_to_train_trains_by_steps(make: Any, pictures: Any, given: dict[str, Any]) -> None:
    clf = make().fit(*pictures, **given, verbose=0)
    usual = make().fit(*pictures, epochs=30, learning_rate=1e-3, validation=0.15, verbose=0)
    assert phase_of(clf).epochs == 30
    assert phase_of(clf).folds == 0
    assert all(np.array_equal(a, b) for a, b in zip(dense_of(clf), dense_of(usual), strict=True))


@pytest.mark.thorough
def test_features_too_large_to_copy_train_by_steps(
    make: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("transferkit.training.fitting.SOLVED_BYTES", 4 * 16 * 36 - 1)
    assert phase_of(make().fit(*pictures, verbose=0)).epochs == 30
    make().fit(*pictures, unlabelled=255 - pictures[0])
    assert "so the unlabelled images are not used" in capsys.readouterr().out
    monkeypatch.setattr("transferkit.training.fitting.SOLVED_BYTES", 4 * 16 * 36)
    assert phase_of(make().fit(*pictures, verbose=0)).epochs == 1


class White(keras.layers.Layer):  # type: ignore[misc]
    """Training images that have nothing left in them."""

    def call(self, images: Any, training: bool | None = None) -> Any:
        return keras.ops.full_like(images, 255.0)


@pytest.mark.thorough
def test_new_changes_in_each_epoch_train_by_steps_and_fixed_views_do_not(make: Any, pictures: Any) -> None:
    assert phase_of(make(augmentation="light").fit(*pictures, verbose=0)).epochs == 30
    phase = phase_of(make(augmentation="light", views=3).fit(*pictures, verbose=0))
    assert (phase.epochs, phase.folds) == (1, 5)
    assert phase.metrics["val_accuracy"][0] > 0.8


def test_views_train_and_the_images_as_they_are_validate(make: Any, pictures: Any, computed: list[int]) -> None:
    x, y = pictures
    white = make(augmentation=White(), views=2).fit(x, y, verbose=0)
    assert sum(computed) == 36 * 3
    assert phase_of(white).metrics["loss"][0] == pytest.approx(white.evaluate(x, y, verbose=0).loss, abs=1e-5)


def test_features_that_are_nan_are_named(make: Any, pictures: Any) -> None:
    class Nan(keras.layers.Layer):  # type: ignore[misc]
        def call(self, images: Any) -> Any:
            dark = keras.ops.mean(images, axis=(1, 2, 3), keepdims=True) <= -1  # 0 becomes -1
            return keras.ops.where(dark, np.nan, images)

    def build(input_shape: tuple[int, int, int]) -> keras.Model:
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, keras.layers.Conv2D(16, 3, name="conv")(Nan()(inputs)))

    record = tk.Backbone("Nan", builder=build, preprocessing="tf", default_size=32, min_size=8, feature_dim=16)
    x, y = pictures[0].copy(), pictures[1]
    x[7] = 0
    with refused(tk.WeightsError, "'image 7'", "NaN or infinite"):
        make(backbone=record).fit(x, y, verbose=0)


def test_the_fit_is_what_it_was_after_saving(make: Any, pictures: Any, tmp_path: Any) -> None:
    clf = make().fit(*pictures, verbose=0)
    clf.save(tmp_path / "a.keras")
    loaded = phase_of(tk.TransferClassifier.load(tmp_path / "a.keras"))
    assert (loaded.folds, loaded.errors, loaded.metrics) == (5, phase_of(clf).errors, phase_of(clf).metrics)


def test_a_class_that_cannot_be_held_out_is_named_and_sharpens_nothing(
    make: Any, pictures: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = pictures
    rows = np.concatenate([np.flatnonzero(y == "lying"), np.flatnonzero(y == "red")[:1]])
    clf = make(backbone="TransferKitTiny").fit(x[rows], y[rows], verbose=1)
    assert "No image of the class 'red' could be held out" in capsys.readouterr().out
    assert phase_of(clf).temperature >= 1
