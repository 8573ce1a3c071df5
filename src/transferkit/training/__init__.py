"""Heads and tails, trained on stored values."""

from .checkpoints import RunFolder, check_resume
from .options import FitOptions, LearningRate, Tuning, check_callbacks, check_rate, refuse_rate_setters
from .phases import CheckedImages, check, extract_features, train_head, tune
from .recipe import CROSS_VALIDATED

__all__ = [
    "CROSS_VALIDATED", "CheckedImages", "FitOptions", "LearningRate", "RunFolder", "Tuning", "check", "check_callbacks",
    "check_rate", "check_resume", "extract_features", "refuse_rate_setters", "train_head", "tune",
]  # fmt: skip
