"""A frozen Keras model as a fast function: weights as constants, one TensorFlow session for each thread.

A weight that is a constant of the graph is brought into the layout of the processor once, not in each call. With fixed
weights, a convolution and the normalization after it are one convolution with other numbers (Jacob et al., 2018,
"Quantization and Training of Neural Networks", section 3.2): the numbers are changed here, and TensorFlow removes the
multiplication by one that is left. Without that, bfloat16 gains little (benchmarks/forward.py).

TensorFlow (2.21, oneDNN) merges a convolution, its bias and an addition after it into one kernel, which crashes or gives
wrong numbers when several threads call it at once. Each session has kernels of its own and serves one thread at a time.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from queue import LifoQueue
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

__all__ = ["THREADS", "Forward", "compiled", "has_gpu"]

Array = npt.NDArray[Any]
Forward = Callable[[Array], list[Array]]  # float32 (n, h, w, 3) -> the outputs of the model

THREADS = max(2, min(16, os.cpu_count() or 2))
# Weights of more bytes stay variables: a graph may hold 2 GB.
CONSTANT_BYTES = 2**29
# Each session has a copy of the weights: together they take about so many bytes.
SESSIONS_BYTES = 2**30


def has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))


def compiled(model: keras.Model, size: tuple[int, int], half: bool = False, gpu: bool = False) -> tuple[Forward, bool]:
    """A function that computes what `model` does in inference, for any number of threads.

    Args:
        half: convolutions and products in bfloat16 on a CPU, in float16 on a GPU.

    Returns:
        The function, and whether the weights are constants in it. They are not, and `half` does nothing, where they
        do not fit into a graph or a layer holds state besides them; the function then follows the weights of `model`.
    """
    traced = _traced(model, size, rounded=half and not gpu)
    if any(tensor.dtype == tf.resource for tensor in traced.captured_inputs):
        lock = threading.Lock()

        def call(images: Array) -> list[Array]:
            with lock:
                return [output.numpy() for output in traced(tf.constant(images))]

        return call, False
    graph = tf.Graph()
    with graph.as_default():
        captured = zip(traced.graph.inputs[1:], traced.captured_inputs, strict=True)
        constants = {placeholder.name: tf.constant(value.numpy()) for placeholder, value in captured}
        tf.import_graph_def(traced.graph.as_graph_def(), input_map=constants, name="")
    sessions: LifoQueue[Callable[[Array], list[Array]]] = LifoQueue()  # the one used last is warm
    for _ in range(1 if gpu else max(1, min(THREADS, SESSIONS_BYTES // max(1, _bytes(model))))):
        session = tf.compat.v1.Session(graph=graph, config=_config(half, gpu))
        outputs = [tensor.name for tensor in traced.outputs]
        sessions.put(session.make_callable(outputs, feed_list=[traced.inputs[0].name]))

    def run(images: Array) -> list[Array]:
        session = sessions.get()
        try:
            return session(images)
        finally:
            sessions.put(session)

    return run, True


def _config(half: bool, gpu: bool) -> Any:
    """Settings of one session: as global options they would change the training of the rest of the process."""
    config = tf.compat.v1.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    if gpu:
        config.graph_options.optimizer_options.global_jit_level = tf.compat.v1.OptimizerOptions.ON_1  # XLA
    if half:
        setattr(rewrites, "auto_mixed_precision" if gpu else "auto_mixed_precision_onednn_bfloat16", rewrites.ON)
    return config


def _traced(model: keras.Model, size: tuple[int, int], rounded: bool) -> Any:
    numbers = _folded(model) if _bytes(model) <= CONSTANT_BYTES else None
    if numbers is not None and rounded:
        for node in _nodes(model):
            if isinstance(node.operation, keras.layers.DepthwiseConv2D):
                _round_depthwise(numbers, node.operation.kernel)

    def forward(images: tf.Tensor) -> list[tf.Tensor]:
        if numbers is None:
            outputs = model(images, training=False)
        else:
            constants = [
                [tf.constant(numbers[id(variable)]) for variable in variables]
                for variables in (model.trainable_variables, model.non_trainable_variables)
            ]
            outputs, _ = model.stateless_call(*constants, images, training=False)
        return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]

    function = tf.function(forward, autograph=False)
    return function.get_concrete_function(tf.TensorSpec((None, *size, 3), tf.float32))


def _bytes(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) * 4 for weight in model.weights)


def _folded(model: keras.Model) -> dict[int, Array]:
    """The value of each variable, by its id; normalizations that can be are folded into the convolution before them."""
    values = {id(variable): variable.numpy() for variable in model.variables}
    for convolution, normalization in _foldable(model):
        variance = values[id(normalization.moving_variance)]
        scale = 1 / np.sqrt(variance.astype(np.float64) + normalization.epsilon)
        if normalization.scale:
            scale = scale * values[id(normalization.gamma)]
            values[id(normalization.gamma)] = np.ones_like(variance)
        shift = -values[id(normalization.moving_mean)] * scale
        if normalization.center:
            shift = shift + values[id(normalization.beta)]
            values[id(normalization.beta)] = np.zeros_like(variance)
        if convolution.use_bias:
            shift = shift + values[id(convolution.bias)] * scale
            values[id(convolution.bias)] = shift.astype(np.float32)
            shift = np.zeros_like(shift)
        # A depthwise kernel is (height, width, channels, multiplier), its outputs channel by channel.
        depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
        kernel = values[id(convolution.kernel)]
        folded = kernel * scale.reshape(kernel.shape[2:] if depthwise else (-1,))
        values[id(convolution.kernel)] = folded.astype(np.float32)
        values[id(normalization.moving_mean)] = (-shift).astype(np.float32)
        values[id(normalization.moving_variance)] = np.full_like(variance, 1 - normalization.epsilon)
    return values


def _round_depthwise(values: dict[int, Array], variable: Any) -> None:
    """Round a depthwise kernel to bfloat16, and add what that took from the sum of each filter to its smallest tap.

    Activations have a mean, so an error of the sum shifts the whole channel: kept sums halve the error of MobileNetV2's
    features (benchmarks/forward.py).
    """
    kernel = values[id(variable)]
    taps = kernel.reshape(-1, kernel.shape[2] * kernel.shape[3])
    rounded = taps.astype(tf.bfloat16.as_numpy_dtype).astype(np.float32)
    rounded[np.abs(rounded).argmin(axis=0), np.arange(taps.shape[1])] += (taps - rounded).sum(axis=0)
    values[id(variable)] = rounded.reshape(kernel.shape)


def _foldable(model: keras.Model) -> Iterator[tuple[Any, Any]]:
    """Each convolution whose result one normalization reads, and nothing else."""
    nodes = list(_nodes(model))
    calls = Counter(id(node.operation) for node in nodes)
    readers: defaultdict[int, list[Any]] = defaultdict(list)
    for node in nodes:
        for tensor in node.input_tensors:
            readers[id(tensor)].append(node.operation)
    for graph in {
        id(graph): graph for graph in map(_graph, (model, *(node.operation for node in nodes))) if graph
    }.values():
        for tensor in graph.outputs:
            readers[id(tensor)].append(None)
    for node in nodes:
        convolution = node.operation
        if type(convolution) not in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D):
            continue
        (found, *others) = readers[id(node.output_tensors[0])] or [None]
        linear = convolution.activation is keras.activations.linear and len(convolution.weights) <= 2  # no LoRA
        once = not others and calls[id(convolution)] == calls[id(found)] == 1
        if not (once and linear and type(found) is keras.layers.BatchNormalization and found.axis in (-1, 3)):
            continue
        if {convolution.compute_dtype, found.compute_dtype, convolution.variable_dtype} == {"float32"}:
            yield convolution, found


def _nodes(model: Any) -> Iterator[Any]:
    """Every call of a layer, in models inside the model too."""
    graph = _graph(model)
    for level in graph._nodes_by_depth.values() if graph else ():  # Keras has no public way to the calls of a layer
        for node in level:
            yield node
            yield from _nodes(node.operation)


def _graph(operation: Any) -> Any:
    """The graph of layers that a model is made of; None for a layer, and for a model with a `call` of the user's own."""
    if not isinstance(operation, keras.Model) or not type(operation).__module__.startswith("keras."):
        return None
    graph = getattr(operation, "_functional", operation)  # a Sequential holds one
    return graph if hasattr(graph, "_nodes_by_depth") else None
