"""A Keras model -> files that other runtimes read: RGB 0-255 float32 `(n, h, w, 3)` in, probabilities out.

A SavedModel is the way to LiteRT and OpenVINO, so that each layer has one converter less that could get it wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..images import Pixels

__all__ = ["Job", "write_litert", "write_onnx", "write_openvino", "write_saved_model"]


@dataclass(frozen=True)
class Job:
    """What to write.

    Attributes:
        description: JSON values by name, for the file's own metadata and for the file beside it.
        quantize: None = float32.
        calibration: photos for ``"int8"``.
    """

    model: keras.Model
    description: dict[str, Any]
    quantize: str | None
    calibration: Pixels | None


def write_saved_model(job: Job, path: Path) -> None:
    # Without a signature, Keras takes that of the last call, which a loaded model has not had.
    shape, name = (None, *job.model.input_shape[1:]), job.model.input.name
    signature = [keras.InputSpec(shape=shape, dtype="float32", name=name)]
    job.model.export(str(path), format="tf_saved_model", verbose=False, input_signature=signature)


def write_onnx(job: Job, path: Path) -> None:
    import onnx
    import tf2onnx

    signature = [tf.TensorSpec((None, *job.model.input_shape[1:]), tf.float32, name=job.model.input.name)]
    function = tf.function(lambda pixels: job.model(pixels, training=False), input_signature=signature, autograph=False)
    model, _ = tf2onnx.convert.from_function(function, input_signature=signature)
    # What preprocessing divides by, for example, has become an input, as TensorFlow keeps it outside of the graph.
    traced = function.get_concrete_function()
    outside = {tensor.name: value for tensor, value in zip(traced.inputs[1:], traced.captured_inputs, strict=True)}
    used = {name for node in model.graph.node for name in node.input}
    for extra in list(model.graph.input)[1:]:
        model.graph.input.remove(extra)
        if extra.name in used:
            model.graph.initializer.append(onnx.numpy_helper.from_array(outside[extra.name].numpy(), extra.name))
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in job.description.items()})
    onnx.save(model, path)


def write_openvino(job: Job, path: Path) -> None:
    import openvino

    with _saved_model(job) as folder:
        # Not convert_model, which reports its use over the network.
        model = openvino.Core().read_model(folder)
        for name, value in job.description.items():
            model.set_rt_info(json.dumps(value), ["transferkit", name])
        openvino.save_model(model, path, compress_to_fp16=job.quantize == "float16")


def write_litert(job: Job, path: Path) -> None:
    """In a process of its own: TensorFlow's converter keeps about 20 MB of each conversion."""
    with _saved_model(job) as folder:
        photos = folder.with_name("photos.npy")
        if job.calibration is not None:
            np.save(photos, job.calibration)
        done = subprocess.run(
            [sys.executable, "-m", "transferkit.export._litert", folder, path, str(job.quantize), photos],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}")


@contextmanager
def _saved_model(job: Job) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
        write_saved_model(job, path := Path(folder, "saved_model"))
        yield path
