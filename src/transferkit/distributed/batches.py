"""What both batch functions share: the columns, the classifier loaded once per process, and the CPUs of the process."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._common.arguments import check_count
from .._common.remote import located
from ..errors import InvalidInputError, bad_argument, some_of

if TYPE_CHECKING:
    from ..classifier import TransferClassifier


Batch: TypeAlias = Mapping[str, "npt.NDArray[Any] | Sequence[Any]"]
Columns: TypeAlias = dict[str, "npt.NDArray[Any]"]

MOST_LOADED = 4  # classifiers that stay in memory

_loaded: dict[object, Any] = {}
_lock = threading.Lock()


class LoadedOnce:
    """A classifier that is sent to other processes as a path or as bytes, and is loaded only once in each.

    Args:
        source: a classifier, or the path or URL of a saved one.
    """

    def __init__(self, source: TransferClassifier | str | os.PathLike[str]) -> None:
        is_path = isinstance(source, (str, os.PathLike))
        if not is_path and not hasattr(source, "predict_proba"):
            raise bad_argument("classifier", source, "must be a classifier or the path of one", "Pass 'pets.keras'")
        self._path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
        self._classifier: Any = None if is_path else source
        self._pickled, self._digest = b"", os.urandom(16).hex()
        self.keeps_image: bool | None = None  # whether batches held paths, which answers keep; None = not known yet

    def get(self) -> TransferClassifier:
        """The classifier; it is loaded if this process has not loaded it yet."""
        classifier: TransferClassifier = self._classifier or self.once("", lambda loaded: loaded)
        return classifier

    def once(self, name: str, make: Callable[[TransferClassifier], Any]) -> Any:
        """The result of `make` for the classifier, computed once per process for each `name`."""
        with _lock:
            key = name, *self._identity()
            if key not in _loaded:
                _loaded[key] = make(self._load())
                if len(_loaded) > MOST_LOADED:
                    _loaded.pop(next(iter(_loaded)))
            return _loaded[key]

    def _identity(self) -> tuple[object, ...]:
        if self._path is None:
            return (self._digest,)
        place = located(self._path)
        status = place.stat() if isinstance(place, Path) and place.is_file() else None
        return self._path, status and (status.st_mtime_ns, status.st_size)

    def _load(self) -> Any:
        if self._classifier is not None:
            return self._classifier
        if self._path is None:
            return pickle.loads(self._pickled)
        from ..classifier import TransferClassifier

        return TransferClassifier.load(self._path)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self), _classifier=None)
        if self._classifier is not None:
            state["_pickled"] = pickle.dumps(self._classifier)
            state["_digest"] = _digest(self._classifier)  # not of the pickle, which contains the time
        return state


def use_cpus(number: int | None) -> None:
    """Limit this process to this number of CPUs; None = to what its engine sets in OMP_NUM_THREADS, if anything."""
    from ..network import limit_threads

    stated = os.environ.get("OMP_NUM_THREADS", "")
    cpus = number or (int(stated) if stated.isdecimal() else 0)
    if cpus:
        limit_threads(cpus)


def checked_cpus(number: int | None) -> int | None:
    return None if number is None else check_count("num_cpus", number, example=1)


def split_columns(batch: Batch, image: str, own: Iterable[str], source: LoadedOnce) -> tuple[list[Any], Columns]:
    """The images of a batch, and its columns for the answer, which include the image column if it holds paths or URLs.

    A batch of missing values has the columns of the batches before it: engines want the same columns each time.

    Raises:
        InvalidInputError: no such column, another column has the name of one of the answer's `own`, or lengths differ.
    """
    if image not in batch:
        raise InvalidInputError(
            f"The batch has the columns {some_of(batch)}: one of them must hold the images. Pass image= with its name."
        )
    if taken := [name for name in own if name in batch and name != image]:
        raise InvalidInputError(
            f"The batch has the column {some_of(taken)}, which the answer has too. Rename it; PredictBatch also "
            f"takes prefix='predicted_'."
        )
    items = list(batch[image])
    if uneven := [name for name in batch if len(batch[name]) != len(items)]:
        raise InvalidInputError(
            f"The column {some_of(uneven)} of the batch is not as long as {image!r}: every column must hold one value per "
            f"image. Check what the engine hands over."
        )
    kinds = bytes, bytearray, np.ndarray, Mapping, Image.Image
    if any(isinstance(item, kinds) for item in items):
        source.keeps_image = False
    elif any(isinstance(item, (str, os.PathLike)) for item in items):
        source.keeps_image = True
    keeps = bool(items) if source.keeps_image is None else source.keeps_image
    kept = (name for name in batch if name != image or (keeps and name not in own))
    return items, {name: _column(batch[name]) for name in kept}


def _column(values: npt.NDArray[Any] | Sequence[Any]) -> npt.NDArray[Any]:
    """The same values as an array, of objects where any other would change them."""
    if not isinstance(values, list):
        return np.asarray(values)
    kinds = {bool: "b", int: "iu", float: "f"}
    types = set(map(type, values))
    if len(types) == 1 and (kind := kinds.get(types.pop())) and (array := np.asarray(values)).dtype.kind in kind:
        return array
    return np.fromiter(values, object, len(values))


def _digest(classifier: Any) -> str:
    """The same for the same classifier, whenever it is pickled."""
    digest = hashlib.sha256(repr(classifier.get_params()).encode())
    fitted = vars(classifier).get("_fitted")
    if fitted is not None:
        network, typicality = fitted.network, fitted.typicality
        known = typicality.to_bytes() if typicality is not None else b""
        digest.update(repr((network.size, network.thresholds, fitted.classes.tolist())).encode() + known)
        for weights in network.model.get_weights():
            digest.update(np.ascontiguousarray(weights).tobytes())
    return digest.hexdigest()
