"""A classifier for other runtimes: converted, then run by its own runtime and compared before it is kept."""

from .exporting import export
from .formats import Quantization, check_target
from .photos import photos_for, photos_to_calibrate
