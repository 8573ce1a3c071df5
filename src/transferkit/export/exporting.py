"""Write a file, run it, compare its answers, and only then move it into place."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from .._common.files import replacing_all
from .._common.sharing import ignoring
from ..errors import ExportError, bad_argument, first_line
from ..images import Codes, Pixels, Resizing
from ..results import ExportReport
from .formats import Format, Job, Run, compiled, exports_named
from .photos import Photos

BATCH = 8  # photos per batch; the first photo is run alone, so that two batch sizes are tried
FULL = 2**20  # with fewer bytes, a disk counts as full
LARGEST_DIFFERENCE = 1e-3  # of a probability, in float32
LARGEST_LOSS = 0.02  # of accuracy, quantized

Probabilities = npt.NDArray[np.float32]


def export(
    model: keras.Model,
    classes: npt.NDArray[np.generic],
    thresholds: npt.NDArray[np.float64] | None,
    resizing: Resizing,
    target: Path,
    kind: Format,
    quantize: str | None,
    photos: Photos,
    calibration: Pixels | None,
) -> ExportReport:
    """Write the file at `target`, and its labels beside it.

    Args:
        thresholds: with several labels per image, the probability from which each label is given; else None.

    Raises:
        InvalidInputError: the labels of another export, or a file of the user, would be overwritten.
        ExportError: the model cannot be converted, the result gives other probabilities, or it cannot be written.
    """
    description = {"labels": classes.tolist(), "input_size": list(resizing.size), "resize": resizing.rule}
    if thresholds is not None:
        description["thresholds"] = thresholds.tolist()
    job = Job(model, description, quantize, calibration)
    labels = target.with_name(f"{target.stem if kind.ending else target.name}.labels.json")
    text = json.dumps(job.description, ensure_ascii=False)
    if labels.exists() and labels.read_text("utf-8", "replace") != text:
        others = [place for place in exports_named(target) if place.exists() and place != target]
        if others or not target.exists():
            whose = (
                f"which {others[0].name!r} needs" if others else f"which is not a part of an earlier {target.name!r}"
            )
            raise bad_argument("path", str(target), f"would change {labels.name!r}, {whose}", "Choose another name")
    classifier = compiled(model).get_concrete_function()
    try:
        with replacing_all(target) as folder:
            file = folder / target.name
            with _converting(kind, folder):
                kind.write(job, file)
                figures = _compare(classifier, kind.run(file), photos, thresholds)
            size = sum(part.stat().st_size for part in folder.rglob("*") if part.is_file())
            (folder / labels.name).write_text(text, encoding="utf-8")
            report = ExportReport(target, labels, kind.name, quantize, **figures, size=size, note=photos.note)
            _judge(report)
    except OSError as error:
        raise ExportError(
            f"{str(target)!r} cannot be written ({error.strerror or error}): it must be in a folder that you can write to, "
            f"on a disk with room for it. Make room, or pass another path."
        ) from error
    return report


@contextmanager
def _converting(kind: Format, folder: Path) -> Iterator[None]:
    """Make errors in a block that writes a file and runs it an `ExportError`; some faults show only in the runtime."""
    try:
        with ignoring():  # what converters say about their own dependencies
            yield
    except OSError:  # from the disk
        raise
    except Exception as error:  # each converter and each runtime raises its own kinds, also where the disk is full
        if shutil.disk_usage(folder).free < FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise ExportError(
            f"The network cannot be converted to {kind.name} ({first_line(error)}): each of its layers must have a "
            f"counterpart there. Choose another format or backbone."
        ) from error


def _compare(before: Run, after: Run, photos: Photos, thresholds: npt.NDArray[np.float64] | None) -> dict[str, Any]:
    """The measured fields of the report."""
    (expected, milliseconds_before), (found, milliseconds) = _run(before, photos.pixels), _run(after, photos.pixels)
    answers, answers_before = (_answers(one, thresholds) for one in (found, expected))
    codes = photos.codes
    return {
        "images": len(answers),
        "difference": float(np.abs(expected - found).max()),
        "same_answers": _share_equal(answers, answers_before),
        "accuracy_before": None if codes is None else _share_equal(answers_before, codes),
        "accuracy": None if codes is None else _share_equal(answers, codes),
        "milliseconds_before": milliseconds_before,
        "milliseconds": milliseconds,
    }


def _answers(probabilities: Probabilities, thresholds: npt.NDArray[np.float64] | None) -> Codes:
    """The class of each image; with thresholds, 1 for each label that it gets."""
    return probabilities.argmax(axis=1) if thresholds is None else (probabilities >= thresholds).astype(np.int64)


def _share_equal(answers: Codes, others: Codes) -> float:
    """The share of the images with the same class, or with the same labels."""
    return float((answers == others).reshape(len(answers), -1).all(axis=1).mean())


def _run(run: Run, pixels: Pixels) -> tuple[Probabilities, float]:
    """Probabilities, and milliseconds per photo; NaN if there is but one."""
    parts = [np.asarray(run(pixels[:1]))]  # runtimes do some of their work in the first call
    started = time.perf_counter()
    parts += [np.asarray(run(pixels[start : start + BATCH])) for start in range(1, len(pixels), BATCH)]
    seconds = time.perf_counter() - started
    return np.concatenate(parts), 1000 * seconds / (len(pixels) - 1) if len(pixels) > 1 else math.nan


def _judge(report: ExportReport) -> None:
    """Refuse a float32 file that gives other probabilities; warn about a quantized one that is less accurate."""
    if report.quantize is None:
        if not report.difference <= LARGEST_DIFFERENCE:  # NaN is refused too
            raise ExportError(
                f"The {report.format} file gives probabilities that differ by {report.difference:.2g} from those of the "
                f"classifier on {report.images} images: at most {LARGEST_DIFFERENCE} is allowed, so it was not kept. Choose "
                f"another format."
            )
        return
    if report.accuracy is None or report.accuracy_before is None:
        loss, what = 1 - report.same_answers, "another answer on {:.1%} of the images"
    else:
        loss, what = report.accuracy_before - report.accuracy, "an accuracy that is {:.1%} lower"
    if round(loss, 6) > LARGEST_LOSS:
        warnings.warn(
            f"{report.path.name!r}, quantized to {report.quantize}, gives {what.format(loss)}. Pass other photos as "
            f"calibrate, or another quantization.",
            stacklevel=4,
        )
