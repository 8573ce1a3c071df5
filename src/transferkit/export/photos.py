"""The photos that an exported file is compared on, and those that quantization is calibrated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._common.arguments import LabelKind
from ..errors import ImageReadError, InvalidInputError, bad_argument, first_line
from ..features import refuse_unreadable
from ..images import Codes, ImageData, Images, Labels, Pixels, Resizing, Split, load, read_images, read_labelled

COMPARED = 500  # photos at most: two points of accuracy are ten of them
OF_FIT = 200  # if the user passes none
CALIBRATED = 100
NOISE = 32
BYTES = 2**29  # the most that the pixels of large photos may take


@dataclass(frozen=True)
class Photos:
    """Photos to compare on.

    Attributes:
        pixels: float32 `(n, h, w, 3)`, RGB 0-255.
        codes: the class of each `(n,)`, or its labels `(n, n_classes)`; None if they are not known.
        note: what the report says about them.
    """

    pixels: Pixels
    codes: Codes | None
    note: str = ""


def photos_for(
    check: ImageData | None,
    labels: Labels | None,
    classes: npt.NDArray[Any],
    kind: LabelKind,
    split: Split | None,
    resizing: Resizing,
) -> Photos:
    """The user's own photos, or some of the photos of `fit`, or noise if there are none.

    Args:
        kind: whether an image has one label or several.

    Raises:
        InvalidInputError: the data or the labels break a rule.
        ImageReadError: some of the user's photos cannot be read, all of them named.
    """
    if check is not None:
        images, codes, note = _given(check, labels, classes, kind)
        return _read(images, codes, resizing, COMPARED, note, skip=False)
    if labels is not None:
        raise bad_argument("labels", labels, "was given without check", "Pass the photos as check")
    if split is not None:
        which, data = ("validation", split.validation) if split.validation else ("training", split.training)
        photos = _read(data.images, data.codes, resizing, OF_FIT, f"The images are {which} images of fit.", skip=True)
        if len(photos.pixels):
            return photos
    noise = np.random.default_rng(0).uniform(0, 255, (NOISE, *resizing.size, 3)).astype(np.float32)
    note = "No photos are available, so the two were compared on noise, which shows little. Pass check=photos."
    return Photos(noise, None, note)


def photos_to_calibrate(
    calibrate: ImageData | None, quantize: str | None, split: Split | None, resizing: Resizing
) -> Pixels | None:
    """Photos on which int8 measures the range of activations; None for other quantizations.

    Raises:
        InvalidInputError: there are none, or they are not needed.
        ImageReadError: some of the user's photos cannot be read.
    """
    if quantize != "int8":
        if calibrate is not None:
            rule = f"was given, but quantize={quantize!r} needs no photos"
            raise bad_argument("calibrate", calibrate, rule, "Leave it out, or pass quantize='int8'")
        return None
    images = split.training.images if calibrate is None and split is not None else None
    if calibrate is not None:
        images = read_images(calibrate)
    pixels = None if images is None else _read(images, None, resizing, CALIBRATED, "", calibrate is None, -1).pixels
    if pixels is None or not len(pixels):
        raise InvalidInputError(
            "`quantize='int8'` needs photos to measure the range of activations on, and a classifier that was loaded "
            "does not contain any. Pass calibrate=photos, about 100 of the kind that it will see."
        )
    return pixels


def _given(
    data: ImageData, labels: Labels | None, classes: npt.NDArray[Any], kind: LabelKind
) -> tuple[Images, Codes | None, str]:
    """Images, with labels if there are any."""
    try:
        found = read_labelled(data, labels, classes, "check data", kind=kind)
    except InvalidInputError as error:
        if labels is not None:
            raise
        images = read_images(data)
        if not len(images):
            raise bad_argument("check", data, "holds no images", "Pass some photos, or leave it out") from None
        return images, None, f"Accuracy was not measured. {first_line(error)}."
    return found.images, found.codes, ""


def _read(
    images: Images, codes: Codes | None, resizing: Resizing, most: int, note: str, skip: bool, step: int = 1
) -> Photos:
    """Up to `most` photos, drawn at random; from the other end of the same order with a `step` of -1."""
    most = max(1, min(most, BYTES // (12 * resizing.size[0] * resizing.size[1])))
    chosen = np.random.default_rng(0).permutation(len(images))[::step][:most]
    failures: dict[int, ImageReadError] = {}

    def read(index: int) -> Pixels | None:
        try:
            return load(images, index, resizing)
        except ImageReadError as error:
            failures[index] = error
            return None

    pixels = {index: image for index in chosen.tolist() if (image := read(index)) is not None}
    if not skip:
        refuse_unreadable(failures, "")
    stacked = np.stack(list(pixels.values())) if pixels else np.empty((0, *resizing.size, 3), np.float32)
    return Photos(stacked, None if codes is None else codes[list(pixels)], note)
