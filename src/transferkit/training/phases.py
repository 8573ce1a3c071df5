"""The steps of both phases: train what is behind the cut, and report the result."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from ..features import Extraction, Typicality, sample
from ..images import ClassWeight, Images, Known, Split, class_weights, trained_on
from ..network import Cut, Network
from ..results import Phase
from .checkpoints import digest
from .fitting import is_solvable, new_rows, solve_head, train_by_steps
from .inputs import extract_unlabelled, head_inputs, inputs, unit_scale_of
from .options import FitOptions, Tuning
from .recipe import FOLDS
from .steps import Data, Inference, Settings
from .tuning import TuningRun, tuning_settings


class Trained(NamedTuple):
    """The result of a phase, the digests of the images it trained on, and the typicality measured on them."""

    phase: Phase
    known: Known
    typicality: Typicality | None


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
    """The first phase: solve for the best head on features of the frozen backbone, or train one as the options say.

    Args:
        in_folds: report out-of-fold scores, if the head is solved for.
        unlabelled: images that the head also learns from, if it is solved for.
    """
    started = time.monotonic()
    data, validation = head_inputs(cut, extraction, split, options)
    network.set_feature_scale(unit_scale_of(data.values))
    others = None
    if unlabelled is not None:
        unlabelled, others = extract_unlabelled(cut, unlabelled, options)
    seconds = extraction.seconds + time.monotonic() - started
    weights = class_weights(class_weight, data.codes, split.training.classes)
    if options.folder is not None:
        arguments = _arguments(cut, network, options, None, in_folds)
        new = {} if others is None else {"unlabelled images": digest(others.inspection.keys)}
        options.folder.begin(arguments, _data_facts(network, split, weights) | new)
    if options.solves and is_solvable(data.values):
        if options.strategy is not None:
            options.console.say(
                "The head is solved for on one device: strategy applies to heads that are trained by steps."
            )
        result = solve_head(network, data, validation, split, weights, options, in_folds, others)
    else:
        if unlabelled is not None:
            options.console.say(
                "The features are too large to solve for a head, so the unlabelled images are not used."
            )
        result = train_by_steps(network, cut, data, validation, weights, options)
    skipped = others.inspection.reasons(unlabelled) if others and unlabelled else {}
    phase = Phase("fit", cut.first_layer, pass_seconds=seconds, skipped=skipped, **vars(result))
    options.console.say(_summary(phase))
    known = split.keys[0]
    if others is not None and phase.selection is not None and phase.selection.kept == "unlabelled":
        known = np.union1d(known, trained_on(others.inspection.keys[new_rows(others, split)]))
    return Trained(phase, known, _typicality(cut, data, options))


def tune(
    network: Network,
    cut: Cut,
    split: Split,
    class_weight: ClassWeight,
    options: FitOptions,
    tuning: Tuning,
    selects: bool,
) -> Trained:
    """A later phase: train everything behind the cut on the values at it; if it `selects`, keep only a better result.

    Layers before the cut, and the statistics of BatchNormalization everywhere, do not change.
    """
    started = time.monotonic()
    weights = class_weights(class_weight, split.training.codes, split.training.classes)
    if options.folder is not None:
        arguments = _arguments(cut, network, options, tuning, selects)
        options.folder.begin(arguments, _data_facts(network, split, weights))
    trained = network.trained_variables(cut.index)
    settings = tuning_settings(cut, trained, len(split.training), weights, options, tuning)
    settings = replace(settings, checkpoint=options.checkpoint)
    options.console.say(_intention(cut, network, settings))
    data, validation = inputs(cut, split, options)
    seconds = time.monotonic() - started
    folds = split.folds(FOLDS, options.seed) if selects and validation is None else None
    run = TuningRun(cut, network, settings, options.folder, options.strategy)
    # A user who passes epochs or callbacks wants to see the run on all images.
    may_skip = options.epochs is None and not options.callbacks
    result = run.tuned(data, validation if selects else None, folds, validation, may_skip)
    phase = Phase("fine_tune", cut.first_layer, pass_seconds=seconds, **vars(result))
    if selects and phase.selection is None:
        options.console.say(
            "No images could be left out to compare the result with the previous classifier, so the result is kept: a "
            "comparison needs two classes, and two different images of one of them. Pass validation images."
        )
    options.console.say(_summary(phase))
    return Trained(phase, split.keys[0], _typicality(cut, data, options) if phase.kept else None)


def _typicality(cut: Cut, data: Data, options: FitOptions) -> Typicality | None:
    """The typicality measured on the features of a sample of the unchanged training images."""
    some = data.subset(sample(len(data))).without_changes()
    return Typicality.of_training(Inference(cut.features, options.batch_size)(some))


def _arguments(
    cut: Cut, network: Network, options: FitOptions, tuning: Tuning | None, measures: bool
) -> dict[str, object]:
    """Everything that the result depends on besides the images, in the words that an error uses."""
    rate: Any = options.rate
    is_schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
    arguments: dict[str, object] = {
        "seed": options.seed,
        "backbone": f"{network.record.name} at {network.size} in {network.precision}",
        "resize": network.resize,
        "dropout": network.head[2].rate,
        "validation mode": measures,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": str(rate.get_config()) if is_schedule else rate,
        "augmentation": options.augment and options.augment.name,
        "views": options.views and options.views.count,
    }
    return arguments if tuning is None else {**arguments, "first layer": cut.first_layer, **vars(tuning)}


def _data_facts(network: Network, split: Split, weights: npt.NDArray[np.float32]) -> dict[str, object]:
    """The images, their labels, and what depends on them."""
    codes = [part.codes for part in (split.training, split.validation) if part is not None]
    return {
        "weights": digest(*network.model.get_weights()),
        "classes": [str(name) for name in split.training.classes.tolist()],
        "training images": digest(split.keys[0]),
        "validation images": digest(split.keys[1]),
        "labels": digest(*codes),
        "class_weight": digest(weights),
    }


def _intention(cut: Cut, network: Network, settings: Settings) -> str:
    layers = network.trained_layers()
    trained = sum(int(np.prod(variable.shape)) for variable in (*cut.trainable.trainable_variables, *settings.also))
    return (
        f"fine_tune trains from layer {cut.index} ({cut.first_layer!r}) on: {len(layers)} layers with weights, "
        f"starting with {layers[0].name!r}; {trained:,} of {network.model.count_params():,} parameters. "
        f"BatchNormalization keeps its statistics."
    )


def _summary(phase: Phase) -> str:
    """One or two lines on the result of a phase."""
    took = "solved" if phase.name == "fit" and "learning_rate" not in phase.metrics else f"{phase.epochs} epochs"
    took = "1 epoch" if took == "1 epochs" else took
    if phase.name == "fine_tune" and phase.selection is not None and (folds := phase.selection.folds):
        measured = f"measured in {folds} {'fold' if folds == 1 else 'folds'}"
        took = f"{measured}, then {took}" if phase.epochs else measured
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
