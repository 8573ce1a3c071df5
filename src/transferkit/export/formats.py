"""The formats, by file ending: how each is written, what runs it, what it can be quantized to.

Each file takes RGB 0-255 float32 `(n, h, w, 3)` and gives probabilities `(n, n_classes)`. LiteRT and OpenVINO
files are made from a SavedModel, so that each layer has one converter fewer that could get it wrong.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from .._common.arguments import check_choice, check_parent
from .._common.files import local_path
from .._common.remote import refuse_url
from ..errors import bad_argument, import_extra, some_of
from ..images import Pixels

Quantization: TypeAlias = Literal["float16", "dynamic", "int8"]
Run: TypeAlias = Callable[[Pixels], npt.ArrayLike]  # from pixels to probabilities


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


def compiled(model: keras.Model) -> Any:
    """A TensorFlow function, for batches of any size."""
    given = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name=model.input.name)]
    return tf.function(lambda pixels: model(pixels, training=False), input_signature=given, autograph=False)


def write_saved_model(job: Job, path: Path) -> None:
    # Without a signature, Keras takes that of the last call, and a loaded model has not been called.
    shape, name = (None, *job.model.input_shape[1:]), job.model.input.name
    signature = [keras.InputSpec(shape=shape, dtype="float32", name=name)]
    job.model.export(str(path), format="tf_saved_model", verbose=False, input_signature=signature)


def run_saved_model(path: Path) -> Run:
    served = tf.saved_model.load(str(path))
    return lambda pixels: served.serve(pixels)


def write_onnx(job: Job, path: Path) -> None:
    import onnx
    import tf2onnx

    function = compiled(job.model)
    model, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature)
    # Constants, such as divisors of preprocessing, have become inputs, since TensorFlow keeps them outside the graph.
    traced = function.get_concrete_function()
    outside = {tensor.name: value for tensor, value in zip(traced.inputs[1:], traced.captured_inputs, strict=True)}
    used = {name for node in model.graph.node for name in node.input}
    for extra in list(model.graph.input)[1:]:
        model.graph.input.remove(extra)
        if extra.name in used:
            model.graph.initializer.append(onnx.numpy_helper.from_array(outside[extra.name].numpy(), extra.name))
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in job.description.items()})
    onnx.save(model, path)


def run_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda pixels: session.run(None, {given.name: pixels})[0]


def write_openvino(job: Job, path: Path) -> None:
    import openvino

    with _saved_model(job) as folder:
        # Not convert_model, which reports its use over the network.
        model = openvino.Core().read_model(folder)
        for name, value in job.description.items():
            model.set_rt_info(json.dumps(value), ["transferkit", name])
        openvino.save_model(model, path, compress_to_fp16=job.quantize == "float16")


def run_openvino(path: Path) -> Run:
    import openvino

    # Its default is bfloat16 where the processor is fast at it: probabilities then differ by up to 0.15.
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda pixels: model(pixels)[0]


# With the import path of this process: `python -m` would also import from the current folder.
LITERT = "import sys; sys.path[:] = {path!r}; from transferkit.export._litert import main; main(*sys.argv[1:])"


def write_litert(job: Job, path: Path) -> None:
    """Runs in its own process: TensorFlow's converter leaks about 20 MB per conversion, and may crash."""
    with _saved_model(job) as folder:
        photos = folder.with_name("photos.npy")
        if job.calibration is not None:
            np.save(photos, job.calibration)
        done = subprocess.run(
            [sys.executable, "-c", LITERT.format(path=sys.path), folder, path, str(job.quantize), photos],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}")


def run_litert(path: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(path)).get_signature_runner()
    (given,), (wanted,) = run.get_input_details(), run.get_output_details()
    return lambda pixels: run(**{given: pixels})[wanted]


@contextmanager
def _saved_model(job: Job) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
        write_saved_model(job, path := Path(folder, "saved_model"))
        yield path


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        ending: of the file's name; empty = a folder.
        extra, packages: what must be installed.
        write: makes the file at a path.
        run: opens it, and returns a function from pixels to probabilities.
    """

    name: str
    ending: str
    write: Callable[[Job, Path], None]
    run: Callable[[Path], Run]
    extra: str = ""
    packages: tuple[str, ...] = ()
    quantizations: tuple[str, ...] = ()


SAVED_MODEL = Format("SavedModel", "", write_saved_model, run_saved_model)
FORMATS = {
    one.ending: one
    for one in (
        Format("ONNX", ".onnx", write_onnx, run_onnx, "onnx", ("tf2onnx", "onnx", "onnxruntime")),
        Format("LiteRT", ".tflite", write_litert, run_litert, "litert", ("ai_edge_litert",), get_args(Quantization)),
        Format("OpenVINO", ".xml", write_openvino, run_openvino, "openvino", ("openvino",), ("float16",)),
        SAVED_MODEL,
    )
}


def check_target(path: object, quantize: object) -> tuple[Path, Format]:
    """Where to write, and in which format; refuses everything that it can before the work starts.

    Raises:
        InvalidInputError: an unknown ending, a folder that does not exist or is not a SavedModel, or a quantization
            that the format does not support.
        MissingExtraError: the format's packages are not installed.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str) or not Path(path).name:
        raise bad_argument("path", path, "must be the path of a file or a folder", "Pass for example 'pets.onnx'")
    refuse_url("path", path)
    target = local_path(path)
    kind = FORMATS.get(target.suffix.lower(), SAVED_MODEL)
    if kind is SAVED_MODEL and re.match(r"\.[A-Za-z]", target.suffix):  # "pets_v1.2" has no ending
        rule = "must end in .onnx, .tflite or .xml, or have no ending, for the folder of a SavedModel"
        raise bad_argument("path", str(target), rule, f"Pass for example {str(target.with_suffix('.onnx'))!r}")
    _check_place(target, kind)
    _check_quantization(quantize, kind)
    for package in kind.packages:
        import_extra(package, f"Export to {kind.name}", kind.extra)
    return target, kind


# What TensorFlow writes into the folder of a SavedModel.
OF_SAVED_MODELS = {"saved_model.pb", "fingerprint.pb", "keras_metadata.pb", "variables", "assets", "assets.extra"}


def exports_named(target: Path) -> list[Path]:
    """All exports that share the file of labels of `target`."""
    stem = target if target.suffix.lower() not in FORMATS else target.with_suffix("")
    return [stem.with_name(stem.name + ending) for ending in FORMATS]


def _check_place(target: Path, kind: Format) -> None:
    check_parent("path", target)
    if kind.ending == ".xml":
        if target.suffix != ".xml":
            raise bad_argument("path", str(target), "must end in .xml, in small letters", "Rename it")
        weights = target.with_suffix(".bin")
        if weights.exists() and not target.exists():
            rule = f"would overwrite {weights.name!r}, which is not a part of an earlier {target.name!r}"
            raise bad_argument("path", str(target), rule, "Choose another name")
    wants_folder = kind is SAVED_MODEL
    if target.exists() and target.is_dir() != wants_folder:
        rule = "is a file: a SavedModel is a folder" if wants_folder else f"is a folder: {kind.name} is a file"
        raise bad_argument("path", str(target), rule, "Choose another name")
    found = {path.name for path in target.iterdir()} if wants_folder and target.exists() else set()
    if found and (found - OF_SAVED_MODELS or "saved_model.pb" not in found):
        rule = "is a folder with other files, which would be lost"
        raise bad_argument("path", str(target), rule, "Choose the name of a folder that does not exist")


def _check_quantization(quantize: object, kind: Format) -> None:
    if quantize is None or (quantize in kind.quantizations):
        return
    check_choice("quantize", quantize, Quantization, "Leave it out to keep float32")
    able = [one.ending for one in FORMATS.values() if quantize in one.quantizations]
    raise bad_argument("quantize", quantize, f"cannot be written as {kind.name}", f"Export to {some_of(able)} instead")
