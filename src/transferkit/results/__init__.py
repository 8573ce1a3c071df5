"""What comes out: numbers with class names, tables and plots."""

from .plots import grid
from .results import ClassScores, Evaluation, History, Phase, Prediction, Predictions

__all__ = ["ClassScores", "Evaluation", "History", "Phase", "Prediction", "Predictions", "grid"]
