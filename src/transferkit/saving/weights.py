"""The weights of a file -> a network, and features of a test image, which show that it is the one that was saved.

HDF5 files can hold more than numbers; anything else is refused.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import numpy.typing as npt

from ..backbones import Backbone, load_every_weight, refuse_oversized
from ..network import Network
from .archive import PIECE, WEIGHTS
from .manifest import FEATURES

ITEM_BYTES = 8  # of the largest numbers that Keras writes
SPARE = 1000  # groups that a file may hold besides those of the layers and their parts
# The features may differ by this share of the largest. Other processors and precisions round differently; other
# preprocessing or layers differ by far more. Probabilities would not do: a confident classifier is often just as
# confident about the wrong pixels.
TOLERANCE = 0.02


def refuse_small(archive: zipfile.ZipFile, record: Backbone, n_classes: int) -> None:
    """Refuse a small file that names a large network or many classes, before they take memory.

    Raises:
        ValueError: the weights take fewer bytes than such a network in half precision.
    """
    size, needed = archive.getinfo(WEIGHTS).file_size, 2 * (record.parameters + n_classes * max(record.feature_dim, 1))
    if size < needed:
        raise ValueError(f"its weights take {size:,} bytes where the network needs {needed:,}")


def load_weights(model: keras.Model, archive: zipfile.ZipFile) -> None:
    """Fill a network with the weights of a file.

    Raises:
        ValueError: the member is not plain numbers, or a weight is missing or not finite. Keras raises other errors.
    """
    with tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
        path = Path(folder, WEIGHTS)
        with archive.open(WEIGHTS) as member, path.open("wb") as file:
            shutil.copyfileobj(member, file, PIECE)
        _refuse_odd(path, most=SPARE + 10 * len(model.variables))
        refuse_oversized(path, model)
        load_every_weight(model, path)


def self_test(network: Network) -> npt.NDArray[np.float64]:
    """Up to 64 features, float64 `(n,)`, of a test image that is the same in every version: waves in each channel."""
    y, x = np.mgrid[: network.size[0], : network.size[1]].astype(np.float32)
    waves = [np.sin(x / 7 + k) + np.cos(y / 5 - k) for k in range(3)]
    picture = (127.5 + 63.75 * np.stack(waves, axis=-1))[np.newaxis].astype(np.float32)
    features = np.asarray(network.features_model()(picture, training=False)[0], np.float64).ravel()
    return features[np.linspace(0, len(features) - 1, min(FEATURES, len(features))).astype(np.int64)]


def computes_as_saved(network: Network, saved: list[float]) -> bool:
    features, expected = self_test(network), np.array(saved, np.float64)
    tolerance = TOLERANCE * float(np.abs(expected).max(initial=0))
    return features.shape == expected.shape and bool(np.allclose(features, expected, rtol=0, atol=tolerance))


def _refuse_odd(path: Path, most: int) -> None:
    """Refuse all but what Keras writes to HDF5: groups and plain arrays of numbers, each with one name."""
    seen: list[str] = []

    def check(name: str, item: h5py.Group | h5py.Dataset) -> None:
        seen.append(name)
        if len(seen) > most:
            raise ValueError(f"it holds more than {most:,} groups and arrays")
        if isinstance(item, h5py.Group):
            _refuse_links(item)
        else:
            _refuse_odd_array(name, item)

    with h5py.File(path, "r") as file:
        _refuse_links(file)
        file.visititems(check)


def _refuse_links(group: h5py.Group) -> None:
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name!r} points elsewhere")


def _refuse_odd_array(name: str, item: object) -> None:
    """Refuse filters, which unpack to any size, and arrays in other files or of objects, which are not weights."""
    if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual or item.chunks is not None:
        raise ValueError(f"{name!r} is not a plain array")
    if item.dtype.hasobject or item.dtype.fields or item.dtype.itemsize > ITEM_BYTES:
        raise ValueError(f"{name!r} does not hold numbers")
