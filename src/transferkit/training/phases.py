"""The two phases of training: cut the network, compute what crosses the cut, train the rest."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from .._console import readable, say
from ..cache import DEFAULT_LIMIT
from ..checks import Examined, examine
from ..features import Findings, LiveValues, NoRoomError, Plan, Rows, StoredValues, Values, compute, inspect, is_kept
from ..images import Images, Material, class_weights
from ..network import At, Cut, FrozenPart, Network
from ..results import Phase
from .loop import Outcome, train
from .options import Options
from .steps import Data, Settings

__all__ = ["fit_head", "inspected", "tune"]

# Where nothing outlives the call, activations of more bytes than this are computed again in each epoch.
ACTIVATION_BYTES = DEFAULT_LIMIT
# Images that the size of features is measured on, where the features are not stored, and where they are.
SAMPLE = 256
SAMPLE_OF_STORED = 16384

Both = tuple[Values, Values | None]  # of the training images, and of the validation images if there are any


def fit_head(network: Network, material: Material, class_weight: object, options: Options) -> tuple[Phase, Examined]:
    """The first phase: train the head on features of the frozen backbone."""
    cut = network.cut_before_head()
    part = FrozenPart(cut.frozen, network.size, network.computation(cut.frozen, "features"), options.precision)
    say(_intention_of_fit(network, material), options.verbose)
    started = time.monotonic()
    if options.augment is None:
        examined = inspected(material, network.size, options, part)
        (tensors, others), (rows, other_rows) = examined.computed, examined.rows
        values: Both = StoredValues(tensors, rows[np.newaxis]), StoredValues(others, other_rows[np.newaxis])
    else:
        examined = inspected(material, network.size, options)
        values = _values(cut, part, examined, options)
    network.set_feature_scale(_unit_scale(_sample(values[0])))
    return _trained("fit", cut, values, examined, class_weight, options, started), examined


def tune(network: Network, at: At, examined: Examined, class_weight: object, options: Options) -> Phase:
    """A later phase: train everything from `at` on, on the values before it.

    Layers before the cut, and the statistics of BatchNormalization everywhere, stay as they are. With
    validation, the best epoch is kept, or the state from before if no epoch is better.
    """
    cut = network.cut_at(at)
    part = FrozenPart(cut.frozen, network.size, network.computation(cut.frozen, cut.index), options.precision)
    say(_intention(cut, network), options.verbose)
    started = time.monotonic()
    values = _values(cut, part, examined, options)
    with network.changing():
        return _trained("fine_tune", cut, values, examined, class_weight, options, started)


def inspected(material: Material, size: tuple[int, int], options: Options, part: FrozenPart | None = None) -> Examined:
    """The data check, together with the values of `part` if it is given: each image is read once for both."""

    def look(images: Images, findings: Findings) -> list[Rows] | None:
        if part is not None:
            title = "computing features"
            return compute(part, Plan(images), options.store, options.verbose, title, findings=findings)
        inspect(images, size, options.store, findings, options.verbose, "checking images")
        return None

    examined = examine(material, options.skip, look)
    if skipped := examined.skipped:
        say(
            f"{len(skipped):,} images cannot be read and are left out; history_.skipped names them with the reasons.",
            options.verbose,
        )
    if examined.report.faults:
        say(f"The data check read {examined.report.summary()}; report_ lists the faults.", options.verbose)
    return examined


def _values(cut: Cut, part: FrozenPart, examined: Examined, options: Options) -> Both:
    """The values before a cut: stored where that is possible, else computed again in each epoch, and a message why."""
    if cut.from_pixels:
        why = "Trained from pixels, every epoch sees newly changed images: views are for stored values."
        return _live(cut, part, examined, options, why if options.views is not None else "")
    if options.augment is not None and options.views is None:
        why = (
            "With augmentation, every epoch computes the values before the cut of newly changed images; views=8 would "
            "compute 8 changed versions of each image once."
        )
        return _live(cut, part, examined, options, why)
    views = options.views.count if options.views is not None else 1
    rows = len(examined.training) * views + len(examined.validation or ())
    for half in (False, True):  # half precision is better than computing them again in each epoch
        if is_kept(part, rows, options.store, ACTIVATION_BYTES, half):
            with suppress(NoRoomError):
                return _stored(part, examined, options, half)
    limit = max(ACTIVATION_BYTES, options.store.limit if options.store is not None else 0)
    why = (
        f"In half precision, the values before {cut.first_layer!r} would take {readable(part.value_bytes(rows) / 2)} for "
        f"{rows} images, more than {readable(limit)} or than the disk has room for: every epoch computes them again, from "
        f"pixels."
    )
    return _live(cut, part, examined, options, why)


def _stored(part: FrozenPart, examined: Examined, options: Options, half: bool) -> Both:
    """Values that are computed once."""

    def computed(plan: Plan) -> list[Rows]:
        title = "computing activations"
        return compute(part, plan, options.store, options.verbose, title, half, in_memory=False)

    images = examined.training.images
    plan = Plan(images, options.views, len(images))
    values = StoredValues(computed(plan), plan.rows_of_views())
    if examined.validation is None:
        return values, None
    return values, StoredValues.of(computed(Plan(examined.validation.images)))


def _live(cut: Cut, part: FrozenPart, examined: Examined, options: Options, why: str) -> Both:
    """Values that are computed again in each epoch; for validation images once, where there is room for them."""
    if why:
        say(why, options.verbose)
    values = LiveValues(examined.training.images, part, options.augment)
    if examined.validation is None:
        return values, None
    images = examined.validation.images
    if cut.from_pixels or not is_kept(part, len(images), options.store, ACTIVATION_BYTES):
        return values, LiveValues(images, part)
    title = "computing validation features"
    return values, StoredValues.of(compute(part, Plan(images), options.store, options.verbose, title))


def _trained(
    name: str, cut: Cut, values: Both, examined: Examined, class_weight: object, options: Options, started: float
) -> Phase:
    """Train behind the cut; the values took the time since `started`."""
    seconds = time.monotonic() - started
    data, validation, held_out = examined.training, examined.validation, values[1]
    settings = Settings(
        keras.optimizers.Adam(options.rate),
        options.epochs,
        options.batch_size,
        options.seed,
        class_weights(class_weight, data.codes, data.classes),
        options.callbacks,
        keep_best=name == "fine_tune",
        title=name,
        verbose=options.verbose,
    )
    others = None
    if validation is not None and held_out is not None:
        others = Data(held_out, validation.codes, validation.images)
    outcome = train(cut.trained, Data(values[0], data.codes, data.images), others, settings)
    skipped = examined.skipped
    phase = Phase(name, cut.first_layer, outcome.metrics, outcome.kept, outcome.seconds, seconds, skipped)
    say(_summary(phase, outcome), options.verbose)
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


def _intention_of_fit(network: Network, material: Material) -> str:
    (height, width), count = network.size, len(material.images)
    if material.apart is None:
        held_out = f"{100 * material.share:g} % of them" if material.share else "none"
    else:
        held_out = f"{len(material.apart)} others"
    return (
        f"fit trains a head for {len(material.images.classes)} classes on {network.record.name} at {height} x {width} px: "
        f"{count} images, {held_out} for validation."
    )


def _intention(cut: Cut, network: Network) -> str:
    layers = network.trained_layers()
    trained = sum(int(np.prod(weight.shape)) for layer in layers for weight in layer.trainable_weights)
    return (
        f"fine_tune trains from layer {cut.index} ({cut.first_layer!r}) on: {len(layers)} layers with weights, the first "
        f"is {layers[0].name!r}; {trained:,} of {network.model.count_params():,} parameters. "
        f"BatchNormalization keeps its statistics."
    )


def _summary(phase: Phase, outcome: Outcome) -> str:
    """One line on the result of a phase."""
    epochs = "1 epoch" if phase.epochs == 1 else f"{phase.epochs} epochs"
    timing = f"{phase.name}: {epochs} in {phase.seconds:.1f} s, after {phase.pass_seconds:.1f} s over the images"
    figures = {
        name: f"{values[phase.kept - 1 if outcome.before else -1]:.4f}" for name, values in phase.metrics.items()
    }
    if "val_loss" not in figures:
        return f"{timing}; training accuracy {figures['accuracy']}, no validation"
    accuracy, loss = figures["val_accuracy"], figures["val_loss"]
    if not outcome.before:
        return f"{timing}; validation accuracy {accuracy}, loss {loss}"
    before = {name: f"{value:.4f}" for name, value in outcome.before.items()}
    if phase.kept == 0:
        return (
            f"{timing}; no epoch was better than before (validation accuracy {before['accuracy']}, loss {before['loss']}), "
            f"so the classifier is the one from before"
        )
    return (
        f"{timing}; validation accuracy {before['accuracy']} -> {accuracy}, loss {before['loss']} -> {loss}; the best "
        f"epoch, {phase.kept}, was kept"
    )
