"""The frozen part of a network as one compiled function, with a name that says what its values depend on."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from .decoding import PIXEL_RULE
from .fingerprints import architecture_digest, weights_digest
from .folding import compiled, folded, has_constants, is_safe_in_threads
from .shards import Tensors

__all__ = ["THREADS", "FrozenPart"]

THREADS = max(2, min(16, os.cpu_count() or 2))
# Images per call of the frozen part. On a CPU small batches stay in its caches, and one call per core
# beats one call on all cores: benchmarks/forward.py measured 1.7 times the images per second of batches of 32.
CPU_CHUNK = 4
GPU_CHUNK = 64
# GPUs from here on have tensor cores, which multiply float16 several times faster (NVIDIA, compute capability).
TENSOR_CORES = (7, 0)

# A compiled frozen part, and the lock under which it is called.
Compiled = tuple[Any, contextlib.AbstractContextManager[Any]]

_functions: OrderedDict[str, Compiled] = OrderedDict()  # by name, the last few
_compiling = threading.Lock()


class FrozenPart:
    """A frozen part as one compiled function, for batches of any length.

    `name` says what its values depend on, the images apart: the layers and their settings, the weights as
    they are now, the size, the rules by which bytes become pixels, the precision.
    """

    def __init__(self, model: keras.Model, size: tuple[int, int], name: str, gpu: bool | None = None) -> None:
        self.size = size
        self.gpu = bool(tf.config.list_physical_devices("GPU")) if gpu is None else gpu
        self._half = self.gpu and _has_tensor_cores()
        self._model = model
        self._weights = weights_digest(model)
        self._glance = self._look()
        precision = "float16" if self._half else "float32"
        self.name = f"{name}/{architecture_digest(model)}/{self._weights}/{size}/{PIXEL_RULE}/{precision}"
        self.tensors: Tensors = tuple((str(tensor.dtype), tuple(tensor.shape[1:])) for tensor in model.outputs)
        self.chunk = GPU_CHUNK if self.gpu else CPU_CHUNK
        self._compiled: Compiled | None = None

    def __call__(self, images: Any) -> list[npt.NDArray[Any]]:
        """float32 `(n, h, w, 3)`, RGB 0-255 -> the values at the cut, one array `(n, ...)` per tensor."""
        if self._compiled is None:
            self._compiled = self._compile()
        function, turn = self._compiled
        images = np.asarray(images, np.float32)
        count = len(images)
        if self.gpu and count < self.chunk:  # XLA compiles for each length: the last batch is filled up
            images = np.concatenate([images, np.zeros((self.chunk - count, *images.shape[1:]), np.float32)])
        with turn:
            return [tensor.numpy()[:count] for tensor in function(tf.constant(images))]

    def is_current(self) -> bool:
        """Whether the weights are still those that the name stands for."""
        return weights_digest(self._model) == self._weights

    def is_likely_current(self) -> bool:
        """The same at a glance: the first, the middle and the last weight, which any file of weights would change."""
        return self._glance == self._look()

    def _look(self) -> list[bytes]:
        weights = self._model.weights
        return [weight.numpy().tobytes() for weight in (*weights[:1], *weights[len(weights) // 2 :][:1], *weights[-1:])]

    def value_bytes(self, count: int) -> int:
        """Bytes that the values of `count` images take."""
        return count * sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for dtype, shape in self.tensors)

    def in_chunks(self, images: npt.NDArray[Any], pool: ThreadPoolExecutor) -> list[npt.NDArray[Any]]:
        """The same, several chunks at once on the threads of `pool`."""
        if len(images) <= self.chunk:
            return self(images)
        chunks = [images[start : start + self.chunk] for start in range(0, len(images), self.chunk)]
        return [np.concatenate(parts) for parts in zip(*pool.map(self, chunks), strict=True)]

    def _compile(self) -> Compiled:
        """The function, made when it is first needed (where the store holds everything it never is), or found again."""
        with _compiling:
            made = _functions.get(self.name)
            if made is None:
                if not self.is_current():
                    raise RuntimeError(f"The weights of {self.name} changed before it was compiled")
                constant = has_constants(self._model)
                self._folded = folded(self._model, self._half)  # kept: a function does not keep its variables
                function = compiled(self._folded, self.size, xla=self.gpu, constant=constant)
                made = function, contextlib.nullcontext() if is_safe_in_threads(self._model) else threading.Lock()
                if not constant:  # it follows the weights of this network, whatever becomes of them
                    return made
                _functions[self.name] = made
            _functions.move_to_end(self.name)
            while len(_functions) > 2:
                _functions.popitem(last=False)
            return made


def _has_tensor_cores() -> bool:
    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        return tuple(details.get("compute_capability", (0, 0))) >= TENSOR_CORES
    return False
