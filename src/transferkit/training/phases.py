"""The steps of both phases: compute what crosses the cut, check and split the images, train the rest."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
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
    Typicality,
    Values,
    extract,
    inspect,
    is_kept,
    sample,
)
from ..images import ClassWeight, Images, Known, Split, TrainingData, class_weights
from ..network import Cut, Network
from ..results import Phase
from .calibration import calibrate, cross_fitted
from .checkpoints import digest
from .fitting import is_solvable, solve_head
from .head import fit_head, head_of_strength
from .loop import loop_for, train
from .optimizer import LayerwiseAdam
from .options import FitOptions, Tuning
from .pseudo_labels import MOST_UNLABELLED
from .recipe import FOLDS, START_STRENGTH, TUNING_STEPS, epochs_for, layer_rates, peak_rate, schedule
from .scores import Scores
from .steps import Data, Inference, Settings
from .thresholds import best_thresholds
from .tuning import TuningRun

__all__ = ["CheckedImages", "Trained", "check", "cross_validated", "extract_features", "train_head", "tune"]

# Where nothing outlives the call, activations of more bytes than this are computed again in each epoch.
ACTIVATION_BYTES = DEFAULT_LIMIT
# Images that the size of features is measured on, where the features are not stored, and where they are.
SAMPLE = 256
SAMPLE_OF_STORED = 16384
REPEATS = 3  # divisions into folds, where backbones are compared
HEAD_EPOCHS, HEAD_RATE = 30, 1e-3  # of a head that is trained by steps: benchmarks/recipe.py
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


class Trained(NamedTuple):
    """What a phase did, and what its training images say of what is typical."""

    phase: Phase
    typicality: Typicality | None


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
    network: Network,
    cut: Cut,
    extraction: Extraction,
    split: Split,
    class_weight: ClassWeight,
    options: FitOptions,
    in_folds: bool,
    unlabelled: Images | None,
) -> Trained:
    """The first phase: the best head on features of the frozen backbone; or one trained as the options say.

    Args:
        in_folds: report how well the images validate each other, where the head is solved for.
        unlabelled: images that the head learns from too, where it is solved for.
    """
    started = time.monotonic()
    if extraction.values:
        held_out = StoredValues(extraction.values, split.rows[1][np.newaxis]) if split.validation is not None else None
        values: Both = StoredValues(extraction.values, split.rows[0][np.newaxis]), held_out
    else:
        values = _values(cut, split, options)
    network.set_feature_scale(_unit_scale(_sample(values[0])))
    others = None if unlabelled is None else _unlabelled(cut, unlabelled, options)
    seconds = extraction.seconds + time.monotonic() - started
    data, validation = _data(values, split)
    weights = class_weights(class_weight, data.codes, split.training.classes)
    if options.folder is not None:
        options.folder.begin(_facts(cut, network, split, weights, options, None, in_folds))
    if options.solves and is_solvable(data.values):
        if options.strategy is not None:
            options.console.say(
                "The head is solved for on one device: strategy is for heads that are trained by steps."
            )
        phase = solve_head(network, data, validation, split, weights, options, in_folds, others)
        skipped = others.inspection.reasons(unlabelled) if others and unlabelled else {}
        phase = replace(phase, first_layer=cut.first_layer, pass_seconds=seconds, skipped=skipped)
        options.console.say(_summary(phase))
        return Trained(phase, _typicality(cut, data, options))
    settings = Settings(
        keras.optimizers.Adam(HEAD_RATE if options.rate is None else options.rate),
        HEAD_EPOCHS if options.epochs is None else options.epochs,
        options.batch_size,
        options.seed,
        weights,
        options.callbacks,
        title="fit",
        console=options.console,
        checkpoint=options.checkpoint,
    )
    loop = loop_for(cut.trainable, settings, cut.whole, options.strategy)
    result = train(cut.trainable, data, validation, settings, loop)
    if validation is not None:
        logits = loop.logits(validation)
        result.temperature = calibrate(network.head[-1], logits, validation.codes)
        if network.thresholds is not None:
            network.thresholds = best_thresholds(logits / np.float32(result.temperature), validation.codes)
    phase = Phase("fit", cut.first_layer, result.metrics, result.kept, result.seconds, seconds)
    phase = replace(phase, temperature=result.temperature)
    options.console.say(_summary(phase))
    return Trained(phase, _typicality(cut, data, options))


def _unlabelled(cut: Cut, images: Images, options: FitOptions) -> Extraction:
    """The features of images without labels, of some of them if there are very many."""
    if len(images) > MOST_UNLABELLED:
        options.console.say(f"{MOST_UNLABELLED:,} of the {len(images):,} unlabelled images are used, drawn at random.")
        drawn = np.random.default_rng(options.seed).choice(len(images), MOST_UNLABELLED, replace=False)
        images = images.subset(np.sort(drawn).tolist())
    title = "computing features of unlabelled images"
    storage = Storage(options.store)
    return extract(cut.extractor, Plan(images), storage, options.console, title, options.skip, inspects=True)


def cross_validated(features: npt.NDArray[np.float32], split: Split, seed: int, console: Console) -> Scores:
    """The out-of-fold scores of the head that `fit` would solve for, on features `(n, d)` of the training images.

    Each image's are means over several divisions into folds: two backbones may differ by points in a single one.
    """
    features, codes = features * np.float32(_unit_scale(features)), split.training.codes
    weights, n_classes = np.ones(len(codes), np.float32), len(split.training.classes)
    folds = split.folds(FOLDS, seed)
    head = fit_head(features, features, codes, weights, folds, n_classes, console)
    rows = head.held_out
    found = [cross_fitted(head.logits[rows], codes[rows], folds[rows])]
    for repeat in range(1, REPEATS):
        folds, logits = split.folds(FOLDS, seed + repeat), np.zeros_like(head.logits)
        for fold in np.unique(folds[rows]):
            kept, out = folds != fold, folds == fold
            kernel, bias = head_of_strength(features[kept], codes[kept], weights[kept], n_classes, head.strength)
            logits[out] = features[out] @ kernel + bias
        found.append(cross_fitted(logits[rows], codes[rows], folds[rows]))
    return Scores(*(np.mean(column, axis=0) for column in zip(*found, strict=True)))


def tune(
    network: Network,
    cut: Cut,
    split: Split,
    class_weight: ClassWeight,
    options: FitOptions,
    tuning: Tuning,
    selects: bool,
) -> Trained:
    """A later phase: train everything behind the cut, on the values before it; keep it, or if it `selects` what is better.

    Layers before the cut, and the statistics of BatchNormalization everywhere, stay as they are.
    """
    started = time.monotonic()
    weights = class_weights(class_weight, split.training.codes, split.training.classes)
    if options.folder is not None:
        options.folder.begin(_facts(cut, network, split, weights, options, tuning, selects))
    trained = network.trained_variables(cut.index)
    settings = _tuning_settings(cut, trained, len(split.training), weights, options, tuning)
    settings = replace(settings, checkpoint=options.checkpoint)
    options.console.say(_intention(cut, network, settings))
    data, validation = _data(_values(cut, split, options), split)
    seconds = time.monotonic() - started
    folds = split.folds(FOLDS, options.seed) if selects and validation is None else None
    run = TuningRun(cut, network.head[-1], settings, options.folder, options.strategy)
    result, selection = run.tuned(data, validation if selects else None, folds, validation)
    network.thresholds = network.thresholds if run.thresholds is None else run.thresholds
    phase = Phase("fine_tune", cut.first_layer, result.metrics, result.kept, result.seconds, seconds)
    kept = 0 if selection and selection.kept == "before" else result.kept
    phase = replace(phase, selection=selection, kept=kept, temperature=result.temperature)
    if selects and selection is None:
        options.console.say(
            "No images could be left out to compare the result with the classifier from before, so it is kept: that takes "
            "two classes, and two different images of one. Pass validation images to compare them."
        )
    options.console.say(_summary(phase))
    return Trained(phase, _typicality(cut, data, options) if kept else None)


def _typicality(cut: Cut, data: Data, options: FitOptions) -> Typicality | None:
    """What the features of the training images, as they are, say of what is typical."""
    some = data.subset(sample(len(data))).without_changes()
    return Typicality.of_training(Inference(cut.features, options.batch_size)(some))


def _facts(
    cut: Cut,
    network: Network,
    split: Split,
    weights: npt.NDArray[np.float32],
    options: FitOptions,
    tuning: Tuning | None,
    measures: bool,
) -> dict[str, object]:
    """All that the result depends on, in the words that an error uses."""
    rate: Any = options.rate
    is_schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
    codes = [part.codes for part in (split.training, split.validation) if part is not None]
    facts: dict[str, object] = {
        "seed": options.seed,
        "backbone": f"{network.record.name} at {network.size} in {network.precision}",
        "resize": network.resize,
        "weights": digest(*network.model.get_weights()),
        "classes": [str(name) for name in split.training.classes.tolist()],
        "training images": digest(split.keys[0]),
        "validation images": digest(split.keys[1]),
        "labels": digest(*codes),
        "way of validation": measures,
        "class_weight": digest(weights),
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": str(rate.get_config()) if is_schedule else rate,
        "augmentation": options.augment and options.augment.name,
        "views": options.views and options.views.count,
    }
    if tuning is not None:
        facts |= {"first layer": cut.first_layer, **vars(tuning)}
    return facts


def _tuning_settings(
    cut: Cut,
    trained: list[tuple[keras.Variable, float]],
    count: int,
    weights: npt.NDArray[np.float32],
    options: FitOptions,
    tuning: Tuning,
) -> Settings:
    """The plain recipe for a number of epochs at a constant rate; else the recipe that pays."""
    common = options.batch_size, options.seed, weights, options.callbacks, "fine_tune", options.console
    if options.epochs is not None and options.rate is not None:
        return Settings(keras.optimizers.Adam(options.rate), options.epochs, *common)
    steps = TUNING_STEPS if tuning.steps is None else tuning.steps
    epochs = epochs_for(steps, count, options.batch_size) if options.epochs is None else options.epochs
    sizes = [float(np.sqrt(np.mean(np.square(v.numpy())))) for v, depth in trained if len(v.shape) > 1 and depth < 1]
    rate: Any = peak_rate(sizes) if options.rate is None else options.rate
    if isinstance(rate, float):
        rate = schedule(rate, epochs * -(-count // options.batch_size))
    places = {id(variable): depth for variable, depth in trained}
    own = cut.trainable.trainable_variables
    also = [variable for variable, _ in trained if id(variable) not in set(map(id, own))]
    depths = [places[id(variable)] for variable in (*own, *also)]
    optimizer = LayerwiseAdam(rate, layer_rates(depths, tuning.layer_decay))
    smoothing = tuning.label_smoothing
    strength = START_STRENGTH if tuning.new_head else None
    return Settings(optimizer, epochs, *common, smoothing=smoothing, also=also, start_strength=strength)


def _data(values: Both, split: Split) -> tuple[Data, Data | None]:
    """Values, classes and names of the images to train on, and of those to validate on."""
    data = Data(values[0], split.training.codes, split.training.images)
    if split.validation is None or values[1] is None:
        return data, None
    return data, Data(values[1], split.validation.codes, split.validation.images)


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
    rows = len(split.training) * (views + _adds_unchanged(split, options)) + len(split.validation or ())
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
    plan, unchanged = Plan(images, options.views, len(images)), None
    if _adds_unchanged(split, options):
        unchanged = np.arange(len(plan), len(plan) + len(images))
        plan = replace(plan, images=images + images)
    tensors = extract(cut.extractor, plan, storage, options.console, ACTIVATIONS).values
    values = StoredValues(tensors, plan.rows_of_views(), unchanged)
    if split.validation is None:
        return values, None
    others = extract(cut.extractor, Plan(split.validation.images), storage, options.console, ACTIVATIONS)
    return values, StoredValues.of(others.values)


def _adds_unchanged(split: Split, options: FitOptions) -> bool:
    """Whether views train, and the same images as they are say how well."""
    return options.views is not None and split.validation is None


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


def _intention(cut: Cut, network: Network, settings: Settings) -> str:
    layers = network.trained_layers()
    trained = sum(int(np.prod(variable.shape)) for variable in (*cut.trainable.trainable_variables, *settings.also))
    return (
        f"fine_tune trains from layer {cut.index} ({cut.first_layer!r}) on: {len(layers)} layers with weights, "
        f"starting with {layers[0].name!r}; {trained:,} of {network.model.count_params():,} parameters. "
        f"BatchNormalization keeps its statistics."
    )


def _summary(phase: Phase) -> str:
    """One line on the result of a phase."""
    took = "solved" if phase.name == "fit" and "learning_rate" not in phase.metrics else f"{phase.epochs} epochs"
    took = "1 epoch" if took == "1 epochs" else took
    timing = f"{phase.name}: {took} in {phase.seconds:.1f} s, after {phase.pass_seconds:.1f} s of feature extraction"
    if phase.selection is not None and phase.name == "fine_tune":
        return f"{timing}\nfine_tune: {phase.selection}"
    figures = {name: f"{values[phase.kept - 1]:.4f}" for name, values in phase.metrics.items()}
    figures |= {name: f"{figures[name]} (+-{error:.4f})" for name, error in phase.errors.items()}
    timing = timing if phase.selection is None else f"{timing}\nfit: {phase.selection}"
    if "val_loss" not in figures:
        return f"{timing}; training accuracy {figures['accuracy']}, no validation"
    kind = "out-of-fold" if phase.folds else "validation"
    return f"{timing}; {kind} accuracy {figures['val_accuracy']}, loss {figures['val_loss']}"
