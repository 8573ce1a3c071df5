"""A frozen network made fast: BatchNormalization folded into convolutions, weights as constants, one compiled function.

With fixed weights a convolution and the normalization after it are one convolution with other numbers
(Jacob et al., 2018, "Quantization and Training of Neural Networks", section 3.2). And a weight that is a
constant of the graph is brought into the layout of the processor once, not in each call. Together they
gave 1.5 times the images per second of MobileNetV2 on a CPU (benchmarks/forward.py).

TensorFlow (2.21, oneDNN) merges a convolution, its bias and an addition after it into one kernel that several
threads must not call at once: it crashes, or gives wrong numbers. Such places are guarded here; a network that
cannot be looked into and may have some is called by one thread at a time.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

__all__ = ["compiled", "folded", "has_constants", "is_safe_in_threads"]

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


ACTIVATIONS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU, keras.layers.PReLU)
# Functions that surely change what they are given: one of a user's own may be none at all.
_NAMES = "relu relu6 elu selu gelu silu sigmoid tanh softplus softsign exponential mish hard_silu hard_sigmoid"
FUNCTIONS = tuple(getattr(keras.activations, name) for name in _NAMES.split())
# A weight in the graph counts towards the 2 GB that a graph may take.
CONSTANT_BYTES = 2**29


class _Passed(keras.layers.Layer):  # type: ignore[misc]  # keras is untyped
    """Stands where a normalization stood that is part of the convolution before it."""

    def __init__(self, guarded: bool, **options: Any) -> None:
        super().__init__(**options)
        self._guarded = guarded

    def call(self, values: Any, training: object = None, mask: object = None) -> Any:  # noqa: ARG002
        # Costs nothing, and keeps what comes next from being merged with what came before.
        return tf.ensure_shape(values, values.shape) if self._guarded else values


class _Guarded(keras.layers.Layer):  # type: ignore[misc]  # keras is untyped
    """A layer that may end in a convolution with a bias, and whose result may be added to."""

    def __init__(self, layer: keras.layers.Layer, **options: Any) -> None:
        super().__init__(**options)
        self._layer = layer

    def call(self, values: Any, training: object = None, mask: object = None) -> Any:  # noqa: ARG002
        values = self._layer(values)
        return tf.ensure_shape(values, values.shape)


def folded(model: keras.Model, half: bool = False) -> keras.Model:
    """A model that computes the same (to about 1e-6 of its values), for inference alone; `model` stays as it is.

    Layers that nothing was folded into are those of `model`, with their weights.

    Args:
        model: functional models are looked through, models inside them too; others come back as they are.
        half: the folded convolutions compute in float16, as GPUs with tensor cores do several times faster.
    """
    if not _is_functional(model):
        return model
    calls = _Calls(model)
    replaced: dict[int, keras.layers.Layer] = {}
    for operation in model.operations:
        if isinstance(operation, keras.Sequential):
            replaced[id(operation)] = _Guarded(operation, name=operation.name)
        if type(operation) not in CONVOLUTIONS:
            continue
        normalization = calls.normalization_of(operation)
        if normalization is not None:
            guarded = not _all_activations(calls.readers[id(normalization)])
            replaced[id(operation)] = _merged(operation, normalization, half)
            replaced[id(normalization)] = _Passed(guarded, name=normalization.name)
        elif operation.activation not in FUNCTIONS and not _all_activations(calls.readers[id(operation)]):
            replaced[id(operation)] = _Guarded(operation, name=operation.name)

    def replacement(layer: keras.layers.Layer) -> keras.layers.Layer:
        return replaced.get(id(layer)) or (folded(layer, half) if isinstance(layer, keras.Model) else layer)

    return keras.models.clone_model(model, clone_function=replacement)


def has_constants(model: keras.Model) -> bool:
    """Whether the weights of a model are few enough to be constants of a graph."""
    return sum(int(np.prod(weight.shape)) * 4 for weight in model.weights) <= CONSTANT_BYTES


def compiled(model: keras.Model, size: tuple[int, int], xla: bool, constant: bool = True) -> Any:
    """A function from float32 `(n, height, width, 3)` to the list of outputs.

    Args:
        constant: the weights are constants of its graph; else `model` has to live as long as the function.
        xla: compile with XLA: of use on a GPU; on a CPU it is many times slower.
    """
    trainable, others = ([], []) if not constant else _numbers(model)

    def forward(images: tf.Tensor) -> list[tf.Tensor]:
        if not constant:
            return _as_list(model(images, training=False))
        outputs, _ = model.stateless_call(
            [tf.constant(array) for array in trainable],
            [tf.constant(array) for array in others],
            images,
            training=False,
        )
        return _as_list(outputs)

    # Traced here and now: TensorFlow takes the same line in several classifiers for a function that is
    # traced anew in each call, and warns of it.
    function = tf.function(forward, jit_compile=xla or None, autograph=False)
    return function.get_concrete_function(tf.TensorSpec((None, *size, 3), tf.float32))


def is_safe_in_threads(model: keras.Model) -> bool:
    """Whether several threads may call a folded model at once: no convolution with a bias is out of sight."""
    if isinstance(model, keras.Sequential):
        return all(_is_plain(layer) and not isinstance(layer, keras.Model) for layer in model.layers)
    if not _is_functional(model):
        return not _may_convolve(model)
    return all(
        is_safe_in_threads(operation) if isinstance(operation, keras.Model) else _is_plain(operation)
        for operation in model.operations
    )


def _is_plain(operation: Any) -> bool:
    """Whether an operation can be told to hold no convolution that something is added to."""
    name = type(operation).__name__
    if type(operation).__module__.startswith("keras.src.ops."):
        return "Conv" not in name
    if not type(operation).__module__.startswith(("keras.", __name__)):
        return not _may_convolve(operation)
    return name != "Lambda"


def _may_convolve(layer: keras.layers.Layer) -> bool:
    return any(len(weight.shape) == 4 for weight in getattr(layer, "weights", ()))


def _is_functional(model: keras.Model) -> bool:
    """Whether a model is a plain graph of layers, which can be rebuilt with others in their place."""
    functional = type(_plain())
    return isinstance(model, functional) and type(model).call is functional.call


@cache
def _plain() -> keras.Model:
    inputs = keras.Input((1,))
    return keras.Model(inputs, inputs)


class _Calls:
    """What reads the result of each operation of a model, by its id, once for each call; None is the outside."""

    def __init__(self, model: keras.Model) -> None:
        self.readers: dict[int, list[Any]] = {id(operation): [] for operation in model.operations}
        self.counts: Counter[int] = Counter()
        for nodes in model._nodes_by_depth.values():  # Keras has no public way to the calls of a shared layer
            for node in nodes:
                self.counts[id(node.operation)] += 1
                for tensor in node.input_tensors:
                    self.readers[id(tensor._keras_history.operation)].append(node.operation)
        for tensor in model.outputs:
            self.readers[id(tensor._keras_history.operation)].append(None)

    def normalization_of(self, convolution: keras.layers.Layer) -> Any:
        """The normalization that alone reads a convolution's result, if it can be folded into it."""
        reading = self.readers[id(convolution)]
        if len(reading) != 1 or type(reading[0]) is not keras.layers.BatchNormalization:
            return None
        found = reading[0]
        once = self.counts[id(convolution)] == self.counts[id(found)] == 1
        plain = convolution.activation is keras.activations.linear and len(convolution.weights) <= 2
        fits = found.axis in (-1, 3) and _in_float32(convolution) and _in_float32(found)
        return found if once and plain and fits else None


def _all_activations(readers: list[Any]) -> bool:
    """Whether all readers are activations, which are safely merged with a convolution, and change what they read."""
    return all(
        isinstance(reader, ACTIVATIONS) or (type(reader) is keras.layers.Activation and reader.activation in FUNCTIONS)
        for reader in readers
    )


def _in_float32(layer: keras.layers.Layer) -> bool:
    return bool(layer.compute_dtype == layer.variable_dtype == "float32")


def _merged(convolution: keras.layers.Layer, normalization: keras.layers.Layer, half: bool) -> keras.layers.Layer:
    """One convolution that computes what both did."""
    scale, shift = _scale_and_shift(normalization)
    kernel, *bias = convolution.get_weights()
    if bias:
        shift = shift + bias[0] * scale
    config = convolution.get_config() | {"use_bias": True, "bias_initializer": "zeros"}
    if half:
        config["dtype"] = "mixed_float16"
    layer = type(convolution).from_config(config)
    layer.build(convolution.input.shape)
    # A depthwise kernel is (height, width, channels, multiplier), its outputs channel by channel.
    depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
    shape = (1, 1, *kernel.shape[2:]) if depthwise else (1, 1, 1, -1)
    layer.set_weights([kernel * scale.reshape(shape), shift])
    return layer


def _scale_and_shift(normalization: keras.layers.Layer) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """What a frozen normalization multiplies by and adds, per channel."""
    mean = normalization.moving_mean.numpy().astype(np.float64)
    scale = 1 / np.sqrt(normalization.moving_variance.numpy().astype(np.float64) + normalization.epsilon)
    if normalization.scale:
        scale = scale * normalization.gamma.numpy()
    shift = -mean * scale
    if normalization.center:
        shift = shift + normalization.beta.numpy()
    return scale, shift


def _numbers(model: keras.Model) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]]]:
    """The values of all variables, as `stateless_call` takes them."""
    return (
        [variable.numpy() for variable in model.trainable_variables],
        [variable.numpy() for variable in model.non_trainable_variables],
    )


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
