"""Image transfer learning on Keras 3: from a folder of photos to a classifier that can be shipped.

    import transferkit as tk

    clf = tk.TransferClassifier("MobileNetV2")
    clf.fit("photos/train", validation=0.15, epochs=5)
    clf.fine_tune(at="block_13", epochs=5)
    print(clf.evaluate("photos/test"))
    clf.save("pets.keras")

The names below come in the order of the data. Each is imported on first use, so that
``import transferkit`` takes no time: TensorFlow is loaded when the first image is.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from . import cache
    from .backbones import get_backbone, list_backbones, register_backbone
    from .classifier import TransferClassifier
    from .doctor import check_images
    from .errors import (
        BundleError,
        ImageReadError,
        InvalidInputError,
        MissingExtraError,
        NotFittedError,
        TrainingError,
        TransferKitError,
        UnknownBackboneError,
        WeightsError,
    )
    from .gallery import show_images
    from .hub import keras_hub_backbone
    from .records import Backbone
    from .report import Fault, Report
    from .results import ClassScores, Evaluation, History, Phase, Prediction, Predictions
    from .sources import WeightsFile
    from .weights import download_weights

__all__ = [
    "Backbone",
    "BundleError",
    "ClassScores",
    "Evaluation",
    "Fault",
    "History",
    "ImageReadError",
    "InvalidInputError",
    "MissingExtraError",
    "NotFittedError",
    "Phase",
    "Prediction",
    "Predictions",
    "Report",
    "TrainingError",
    "TransferClassifier",
    "TransferKitError",
    "UnknownBackboneError",
    "WeightsError",
    "WeightsFile",
    "__version__",
    "cache",
    "check_images",
    "download_weights",
    "get_backbone",
    "keras_hub_backbone",
    "list_backbones",
    "register_backbone",
    "show_images",
]

_HOMES = {
    "errors": (
        "TransferKitError",
        "InvalidInputError",
        "UnknownBackboneError",
        "ImageReadError",
        "WeightsError",
        "NotFittedError",
        "TrainingError",
        "BundleError",
        "MissingExtraError",
    ),
    "doctor": ("check_images",),
    "report": ("Report", "Fault"),
    "gallery": ("show_images",),
    "sources": ("WeightsFile",),
    "records": ("Backbone",),
    "backbones": ("list_backbones", "get_backbone", "register_backbone"),
    "hub": ("keras_hub_backbone",),
    "weights": ("download_weights",),
    "results": ("Prediction", "Predictions", "Evaluation", "ClassScores", "History", "Phase"),
    "classifier": ("TransferClassifier",),
}
_MODULES = ("cache",)
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF, *_MODULES})
