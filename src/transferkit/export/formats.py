"""The formats, by the ending of the file: who writes it, what runs it, what it can be quantized to."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from .._remote import refuse_url
from ..errors import bad_argument, import_extra, some_of
from .runtimes import Run, run_litert, run_onnx, run_openvino, run_saved_model
from .writers import Job, write_litert, write_onnx, write_openvino, write_saved_model

__all__ = ["Format", "Quantization", "check_target"]

Quantization: TypeAlias = Literal["float16", "dynamic", "int8"]


@dataclass(frozen=True)
class Format:
    """One row of the table.

    Attributes:
        ending: of the file's name; empty = a folder.
        extra, packages: what has to be installed.
        write: makes the file at a path.
        run: opens it, and gives a function from pixels to probabilities.
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
    """Where to write, and in which format; all that can be refused before the work is.

    Raises:
        InvalidInputError: another ending, a folder that does not exist or is not a SavedModel, or a quantization that the
            format does not have.
        MissingExtraError: the format's packages are not installed.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str) or not Path(path).name:
        raise bad_argument("path", path, "must be the path of a file or a folder", "Pass for example 'pets.onnx'")
    refuse_url("path", path)
    target = Path(path)
    kind = FORMATS.get(target.suffix.lower(), SAVED_MODEL)
    if kind is SAVED_MODEL and re.match(r"\.[A-Za-z]", target.suffix):  # "pets_v1.2" has no ending
        rule = "must end in .onnx, .tflite or .xml, or have no ending, for the folder of a SavedModel"
        raise bad_argument("path", str(target), rule, f"Pass for example {str(target.with_suffix('.onnx'))!r}")
    _check_place(target, kind)
    _check_quantization(quantize, kind)
    for package in kind.packages:
        import_extra(package, f"Export to {kind.name}", kind.extra)
    return target, kind


def _check_place(target: Path, kind: Format) -> None:
    if not target.parent.is_dir():
        raise bad_argument("path", str(target), "is in a folder that does not exist", "Make the folder first")
    wants_folder = kind is SAVED_MODEL
    if target.exists() and target.is_dir() != wants_folder:
        rule = "is a file: a SavedModel is a folder" if wants_folder else f"is a folder: {kind.name} is a file"
        raise bad_argument("path", str(target), rule, "Choose another name")
    if wants_folder and target.exists() and any(target.iterdir()) and not (target / "saved_model.pb").is_file():
        rule = "is a folder with other files, which would be lost"
        raise bad_argument("path", str(target), rule, "Choose the name of a folder that does not exist")


def _check_quantization(quantize: object, kind: Format) -> None:
    choices = get_args(Quantization)
    if quantize is None or (quantize in kind.quantizations):
        return
    if quantize not in choices:
        rule = f"must be None or one of {some_of(choices)}"
        raise bad_argument("quantize", quantize, rule, "Leave it out to keep float32")
    able = [one.ending for one in FORMATS.values() if quantize in one.quantizations]
    raise bad_argument("quantize", quantize, f"cannot be written as {kind.name}", f"Export to {some_of(able)} for it")
