"""Heads and tails, trained on stored values."""

from .options import LearningRate, Options, check_callbacks, check_rate
from .phases import fit_head, inspected, tune

__all__ = ["LearningRate", "Options", "check_callbacks", "check_rate", "fit_head", "inspected", "tune"]
