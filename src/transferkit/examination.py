"""The doctor's part in training: what cannot be read is refused or left out before the first epoch, then the rest divided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .doctor import Examinee, diagnose
from .errors import InvalidInputError, bad_argument, some_of
from .findings import REMEDY, Findings, all_unreadable
from .images import Images, LabelledImages, joined
from .report import Report
from .splits import Indices, Material

__all__ = ["Examined", "check_policy", "examine"]

# Looks at images, each once, and may return what it computed of them.
Look = Callable[[Images, Findings], Any]


@dataclass(frozen=True)
class Examined:
    """Images that can be read, divided, and what was seen of all.

    Attributes:
        training: the images to train on.
        validation: those to validate on, or None.
        report: the faults of all that was given.
        skipped: image -> reason, of those that are left out.
        computed: what the look at the training images gave, and that at the validation images.
        rows: int64, where in `computed` the images of each of the two are.
    """

    training: LabelledImages
    validation: LabelledImages | None
    report: Report
    skipped: dict[str, str] = field(default_factory=dict)
    computed: tuple[Any, Any] = (None, None)
    rows: tuple[Indices, Indices] = (np.zeros(0, np.int64), np.zeros(0, np.int64))


def check_policy(on_bad_image: object) -> bool:
    """Whether bad images are left out: "raise" or "skip".

    Raises:
        InvalidInputError: anything else.
    """
    if on_bad_image not in ("raise", "skip"):
        raise bad_argument("on_bad_image", on_bad_image, "must be 'raise' or 'skip'", "Pass on_bad_image='skip'")
    return on_bad_image == "skip"


def examine(material: Material, skip: bool, look: Look) -> Examined:
    """Look at all images once; refuse or leave out what cannot be read, and divide the rest.

    Where training and validation images are of one kind they are looked at together, so that bad files of both are
    named together.

    Raises:
        ImageReadError: images cannot be read, all of them named; not if they are to be skipped.
        InvalidInputError: a class has no image that can be read, or too few are left to divide.
    """
    data, apart = material.images, material.apart
    count = len(data)
    together = None if apart is None else joined(data.images, apart.images)
    if apart is None or together is None:
        findings, computed = _looked(data.images, skip, look)
        others, computed_apart = (Findings(0), None) if apart is None else _looked(apart.images, skip, look)
        offset = 0
    else:
        both, computed = _looked(together, skip, look)
        findings, others = both.part(0, count), both.part(count, len(together))
        computed_apart, offset = computed, count
    examined = [Examinee("training", data, findings)]
    if apart is not None:
        examined.append(Examinee("validation", apart, others))
    report = diagnose(examined)
    failures = findings.failures | {count + index: error for index, error in others.failures.items()}
    if failures and not skip:
        raise all_unreadable(failures, REMEDY)
    kept = _kept(data, findings, "training")
    rest = replace(material, images=data.subset(kept))
    training, validation = rest.positions(findings.keys[kept])
    skipped = {name: reason for one in examined for name, reason in one.findings.reasons(one.data.images).items()}
    if apart is None:
        held_out = rest.images.subset(validation) if len(validation) else None
        rows = kept[training], kept[validation]
        return Examined(rest.images.subset(training), held_out, report, skipped, (computed, computed), rows)
    good = _kept(apart, others, "validation")
    rows = kept, offset + good
    return Examined(rest.images, apart.subset(good), report, skipped, (computed, computed_apart), rows)


def _looked(images: Images, skip: bool, look: Look) -> tuple[Findings, Any]:
    findings = Findings(len(images), goes_on=skip)
    return findings, look(images, findings)


def _kept(data: LabelledImages, findings: Findings, what: str) -> npt.NDArray[np.int64]:
    """The images that can be read; each class of training images must have some, as must validation as a whole."""
    good = findings.good()
    listed, readable = (np.bincount(codes, minlength=len(data.classes)) for codes in (data.codes, data.codes[good]))
    lost = data.classes[(listed > 0) & (readable == 0)].tolist()
    if not len(good) and what == "validation":
        raise InvalidInputError(
            f"None of the {len(data)} validation images can be read: some must be. Repair them, or pass others; "
            f"check_images(data, validation=...) names the faults."
        )
    if lost and what == "training":
        raise InvalidInputError(
            f"None of the {what} images of the class {some_of(lost)} can be read: every class needs some. Repair them, or "
            f"take the class out; check_images(data) names the faults."
        )
    return good
