"""The values that a phase trains on: computed once and stored where there is room, else computed in each epoch."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.filesize import decimal as readable

from ..cache import DEFAULT_LIMIT
from ..features import (
    Extraction,
    LiveValues,
    NoRoomError,
    Plan,
    Storage,
    StoredValues,
    Values,
    extract,
    inspect,
    is_kept,
)
from ..images import Images, Split, TrainingData
from ..network import Cut
from .options import FitOptions
from .pseudo_labels import MOST_UNLABELLED
from .steps import Data

# Without a store, activations of more bytes than this are computed again in each epoch.
ACTIVATION_BYTES = DEFAULT_LIMIT
# How many images the size of features is measured on: if the features are not stored, and if they are.
SAMPLE = 256
SAMPLE_OF_STORED = 16384
ACTIVATIONS = "computing activations"  # the title of a progress bar

Both = tuple[Values, Values | None]  # of the training images, and of the validation images if there are any


def extract_features(cut: Cut, data: TrainingData, options: FitOptions) -> Extraction:
    """The features of all images, and what the data check needs; with augmentation, only the latter."""
    images, storage = data.all_images, Storage(options.store)
    if options.augment is None:
        title = "computing features"
        return extract(cut.extractor, Plan(images), storage, options.console, title, options.skip, inspects=True)
    started = time.monotonic()
    inspection = inspect(images, cut.extractor.size, options.store, options.console, options.skip)
    return Extraction([], inspection, time.monotonic() - started)


def extract_unlabelled(cut: Cut, images: Images, options: FitOptions) -> tuple[Images, Extraction]:
    """Unlabelled images, or a random sample if there are very many, and their features."""
    if len(images) > MOST_UNLABELLED:
        options.console.say(f"{MOST_UNLABELLED:,} of the {len(images):,} unlabelled images are used, drawn at random.")
        drawn = np.random.default_rng(options.seed).choice(len(images), MOST_UNLABELLED, replace=False)
        images = replace(images.subset(np.sort(drawn).tolist()), left_out=images.left_out)
    title, storage = "computing features of unlabelled images", Storage(options.store)
    return images, extract(cut.extractor, Plan(images), storage, options.console, title, options.skip, inspects=True)


def head_inputs(cut: Cut, extraction: Extraction, split: Split, options: FitOptions) -> tuple[Data, Data | None]:
    """Features to train on and to validate on: those already extracted or, with augmentation, new ones."""
    if not extraction.values:
        return inputs(cut, split, options)
    rows = [part[np.newaxis] for part in split.rows]
    held_out = StoredValues(extraction.values, rows[1]) if split.validation is not None else None
    return _data((StoredValues(extraction.values, rows[0]), held_out), split)


def inputs(cut: Cut, split: Split, options: FitOptions) -> tuple[Data, Data | None]:
    """Values at a cut to train on and to validate on: stored where possible, else a message says why not."""
    return _data(_values(cut, split, options), split)


def _data(values: Both, split: Split) -> tuple[Data, Data | None]:
    """Values, classes and names of the images to train on, and of those to validate on."""
    data = Data(values[0], split.training.codes, split.training.images)
    if split.validation is None or values[1] is None:
        return data, None
    return data, Data(values[1], split.validation.codes, split.validation.images)


def _values(cut: Cut, split: Split, options: FitOptions) -> Both:
    if cut.from_pixels:
        why = "Training starts from pixels, so every epoch sees newly changed images; views are not used."
        return _live(cut, split, options, why if options.views is not None else "")
    if options.augment is not None and options.views is None:
        why = (
            "With augmentation, every epoch computes the values before the cut again. With views=8, 8 versions of each "
            "image are computed once."
        )
        return _live(cut, split, options, why)
    views = (
        options.views.count + 1 if options.views is not None else 1
    )  # and the unchanged images, for what is measured
    rows = len(split.training) * views + len(split.validation or ())
    for half in (False, True):  # half precision is better than computing them again in each epoch
        storage = Storage(options.store, half, in_memory=False)
        if is_kept(cut.extractor, rows, storage, ACTIVATION_BYTES):
            with suppress(NoRoomError):
                return _stored(cut, split, storage, options)
    limit = max(ACTIVATION_BYTES, options.store.limit if options.store is not None else 0)
    why = (
        f"In half precision, the values before {cut.first_layer!r} would take "
        f"{readable(cut.extractor.value_bytes(rows) // 2)} for {rows} images, which is more than the limit of "
        f"{readable(limit)} or the free disk space, so every epoch computes them again from pixels."
    )
    return _live(cut, split, options, why)


def _stored(cut: Cut, split: Split, storage: Storage, options: FitOptions) -> Both:
    images, validation = split.training.images, split.validation
    values = _computed(cut, Plan(images, options.views), storage, options)
    if options.views is not None:
        values = replace(values, unchanged=_computed(cut, Plan(images), storage, options))
    return values, None if validation is None else _computed(cut, Plan(validation.images), storage, options)


def _computed(cut: Cut, plan: Plan, storage: Storage, options: FitOptions, title: str = ACTIVATIONS) -> StoredValues:
    """Values that are computed once."""
    values = extract(cut.extractor, plan, storage, options.console, title).values
    return StoredValues(values, plan.rows_of_views())


def _live(cut: Cut, split: Split, options: FitOptions, why: str) -> Both:
    """Values that are computed again in each epoch; those of validation images once, where there is room for them."""
    if why:
        options.console.say(why)
    values = LiveValues(split.training.images, cut.extractor, options.augment)
    if split.validation is None:
        return values, None
    images, storage = split.validation.images, Storage(options.store)
    if cut.from_pixels or not is_kept(cut.extractor, len(images), storage, ACTIVATION_BYTES):
        return values, LiveValues(images, cut.extractor)
    return values, _computed(cut, Plan(images), storage, options, "computing validation features")


def unit_scale_of(values: Values) -> float:
    """`unit_scale` of the features of a sample of the training images."""
    most = min(len(values), SAMPLE_OF_STORED if isinstance(values, StoredValues) else SAMPLE)
    chosen = np.linspace(0, len(values) - 1, most).round().astype(np.int64)
    batches = [chosen[start : start + 32] for start in range(0, most, 32)]
    return unit_scale(np.concatenate([tensors[0] for tensors in values.batches(batches)]))


def unit_scale(features: npt.NDArray[Any]) -> float:
    """The factor that brings features of any backbone to a root mean square of 1."""
    size = float(np.sqrt(np.mean(np.square(features, dtype=np.float64))))
    return 1.0 / size if size > 0 and np.isfinite(size) else 1.0
