"""Read the user's data into labelled images, and decode files into pixels.

Images are upright RGB, 0 to 255. Files are read only when they are needed, and the user's data is never changed.
"""

from .decoding import PIXEL_RULE, Pixels, Resizing, Size, content_of, decode, load, resize, thumbnails, to_pixels
from .folders import EXTENSIONS, IMAGE_SUFFIXES, ClassFolder, list_files
from .images import Content, ImageData, ImageLike, Images, LabelledImages, Labels, Validation
from .labels import ClassWeight, Codes, check_class_weight, class_weights, image_weights, label_array
from .opening import Header, header_of, open_image, unreadable
from .reading import read_each, read_images, read_labelled, split_pair
from .splits import VALIDATION, Indices, Known, Split, TrainingData, read_training_data, trained_on, validation_share
