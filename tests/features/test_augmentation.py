"""Fixed views: drawn from the content of an image, the same in every process, computed once."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import refused

import transferkit as tk
from transferkit.features.augmentation import augmenter, fixed_views

SIZE = (32, 32)
layers = keras.layers


@pytest.fixture
def image(rng):
    return rng.uniform(0, 255, (*SIZE, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "choice",
    [
        "light",
        layers.RandomRotation(0.2),
        keras.Sequential([layers.RandomFlip(), layers.RandomBrightness(0.3), layers.RandomTranslation(0.2, 0.2)]),
    ],
    ids=["light", "layer", "sequence"],
)
def test_a_view_depends_on_the_content_and_its_number_alone(image, choice):
    views = fixed_views(choice, SIZE, 4)
    drawn = [views.draw(image, b"a", view) for view in range(4)]
    assert all(view.shape == image.shape and view.min() >= 0 and view.max() <= 255 for view in drawn)
    assert len({view.tobytes() for view in drawn}) > 1
    assert not np.array_equal(views.draw(image, b"b", 0), drawn[0]) or not np.array_equal(
        views.draw(image, b"b", 1), drawn[1]
    )
    again = fixed_views(choice, SIZE, 9)
    assert all(np.array_equal(again.draw(image, b"a", number), view) for number, view in enumerate(drawn))
    assert len({views.key(b"a" * 16, view) for view in range(4)} | {b"a" * 16}) == 5


def test_the_seeds_of_the_layers_do_not_count(image):
    first, second = (fixed_views(layers.RandomRotation(0.2, seed=seed), SIZE, 2) for seed in (1, 2))
    assert np.array_equal(first.draw(image, b"a", 1), second.draw(image, b"a", 1))
    assert first.key(b"a" * 16, 1) == second.key(b"a" * 16, 1)


def test_other_settings_are_other_views(image):
    first, second = (fixed_views(layers.RandomRotation(factor), SIZE, 2) for factor in (0.1, 0.2))
    assert first.key(b"a" * 16, 1) != second.key(b"a" * 16, 1)


def test_other_weights_of_a_layer_are_other_views(image):
    def shifted(mean: float) -> keras.layers.Layer:
        return keras.Sequential([layers.Normalization(mean=np.full(3, mean), variance=np.ones(3))])

    first, second = (fixed_views(shifted(mean), SIZE, 1) for mean in (-1.0, -2.0))
    assert first.key(b"a" * 16, 0) != second.key(b"a" * 16, 0)


class Unseeded(keras.layers.Layer):
    def call(self, images: object, training: object = None) -> object:
        return images + tf.random.uniform(())


class Hiding(keras.layers.Layer):
    """Draws by numbers of its own, which a compiled function sees once."""

    def call(self, images: object, training: object = None) -> object:
        return images + float(np.random.default_rng().uniform())


@pytest.mark.parametrize("layer", [Unseeded, Hiding])
def test_randomness_that_cannot_be_set_is_refused(make, photos, layer):
    with refused(tk.InvalidInputError, "views", "keras.random.SeedGenerator"):
        make(augmentation=layer(), views=2).fit(photos / "train", verbose=0)


@pytest.mark.parametrize("views", [0, -1, 1.5, "two", True])
def test_views_are_a_positive_number(make, photos, views):
    with refused(tk.InvalidInputError, "views", "whole number of 1 or more"):
        make(augmentation="light", views=views).fit(photos / "train", verbose=0)


def test_views_without_augmentation_are_refused(make, photos):
    with refused(tk.InvalidInputError, "views", "needs an augmentation"):
        make(views=2).fit(photos / "train", verbose=0)


@pytest.mark.thorough
def test_views_are_computed_once(make, photos, computed):
    first = make(augmentation="light", views=3).fit(photos / "train", validation=0.25, epochs=7, verbose=0)
    assert sum(computed) == 27 * (3 + 1) + 9  # the unchanged images measure the result
    computed.clear()
    second = make(augmentation="light", views=3).fit(photos / "train", validation=0.25, epochs=7, verbose=0)
    assert not computed
    assert second.history_["loss"] == pytest.approx(first.history_["loss"], abs=1e-6)
    make(augmentation="light", views=5).fit(photos / "train", validation=0.25, epochs=1, verbose=0)
    assert sum(computed) == 27 * 2  # two views more


@pytest.mark.thorough
@pytest.mark.parametrize("data", ["files", "arrays"])
def test_validation_images_are_never_changed(make, photos, pictures, data, computed):
    white = layers.RandomBrightness((1.0, 1.0))  # all views are white
    given = (photos / "train",) if data == "files" else (pictures[0][:24], pictures[1][:24])
    held_out = photos / "test" if data == "files" else (pictures[0][24:], pictures[1][24:])
    clf = make(augmentation=white, views=2).fit(*given, validation=held_out, epochs=30, learning_rate=0.05, verbose=0)
    plain = make().fit(*given, validation=held_out, epochs=30, learning_rate=0.05, verbose=0)
    assert clf.history_["accuracy"][-1] < 0.5  # white images tell nothing
    assert plain.history_["accuracy"][-1] > 0.8
    result = clf.evaluate(*([held_out] if data == "files" else held_out), verbose=0)
    assert clf.history_["val_accuracy"][-1] == result.accuracy
    assert result.loss <= clf.history_["val_loss"][-1] + 1e-4  # which is from before the logits were scaled


@pytest.mark.thorough
def test_epochs_go_through_the_views_in_turn(make, photos):
    clf = make(augmentation="light", views=2, dropout=0.0)
    clf.fit(photos / "train", validation=None, epochs=4, learning_rate=1e-9, verbose=0)
    losses = clf.history_["loss"]
    assert losses[0] == pytest.approx(losses[2], abs=1e-6)
    assert losses[1] == pytest.approx(losses[3], abs=1e-6)
    assert make(cache=False, augmentation="light", views=2, dropout=0.0).fit(
        photos / "train", validation=None, epochs=4, learning_rate=1e-9, verbose=0
    ).history_["loss"] == pytest.approx(losses, abs=1e-6)


@pytest.mark.thorough
def test_fine_tuning_takes_the_views_too(make, photos, computed):
    clf = make(augmentation="light", views=2).fit(photos / "train", validation=0.25, epochs=1, verbose=0)
    computed.clear()
    clf.fine_tune(at="stage2", epochs=4, verbose=0)
    assert sum(computed) == 27 * (2 + 1) + 9


@pytest.mark.thorough
def test_fine_tuning_from_pixels_says_what_becomes_of_views(make, photos, capsys):
    clf = make(augmentation="light", views=2).fit(photos / "train", epochs=1, verbose=0)
    clf.fine_tune(at=0, epochs=1)
    assert "every epoch sees newly changed images" in capsys.readouterr().out


@pytest.mark.thorough
def test_live_augmentation_tells_of_views(make, photos, capsys):
    make(augmentation="light").fit(photos / "train", epochs=1)
    assert "views=8" in capsys.readouterr().out


@pytest.mark.parametrize("count", [None, 2])
def test_the_layer_of_the_user_stays_as_it_is(image, count):
    for layer in (layers.RandomRotation(0.2), keras.Sequential([layers.RandomFlip(), layers.RandomContrast(0.2)])):
        before = [variable.numpy() for variable in layer.variables]
        assert before
        fixed_views(layer, SIZE, count) if count else augmenter(layer, SIZE, 0)
        after = [variable.numpy() for variable in layer.variables]
        assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (keras.Sequential([keras.layers.Rescaling(1 / 255), keras.layers.RandomFlip()]), "of at most 1:"),
        (keras.layers.RandomBrightness(0.2, value_range=(0, 1)), "of at most 1:"),
        (keras.layers.Rescaling(0.0), "of at most 0:"),
        (keras.Sequential([keras.layers.MixUp()]), "mixes images of several classes"),
    ],
)
def test_a_layer_that_makes_other_images_of_them_is_refused(make, photos, layer, words):
    with refused(tk.InvalidInputError, words):
        make(augmentation=layer).fit(photos / "train", verbose=0)
