"""Heads and tails, trained on stored values."""

from .checkpoints import RunFolder, check_resume
from .options import FitOptions, LearningRate, Tuning, check_callbacks, check_rate, refuse_rate_setters
from .phases import CheckedImages, check, cross_validated, extract_features, train_head, tune
from .recipe import CROSS_VALIDATED
from .scores import Scores

__all__ = [
    "CROSS_VALIDATED", "CheckedImages", "FitOptions", "LearningRate", "RunFolder", "Scores", "Tuning", "check",
    "check_callbacks", "check_rate", "check_resume", "cross_validated", "extract_features", "refuse_rate_setters",
    "train_head", "tune",
]  # fmt: skip
