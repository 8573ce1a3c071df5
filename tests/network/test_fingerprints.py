"""Fingerprints: equal exactly where the values are."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import TINY

import transferkit as tk
from transferkit.network.fingerprints import computation

layers = keras.layers


def digest(model: keras.Model) -> str:
    """Of a model whose builder is the user's own."""
    return computation(TINY, model, (8, 8), "features")


def model(**changes: object) -> keras.Model:
    options = {
        "filters": 4,
        "kernel_size": 3,
        "strides": 1,
        "activation": "relu",
        "factor": 2.0,
        "order": False,
    } | changes
    factor, order = options.pop("factor"), options.pop("order")
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(**options)(inputs)
    x = keras.ops.multiply(x, factor)
    y = layers.Rescaling(0.5)(x)
    return keras.Model(inputs, layers.Subtract()([y, x] if order else [x, y]))


def test_names_seeds_and_flags_do_not_count():
    first = model()
    layers.Conv2D(3, 3)  # counts up the names of what comes next
    second = model(name="another")
    second.trainable = False
    assert digest(first) == digest(second)


@pytest.mark.parametrize(
    "change",
    [
        {"filters": 5},
        {"strides": 2},
        {"activation": "gelu"},
        {"factor": 3.0},
        {"order": True},
        {"dtype": "mixed_float16"},
    ],
    ids=str,
)
def test_settings_and_connections_count(change):
    assert digest(model(**change)) != digest(model())


def with_layer(layer: keras.layers.Layer) -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layer(inputs))


class Scale(keras.layers.Layer):
    """A layer of somebody's own, whose settings do not tell what it does."""

    factor = 2.0

    def get_config(self) -> dict[str, object]:
        return {}

    def call(self, values: object) -> object:
        return values * self.factor


def scaling(factor: float) -> object:
    def scaled(values: object) -> object:
        return values * factor

    return scaled


def scale(factor: float) -> Scale:
    layer = Scale()
    layer.factor = factor
    return layer


class Whole(keras.Model):
    """A subclassed model."""

    def __init__(self, pool: keras.layers.Layer) -> None:
        super().__init__()
        self.pool = pool

    def call(self, values: object) -> object:
        return self.pool(values)


@pytest.mark.parametrize(
    "build",
    [
        lambda k: with_layer(scale(k)),
        lambda k: with_layer(layers.Lambda(scaling(k))),
        lambda k: with_layer(layers.Conv2D(3, 1, activation=scaling(k))),
        lambda k: with_layer(layers.Activation(scaling(k))),
        lambda k: with_layer(layers.Activation(["relu", "tanh"][int(k) - 1], name=["relu", "tanh"][int(k) - 1])),
        lambda k: with_layer(layers.Normalization(mean=np.full(3, k), variance=np.ones(3))),
        lambda k: with_layer(Whole([layers.AveragePooling2D(2), layers.MaxPooling2D(2)][int(k) - 1])),
        lambda k: keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 1, strides=int(k))]),
        lambda k: with_layer(with_layer(layers.LeakyReLU(k))),
    ],
    ids=["own", "lambda", "activation", "layer-activation", "named", "array", "subclassed", "sequential", "nested"],
)
def test_what_computes_something_else_has_another_digest(build):
    assert digest(build(1.0)) == digest(build(1.0))
    assert digest(build(1.0)) != digest(build(2.0))


def test_which_weight_is_used_where_counts():
    class Two(keras.layers.Layer):
        def __init__(self, turned: bool) -> None:
            super().__init__()
            self.turned = turned
            self.a, self.b = (self.add_weight(shape=(3,), name=name) for name in "ab")

        def get_config(self) -> dict[str, object]:
            return {}

        def call(self, values: object) -> object:
            first, second = (self.b, self.a) if self.turned else (self.a, self.b)
            return keras.ops.tanh(values * first) * second

    assert digest(with_layer(Two(False))) != digest(with_layer(Two(True)))


def test_a_model_that_draws_on_the_world_is_like_no_other():
    class Outside(keras.layers.Layer):
        def call(self, values: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(tf.numpy_function(lambda x: x, [values], tf.float32), values.shape)

    digests = {digest(with_layer(Outside())) for _ in range(2)}
    assert len(digests) == 2


def test_a_backbone_of_keras_is_known_by_its_record():
    """Nothing is traced: its builder, options, preprocessing, size and cut say what it computes."""
    model = keras.Sequential([keras.Input((96, 96, 3))])  # not looked at

    def of(name: str, size: int = 96, at: int | str = "features") -> str:
        return computation(tk.get_backbone(name), model, (size, size), at)

    known = [of("MobileNetV2"), of("MobileNetV2_0.35"), of("VGG16"), of("MobileNetV2", 128), of("MobileNetV2", 96, 3)]
    assert len(set(known)) == len(known)
    assert of("MobileNetV2") == known[0]
