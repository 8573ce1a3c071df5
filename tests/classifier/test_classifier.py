"""The classifier as its users see it, on a tiny backbone."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from drawing import drawn
from helpers import fresh_python

import transferkit as tk
from transferkit.images.decoding import decode
from transferkit.network.extractor import FeatureExtractor
from transferkit.training import inputs

# A rate that goes beyond all bounds after the first steps.
JUMP = keras.optimizers.schedules.PiecewiseConstantDecay([1], [1e-3, 1e30])


def decoded(path: Path) -> np.ndarray:
    return decode(path.read_bytes())


def listing(folder: Path) -> tuple[list[str], list[str]]:
    paths = sorted(map(str, folder.glob("*/*.png")))
    return paths, [Path(path).parent.name for path in paths]


def network_weights(clf: tk.TransferClassifier) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy().copy() for weight in clf.network_.weights}


class TestFit:
    def test_learns_what_is_there_to_learn(self, fitted, photos):
        assert fitted.evaluate(photos / "test", verbose=0).accuracy >= 0.9

    def test_returns_the_classifier_itself(self, make, photos):
        clf = make()
        assert clf.fit(photos / "train", epochs=1, verbose=0) is clf

    def test_trains_the_head_alone(self, make, photos):
        clf = make().fit(photos / "train", epochs=1, verbose=0)
        first = network_weights(clf)
        clf.fit(photos / "train", epochs=3, verbose=0)
        second = network_weights(clf)
        changed = {path for path in first if not np.array_equal(first[path], second[path])}
        assert changed == {"logits/kernel", "logits/bias"}
        assert [weight.path for weight in clf.network_.trainable_weights] == ["logits/kernel", "logits/bias"]

    def test_every_image_passes_the_backbone_once(self, make, photos, monkeypatch):
        seen = []
        original = FeatureExtractor.__call__
        monkeypatch.setattr(
            FeatureExtractor,
            "__call__",
            lambda self, images: seen.append(len(images)) or original(self, images),
        )
        make(cache=False).fit(photos / "train", epochs=7, verbose=0)
        assert sum(seen) == 36

    @pytest.mark.thorough
    def test_the_same_seed_gives_the_same_head_with_or_without_the_store(self, make, photos):
        clfs = [make(cache=cache).fit(photos / "train", epochs=3, verbose=0) for cache in (True, True, False)]
        first, *others = [network_weights(clf) for clf in clfs]
        for other in others:
            assert all(np.array_equal(first[path], other[path]) for path in first)

    def test_another_seed_divides_otherwise(self, make, photos):
        splits = [
            make(seed=s).fit(photos / "train", epochs=1, verbose=0)._fitted.split.validation.images.sources
            for s in (0, 1)
        ]
        assert splits[0] != splits[1]

    def test_the_users_random_state_is_left_alone(self, make, photos):
        import random

        random.seed(5)
        np.random.seed(5)
        expected = random.Random(5).random(), np.random.RandomState(5).rand()
        make().fit(photos / "train", epochs=1, verbose=0)
        assert (random.random(), np.random.rand()) == expected

    def test_class_weights_shift_the_answers(self, make, pictures):
        x, y = pictures
        noise = np.random.default_rng(0).integers(0, 256, x.shape).astype(np.uint8)
        plain = make().fit(noise, y, epochs=5, learning_rate=0.01, validation=0, verbose=0)
        heavy = make().fit(noise, y, epochs=5, learning_rate=0.01, validation=0, class_weight={"red": 50.0}, verbose=0)
        assert (np.asarray(heavy.predict(noise)) == "red").sum() > (np.asarray(plain.predict(noise)) == "red").sum()

    @pytest.mark.thorough
    def test_balanced_weights_help_a_rare_class(self, make, pictures):
        x, y = pictures
        keep = np.r_[np.flatnonzero(y == "red")[:2], np.flatnonzero(y == "lying")]
        x, y = np.random.default_rng(0).integers(0, 256, x[keep].shape).astype(np.uint8), y[keep]
        means = [
            make(dropout=0)
            .fit(x, y, epochs=3, learning_rate=0.01, validation=0, class_weight=w, verbose=0)
            .predict_proba(x)[:, 1]
            .mean()
            for w in (None, "balanced")
        ]
        assert means[1] > means[0]

    def test_a_schedule_is_taken_as_learning_rate(self, make, photos):
        schedule = keras.optimizers.schedules.ExponentialDecay(1e-2, 1, 0.5)
        clf = make().fit(photos / "train", epochs=3, learning_rate=schedule, verbose=0)
        rates = clf.history_["learning_rate"]
        assert rates[0] > rates[1] > rates[2]

    @pytest.mark.thorough
    def test_validation_may_be_data_of_any_form(self, make, photos):
        paths, labels = listing(photos / "test")
        frame = pd.DataFrame({"path": paths, "label": labels})
        scores = [
            make().fit(photos / "train", validation=v, epochs=2, verbose=0).history_["val_loss"]
            for v in (photos / "test", (paths, labels), frame)
        ]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)
        assert scores[0] == pytest.approx(scores[2], abs=1e-5)

    @pytest.mark.thorough
    @pytest.mark.parametrize("validation", [None, 0, 0.0, False])
    def test_without_validation_all_images_train(self, make, photos, validation):
        clf = make().fit(photos / "train", validation=validation, epochs=1, verbose=0)
        assert "val_loss" not in clf.history_.metrics
        assert len(clf._fitted.split.training) == 36

    def test_a_failed_fit_leaves_the_classifier_as_it_was(self, fitted, photos, tmp_path):
        before = fitted.predict_proba(photos / "new", verbose=0)
        with pytest.raises(tk.InvalidInputError):
            fitted.fit(tmp_path / "missing", verbose=0)
        with pytest.raises(tk.TrainingError):
            fitted.fit(photos / "train", learning_rate=JUMP, epochs=5, verbose=0)
        assert np.array_equal(fitted.predict_proba(photos / "new", verbose=0), before)


class TestForms:
    """The same photo gives the same probabilities whichever way it comes in."""

    @pytest.fixture
    def expected(self, fitted, photos):
        return fitted.predict_proba(photos / "new", verbose=0)

    def test_folder_is_sorted_by_path(self, fitted, photos):
        assert [Path(p.path).stem for p in fitted.predict(photos / "new", verbose=0)] == ["lying", "red", "standing"]

    @pytest.mark.parametrize("kind", [str, Path])
    def test_one_path(self, fitted, photos, expected, kind):
        one = fitted.predict_proba(kind(photos / "new" / "red.png"), verbose=0)
        assert one == pytest.approx(expected[1:2], abs=1e-5)

    @pytest.mark.thorough
    @pytest.mark.parametrize("container", [list, tuple, np.array, pd.Series])
    def test_several_paths(self, fitted, photos, expected, container):
        paths = container([str(path) for path in sorted((photos / "new").iterdir())])
        assert fitted.predict_proba(paths, verbose=0) == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
    def test_arrays(self, fitted, photos, expected, dtype):
        x = np.stack([decoded(path) for path in sorted((photos / "new").iterdir())]).astype(dtype)
        x.flags.writeable = False
        assert fitted.predict_proba(x, verbose=0) == pytest.approx(expected, abs=1e-5)
        assert fitted.predict_proba(list(x), verbose=0) == pytest.approx(expected, abs=1e-5)
        assert fitted.predict_proba(x[1], verbose=0) == pytest.approx(expected[1:2], abs=1e-5)
        assert fitted.predict_proba(tf.constant(x), verbose=0) == pytest.approx(expected, abs=1e-5)

    @pytest.mark.thorough
    def test_datasets(self, fitted, photos, expected):
        x = np.stack([decoded(path) for path in sorted((photos / "new").iterdir())])
        plain = tf.data.Dataset.from_tensor_slices(x).batch(2)
        labelled = tf.data.Dataset.from_tensor_slices((x, [0, 1, 2])).batch(2)
        assert fitted.predict_proba(plain, verbose=0) == pytest.approx(expected, abs=1e-5)
        assert fitted.predict_proba(labelled, verbose=0) == pytest.approx(expected, abs=1e-5)

    def test_dataframe(self, fitted, photos, expected):
        frame = pd.DataFrame({"path": sorted((photos / "new").iterdir()), "other": 1})
        assert fitted.predict_proba(frame, verbose=0) == pytest.approx(expected, abs=1e-5)

    def test_network_takes_resized_pixels(self, fitted, photos, expected):
        from transferkit.images.decoding import resize

        x = np.stack([resize(decoded(path), (32, 32)) for path in sorted((photos / "new").iterdir())])
        assert fitted.network_.predict(x, verbose=0) == pytest.approx(expected, abs=1e-5)

    @pytest.mark.thorough
    @pytest.mark.parametrize("kind", ["list", "array", "folder"])
    def test_nothing_gives_nothing(self, fitted, tmp_path, kind):
        nothing = {"list": [], "array": np.zeros((0, 32, 32, 3), np.uint8), "folder": tmp_path}[kind]
        assert len(fitted.predict(nothing, verbose=0)) == 0
        assert fitted.predict_proba(nothing, verbose=0).shape == (0, 3)

    @pytest.mark.thorough
    def test_training_data_of_all_forms_gives_the_same_head(self, make, photos):
        paths, labels = listing(photos / "train")
        arrays = np.stack([decoded(Path(path)) for path in paths])
        untouched = arrays.copy()
        dataset = tf.data.Dataset.from_tensor_slices((arrays, labels)).batch(7)
        fits = [
            make().fit(*data, validation=None, epochs=3, verbose=0)
            for data in (
                (photos / "train",),
                (paths, labels),
                (pd.DataFrame({"path": paths, "label": labels}),),
                (arrays, labels),
                (arrays.astype(np.float32), np.array(labels)),
                (dataset,),
            )
        ]
        results = [clf.predict_proba(photos / "test", verbose=0) for clf in fits]
        for result in results[1:]:
            assert result == pytest.approx(results[0], abs=1e-5)
        assert np.array_equal(arrays, untouched)

    def test_dataset_of_keras_brings_its_class_names(self, make, photos):
        dataset = keras.utils.image_dataset_from_directory(
            photos / "train", image_size=(32, 32), batch_size=8, shuffle=True, seed=1, verbose=False
        )
        clf = make().fit(dataset, epochs=20, learning_rate=0.01, verbose=0)
        assert clf.classes_.tolist() == ["lying", "red", "standing"]
        assert clf.score(photos / "test") >= 0.8

    @pytest.mark.thorough
    @pytest.mark.parametrize(
        ("labels", "classes"),
        [
            (lambda y: y, ["lying", "red", "standing"]),
            (lambda y: np.searchsorted(np.unique(y), y) * 3 + 4, [4, 7, 10]),
            (lambda y: y == "red", [False, True]),
            (lambda y: np.eye(3)[np.searchsorted(np.unique(y), y)], [0, 1, 2]),
        ],
    )
    def test_labels_keep_their_type(self, make, pictures, labels, classes):
        x, y = pictures
        clf = make().fit(x, labels(y), epochs=60, learning_rate=0.01, verbose=0)
        assert clf.classes_.tolist() == classes
        assert type(clf.predict(x, verbose=0)[0].label) is type(classes[0])
        assert clf.evaluate(x, labels(y), verbose=0).accuracy > 0.8
        assert np.asarray(clf.predict(x, verbose=0)).dtype.kind == clf.classes_.dtype.kind


class TestFineTune:
    @pytest.mark.thorough
    @pytest.mark.parametrize(
        ("at", "moved"),
        [
            ("stage2", {"stage2_conv", "logits"}),
            ("stage1", {"stage1_conv", "stage2_conv", "logits"}),
            ("stage2_conv", {"stage2_conv", "logits"}),
            (4, {"stage1_conv", "stage2_conv", "logits"}),
            (-3, {"stage2_conv", "logits"}),
            ("stage1_drop", {"stage2_conv", "logits"}),  # inside the residual: two tensors cross
            (-1, {"logits"}),
            (0, {"stem_conv", "stage1_conv", "stage2_conv", "logits"}),
        ],
    )
    def test_changes_what_lies_behind_the_cut_and_nothing_else(self, fitted, photos, at, moved):
        before = network_weights(fitted)
        # With a validation set that training can only improve on, and a rate that moves every weight.
        fitted.fine_tune(at=at, epochs=2, learning_rate=1e-3, validation=0, verbose=0)
        after = network_weights(fitted)
        changed = {path.split("/")[-2] for path in before if not np.array_equal(before[path], after[path])}
        assert changed == moved
        trainable = {weight.path.split("/")[-2] for weight in fitted.network_.trainable_weights}
        assert trainable == moved

    @pytest.mark.thorough
    def test_stored_and_live_values_train_alike(self, make, photos, monkeypatch):
        results = []
        for limit in (2**30, 0):
            monkeypatch.setattr(inputs, "ACTIVATION_BYTES", limit)
            clf = make(dropout=0, cache=False).fit(photos / "train", epochs=2, verbose=0)
            clf.fine_tune(at="stage2", epochs=3, learning_rate=1e-3, validation=0, verbose=0)
            results.append(clf.predict_proba(photos / "test", verbose=0))
        assert results[0] == pytest.approx(results[1], abs=1e-4)

    @pytest.mark.thorough
    def test_says_when_activations_are_too_large_to_store(self, fitted, monkeypatch, capsys):
        fitted.set_params(cache=False)
        monkeypatch.setattr(inputs, "ACTIVATION_BYTES", 1000)
        fitted.fine_tune(at="stage2", epochs=1)
        assert "more than the limit of 1.0 kB" in capsys.readouterr().out

    def test_says_what_it_will_do_before_it_does(self, fitted, capsys):
        fitted.fine_tune(at="stage2", epochs=1, learning_rate=1e-5)
        text = capsys.readouterr().out
        head = 16 * 3 + 3
        conv = 8 * 16 * 9 + 16
        assert f"{conv + head:,} of {fitted.network_.count_params():,} parameters" in text
        assert "'stage2_conv'" in text.splitlines()[0]
        assert "2 layers" in text.splitlines()[0]

    @pytest.mark.thorough
    def test_keeps_the_better_classifier(self, fitted, photos, capsys):
        before = fitted.predict_proba(photos / "test", verbose=0)
        fitted.fine_tune(at="stage1", epochs=2, learning_rate=0.3)
        assert fitted.history_.phases[-1].kept == 0
        assert np.array_equal(fitted.predict_proba(photos / "test", verbose=0), before)
        assert "kept the previous classifier" in capsys.readouterr().out

    def test_improves_on_a_weak_head(self, make, photos):
        clf = make().fit(photos / "train", epochs=1, learning_rate=1e-5, verbose=0)
        before = clf.evaluate(photos / "test", verbose=0).loss
        clf.fine_tune(at=0, epochs=8, learning_rate=1e-2, verbose=0)
        assert clf.evaluate(photos / "test", verbose=0).loss < before

    @pytest.mark.thorough
    def test_an_error_in_training_brings_back_the_state_before(self, fitted, photos):
        class Stop(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                raise KeyboardInterrupt

        trainable = len(fitted.network_.trainable_weights)
        fitted.fine_tune(at="stage2", epochs=1, verbose=0, learning_rate=1e-9, validation=0)
        before = fitted.predict_proba(photos / "test", verbose=0)
        with pytest.raises(tk.TrainingError):
            fitted.fine_tune(at="stage1", epochs=5, learning_rate=JUMP, verbose=0)
        assert np.array_equal(fitted.predict_proba(photos / "test", verbose=0), before)
        with pytest.raises(KeyboardInterrupt):
            fitted.fine_tune(at=0, epochs=3, learning_rate=5.0, callbacks=[Stop()], verbose=0)
        assert np.array_equal(fitted.predict_proba(photos / "test", verbose=0), before)
        assert len(fitted.network_.trainable_weights) == trainable + 2  # those of stage2
        assert len(fitted.history_.phases) == 2

    @pytest.mark.thorough
    def test_goes_on_with_the_class_weights_of_fit(self, make, pictures):
        x, _ = pictures
        noise = np.random.default_rng(0).integers(0, 256, x.shape).astype(np.uint8)
        y = np.random.default_rng(1).choice(["a", "b"], len(x))
        shares = []
        for weight in ({"a": 1.0}, {"a": 30.0}):
            clf = make().fit(noise, y, epochs=1, learning_rate=1e-9, validation=0, class_weight=weight, verbose=0)
            clf.fine_tune(at="stage2", epochs=10, learning_rate=1e-2, validation=0, verbose=0)
            shares.append(clf.predict_proba(noise, verbose=0)[:, 0].mean())
        assert shares[1] > shares[0] + 0.2

    def test_needs_a_learning_rate(self, fitted):
        with pytest.raises(tk.InvalidInputError, match="learning_rate=None"):
            fitted.fine_tune(at="stage2", learning_rate=None, verbose=0)

    @pytest.mark.thorough
    def test_takes_new_data_of_known_classes(self, fitted, photos):
        fitted.fine_tune(photos / "test", at="stage2", epochs=1, verbose=0)
        assert len(fitted.history_.phases) == 2

    def test_refuses_data_of_unknown_classes(self, fitted, pictures):
        with pytest.raises(tk.InvalidInputError, match=r"'blue'.*was not trained on"):
            fitted.fine_tune(pictures[0], ["blue"] * 36, at="stage2", verbose=0)

    @pytest.mark.thorough
    def test_goes_on_with_the_division_of_fit_by_its_share(self, make, photos):
        results = []
        for validation in ("auto", 0.25):
            clf = make().fit(photos / "train", epochs=2, validation=0.25, verbose=0)
            clf.fine_tune(at="stage2", epochs=1, learning_rate=1e-3, validation=validation, verbose=0)
            results.append(clf)
        assert results[0].history_["val_loss"] == results[1].history_["val_loss"]

    def test_does_not_divide_the_images_of_fit_again(self, fitted):
        with pytest.raises(
            tk.InvalidInputError, match=r"`validation=0\.3` differs from the share .* held out \(0\.25\)"
        ):
            fitted.fine_tune(at="stage2", validation=0.3, verbose=0)

    def test_divides_nothing_where_fit_was_given_its_validation_images(self, make, photos):
        clf = make().fit(photos / "train", epochs=1, validation=photos / "test", verbose=0)
        with pytest.raises(tk.InvalidInputError, match=r"`validation=0\.15` differs from the share .* held out \(0\)"):
            clf.fine_tune(at="stage2", validation=0.15, verbose=0)

    @pytest.mark.thorough
    @pytest.mark.parametrize(
        ("at", "message"),
        [
            ("stage3", "stages are 'stage1', 'stage2'"),
            ("stage2_cnov", "did you mean 'stage2_conv'"),
            (99, "must be -11 to 10"),
            (-12, "must be -11 to 10"),
            (True, "must be a layer's index"),
            (1.5, "must be a layer's index"),
        ],
    )
    def test_refuses_places_that_do_not_exist(self, fitted, at, message):
        with pytest.raises(tk.InvalidInputError, match=message):
            fitted.fine_tune(at=at, verbose=0)


class TestAugmentation:
    def test_acts_in_training_only(self, make, photos):
        calls = []

        class Spy(keras.layers.Layer):
            def call(self, x, training=None):
                calls.append(training)
                return x + 1.0

        clf = make(augmentation=Spy()).fit(photos / "train", epochs=2, verbose=0)
        assert calls
        assert all(calls)
        seen = len(calls)
        clf.predict(photos / "new", verbose=0)
        clf.evaluate(photos / "test", verbose=0)
        clf.save("augmented.keras")
        assert len(calls) == seen
        names = [layer.name for layer in keras.saving.load_model("augmented.keras").layers]
        assert not any("spy" in name for name in names)

    @pytest.mark.thorough
    def test_every_epoch_sees_new_images(self, make, photos):
        plain = make().fit(photos / "train", epochs=2, verbose=0)
        changed = make(augmentation="light").fit(photos / "train", epochs=2, verbose=0)
        assert plain.history_["loss"] != changed.history_["loss"]

    @pytest.mark.thorough
    def test_is_reproducible(self, make, photos):
        losses = [
            make(augmentation="light").fit(photos / "train", epochs=2, verbose=0).history_["loss"] for _ in range(2)
        ]
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)

    @pytest.mark.thorough
    def test_an_identity_changes_nothing(self, make, photos):
        identity = keras.layers.Identity()
        clfs = [make(augmentation=a).fit(photos / "train", epochs=3, verbose=0) for a in (None, identity)]
        first, second = (clf.predict_proba(photos / "test", verbose=0) for clf in clfs)
        assert first == pytest.approx(second, abs=1e-4)

    @pytest.mark.parametrize(
        ("choice", "message"),
        [
            ("heavy", "None, 'light' or a Keras layer"),
            (3, "None, 'light'"),
            (keras.layers.CenterCrop(8, 8), "keep the shape"),
        ],
    )
    def test_refuses_what_cannot_work(self, make, photos, choice, message):
        with pytest.raises(tk.InvalidInputError, match=message):
            make(augmentation=choice).fit(photos / "train", verbose=0)


class TestCallbacks:
    def test_early_stopping_stops(self, make, photos):
        stop = keras.callbacks.EarlyStopping(monitor="loss", min_delta=100.0, patience=1, restore_best_weights=True)
        clf = make().fit(photos / "train", epochs=50, callbacks=[stop], verbose=0)
        assert clf.history_.epochs == 2
        assert clf.history_.phases[0].kept == 1

    @pytest.mark.thorough
    def test_reduce_on_plateau_acts_on_the_rate(self, make, photos):
        reduce = keras.callbacks.ReduceLROnPlateau(monitor="loss", min_delta=100.0, patience=1, factor=0.1)
        clf = make().fit(photos / "train", epochs=4, callbacks=[reduce], verbose=0)
        rates = clf.history_["learning_rate"]
        assert rates[-1] < rates[0]

    def test_a_schedule_and_a_callback_that_sets_rates_exclude_each_other(self, make, photos):
        schedule = keras.optimizers.schedules.ExponentialDecay(1e-2, 1, 0.5)
        with pytest.raises(tk.InvalidInputError, match="ReduceLROnPlateau"):
            make().fit(
                photos / "train", learning_rate=schedule, callbacks=[keras.callbacks.ReduceLROnPlateau()], verbose=0
            )

    def test_batch_callbacks_are_called_at_every_step(self, make, photos):
        class Count(keras.callbacks.Callback):
            steps = 0

            def on_train_batch_end(self, batch, logs=None):
                assert np.isfinite(logs["loss"])
                self.steps += 1

        counter = Count()
        make().fit(photos / "train", epochs=3, batch_size=8, validation=0, callbacks=counter, verbose=0)
        assert counter.steps == 3 * 5

    @pytest.mark.thorough
    def test_stepped_and_compiled_epochs_train_alike(self, make, photos):
        class Batches(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                pass

        results = [
            make().fit(photos / "train", epochs=4, callbacks=c, verbose=0).predict_proba(photos / "test", verbose=0)
            for c in ([], [Batches()])
        ]
        assert results[0] == pytest.approx(results[1], abs=1e-5)

    def test_a_checkpoint_holds_the_whole_network(self, make, photos):
        checkpoint = keras.callbacks.ModelCheckpoint("best.keras", monitor="loss", save_best_only=False)
        clf = make().fit(photos / "train", epochs=2, callbacks=[checkpoint], validation=None, verbose=0)
        model = keras.saving.load_model("best.keras")
        x = np.zeros((1, 32, 32, 3), np.float32)
        assert model.predict(x, verbose=0) == pytest.approx(clf.network_.predict(x, verbose=0), abs=1e-6)

    def test_something_else_is_refused(self, make, photos):
        with pytest.raises(tk.InvalidInputError, match="callbacks='stop'"):
            make().fit(photos / "train", callbacks=["stop"], verbose=0)


@pytest.mark.thorough
def test_mixed_precision_trains_and_answers_in_float32(make, photos, tmp_path):
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        clf = make().fit(photos / "train", epochs=20, learning_rate=0.01, verbose=0)
        clf.fine_tune(at="stage1_drop", epochs=2, learning_rate=1e-3, verbose=0)
        clf.save(tmp_path / "mixed.keras")
        loaded = tk.TransferClassifier.load(tmp_path / "mixed.keras")
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
    probabilities = clf.predict_proba(photos / "test", verbose=0)
    assert probabilities.dtype == np.float32
    assert clf.network_.output.dtype == "float32"
    assert clf.score(photos / "test") >= 0.8
    assert loaded.predict_proba(photos / "test", verbose=0) == pytest.approx(probabilities, abs=1e-3)


class TestEvaluate:
    @pytest.mark.thorough
    def test_figures_agree_with_the_predictions(self, fitted, photos):
        paths, labels = listing(photos / "test")
        report = fitted.evaluate(photos / "test", verbose=0)
        predicted = np.asarray(fitted.predict(paths, verbose=0))
        assert report.accuracy == (predicted == np.array(labels)).mean() == fitted.score(photos / "test")
        assert report.confusion_matrix.sum() == 18
        assert np.trace(report.confusion_matrix) == round(report.accuracy * 18)

    @pytest.mark.thorough
    def test_a_missing_class_keeps_the_indices_right(self, fitted, photos, tmp_path):
        (tmp_path / "some").mkdir()
        for name in ("red", "standing"):
            (tmp_path / "some" / name).symlink_to(photos / "test" / name)
        whole = fitted.evaluate(photos / "test", verbose=0)
        some = fitted.evaluate(tmp_path / "some", verbose=0)
        assert np.array_equal(some.confusion_matrix[1:], whole.confusion_matrix[1:])
        assert some.confusion_matrix[0].sum() == 0
        assert np.isnan(some.per_class["lying"].recall)

    def test_an_unknown_class_is_refused(self, fitted, photos, tmp_path):
        (tmp_path / "odd").mkdir()
        (tmp_path / "odd" / "Red").symlink_to(photos / "test" / "red")
        with pytest.raises(tk.InvalidInputError, match=r"'Red'.*did you mean 'red'"):
            fitted.evaluate(tmp_path / "odd", verbose=0)
        with pytest.raises(tk.InvalidInputError, match="validation data holds the class 'Red'"):
            fitted.fit(photos / "train", validation=tmp_path / "odd", verbose=0)


class TestErrors:
    """Each in one sentence, before any work."""

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"epochs": 0}, tk.InvalidInputError, "`epochs=0`"),
            ({"epochs": 2.5}, tk.InvalidInputError, "whole number"),
            ({"batch_size": -1}, tk.InvalidInputError, "`batch_size=-1`"),
            ({"learning_rate": 0}, tk.InvalidInputError, "above 0"),
            ({"learning_rate": float("nan")}, tk.InvalidInputError, "learning_rate"),
            ({"validation": 1.0}, tk.InvalidInputError, "below 1"),
            ({"validation": -0.1}, tk.InvalidInputError, "validation"),
            ({"class_weight": {"rde": 2}}, tk.InvalidInputError, "'rde'"),
            ({"class_weight": "even"}, tk.InvalidInputError, "'balanced'"),
            ({"verbose": "loud"}, tk.InvalidInputError, "verbose"),
            ({"labels": ["a"]}, tk.InvalidInputError, "must be left out"),
        ],
    )
    def test_of_fit(self, make, photos, arguments, error, message):
        with pytest.raises(error, match=message):
            make().fit(photos / "train", **{"verbose": 0, **arguments})

    @pytest.mark.parametrize(
        ("parameters", "error", "message"),
        [
            ({"backbone": "TinyNett"}, tk.UnknownBackboneError, "Did you mean 'TinyNet'"),
            ({"backbone": 3}, tk.UnknownBackboneError, "no backbone 3"),
            (
                {"input_size": 7},
                tk.InvalidInputError,
                "`input_size=7` is too small for 'TinyNet', which needs at least 8 px",
            ),
            ({"input_size": (32, 4)}, tk.InvalidInputError, "too small"),
            ({"input_size": "big"}, tk.InvalidInputError, "input_size"),
            ({"dropout": 1.0}, tk.InvalidInputError, "dropout"),
            ({"seed": -1}, tk.InvalidInputError, "seed"),
            ({"weights": "nowhere.h5"}, tk.WeightsError, "nowhere.h5"),
            ({"weights": "imagenet"}, tk.WeightsError, "weights='imagenet'"),
            ({"weights": "pretrained"}, tk.WeightsError, "has no pretrained weights"),
            ({"weights": 4}, tk.InvalidInputError, "weights=4"),
        ],
    )
    def test_of_the_constructor_come_with_fit(self, make, photos, parameters, error, message):
        clf = make(**parameters)
        with pytest.raises(error, match=message):
            clf.fit(photos / "train", verbose=0)

    def test_of_data(self, make, photos, tmp_path):
        empty = tmp_path / "empty"
        one = tmp_path / "one"
        empty.mkdir()
        one.mkdir()
        (one / "red").symlink_to(photos / "train" / "red")
        cases = [
            (empty, None, "holds no images"),
            (one, None, "only the class 'red'"),
            (tmp_path / "none", None, "does not exist"),
            (photos / "train" / "red", None, "no folder per class"),
            (photos, None, "splits, not classes"),
            (["a.png", "b.png"], ["x", "y"], "no file 'a.png', 'b.png'"),
            (np.zeros((2, 8, 8, 3), np.uint8), ["a"], "1 labels were given for 2 images"),
            (np.zeros((2, 8, 8, 3), np.uint8), None, "has no labels"),
            ([], [], "holds no images"),
        ]
        for data, labels, message in cases:
            with pytest.raises(tk.InvalidInputError, match=message):
                make().fit(data, labels, verbose=0)

    @pytest.mark.parametrize("method", ["predict", "predict_proba", "evaluate", "score", "save", "fine_tune"])
    def test_before_fit(self, make, method):
        argument = {"at": "stage1"} if method == "fine_tune" else {}
        positional = [] if method == "fine_tune" else ["x.keras"]
        with pytest.raises(tk.NotFittedError, match="Call fit or load first"):
            getattr(make(), method)(*positional, **argument)

    def test_results_before_fit_are_no_attributes(self, make):
        with pytest.raises(AttributeError, match="Call fit first"):
            make().classes_  # noqa: B018
        assert not hasattr(make(), "history_")

    @pytest.mark.parametrize("augmentation", [None, "light"])
    def test_all_unreadable_images_are_named_before_training(self, make, photos, tmp_path, augmentation):
        import shutil

        shutil.copytree(photos / "train", tmp_path / "bad")
        for number in (1, 5):
            (tmp_path / "bad" / "red" / f"{number:02d}.png").write_bytes(b"no image at all")
        (tmp_path / "bad" / "lying" / "00.png").write_bytes(b"")
        with pytest.raises(tk.ImageReadError) as caught:
            make(augmentation=augmentation).fit(tmp_path / "bad", validation=None, verbose=0)
        assert len(caught.value.failures) == 3
        for name in ("red/01.png", "red/05.png", "lying/00.png"):
            assert name in str(caught.value)


class TestOutput:
    @pytest.mark.thorough
    def test_silent_with_verbose_0(self, make, photos, capfd):
        clf = make().fit(photos / "train", epochs=1, verbose=0)
        clf.fine_tune(at="stage2", epochs=1, verbose=0)
        clf.evaluate(photos / "test", verbose=0)
        clf.predict(photos / "new", verbose=0)
        captured = capfd.readouterr()
        assert captured.out == ""
        assert captured.err == ""

    @pytest.mark.thorough
    def test_no_bars_where_nobody_watches(self, make, photos, capfd):
        make().fit(photos / "train", epochs=1).fine_tune(at="stage2", epochs=1)
        captured = capfd.readouterr()
        assert captured.err == ""
        assert "\r" not in captured.out
        assert "\x1b" not in captured.out
        # The drawings have so little in them that some look alike.
        assert len([line for line in captured.out.splitlines() if "near duplicate" not in line]) == 5

    def test_verbose_2_gives_a_line_per_epoch(self, make, photos, capsys):
        make().fit(photos / "train", epochs=3, verbose=2)
        assert capsys.readouterr().out.count("val_accuracy") == 3


class TestEstimator:
    def test_constructor_only_stores(self):
        layer = keras.layers.RandomFlip()
        clf = tk.TransferClassifier("nonsense", weights=object, augmentation=layer, dropout="x")
        assert clf.get_params()["augmentation"] is layer
        assert clf.backbone == "nonsense"

    def test_params_round_trip(self, make):
        clf = make(dropout=0.3)
        assert tk.TransferClassifier(**clf.get_params()).get_params() == clf.get_params()
        assert clf.set_params(dropout=0.5) is clf
        assert clf.dropout == 0.5
        with pytest.raises(tk.InvalidInputError, match="dropuot"):
            clf.set_params(dropuot=0.5)

    @pytest.mark.thorough
    def test_scikit_learn_can_clone_and_cross_validate(self, make, pictures):
        from sklearn.base import clone, is_classifier
        from sklearn.model_selection import cross_val_score
        from sklearn.utils.validation import check_is_fitted

        x, y = pictures
        clf = make()
        assert is_classifier(clf)
        copy = clone(clf)
        assert copy.get_params() == clf.get_params()
        scores = cross_val_score(make(), x, y, cv=2, params={"verbose": 0, "epochs": 10, "learning_rate": 0.01})
        assert scores.mean() > 0.7
        with pytest.raises(Exception, match="not fitted"):
            check_is_fitted(clf)

    @pytest.mark.thorough
    def test_scikit_learn_passes_on_the_arguments_of_fit(self, make, photos):
        from sklearn.model_selection import GridSearchCV, cross_val_score

        paths, labels = listing(photos / "train")
        means = [
            cross_val_score(
                make(), paths, labels, cv=2, params={"epochs": epochs, "learning_rate": 0.01, "verbose": 0}
            ).mean()
            for epochs in (1, 30)
        ]
        assert means[1] > means[0]
        search = GridSearchCV(make(), {"dropout": [0.0, 0.5]}, cv=2)
        search.fit(paths, labels, epochs=3, learning_rate=0.01, verbose=0)
        assert search.best_estimator_.history_.epochs == 3

    def test_repr_shows_what_was_changed(self, make):
        assert repr(make()) == "TransferClassifier(backbone='TinyNet', weights=None, seed=0)"


def pickled(clf: tk.TransferClassifier) -> tk.TransferClassifier:
    return pickle.loads(pickle.dumps(clf))


def dumped(clf: tk.TransferClassifier) -> tk.TransferClassifier:
    joblib.dump(clf, "clf.joblib")
    return joblib.load("clf.joblib")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled, dumped])
class TestCopies:
    @pytest.mark.thorough
    def test_of_a_fitted_classifier_predict_the_same(self, make, photos, copied):
        clf = make(cache=False).fit(photos / "train", epochs=2, learning_rate=0.02, verbose=0)
        clf.fine_tune(at="stage2", epochs=1, learning_rate=1e-3, validation=0, verbose=0)
        expected = clf.predict_proba(photos / "test", verbose=0)
        twin = copied(clf)
        np.testing.assert_array_equal(twin.predict_proba(photos / "test", verbose=0), expected)
        assert twin.get_params() == clf.get_params()
        assert twin.history_ == clf.history_
        assert not hasattr(twin, "report_")
        with pytest.raises(tk.InvalidInputError, match="loaded or copied"):
            twin.fine_tune(at="stage2", verbose=0)
        twin.fine_tune(photos / "train", at="stage1", epochs=1, learning_rate=0.1, validation=0, verbose=0)
        np.testing.assert_array_equal(clf.predict_proba(photos / "test", verbose=0), expected)

    def test_of_an_unfitted_classifier_have_its_arguments(self, make, copied):
        twin = copied(make(dropout=0.3, views=2))
        assert twin.get_params() == make(dropout=0.3, views=2).get_params()
        with pytest.raises(tk.NotFittedError):
            twin.predict([])

    @pytest.mark.thorough
    def test_work_with_a_record_that_is_not_registered(self, make, photos, copied):
        record = dataclasses.replace(tk.get_backbone("TinyNet"), name="Other")
        clf = make(backbone=record).fit(photos / "train", epochs=1, verbose=0)
        expected = clf.predict_proba(photos / "test", verbose=0)
        twin = copied(clf)
        np.testing.assert_array_equal(twin.predict_proba(photos / "test", verbose=0), expected)
        assert twin.backbone == record


@pytest.mark.thorough
def test_a_copy_of_a_fitted_classifier_goes_by_the_name_of_a_registered_backbone(make, photos):
    tiny = tk.get_backbone("TinyNet")
    tk.register_backbone(
        dataclasses.replace(tiny, name="Local", builder=lambda input_shape: tiny.build(input_shape[:2]))
    )
    clf = make(backbone="Local").fit(photos / "train", epochs=1, verbose=0)
    assert pickled(clf).classes_.tolist() == clf.classes_.tolist()  # a lambda cannot be pickled


@pytest.mark.thorough
def test_works_in_another_folder_after_fit_with_relative_paths(make, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    clf = make().fit("train", epochs=2, verbose=0)
    monkeypatch.chdir(tmp_path)
    clf.fine_tune(at="stage2", epochs=1, verbose=0)
    assert len(clf.history_.phases) == 2


FORKED = """
import os
import numpy as np
import transferkit as tk
tk.TransferClassifier  # imports TensorFlow, which is not used yet
pixels, labels = np.load("pixels.npy"), ["a", "b"] * 2
def say(name, call):
    if (child := os.fork()) == 0:
        try:
            call()
            print(name, "works", flush=True)
        except tk.TransferKitError as error:
            print(name, "fails" if "forked" in str(error) and "'spawn'" in str(error) else error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
def fit():
    tk.TransferClassifier("TransferKitTiny").fit(pixels, labels, validation=0, epochs=1, verbose=0)
say("early", lambda: tk.TransferClassifier.load("pets.keras").predict(pixels, verbose=0))
clf = tk.TransferClassifier.load("pets.keras")
say("fit", fit)
say("load", lambda: tk.TransferClassifier.load("pets.keras"))
say("predict", lambda: clf.predict(pixels))
say("evaluate", lambda: clf.evaluate(pixels, labels))
say("fine_tune", lambda: clf.fine_tune(pixels, labels, at="block_7"))
say("save", lambda: clf.save("copy.keras"))
"""


POOLS = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
import numpy as np
import transferkit as tk
def ask(clf, pixels):
    return clf.predict_proba(pixels, verbose=0)
if __name__ == "__main__":
    clf, pixels = tk.TransferClassifier.load("pets.keras"), np.load("pixels.npy")
    expected = ask(clf, pixels)
    def say(name, answer):
        try:
            print(name, np.array_equal(answer(), expected), flush=True)
        except tk.TransferKitError as error:
            print(name, "forked" in str(error), flush=True)
    with get_context("fork").Pool(1) as pool:
        say("Pool", lambda: pool.apply_async(ask, (clf, pixels)).get(60))
        say("Pool again", lambda: pool.apply_async(ask, (clf, pixels)).get(60))
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        say("ProcessPoolExecutor", lambda: pool.submit(ask, clf, pixels).result(60))
    if "spawn" in sys.argv:
        import joblib
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            say("spawn", lambda: pool.submit(ask, clf, pixels).result(100))
        say("loky", lambda: joblib.Parallel(2)(joblib.delayed(ask)(clf, pixels) for _ in range(2))[1])
"""


def small_file(folder: Path) -> None:
    """A saved classifier and pixels for it."""
    pixels = drawn(2, seed=0, size=(96, 96))[0][:4]
    np.save(folder / "pixels.npy", pixels)
    clf = tk.TransferClassifier("TransferKitTiny").fit(pixels, ["a", "b"] * 2, validation=0, epochs=1, verbose=0)
    clf.save(folder / "pets.keras")


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_classifier_passed_to_forked_workers_is_an_error_there_and_does_not_hang(tmp_path):
    """An error while it is unpickled ends a worker of a Pool, which starts another one, and another one."""
    small_file(tmp_path)
    (tmp_path / "pools.py").write_text(POOLS)
    said = fresh_python("import runpy; runpy.run_path('pools.py', run_name='__main__')").split("\n")
    assert said[:3] == ["Pool True", "Pool again True", "ProcessPoolExecutor True"]


@pytest.mark.slow
def test_a_classifier_passed_to_processes_of_their_own_works_there(tmp_path):
    small_file(tmp_path)
    (tmp_path / "pools.py").write_text(POOLS)
    done = subprocess.run([sys.executable, "pools.py", "spawn"], capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[3:] == ["spawn True", "loky True"], done.stderr[-2000:]


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_of_a_process_that_used_tensorflow_is_refused_and_does_not_hang(tmp_path):
    small_file(tmp_path)
    first, *others = fresh_python(FORKED).splitlines()
    assert first == "early works"
    assert others == [f"{name} fails" for name in ("fit", "load", "predict", "evaluate", "fine_tune", "save")]


@pytest.mark.thorough
def test_evaluate_says_if_it_was_trained_on_the_images(
    fitted: tk.TransferClassifier, loaded: tk.TransferClassifier, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for clf in (fitted, loaded):
        clf.evaluate(photos / "test")
        assert capsys.readouterr().out == ""
        clf.evaluate(photos / "train")
        assert "trained on 27 of these 36 images, so the figures are better" in capsys.readouterr().out
