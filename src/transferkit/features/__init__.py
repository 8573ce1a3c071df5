"""Feature extraction: runs the frozen layers once for each image, and inspects the images on the way."""

from .augmentation import Augmentation, Augmenter, FixedViews, augmenter, fixed_views
from .extraction import Extraction, NoRoomError, Plan, Storage, extract, is_kept
from .forecast import count_new, milliseconds_per_image
from .inspection import COLOURS, GRID, Inspection, refuse_unreadable
from .prediction import Predictor, Scored
from .reader import inspect, reread
from .typicality import Typicality, sample
from .values import LiveValues, StoredValues, Values
