"""The forward pass: the numbers of the model, from any thread, in either precision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

from transferkit.network import extractor as frozen
from transferkit.network.extractor import compiled
from transferkit.network.precision import has_fast_half

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


def computed(model: keras.Model, given: np.ndarray, **options: bool) -> list[np.ndarray]:
    return compiled(model, given.shape[1:3], **options)[0](given)


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
def test_a_compiled_model_computes_the_same(layer, options):
    inputs = keras.Input((16, 16, 3))
    model = scrambled(keras.Model(inputs, layers.ReLU()(normalized(inputs, layer(), **options))))
    before = [weight.numpy() for weight in model.weights]
    assert close(computed(model, images())[0], model(images(), training=False))
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights, strict=True))


def test_a_normalization_is_folded_in_models_inside_models():
    """What is left of it multiplies by one and adds nothing or a constant."""
    inputs = keras.Input((16, 16, 3))
    inner = scrambled(keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()]))
    model = keras.Model(inputs, keras.Model(inputs, inner(inputs))(inputs))
    assert close(computed(model, images())[0], model(images(), training=False))
    values = frozen._folded(model)
    normalization = inner.layers[-1]
    assert (values[id(normalization.gamma)] == 1).all()
    assert (values[id(normalization.moving_variance)] + np.float32(normalization.epsilon) == 1).all()


def test_a_convolution_that_others_read_too_is_left_alone():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3)(inputs)
    model = scrambled(keras.Model(inputs, [layers.BatchNormalization()(x), layers.ReLU()(x)]))
    for ours, theirs in zip(computed(model, images()), model(images(), training=False), strict=True):
        assert close(ours, theirs)


def test_a_layer_that_is_called_twice_is_left_alone():
    inputs = keras.Input((16, 16, 3))
    shared, norm = layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization()
    model = scrambled(keras.Model(inputs, layers.ReLU()(shared(norm(shared(inputs))))))
    assert close(computed(model, images())[0], model(images(), training=False))


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
    assert close(computed(model, images())[0], model(images(), training=False))


def test_a_convolution_that_is_an_output_is_left_alone():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3)(inputs)
    model = scrambled(keras.Model(inputs, [x, layers.BatchNormalization()(x)]))
    for ours, theirs in zip(computed(model, images()), model(images(), training=False), strict=True):
        assert close(ours, theirs)


@pytest.mark.skipif(not has_fast_half(), reason="the processor has no instructions for bfloat16")
def test_half_precision_is_near_and_another():
    inputs = keras.Input((16, 16, 3))
    model = scrambled(keras.Model(inputs, layers.ReLU()(normalized(inputs, layers.Conv2D(4, 3)))))
    expected = np.asarray(model(images(), training=False))
    (result,) = computed(model, images(), half=True)
    assert result.dtype == np.float32
    assert 0 < np.abs(result - expected).max() <= 3e-2 * np.abs(expected).max()
    assert close(computed(model, images())[0], expected)  # nothing of it is left in the process


@pytest.mark.skipif(not has_fast_half(), reason="the processor has no instructions for bfloat16")
def test_half_precision_keeps_the_sum_of_a_depthwise_kernel():
    """On an even image, all that counts is the sum of a filter, which is small where its taps are not."""
    inputs = keras.Input((16, 16, 3))
    layer = layers.DepthwiseConv2D(3, use_bias=False)
    model = keras.Model(inputs, layer(inputs))
    rng = np.random.default_rng(0)
    kernel = rng.uniform(1, 2, (3, 3, 3, 1)) * np.where(np.arange(9).reshape(3, 3, 1, 1) % 2, -1, 1)
    kernel[0, 0] = 0.01
    layer.set_weights([kernel])
    even = np.ones((4, 16, 16, 3), np.float32)
    expected = kernel.sum(axis=(0, 1, 3))
    (result,) = computed(model, even, half=True)
    assert np.abs(result - expected).max() <= 0.005 * np.abs(expected).max()


def test_a_model_with_a_call_of_its_own_is_not_looked_into():
    inputs = keras.Input((16, 16, 3))
    convolution, normalization = layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization()
    plain = keras.Model(inputs, normalization(convolution(inputs)))

    class Own(type(plain)):  # type: ignore[misc]
        def call(self, values: object, training: object = None, mask: object = None) -> object:
            return convolution(values) + normalization(convolution(values), training=False)

    model = scrambled(keras.Model(inputs, Own(inputs, normalization(convolution(inputs)))(inputs)))
    assert close(computed(model, images())[0], model(images(), training=False))


class Hidden(keras.layers.Layer):
    """A layer of the user's own that convolves and adds."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = layers.Conv2D(8, 3, padding="same")

    def call(self, values: object) -> object:
        return self.convolution(values) + values


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
        "hidden": lambda: Hidden()(x),
        "no activation": lambda: layers.Activation(lambda values: values)(layers.Conv2D(8, 3, padding="same")(x)),
    }[kind]()
    return scrambled(keras.Model(inputs, layers.Rescaling(2.0)(layers.Add()([y, x]))))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "kind", ["bias", "normalization", "dropout", "linear", "sequential", "no function", "no activation", "hidden"]
)
def test_several_threads_get_the_right_numbers(kind):
    model = residual(kind)
    given = images(64)
    expected = np.asarray(model(given, training=False))
    for _ in range(10):
        function, _ = compiled(model, (16, 16))
        with ThreadPoolExecutor(8) as pool:
            parts = pool.map(lambda s, f=function: f(given[s : s + 4])[0], range(0, 64, 4))
            assert close(np.concatenate(list(parts)), expected)


def test_weights_are_constants_of_the_function():
    model = scrambled(residual("normalization"))
    function, constant = compiled(model, (16, 16))
    assert constant
    before = function(images())[0]
    for weight in model.weights:
        weight.assign(weight * 0)
    assert np.array_equal(function(images())[0], before)


def test_xla_gives_the_same_numbers():
    model = residual("normalization")
    assert close(computed(model, images(4), gpu=True)[0], computed(model, images(4))[0])


def test_weights_that_are_too_many_for_a_graph_stay_variables(monkeypatch):
    monkeypatch.setattr(frozen, "CONSTANT_BYTES", 100)
    model = scrambled(residual("normalization"))
    function, constant = compiled(model, (16, 16))
    assert not constant
    assert close(function(images())[0], model(images(), training=False))


def test_a_layer_with_a_variable_that_keras_does_not_know():
    class Shifted(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.shift = tf.Variable(3.0)

        def call(self, values: object) -> object:
            return values + self.shift

    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, Shifted()(inputs))
    function, constant = compiled(model, (16, 16))
    assert not constant
    assert close(function(images())[0], images() + 3)


def test_a_constant_of_a_layer_is_one_of_the_function():
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 4.0, 4.0])(inputs))
    function, constant = compiled(model, (16, 16))
    assert constant
    assert close(function(images())[0], (images() - [1, 2, 3]) / 2)
