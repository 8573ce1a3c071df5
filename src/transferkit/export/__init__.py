"""A classifier for other runtimes: converted, then run there and compared before the file is kept."""

from .exporting import export
from .formats import Quantization, check_target
from .photos import photos_for, photos_to_calibrate
