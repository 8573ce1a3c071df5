"""What `fit` and `fine_tune` decide before they train: the training images, the validation images, what to refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from .._common.arguments import check_count, check_number
from .._common.console import Console
from ..cache import Store
from ..checks import Report, diagnose
from ..errors import InvalidInputError, bad_argument, some_of
from ..features import Inspection, inspect, reread
from ..images import (
    VALIDATION,
    ImageData,
    Images,
    Known,
    Labels,
    Split,
    TrainingData,
    Validation,
    read_images,
    read_labelled,
    read_training_data,
    validation_share,
)
from ..network import Network
from ..results import Phase
from ..training import (
    CROSS_VALIDATED,
    FitOptions,
    RunFolder,
    Tuning,
    check_callbacks,
    check_resume,
    refuse_rate_setters,
    replicas_here,
)
from .fitted import Fitted

if TYPE_CHECKING:
    import tensorflow as tf


class CheckedImages(NamedTuple):
    """Images that can be read, split into training and validation images.

    Attributes:
        report: the faults of all images; None if an earlier call checked them.
        skipped: image -> reason, for the images that are left out.
    """

    split: Split
    report: Report | None
    skipped: dict[str, str]


def run_folder(
    resume: object,
    callbacks: Sequence[keras.callbacks.Callback] | None,
    phase: str,
    strategy: tf.distribute.Strategy | None,
) -> RunFolder | None:
    if resume is None:
        return None
    if check_callbacks(callbacks):
        raise InvalidInputError("resume was given with callbacks, whose state cannot be kept. Pass one of the two.")
    return RunFolder(check_resume(resume), phase, writes=strategy is None or 0 in replicas_here(strategy))


def read_unlabelled(data: ImageData | None, options: FitOptions) -> Images | None:
    if data is None:
        return None
    if not options.solves:
        raise InvalidInputError(
            "unlabelled was given for a head that is trained by steps: only a head that is solved for learns from such "
            "images. Leave out epochs, learning_rate and callbacks, and use augmentation only with views."
        )
    images = read_images(data, lenient=options.skip)
    if not len(images):
        raise InvalidInputError("unlabelled holds no images: at least one is needed. Check the path, or leave it out.")
    return images.named("unlabelled data")


def intention(network: Network, data: TrainingData, in_folds: bool) -> str:
    (height, width), count = network.size, len(data.images)
    validated = f"{100 * data.share:g} % of them for validation" if data.share else "none for validation"
    if data.validation is not None:
        validated = f"{len(data.validation)} separate images for validation"
    if in_folds:
        validated = "which validate each other in folds"
    return (
        f"fit trains a head for {len(data.images.classes)} classes on {network.record.name} at {height} x {width} px: "
        f"{count} images, {validated}."
    )


def check(
    data: TrainingData, inspection: Inspection, seed: int, console: Console, known: Known | None = None
) -> CheckedImages:
    """Run the data check on an inspection, and split the images; `known` ones are not used for validation."""
    report = diagnose(data.sets, inspection)
    split = data.split(inspection.readable(), inspection.keys, inspection.thumbnails, seed, known)
    if known is not None and split.validation is not None:
        console.say(f"{len(split.validation):,} images that the classifier was not trained on before are held out.")
    elif data.validation is not None and split.validation is not None:
        readable = inspection.readable()
        copies = int((readable >= len(data.images)).sum()) - len(split.validation)
        if copies:
            console.say(f"{copies:,} validation images are also training images, and are not used for validation.")
    skipped = inspection.reasons(data.all_images)
    if skipped:
        console.say(f"Unreadable images left out: {len(skipped):,}; history_.skipped says why.")
    if report.faults:
        console.say(f"Data check of {report.summary()}; report_, or `transferkit check`, lists the faults.")
    return CheckedImages(split, report, skipped)


def tell_of_new_images(keys: npt.NDArray[Any], known: Known, kept: bool, console: Console) -> None:
    """Say if the classifier did not learn from new images, or learned from them alone."""
    new = int((~np.isin(keys, known)).sum())
    if new and not kept:
        console.say(
            f"The classifier has not learned from the {new:,} images that are new to it: call fit with all images."
        )
    elif new == len(keys):
        console.say(
            "All of these images were new to the classifier, so it may now do worse on images like the earlier ones. To "
            "learn from both, call fit with all images."
        )


def tuning_options(steps: int | None, options: FitOptions, layer_decay: float, label_smoothing: float) -> Tuning:
    """The arguments of `fine_tune` alone, checked."""
    if steps is not None and options.epochs is not None:
        raise bad_argument("steps", steps, "was given together with epochs", "Pass one of them")
    if options.epochs is None or options.rate is None:
        remedy = "Pass epochs and learning_rate, for example epochs=5 and learning_rate=1e-5"
        refuse_rate_setters(options.callbacks, "fine_tune", remedy)
    decay = check_number("layer_decay", layer_decay, low=0, high=1, example=0.3, open_low=True, closed=True)
    smoothing = check_number("label_smoothing", label_smoothing, low=0, high=1, example=0.1)
    return Tuning(steps if steps is None else check_count("steps", steps, example=400), decay, smoothing)


def images_to_tune_on(
    fitted: Fitted,
    data: ImageData | None,
    labels: Labels | None,
    validation: Validation,
    options: FitOptions,
    was_tuned: bool,
) -> CheckedImages:
    """New images, checked and split; or those of `fit`, with the same split if possible."""
    if data is not None:
        images = read_labelled(
            data, labels, fitted.classes, "data to fine-tune on", lenient=options.skip, kind=fitted.kind
        )
    elif labels is not None:
        raise InvalidInputError("labels was given without data: labels belong to images. Pass the images as data.")
    elif fitted.split is None:
        raise InvalidInputError(
            "fine_tune was called without data on a classifier that was loaded or copied, which does not contain the "
            "images of fit. Pass data."
        )
    elif _keeps_division(validation, fitted.share, fitted.split):
        trained_on_since = np.setdiff1d(fitted.known, fitted.split.keys[0])
        checked = images_of_fit(fitted.split, options.store, options.console, options.skip)
        return checked._replace(split=checked.split.unseen(trained_on_since))
    elif validation_share(validation) == 0:
        return images_of_fit(fitted.split.without_validation(), options.store, options.console, options.skip)
    else:
        images = fitted.split.training.as_now()
    read = read_training_data(images, 0.0 if is_auto(validation) else validation, options.skip)
    inspection = inspect(read.all_images, fitted.network.size, options.store, options.console, options.skip)
    if data is None and fitted.split is not None:
        readable = inspection.readable()
        fitted.split.refuse_changed(readable[readable < len(images)], inspection.keys)
    # Folds compare heads that are trained on these images alone, so the classifier must not have seen others.
    may_fold = not was_tuned and fitted.holds_known(inspection.keys)
    if is_auto(validation) and validation_of(validation, len(images), may_fold):
        read = read_training_data(images, VALIDATION, options.skip)
    return check(read, inspection, fitted.split_seed, options.console, fitted.known)


def images_of_fit(
    split: Split, store: Store | None, console: Console, skip: bool, all_classes: bool = True
) -> CheckedImages:
    """The images of `fit` that can still be read, with the same split; none may have changed.

    Raises:
        InvalidInputError: images have changed, or a class (with `all_classes`), or every class has none left.
        ImageReadError: images can no longer be read. Not with `skip`.
    """
    inspection = reread(split.all_images, store, console, skip)
    skipped = inspection.reasons(split.all_images)
    if skipped:
        console.say(f"Images of fit that can no longer be read: {len(skipped):,}.")
    return CheckedImages(split.again(inspection.readable(), inspection.keys, all_classes), None, skipped)


def validation_of(validation: Validation, count: int, may_fold: bool) -> Validation:
    """`validation`, with ``"auto"`` resolved: few images are cross-validated in folds."""
    if not is_auto(validation):
        return validation
    return 0.0 if may_fold and count <= CROSS_VALIDATED else VALIDATION


def is_auto(validation: Validation) -> bool:
    return isinstance(validation, str) and validation == "auto"


def _keeps_division(validation: Validation, share: float, split: Split) -> bool:
    """Whether to keep the training images of `fit`, and its validation images if it had any."""
    if is_auto(validation):
        return True
    wanted = validation_share(validation)
    if wanted and wanted != share:
        raise bad_argument(
            "validation",
            validation,
            f"differs from the share that fit held out ({share:g}), and the head was trained on the other images",
            "Leave it out to use the same validation images, or pass others"
            if share or split.validation is not None
            else "Leave it out, so that these images validate each other, or pass others",
        )
    return bool(wanted)


def selects_best(validation: Validation, split: Split, was_tuned: bool, console: Console) -> bool:
    """Whether to compare the tuned network with the previous one."""
    if split.validation is not None:
        if len(split.validation) < 2:
            raise InvalidInputError(
                "There is one validation image: a comparison needs two or more. Pass more of them, or validation=0 to keep "
                "the tuned network without a comparison."
            )
        if split.training.kind == "single" and np.count_nonzero(split.validation.counts()) < 2:
            name = split.validation.label(0)
            raise InvalidInputError(
                f"All {len(split.validation)} images that the classifier can be compared on are of the class {name!r}: a "
                f"comparison needs two classes. To learn from images that were added later, call fit with all of them; or "
                f"pass other validation images, or validation=0 to keep the tuned network without a comparison."
            )
        return True
    if is_auto(validation) and was_tuned:
        console.say(
            "The network was already tuned on all images, so the result cannot be compared with the previous "
            "classifier, and is kept. Pass validation images to compare them."
        )
    return is_auto(validation) and not was_tuned


def refuse_forgetting(split: Split, selects: bool, console: Console) -> None:
    """Refuse a comparison that cannot show that a class without training images is forgotten."""
    training, validation = split.training, split.validation
    lacking = training.counts() == 0
    if not lacking.any():
        return
    if not selects:
        names = some_of(training.classes[lacking].tolist())
        console.say(f"The data holds no images of the class {names}, which the classifier may forget.")
    elif (unseen := lacking & (validation is None or validation.counts() == 0)).any():
        raise InvalidInputError(
            f"The data to fine-tune on holds no images of the class {some_of(training.classes[unseen].tolist())}: the "
            f"classifier would forget it, and the comparison with the previous one would not show it. Add images of "
            f"every class, or pass validation images of every class; validation=0 compares nothing."
        )


def refuse_unlabelled(phases: Sequence[Phase]) -> None:
    """Refuse folds, whose heads learn from labelled images alone, if `fit` also learned from unlabelled ones."""
    if any(phase.selection is not None and phase.selection.kept == "unlabelled" for phase in phases):
        raise InvalidInputError(
            "The head learned from unlabelled images, so folds of the labelled ones cannot tell whether fine_tune "
            "improves it. Pass validation images, or validation=None to keep the tuned network without a comparison."
        )


def recorded(phase: Phase, checked: CheckedImages) -> Phase:
    """The phase, with a record of the images that it was trained on."""
    split = checked.split
    held_out = 0 if split.validation is None else len(split.validation)
    counts, data = split.class_counts(), split.fingerprint()
    skipped = {**checked.skipped, **phase.skipped}
    return replace(phase, skipped=skipped, images=counts, validation_images=held_out, data=data)
