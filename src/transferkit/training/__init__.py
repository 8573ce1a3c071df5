"""Heads and tails, trained on stored values."""

from .options import FitOptions, LearningRate, check_callbacks, check_rate
from .phases import extract_features, train_head, tune

__all__ = ["FitOptions", "LearningRate", "check_callbacks", "check_rate", "extract_features", "train_head", "tune"]
