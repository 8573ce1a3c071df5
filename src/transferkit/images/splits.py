"""Training and validation images: given separately, or divided by a seed, the names of the images and their contents."""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._arguments import check_number
from ..errors import InvalidInputError
from .images import LabelledImages
from .labels import Codes
from .reading import read_labelled, split_pair

__all__ = ["VALIDATION", "Indices", "Material", "read_material", "stratified_split", "validation_share"]

Indices = npt.NDArray[np.int64]

VALIDATION = 0.15  # the share that is held out unless the user says otherwise


def stratified_split(codes: Codes, names: Sequence[str], fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Positions for training and for validation: disjoint, sorted, with each class in proportion.

    Images are drawn in the order of `names`, so the order of listing does not matter. Images of one name fall on one
    side, for training if several classes have the name. Every class keeps an image for training. The number of
    validation images is `fraction` of all, rounded, and at least 1.

    Raises:
        InvalidInputError: no class has two images to divide.
    """
    groups: list[dict[str, list[int]]] = [{} for _ in range(int(codes.max()) + 1)]
    for index, (code, name) in enumerate(zip(codes.tolist(), names, strict=True)):
        groups[code].setdefault(name, []).append(index)
    classes_of = Counter(name for group in groups for name in group)
    free = [[group[name] for name in sorted(group) if classes_of[name] == 1] for group in groups]
    room = np.array([max(min(len(some), len(group) - 1), 0) for some, group in zip(free, groups, strict=True)])
    if room.sum() == 0:
        raise InvalidInputError(
            f"`validation={fraction}` of {len(codes)} images leaves none for validation: a class must have two images "
            f"or more before one can be held out. Pass validation=None, or more images."
        )
    wanted = _quotas(np.array([len(group) for group in groups]) * fraction, room)
    held_out: list[int] = []
    for code, (group, quota) in enumerate(zip(free, wanted, strict=True)):
        order = np.random.default_rng([seed, code]).permutation(len(group))
        for chosen in order[:quota]:
            held_out += group[chosen]
    validation = np.sort(np.array(held_out, np.int64))
    return np.setdiff1d(np.arange(len(codes)), validation), validation


def _quotas(shares: npt.NDArray[np.float64], room: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Whole numbers near `shares` that add up to their rounded sum (largest remainders), within `room`."""
    quotas = np.minimum(np.floor(shares).astype(np.int64), room)
    total = min(max(1, int(np.floor(shares.sum() + 0.5))), int(room.sum()))
    for index in np.argsort(-(shares - np.floor(shares)), kind="stable").tolist():
        if quotas.sum() < total and quotas[index] < room[index]:
            quotas[index] += 1
    return quotas


def validation_share(validation: object) -> float | None:
    """`validation` as a share, 0 for none; None if it is data."""
    if validation is None or validation is False:
        return 0.0
    if isinstance(validation, numbers.Real):
        return check_number("validation", validation, low=0, high=1, example=VALIDATION)
    return None


@dataclass(frozen=True)
class Material:
    """Labelled images, and how they are divided.

    Attributes:
        apart: validation images that were given, or None.
        share: the part of `images` that is held out, 0 for none.
    """

    images: LabelledImages
    apart: LabelledImages | None
    share: float
    seed: int

    def positions(self, keys: npt.NDArray[np.uint8] | None = None) -> tuple[Indices, Indices]:
        """The positions in `images` for training and for validation; copies by content fall on one side.

        Args:
            keys: uint8 `(n, k)`, a digest of the content of each image; None = it is not known.

        Raises:
            InvalidInputError: too few images to divide.
        """
        if not self.share:
            return np.arange(len(self.images)), np.zeros(0, np.int64)
        names: Sequence[str] = self.images.names
        if keys is not None:  # copies get the name of the first of them
            named = [(key.tobytes(), name) for key, name in zip(keys, names, strict=True)]
            first = dict(sorted(named, reverse=True))
            names = [first[key] for key, _ in named]
        return stratified_split(self.images.codes, names, self.share, self.seed)


def read_material(data: LabelledImages, validation: object, seed: int, lenient: bool = False) -> Material:
    """The images to train and validate on; `validation` is a share of `data`, or other images.

    Raises:
        InvalidInputError: the validation data breaks a rule, or there are too few images to divide.
    """
    share, apart = validation_share(validation), None
    if share is None:
        given, labels = split_pair(validation)
        apart = read_labelled(given, labels, data.classes, "validation data", lenient=lenient).absolute()
    material = Material(data.absolute(), apart, share or 0.0, seed)
    material.positions()
    return material
