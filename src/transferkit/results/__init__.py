"""What comes out: numbers with class names, tables, plots and pages."""

from .evaluation import Evaluation, Thumbnails
from .history import KEPT, History, Phase, Selection
from .pages import figure, page_path, write_page
from .plots import grid
from .predictions import Label, Prediction, Predictions
from .scores import ClassScores, ConfusedPair, ScoredImage
from .text import Table, html_table, safe, text_table

__all__ = [
    "KEPT", "ClassScores", "ConfusedPair", "Evaluation", "History", "Label", "Phase", "Prediction", "Predictions",
    "ScoredImage", "Selection", "Table", "Thumbnails", "figure", "grid", "html_table", "page_path", "safe", "text_table",
    "write_page",
]  # fmt: skip
