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
from ._version import show_versions as show_versions

if TYPE_CHECKING:  # "as" tells type checkers that a name is public
    from . import cache as cache
    from .backbones import Backbone as Backbone
    from .backbones import WeightsFile as WeightsFile
    from .backbones import download_weights as download_weights
    from .backbones import get_backbone as get_backbone
    from .backbones import keras_hub_backbone as keras_hub_backbone
    from .backbones import list_backbones as list_backbones
    from .backbones import register_backbone as register_backbone
    from .checks import Fault as Fault
    from .checks import Report as Report
    from .checks import check_images as check_images
    from .checks import show_images as show_images
    from .classifier import TransferClassifier as TransferClassifier
    from .errors import BundleError as BundleError
    from .errors import ImageReadError as ImageReadError
    from .errors import InvalidInputError as InvalidInputError
    from .errors import MissingExtraError as MissingExtraError
    from .errors import NotFittedError as NotFittedError
    from .errors import TrainingError as TrainingError
    from .errors import TransferKitError as TransferKitError
    from .errors import UnknownBackboneError as UnknownBackboneError
    from .errors import WeightsError as WeightsError
    from .results import ClassScores as ClassScores
    from .results import Evaluation as Evaluation
    from .results import History as History
    from .results import Phase as Phase
    from .results import Prediction as Prediction
    from .results import Predictions as Predictions

_NAMES = {
    "backbones": "Backbone WeightsFile download_weights get_backbone keras_hub_backbone list_backbones register_backbone",
    "checks": "Fault Report check_images show_images",
    "classifier": "TransferClassifier",
    "errors": "BundleError ImageReadError InvalidInputError MissingExtraError NotFittedError TrainingError "
    "TransferKitError UnknownBackboneError WeightsError",
    "results": "ClassScores Evaluation History Phase Prediction Predictions",
}
_ROOM_OF = {name: room for room, names in _NAMES.items() for name in names.split()}

__all__ = sorted([*_ROOM_OF, "__version__", "cache", "show_versions"])


def __getattr__(name: str) -> object:
    if name == "cache":
        return import_module(".cache", __name__)
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_ROOM_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
