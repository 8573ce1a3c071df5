"""A backbone's record and a weights file -> the network with these weights in it, or an error."""

from __future__ import annotations

import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from .downloads import SPARE, declared_values
from .errors import WeightsError
from .records import Backbone

__all__ = ["build_with_weights", "refuse_oversized"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def build_with_weights(
    record: Backbone, size: tuple[int, int], weights: Path | Callable[[Any], object] | None, seed: int
) -> keras.Model:
    """The backbone for images of `size`, with the weights that `find_weights` found.

    Raises:
        WeightsError: the file does not fit, or the record's function failed.
    """
    with _seeded(seed):
        model = record.build(size)
    if isinstance(weights, Path):
        _load(model, record, weights)
    elif weights is not None:
        _fill(model, record, weights)
    return model


def refuse_oversized(path: Path, model: keras.Model, times: int = 1) -> None:
    """Compare what an HDF5 file declares with what the network holds, before anything is read into memory.

    A few kilobytes can declare gigabytes. `times` leaves room for what an optimizer keeps of each weight.

    Raises:
        ValueError: the file declares more, or points to other files.
    """
    declared = declared_values(path)
    held = sum(int(np.prod(weight.shape)) for weight in model.weights)
    if declared > times * held + SPARE:
        raise ValueError(f"it declares {declared:,} values where the network holds {held:,}")


def _load(model: keras.Model, record: Backbone, path: Path) -> None:
    try:
        refuse_oversized(path, model, times=4)
        with warnings.catch_warnings():
            # What Keras only warns of (a layer that got no weights) would be a half-loaded network.
            warnings.simplefilter("error")
            with _named_by_format(path) as named:
                model.load_weights(named)
    except Exception as error:  # h5py and Keras raise many kinds for a file that does not fit
        raise WeightsError(
            f"The weights file {str(path)!r} does not fit {record.name!r} ({_first_line(error)}): it must hold the weights "
            f"of this backbone without its top, as model.save_weights or Keras Applications write them. Check that "
            f"backbone and file belong together."
        ) from error
    _mend_normalization(model)


@contextmanager
def _named_by_format(path: Path) -> Iterator[Path]:
    """The file under a name by which Keras knows its format: it goes by the name, we by the content."""
    with h5py.File(path, "r") as file:
        old = "layer_names" in file.attrs or "model_weights" in file
    if path.suffix == ".h5" and path.name.endswith(".weights.h5") != old:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
        named = Path(folder, "old.h5" if old else "new.weights.h5")
        try:
            named.symlink_to(path.absolute())
        except OSError:  # Windows asks for a privilege
            shutil.copyfile(path, named)
        yield named


def _fill(model: keras.Model, record: Backbone, function: Callable[[Any], object]) -> None:
    try:
        function(model)
    except Exception as error:  # it is the user's, or downloads something
        raise WeightsError(
            f"The weights of {record.name!r} could not be loaded ({_first_line(error)}): the function in its record must "
            f"fill the model with them. Check it and the connection."
        ) from error


def _mend_normalization(model: keras.Model) -> None:
    """Make an EfficientNet with Keras's ImageNet weights compute what Keras makes it compute.

    Its files hold the standard deviations where the Normalization layer wants variances
    (https://github.com/tensorflow/tensorflow/issues/49930). For ``weights="imagenet"`` alone, Keras
    adds a layer that divides by the missing factor; the same network built without, and filled from the
    same file, is silently wrong. Squared, the numbers are variances, and no layer is missing.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and len(layer.weights) >= 2:
            mean, variance = (np.ravel(weight.numpy()) for weight in layer.weights[:2])
            if _close(mean, IMAGENET_MEAN) and _close(variance, IMAGENET_DEVIATION):
                layer.weights[1].assign(layer.weights[1] ** 2)
                layer.finalize_state()


def _close(values: Any, known: tuple[float, ...]) -> bool:
    return len(values) == len(known) and np.allclose(values, known, rtol=1e-3)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".: ") if lines else type(error).__name__


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random weights by a seed: Keras draws an initializer's seed from Python's generator, which is put back after."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
