"""What a fitted classifier answers with while it is trained further, and after its network or arguments were changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from drawing import class_folder, drawn
from helpers import fresh_python, refused

import transferkit as tk


@pytest.fixture(scope="module")
def pictures() -> tuple[Any, Any]:
    return drawn(6, seed=3, size=(96, 96))


@pytest.fixture
def tiny(pictures: Any) -> tk.TransferClassifier:
    clf = tk.TransferClassifier("TransferKitTiny", seed=0)
    return clf.fit(*pictures, epochs=1, learning_rate=0.05, verbose=0)


class EachEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    """Calls a function after each epoch, and collects what it returns."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.results: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.results.append(self.function(self.model))


@pytest.mark.thorough
def test_other_threads_get_the_classifier_from_before_until_a_phase_ends(
    tiny: tk.TransferClassifier, pictures: Any, tmp_path: Path
) -> None:
    images = pictures[0]
    before, logits = tiny.predict_proba(images, verbose=0), tiny.decision_function(images, verbose=0)

    def answers(_: object) -> Any:
        tiny.save(tmp_path / "meanwhile.keras")
        return tiny.predict_proba(images, verbose=0)

    with ThreadPoolExecutor(1) as pool:
        watching = EachEpoch(lambda model: pool.submit(answers, model).result())
        tiny.fine_tune(at="block_7", epochs=2, learning_rate=1e-2, validation=0, callbacks=[watching], verbose=0)
    for answer in watching.results:
        np.testing.assert_array_equal(answer, before)
    saved = tk.TransferClassifier.load(tmp_path / "meanwhile.keras").predict_proba(images, verbose=0)
    assert saved == pytest.approx(before, abs=1e-5)
    assert np.abs(tiny.decision_function(images, verbose=0) - logits).max() > 1e-2  # probabilities are close to 0 and 1


@pytest.mark.thorough
@pytest.mark.parametrize("part", ["backbone", "head"])
def test_weights_set_by_hand_reach_predict_and_fine_tune(tiny: tk.TransferClassifier, pictures: Any, part: str) -> None:
    images = pictures[0]
    before = tiny.decision_function(images, verbose=0)
    for weight in tiny.network_.weights:
        if weight.path.startswith("logits") == (part == "head") and "kernel" in weight.path:
            weight.assign(weight.numpy()[::-1])
    after = tiny.predict_proba(images, verbose=0)
    assert np.abs(tiny.decision_function(images, verbose=0) - before).max() > 1e-2
    assert after == pytest.approx(np.asarray(tiny.network_(images)), abs=1e-4)
    tiny.fine_tune(at=-1, epochs=1, learning_rate=1e-9, validation=0, verbose=0)
    assert tiny.predict_proba(images, verbose=0) == pytest.approx(after, abs=1e-4)


@pytest.mark.thorough
def test_layers_without_names_keep_those_that_keras_gave_them(make: Any, pictures: Any) -> None:
    def build(input_shape: tuple[int, int, int]) -> keras.Model:
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, keras.layers.Conv2D(4, 3)(keras.layers.Conv2D(4, 3)(inputs)))

    clf = make(backbone=tk.Backbone("Unnamed", build, "tf", default_size=32)).fit(*pictures, epochs=1, verbose=0)
    name = clf.network_.layers[-6].layers[-1].name
    for _ in range(2):
        clf.fine_tune(at=name, epochs=1, verbose=0)
    assert [phase.first_layer for phase in clf.history_.phases[1:]] == [name, name]


@pytest.mark.thorough
def test_the_model_of_a_callback_takes_images(tiny: tk.TransferClassifier, pictures: Any) -> None:
    images, labels = pictures
    codes = np.searchsorted(tiny.classes_, labels)
    options = {"epochs": 2, "learning_rate": 1e-2, "validation": 0, "verbose": 0}

    def figures(model: keras.Model) -> Any:
        return model.predict(images, verbose=0), model.evaluate(images, codes, verbose=0)

    for watching, train in (
        (EachEpoch(figures), lambda callback: tiny.fit(*pictures, callbacks=[callback], **options)),
        (EachEpoch(figures), lambda callback: tiny.fine_tune(at=-1, callbacks=[callback], **options)),
    ):
        train(watching)
        (first, _), (last, found) = watching.results
        assert np.abs(last - first).max() > 1e-4
        assert last == pytest.approx(tiny.predict_proba(images, verbose=0), abs=1e-4)
        evaluation = tiny.evaluate(images, labels, verbose=0)
        assert found == pytest.approx([evaluation.loss, evaluation.accuracy], abs=1e-4)


@pytest.mark.thorough
def test_early_stopping_brings_back_the_best_epoch_of_the_network(tiny: tk.TransferClassifier, pictures: Any) -> None:
    stop = keras.callbacks.EarlyStopping(monitor="loss", min_delta=9.0, patience=1, restore_best_weights=True)
    watching = EachEpoch(lambda model: model.predict(pictures[0], verbose=0))
    tiny.fit(*pictures, epochs=5, learning_rate=0.05, callbacks=[watching, stop], validation=0, verbose=0)
    assert len(watching.results) == 2
    assert tiny.predict_proba(pictures[0], verbose=0) == pytest.approx(watching.results[0], abs=1e-4)


class TestImagesOfFit:
    """`fine_tune` without data needs the images that `fit` saw."""

    options: dict[str, Any] = {"at": "stage2", "epochs": 1, "verbose": 0}  # noqa: RUF012

    @pytest.mark.thorough
    @pytest.mark.parametrize("validation", [None, 0])
    @pytest.mark.parametrize("augmentation", [None, "light"])
    def test_arrays_that_were_scaled_in_place_are_refused(
        self, make: Any, pictures: Any, augmentation: Any, validation: Any
    ) -> None:
        images = pictures[0].astype(np.float32)
        clf = make(augmentation=augmentation).fit(images, pictures[1], epochs=1, verbose=0)
        images /= 255
        with refused(
            tk.InvalidInputError,
            "Images changed since fit ('image ",
            "10 more",  # the validation images are not needed
            "call fit again",
            "fine_tune also takes other data",
        ):
            clf.fine_tune(validation=validation, **self.options)
        clf.fine_tune(images * 255, pictures[1], validation=0, **self.options)

    @pytest.mark.parametrize("on_bad_image", ["raise", "skip"])
    def test_a_photo_that_was_replaced_is_refused(self, make: Any, folder: Path, on_bad_image: Any) -> None:
        clf = make().fit(folder, epochs=1, verbose=0)
        other = (folder / "red" / "000.png").read_bytes()
        (folder / "lying" / "003.png").write_bytes(other)
        with refused(tk.InvalidInputError, "Images changed since fit", str(Path("lying", "003.png"))):
            clf.fine_tune(on_bad_image=on_bad_image, **self.options)

    @pytest.mark.thorough
    @pytest.mark.parametrize("augmentation", [None, "light"])
    def test_photos_that_are_gone_are_left_out_or_named(self, make: Any, folder: Path, augmentation: Any) -> None:
        clf = make(augmentation=augmentation).fit(folder, validation=0.25, epochs=1, verbose=0)
        gone = folder / "lying" / "003.png"
        gone.unlink()
        with refused(tk.ImageReadError, str(gone), "on_bad_image='skip'"):
            clf.fine_tune(**self.options)
        clf.fine_tune(on_bad_image="skip", **self.options)
        assert list(clf.history_.phases[-1].skipped) == [str(gone)]

    def test_a_class_that_is_gone_is_refused(self, make: Any, folder: Path) -> None:
        clf = make().fit(folder, epochs=1, verbose=0)
        for path in (folder / "lying").iterdir():
            path.unlink()
        with refused(tk.InvalidInputError, "None of the training images of the class 'lying' can be read"):
            clf.fine_tune(on_bad_image="skip", **self.options)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return class_folder(tmp_path / "photos", {"lying": 6, "red": 6})


@pytest.mark.thorough
def test_arguments_changed_after_fit_are_not_saved(make: Any, pictures: Any, tmp_path: Path) -> None:
    clf = make().fit(*pictures, epochs=1, verbose=0)
    before, shown = clf.predict_proba(pictures[0], verbose=0), repr(clf)
    clf.set_params(backbone="VGG16", weights="imagenet", input_size=48, dropout=3, precision="half", seed="x")
    clf.save(tmp_path / "clf.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "clf.keras")
    assert repr(loaded) == shown
    np.testing.assert_array_equal(loaded.predict_proba(pictures[0], verbose=0), before)
    loaded.fit(*pictures, epochs=1, verbose=0)


def test_summary_says_what_was_fitted(make: Any, pictures: Any) -> None:
    clf = make(input_size=40)
    with refused(tk.NotFittedError, "summary needs a fitted classifier"):
        clf.summary()
    clf.fit(*pictures, epochs=2, verbose=0).fine_tune(at="stage2", epochs=1, validation=0, verbose=0)
    clf.set_params(backbone="VGG16", input_size=None)
    text = clf.summary()
    for part in ("TinyNet at 40 x 40 px", "3 classes: 'lying', 'red', 'standing'", "51 of them in the head"):
        assert part in text
    fit, tune = [line.split() for line in text.splitlines()[-2:]]
    assert fit == ["fit", "logits", "2", "2", f"{clf.history_['val_accuracy'][1]:.4f}"]
    assert tune == ["fine_tune", "stage2_conv", "1", "1", "-"]


def test_weights_of_the_head_that_are_not_finite_are_an_error(loaded: Any, photos: Path) -> None:
    loaded.network_.weights[-1].assign(np.full(3, np.nan, np.float32))
    for call in (loaded.predict, loaded.evaluate):
        with refused(tk.WeightsError, "NaN or infinite logits"):
            call(photos / "test", verbose=0)


def test_arrays_where_an_option_is_expected_are_refused(loaded: Any, photos: Path) -> None:
    for name in ("on_bad_image", "verbose"):
        with refused(tk.InvalidInputError, name):
            loaded.predict(photos / "new", **{name: np.array(["x", "y"])})
    assert loaded.explain(photos / "new", np.array("red"), verbose=0)[0].label == "red"


WARNINGS_AS_ERRORS = """
import sys, warnings
import transferkit as tk
import tensorflow
photos, file = sys.argv[1:]
warnings.simplefilter("error")
clf = tk.TransferClassifier("TransferKitTiny", seed=0).fit(f"{photos}/train", verbose=0)
clf.fine_tune(steps=1, verbose=0).explain(f"{photos}/new", verbose=0)
clf.save(file)
tk.TransferClassifier.load(file).evaluate(f"{photos}/test", verbose=0)
"""


@pytest.mark.thorough
def test_it_works_where_warnings_are_errors(photos: Path, tmp_path: Path) -> None:
    fresh_python(WARNINGS_AS_ERRORS, photos, tmp_path / "pets.keras")


def test_what_fit_gives_is_asked_for_too_early(photos: Path) -> None:
    clf = tk.TransferClassifier("TransferKitTiny")
    assert not hasattr(clf, "history_")
    for early in (lambda: clf.classes_, lambda: clf.report_, lambda: clf.score(photos / "test")):
        with refused(tk.NotFittedError):
            early()


def test_images_and_labels_may_be_a_pair_and_callbacks_none(make: Any, pictures: Any) -> None:
    clf = make().fit(pictures, callbacks=None, verbose=0)
    assert clf.score(pictures) == clf.score(*pictures, verbose=0) > 0.5


def test_an_empty_folder_is_mentioned(loaded: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(loaded.predict(tmp_path)) == 0
    assert f"The folder {str(tmp_path)!r} holds no images." in capsys.readouterr().out
