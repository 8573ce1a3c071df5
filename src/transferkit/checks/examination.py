"""The data check before training: images that cannot be read are refused or left out, then the rest is divided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InvalidInputError, bad_argument, some_of
from ..features import REMEDY, Findings, all_unreadable
from ..images import Images, Indices, LabelledImages, Material
from .checks import CheckedSet, diagnose
from .report import Report

__all__ = ["Examined", "check_policy", "examine"]

# Reads images, each once, and may return what it computed of them.
Look = Callable[[Images, Findings], Any]


@dataclass(frozen=True)
class Examined:
    """The images that can be read, divided, and what was seen of all.

    Attributes:
        training: the images to train on.
        validation: the images to validate on, or None.
        report: the faults of all images.
        skipped: image -> reason, of the images that are left out.
        computed: what `look` computed of the training images, and of the validation images.
        rows: int64, where in `computed` the images of each set are.
    """

    training: LabelledImages
    validation: LabelledImages | None
    report: Report
    skipped: dict[str, str]
    computed: tuple[Any, Any]
    rows: tuple[Indices, Indices]


def check_policy(on_bad_image: object) -> bool:
    """Whether bad images are left out: "raise" or "skip".

    Raises:
        InvalidInputError: anything else.
    """
    if on_bad_image not in ("raise", "skip"):
        raise bad_argument("on_bad_image", on_bad_image, "must be 'raise' or 'skip'", "Pass on_bad_image='skip'")
    return on_bad_image == "skip"


def examine(split: Material, skip: bool, look: Look) -> Examined:
    """Look at all images once; refuse or leave out those that cannot be read, and divide the rest.

    Raises:
        ImageReadError: images cannot be read, those of both sets named together; not if they are to be skipped.
        InvalidInputError: a class has no image that can be read, or too few are left to divide.
    """
    data, apart = split.images, split.apart
    sets: list[CheckedSet] = []
    computed = []
    for what, images in (("training", data), ("validation", apart)):
        if images is not None:
            failed = any(one.findings.failures for one in sets)
            findings = Findings(len(images), goes_on=skip, failed_before=failed)
            computed.append(look(images.images, findings))
            sets.append(CheckedSet(what, images, findings))
    report = diagnose(sets)
    failures = {(at, index): error for at, one in enumerate(sets) for index, error in one.findings.failures.items()}
    if failures and not skip:
        raise all_unreadable(failures, REMEDY)
    rows = [_readable(one) for one in sets]
    if apart is None:
        (good,) = rows
        left = replace(split, images=data.subset(good))
        rows = [good[part] for part in left.positions(sets[0].findings.keys[good])]
        validation = data.subset(rows[1]) if len(rows[1]) else None
    else:
        validation = apart.subset(rows[1])
    skipped = {name: reason for one in sets for name, reason in one.findings.reasons(one.data.images).items()}
    return Examined(data.subset(rows[0]), validation, report, skipped, (computed[0], computed[-1]), (rows[0], rows[1]))


def _readable(one: CheckedSet) -> Indices:
    """Positions of the images that can be read; each class of training images must have some, as must validation."""
    data, good = one.data, one.findings.good()
    lost = data.classes[np.setdiff1d(data.codes, data.codes[good])].tolist()
    if lost and one.what == "training":
        raise InvalidInputError(
            f"None of the training images of the class {some_of(lost)} can be read: every class needs some. Repair them, or "
            f"take the class out; check_images(data) names the faults."
        )
    if not len(good) and one.what == "validation":
        raise InvalidInputError(
            f"None of the {len(data)} validation images can be read: some must be. Repair them, or pass others; "
            f"check_images(data, validation=...) names the faults."
        )
    return good
