"""Image transfer learning on Keras 3: from a folder of photos to a classifier that can be shipped.

    import transferkit as tk

    clf = tk.TransferClassifier("MobileNetV2")
    clf.fit("photos/train", validation=0.15, epochs=5)
    clf.fine_tune(at="block_13", epochs=5)
    print(clf.evaluate("photos/test"))
    clf.save("pets.keras")

Each public name is imported on first use, so that ``import transferkit`` takes no time: TensorFlow is loaded when
the first image is read.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__ as __version__

if TYPE_CHECKING:  # "as" tells type checkers that a name is public
    from . import cache as cache
    from .backbones import get_backbone as get_backbone
    from .backbones import list_backbones as list_backbones
    from .backbones import register_backbone as register_backbone
    from .classifier import TransferClassifier as TransferClassifier
    from .doctor import check_images as check_images
    from .errors import BundleError as BundleError
    from .errors import ImageReadError as ImageReadError
    from .errors import InvalidInputError as InvalidInputError
    from .errors import MissingExtraError as MissingExtraError
    from .errors import NotFittedError as NotFittedError
    from .errors import TrainingError as TrainingError
    from .errors import TransferKitError as TransferKitError
    from .errors import UnknownBackboneError as UnknownBackboneError
    from .errors import WeightsError as WeightsError
    from .gallery import show_images as show_images
    from .hub import keras_hub_backbone as keras_hub_backbone
    from .records import Backbone as Backbone
    from .records import WeightsFile as WeightsFile
    from .report import Fault as Fault
    from .report import Report as Report
    from .results import ClassScores as ClassScores
    from .results import Evaluation as Evaluation
    from .results import History as History
    from .results import Phase as Phase
    from .results import Prediction as Prediction
    from .results import Predictions as Predictions
    from .weights import download_weights as download_weights

_NAMES = {
    "backbones": "get_backbone list_backbones register_backbone",
    "classifier": "TransferClassifier",
    "doctor": "check_images",
    "errors": "BundleError ImageReadError InvalidInputError MissingExtraError NotFittedError TrainingError "
    "TransferKitError UnknownBackboneError WeightsError",
    "gallery": "show_images",
    "hub": "keras_hub_backbone",
    "records": "Backbone WeightsFile",
    "report": "Fault Report",
    "results": "ClassScores Evaluation History Phase Prediction Predictions",
    "weights": "download_weights",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted([*_MODULE_OF, "__version__", "cache"])


def __getattr__(name: str) -> object:
    if name == "cache":
        return import_module(".cache", __name__)
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
