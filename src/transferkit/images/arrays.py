"""Check images in memory: arrays (channels last, 0-255, uint8 or float), bytes of files, Pillow images, `tf.data`.

RGB arrays and bytes are not copied. Greyscale becomes RGB, and transparent pixels are drawn on white.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import InvalidInputError, shown
from .decoding import to_rgb
from .images import Content
from .labels import as_names
from .opening import reading

CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
DIVIDED = 1.5  # the highest value of pixels divided by 255: bicubic and Lanczos resizing overshoot


def image_contents(data: object, what: str, first: int = 0) -> Sequence[Content]:
    """Check an array `(n, h, w, 3)`, or a sequence of images of any size, and return a sequence of RGB images.

    An image is an array `(h, w, 3)`, the bytes of a file, or a Pillow image. Arrays may also have 1 or 4 channels.
    Error messages number the images from `first`.

    Raises:
        InvalidInputError: a wrong shape or type, NaN, infinity, or values that are not on the 0-255 scale.
        ImageReadError: a Pillow image cannot be decoded.
    """
    if isinstance(data, (list, tuple)):
        return [checked_image(item, f"image {index}") for index, item in enumerate(data)]
    array = np.asarray(data)
    if array.dtype.kind == "O" and array.ndim == 1:
        return image_contents(list(array), what)
    _check_form(array, f"The {what}", 4)
    for index, image in enumerate(array, first):
        _check_values(image, f"Image {index}")
    return array if array.shape[-1] == 3 else [_in_rgb(image) for image in array]  # type: ignore[return-value]


def checked_image(item: object, name: str) -> Content:
    """Check one image of any form that `image_contents` accepts, and convert it to RGB."""
    return _in_rgb(_checked(item, name))


def _checked(item: object, name: str) -> Content:
    if isinstance(item, bytes):
        return item
    if isinstance(item, Image.Image):
        with reading(name):
            return np.asarray(to_rgb(item))
    array = np.asarray(item)
    if isinstance(item, (bytearray, memoryview)) and array.ndim == 1:
        return bytes(item)
    if array.dtype.kind in "OUS":
        raise InvalidInputError(
            f"{name.capitalize()} is {shown(item)}: it must be an array (RGB, 0-255), the bytes of a file or a Pillow "
            f"image. Pass one of these."
        )
    _check_form(array, name.capitalize(), 3)
    _check_values(array, name.capitalize())
    return array


def _in_rgb(image: Content) -> Content:
    if isinstance(image, bytes) or image.shape[-1] == 3:
        return image
    if image.shape[-1] == 1:
        return np.broadcast_to(image, (*image.shape[:2], 3))
    alpha = image[..., 3:].astype(np.float32) / 255
    rgb = image[..., :3] * alpha + 255 * (1 - alpha)
    return rgb if image.dtype.kind == "f" else np.round(rgb).astype(image.dtype)


def _check_form(array: npt.NDArray[Any], name: str, ndim: int) -> None:
    """Check the type and shape of one image (`ndim` 3) or of a batch (4), which may be empty."""
    if array.dtype.kind not in "uif":
        raise InvalidInputError(
            f"{name} has the type {array.dtype}: pixels must be uint8 or float, RGB 0-255. Convert it with "
            f".astype('uint8') once its values are right."
        )
    if array.ndim != ndim or array.shape[-1] not in CHANNELS:
        shape = "(n, height, width, 3)" if ndim == 4 else "(height, width, 3)"
        remedy = "Reshape it."
        if array.ndim in (3, 4) and array.shape[-3] in CHANNELS:
            remedy = "Channels come last here: use np.moveaxis(x, -3, -1)."
        elif array.ndim in (2, 3):
            remedy = "Add a channel axis to grey images with x[..., np.newaxis]."
        raise InvalidInputError(
            f"{name} has the shape {array.shape}: the shape must be {shape}, RGB, or with 1 channel (grey) or 4 (RGBA). "
            f"{remedy}"
        )
    if 0 in array.shape[-3:]:
        raise InvalidInputError(f"{name} has the shape {array.shape}: images must not be empty. Check how it was made.")


def _check_values(image: npt.NDArray[Any], name: str) -> None:
    """Check that pixels are finite, within 0-255 apart from rounding errors of interpolation, and not divided by 255.

    Float pixels of at most about 1 were almost certainly divided, as were whole numbers of only 0 and 1.
    """
    if image.dtype == np.uint8 and (image[len(image) // 2].max() > 1 or image.max() > 1):  # one row is usually enough
        return
    low, high = float(image.min()), float(image.max())  # both are NaN if any value is
    if not np.isfinite([low, high]).all():
        raise InvalidInputError(
            f"{name} holds NaN or infinity: pixels must be numbers from 0 to 255. Repair or drop it."
        )
    if low < -0.5 or high > 255.5:
        raise InvalidInputError(
            f"{name} holds values from {low:g} to {high:g}: pixels must be on the 0-255 scale, as in a file. "
            f"Undo the scaling; transferkit does the preprocessing."
        )
    if 0 < high <= DIVIDED and (image.dtype.kind == "f" or high == 1 > low):
        raise InvalidInputError(
            f"{name} has values from {low:g} to {high:g}: pixels must be on the 0-255 scale. Multiply by 255, or pass "
            f"a Pillow image if the picture really is that dark."
        )


# ---- tf.data, without importing TensorFlow ----


def is_dataset(data: object) -> bool:
    return hasattr(data, "element_spec") and hasattr(data, "as_numpy_iterator")


def dataset_images(data: Any, labelled: bool) -> tuple[list[npt.NDArray[Any]], Any]:
    """Read every image and label of a batched `tf.data.Dataset`, once: it may be shuffled differently each time.

    Raises:
        InvalidInputError: the dataset is not batched, has another form, never ends, or is too large for the disk.
    """
    spec = data.element_spec
    pair = isinstance(spec, tuple) and len(spec) == 2
    image = spec[0] if pair else spec
    rank = getattr(getattr(image, "shape", None), "rank", None)
    if (labelled and not pair) or rank not in (4, None) or isinstance(image, (tuple, dict)):
        wanted = "(image, label)" if labelled else "images"
        raise InvalidInputError(
            f"The dataset yields {shown(spec)}: it must yield batches of {wanted}, with images of shape "
            f"(batch, height, width, 3). Map it to that form and call .batch(32) on it."
        )
    if int(data.cardinality()) == -1:
        raise InvalidInputError(
            "The dataset never ends: it must be finite. Drop its .repeat(), or call .take(n) on it."
        )
    labels: list[npt.NDArray[Any]] = []

    def contents() -> Iterator[npt.NDArray[Any]]:
        count = 0
        for element in data.as_numpy_iterator():
            found = image_contents(element[0] if pair else element, "dataset", count)
            count += len(found)
            if labelled:
                labels.append(np.asarray(element[1]))
            yield from map(np.asarray, found)

    images = _spooled(contents())
    return images, np.concatenate(labels) if labels else np.zeros(0, np.int64)


def named_labels(raw: npt.NDArray[Any], names: Sequence[str]) -> npt.NDArray[Any]:
    """Convert indices into `names` to the names."""
    if raw.dtype.kind not in "ib" or raw.min() < 0 or raw.max() >= len(names):
        raise InvalidInputError(
            f"The dataset names {len(names)} classes but its labels range from {raw.min()} to {raw.max()}: they must "
            f"be from 0 to {len(names) - 1}. Check its `class_names`."
        )
    return np.array(as_names(list(names), "class name"))[raw.astype(np.int64)]


def _spooled(images: Iterable[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """The same arrays, mapped to a temporary file, so that memory stays flat, however many there are.

    The file is deleted when none of them is in use any more. It has no name, so nobody else can shorten it.

    Raises:
        InvalidInputError: the disk is full.
    """
    forms: list[tuple[tuple[int, ...], np.dtype[Any], int]] = []
    end = 0
    try:
        with tempfile.TemporaryFile(prefix="transferkit-") as file:
            for image in images:
                file.write(np.ascontiguousarray(image).data)
                forms.append((image.shape, image.dtype, end))
                end += image.nbytes
            file.flush()
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if end else b""
    except OSError as error:
        raise InvalidInputError(
            f"The images of the dataset could not be written to {tempfile.gettempdir()!r} ({error.strerror}): they need "
            f"more than {end / 1e9:.1f} GB there. Set the variable TMPDIR to a folder with more room, or pass the "
            f"paths of the files."
        ) from error
    return [np.ndarray(shape, dtype, content, start) for shape, dtype, start in forms]
