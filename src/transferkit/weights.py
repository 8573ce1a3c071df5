"""A choice of weights -> a backbone with these weights in it, or an error that says what to do."""

from __future__ import annotations

import hashlib
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from .errors import WeightsError, bad_argument
from .records import Backbone

__all__ = ["WeightsChoice", "build_with_weights", "check_weights", "weights_digest"]

WeightsChoice = str | Path | None


def check_weights(record: Backbone, choice: object) -> Path | str | None:
    """What is to be loaded: the path of a file, ``"imagenet"``, or None for random weights.

    Raises:
        InvalidInputError: neither text, nor a path, nor None.
        WeightsError: the file does not exist, or the backbone has no such weights.
    """
    if choice is None:
        return None
    if choice == "imagenet" and record.pretrained != "imagenet":
        raise WeightsError(
            f"`weights='imagenet'` cannot be had for {record.name!r}: its record names no weights trained on ImageNet. "
            f"Pass weights='pretrained' for its own, the path of a file, or None for random weights."
        )
    if choice == "pretrained":
        if record.pretrained is None:
            raise WeightsError(
                f"`weights='pretrained'` cannot be had for {record.name!r}: its record names no weights. Pass the path "
                f"of a weights file, or weights=None for random ones."
            )
        choice = record.pretrained
    if choice == "imagenet":
        return choice
    if not isinstance(choice, (str, os.PathLike)):
        raise bad_argument(
            "weights",
            choice,
            "must be 'pretrained', 'imagenet', the path of a weights file, or None",
            "Pass one of these",
        )
    path = Path(choice)
    if not path.is_file():
        raise WeightsError(
            f"There is no weights file {str(path)!r}: `weights` must be 'pretrained', 'imagenet', the path of a file, or "
            f"None. Check the path."
        )
    return path


def build_with_weights(record: Backbone, size: tuple[int, int], choice: Path | str | None, seed: int) -> keras.Model:
    """The backbone for images of `size`, with the weights that `check_weights` found.

    Raises:
        WeightsError: the download failed, or the file does not fit.
    """
    if choice == "imagenet":
        return _from_keras(record, size)
    with _seeded(seed):
        model = record.build(size)
    if choice is not None:
        _load(model, record, Path(choice))
    return model


def weights_digest(model: keras.Model) -> str:
    """SHA-256 over all weights of a model, in order: two models of one digest compute the same."""
    digest = hashlib.sha256()
    for weight in model.weights:
        array = np.ascontiguousarray(weight.numpy())
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _from_keras(record: Backbone, size: tuple[int, int]) -> keras.Model:
    with warnings.catch_warnings():
        # Keras warns that it takes the 224 px file for other sizes; the weights do not depend on the size.
        warnings.simplefilter("ignore")
        try:
            return record.build(size, weights="imagenet")
        except Exception as error:  # Keras raises a bare Exception when a download fails
            raise WeightsError(
                f"The ImageNet weights of {record.name!r} could not be had ({_first_line(error)}): they are downloaded "
                f"once and kept in Keras's cache. Connect to the internet, or pass weights=PATH to a file that you have."
            ) from error


def _load(model: keras.Model, record: Backbone, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            # What Keras only warns of (a layer that got no weights) would be a half-loaded network.
            warnings.simplefilter("error")
            model.load_weights(path)
    except Exception as error:  # h5py and Keras raise many kinds for a file that does not fit
        raise WeightsError(
            f"The weights file {str(path)!r} does not fit {record.name!r} ({_first_line(error)}): it must hold the weights "
            f"of this backbone without its top, as model.save_weights or Keras Applications write them. Check that "
            f"backbone and file belong together."
        ) from error


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
