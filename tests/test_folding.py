"""Folding: the same numbers, from any thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY

from transferkit.folding import compiled, folded, is_safe_in_threads

layers = keras.layers


def scrambled(model: keras.Model) -> keras.Model:
    """Weights and statistics that no layer starts with."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign(rng.uniform(0.5, 1.5, weight.shape) * rng.choice([-1, 1] if len(weight.shape) > 1 else [1]))
    return model


def images(count: int = 8, size: int = 16) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (count, size, size, 3)).astype(np.float32)


def close(first: object, second: object) -> bool:
    a, b = np.asarray(first), np.asarray(second)
    return bool(np.abs(a - b).max() <= 1e-5 * np.abs(b).max())


def normalized(x: keras.KerasTensor, layer: keras.layers.Layer, **options: object) -> keras.KerasTensor:
    return layers.BatchNormalization(**options)(layer(x))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Conv2D(4, 3, use_bias=False),
        lambda: layers.Conv2D(4, 3, strides=2, padding="same"),
        lambda: layers.Conv2D(6, 3, dilation_rate=2),
        lambda: layers.Conv2D(6, 1, groups=3),
        lambda: layers.DepthwiseConv2D(3, use_bias=False),
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        lambda: layers.SeparableConv2D(4, 3),
        lambda: layers.Conv2DTranspose(4, 3),
        lambda: layers.Conv2D(4, 3, activation="relu"),
    ],
    ids=["conv", "strides", "dilation", "groups", "depthwise", "multiplier", "separable", "transpose", "activation"],
)
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}], ids=str)
def test_a_folded_model_computes_the_same(layer, options):
    inputs = keras.Input((16, 16, 3))
    model = scrambled(keras.Model(inputs, layers.ReLU()(normalized(inputs, layer(), **options))))
    before = [weight.numpy() for weight in model.weights]
    assert close(folded(model)(images()), model(images(), training=False))
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights, strict=True))


def test_what_can_be_folded_is():
    def names(model: keras.Model) -> list[str]:
        return [type(layer).__name__ for layer in model.layers]

    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, layers.ReLU()(normalized(inputs, layers.Conv2D(4, 3))))
    assert "BatchNormalization" in names(model)
    assert "BatchNormalization" not in names(folded(model))
    outer = keras.Model(inputs, model(inputs))
    assert "BatchNormalization" not in names(folded(outer).layers[-1])


def test_a_convolution_that_others_read_too_is_left_alone():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3)(inputs)
    model = scrambled(keras.Model(inputs, [layers.BatchNormalization()(x), layers.ReLU()(x)]))
    for ours, theirs in zip(folded(model)(images()), model(images(), training=False), strict=True):
        assert close(ours, theirs)


def test_a_layer_that_is_called_twice_is_left_alone():
    inputs = keras.Input((16, 16, 3))
    shared, norm = layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization()
    model = scrambled(keras.Model(inputs, layers.ReLU()(shared(norm(shared(inputs))))))
    assert close(folded(model)(images()), model(images(), training=False))


@pytest.mark.parametrize("second", ["another convolution", "what came of it"])
def test_a_normalization_that_is_called_twice_is_left_alone(second):
    inputs = keras.Input((16, 16, 3))
    norm = layers.BatchNormalization()
    x = norm(layers.Conv2D(8, 3, padding="same")(inputs))
    other = (
        layers.Conv2D(8, 3, padding="same", activation="tanh")(inputs)
        if second == "another convolution"
        else layers.ReLU()(x)
    )
    model = scrambled(keras.Model(inputs, layers.Add()([x, norm(other)])))
    assert close(folded(model)(images()), model(images(), training=False))


def test_a_convolution_that_is_an_output_is_left_alone():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3)(inputs)
    model = scrambled(keras.Model(inputs, [x, layers.BatchNormalization()(x)]))
    for ours, theirs in zip(folded(model)(images()), model(images(), training=False), strict=True):
        assert close(ours, theirs)


def test_half_precision_is_near():
    inputs = keras.Input((16, 16, 3))
    model = scrambled(keras.Model(inputs, layers.ReLU()(normalized(inputs, layers.Conv2D(4, 3)))))
    halved = folded(model, half=True)
    assert {layer.compute_dtype for layer in halved.layers} >= {"float16"}
    expected = np.asarray(model(images(), training=False))
    result = np.asarray(halved(images()))
    assert result.dtype == np.float32
    assert np.abs(result - expected).max() <= 5e-3 * np.abs(expected).max()


def residual(kind: str) -> keras.Model:
    """Networks where TensorFlow merges a convolution, its bias and an addition."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    y = {
        "bias": lambda: layers.Conv2D(8, 3, padding="same")(x),
        "normalization": lambda: normalized(x, layers.Conv2D(8, 3, padding="same")),
        "dropout": lambda: layers.Dropout(0.1)(normalized(x, layers.Conv2D(8, 3, padding="same"))),
        "linear": lambda: layers.Activation("linear")(layers.Conv2D(8, 3, padding="same")(x)),
        "sequential": lambda: keras.Sequential([layers.ReLU(), layers.Conv2D(8, 3, padding="same")])(x),
        "no function": lambda: layers.Conv2D(8, 3, padding="same", activation=lambda values: values)(x),
        "no activation": lambda: layers.Activation(lambda values: values)(layers.Conv2D(8, 3, padding="same")(x)),
    }[kind]()
    return scrambled(keras.Model(inputs, layers.Rescaling(2.0)(layers.Add()([y, x]))))


@pytest.mark.parametrize(
    "kind", ["bias", "normalization", "dropout", "linear", "sequential", "no function", "no activation"]
)
def test_several_threads_get_the_right_numbers(kind):
    model = residual(kind)
    assert is_safe_in_threads(model)
    given = images(64)
    expected = np.asarray(model(given, training=False))
    for _ in range(10):
        function = compiled(folded(model), (16, 16), xla=False)
        with ThreadPoolExecutor(4) as pool:
            parts = pool.map(lambda s, f=function: f(tf.constant(given[s : s + 4]))[0].numpy(), range(0, 64, 4))
            assert close(np.concatenate(list(parts)), expected)


class Hidden(layers.Layer):
    """A layer of somebody's own that convolves and adds."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = layers.Conv2D(3, 3, padding="same")

    def call(self, values: object) -> object:
        return self.convolution(values) + values


def test_what_cannot_be_looked_into_is_not_called_by_several_threads():
    inputs = keras.Input((16, 16, 3))
    assert not is_safe_in_threads(keras.Model(inputs, Hidden()(inputs)))
    assert not is_safe_in_threads(keras.Model(inputs, keras.Sequential([Hidden()])(inputs)))
    assert not is_safe_in_threads(keras.Sequential([keras.Input((16, 16, 3)), residual("bias")]))
    assert not is_safe_in_threads(keras.Model(inputs, layers.Lambda(lambda values: values + 1)(inputs)))
    kernel = np.ones((3, 3, 3, 3), np.float32)
    assert not is_safe_in_threads(keras.Model(inputs, keras.ops.conv(inputs, kernel, padding="same") + inputs))
    assert is_safe_in_threads(TINY.build((32, 32)))


def test_weights_are_constants_of_the_function():
    model = scrambled(residual("normalization"))
    function = compiled(folded(model), (16, 16), xla=False)
    assert not function.variables
    before = function(tf.constant(images()))[0].numpy()
    for weight in model.weights:
        weight.assign(weight * 0)
    assert np.array_equal(function(tf.constant(images()))[0].numpy(), before)


def test_xla_gives_the_same_numbers():
    model = residual("normalization")
    plain, fast = (compiled(folded(model), (16, 16), xla=xla) for xla in (False, True))
    given = tf.constant(images(4))
    assert close(fast(given)[0], plain(given)[0])


def test_weights_that_are_too_many_for_a_graph_stay_variables():
    model = scrambled(residual("normalization"))
    function = compiled(folded(model), (16, 16), xla=False, constant=False)
    assert function.variables
    assert close(function(tf.constant(images()))[0], model(images(), training=False))
