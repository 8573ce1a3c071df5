"""The two phases of training, through one mechanism: cut the network, store what crosses, train the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from .arguments import check_count, check_verbose
from .features import FrozenPart, LiveValues, StoredValues, Values, compute, refuse_unreadable
from .images import ImageFiles, Images, LabelledImages
from .network import At, Cut, Network
from .progress import say
from .results import Phase
from .store import Store
from .training import Data, LearningRate, Outcome, Settings, check_callbacks, check_rate, train

__all__ = ["Augment", "Request", "fine_tune", "fit_head", "opening_line", "request"]

Augment = Callable[[Any], Any]

# Activations of more bytes than this are not stored: they are computed anew in each epoch.
ACTIVATION_BYTES = 4 * 2**30
# Images that the size of features is measured on, where the features are not stored anyway.
SAMPLE = 256


@dataclass(frozen=True)
class Request:
    """What a call of `fit` or `fine_tune` asks for, checked, and what both phases need besides.

    Attributes:
        augment: changes a batch of training pixels, or None.
        store: where values are found again, or None.
    """

    epochs: int
    batch_size: int
    rate: LearningRate
    callbacks: list[keras.callbacks.Callback]
    verbose: str | int
    augment: Augment | None = None
    store: Store | None = None
    seed: int = 0


def request(epochs: object, batch_size: object, rate: object, callbacks: object, verbose: object) -> Request:
    """The arguments that `fit` and `fine_tune` share, checked before any work starts.

    Raises:
        InvalidInputError: one of them breaks a rule.
    """
    listed = check_callbacks(callbacks)
    return Request(
        check_count("epochs", epochs),
        check_count("batch_size", batch_size, example=32),
        check_rate(rate, listed),
        listed,
        check_verbose(verbose),
    )


def fit_head(
    network: Network,
    data: LabelledImages,
    validation: LabelledImages | None,
    class_weights: npt.NDArray[np.float32],
    asked: Request,
) -> Phase:
    """The first phase: the head, on features of the frozen backbone."""
    cut = network.cut_before_head()
    part = FrozenPart(cut.frozen, network.size, f"{network.record.name}/features")
    if asked.augment is not None:
        say("With augmentation, every epoch computes the features of newly changed images.", asked.verbose)
    values, held_out, seconds = _both_values(part, data, validation, asked, stored=asked.augment is None)
    network.set_feature_scale(_unit_scale(_sample(values, part, data, asked)))
    outcome = train(
        cut.trained,
        Data(values, data.codes),
        _labelled(held_out, validation),
        _settings(asked, class_weights, keep_best=False, title="fit"),
    )
    return _finished("fit", cut, outcome, seconds, asked.verbose)


def fine_tune(
    network: Network,
    at: At,
    data: LabelledImages,
    validation: LabelledImages | None,
    class_weights: npt.NDArray[np.float32],
    asked: Request,
) -> Phase:
    """A later phase: everything from `at` on, on the values before it.

    Layers before the cut, and the statistics of BatchNormalization everywhere, stay as they are. With
    validation, the best epoch is kept, or the state from before if no epoch is better.
    """
    cut = network.cut_at(at)
    part = FrozenPart(cut.frozen, network.size, f"{network.record.name}/{cut.index}")
    say(_intention(cut, network), asked.verbose)
    stored = asked.augment is None and not cut.from_pixels
    count = len(data) + (len(validation) if validation is not None else 0)
    size = part.value_bytes(count)
    if stored and size > ACTIVATION_BYTES:
        stored = False
        say(
            f"The values before {cut.first_layer!r} would take {size / 2**30:.1f} GiB for {count} images, more than "
            f"{ACTIVATION_BYTES / 2**30:.0f} GiB: every epoch computes them anew.",
            asked.verbose,
        )
    elif asked.augment is not None and not cut.from_pixels:
        say("With augmentation, every epoch computes the values before the cut of newly changed images.", asked.verbose)
    small = not cut.from_pixels and size <= ACTIVATION_BYTES
    values, held_out, seconds = _both_values(part, data, validation, asked, stored, stored_validation=small)
    outcome = train(
        cut.trained,
        Data(values, data.codes),
        _labelled(held_out, validation),
        _settings(asked, class_weights, keep_best=True, title="fine_tune"),
    )
    return _finished("fine_tune", cut, outcome, seconds, asked.verbose)


def _both_values(
    part: FrozenPart,
    data: LabelledImages,
    validation: LabelledImages | None,
    asked: Request,
    stored: bool,
    stored_validation: bool = True,
) -> tuple[Values, Values | None, float]:
    """The values of training and validation images, and the seconds that computing them took.

    One pass where both are stored and both are files, so that bad files of both are named together. Where
    nothing is stored, files are read once before training, so that a bad one does not show in the middle of it.
    """
    started = time.monotonic()

    def computed(images: Images) -> list[npt.NDArray[Any]]:
        return compute(part, images, asked.store, asked.verbose, "computing features")

    def values_of(images: Images, keep: bool, augment: Augment | None = None) -> Values:
        if keep:
            return StoredValues(computed(images))
        if isinstance(images, ImageFiles):
            refuse_unreadable(images, asked.verbose)
        return LiveValues(images, part, augment)

    values: Values
    held_out: Values | None = None
    if validation is None:
        values = values_of(data.images, stored, asked.augment)
    elif stored and isinstance(data.images, ImageFiles) and isinstance(validation.images, ImageFiles):
        both = computed(ImageFiles(data.images.paths + validation.images.paths))
        values, held_out = StoredValues([a[: len(data)] for a in both]), StoredValues([a[len(data) :] for a in both])
    else:
        values = values_of(data.images, stored, asked.augment)
        held_out = values_of(validation.images, stored_validation)
    return values, held_out, time.monotonic() - started


def _sample(values: Values, part: FrozenPart, data: LabelledImages, asked: Request) -> npt.NDArray[Any]:
    """Features of training images, enough to measure their size."""
    if isinstance(values, StoredValues):
        return values.arrays[0]
    chosen = np.unique(np.linspace(0, len(data) - 1, min(SAMPLE, len(data))).round().astype(np.int64))
    return compute(part, data.subset(chosen).images, asked.store, asked.verbose, "sample of features")[0]


def _unit_scale(features: npt.NDArray[Any]) -> float:
    """What brings features to a root mean square of 1, whatever backbone they come from."""
    size = float(np.sqrt(np.mean(np.square(features, dtype=np.float64))))
    return 1.0 / size if size > 0 and np.isfinite(size) else 1.0


def _settings(
    asked: Request,
    class_weights: npt.NDArray[np.float32],
    keep_best: bool,
    title: str,
) -> Settings:
    return Settings(
        keras.optimizers.Adam(asked.rate),
        asked.epochs,
        asked.batch_size,
        asked.seed,
        class_weights,
        asked.callbacks,
        keep_best,
        title,
        asked.verbose,
    )


def _labelled(values: Values | None, images: LabelledImages | None) -> Data | None:
    return None if values is None or images is None else Data(values, images.codes)


def _intention(cut: Cut, network: Network) -> str:
    """What a fine-tuning is about to train."""
    layers = network.trained_layers()
    trained = sum(int(np.prod(weight.shape)) for layer in layers for weight in layer.trainable_weights)
    inside = [layer for layer in layers if layer in network.backbone.layers]
    first = inside[0].name if inside else layers[0].name
    return (
        f"fine_tune trains from layer {cut.index} ({cut.first_layer!r}) on: {len(layers)} layers with weights, the first "
        f"is {first!r}; {trained:,} of {network.model.count_params():,} parameters. "
        f"BatchNormalization keeps its statistics."
    )


def _finished(name: str, cut: Cut, outcome: Outcome, pass_seconds: float, verbose: str | int) -> Phase:
    phase = Phase(name, cut.first_layer, outcome.metrics, outcome.kept, outcome.seconds, pass_seconds)
    say(_summary(phase, outcome), verbose)
    return phase


def _summary(phase: Phase, outcome: Outcome) -> str:
    """One line of what a phase gave."""
    epochs = "1 epoch" if phase.epochs == 1 else f"{phase.epochs} epochs"
    timing = f"{phase.name}: {epochs} in {phase.seconds:.1f} s after a pass of {phase.pass_seconds:.1f} s"
    last = {name: values[-1] for name, values in phase.metrics.items()}
    if "val_accuracy" not in last:
        return f"{timing}; training accuracy {last['accuracy']:.4f}, no validation"
    if not outcome.before:
        return f"{timing}; validation accuracy {last['val_accuracy']:.4f}, loss {last['val_loss']:.4f}"
    before = outcome.before
    if phase.kept == 0:
        return (
            f"{timing}; no epoch was better than before (validation accuracy {before['accuracy']:.4f}, loss "
            f"{before['loss']:.4f}), so the classifier is the one from before"
        )
    kept = {name: values[phase.kept - 1] for name, values in phase.metrics.items()}
    return (
        f"{timing}; validation accuracy {before['accuracy']:.4f} -> {kept['val_accuracy']:.4f}, loss "
        f"{before['loss']:.4f} -> {kept['val_loss']:.4f}; kept is epoch {phase.kept}, the best"
    )


def opening_line(data: LabelledImages, validation: LabelledImages | None, network: Network) -> str:
    """What `fit` is about to do."""
    height, width = network.size
    held_out = "none" if validation is None else len(validation)
    return (
        f"fit trains a head for {len(data.classes)} classes on {network.record.name} at {height} x {width} px: "
        f"{len(data)} images for training, {held_out} for validation."
    )
