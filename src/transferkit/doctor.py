"""Every fault of a data set, by file name, before training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ._public import public
from .arguments import check_verbose
from .cache import open_store
from .features import inspect
from .findings import Findings
from .images import LabelledImages
from .inputs import read_labelled, split_pair
from .likeness import pairs_alike, spread
from .report import Fault, Report, name_of

__all__ = ["Examinee", "check_images", "diagnose"]

FEW = 10  # images of a class below which a classifier can hardly learn it
UNBALANCED = 10  # times as many images in the largest class as in the smallest
FLAT = 4  # of 255: less difference between the areas of an image shows nothing
SIZE = (224, 224)  # what large photos are reduced to when they are looked at alone


class Examinee(NamedTuple):
    """One set of images, what it is called, and what was seen of it."""

    what: str
    data: LabelledImages
    findings: Findings

    def name(self, index: int) -> str:
        """A file's path, or an array's place."""
        return name_of(self.what, self.data.images, index)


@public
def check_images(
    data: object,
    labels: object = None,
    *,
    validation: object = None,
    test: object = None,
    cache: bool | str | PathLike[str] = True,
    verbose: str | int = "auto",
) -> Report:
    """Look for every fault of a labelled data set: each image is read, and decoded once.

    Args:
        data: as for `TransferClassifier.fit`.
        labels: one per image, where `data` brings none.
        validation: images that are to be looked at too, and compared with the others: data in any of these
            forms, arrays and paths as a pair ``(data, labels)``.
        test: the same.
        cache: as for `TransferClassifier`: where thumbnails are kept, so that an image is decoded once.
        verbose: 0 shows no progress bar.

    Returns:
        A `Report`. Nothing is changed on disk.

    Raises:
        InvalidInputError: the data as a whole cannot be used (no such folder, fewer than two classes).

    Found are: files that cannot be read, are cut off, empty, no images, too large or no regular files; a
    format that the name does not tell; photos that lie on their side, unusual colours, animations, tiny and flat
    images; the same image twice in a class, in two classes, or in training and validation or test data, and those
    that merely look the same; empty, small and unbalanced classes; files beside the class folders; files and
    folders that are left out.

    Example:
        >>> import transferkit as tk
        >>> report = tk.check_images("photos/train", test="photos/test", verbose=0)
        >>> report.ok
        True
    """
    verbose = check_verbose(verbose)
    store = open_store(cache)
    sets = [("training", read_labelled(data, labels, empty_classes=True, lenient=True))]
    for what, given in (("validation", validation), ("test", test)):
        if given is not None:
            more, more_labels = split_pair(given)
            known = sets[0][1].classes
            sets.append((what, read_labelled(more, more_labels, known, f"{what} data", lenient=True)))
    examined = []
    for what, found in sets:
        findings = Findings(len(found))
        inspect(found.images, SIZE, store, findings, verbose, f"checking {what} images")
        examined.append(Examinee(what, found, findings))
    return diagnose(examined)


def diagnose(examined: Sequence[Examinee]) -> Report:
    """The faults of sets of images, the training images first."""
    faults: list[Fault] = []
    for one in examined:
        faults += [*_unreadable(one), *_folder_faults(one.data), *_odd(one)]
    faults += [*_duplicates(examined), *_class_faults(examined[0])]
    data = examined[0].data
    listed = np.bincount(data.codes, minlength=len(data.classes)).tolist()
    counts = dict(zip(data.classes.tolist(), listed, strict=True))
    faults.sort(key=lambda fault: not fault.serious)
    # Names as they were given; what is shown is found wherever the process goes later.
    shown = [(one.what, one.data.images, one.data.images.absolute()) for one in examined]
    return Report(faults, counts, sum(len(one.data) for one in examined), shown)


def _unreadable(one: Examinee) -> Iterator[Fault]:
    for index in sorted(one.findings.failures):
        error = one.findings.failures[index]
        ((name, reason),) = error.failures.items()
        yield Fault(error.kinds[name], one.name(index), reason, True)


def _odd(one: Examinee) -> Iterator[Fault]:
    findings = one.findings
    for index in sorted(findings.oddities):
        for kind, detail in findings.oddities[index]:
            yield Fault(kind, one.name(index), detail, False)
    good = findings.good()
    for index in good[spread(findings.thumbnails[good]) < FLAT].tolist():
        yield Fault("flat", one.name(index), "one colour all over, as far as can be seen", False)


Place = tuple[Examinee, int]


def _duplicates(examined: Sequence[Examinee]) -> Iterator[Fault]:
    """The same content twice, and images that look alike, over all sets together."""
    good = [one.findings.good() for one in examined]
    sets = np.repeat(np.arange(len(examined)), [len(found) for found in good])
    indices = np.concatenate(good)
    if not len(indices):
        return

    def place(number: int) -> Place:
        return examined[sets[number]], int(indices[number])

    keys = np.concatenate([one.findings.keys[found] for one, found in zip(examined, good, strict=True)])
    _, first, inverse = np.unique(keys.view(f"V{keys.shape[1]}").ravel(), return_index=True, return_inverse=True)
    twins = first[inverse]
    for number in np.flatnonzero(twins != np.arange(len(twins))).tolist():
        yield _duplicate(place(twins[number]), place(number), same=True)
    # Tiny images have too little in them: handwritten ones all look alike.
    large = np.concatenate([_are_large(one)[found] for one, found in zip(examined, good, strict=True)])
    alone = np.sort(first)
    alone = alone[large[alone]]
    thumbnails = np.concatenate([one.findings.thumbnails[found] for one, found in zip(examined, good, strict=True)])
    for earlier, later in pairs_alike(thumbnails[alone]):
        yield _duplicate(place(alone[earlier]), place(alone[later]), same=False)


def _are_large(one: Examinee) -> npt.NDArray[np.bool_]:
    large = np.ones(len(one.data), np.bool_)
    large[[index for index, odd in one.findings.oddities.items() if any(kind == "tiny" for kind, _ in odd)]] = False
    return large


def _duplicate(first: Place, second: Place, same: bool) -> Fault:
    """The second place holds the image of the first again, or one that looks like it."""
    (one, index), (other, position) = first, second
    name = one.name(index)
    conflict, leak = bool(one.data.codes[index] != other.data.codes[position]), one is not other
    detail = f"the same image as {name}" if same else f"looks like {name}"
    if conflict:
        detail += f", which is of the class {one.data.classes[one.data.codes[index]]}"
    if leak:
        detail += f", which is in the {one.what} data"
    kind = "leak" if leak else "conflicting duplicate" if conflict else "duplicate"
    return Fault(kind if same else "near duplicate", other.name(position), detail, same and (leak or conflict), name)


def _class_faults(one: Examinee) -> Iterator[Fault]:
    names, data = one.data.classes.tolist(), one.data
    counts = np.bincount(data.codes, minlength=len(names)).tolist()
    readable = np.bincount(data.codes[one.findings.good()], minlength=len(names)).tolist()
    for name, count, good in zip(names, counts, readable, strict=True):
        if good == 0:
            yield Fault("empty class", str(name), "none of its images can be read" if count else "no images", True)
        elif good < FEW:
            yield Fault("small class", str(name), f"{good} images, {FEW} or more are advised", False)
    if max(readable) > UNBALANCED * max(1, min(readable)):
        most, least = names[readable.index(max(readable))], names[readable.index(min(readable))]
        detail = f"{max(readable)} images of {most}, {min(readable)} of {least}: think of class_weight='balanced'"
        yield Fault("unbalanced classes", str(least), detail, False)


def _folder_faults(data: LabelledImages) -> Iterator[Fault]:
    found = data.folder
    if found is None:
        return
    for path, reason in found.unreadable:
        yield Fault("unreadable folder", str(path), reason, True)
    for kind, paths, detail in (
        ("beside the class folders", found.beside_classes, "is left out"),
        ("other file", found.not_regular, "is not a regular file, and is left out"),
        ("other file", found.not_images, "is not an image, and is left out"),
        ("hidden or of the system", found.hidden, "is left out"),
    ):
        yield from (Fault(kind, str(path), detail, False) for path in paths)
