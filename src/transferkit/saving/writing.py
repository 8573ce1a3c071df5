"""A classifier -> one ``.keras`` file, written atomically."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np
import numpy.typing as npt

from .._common.console import Console
from .._common.remote import Location
from .._common.sharing import copying_variables
from ..backbones import refuse_not_finite
from ..errors import BundleError
from ..features import Typicality
from ..images import ClassWeight, Known
from ..network import Network
from ..results import History
from .archive import MANIFEST, TRAINED_ON, TYPICALITY, WEIGHTS, add_members, foreign_members, seal
from .files import writing
from .manifest import Manifest, listed_phases
from .weights import self_test


def describe(
    network: Network, classes: npt.NDArray[np.generic], class_weight: ClassWeight, history: History, **options: Any
) -> Manifest:
    """The manifest of a classifier; `options` are the other fields."""
    return Manifest(
        backbone=network.record.name,
        input_size=network.size,
        resize=network.resize,
        classes=classes.tolist(),
        precision=network.precision,
        class_weight=list(class_weight.items()) if isinstance(class_weight, Mapping) else class_weight,
        feature_scale=network.feature_scale,
        thresholds=None if network.thresholds is None else network.thresholds.tolist(),
        self_test=self_test(network).tolist(),
        history=listed_phases(history),
        **options,
    )


def save(
    target: Location | BinaryIO, network: Network, manifest: Manifest, known: Known, typicality: Typicality | None
) -> None:
    """Write a new file, or replace an existing one.

    Raises:
        BundleError: the disk is full, the folder cannot be written to, or a weight is not finite, which `load` refuses.
    """
    try:
        refuse_not_finite(network.model)
    except ValueError as error:
        raise BundleError(
            f"The classifier was not saved: {error}, and every weight must be a number. Train it again, or set finite "
            f"weights in network_."
        ) from error
    with writing(target) as path, copying_variables():
        _save_model(network, path)
        members = {TRAINED_ON: known.astype("<u8").tobytes(), MANIFEST: manifest.to_json()}
        add_members(path, members if typicality is None else {**members, TYPICALITY: typicality.to_bytes()})
        seal(path)


def _save_model(network: Network, path: Path) -> None:
    """Write what `keras.Model.save` writes or, if a layer cannot be serialized, only the weights, which `load` reads.

    Some layers of other libraries fail in `get_config`: a trained network must not be lost because of that.
    """
    try:
        keras.Model(network.model.input, network.model.output, name=network.model.name).save(path)  # no optimizer
        if foreign := foreign_members(path):
            raise TypeError(f"it writes {foreign[0]!r}")
    except OSError:  # from the disk
        raise
    except Exception as error:  # such a layer may raise anything
        weights = path.with_name(WEIGHTS)
        network.model.save_weights(weights)
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(weights, WEIGHTS)
        Console(1).say(
            f"A layer of {network.record.name!r} cannot be serialized ({type(error).__name__}: {error}), so Keras cannot "
            f"open {path.name!r}; TransferClassifier.load can."
        )
