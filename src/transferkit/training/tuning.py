"""One fine-tuning: the runs that measure it, the run that is kept, and the choice between it and the previous state."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from ..images import Codes, Indices, image_weights
from ..network import Cut, Network
from ..results import Selection
from .checkpoints import RunFolder
from .head import calibrated, fit_head, head_of_strength
from .loop import State, TrainingResult, loop_for, restore, state_of, train
from .optimizer import LayerwiseAdam, WarmUpCosine
from .options import FitOptions, Tuning
from .recipe import (
    START_STRENGTH,
    TUNING_STEPS,
    epochs_for,
    fold_epochs,
    layer_rates,
    peak_rate,
    runs_for,
)
from .scores import best_thresholds, scale_logits
from .selection import SHARES, select
from .steps import Data, Inference, Settings

Logits = Mapping[str, npt.NDArray[np.float32]]  # "before", or a name in SHARES -> (n, n_classes)


def tuning_settings(
    cut: Cut,
    trained: list[tuple[keras.Variable, float]],
    count: int,
    weights: npt.NDArray[np.float32],
    options: FitOptions,
    tuning: Tuning,
) -> Settings:
    """Plain Adam if both epochs and a rate are given; else the recipe that gains more."""
    common = options.batch_size, options.seed, weights, options.callbacks, "fine_tune", options.console
    if options.epochs is not None and options.rate is not None:
        return Settings(keras.optimizers.Adam(options.rate), options.epochs, *common)
    steps = TUNING_STEPS if tuning.steps is None else tuning.steps
    epochs = epochs_for(steps, count, options.batch_size) if options.epochs is None else options.epochs
    sizes = [float(np.sqrt(np.mean(np.square(v.numpy())))) for v, depth in trained if len(v.shape) > 1 and depth < 1]
    rate: Any = peak_rate(sizes) if options.rate is None else options.rate
    course = WarmUpCosine(rate) if isinstance(rate, float) else None
    places = {id(variable): depth for variable, depth in trained}
    own = cut.trainable.trainable_variables
    also = [variable for variable, _ in trained if id(variable) not in set(map(id, own))]
    depths = [places[id(variable)] for variable in (*own, *also)]
    optimizer = LayerwiseAdam(course or rate, layer_rates(depths, tuning.layer_decay))
    smoothing = tuning.label_smoothing
    strength = START_STRENGTH if tuning.new_head else None
    return Settings(optimizer, epochs, *common, smoothing=smoothing, also=also, start_strength=strength, course=course)


class _Choice(NamedTuple):
    """The state to keep, the factor to multiply its logits by, and the thresholds of the labels, if it changes them."""

    selection: Selection
    factor: float
    thresholds: npt.NDArray[np.float64] | None = None


class TuningRun:
    """Trains a network behind a cut and leaves it in the best state; if that fails, the network is unchanged."""

    def __init__(
        self,
        cut: Cut,
        network: Network,
        settings: Settings,
        folder: RunFolder | None = None,
        strategy: Any = None,
    ) -> None:
        self.model, self.features, self.network, self.settings = cut.trainable, cut.features, network, settings
        self.loop, self.folder = loop_for(cut.trainable, settings, cut.whole, strategy), folder

    def tuned(
        self, data: Data, measured: Data | None, folds: Indices | None, validation: Data | None, may_skip: bool
    ) -> TrainingResult:
        """Train on all of `data`, and choose the state by the images in `measured`, or in folds.

        Args:
            folds: the fold of each image of `data`, -1 for none; None = do not measure in folds.
            validation: images whose metrics each epoch reports.
            may_skip: skip the run on all of `data` if the folds show that it would not be kept.
        """
        start, started = state_of(self.model), time.monotonic()
        try:
            features = self._features(data) if folds is not None or self.settings.start_strength else None
            chosen = None
            if features is not None and folds is not None:
                chosen = self._chosen_in_folds(data, features, folds)
            if may_skip and chosen is not None and chosen.selection.kept == "before":
                return TrainingResult(seconds=time.monotonic() - started, selection=chosen.selection)
            before = self.loop.logits(measured) if measured is not None else np.zeros(0)
            self._start_head(data, features)
            result = train(self.loop, data, validation, self.settings)
            if measured is not None:
                chosen = self._select(before, self._candidates(measured, start), measured.codes)
            result = replace(result, seconds=time.monotonic() - started)
            if chosen is None:
                return result
            self._take(start, chosen)
            kept = 0 if chosen.selection.kept == "before" else result.kept
            return replace(result, kept=kept, temperature=1 / chosen.factor, selection=chosen.selection)
        except BaseException:
            restore(start)
            raise

    def _features(self, data: Data) -> npt.NDArray[np.float32] | None:
        """The last layer's inputs for the unchanged images; None if not finite: training then names the images."""
        features = Inference(self.features, self.settings.batch_size)(data.without_changes())
        return features if np.isfinite(features).all() else None

    def _chosen_in_folds(self, data: Data, features: npt.NDArray[np.float32], folds: Indices) -> _Choice | None:
        """The choice by runs that each leave a fold out, head included; with more images, fewer folds are enough.

        None if the images cannot be divided into folds, or all have one class.
        """
        start, n_classes = state_of(self.model), int(self.model.output_shape[-1])
        if folds.max() < 1 or len(np.unique(data.codes)) < 2:
            return None
        weights = image_weights(self.settings.class_weights, data.codes)
        head = fit_head(features, features, data.codes, weights, folds, n_classes, self.settings.console)
        head = calibrated(head, data.codes, folds)
        found = {name: np.zeros((len(data), n_classes), np.float32) for name in ("before", *SHARES)}
        runs = sorted(head.fold_heads)[: runs_for(len(data))]
        for fold in runs:
            inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            self._set_head(head.fold_heads[fold])
            fold_start, part, held_out = (
                state_of(self.model),
                data.subset(inside),
                data.without_changes().subset(outside),
            )
            found["before"][outside] = self.loop.logits(held_out)
            self._start_head(part, features[inside])
            title = f"fine_tune, fold {fold + 1} of {len(runs)}"
            checkpoint = self.folder.checkpoint(f"fold-{fold + 1}") if self.folder is not None else None
            settings = replace(self.settings, callbacks=[], title=title, checkpoint=checkpoint)
            if settings.course is not None:  # else the user sets the length of a run
                settings = replace(settings, epochs=fold_epochs(settings.epochs))
            train(self.loop, part, None, settings)
            for name, logits in self._candidates(held_out, fold_start).items():
                found[name][outside] = logits
            restore(start)
        rows = np.isin(folds, runs)
        measured = {name: logits[rows] for name, logits in found.items()}
        return self._select(measured.pop("before"), measured, data.codes[rows], len(runs))

    def _select(self, before: npt.NDArray[Any], candidates: Logits, codes: Codes, folds: int = 0) -> _Choice:
        """`select`, and the thresholds of the state that it chooses."""
        selection, factor = select(before, candidates, codes, folds)
        if codes.ndim < 2 or selection.kept == "before":
            return _Choice(selection, factor)
        return _Choice(selection, factor, best_thresholds(np.float32(factor) * candidates[selection.kept], codes))

    def _start_head(self, data: Data, features: npt.NDArray[np.float32] | None) -> None:
        """Set a head with a strong penalty, if the recipe has one and every class has images."""
        strength, n_classes = self.settings.start_strength, int(self.model.output_shape[-1])
        present = np.count_nonzero(data.codes.any(axis=0)) if data.codes.ndim == 2 else len(np.unique(data.codes))
        if strength is not None and features is not None and present == n_classes:
            weights = image_weights(self.settings.class_weights, data.codes)
            self._set_head(head_of_strength(features, data.codes, weights, n_classes, strength))

    def _set_head(self, head: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]) -> None:
        self.network.head[-1].kernel.assign(head[0])
        self.network.head[-1].bias.assign(head[1])

    def _candidates(self, measured: Data, start: State) -> Logits:
        """Logits at each point between `start` and the tuned network, whose state is in the model."""
        tuned, logits = state_of(self.model), {}
        for name, share in SHARES.items():
            _take_point(start, tuned, share)
            logits[name] = self.loop.logits(measured)
        restore(tuned)
        return logits

    def _take(self, start: State, chosen: _Choice) -> None:
        """Put the chosen state into the network, with its logits multiplied by the factor, and its thresholds."""
        kept = chosen.selection.kept
        if kept == "before":
            restore(start)
        else:
            _take_point(start, state_of(self.model), SHARES[kept])
        scale_logits(self.network.head[-1], chosen.factor)
        if chosen.thresholds is not None:
            self.network.thresholds = chosen.thresholds


def _take_point(start: State, end: State, share: float) -> None:
    """Set each variable to this share of the way from its first value to the last; one that is not a float, to the last."""
    for (variable, first), (_, last) in zip(start, end, strict=True):
        between = share < 1 and np.issubdtype(first.dtype, np.floating)
        variable.assign((1 - share) * first + share * last if between else last)
