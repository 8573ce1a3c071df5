"""What the user hands over becomes labelled images, and files become pixels.

Images are RGB, 0 to 255, upright. Files are read when they are needed, and nothing of the user's is changed.
"""

from .decoding import PIXEL_RULE, Pixels, Resizing, Size, content_of, decode, load, resize, thumbnails, to_pixels
from .folders import EXTENSIONS, list_files
from .images import Content, ImageData, ImageLike, Images, LabelledImages, Labels, Validation
from .labels import ClassWeight, Codes, check_class_weight, class_weights, image_weights, label_array
from .opening import Header, header_of, open_image, unreadable
from .reading import read_each, read_images, read_labelled, split_pair
from .splits import VALIDATION, Indices, Known, Split, TrainingData, read_training_data, trained_on, validation_share

__all__ = [
    "EXTENSIONS", "PIXEL_RULE", "VALIDATION", "ClassWeight", "Codes", "Content", "Header", "ImageData", "ImageLike",
    "Images", "Indices", "Known", "LabelledImages", "Labels", "Pixels", "Resizing", "Size", "Split", "TrainingData",
    "Validation", "check_class_weight", "class_weights", "content_of", "decode", "header_of", "image_weights",
    "label_array", "list_files", "load", "open_image", "read_each", "read_images", "read_labelled",
    "read_training_data", "resize", "split_pair", "thumbnails", "to_pixels", "trained_on", "unreadable",
    "validation_share",
]  # fmt: skip
