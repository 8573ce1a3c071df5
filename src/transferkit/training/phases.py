"""The steps of both phases: compute what crosses the cut, check and split the images, train the rest."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from .._console import Console, readable
from ..cache import DEFAULT_LIMIT
from ..checks import Report, diagnose
from ..features import (
    Extraction,
    Inspection,
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
from ..images import ClassWeight, Known, Split, TrainingData, class_weights
from ..network import Cut, Network
from ..results import Phase
from .loop import TrainingResult, train
from .options import FitOptions
from .steps import Data, Settings

__all__ = ["CheckedImages", "check", "extract_features", "train_head", "tune"]

# Where nothing outlives the call, activations of more bytes than this are computed again in each epoch.
ACTIVATION_BYTES = DEFAULT_LIMIT
# Images that the size of features is measured on, where the features are not stored, and where they are.
SAMPLE = 256
SAMPLE_OF_STORED = 16384
ACTIVATIONS = "computing activations"  # the title of a progress bar

Both = tuple[Values, Values | None]  # of the training images, and of the validation images if there are any


def extract_features(cut: Cut, data: TrainingData, options: FitOptions) -> Extraction:
    """The features of all images, and what the data check needs; with augmentation, only that."""
    images, storage = data.all_images, Storage(options.store)
    if options.augment is None:
        title = "computing features"
        return extract(cut.extractor, Plan(images), storage, options.console, title, options.skip, inspects=True)
    started = time.monotonic()
    inspection = inspect(images, cut.extractor.size, options.store, options.console, options.skip)
    return Extraction([], inspection, time.monotonic() - started)


class CheckedImages(NamedTuple):
    """Images that can be read, split into training and validation images.

    Attributes:
        report: the faults of all images; None if they were checked by an earlier call.
        skipped: image -> reason, of the images that are left out.
    """

    split: Split
    report: Report | None
    skipped: dict[str, str]


def check(
    data: TrainingData, inspection: Inspection, seed: int, console: Console, known: Known | None = None
) -> CheckedImages:
    """The data check on what was seen of the images; those that are `known` do not validate."""
    report = diagnose(data.sets, inspection)
    split = data.split(inspection.readable(), inspection.keys, inspection.thumbnails, seed, known)
    if known is not None and split.validation is not None:
        console.say(f"{len(split.validation):,} images that the classifier was not trained on before validate it.")
    skipped = inspection.reasons(data.all_images)
    if skipped:
        console.say(f"{len(skipped):,} images cannot be read and are left out; history_.skipped says why.")
    if report.faults:
        console.say(f"The data check read {report.summary()}; report_ lists the faults.")
    return CheckedImages(split, report, skipped)


def train_head(
    network: Network, cut: Cut, extraction: Extraction, split: Split, class_weight: ClassWeight, options: FitOptions
) -> Phase:
    """The first phase: train the head on features of the frozen backbone."""
    started = time.monotonic()
    if extraction.values:
        held_out = StoredValues(extraction.values, split.rows[1][np.newaxis]) if split.validation is not None else None
        values: Both = StoredValues(extraction.values, split.rows[0][np.newaxis]), held_out
    else:
        values = _values(cut, split, options)
    network.set_feature_scale(_unit_scale(_sample(values[0])))
    seconds = extraction.seconds + time.monotonic() - started
    return _trained("fit", cut, values, split, class_weight, options, seconds)


def tune(network: Network, cut: Cut, split: Split, class_weight: ClassWeight, options: FitOptions) -> Phase:
    """A later phase: train everything behind the cut, on the values before it.

    Layers before the cut, and the statistics of BatchNormalization everywhere, stay as they are. With
    validation, the best epoch is kept, or the state from before if no epoch is better.
    """
    options.console.say(_intention(cut, network))
    started = time.monotonic()
    values = _values(cut, split, options)
    return _trained("fine_tune", cut, values, split, class_weight, options, time.monotonic() - started)


def _values(cut: Cut, split: Split, options: FitOptions) -> Both:
    """The values before a cut: stored where that is possible, else computed again in each epoch, and a message why."""
    if cut.from_pixels:
        why = "Training starts from pixels, so every epoch sees newly changed images; views are not used."
        return _live(cut, split, options, why if options.views is not None else "")
    if options.augment is not None and options.views is None:
        why = (
            "With augmentation, every epoch computes the values before the cut again. With views=8, 8 versions of each "
            "image are computed once."
        )
        return _live(cut, split, options, why)
    views = options.views.count if options.views is not None else 1
    rows = len(split.training) * views + len(split.validation or ())
    for half in (False, True):  # half precision is better than computing them again in each epoch
        storage = Storage(options.store, half, in_memory=False)
        if is_kept(cut.extractor, rows, storage, ACTIVATION_BYTES):
            with suppress(NoRoomError):
                return _stored(cut, split, storage, options)
    limit = max(ACTIVATION_BYTES, options.store.limit if options.store is not None else 0)
    why = (
        f"In half precision, the values before {cut.first_layer!r} would take "
        f"{readable(cut.extractor.value_bytes(rows) / 2)} for {rows} images, which is more than the limit of "
        f"{readable(limit)} or than the free disk space, so every epoch computes them again from pixels."
    )
    return _live(cut, split, options, why)


def _stored(cut: Cut, split: Split, storage: Storage, options: FitOptions) -> Both:
    """Values that are computed once."""
    images = split.training.images
    plan = Plan(images, options.views, len(images))
    values = StoredValues(
        extract(cut.extractor, plan, storage, options.console, ACTIVATIONS).values, plan.rows_of_views()
    )
    if split.validation is None:
        return values, None
    others = extract(cut.extractor, Plan(split.validation.images), storage, options.console, ACTIVATIONS)
    return values, StoredValues.of(others.values)


def _live(cut: Cut, split: Split, options: FitOptions, why: str) -> Both:
    """Values that are computed again in each epoch; for validation images once, where there is room for them."""
    if why:
        options.console.say(why)
    values = LiveValues(split.training.images, cut.extractor, options.augment)
    if split.validation is None:
        return values, None
    images, storage = split.validation.images, Storage(options.store)
    if cut.from_pixels or not is_kept(cut.extractor, len(images), storage, ACTIVATION_BYTES):
        return values, LiveValues(images, cut.extractor)
    title = "computing validation features"
    return values, StoredValues.of(extract(cut.extractor, Plan(images), storage, options.console, title).values)


def _trained(
    name: str, cut: Cut, values: Both, split: Split, class_weight: ClassWeight, options: FitOptions, seconds: float
) -> Phase:
    """Train behind the cut; computing the values took `seconds`."""
    data, validation, held_out = split.training, split.validation, values[1]
    settings = Settings(
        keras.optimizers.Adam(options.rate),
        options.epochs,
        options.batch_size,
        options.seed,
        class_weights(class_weight, data.codes, data.classes),
        options.callbacks,
        keep_best=name == "fine_tune",
        title=name,
        console=options.console,
    )
    others = None
    if validation is not None and held_out is not None:
        others = Data(held_out, validation.codes, validation.images)
    result = train(cut.trainable, Data(values[0], data.codes, data.images), others, settings, cut.whole)
    phase = Phase(name, cut.first_layer, result.metrics, result.kept, result.seconds, seconds)
    options.console.say(_summary(phase, result))
    return phase


def _sample(values: Values) -> npt.NDArray[Any]:
    """Features of training images, enough to measure their size."""
    most = min(len(values), SAMPLE_OF_STORED if isinstance(values, StoredValues) else SAMPLE)
    chosen = np.linspace(0, len(values) - 1, most).round().astype(np.int64)
    batches = [chosen[start : start + 32] for start in range(0, most, 32)]
    return np.concatenate([tensors[0] for tensors in values.batches(batches)])


def _unit_scale(features: npt.NDArray[Any]) -> float:
    """The factor that brings features of any backbone to a root mean square of 1."""
    size = float(np.sqrt(np.mean(np.square(features, dtype=np.float64))))
    return 1.0 / size if size > 0 and np.isfinite(size) else 1.0


def _intention(cut: Cut, network: Network) -> str:
    layers = network.trained_layers()
    trained = sum(int(np.prod(weight.shape)) for layer in layers for weight in layer.trainable_weights)
    return (
        f"fine_tune trains from layer {cut.index} ({cut.first_layer!r}) on: {len(layers)} layers with weights, "
        f"starting with {layers[0].name!r}; {trained:,} of {network.model.count_params():,} parameters. "
        f"BatchNormalization keeps its statistics."
    )


def _summary(phase: Phase, result: TrainingResult) -> str:
    """One line on the result of a phase."""
    epochs = "1 epoch" if phase.epochs == 1 else f"{phase.epochs} epochs"
    timing = f"{phase.name}: {epochs} in {phase.seconds:.1f} s, after {phase.pass_seconds:.1f} s of feature extraction"
    figures = {name: f"{values[phase.kept - 1 if result.before else -1]:.4f}" for name, values in phase.metrics.items()}
    if "val_loss" not in figures:
        return f"{timing}; training accuracy {figures['accuracy']}, no validation"
    accuracy, loss = figures["val_accuracy"], figures["val_loss"]
    if not result.before:
        return f"{timing}; validation accuracy {accuracy}, loss {loss}"
    before = {name: f"{value:.4f}" for name, value in result.before.items()}
    if phase.kept == 0:
        return (
            f"{timing}; no epoch was better than before (validation accuracy {before['accuracy']}, loss {before['loss']}), "
            f"so the classifier is unchanged"
        )
    return (
        f"{timing}; validation accuracy {before['accuracy']} -> {accuracy}, loss {before['loss']} -> {loss}; best "
        f"epoch: {phase.kept}"
    )
