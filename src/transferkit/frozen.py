"""The frozen part of a network as one fast function, with a name that says what its values depend on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from .decoding import PIXEL_RULE
from .fingerprints import weights_digest
from .forward import THREADS, Forward, compiled, has_gpu
from .shards import Tensors

__all__ = ["THREADS", "FrozenPart"]

# Images per call of the frozen part. On a CPU small batches stay in its caches, and one call per core
# beats one call on all cores: benchmarks/forward.py measured 1.7 times the images per second of batches of 32.
CPU_CHUNK = 4
GPU_CHUNK = 64

_functions: OrderedDict[str, Forward] = OrderedDict()  # by name, the last few
_compiling = threading.Lock()


class FrozenPart:
    """A frozen part as one fast function, for batches of any length.

    Args:
        computation: stands for the layers and their settings; see `Network.computation`.
        precision: ``"float32"`` or ``"bfloat16"`` (float16 on a GPU).

    `name` says what its values depend on, the images apart: the computation, the weights as they are now, the size,
    the rules by which bytes become pixels, the precision.
    """

    def __init__(
        self,
        model: keras.Model,
        size: tuple[int, int],
        computation: str,
        precision: str = "float32",
        gpu: bool | None = None,
    ) -> None:
        self.size = size
        self.gpu = has_gpu() if gpu is None else gpu
        self._model, self._half = model, precision != "float32"
        kind = "float32" if not self._half else "float16" if self.gpu else "bfloat16"
        self._weights = weights_digest(model)
        self.name = f"{computation}/{self._weights}/{size}/{PIXEL_RULE}/{kind}"
        self.tensors: Tensors = tuple((str(tensor.dtype), tuple(tensor.shape[1:])) for tensor in model.outputs)
        self.chunk = GPU_CHUNK if self.gpu else CPU_CHUNK
        self._function: Forward | None = None

    def __call__(self, images: Any) -> list[npt.NDArray[Any]]:
        """float32 `(n, h, w, 3)`, RGB 0-255 -> the values at the cut, one array `(n, ...)` per tensor."""
        if self._function is None:
            self._function = self._compile()
        images = np.asarray(images, np.float32)
        count = len(images)
        if self.gpu and count < self.chunk:  # XLA compiles for each length: the last batch is filled up
            images = np.concatenate([images, np.zeros((self.chunk - count, *images.shape[1:]), np.float32)])
        return [output[:count] for output in self._function(images)]

    def value_bytes(self, count: int) -> int:
        """Bytes that the values of `count` images take."""
        return count * sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for dtype, shape in self.tensors)

    def in_chunks(self, images: npt.NDArray[Any], pool: ThreadPoolExecutor) -> list[npt.NDArray[Any]]:
        """The same, several chunks at once on the threads of `pool`."""
        if len(images) <= self.chunk:
            return self(images)
        chunks = [images[start : start + self.chunk] for start in range(0, len(images), self.chunk)]
        return [np.concatenate(parts) for parts in zip(*pool.map(self, chunks), strict=True)]

    def _compile(self) -> Forward:
        """The function, made when it is first needed (where the store holds everything it never is), or found again."""
        with _compiling:
            function = _functions.get(self.name)
            if function is None:
                if weights_digest(self._model) != self._weights:
                    raise RuntimeError(f"The weights of {self.name} changed before it was compiled")
                function, constant = compiled(self._model, self.size, self._half, self.gpu)
                if not constant:  # it follows the weights of this network, which may change
                    return function
                _functions[self.name] = function
            _functions.move_to_end(self.name)
            while len(_functions) > 2:
                _functions.popitem(last=False)
            return function
