"""The two phases of training, through one mechanism: cut the network, store what crosses, train the rest."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from .examination import Examined, examine
from .features import NoRoomError, Plan, compute, inspect, is_kept
from .findings import Findings
from .frozen import FrozenPart
from .images import Images, LabelledImages, joined
from .labels import class_weights
from .network import At, Cut, Network
from .progress import readable, say
from .request import Request
from .results import Phase
from .splits import Material
from .steps import Data, Settings
from .store import DEFAULT_LIMIT
from .training import Outcome, train
from .values import LiveValues, Rows, StoredValues, Values

__all__ = ["fine_tune", "fit_head", "inspected", "opening_line"]

# Where nothing outlives the call, activations of more bytes than this are computed anew in each epoch.
ACTIVATION_BYTES = DEFAULT_LIMIT
# Images that the size of features is measured on, where the features are not stored anyway, and where they are.
SAMPLE = 256
SAMPLE_OF_STORED = 16384


def fit_head(network: Network, material: Material, class_weight: object, asked: Request) -> tuple[Phase, Examined]:
    """The first phase: the head, on features of the frozen backbone."""
    cut = network.cut_before_head()
    part = FrozenPart(cut.frozen, network.size, network.computation(cut.frozen, "features"), asked.precision)
    started = time.monotonic()
    if asked.augment is None:
        examined, values, held_out = _examined_and_computed(part, material, asked)
    else:
        examined = inspected(material, network.size, asked)
        values, held_out = _augmented(part, examined, asked)
    seconds = time.monotonic() - started
    data, validation = examined.training, examined.validation
    network.set_feature_scale(_unit_scale(_sample(values, part, data, asked)))
    outcome = train(
        cut.trained,
        Data(values, data.codes, data.images),
        _labelled(held_out, validation),
        _settings(asked, class_weights(class_weight, data.codes, data.classes), keep_best=False, title="fit"),
    )
    return _finished("fit", cut, outcome, seconds, examined.skipped, asked.verbose), examined


def _examined_and_computed(
    part: FrozenPart, material: Material, asked: Request
) -> tuple[Examined, Values, Values | None]:
    """One pass for both: what the doctor wants to know, and the features."""

    def look(images: Images, findings: Findings) -> list[Rows]:
        return compute(part, Plan(images), asked.store, asked.verbose, "computing features", findings=findings)

    examined = examine(material, asked.skip, look)
    _say_faults(examined, asked.verbose)
    (tensors, others), (rows, other_rows) = examined.computed, examined.rows
    held_out = None if examined.validation is None else StoredValues(others, other_rows[np.newaxis])
    return examined, StoredValues(tensors, rows[np.newaxis]), held_out


def _augmented(part: FrozenPart, examined: Examined, asked: Request) -> tuple[Values, Values | None]:
    """Features of changed images: new ones in each epoch, or those of fixed views."""
    data, validation = examined.training, examined.validation
    if not asked.redraws:
        return _stored(part, data, validation, asked, "computing features")
    say(
        "With augmentation, every epoch computes the features of newly changed images; views=8 would compute 8 changed "
        "versions of each image once.",
        asked.verbose,
    )
    return _live(part, data, validation, asked, keep_validation=True)


def inspected(material: Material, size: tuple[int, int], asked: Request) -> Examined:
    """A pass that only looks, where the values cannot be computed before it is known which images are good."""

    def look(images: Images, findings: Findings) -> None:
        inspect(images, size, asked.store, findings, asked.verbose, "checking images")

    examined = examine(material, asked.skip, look)
    _say_faults(examined, asked.verbose)
    return examined


def _say_faults(examined: Examined, verbose: str | int) -> None:
    """One line of what the doctor found, and one of what is left out."""
    report, skipped = examined.report, examined.skipped
    if skipped:
        say(
            f"{len(skipped):,} images cannot be read and are left out; history_.skipped names them with the reasons.",
            verbose,
        )
    if report.faults:
        say(f"The doctor looked at {report.summary()}; report_ lists them.", verbose)


def fine_tune(
    network: Network,
    at: At,
    data: LabelledImages,
    validation: LabelledImages | None,
    class_weight: object,
    asked: Request,
    skipped: dict[str, str],
) -> Phase:
    """A later phase: everything from `at` on, on the values before it.

    Layers before the cut, and the statistics of BatchNormalization everywhere, stay as they are. With
    validation, the best epoch is kept, or the state from before if no epoch is better.
    """
    cut = network.cut_at(at)
    part = FrozenPart(cut.frozen, network.size, network.computation(cut.frozen, cut.index), asked.precision)
    say(_intention(cut, network), asked.verbose)
    started = time.monotonic()
    values, held_out = _values_at(cut, part, data, validation, asked)
    seconds = time.monotonic() - started
    with network.changing():
        outcome = train(
            cut.trained,
            Data(values, data.codes, data.images),
            _labelled(held_out, validation),
            _settings(asked, class_weights(class_weight, data.codes, data.classes), keep_best=True, title="fine_tune"),
        )
    return _finished("fine_tune", cut, outcome, seconds, skipped, asked.verbose)


def _values_at(
    cut: Cut, part: FrozenPart, data: LabelledImages, validation: LabelledImages | None, asked: Request
) -> tuple[Values, Values | None]:
    """The values before a cut: stored if they can be, else computed anew in each epoch, and said so."""
    if cut.from_pixels:
        if asked.views is not None:
            say(
                "Trained from pixels, every epoch sees newly changed images: views are for stored values.",
                asked.verbose,
            )
        return _live(part, data, validation, asked, keep_validation=False)
    held_out = len(validation) if validation is not None else 0
    if asked.redraws:
        say("With augmentation, every epoch computes the values before the cut of newly changed images.", asked.verbose)
        small = is_kept(part, held_out, asked.store, ACTIVATION_BYTES)
        return _live(part, data, validation, asked, keep_validation=small)
    rows = len(data) * (asked.views.count if asked.views is not None else 1) + held_out
    half = not is_kept(part, rows, asked.store, ACTIVATION_BYTES)  # better than computing them anew in each epoch
    if is_kept(part, rows, asked.store, ACTIVATION_BYTES, half):
        try:
            return _stored(part, data, validation, asked, "computing activations", half, in_memory=False)
        except NoRoomError:
            pass
    size = readable(part.value_bytes(rows) / (2 if half else 1))
    limit = readable(max(ACTIVATION_BYTES, asked.store.limit if asked.store is not None else 0))
    say(
        f"The values before {cut.first_layer!r} would take {size} for {rows} images, more than {limit} or than the disk has "
        f"room for: every epoch computes them anew, from pixels.",
        asked.verbose,
    )
    return _live(part, data, validation, asked, keep_validation=False)


def _stored(
    part: FrozenPart,
    data: LabelledImages,
    validation: LabelledImages | None,
    asked: Request,
    title: str,
    half: bool = False,
    in_memory: bool = True,
) -> tuple[Values, Values | None]:
    """The values of training and validation images, computed once.

    One pass where both are of one kind, so that bad files of both are named together.
    """

    def computed(images: Images, viewed: int) -> tuple[Plan, list[Rows]]:
        plan = Plan(images, asked.views, viewed)
        return plan, compute(part, plan, asked.store, asked.verbose, title, half, in_memory)

    together = joined(data.images, validation.images) if validation is not None else data.images
    plan, tensors = computed(data.images if together is None else together, len(data))
    values = StoredValues(tensors, plan.rows_of_views())
    if validation is None:
        return values, None
    if together is None:
        return values, StoredValues.of(computed(validation.images, 0)[1])
    return values, StoredValues(tensors, plan.rows_of_others())


def _live(
    part: FrozenPart,
    data: LabelledImages,
    validation: LabelledImages | None,
    asked: Request,
    keep_validation: bool,
) -> tuple[Values, Values | None]:
    """Values that are computed anew in each epoch; those of validation images once if they are to be kept."""
    values = LiveValues(data.images, part, asked.augment)
    if validation is None:
        return values, None
    if keep_validation:
        plan = Plan(validation.images)
        return values, StoredValues.of(compute(part, plan, asked.store, asked.verbose, "computing validation features"))
    return values, LiveValues(validation.images, part)


def _sample(values: Values, part: FrozenPart, data: LabelledImages, asked: Request) -> npt.NDArray[Any]:
    """Features of training images, enough to measure their size."""
    if isinstance(values, StoredValues):
        chosen = values.rows.reshape(-1)
        if len(chosen) > SAMPLE_OF_STORED:
            chosen = chosen[np.linspace(0, len(chosen) - 1, SAMPLE_OF_STORED).astype(np.int64)]
        return values.tensors[0][chosen]
    chosen = np.unique(np.linspace(0, len(data) - 1, min(SAMPLE, len(data))).round().astype(np.int64))
    sample = compute(part, Plan(data.subset(chosen).images), asked.store, asked.verbose, "sample of features")[0]
    return sample[np.arange(len(chosen))]


def _unit_scale(features: npt.NDArray[Any]) -> float:
    """What brings features to a root mean square of 1, whatever backbone they come from."""
    size = float(np.sqrt(np.mean(np.square(features, dtype=np.float64))))
    return 1.0 / size if size > 0 and np.isfinite(size) else 1.0


def _settings(
    asked: Request,
    weights: npt.NDArray[np.float32],
    keep_best: bool,
    title: str,
) -> Settings:
    return Settings(
        keras.optimizers.Adam(asked.rate),
        asked.epochs,
        asked.batch_size,
        asked.seed,
        weights,
        asked.callbacks,
        keep_best,
        title,
        asked.verbose,
    )


def _labelled(values: Values | None, images: LabelledImages | None) -> Data | None:
    return None if values is None or images is None else Data(values, images.codes, images.images)


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


def _finished(
    name: str, cut: Cut, outcome: Outcome, pass_seconds: float, skipped: dict[str, str], verbose: str | int
) -> Phase:
    phase = Phase(name, cut.first_layer, outcome.metrics, outcome.kept, outcome.seconds, pass_seconds, skipped)
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


def opening_line(material: Material, network: Network) -> str:
    """What `fit` is about to do."""
    height, width = network.size
    training, drawn = material.positions()
    held_out = len(drawn) if material.apart is None else len(material.apart)
    return (
        f"fit trains a head for {len(material.images.classes)} classes on {network.record.name} at {height} x {width} px: "
        f"{len(training)} images for training, {held_out or 'none'} for validation."
    )
