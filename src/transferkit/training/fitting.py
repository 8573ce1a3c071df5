"""The head of `fit`: solved for and scored, with unlabelled images if there are any, or trained by steps."""

from __future__ import annotations

import time
from dataclasses import replace

import keras
import numpy as np
import numpy.typing as npt

from .._common.console import Console
from ..errors import some_of
from ..features import Extraction, StoredValues, Values
from ..images import Indices, Split, image_weights, trained_on
from ..network import Cut, Network
from .head import Array, calibrated, cross_fitted, fit_head, head_of_strength
from .inputs import unit_scale
from .loop import TrainingResult, loop_for, train
from .options import FitOptions
from .pseudo_labels import learn_unlabelled
from .recipe import FOLDS
from .scores import Scores, best_thresholds, calibrate
from .steps import Data, Settings

# Features of more bytes than this are not copied into memory at once, so the head is trained by steps.
SOLVED_BYTES = 2**30
REPEATS = 3  # divisions into folds when backbones are compared
HEAD_EPOCHS, HEAD_RATE = 30, 1e-3  # of a head that is trained by steps: benchmarks/recipe.py


def is_solvable(values: Values) -> bool:
    """Whether these values fit into memory at once."""
    return isinstance(values, StoredValues) and values.row_bytes * values.rows.size <= SOLVED_BYTES


def solve_head(
    network: Network,
    data: Data,
    validation: Data | None,
    split: Split,
    weights: npt.NDArray[np.float32],
    options: FitOptions,
    in_folds: bool,
    unlabelled: Extraction | None,
) -> TrainingResult:
    """Solve for the head, put it into the network with its thresholds, and measure it.

    Args:
        weights: of each class.
        in_folds: report out-of-fold scores, in which the images validate each other.
        unlabelled: features of images without labels.
    """
    started = time.monotonic()
    features = _all_features(data.values, network.feature_scale)
    has_views = options.views is not None
    shown = _all_features(data.values.without_changes(), network.feature_scale) if has_views else features
    folds, n_classes = split.folds(FOLDS, options.seed), len(split.training.classes)
    known = features, shown, data.codes, image_weights(weights, data.codes), folds
    head, selection = fit_head(*known, n_classes, options.console), None
    if unlabelled is not None:
        rows = new_rows(unlabelled, split)
        if len(rows) and head.fold_heads:
            others = np.asarray(unlabelled.values[0][rows], np.float32) * np.float32(network.feature_scale)
            head, selection = learn_unlabelled(head, *known, others, options.console)
        else:
            why = (
                "no class has two different labelled images to measure on" if len(rows) else "none is readable and new"
            )
            options.console.say(f"The unlabelled images are not used: {why}.")
    head = calibrated(head, data.codes, folds)
    if head.unmeasured and in_folds:
        names = split.training.classes[list(head.unmeasured)].tolist()
        options.console.say(f"No image of the class {some_of(names)} could be held out: the figures do not cover it.")
    network.head[-1].kernel.assign(head.kernel)
    network.head[-1].bias.assign(head.bias)
    if network.thresholds is not None and len(head.fold_heads):
        out_of_fold = head.logits[head.held_out] / np.float32(head.temperature)
        network.thresholds = best_thresholds(out_of_fold, data.codes[head.held_out])
    scores = {"": Scores.of(shown @ head.kernel + head.bias, data.codes)}
    is_folded = in_folds and len(head.fold_heads) > 0
    if validation is not None:
        logits = _all_features(validation.values, network.feature_scale) @ head.kernel + head.bias
        scores["val_"] = Scores.of(logits, validation.codes)
    elif is_folded:
        scores["val_"] = head.scores
    metrics: dict[str, list[float]] = {}
    for prefix, found in scores.items():
        metrics |= {f"{prefix}loss": [found.loss], f"{prefix}accuracy": [found.accuracy]}
    measured = scores["val_"].errors if "val_" in scores else {}
    errors = {
        f"val_{name}": error for name, error in measured.items() if np.isfinite(error)
    }  # that of one image is not
    folds_used = len(head.fold_heads) if is_folded else 0
    seconds = time.monotonic() - started
    return TrainingResult(metrics, 1, seconds, folds_used, errors, selection, head.temperature)


def train_by_steps(
    network: Network,
    cut: Cut,
    data: Data,
    validation: Data | None,
    weights: npt.NDArray[np.float32],
    options: FitOptions,
) -> TrainingResult:
    """Train the head with Adam, keep the last epoch, and calibrate its logits on the validation images."""
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
    result = train(loop, data, validation, settings)
    if validation is None:
        return result
    logits = loop.logits(validation)
    temperature = calibrate(network.head[-1], logits, validation.codes)
    if network.thresholds is not None:
        network.thresholds = best_thresholds(logits / np.float32(temperature), validation.codes)
    return replace(result, temperature=temperature)


def cross_validated(features: npt.NDArray[np.float32], split: Split, seed: int, console: Console) -> Scores:
    """The out-of-fold scores of the head that `fit` would solve for, on features `(n, d)` of the training images.

    Each image's scores are means over several divisions into folds: in one alone, two backbones may differ by points.
    """
    features, codes = features * np.float32(unit_scale(features)), split.training.codes
    weights, n_classes = np.ones(codes.shape, np.float32), len(split.training.classes)
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


def new_rows(unlabelled: Extraction, split: Split) -> Indices:
    """Unlabelled images that can be read and are used neither for training nor for validation."""
    rows = unlabelled.inspection.readable()
    return rows[~np.isin(trained_on(unlabelled.inspection.keys[rows]), np.concatenate(split.keys))]


def _all_features(values: Values, scale: float) -> Array:
    """Features of unit size, float32 `(views * n, d)`."""
    assert isinstance(values, StoredValues)
    (tensor,) = values.tensors
    return np.asarray(tensor[values.rows.ravel()], np.float32) * np.float32(scale)
