"""The frozen layers of a network as a fast function: weights as constants, one TensorFlow session for each thread.

TensorFlow converts a constant weight to the processor's layout once, not in each call. With fixed weights, a
convolution and the normalization after it equal one convolution with other weights (Jacob et al., 2018, "Quantization
and Training of Neural Networks", section 3.2): the weights are changed here, and TensorFlow removes the remaining
multiplication by one. Without this, bfloat16 gains little (benchmarks/forward.py).

TensorFlow (2.21, oneDNN) merges a convolution, its bias and an addition after it into one kernel, which crashes or is
wrong when several threads call it at once. Each session has its own kernels and serves one thread at a time.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import LifoQueue
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from .._common.arguments import Resize
from ..cache import Tensors, record_dtype
from ..errors import TransferKitError
from ..images import PIXEL_RULE, Resizing
from .fingerprints import weights_digest

Array = npt.NDArray[Any]
Forward = Callable[[Array], list[Array]]  # float32 (n, h, w, 3) -> the outputs of the model

MOST_THREADS = 16
CONSTANT_BYTES = 2**29  # weights of more bytes stay variables: a graph can hold 2 GB
SESSIONS_BYTES = 2**30  # for all sessions of a function together, roughly: each has a copy of the weights
# Images per call of the frozen layers. On a CPU, small batches stay in its caches, and one call per core
# beats one call on all cores: benchmarks/forward.py measured 1.7 times the images per second of batches of 32.
CPU_CHUNK = 4
# In bfloat16 the arithmetic takes half the time, so the overhead of each call weighs more. A cold fit of 1,400 photos
# took 8.0 s with 32 images per call, and 8.9 s with 4 (means of 4 rounds, taken in turn).
HALF_CPU_CHUNK = 32
GPU_CHUNK = 64
FUNCTIONS = 4  # that stay in memory at most, if their sessions together fit into `SESSIONS_BYTES`

_functions: dict[str, tuple[Forward, int]] = {}  # by name, with the bytes of its sessions; the last used comes last
_compiling = threading.Lock()
_limit = 0  # how many CPUs this process may use; 0 = all
_lost_threads = False  # this process is a fork of one in which TensorFlow had started its threads


def _note_fork() -> None:
    global _lost_threads
    context = sys.modules["tensorflow.python.eager.context"].context_safe()  # TensorFlow has no public API for this
    _lost_threads = context is not None and context._initialized


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_note_fork)


def refuse_fork() -> None:
    """Refuse to compute in a process with TensorFlow's state but not its threads: it would wait for them forever."""
    if _lost_threads:
        raise TransferKitError(
            "This process was forked from one that had already used TensorFlow, and a fork does not copy its threads: "
            "it would wait for them forever. Start processes with multiprocessing.get_context('spawn'), or load and "
            "use classifiers only after the fork."
        )


def thread_count() -> int:
    """How many threads decode and compute at once."""
    return min(MOST_THREADS, _limit or max(2, os.cpu_count() or 2))


def limit_threads(cpus: int) -> None:
    """Limit this process to `cpus` CPUs; one that has already used TensorFlow keeps TensorFlow's threads."""
    global _limit
    _limit = cpus
    with contextlib.suppress(RuntimeError):  # TensorFlow has started
        tf.config.threading.set_intra_op_parallelism_threads(cpus)
        tf.config.threading.set_inter_op_parallelism_threads(cpus)


class FeatureExtractor:
    """Frozen layers as one fast function, for batches of any length.

    Args:
        computation: identifies the layers and their settings; see `fingerprints.computation`.
        precision: ``"float32"`` or ``"bfloat16"`` (float16 on a GPU).

    `name` identifies what its values depend on besides the images: the computation, the current weights, the size, the
    rules that turn bytes into pixels, and the precision.
    """

    def __init__(
        self,
        model: keras.Model,
        size: tuple[int, int],
        computation: str,
        precision: str = "float32",
        gpu: bool | None = None,
        resize: Resize = "squash",
    ) -> None:
        self.size, self.resizing = size, Resizing(size, resize)
        self.gpu = bool(tf.config.list_physical_devices("GPU")) if gpu is None else gpu
        self.model, self._half = model, precision != "float32"
        kind = "float32" if not self._half else "float16" if self.gpu else "bfloat16"
        self._weights = weights_digest(model)
        pixels = PIXEL_RULE if resize == "squash" else f"{PIXEL_RULE}/{resize}"  # values stored before rules stay valid
        self.name = f"{computation}/{self._weights}/{size}/{pixels}/{kind}"
        self.tensors: Tensors = tuple((str(tensor.dtype), tuple(tensor.shape[1:])) for tensor in model.outputs)
        self.chunk = GPU_CHUNK if self.gpu else HALF_CPU_CHUNK if self._half else CPU_CHUNK
        self._function: Forward | None = None

    def __call__(self, images: Any) -> list[npt.NDArray[Any]]:
        """float32 `(n, h, w, 3)`, RGB 0-255 -> the values at the cut, one array `(n, ...)` per tensor."""
        if self._function is None:
            self._function = self._compile()
        images = np.asarray(images, np.float32)
        count = len(images)
        if self.gpu and count < self.chunk:  # XLA compiles for each length: the last batch is padded
            images = np.pad(images, [(0, self.chunk - count), (0, 0), (0, 0), (0, 0)])
        return [output[:count] for output in self._function(images)]

    def value_bytes(self, count: int) -> int:
        """Bytes that the values of `count` images take."""
        return count * record_dtype(self.tensors).itemsize

    def in_chunks(self, images: npt.NDArray[Any], pool: ThreadPoolExecutor) -> list[npt.NDArray[Any]]:
        """The same as a call, with several chunks at once on the threads of `pool`."""
        chunks = [images[start : start + self.chunk] for start in range(0, len(images), self.chunk)]
        return [np.concatenate(parts) for parts in zip(*pool.map(self, chunks), strict=True)]

    def _compile(self) -> Forward:
        """The function, compiled when it is first needed: never, if the store holds all values."""
        with _compiling:
            if self.name in _functions:
                _functions[self.name] = _functions.pop(self.name)
                return _functions[self.name][0]
            if weights_digest(self.model) != self._weights:
                raise RuntimeError(f"The weights of {self.name} changed before it was compiled")
            function, size = compiled(self.model, self.size, self._half, self.gpu)
            if not size:  # it uses the variables of this network, which may change
                return function
            _functions[self.name] = function, size
            while len(_functions) > 1 and (
                len(_functions) > FUNCTIONS or sum(size for _, size in _functions.values()) > SESSIONS_BYTES
            ):
                _functions.pop(next(iter(_functions)))
            return function


def compiled(model: keras.Model, size: tuple[int, int], half: bool = False, gpu: bool = False) -> tuple[Forward, int]:
    """A function that computes what `model` does in inference, for any number of threads.

    Args:
        half: convolutions and products in bfloat16 on a CPU, in float16 on a GPU.

    Returns:
        The function, and how many bytes its constant weights take. If the weights do not fit into a graph, or a layer
        holds other state, these are 0, `half` has no effect, and the function uses the variables of `model`.
    """
    traced = _traced(model, size, rounded=half and not gpu)
    free: LifoQueue[Forward] = LifoQueue()  # the last used one is warm

    def run(images: Array) -> list[Array]:
        function = free.get()
        try:
            return function(images)
        finally:
            free.put(function)

    if any(tensor.dtype == tf.resource for tensor in traced.captured_inputs):
        free.put(lambda images: [output.numpy() for output in traced(tf.constant(images))])
        return run, 0
    graph = tf.Graph()
    with graph.as_default():
        captured = zip(traced.graph.inputs[1:], traced.captured_inputs, strict=True)
        constants = {placeholder.name: tf.constant(value.numpy()) for placeholder, value in captured}
        tf.import_graph_def(traced.graph.as_graph_def(), input_map=constants, name="")
    outputs = [tensor.name for tensor in traced.outputs]
    weights_bytes = max(1, 4 * model.count_params())
    sessions = 1 if gpu else max(1, min(thread_count(), SESSIONS_BYTES // weights_bytes))
    for _ in range(sessions):
        session = tf.compat.v1.Session(graph=graph, config=_config(half, gpu))
        free.put(session.make_callable(outputs, feed_list=[traced.inputs[0].name]))
    return run, sessions * weights_bytes


def _config(half: bool, gpu: bool) -> Any:
    """Settings of one session: as global options, they would change training in the rest of the process."""
    config = tf.compat.v1.ConfigProto()
    config.intra_op_parallelism_threads = config.inter_op_parallelism_threads = _limit  # 0 = TensorFlow's own choice
    rewrites = config.graph_options.rewrite_options
    if gpu:
        config.graph_options.optimizer_options.global_jit_level = tf.compat.v1.OptimizerOptions.ON_1  # XLA
    if half:
        setattr(rewrites, "auto_mixed_precision" if gpu else "auto_mixed_precision_onednn_bfloat16", rewrites.ON)
    return config


def _traced(model: keras.Model, size: tuple[int, int], rounded: bool) -> Any:
    numbers = _folded(model) if 4 * model.count_params() <= CONSTANT_BYTES else None
    if numbers is not None and rounded:
        for node in _all_nodes(model):
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
        return list(keras.tree.flatten(outputs))

    function = tf.function(forward, autograph=False)
    return function.get_concrete_function(tf.TensorSpec((None, *size, 3), tf.float32))


def _folded(model: keras.Model) -> dict[int, Array]:
    """The value of each variable, by its id; where possible, normalizations are folded into the convolution before."""
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
        # A depthwise kernel is (height, width, channels, multiplier); its outputs are ordered by channel.
        depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
        kernel = values[id(convolution.kernel)]
        folded = kernel * scale.reshape(kernel.shape[2:] if depthwise else (-1,))
        values[id(convolution.kernel)] = folded.astype(np.float32)
        values[id(normalization.moving_mean)] = (-shift).astype(np.float32)
        values[id(normalization.moving_variance)] = np.full_like(variance, 1 - normalization.epsilon)
    return values


def _round_depthwise(values: dict[int, Array], variable: Any) -> None:
    """Round a depthwise kernel to bfloat16, and keep the sum of each filter by correcting its smallest tap.

    Activations have a nonzero mean, so an error in the sum shifts the whole channel: keeping the sums halves the error
    of MobileNetV2's features (benchmarks/forward.py).
    """
    kernel = values[id(variable)]
    taps = kernel.reshape(-1, kernel.shape[2] * kernel.shape[3])
    rounded = taps.astype(tf.bfloat16.as_numpy_dtype).astype(np.float32)
    rounded[np.abs(rounded).argmin(axis=0), np.arange(taps.shape[1])] += (taps - rounded).sum(axis=0)
    values[id(variable)] = rounded.reshape(kernel.shape)


def _foldable(model: keras.Model) -> Iterator[tuple[Any, Any]]:
    """Each convolution whose output is read only by one normalization, and that normalization."""
    nodes = list(_all_nodes(model))
    calls = Counter(id(node.operation) for node in nodes)
    readers: defaultdict[int, list[Any]] = defaultdict(list)
    for node in nodes:
        for tensor in node.input_tensors:
            readers[id(tensor)].append(node.operation)
    for graph in filter(None, map(graph_of, (model, *(node.operation for node in nodes)))):
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


def nodes_of(graph: Any) -> list[Any]:
    """The layer calls that a graph is made of, from inputs to outputs."""
    levels = graph._nodes_by_depth  # Keras has no public API for the calls of a layer
    return [node for depth in sorted(levels, reverse=True) for node in levels[depth]]


def graph_of(operation: Any) -> Any:
    """The graph of layers that a model is made of; None for a layer, and for a model with a custom `call`."""
    if not isinstance(operation, keras.Model) or not type(operation).call.__module__.startswith("keras."):
        return None
    graph = getattr(operation, "_functional", operation)  # a Sequential holds one
    return graph if hasattr(graph, "_nodes_by_depth") else None


def _all_nodes(model: Any) -> Iterator[Any]:
    """Every layer call, including those in nested models."""
    graph = graph_of(model)
    for node in nodes_of(graph) if graph else ():
        yield node
        yield from _all_nodes(node.operation)
