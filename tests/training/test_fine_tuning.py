"""`fine_tune` by its own recipe: what it trains, how it compares, and what it keeps."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from drawing import drawn
from helpers import refused

import transferkit as tk
from transferkit.results import Selection
from transferkit.training import tuning
from transferkit.training.loop import train
from transferkit.training.optimizer import LayerwiseAdam, WarmUpCosine
from transferkit.training.recipe import epochs_for, fold_epochs, layer_rates, peak_rate, runs_for
from transferkit.training.scores import best_factor
from transferkit.training.selection import select

Make = Callable[..., tk.TransferClassifier]
Pictures = tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_]]
STEPS = 10  # as few as show something


@pytest.fixture(scope="module")
def hard() -> Pictures:
    """Pale, noisy pictures, which the head alone often gets wrong."""
    x, y = drawn(12, seed=5)
    rng = np.random.default_rng(5)
    pale = 127 + (x - 127.0) * rng.uniform(0.15, 0.6, (len(x), 1, 1, 1)) + rng.normal(0, 40, x.shape)
    return np.clip(pale, 0, 255).astype(np.uint8), y


@pytest.fixture(scope="module")
def small(hard: Pictures) -> Pictures:
    """Three pictures of each class, so that folds take little time."""
    return hard[0][:9], hard[1][:9]


def selection_of(clf: tk.TransferClassifier) -> Selection:
    selection = clf.history_.phases[-1].selection
    assert selection is not None
    return selection


def weights_of(clf: tk.TransferClassifier) -> dict[str, npt.NDArray[Any]]:
    return {variable.path: variable.numpy() for variable in clf.network_.variables if "seed" not in variable.path}


def changed(before: dict[str, npt.NDArray[Any]], after: dict[str, npt.NDArray[Any]]) -> set[str]:
    """The names, without those of models around them, of variables that are no longer the same."""
    return {"/".join(name.split("/")[-2:]) for name in before if not np.array_equal(before[name], after[name])}


# ---- without arguments ----


def test_it_needs_no_arguments(make: Make, small: Pictures, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    clf = make().fit(*small, verbose=0)
    clf.fine_tune()
    selection, phase = selection_of(clf), clf.history_.phases[-1]
    assert phase.first_layer == "stage2_conv"
    assert (selection.images, selection.folds) == (9, 5)
    assert selection.kept in ("before", "half-way", "three-quarters", "tuned")
    assert phase.kept == phase.epochs == (0 if selection.kept == "before" else 25)  # 400 steps would be 400 epochs
    assert f"fine_tune: {selection}" in capsys.readouterr().out.splitlines()
    clf.save(tmp_path / "a.keras")
    for same in (tk.TransferClassifier.load(tmp_path / "a.keras"), pickle.loads(pickle.dumps(clf))):
        assert same.history_.phases == clf.history_.phases
        assert selection_of(same) == selection


@pytest.mark.thorough
def test_a_run_that_would_not_be_kept_is_left_out_unless_the_user_wants_to_see_it(
    make: Make, small: Pictures, capsys: pytest.CaptureFixture[str]
) -> None:
    clf = make().fit(*small, verbose=0)
    for options, epochs in (({}, 0), ({"epochs": 3}, 3), ({"callbacks": keras.callbacks.Callback()}, 25)):
        clf.fine_tune(at="stage1", learning_rate=0.1, verbose=1, **options)
        assert selection_of(clf).kept == "before"
        assert clf.history_.phases[-1].epochs == epochs
    lines = [line for line in capsys.readouterr().out.splitlines() if "measured in" in line]
    assert [line.split(" in ")[1] for line in lines] == ["5 folds", "5 folds, then 3 epochs", "5 folds, then 25 epochs"]
    assert len(clf.history_["loss"]) == clf.history_.epochs == 1 + 3 + 25
    switches = [line for line in clf.history_.plot().axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in switches] == [1.5, 4.5]


@pytest.mark.thorough
def test_what_it_chose_is_printed(make: Make, small: Pictures, capsys: pytest.CaptureFixture[str]) -> None:
    clf = make().fit(*small, validation=drawn(2, seed=8), verbose=0)
    clf.fine_tune(steps=STEPS)
    selection = selection_of(clf)
    assert (selection.images, selection.folds) == (6, 0)
    lines = capsys.readouterr().out.splitlines()
    assert f"fine_tune: {selection}" in lines
    assert str(selection).startswith("validation loss ")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("backbone", "size", "layer"),
    [
        ("TinyNet", 32, "stage2_conv"),
        ("TransferKitTiny", 96, "block_3"),
        ("MobileNetV2", 96, "block_3_expand"),
        ("MobileNetV2", 224, "block_6_expand"),
    ],
)
def test_it_chooses_where_to_cut(make: Make, small: Pictures, backbone: str, size: int, layer: str) -> None:
    from transferkit.network import assemble

    record = tk.get_backbone(backbone)
    network = assemble(record, record.build((size, size)), (size, size), 3, 0.0, 0, "float32")
    index = network.default_cut()
    assert network.backbone.layers[index].name.startswith(layer)
    assert index in [network.resolve(stage) for stage in record.stages]


@pytest.mark.thorough
def test_a_backbone_without_stages_is_cut_where_it_shrinks_or_half_way(make: Make, small: Pictures) -> None:
    def build(input_shape: tuple[int, int, int]) -> keras.Model:
        inputs = values = keras.Input(input_shape)
        for number in range(4):
            values = keras.layers.Conv2D(8, 3, strides=2 if number < 2 else 1, padding="same", name=f"conv{number}")(
                values
            )
        return keras.Model(inputs, values)

    record = tk.Backbone("Mine", builder=build, preprocessing="tf", default_size=32, min_size=8, feature_dim=8)
    clf = make(backbone=record).fit(*small, verbose=0)
    clf.fine_tune(steps=2, validation=0, verbose=0)
    assert clf.history_.phases[-1].first_layer == "conv1"


# ---- what is kept ----


@pytest.mark.thorough
def test_the_classifier_from_before_is_kept_with_its_bits(make: Make, small: Pictures, hard: Pictures) -> None:
    clf = make().fit(*small, validation=hard, verbose=0)
    before = weights_of(clf)
    clf.fine_tune(at="stage1", epochs=2, learning_rate=0.3, verbose=0)
    assert selection_of(clf).kept == "before"
    assert clf.history_.phases[-1].kept == 0
    assert changed(before, weights_of(clf)) == set()


@pytest.mark.thorough
@pytest.mark.parametrize("rate", [1e-6, 1e-3, 1.0])
def test_no_rate_leaves_a_classifier_that_is_worse_on_the_compared_images(
    make: Make, small: Pictures, hard: Pictures, rate: float
) -> None:
    held_out = hard[0][9:], hard[1][9:]
    clf = make().fit(*small, validation=held_out, verbose=0)
    before = clf.evaluate(*held_out, verbose=0).loss
    try:
        clf.fine_tune(at="stage1", learning_rate=rate, steps=STEPS, verbose=0)
    except tk.TrainingError:  # it diverged
        assert clf.evaluate(*held_out, verbose=0).loss == before
        return
    after, selection = clf.evaluate(*held_out, verbose=0).loss, selection_of(clf)
    assert after <= before
    assert selection.loss_before <= before + 1e-4  # at its best temperature
    assert after == pytest.approx(before if selection.kept == "before" else selection.loss, abs=1e-3)


@pytest.mark.thorough
def test_what_was_tuned_on_all_images_cannot_be_compared_on_them(
    make: Make, small: Pictures, capsys: pytest.CaptureFixture[str]
) -> None:
    clf = make().fit(*small, verbose=0).fine_tune(steps=1, validation=0, verbose=0)
    clf.fine_tune(steps=1, verbose=1)
    assert "cannot be compared with the previous classifier, and is kept" in capsys.readouterr().out
    assert clf.history_.phases[-1].selection is None


@pytest.mark.thorough
def test_images_that_cannot_be_left_out_cannot_compare(
    make: Make, hard: Pictures, capsys: pytest.CaptureFixture[str]
) -> None:
    clf = make().fit(hard[0][:3], hard[1][:3], verbose=0)
    clf.fine_tune(steps=1, verbose=1)
    assert "No images could be left out to compare" in capsys.readouterr().out
    assert clf.history_.phases[-1].selection is None


class Noise(keras.layers.Layer):  # type: ignore[misc]
    """Training images that show nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = keras.random.SeedGenerator(1)

    def call(self, images: Any, training: bool | None = None) -> Any:
        return keras.random.uniform(keras.ops.shape(images), 0, 255, seed=self.generator)


@pytest.mark.thorough
@pytest.mark.parametrize("views", [None, 2])
def test_images_are_compared_as_they_are(make: Make, pictures: Pictures, views: int | None) -> None:
    x, y = pictures
    clf = make().fit(x[:18], y[:18], verbose=0)
    clf.set_params(augmentation=Noise(), views=views)
    clf.fine_tune(steps=1, verbose=0)
    assert selection_of(clf).accuracy_before > 0.8


# ---- arguments ----


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 3, "epochs": 3}, "`steps=3` was given together with epochs"),
        ({"steps": 0}, "`steps=0` must be a whole number of 1 or more"),
        ({"epochs": 0}, "`epochs=0` must be a whole number of 1 or more"),
        ({"layer_decay": 0}, "`layer_decay=0` must be a number above 0"),
        ({"layer_decay": 2}, "`layer_decay=2` must be a number above 0 and at most 1"),
        ({"label_smoothing": 1}, "`label_smoothing=1` must be a number of at least 0 and below 1"),
        ({"learning_rate": "high"}, "must be a number above 0, a Keras schedule or 'auto'"),
        ({"callbacks": [keras.callbacks.ReduceLROnPlateau()]}, "ReduceLROnPlateau sets the learning rate, and so does"),
        (
            {"callbacks": [keras.callbacks.LearningRateScheduler(float)], "learning_rate": 1e-3, "steps": 3},
            "Pass epochs and learning_rate",
        ),
        ({"validation": 0.3}, "Leave it out, so that these images validate each other"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(
    make: Make, small: Pictures, computed: list[int], wrong: dict[str, Any], message: str
) -> None:
    clf = make(cache=False).fit(*small, verbose=0)
    before = len(computed)
    with refused(tk.InvalidInputError, message):
        clf.fine_tune(**wrong, verbose=0)
    assert len(computed) == before
    assert len(clf.history_.phases) == 1


@pytest.mark.thorough
def test_callbacks_that_set_rates_go_with_the_plain_recipe(make: Make, small: Pictures) -> None:
    clf = make().fit(*small, verbose=0)
    halving = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    clf.fine_tune(epochs=2, learning_rate=1e-3, validation=0, callbacks=[halving], verbose=0)
    assert clf.history_.phases[-1].metrics["learning_rate"] == pytest.approx([5e-4, 2.5e-4])


@pytest.mark.thorough
def test_callbacks_see_the_run_on_all_images_alone(make: Make, small: Pictures) -> None:
    seen: list[int] = []
    counter = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: seen.append(-1), on_epoch_end=lambda epoch, logs: seen.append(epoch)
    )
    clf = make().fit(*small, verbose=0).fine_tune(epochs=3, callbacks=[counter], verbose=0)
    assert seen == [-1, 0, 1, 2]
    assert selection_of(clf).folds == 5


# ---- what is trained ----


@pytest.mark.thorough
def test_gamma_and_beta_move_and_the_statistics_do_not(make: Make, small: Pictures) -> None:
    """With validation=0, nothing is compared and the tuned network is kept."""
    clf = make().fit(*small, verbose=0)
    before = weights_of(clf)
    clf.fine_tune(at="stage2", steps=STEPS, validation=0, verbose=0)
    assert changed(before, weights_of(clf)) == {
        "stage2_conv/kernel", "stage2_conv/bias", "stage2_bn/gamma", "stage2_bn/beta", "logits/kernel", "logits/bias",
    }  # fmt: skip
    phase = clf.history_.phases[-1]
    assert (phase.selection, phase.kept) == (None, phase.epochs)


@pytest.mark.thorough
def test_the_plain_recipe_leaves_gamma_and_beta(make: Make, small: Pictures) -> None:
    clf = make().fit(*small, verbose=0)
    before = weights_of(clf)
    clf.fine_tune(at="stage2", epochs=2, learning_rate=1e-3, validation=0, verbose=0)
    assert changed(before, weights_of(clf)) == {
        "stage2_conv/kernel", "stage2_conv/bias", "logits/kernel", "logits/bias",
    }  # fmt: skip


def test_the_first_layer_moves_by_its_share_of_what_the_head_moves() -> None:
    """Adam's first step is the rate, whatever the gradients are."""
    variables = [keras.Variable(np.ones(3, np.float32)) for _ in range(3)]
    optimizer = LayerwiseAdam(0.01, layer_rates([0.0, 0.5, 1.0], 0.3))
    optimizer.build(variables)
    optimizer.apply([tf.constant([5.0, 1e-2, -30.0])] * 3, variables)
    moved = [np.abs(variable.numpy() - 1) for variable in variables]
    assert moved[2] == pytest.approx(0.01, rel=1e-3)
    assert moved[0] == pytest.approx(0.3 * moved[2], rel=1e-3)
    assert moved[1] == pytest.approx(0.3**0.5 * moved[2], rel=1e-3)


@pytest.mark.thorough
def test_layer_decay_reaches_the_layers(make: Make, small: Pictures) -> None:
    """With a constant rate and one step, each weight moves by its own rate."""
    constant = keras.optimizers.schedules.PiecewiseConstantDecay([1000], [1e-3, 1e-3])
    clf = make(dropout=0.0).fit(*small, verbose=0)
    before = weights_of(clf)
    clf.fine_tune(at="stage1", learning_rate=constant, steps=1, layer_decay=0.1, validation=0, verbose=0)
    after = weights_of(clf)
    moved = {name.split("/")[-2]: np.abs(after[name] - before[name]).max() for name in before if "kernel" in name}
    assert moved["stem_conv"] == 0
    assert moved["stage1_conv"] == pytest.approx(1e-4, rel=0.05)
    assert 3e-4 < moved["stage2_conv"] < 8e-4


def test_rates_rise_fall_and_suit_the_weights() -> None:
    rate = WarmUpCosine(0.5)
    rate.steps.assign(100)
    assert [float(rate(step)) for step in (0, 5, 10, 100)] == pytest.approx([0.05, 0.3, 0.5, 0], abs=1e-6)
    assert float(rate(55)) == pytest.approx(0.25, abs=0.01)
    rate.steps.assign(1)
    assert float(rate(0)) == 0.5
    assert peak_rate([0.05]) == pytest.approx(4e-4)
    assert (peak_rate([]), peak_rate([1e-6]), peak_rate([1e3])) == (3e-5, 3e-5, 2e-3)


def test_few_images_take_whole_epochs_and_all_folds() -> None:
    assert [epochs_for(400, count, 32) for count in (10, 32 * 100, 32 * 1000)] == [25, 4, 1]
    assert [runs_for(count) for count in (2, 100, 250, 500, 10_000)] == [5, 5, 2, 1, 1]
    assert [fold_epochs(epochs) for epochs in (1, 3, 25)] == [1, 2, 12]


# ---- new data ----


@pytest.mark.thorough
def test_new_data_without_a_class_leaves_it_possible(make: Make, hard: Pictures, pictures: Pictures) -> None:
    x, y = pictures
    clf = make().fit(x, y, verbose=0)
    some = hard[1] != "red"
    clf.fine_tune(hard[0][some], hard[1][some], steps=STEPS, validation=0, verbose=0)
    assert (clf.predict_proba(x[y == "red"], verbose=0)[:, 1] > 0.5).all()


@pytest.mark.thorough
def test_new_data_of_one_class_is_compared_on_all(make: Make, pictures: Pictures, hard: Pictures) -> None:
    clf = make().fit(*pictures, verbose=0)
    clf.fine_tune(hard[0][hard[1] == "red"], ["red"] * 12, validation=list(drawn(4, seed=9)), steps=1, verbose=0)
    assert clf.evaluate(*pictures, verbose=0).accuracy == 1


def test_new_data_that_cannot_be_divided_is_not_called_an_argument(make: Make, pictures: Pictures) -> None:
    x, y = pictures
    clf = make().fit(x, y, verbose=0)
    _, first = np.unique(y, return_index=True)
    with refused(tk.InvalidInputError, "A share of 0.15 of 3 images leaves none for validation") as caught:
        clf.fine_tune(255 - x[first], y[first], verbose=0)
    assert "`validation" not in str(caught.value)


@pytest.mark.thorough
def test_it_is_repeatable_and_silent(make: Make, small: Pictures, capfd: pytest.CaptureFixture[str]) -> None:
    one, other = (make().fit(*small, verbose=0).fine_tune(steps=STEPS, verbose=0) for _ in range(2))
    assert capfd.readouterr().out == ""
    assert changed(weights_of(one), weights_of(other)) == set()
    assert selection_of(one) == selection_of(other)


@pytest.mark.thorough
def test_an_interruption_in_a_fold_leaves_the_classifier_as_it_was(
    make: Make, small: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    clf = make().fit(*small, verbose=0)
    before = weights_of(clf)
    runs = []

    def interrupted(*given: Any) -> Any:
        runs.append(given)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return train(*given)

    monkeypatch.setattr(tuning, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        clf.fine_tune(steps=STEPS, verbose=0)
    assert len(clf.history_.phases) == 1
    assert changed(before, weights_of(clf)) == set()


# ---- the choice, by logits ----

CODES = np.arange(300) % 3


def logits(quality: float, seed: int = 0, scale: float = 1.0) -> npt.NDArray[np.float32]:
    """So much of the right answer, in noise."""
    noise = np.random.default_rng(seed).normal(0, 1, (len(CODES), 3))
    return (scale * (noise + quality * np.eye(3)[CODES])).astype(np.float32)


BEFORE = logits(1)
BEFORE *= best_factor(BEFORE, CODES)  # the lowest loss that a factor can give it


@pytest.mark.parametrize(
    ("candidates", "kept"),
    [
        ({"tuned": logits(3), "half-way": logits(2)}, "tuned"),
        ({"tuned": logits(2), "half-way": logits(3)}, "half-way"),
        ({"tuned": logits(1.5), "three-quarters": logits(3, 1), "half-way": logits(3, 2)}, "three-quarters"),
        ({"tuned": logits(2, 1), "half-way": logits(2, 2)}, "tuned"),  # half-way is better by a third of an error
        ({"tuned": logits(0.2), "half-way": logits(0.4)}, "before"),
        ({"tuned": BEFORE, "half-way": BEFORE}, "before"),
        ({"tuned": logits(0.9, 7), "half-way": logits(0.8, 8)}, "before"),
    ],
    ids=["better", "half-way is better", "a tie of two points", "a tie", "worse", "the same", "noise"],
)
def test_what_is_better_is_kept(candidates: dict[str, npt.NDArray[np.float32]], kept: str) -> None:
    selection, factor = select(BEFORE, candidates, CODES, 5)
    assert selection.kept == kept
    assert (selection.images, selection.folds) == (300, 5)
    if kept == "before":
        assert factor == 1
    else:
        assert selection.loss < selection.loss_before - 0.5 * selection.error


@pytest.mark.thorough
def test_what_is_kept_is_on_the_line_from_the_previous_network_to_the_tuned_one(
    make: Make, small: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = {"before": 0.0, "half-way": 0.5, "three-quarters": 0.75, "tuned": 1.0}
    found = {}
    for kept in shares:
        chosen = Selection(kept, 1.0, 0.9, 0.1, 0.5, 0.6, 6, 0), 1.0
        monkeypatch.setattr(tuning, "select", lambda *_, chosen=chosen: chosen)
        clf = make().fit(*small, validation=drawn(2, seed=8), verbose=0)
        found[kept] = weights_of(clf.fine_tune(steps=STEPS, verbose=0))
    assert changed(found["before"], found["tuned"])
    for kept, share in shares.items():
        for name, first in found["before"].items():
            expected = (1 - share) * first + share * found["tuned"][name]
            assert found[kept][name] == pytest.approx(expected, abs=1e-6), (kept, name)


def test_a_temperature_brings_the_lowest_loss_within_its_limits() -> None:
    for scale, expected in ((0.8, 1 / 0.8), (10.0, 0.5), (0.01, 2.0)):
        right = logits(2)  # of noise 1: the scale at which they are right is 2
        selection, factor = select(logits(0), {"tuned": right * 2 * scale}, CODES)
        assert selection.kept == "tuned"
        assert factor == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_kept(bad: float) -> None:
    spoilt = logits(5)
    spoilt[3] = bad
    assert select(logits(1), {"tuned": spoilt, "half-way": spoilt}, CODES)[0].kept == "before"
    assert select(logits(1), {"tuned": spoilt, "half-way": logits(3)}, CODES)[0].kept == "half-way"


def test_one_image_is_not_enough_to_say() -> None:
    assert select(logits(1)[:1], {"tuned": logits(5)[:1]}, CODES[:1])[0].kept == "before"


def test_classifiers_that_are_equally_good_mostly_change_nothing() -> None:
    codes = np.arange(200) % 4
    draws = np.random.default_rng(0).normal(size=(100, 2, 200, 4)) + 2 * np.eye(4)[codes]
    kept = [select(before, {"tuned": tuned}, codes)[0].kept for before, tuned in draws]
    assert kept.count("before") > 60  # a gain above half of its error: 31 % by chance


def test_new_images_add_to_what_the_classifier_knows(make: Make, small: Pictures, hard: Pictures) -> None:
    """A head of the new images alone would forget the others."""
    clf = make().fit(*small, verbose=0)
    before = clf.predict_proba(small[0], verbose=0)
    clf.fine_tune(hard[0][:6], hard[1][:6], steps=1, learning_rate=1e-7, validation=0, verbose=0)
    assert clf.predict_proba(small[0], verbose=0) == pytest.approx(before, abs=1e-3)


# ---- what a call leaves behind ----


@pytest.mark.thorough
def test_images_of_a_rejected_run_can_validate_a_later_one(make: Make, hard: Pictures) -> None:
    x, y = (np.split(array, 3) for array in hard)
    known, other, third = zip(x, y, strict=True)
    clf = make().fit(*known, verbose=0)
    wrong = np.roll(other[1], 5)
    clf.fine_tune(other[0], wrong, validation=list(third), epochs=2, learning_rate=0.05, verbose=0)
    assert selection_of(clf).kept == "before"
    clf.fine_tune(*other, validation=0.3, steps=1, verbose=0)
    assert clf.history_.phases[-1].validation_images > 0


def test_labels_without_data_are_refused(make: Make, small: Pictures) -> None:
    clf = make().fit(*small, verbose=0)
    with refused(tk.InvalidInputError, "labels was given without data", "Pass the images as data"):
        clf.fine_tune(labels=small[1])


@pytest.mark.parametrize("validation", [None, "others"])
def test_a_lost_image_of_fit_is_named_and_the_report_of_fit_stays(
    make: Make, photos: Path, tmp_path: Path, validation: str | None
) -> None:
    files = [tmp_path / path.parent.name / path.name for path in sorted((photos / "train").glob("*/*.png"))]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes((photos / "train" / file.parent.name / file.name).read_bytes())
    clf = make().fit(tmp_path, verbose=0)
    report = clf.report_
    files[0].unlink()
    others: Any = photos / "test" if validation else None
    clf.fine_tune(validation=others, steps=1, on_bad_image="skip", verbose=0)
    assert list(clf.history_.skipped) == [str(files[0])]
    assert (clf.report_ is report) == (validation is None)
    files[1].write_bytes(files[2].read_bytes())
    with refused(tk.InvalidInputError, "changed since fit", str(files[1])):
        clf.fine_tune(validation=others, steps=1, on_bad_image="skip", verbose=0)


def test_without_validation_the_validation_images_of_fit_are_not_needed(
    make: Make, photos: Path, tmp_path: Path
) -> None:
    for path in (photos / "test").glob("*/*.png"):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        (tmp_path / path.parent.name / path.name).write_bytes(path.read_bytes())
    clf = make().fit(photos / "train", validation=tmp_path, verbose=0)
    for path in tmp_path.glob("*/*.png"):
        path.unlink()
    clf.fine_tune(validation=None, steps=1, verbose=0)
    assert clf.history_.phases[-1].validation_images == 0
    with refused(tk.InvalidInputError, "Leave it out to use the same validation images"):
        clf.fine_tune(validation=0.2)


def test_early_stopping_that_never_saw_its_metric_restores_nothing(make: Make, small: Pictures) -> None:
    stop = keras.callbacks.EarlyStopping(monitor="loss", start_from_epoch=9, restore_best_weights=True)
    clf = make().fit(*small, validation=None, epochs=3, callbacks=[stop], verbose=0)
    assert clf.history_.phases[0].kept == 3


@pytest.mark.thorough
def test_a_class_that_would_be_forgotten_unseen_is_refused(
    make: Make, hard: Pictures, computed: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    (x, more), (y, labels) = (np.split(array, 2) for array in hard)
    clf, some = make(cache=False).fit(x, y, verbose=0), labels != "red"
    before = len(computed)
    with refused(tk.InvalidInputError, "no images of the class 'red'", "would forget it", "validation=0"):
        clf.fine_tune(more[some], labels[some], steps=1, verbose=0)
    assert len(computed) == before
    third = drawn(2, seed=8)
    clf.fine_tune(more[some], labels[some], validation=list(third), steps=1, verbose=0)
    assert selection_of(clf).images == 6
    clf.fine_tune(more[some], labels[some], validation=0, steps=1)
    assert "no images of the class 'red', which the classifier may forget" in capsys.readouterr().out


@pytest.mark.thorough
def test_runs_leave_no_graphs_behind(make: Make, small: Pictures) -> None:
    from tensorflow.python.framework.func_graph import FuncGraph

    clf, counts = make().fit(*small, verbose=0), []
    for _ in range(3):
        clf.fine_tune(steps=STEPS, validation=0, verbose=0)
        gc.collect()
        counts.append(sum(isinstance(one, FuncGraph) for one in gc.get_objects()))
    assert counts[1] == counts[2]


@pytest.mark.thorough
def test_new_images_that_were_not_learned_from_are_mentioned(
    make: Make, small: Pictures, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = small
    clf = make().fit(images[::2], labels[::2], verbose=0)
    clf.fine_tune(images, labels, learning_rate=1.0, steps=STEPS)
    assert selection_of(clf).kept == "before"
    assert "has not learned from the" in capsys.readouterr().out


@pytest.mark.thorough
def test_learning_from_new_images_alone_is_mentioned(
    make: Make, small: Pictures, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = small
    clf = make().fit(images, labels, verbose=0)
    clf.fine_tune(255 - images, labels, steps=STEPS, validation=0)
    assert "All of these images were new to the classifier" in capsys.readouterr().out
    clf.fine_tune(255 - images, labels, steps=STEPS, validation=0)
    assert "were new to the classifier" not in capsys.readouterr().out


@pytest.mark.thorough
def test_one_step_moves_the_layers(make: Make, small: Pictures) -> None:
    clf = make().fit(*small, verbose=0)
    before = weights_of(clf)
    clf.fine_tune(at="stage1", steps=1, validation=0, verbose=0)
    assert "stage2_conv/kernel" in changed(before, weights_of(clf))


def test_training_images_do_not_validate(make: Make, small: Pictures, hard: Pictures) -> None:
    clf = make().fit(*small, verbose=0)
    x, y = hard[0][9:21], hard[1][9:21]
    with refused(tk.InvalidInputError, "validation images must be new"):
        clf.fine_tune(x, y, validation=(x, y), steps=1, verbose=0)
    clf.fine_tune(x, y, validation=(hard[0][15:27], hard[1][15:27]), steps=1, verbose=0)
    assert selection_of(clf).images == 6


def test_training_images_do_not_validate_fit(make: Make, hard: Pictures, capsys: pytest.CaptureFixture[str]) -> None:
    clf = make().fit(hard[0][:12], hard[1][:12], validation=(hard[0][6:18], hard[1][6:18]), verbose=1)
    assert clf.history_.phases[0].validation_images == 6
    assert "6 validation images are also training images, and are not used" in capsys.readouterr().out


@pytest.mark.thorough
def test_the_figures_of_a_choice_are_those_of_what_was_kept(make: Make, small: Pictures, hard: Pictures) -> None:
    clf = make().fit(*small, verbose=0)
    held_out = hard[0][9:], hard[1][9:]
    clf.fine_tune(at="stage1", steps=STEPS, validation=held_out, verbose=0)
    shown = clf.summary().splitlines()[-1].split()[-1]
    assert float(shown) == pytest.approx(clf.evaluate(*held_out, verbose=0).accuracy, abs=1e-4)
    text = str(clf.history_)
    assert f"fine_tune: {selection_of(clf)}" in text
    assert not any("*" in line for line in text.splitlines() if line.startswith("fine_tune "))


def test_a_backup_without_an_optimizer_is_refused(make: Make, small: Pictures) -> None:
    with refused(tk.InvalidInputError, "BackupAndRestore", "resume=folder"):
        make().fit(*small, epochs=1, callbacks=[keras.callbacks.BackupAndRestore("backup")], verbose=0)


def test_one_validation_image_is_not_enough_to_compare(make: Make, small: Pictures, hard: Pictures) -> None:
    clf = make().fit(*small, validation=(hard[0][9:10], hard[1][9:10]), verbose=0)
    assert "inf" not in clf.card() + str(clf.history_.phases[0].errors)
    with refused(tk.InvalidInputError, "There is one validation image", "validation=0"):
        clf.fine_tune(at="stage2", steps=1, verbose=0)
    clf.fine_tune(at="stage2", steps=1, validation=0, verbose=0)


@pytest.mark.thorough
def test_new_images_of_one_class_cannot_compare(make: Make, small: Pictures, hard: Pictures) -> None:
    clf = make().fit(*small, verbose=0)
    clf.fine_tune(at="stage2", steps=1, validation=0, verbose=0)
    red = np.flatnonzero(hard[1][9:] == "red")[:8] + 9
    x, y = np.concatenate([small[0], hard[0][red]]), np.concatenate([small[1], hard[1][red]])
    with refused(tk.InvalidInputError, "are of the class 'red'", "call fit with all of them"):
        clf.fine_tune(x, y, validation=0.3, at="stage2", steps=1, verbose=0)
