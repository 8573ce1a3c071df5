"""Training stops in the epoch where its numbers go wrong, names the images, and leaves what was there before."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from drawing import draw, write_png
from helpers import refused

import transferkit as tk
from transferkit._common.console import Console
from transferkit.features.values import StoredValues
from transferkit.images.images import Images
from transferkit.training import loop as training
from transferkit.training.loop import TrainingResult
from transferkit.training.options import check_rate
from transferkit.training.steps import Data, Loop, Settings

Make = Callable[..., tk.TransferClassifier]
NAN = float("nan")
CONSTANT = keras.optimizers.schedules.PiecewiseConstantDecay
FEATURES, CLASSES, COUNT, BATCH, SEED = 4, 3, 40, 8, 5
# The images of each step of the first epoch.
BATCHES = np.random.default_rng(SEED).permutation(COUNT).reshape(-1, BATCH)


def part_of(*layers: keras.layers.Layer) -> keras.Model:
    """These layers on features, and the values of the last in float32, as the head gives them."""
    inputs = values = keras.Input((FEATURES,))
    for layer in (*layers, keras.layers.Activation("linear", dtype="float32")):
        values = layer(values)
    return keras.Model(inputs, values)


def head(**options: Any) -> keras.Model:
    """What `fit` trains: a dense layer that starts at zero."""
    return part_of(keras.layers.Dense(CLASSES, kernel_initializer="zeros", **options))


def settings(**changes: Any) -> Settings:
    given: dict[str, Any] = {
        "optimizer": keras.optimizers.Adam(0.01),
        "epochs": 2,
        "batch_size": BATCH,
        "seed": SEED,
        "class_weights": np.ones(CLASSES, np.float32),
        "callbacks": [],
        "title": "fit",
        "console": Console(0),
    }
    return Settings(**{**given, **changes})


def features(count: int = COUNT) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(count, FEATURES)).astype(np.float32)


def data(values: npt.NDArray[np.float32]) -> Data:
    files = Images([f"photos/{number}.png" for number in range(len(values))])
    rows = np.arange(len(values))
    return Data(StoredValues([values], rows[np.newaxis]), rows % CLASSES, files)


def train(model: keras.Model, data: Data, validation: Data | None, settings: Settings) -> TrainingResult:
    return training.train(Loop(model, settings), data, validation, settings)


def names(positions: Any) -> list[str]:
    return [str(Path(f"photos/{number}.png")) for number in positions]


class EachStep(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that is called at every step, so that no steps are compiled together."""

    steps = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.steps += 1


def test_good_numbers_pass_and_are_counted_alike_in_one_loop_and_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BLOCK_BYTES", 4 * FEATURES * BATCH * 2)  # two of the five steps in a call
    counter = EachStep()
    fused = train(head(), data(features(37)), data(features(9)), settings())
    stepped = train(head(), data(features(37)), data(features(9)), settings(callbacks=[counter]))
    assert counter.steps == 10
    assert fused.metrics.keys() == stepped.metrics.keys()
    for name, values in fused.metrics.items():
        assert values == pytest.approx(stepped.metrics[name], abs=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("steps_a_call", [1, 2, 100])
@pytest.mark.parametrize("bad", [NAN, np.inf])
def test_a_bad_value_names_the_first_batch_that_holds_one(
    monkeypatch: pytest.MonkeyPatch, steps_a_call: int, bad: float
) -> None:
    monkeypatch.setattr(training, "BLOCK_BYTES", 4 * FEATURES * BATCH * steps_a_call)
    values = features()
    values[[BATCHES[3, 2], BATCHES[4, 0]]] = bad
    part = head()
    with refused(
        tk.TrainingError, "The loss became NaN or infinite in epoch 1", "a learning rate of 0.01", "3 more"
    ) as caught:
        train(part, data(values), None, settings())
    assert caught.value.images == names(BATCHES[3])
    assert repr(names(BATCHES[3])[0]) in str(caught.value)
    assert all(not variable.numpy().any() for variable in part.trainable_variables)  # as at the start


def test_a_bad_value_stops_right_at_its_step_where_steps_are_single() -> None:
    values = features()
    values[BATCHES[3, 2]] = NAN
    counter = EachStep()
    with refused(tk.TrainingError, "The loss became NaN or infinite in epoch 1") as caught:
        train(head(), data(values), None, settings(callbacks=[counter]))
    assert caught.value.images == names(BATCHES[3])
    assert counter.steps == 3


@pytest.mark.parametrize("callbacks", [[], [EachStep()]], ids=["one loop", "single steps"])
def test_weights_that_overflow_are_found_in_the_step_that_made_them_though_its_loss_is_finite(callbacks: Any) -> None:
    values = features()
    values[BATCHES[0, 5]] = 3e38  # times weights of zero; its gradient times the rate is beyond float32
    with refused(tk.TrainingError, "The weights became NaN or infinite (the loss was 1.099) in epoch 1") as caught:
        train(head(), data(values), None, settings(optimizer=keras.optimizers.SGD(100.0), callbacks=callbacks))
    assert caught.value.images == names(BATCHES[0])


class Idle(keras.layers.Layer):  # type: ignore[misc]
    """A layer with a weight whose second number has no influence on anything."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(2,), initializer="ones", name="scale")

    def call(self, values: Any) -> Any:
        return values * self.scale[0]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("hook", "epoch", "message"),
    [
        ("on_train_batch_begin", 0, "The weights became NaN or infinite"),
        ("on_epoch_begin", 0, "before the first step of epoch 1"),
        ("on_epoch_begin", 1, "before the first step of epoch 2"),
        ("on_epoch_end", 0, "before the first step of epoch 2"),
        ("on_epoch_end", 1, "after the last epoch"),
        ("on_train_end", None, "after the last epoch"),
    ],
)
def test_a_weight_that_is_nan_is_found_though_no_loss_shows_it(hook: str, epoch: int | None, message: str) -> None:
    def spoil(number: int | None = None, logs: Any = None) -> None:
        if epoch in (None, number):
            idle.scale.assign([1.0, NAN])

    spoiling = keras.callbacks.Callback()
    setattr(spoiling, hook, spoil)
    idle = Idle()
    part = part_of(idle, keras.layers.Dense(CLASSES))
    with refused(tk.TrainingError, message, "the classifier is unchanged") as caught:
        train(part, data(features()), None, settings(callbacks=[spoiling]))
    assert caught.value.images == (names(BATCHES[0]) if hook == "on_train_batch_begin" else [])
    assert idle.scale.numpy().tolist() == [1.0, 1.0]


def test_a_bad_validation_loss_names_validation_and_its_images() -> None:
    held_out = features(9)
    held_out[[2, 7]] = NAN
    with refused(
        tk.TrainingError, "The validation loss became NaN or infinite in epoch 1", repr(names([2])[0])
    ) as caught:
        train(head(), data(features()), data(held_out), settings())
    assert caught.value.images == names([2, 7])


def test_a_loss_beyond_all_that_learns_stops_the_epoch_and_names_the_worst_batch() -> None:
    values = features()
    values[BATCHES[3, 1]] = 1e9
    part = head()
    with refused(tk.TrainingError, "The mean loss of epoch 1 was", "below 1000", "far larger values") as caught:
        train(part, data(values), None, settings())
    assert caught.value.images == names(BATCHES[3])
    assert all(not variable.numpy().any() for variable in part.trainable_variables)


def test_the_limit_of_the_loss_grows_with_the_class_weights() -> None:
    weights = np.array([1.0, 5000.0, 1.0], np.float32)
    outcome = train(head(), data(features()), None, settings(class_weights=weights))
    assert outcome.metrics["loss"][0] > training.HIGHEST_LOSS


def test_infinite_gradients_are_expected_where_the_loss_is_scaled() -> None:
    """The first steps are left out until the scale fits: neither the loss nor a weight goes wrong."""
    part = head(dtype="mixed_float16")
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), initial_scale=2.0**24)
    outcome = train(part, data(features()), None, settings(optimizer=scaled, epochs=6))
    assert float(scaled.dynamic_scale) < 2.0**24
    assert outcome.metrics["loss"][-1] < outcome.metrics["loss"][0]


def test_images_in_memory_are_named_by_their_place_in_the_users_order() -> None:
    images = Images([np.zeros((2, 2, 3))] * 3, (8, 3, 5))
    given = Data(StoredValues([features(3)], np.arange(3)[np.newaxis]), np.arange(3), images)
    assert given.names(np.array([2, 0])) == ["image 5", "image 8"]


@pytest.mark.parametrize("way", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_the_error_comes_whole_out_of_another_process(way: Callable[[Any], Any]) -> None:
    error = tk.TrainingError("message", iter(["a.png", "b.png"]))
    twin = way(error)
    assert type(twin) is tk.TrainingError
    assert (str(twin), twin.images) == ("message", ["a.png", "b.png"])
    assert tk.TrainingError("message").images == []


# ---- learning rates ----


class Broken(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    def __call__(self, step: Any) -> Any:
        raise RuntimeError("only inside of training")


@pytest.mark.parametrize(
    "rate",
    [
        1e-3,
        1,
        np.float32(0.5),
        100.0,
        CONSTANT([5], [1e-3, 1e6]),
        keras.optimizers.schedules.CosineDecay(0.0, 10, warmup_target=1e-3, warmup_steps=5),
        Broken(),
    ],
)
def test_rates_that_may_work_are_taken(rate: Any) -> None:
    assert check_rate(rate, []) == rate


@pytest.mark.parametrize("rate", [100.1, 1e6, np.float64(1e38), 10**6])
def test_a_rate_that_no_training_survives_is_refused(rate: Any) -> None:
    with refused(
        tk.InvalidInputError, f"`learning_rate={rate!r}` must be at most 100", "Adam moves", "Pass for example 0.001"
    ):
        check_rate(rate, [])


@pytest.mark.parametrize("rate", [0, -0.1, NAN, float("inf"), "0.1", True, None])
def test_what_is_no_rate_is_refused_as_such(rate: Any) -> None:
    with refused(tk.InvalidInputError, "must be a number above 0, a Keras schedule or 'auto'"):
        check_rate(rate, [])


@pytest.mark.parametrize(("first", "shown"), [(1e6, "1e+06"), (NAN, "nan"), (-1.0, "-1")])
def test_a_schedule_is_refused_by_its_first_value(first: float, shown: str) -> None:
    with refused(tk.InvalidInputError, f"starts at {shown}, and must be at most 100", "Pass for example 0.001"):
        check_rate(CONSTANT([5], [first, 1e-3]), [])


# ---- through the classifier ----


@pytest.fixture(scope="module")
def given() -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """24 pictures and their classes, for validation or prediction."""
    rng = np.random.default_rng(11)
    kinds = np.array(["lying", "red", "standing"] * 8)
    return np.stack([draw(kind, rng, (32, 32)) for kind in kinds]), kinds


@pytest.fixture
def trained(make: Make, given: Any) -> tuple[tk.TransferClassifier, Callable[[], None]]:
    """A fitted classifier, and what checks that it answers as it did."""
    clf = make().fit(*given, epochs=5, learning_rate=0.02, validation=0, verbose=0)
    before = clf.predict_proba(given[0], verbose=0)
    assert np.isfinite(before).all()
    phases = len(clf.history_.phases)

    def check() -> None:
        assert np.array_equal(clf.predict_proba(given[0], verbose=0), before)
        assert len(clf.history_.phases) == phases

    return clf, check


def test_a_rate_of_a_million_is_refused_before_anything_is_done(trained: Any, given: Any) -> None:
    clf, is_unchanged = trained
    with refused(tk.InvalidInputError, "learning_rate=1000000.0", "at most 100"):
        clf.fit(*given, learning_rate=1e6, verbose=0)
    with refused(tk.InvalidInputError, "learning_rate=1000000.0", "at most 100"):
        clf.fine_tune(at="stage2", learning_rate=1e6, verbose=0)
    is_unchanged()


@pytest.mark.thorough
@pytest.mark.parametrize(
    "rates",
    [
        {"learning_rate": CONSTANT([3], [1e-3, 1e6])},
        {
            "learning_rate": 1e-3,
            "callbacks": [keras.callbacks.LearningRateScheduler(lambda epoch, rate: 1e6 if epoch == 1 else rate)],
        },
    ],
    ids=["schedule", "callback"],
)
@pytest.mark.parametrize("phase", ["fit", "fine_tune"])
def test_a_rate_that_jumps_stops_the_epoch_and_is_named(trained: Any, given: Any, phase: str, rates: Any) -> None:
    clf, is_unchanged = trained
    where = {"at": "stage2"} if phase == "fine_tune" else {}
    with refused(tk.TrainingError, "of epoch 2", "at a learning rate of 1e+06", "Lower learning_rate") as caught:
        getattr(clf, phase)(*given, **where, **rates, validation=0, epochs=5, batch_size=8, verbose=0)
    assert len(caught.value.images) == 8
    assert set(caught.value.images) <= {f"image {number}" for number in range(24)}
    is_unchanged()


class NanWhereWhite(keras.layers.Layer):  # type: ignore[misc]
    """An augmentation that divides by what is zero for a white image."""

    def call(self, images: Any) -> Any:
        distance = keras.ops.mean(255.0 - images, axis=(1, 2, 3), keepdims=True)
        return images * distance / distance


@pytest.fixture
def with_white(photos: Path, tmp_path: Path) -> Path:
    """A folder of few photos of two classes, one of them white."""
    rng = np.random.default_rng(2)
    for kind in ("lying", "red"):
        for number in range(10):
            write_png(tmp_path / "train" / kind / f"{number}.png", draw(kind, rng, (32, 32)))
    write_png(tmp_path / "train" / "red" / "white.png", np.full((32, 32, 3), 255, np.uint8))
    return tmp_path / "train"


def test_an_augmentation_that_gives_nan_names_the_files_of_the_batch(make: Make, with_white: Path) -> None:
    clf = make(augmentation=NanWhereWhite())
    with refused(tk.TrainingError, "The loss became NaN or infinite in epoch 1", "a learning rate of 0.001") as caught:
        clf.fit(with_white, validation=0, batch_size=4, epochs=2, verbose=0)
    assert len(caught.value.images) <= 4
    assert str(with_white / "red" / "white.png") in caught.value.images
    assert all(Path(name).is_file() for name in caught.value.images)
    assert repr(caught.value.images[0]) in str(caught.value)


@pytest.mark.thorough
def test_fine_tuning_stopped_by_an_augmentation_leaves_the_classifier_as_it_was(
    make: Make, with_white: Path, photos: Path
) -> None:
    clf = make().fit(with_white, validation=0, epochs=3, learning_rate=0.02, verbose=0)
    before = clf.predict_proba(photos / "new", verbose=0)
    clf.set_params(augmentation=NanWhereWhite())
    for at in ("stage2", 0):
        with refused(tk.TrainingError, "The loss became NaN or infinite in epoch 1") as caught:
            clf.fine_tune(at=at, learning_rate=0.1, batch_size=4, verbose=0)
        assert str(with_white / "red" / "white.png") in caught.value.images
        assert np.array_equal(clf.predict_proba(photos / "new", verbose=0), before)


@pytest.mark.thorough
def test_weights_that_a_callback_spoils_at_the_very_end_are_no_classifier(trained: Any, given: Any) -> None:
    def spoil(logs: Any = None) -> None:
        for variable in spoiling.model.trainable_variables:
            variable.assign(np.full(variable.shape, NAN))

    clf, is_unchanged = trained
    spoiling = keras.callbacks.Callback()
    spoiling.on_train_end = spoil
    with refused(tk.TrainingError, "after the last epoch", "Check the callbacks") as caught:
        clf.fit(*given, epochs=1, callbacks=[spoiling], verbose=0)
    assert caught.value.images == []
    is_unchanged()


def test_a_callback_that_stops_in_an_epoch_ends_it_after_that_batch() -> None:
    class Stops(EachStep):
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            super().on_train_batch_end(batch, logs)
            self.model.stop_training = batch == 1

    stops = Stops()
    outcome = train(head(), data(features()), None, settings(callbacks=[stops]))
    assert stops.steps == 2
    assert outcome.kept == 1
    assert outcome.metrics["loss"][0] == pytest.approx(np.log(CLASSES), abs=0.2)


class _SpoilsWhatIsNotTrained(keras.callbacks.Callback):
    """Sets the statistics of BatchNormalization to NaN, which no step of training touches."""

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        for variable in self.model.non_trainable_variables:
            if "float" in str(variable.dtype):
                variable.assign(variable * np.nan)


@pytest.mark.thorough
@pytest.mark.parametrize("epochs", [1, 2])
def test_weights_that_are_not_trained_are_looked_at_and_come_back_too(make, photos, epochs: int) -> None:
    clf = make().fit(photos / "train", epochs=1, verbose=0)
    before = [variable.numpy() for variable in clf.network_.variables]
    with pytest.raises(tk.TrainingError, match="Check the callbacks"):
        clf.fine_tune(at="stage2", epochs=epochs, callbacks=[_SpoilsWhatIsNotTrained()], verbose=0)
    after = [variable.numpy() for variable in clf.network_.variables]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
