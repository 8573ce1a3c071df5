"""Training and validation images: given apart, or divided by a seed and the images' names alone."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .arguments import check_number
from .errors import InvalidInputError
from .images import LabelledImages, read_labelled, split_pair
from .labels import Codes

__all__ = ["VALIDATION", "Indices", "divide", "stratified_split", "validation_share"]

Indices = npt.NDArray[np.int64]

VALIDATION = 0.15  # the share that is held out unless the user says otherwise


def stratified_split(codes: Codes, names: Sequence[str], fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Positions for training and for validation: disjoint, sorted, with each class in proportion.

    Images are ordered by `names` before they are drawn, so the order of listing does not matter;
    images of one name (the same file listed twice) always fall on one side. Every class keeps an
    image for training. The number of validation images is `fraction` of all, rounded, and at
    least 1; what rounding leaves over goes to the classes with the largest remainders.

    Raises:
        InvalidInputError: no class has two images to divide.
    """
    groups = [_groups_of_class(codes, names, code) for code in range(int(codes.max()) + 1)]
    room = np.array([max(len(group) - 1, 0) for group in groups])
    if room.sum() == 0:
        raise InvalidInputError(
            f"`validation={fraction}` of {len(codes)} images leaves none for validation: a class must have two images "
            f"or more before one can be held out. Pass validation=None, or more images."
        )
    wanted = _quotas(np.array([len(group) for group in groups]) * fraction, room)
    held_out: list[int] = []
    for code, (group, quota) in enumerate(zip(groups, wanted, strict=True)):
        order = np.random.default_rng([seed, code]).permutation(len(group))
        for chosen in order[:quota]:
            held_out += group[chosen]
    validation = np.array(sorted(held_out), np.int64)
    return np.setdiff1d(np.arange(len(codes)), validation), validation


def _groups_of_class(codes: Codes, names: Sequence[str], code: int) -> list[list[int]]:
    """The positions of one class, those of one name together, in the order of names."""
    groups: dict[str, list[int]] = {}
    for index in np.flatnonzero(codes == code).tolist():
        groups.setdefault(names[index], []).append(index)
    return [groups[name] for name in sorted(groups)]


def _quotas(shares: npt.NDArray[np.float64], room: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Whole numbers near `shares` that add up to their rounded sum (largest remainders), within `room`."""
    quotas = np.minimum(np.floor(shares).astype(np.int64), room)
    total = min(max(1, int(np.floor(shares.sum() + 0.5))), int(room.sum()))
    for index in np.argsort(-(shares - np.floor(shares)), kind="stable").tolist():
        if quotas.sum() < total and quotas[index] < room[index]:
            quotas[index] += 1
    return quotas


def validation_share(validation: object) -> float | None:
    """The share that `validation` asks for, 0 for none; None if it is data."""
    if validation is None or validation is False:
        return 0.0
    if isinstance(validation, numbers.Real):
        return check_number("validation", validation, low=0, high=1, example=VALIDATION)
    return None


def divide(
    data: LabelledImages, validation: object, fraction: float | None, seed: int
) -> tuple[LabelledImages, LabelledImages | None]:
    """The images to train on and those to validate on; `fraction` is what `validation_share` made of `validation`."""
    if fraction is None:
        held_out_data, held_out_labels = split_pair(validation)
        held_out = read_labelled(held_out_data, held_out_labels, data.classes, "validation data")
        return data.absolute(), held_out.absolute()
    if fraction == 0:
        return data.absolute(), None
    training, validating = stratified_split(data.codes, data.names, fraction, seed)
    return data.subset(training).absolute(), data.subset(validating).absolute()
