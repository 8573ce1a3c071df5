"""Images in memory, checked: arrays (channels last, 0-255, uint8 or float), bytes of files, Pillow images.

RGB arrays and bytes are not copied. Grey becomes RGB, and what is transparent lies on white.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .decoding import to_rgb
from .errors import InvalidInputError
from .images import Content
from .opening import reading

__all__ = ["image_content", "image_contents"]

CHUNK = 64  # images whose values are looked at together: keeps the temporary arrays small
CHANNELS = (1, 3, 4)  # grey, RGB, RGBA


def image_contents(data: object, what: str) -> Sequence[Content]:
    """An array `(n, h, w, 3)`, or a sequence of images of any sizes -> a sequence of images.

    An image is an array `(h, w, 3)`, the bytes of a file, or a Pillow image. Arrays may have 1 or 4 channels, too.

    Raises:
        InvalidInputError: another shape or type, NaN, infinity, or values that are not on the 0-255 scale.
        ImageReadError: a Pillow image cannot be decoded.
    """
    if isinstance(data, (list, tuple)):
        items = [_checked(item, f"image {index}") for index, item in enumerate(data)]
        _refuse_scaled([item for item in items if not isinstance(item, bytes)], f"the {what}")
        return [_in_rgb(item) for item in items]
    array = np.asarray(data)
    if array.dtype.kind == "O" and array.ndim == 1:
        return image_contents(list(array), what)
    _check_type(array, f"the {what}")
    if array.ndim != 4 or array.shape[-1] not in CHANNELS:
        raise InvalidInputError(
            f"The {what} has the shape {array.shape}: images must have the shape (n, height, width, 3), RGB, or 1 channel "
            f"(grey) or 4 (RGBA). {_shape_remedy(array)}"
        )
    if 0 in array.shape[1:]:
        raise InvalidInputError(
            f"The {what} has the shape {array.shape}: images must not be empty. Check how it was made."
        )
    for start in range(0, len(array), CHUNK):
        _check_values(array[start : start + CHUNK], start)
    _refuse_scaled([array], f"the {what}")
    return array if array.shape[-1] == 3 else [_in_rgb(image) for image in array]  # type: ignore[return-value]


def image_content(item: object, name: str) -> Content:
    """One image in any of these forms: the same rules."""
    image = _checked(item, name)
    if not isinstance(image, bytes):
        _refuse_scaled([image], name)
    return _in_rgb(image)


def _checked(item: object, name: str) -> Content:
    if isinstance(item, bytes):
        return item
    if isinstance(item, Image.Image):
        with reading(name):
            return np.asarray(to_rgb(item))
    array = np.asarray(item)
    _check_form(array, name)
    return array


def _in_rgb(image: Content) -> Content:
    if isinstance(image, bytes) or image.shape[-1] == 3:
        return image
    if image.shape[-1] == 1:
        return np.broadcast_to(image, (*image.shape[:2], 3))
    alpha = image[..., 3:].astype(np.float32) / 255
    rgb = image[..., :3] * alpha + 255 * (1 - alpha)
    return rgb if image.dtype.kind == "f" else np.round(rgb).astype(image.dtype)


def _check_form(image: npt.NDArray[Any], name: str) -> None:
    _check_type(image, name)
    if image.ndim != 3 or image.shape[-1] not in CHANNELS or 0 in image.shape:
        raise InvalidInputError(
            f"{name.capitalize()} has the shape {image.shape}: an image must have the shape (height, width, 3), RGB, or "
            f"1 channel (grey) or 4 (RGBA). {_shape_remedy(image)}"
        )
    _check_values(image[None], None, name)


def _check_type(array: npt.NDArray[Any], name: str) -> None:
    if array.dtype.kind not in "uif":
        raise InvalidInputError(
            f"{name.capitalize()} has the type {array.dtype}: pixels must be uint8 or float, RGB 0-255. Convert it "
            f"with .astype('uint8') once its values are right."
        )


def _shape_remedy(array: npt.NDArray[Any]) -> str:
    channels_first = array.ndim in (3, 4) and array.shape[array.ndim - 3] in CHANNELS
    if channels_first:
        return "Channels come last here: use np.moveaxis(x, -3, -1)."
    if array.ndim in (2, 3):
        return "Give grey images a channel with x[..., np.newaxis]."
    return "Reshape it."


def _check_values(images: npt.NDArray[Any], start: int | None, name: str = "") -> None:
    """Finite, and within 0-255; a rounding error of interpolation is let through."""
    if images.dtype == np.uint8 or not images.size:
        return
    low, high = float(images.min()), float(images.max())  # NaN, if there is one, comes out of both
    if low >= -0.5 and high <= 255.5:
        return
    per_image = images.reshape(len(images), -1)
    bad = ~np.isfinite(per_image).all(axis=1) | (per_image.min(axis=1) < -0.5) | (per_image.max(axis=1) > 255.5)
    first = int(np.flatnonzero(bad)[0])
    which = name.capitalize() if start is None else f"Image {start + first}"
    if not np.isfinite(images[first]).all():
        raise InvalidInputError(
            f"{which} holds NaN or infinity: pixels must be numbers from 0 to 255. Repair or drop it."
        )
    raise InvalidInputError(
        f"{which} holds values from {images[first].min():g} to {images[first].max():g}: pixels must be on the scale "
        f"0-255, as they are in a file. Undo the scaling; transferkit preprocesses by itself."
    )


def _refuse_scaled(arrays: Sequence[npt.NDArray[Any]], name: str) -> None:
    """Float pixels that all lie in [0, 1] were almost surely divided by 255 somewhere."""
    filled = [array for array in arrays if array.size]
    if not filled or any(array.dtype.kind != "f" for array in filled):
        return
    low, high = min(float(array.min()) for array in filled), max(float(array.max()) for array in filled)
    if 0.0 < high <= 1.0:
        raise InvalidInputError(
            f"{name.capitalize()} has values from {low:g} to {high:g}: pixels must be on the scale 0-255. Multiply by "
            f"255, or pass uint8 if the picture really is that dark."
        )
