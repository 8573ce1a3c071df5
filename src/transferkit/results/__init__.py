"""What comes out: numbers with class names, tables and plots."""

from .evaluation import ClassScores, Evaluation
from .history import History, Phase, Selection
from .plots import grid
from .predictions import Label, Prediction, Predictions
from .text import text_table

__all__ = [
    "ClassScores", "Evaluation", "History", "Label", "Phase", "Prediction", "Predictions", "Selection", "grid", "text_table",
]  # fmt: skip
