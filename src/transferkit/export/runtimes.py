"""The runtimes that the exported files are for: each opens a file, and gives a function to run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..images import Pixels

__all__ = ["Run", "run_litert", "run_onnx", "run_openvino", "run_saved_model"]

Run: TypeAlias = Callable[[Pixels], npt.NDArray[Any]]  # (n, h, w, 3) -> probabilities (n, n_classes)


def run_saved_model(path: Path) -> Run:
    import tensorflow as tf

    served = tf.saved_model.load(str(path))
    return lambda pixels: np.asarray(served.serve(pixels))


def run_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda pixels: np.asarray(session.run(None, {given.name: pixels})[0])


def run_openvino(path: Path) -> Run:
    import openvino

    # Its default is bfloat16 where the processor is fast at it: probabilities then differ by up to 0.15.
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda pixels: np.asarray(model(pixels)[0])


def run_litert(path: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    shape: tuple[int, ...] = ()

    def run(pixels: Pixels) -> npt.NDArray[Any]:
        nonlocal shape
        if pixels.shape != shape:
            shape = pixels.shape
            interpreter.resize_tensor_input(given["index"], shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], pixels)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(wanted["index"]))

    return run
