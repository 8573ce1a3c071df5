"""The results that users get: numbers with class names, tables, plots and pages."""

from .backbones import BackboneScores, backbone_parts, judged
from .coverage import Coverage
from .evaluation import Evaluation, Thumbnails
from .explanations import Explanation, Explanations
from .exports import ExportReport
from .history import KEPT, History, Phase, Selection
from .multilabel_evaluation import LabelScores, MultiLabelEvaluation
from .multilabel_predictions import MultiLabelPredictions
from .pages import figure, page_path, write_page
from .photos import Neighbour, SuspiciousLabel, SuspiciousLabels
from .plots import grid, tradeoff
from .predictions import Label, Prediction, Predictions
from .scores import ClassScores, ConfusedPair, ScoredImage
from .text import Printed as Printed
from .text import Table, html_table, safe, text_table

__all__ = [
    "KEPT", "BackboneScores", "ClassScores", "ConfusedPair", "Coverage", "Evaluation", "Explanation", "Explanations",
    "ExportReport", "History", "Label", "LabelScores", "MultiLabelEvaluation", "MultiLabelPredictions", "Neighbour",
    "Phase", "Prediction", "Predictions", "ScoredImage", "Selection", "SuspiciousLabel", "SuspiciousLabels", "Table",
    "Thumbnails", "backbone_parts", "figure", "grid", "html_table", "judged", "page_path", "safe", "text_table",
    "tradeoff", "write_page",
]  # fmt: skip
