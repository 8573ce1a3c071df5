"""The frozen part over images, once for each image, and what is seen of the images on the way."""

from .augmentation import Augmentation, FixedViews, augmenter, fixed_views
from .extraction import NoRoomError, Plan, compute, inspect, is_kept
from .inspection import REMEDY, Findings, all_unreadable
from .prediction import Predictor
from .thumbnails import COLOURS, GRID
from .values import LiveValues, Rows, StoredValues, Values

__all__ = [
    "COLOURS", "GRID", "REMEDY", "Augmentation", "Findings", "FixedViews", "LiveValues", "NoRoomError", "Plan",
    "Predictor", "Rows", "StoredValues", "Values", "all_unreadable", "augmenter", "compute", "fixed_views",
    "inspect", "is_kept",
]  # fmt: skip
