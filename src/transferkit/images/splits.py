"""Training and validation images, given separately or split by a seed and the contents of the images."""

from __future__ import annotations

import hashlib
import numbers
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._common.arguments import check_number
from ..errors import InvalidInputError, some_of
from .images import Images, LabelledImages
from .labels import Codes
from .reading import read_labelled, split_pair
from .stratification import divided, held_out_labels

Indices = npt.NDArray[np.int64]

Known = npt.NDArray[np.uint64]  # eight bytes of the digest of each image

VALIDATION = 0.15  # the share that is held out unless the user says otherwise


def stratified_split(
    codes: Codes, copies: Indices, fraction: float, seed: int, eligible: npt.NDArray[np.bool_] | None = None
) -> tuple[Indices, Indices]:
    """Split positions into training and validation: disjoint, sorted, and stratified by class.

    Copies of an image stay together, in training if they are in several classes or not all are `eligible` for
    validation. Every class keeps an image for training. Counting copies once, validation gets `fraction` of all images,
    rounded, at least 1, and fewer only if too few can be held out.

    Args:
        copies: `(n,)`, 0 or higher, equal for copies of an image. Images are drawn in the order of these numbers.

    Raises:
        InvalidInputError: no class has two images to split.
    """
    span, n_classes = int(copies.max()) + 1, int(codes.max()) + 1
    groups, group_of = np.unique(codes * span + copies, return_inverse=True)  # the copies of an image in a class
    code_of, copy_of = np.divmod(groups, span)
    classes_of = np.bincount(copy_of)
    free = classes_of[copy_of] == 1
    if eligible is not None:
        free[group_of[~eligible]] = False
    sizes, free_sizes = (np.bincount(some, minlength=n_classes) for some in (code_of, code_of[free]))
    room = np.clip(np.minimum(free_sizes, sizes - 1), 0, None)
    if room.sum() == 0:
        raise _too_few(fraction, len(codes), classes_of[classes_of > 0])
    ties = np.random.default_rng([seed, n_classes]).permutation(n_classes)
    chosen = np.zeros(len(groups), bool)
    of_class = np.split(np.flatnonzero(free), np.cumsum(free_sizes)[:-1])  # groups are sorted by class
    quotas = _quotas((sizes * fraction).astype(np.float64), room, ties)
    for code, (own, quota) in enumerate(zip(of_class, quotas, strict=True)):
        chosen[own[np.random.default_rng([seed, code]).permutation(len(own))[:quota]]] = True
    return np.flatnonzero(~chosen[group_of]), np.flatnonzero(chosen[group_of])


def _held_out(
    codes: Codes, copies: Indices, fraction: float, seed: int, eligible: npt.NDArray[np.bool_]
) -> tuple[Indices, Indices]:
    """Do a `stratified_split`; with several labels per image, one that holds out about `fraction`."""
    if codes.ndim == 1:
        return stratified_split(codes, copies, fraction, seed, eligible)
    chosen = held_out_labels(codes, copies, fraction, seed)
    validation = chosen[~np.isin(copies[chosen], copies[~eligible])]
    if not len(validation):
        raise _too_few(fraction, len(codes))
    return np.setdiff1d(np.arange(len(codes)), validation), validation


def _quotas(
    shares: npt.NDArray[np.float64], room: npt.NDArray[np.int64], ties: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Round `shares` to whole numbers that add up to their rounded sum (largest remainders), within `room`.

    Among equal remainders, the lowest rank in `ties` comes first.
    """
    quotas = np.minimum(np.floor(shares).astype(np.int64), room)
    total = min(max(1, int(np.floor(shares.sum() + 0.5))), int(room.sum()))
    remainders = np.round(shares - np.floor(shares), 9)  # equal shares of different counts differ by rounding errors
    for index in np.lexsort((ties, -remainders)).tolist():
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


class Split(NamedTuple):
    """Images to train on and to validate on.

    Attributes:
        validation: None if there is none.
        rows: int64, the positions of each set's images among all images read.
        keys: identify the contents of each set's images.
    """

    training: LabelledImages
    validation: LabelledImages | None
    rows: tuple[Indices, Indices]
    keys: tuple[Known, Known]

    @property
    def all_images(self) -> Images:
        """The training images, then the validation images."""
        return TrainingData(self.training, self.validation, 0.0).all_images

    def class_counts(self) -> dict[Any, int]:
        """Class name -> number of training images."""
        return dict(zip(self.training.classes.tolist(), self.training.counts().tolist(), strict=True))

    def fingerprint(self) -> str:
        """A SHA-256 of the contents of the training images, whatever their order."""
        return hashlib.sha256(np.sort(self.keys[0]).astype("<u8").tobytes()).hexdigest()

    def undivided(self) -> Split:
        """The same with the validation images moved to the training images."""
        if self.validation is None:
            return self
        codes = np.concatenate([self.training.codes, self.validation.codes])
        together = LabelledImages(self.all_images, codes, self.training.classes)
        none = np.zeros(0, np.int64)
        return Split(together, None, (np.concatenate(self.rows), none), (np.concatenate(self.keys), self.keys[1][:0]))

    def without_validation(self) -> Split:
        return Split(self.training, None, (self.rows[0], self.rows[1][:0]), (self.keys[0], self.keys[1][:0]))

    def unseen(self, known: Known) -> Split:
        """The same without the validation images in `known`, which the classifier has been trained on since.

        Raises:
            InvalidInputError: it was trained on all of them.
        """
        if self.validation is None:
            return self
        new = np.flatnonzero(~np.isin(self.keys[1], known))
        if not len(new):
            raise _all_known()
        rows, keys = (self.rows[0], self.rows[1][new]), (self.keys[0], self.keys[1][new])
        return self._replace(validation=self.validation.subset(new), rows=rows, keys=keys)

    def folds(self, count: int, seed: int) -> Indices:
        """The fold, 0 to `count` - 1, in which each training image is held out; -1 = in none.

        Folds are stratified by class. Copies of an image are in one fold, or in none if they are in several classes.
        Every class keeps images outside each fold.
        """
        codes = self.training.codes
        # Copies are numbered in the order of the images, which is that of what they show: a hash depends on the form too.
        _, first, of_image = np.unique(self.keys[0], return_index=True, return_inverse=True)
        copies = np.unique(first[of_image], return_inverse=True)[1].ravel()
        if self.training.kind == "multiple":
            return divided(codes, copies, [1 / count] * count, seed)
        fold_of = np.full(len(codes), -1)
        pairs = np.unique(np.stack([copies, codes]), axis=1)  # each image once per class
        unclear = np.bincount(pairs[0]) > 1
        start = 0
        for code in np.unique(codes).tolist():
            own = pairs[0, pairs[1] == code]
            free = own[~unclear[own]]
            if len(own) > 1:
                order = np.random.default_rng([seed, code]).permutation(free)
                fold_of[order] = (start + np.arange(len(order))) % count
                start += len(order)
        return fold_of[copies]

    def refuse_changed(self, readable: Indices, keys: npt.NDArray[np.uint8]) -> None:
        """Arguments as for `again`; keys of the training images alone will do.

        Raises:
            InvalidInputError: images have changed since they were split.
        """
        changed = readable[trained_on(keys)[readable] != np.concatenate(self.keys)[readable]]
        if len(changed):
            raise InvalidInputError(
                f"Images changed since fit ({some_of(map(self.all_images.name, changed.tolist()))}), but are needed as they "
                f"were. Put them back, or call fit again; fine_tune also takes other data."
            )

    def again(self, readable: Indices, keys: npt.NDArray[np.uint8], all_classes: bool = True) -> Split:
        """The same without images that can no longer be read.

        Args:
            readable, keys: as for `TrainingData.split`, for `all_images` as they are now.
            all_classes: whether every class needs an image that can be read, or only one of them.

        Raises:
            InvalidInputError: images have changed, or no image of a class can be read.
        """
        self.refuse_changed(readable, keys)
        count = len(self.training)
        rows, others = readable[readable < count], readable[readable >= count] - count
        if all_classes or not len(rows):
            TrainingData(self.training, self.validation, 0.0).refuse_lost(rows, others)
        training, validation = self.training.subset(rows), self.validation and self.validation.subset(others)
        positions = self.rows[0][rows], self.rows[1][others]
        return Split(training, validation, positions, (self.keys[0][rows], self.keys[1][others]))


@dataclass(frozen=True)
class TrainingData:
    """Labelled images, before they are split.

    Attributes:
        validation: the user's own validation images, or None.
        share: the share of `images` to hold out, 0 for none.
    """

    images: LabelledImages
    validation: LabelledImages | None
    share: float

    @property
    def sets(self) -> list[tuple[str, LabelledImages]]:
        """The name and the images of each set."""
        sets = [("training", self.images)]
        return sets if self.validation is None else [*sets, ("validation", self.validation)]

    @property
    def all_images(self) -> Images:
        """The training images, then the user's own validation images."""
        return self.images.images if self.validation is None else self.images.images + self.validation.images

    def split(
        self,
        readable: Indices,
        keys: npt.NDArray[np.uint8],
        thumbnails: npt.NDArray[np.uint8],
        seed: int,
        known: Known | None = None,
    ) -> Split:
        """Split the images that can be read, by content: their names, order and form do not matter.

        Copies stay together. Images that the classifier was already trained on, or is about to be, never validate.

        Args:
            readable: positions in `all_images`.
            keys: uint8 `(n, k)`, a digest of the content of each of `all_images`.
            thumbnails: uint8 `(n, m)`; the same for a file and for an array of its pixels.
            known: the result of `trained_on` for the training images of earlier phases.

        Raises:
            InvalidInputError: a class has no image that can be read, or no image is left to validate on.
        """
        count = len(self.images)
        order = _by_content(thumbnails, keys)
        readable = order[np.isin(order, readable)]
        rows, others = readable[readable < count], readable[readable >= count]
        self.refuse_lost(rows, others)
        is_new = np.ones(len(keys), bool) if known is None else ~np.isin(trained_on(keys), known)
        if self.share:
            if not is_new[rows].any():
                raise _all_known()
            _, first, of_image = np.unique(trained_on(keys[rows]), return_index=True, return_inverse=True)
            training, held_out = _held_out(self.images.codes[rows], first[of_image], self.share, seed, is_new[rows])
            rows, others = rows[training], rows[held_out]
        elif len(others):
            others = others[is_new[others] & ~np.isin(trained_on(keys[others]), trained_on(keys[rows]))]
            if not len(others):
                raise _all_known()
        held = self.images.subset(others) if self.share else self.validation and self.validation.subset(others - count)
        return Split(self.images.subset(rows), held, (rows, others), (trained_on(keys[rows]), trained_on(keys[others])))

    def refuse_lost(self, rows: Indices, others: Indices) -> None:
        """Require a readable training image in each class, and one validation image in all."""
        images = self.images
        if lost := images.classes[(images.counts() > 0) & (images.counts(rows) == 0)].tolist():
            raise InvalidInputError(
                f"None of the training images of the class {some_of(lost)} can be read: every class needs at least "
                f"one. Repair them, or remove the class; check_images(data) names the faults."
            )
        if self.validation is not None and not len(others):
            raise InvalidInputError(
                f"None of the {len(self.validation)} validation images can be read: at least one is required. "
                f"Repair them, or pass others; check_images(data, validation=...) names the faults."
            )


def read_training_data(data: LabelledImages, validation: object, lenient: bool = False) -> TrainingData:
    """The images to train and validate on; `validation` is a share of `data`, or other images.

    Raises:
        InvalidInputError: the validation data breaks a rule, or no class has two images, so that one can be held out.
    """
    share, given = validation_share(validation), None
    if share is None:
        images, labels = split_pair(validation)
        given = read_labelled(images, labels, data.classes, "validation data", lenient=lenient, kind=data.kind)
        given = given.absolute().named("validation data")
    if share and data.counts().max() < 2:
        raise _too_few(share, len(data))
    return TrainingData(data.absolute(), given, share or 0.0)


def _by_content(thumbnails: npt.NDArray[np.uint8], keys: npt.NDArray[np.uint8]) -> Indices:
    """Positions of images, sorted by content."""
    shown = np.concatenate([thumbnails, keys], axis=1)
    return np.argsort(shown.view(f"V{shown.shape[1]}").ravel(), kind="stable")


def _all_known() -> InvalidInputError:
    """The error for a classifier that was trained on every image that could validate it."""
    return InvalidInputError(
        "The classifier is trained on all of the images that could validate it: validation images must be new to it. "
        "Pass validation=0, or other images as validation."
    )


def _too_few(share: float, count: int, classes_of: Indices | None = None) -> InvalidInputError:
    """The error for too few images to hold one out; `classes_of` is the number of classes of each distinct image."""
    lacking, others = "at least one class needs two or more images", "more images"
    if classes_of is not None and len(classes_of) < count:
        shared = int((classes_of > 1).sum())
        conflicts = f", {shared} are in several classes (check_images names them)" if shared else ""
        lacking = (
            f"{count - len(classes_of)} of them are copies of others{conflicts}, and copies stay together. At least one "
            f"class needs two different images that no other class has"
        )
        others = "other images"
    return InvalidInputError(
        f"A share of {share:g} of {count} images leaves none for validation: {lacking}. Pass validation=None, or {others}."
    )


def trained_on(keys: npt.NDArray[np.uint8]) -> Known:
    """The part of digests uint8 `(n, k)`, `k` at least 8, that is stored to recognize the images: uint64 `(n,)`."""
    return np.ascontiguousarray(keys[:, :8]).view("<u8").ravel()
