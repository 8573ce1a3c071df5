"""Backbones that contain models, or are a `keras.Sequential`, are cut at the layers inside, by index and by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from helpers import refused
from networks import build_tiny, calibrate

import transferkit as tk
from transferkit.network.network import assemble

layers = keras.layers
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
LABELS = list("ab" * 6)
Shape = tuple[int, int, int]


def in_a_model(input_shape: Shape) -> keras.Model:
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(3, 3, padding="same", name="own_conv")(inputs)
    return keras.Model(inputs, layers.ReLU(name="own_relu")(build_tiny(input_shape)(x, training=False)))


def two_deep(input_shape: Shape) -> keras.Model:
    inputs = keras.Input(input_shape)
    inner = in_a_model(input_shape)
    return keras.Model(inputs, inner(keras.ops.multiply(inputs, 0.5)))


def sequential(input_shape: Shape) -> keras.Model:
    scale = layers.Rescaling(0.5, name="own_scale")
    return keras.Sequential([keras.Input(input_shape), scale, build_tiny(input_shape), layers.ReLU(name="own_relu")])


def plain_sequential(input_shape: Shape) -> keras.Model:
    names = ("stage1_conv", "stage2_conv", "stage3_conv")
    return keras.Sequential([keras.Input(input_shape), *(layers.Conv2D(4, 3, name=name) for name in names)])


def sequential_inside(input_shape: Shape) -> keras.Model:
    inputs = keras.Input(input_shape)
    x = keras.Sequential([layers.Conv2D(4, 3, name="stem_conv"), layers.BatchNormalization(name="stem_bn")])(inputs)
    return keras.Model(inputs, layers.Conv2D(4, 3, name="stage2_conv")(x))


def same_names(input_shape: Shape) -> keras.Model:
    inputs = keras.Input(input_shape, name="stem_relu")
    kinds = [keras.Sequential([layers.Conv2D(4, 3, name="stage2_conv")], name=name) for name in ("one", "two")]
    return keras.Model(inputs, layers.Add()([kind(inputs) for kind in kinds]))


def used_twice(input_shape: Shape) -> keras.Model:
    inputs = keras.Input(input_shape)
    inner = keras.Sequential([layers.Conv2D(3, 3, padding="same", name="stage2_conv")], name="inner")
    return keras.Model(inputs, inner(layers.ReLU(name="between")(inner(inputs))))


BUILDERS = (in_a_model, two_deep, sequential, plain_sequential, sequential_inside, same_names)


@pytest.fixture(params=BUILDERS, ids=lambda build: build.__name__)
def record(request: pytest.FixtureRequest) -> tk.Backbone:
    return tk.register_backbone(tk.Backbone("Own", request.param, "tf", default_size=32, min_size=8))


@pytest.mark.thorough
def test_every_cut_gives_what_the_whole_network_gives(record: tk.Backbone) -> None:
    keras.utils.set_random_seed(0)
    backbone = record.build((32, 32))
    pixels = record.preprocess_input(IMAGES)
    calibrate(backbone, pixels)
    network = assemble(record, backbone, (32, 32), 2, 0.5, seed=0)
    assert not any(isinstance(layer, keras.Model) for layer in network.backbone.layers)
    assert network.backbone(pixels).numpy() == pytest.approx(backbone(pixels).numpy(), abs=1e-6)
    network.head[-1].set_weights([np.random.default_rng(1).normal(size=w.shape) for w in network.head[-1].weights])
    expected = network.model(IMAGES, training=False).numpy()
    for index, layer in enumerate(network.backbone.layers):
        assert network.resolve(layer.name) == index
        cut = network.cut_at(index)
        values = cut.extractor.model(IMAGES.astype(np.float32), training=False)
        logits = cut.trainable(values if len(values) > 1 else values[0], training=False)
        assert keras.ops.softmax(logits).numpy() == pytest.approx(expected, abs=1e-5), layer.name


@pytest.mark.thorough
def test_fit_fine_tune_save_and_load(record: tk.Backbone, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    record.build((32, 32)).save_weights(tmp_path / "own.weights.h5")
    clf = tk.TransferClassifier("Own", weights=tmp_path / "own.weights.h5", seed=0)
    clf.fit(IMAGES, LABELS, epochs=1, verbose=0)
    before = clf.predict_proba(IMAGES)
    clf.fine_tune(at="stage2_conv", epochs=2, learning_rate=0.05, validation=0, verbose=0)
    assert not np.allclose(before, clf.predict_proba(IMAGES), atol=1e-4)
    clf.save(tmp_path / "own.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "own.keras")
    assert loaded.predict_proba(IMAGES) == pytest.approx(clf.predict_proba(IMAGES), abs=1e-6)
    again: Any = keras.saving.load_model(tmp_path / "own.keras")
    assert again.predict(IMAGES.astype(np.float32), verbose=0) == pytest.approx(clf.predict_proba(IMAGES), abs=1e-5)
    loaded.fine_tune(IMAGES, LABELS, at=-1, epochs=1, validation=0, verbose=0)


def test_a_cut_after_what_is_not_of_one_image_is_refused() -> None:
    def build(input_shape: Shape) -> keras.Model:
        inputs = keras.Input(input_shape)
        table = layers.Lambda(lambda images: keras.ops.ones_like(images[0]), name="table")(inputs)
        x = keras.ops.multiply(layers.Conv2D(3, 3, padding="same", name="conv")(inputs), table)
        x = layers.Conv2D(3, 3, padding="same", name="last_conv")(x)
        return keras.Model(inputs, keras.ops.multiply(x, table))

    clf = tk.TransferClassifier(tk.Backbone("Table", build, "tf", default_size=32), weights=None, seed=0)
    clf.fit(IMAGES, LABELS, epochs=1, verbose=0)
    with refused(tk.InvalidInputError, "`at='last_conv'` is after 'table'", "Pass a layer before 'table'"):
        clf.fine_tune(at="last_conv", epochs=1, verbose=0)


@pytest.mark.thorough
def test_a_cut_between_two_calls_of_a_layer_is_refused() -> None:
    clf = tk.TransferClassifier(tk.Backbone("Twice", used_twice, "tf", default_size=32), weights=None, seed=0)
    clf.fit(IMAGES, LABELS, epochs=1, verbose=0)
    with refused(tk.InvalidInputError, "between two calls of the layer 'stage2_conv'", "Pass at='stage2_conv'"):
        clf.fine_tune(at="between", epochs=1, verbose=0)
    clf.fine_tune(at="stage2_conv", epochs=1, verbose=0)
