"""Checks of images that come as arrays: RGB, channels last, 0-255, uint8 or float. Copies nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InvalidInputError

__all__ = ["check_image", "image_arrays"]

CHUNK = 64  # images whose values are looked at together: keeps the temporary arrays small


def image_arrays(data: object, what: str) -> Sequence[npt.NDArray[Any]]:
    """An array `(n, h, w, 3)`, or a sequence of images `(h, w, 3)` of any sizes -> a sequence of images.

    Raises:
        InvalidInputError: another shape or type, NaN, infinity, or values that are not on the 0-255 scale.
    """
    if isinstance(data, (list, tuple)):
        images = [np.asarray(item) for item in data]
        for index, image in enumerate(images):
            _check_form(image, f"image {index}")
        _refuse_scaled(images, f"the {what}")
        return images
    array = np.asarray(data)
    if array.dtype.kind == "O" and array.ndim == 1:
        return image_arrays(list(array), what)
    _check_type(array, f"the {what}")
    if array.ndim != 4 or array.shape[-1] != 3:
        raise InvalidInputError(
            f"The {what} has the shape {array.shape}: images must have the shape (n, height, width, 3), RGB. "
            f"{_shape_remedy(array)}"
        )
    if 0 in array.shape[1:]:
        raise InvalidInputError(
            f"The {what} has the shape {array.shape}: images must not be empty. Check how it was made."
        )
    for start in range(0, len(array), CHUNK):
        _check_values(array[start : start + CHUNK], start)
    _refuse_scaled([array], f"the {what}")
    return array  # type: ignore[return-value]  # an array is a sequence of images in all but name


def check_image(image: npt.NDArray[Any], name: str) -> None:
    """One image `(h, w, 3)`: the same rules."""
    _check_form(image, name)
    _refuse_scaled([image], name)


def _check_form(image: npt.NDArray[Any], name: str) -> None:
    _check_type(image, name)
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise InvalidInputError(
            f"{name.capitalize()} has the shape {image.shape}: an image must have the shape (height, width, 3), RGB. "
            f"{_shape_remedy(image)}"
        )
    _check_values(image[None], None, name)


def _check_type(array: npt.NDArray[Any], name: str) -> None:
    if array.dtype.kind not in "uif":
        raise InvalidInputError(
            f"{name.capitalize()} has the type {array.dtype}: pixels must be uint8 or float, RGB 0-255. Convert it "
            f"with .astype('uint8') once its values are right."
        )


def _shape_remedy(array: npt.NDArray[Any]) -> str:
    channels_first = array.ndim in (3, 4) and array.shape[array.ndim - 3] == 3
    if channels_first:
        return "Channels come last here: use np.moveaxis(x, -3, -1)."
    if array.ndim in (3, 4) and array.shape[-1] == 1:
        return "Make grey images RGB with np.repeat(x, 3, axis=-1)."
    if array.ndim in (3, 4) and array.shape[-1] == 4:
        return "Drop the alpha channel with x[..., :3]."
    if array.ndim in (2, 3):
        return "Make grey images RGB with np.stack([x] * 3, axis=-1)."
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
