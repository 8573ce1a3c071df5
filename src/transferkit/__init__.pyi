# The public names, each written once: __init__.py reads them here too.
from . import cache as cache
from ._common.version import __version__ as __version__
from ._common.version import show_versions as show_versions
from .backbones import Backbone as Backbone
from .backbones import WeightsFile as WeightsFile
from .backbones import download_weights as download_weights
from .backbones import get_backbone as get_backbone
from .backbones import keras_hub_backbone as keras_hub_backbone
from .backbones import list_backbones as list_backbones
from .backbones import register_backbone as register_backbone
from .checks import check_images as check_images
from .checks import show_images as show_images
from .classifier import TransferClassifier as TransferClassifier
from .comparison import Comparison as Comparison
from .comparison import compare as compare
from .distributed import FeatureBatch as FeatureBatch
from .distributed import PredictBatch as PredictBatch
from .errors import BundleError as BundleError
from .errors import ExportError as ExportError
from .errors import ImageReadError as ImageReadError
from .errors import InvalidInputError as InvalidInputError
from .errors import MissingExtraError as MissingExtraError
from .errors import NotFittedError as NotFittedError
from .errors import TrainingError as TrainingError
from .errors import TransferKitError as TransferKitError
from .errors import UnknownBackboneError as UnknownBackboneError
from .errors import WeightsError as WeightsError

__all__: list[str]
