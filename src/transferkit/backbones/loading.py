"""Build the network of a backbone's record, and load a weights file into it."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import h5py
import numpy as np
import numpy.typing as npt

from .._common.sharing import copying_variables, ignoring
from ..errors import WeightsError, first_line
from .downloads import SPARE, declared_values
from .record import Backbone, Loader

if TYPE_CHECKING:
    import keras


KEPT_BYTES = 2**27  # the values of larger files are not kept in memory
IMAGENET_MEAN_AND_DEVIATION = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

Values: TypeAlias = list[dict[str, npt.NDArray[Any]]]  # of each layer, by the names of its variables


class _Loaded(NamedTuple):
    """The values of a file; `record` stays alive, so that no other record gets its id."""

    key: tuple[Any, ...]
    record: Backbone
    values: Values


_last: _Loaded | None = None
_seeding = threading.Lock()  # all threads draw from the same generator


def build_with_weights(
    record: Backbone, size: tuple[int, int], weights: Path | Loader | None, seed: int
) -> keras.Model:
    """Build the backbone for images of `size`, with the weights that `find_weights` found.

    Raises:
        WeightsError: the file does not fit, or the record's function failed.
    """
    with _seeding:
        state = random.getstate()
        random.seed(seed)  # Keras draws the seeds of its initializers from Python's generator
        try:
            model = record.build(size)
        finally:
            random.setstate(state)
    if isinstance(weights, Path):
        _load_file(model, record, weights)
    elif weights is not None:
        try:
            weights(model)
        except Exception as error:  # the function is the user's, or downloads something
            raise WeightsError(
                f"The weights of {record.name!r} could not be loaded ({first_line(error)}): the function in its record "
                f"must load them into the model. Check the function and the network connection."
            ) from error
    return model


def refuse_oversized(path: Path, model: keras.Model, times: int = 1) -> None:
    """Refuse an HDF5 file that declares more values than the network has, since a few kilobytes can declare gigabytes.

    `times` leaves room for the values that an optimizer stores for each weight.

    Raises:
        ValueError: the file declares more, or points to other files.
    """
    declared, held = declared_values(path), model.count_params()
    if declared > times * held + SPARE:
        raise ValueError(f"it declares {declared:,} values where the network holds {held:,}")


def load_every_weight(model: keras.Model, path: Path) -> None:
    """Load a file of Keras, which must set each weight to finite numbers: about some that it lacks, Keras only warns.

    Raises:
        ValueError: a weight is missing or not finite. Keras raises other errors.
    """
    for variable in _floats(model):
        variable.assign(np.full(variable.shape, np.nan))
    model.load_weights(path)
    refuse_not_finite(model)


def refuse_not_finite(model: keras.Model) -> None:
    """Require finite weights.

    Raises:
        ValueError: a weight is not.
    """
    for variable in _floats(model):
        if not np.isfinite(variable.numpy()).all():
            raise ValueError(f"the weight {variable.path} is missing or not finite")


def _floats(model: keras.Model) -> list[keras.Variable]:
    return [variable for variable in model.variables if "float" in variable.dtype]


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy the weights of a model to another one with the same layers."""
    _put_values(_values_of(source), target)


def _values_of(model: keras.Model) -> Values:
    found = []
    with copying_variables():
        for layer in model._flatten_layers():  # including those of nested models
            values: dict[str, Any] = {}
            layer.save_own_variables(values)
            found.append({name: np.array(value) for name, value in values.items()})
    return found


def _put_values(values: Values, model: keras.Model) -> None:
    # Layer by layer, since Normalization computes values from its weights when they are loaded.
    for layer, own in zip(model._flatten_layers(), values, strict=True):
        layer.load_own_variables(own)


def _load_file(model: keras.Model, record: Backbone, path: Path) -> None:
    """Load a file; the last one's values stay in memory, since cross-validation loads the same file in each fold."""
    global _last
    about = path.stat()
    shapes = [tuple(weight.shape) for weight in model.weights]
    key = id(record), path.absolute(), about.st_mtime_ns, about.st_size, shapes
    last = _last
    if last is not None and last.key == key:
        _put_values(last.values, model)
    else:
        _read_file(model, record, path)
        _last = _Loaded(key, record, _values_of(model)) if about.st_size < KEPT_BYTES else None
    _fix_normalization(model)


def _read_file(model: keras.Model, record: Backbone, path: Path) -> None:
    try:
        refuse_oversized(path, model, times=4)
        with _named_by_format(path) as named, ignoring():  # a warning for each layer that does not fit
            load_every_weight(model, named)
    except Exception as error:  # h5py and Keras raise many types of errors for a file that does not fit
        raise WeightsError(
            f"The weights file {str(path)!r} does not fit {record.name!r} ({first_line(error)}): it must hold the weights "
            f"of this backbone without its top, as model.save_weights or Keras Applications write them. Check that "
            f"backbone and file match."
        ) from error


@contextmanager
def _named_by_format(path: Path) -> Iterator[Path]:
    """Give a file a name that tells Keras its format, detected from its content."""
    with h5py.File(path, "r") as file:
        old = "layer_names" in file.attrs or "model_weights" in file
    with tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
        named = Path(folder, "old.h5" if old else "new.weights.h5")
        try:
            named.symlink_to(path.absolute())
        except OSError:  # on Windows, this requires a privilege
            shutil.copyfile(path, named)
        yield named


def _fix_normalization(model: keras.Model) -> None:
    """Make an EfficientNet with Keras's ImageNet weights compute the same as in Keras.

    Its files hold standard deviations where the Normalization layer expects variances
    (https://github.com/tensorflow/tensorflow/issues/49930). With ``weights="imagenet"``, Keras adds a layer that
    divides by the missing factor; the same network without it, from the same file, is silently wrong.
    """
    import keras

    for layer in model._flatten_layers():  # including those of nested models
        if isinstance(layer, keras.layers.Normalization) and len(layer.weights) >= 2:
            found = [np.ravel(weight.numpy()) for weight in layer.weights[:2]]
            if len(found[0]) == 3 and np.allclose(found, IMAGENET_MEAN_AND_DEVIATION, rtol=1e-3):
                layer.weights[1].assign(layer.weights[1] ** 2)
                layer.finalize_state()
