"""Heads and tails, trained on stored values."""

from .options import FitOptions, LearningRate, check_callbacks, check_rate
from .phases import CheckedImages, check, extract_features, train_head, tune

__all__ = [
    "CheckedImages", "FitOptions", "LearningRate", "check", "check_callbacks", "check_rate", "extract_features",
    "train_head", "tune",
]  # fmt: skip
