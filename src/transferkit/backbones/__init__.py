"""Pretrained networks and their weights.

A backbone is a record: `registry` finds it by name, `weights` finds its file, and `loading` builds it with its weights.
"""

from .keras_hub import keras_hub_backbone
from .loading import build_with_weights, copy_weights, load_every_weight, refuse_not_finite, refuse_oversized
from .record import Backbone, WeightsFile
from .registry import get_backbone, is_registered, list_backbones, register_backbone
from .weights import Source, WeightsChoice, check_weights, download_weights, find_weights, size_note

__all__ = [
    "Backbone", "Source", "WeightsChoice", "WeightsFile", "build_with_weights", "check_weights", "copy_weights",
    "download_weights", "find_weights", "get_backbone", "is_registered", "keras_hub_backbone", "list_backbones",
    "load_every_weight", "refuse_not_finite", "refuse_oversized", "register_backbone", "size_note",
]  # fmt: skip
