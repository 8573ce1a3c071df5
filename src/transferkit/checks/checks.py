"""Find every fault of a data set, by file name, before training."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from .._common.console import Console, Verbose
from .._public import public
from ..cache import open_store
from ..errors import some_of
from ..features import Inspection, inspect
from ..images import IMAGE_SUFFIXES, ClassFolder, ImageData, Images, LabelledImages, Labels, read_labelled, split_pair
from .near_duplicates import pairs_alike, spread
from .report import Fault, Report

FEW = 10  # a classifier can hardly learn a class with fewer images
LOOSE = 0.05  # a larger share of images outside of the class folders is probably not meant to be there
UNBALANCED = 10  # times as many images in the largest class as in the smallest
FLAT = 4  # of 255; an image whose areas differ by less shows nothing
SIZE = (224, 224)  # the size that photos are resized to, without a network that says otherwise


class CheckedSet(NamedTuple):
    """One set of images, its name, and the number of its first image; all images are numbered across the sets."""

    what: str
    data: LabelledImages
    start: int

    def name(self, number: int) -> str:
        return self.data.images.name(number - self.start)

    def label(self, number: int) -> Any:
        return self.data.label(number - self.start)


Owners = list[CheckedSet]  # the set of each image


@public
def check_images(
    data: ImageData,
    labels: Labels | None = None,
    *,
    validation: ImageData | tuple[ImageData, Labels] | None = None,
    test: ImageData | tuple[ImageData, Labels] | None = None,
    cache: bool | str | PathLike[str] = True,
    verbose: Verbose = "auto",
) -> Report:
    """Find the faults of a labelled data set; each image is read and decoded once.

    Args:
        data: as for `TransferClassifier.fit`.
        labels: one per image; needed unless `data` contains them.
        validation: more images to check and to compare with the others, in any of these forms; arrays and paths as a
            pair ``(data, labels)``.
        test: the same.
        cache: as for `TransferClassifier`; it keeps thumbnails, so that an image is decoded only once.
        verbose: 0 shows no progress bar.

    Returns:
        A `Report`. Nothing is changed on disk.

    Raises:
        InvalidInputError: the data as a whole cannot be used (no such folder, fewer than two classes).

    It finds files that cannot be read, or are truncated, empty, too large, not images or not regular files; names with
    the extension of another format; photos on their side, unusual colours, animations, tiny and flat images; the same
    image twice in a class, in two classes, or in training and validation or test data, and images that merely look the
    same; empty, small and unbalanced classes; files beside the class folders; files and folders that are left out.

    Example:
        >>> import transferkit as tk
        >>> report = tk.check_images("photos/train", test="photos/test", verbose=0)
        >>> report.ok
        True
    """
    console, store = Console(verbose), open_store(cache)
    sets = [("training", read_labelled(data, labels, empty_classes=True, lenient=True, kind="auto"))]
    for what, given in (("validation", validation), ("test", test)):
        if given is not None:
            more, more_labels = split_pair(given)
            first = sets[0][1]
            read = read_labelled(more, more_labels, first.classes, f"{what} data", lenient=True, kind=first.kind)
            sets.append((what, read.named(f"{what} data")))
    images = functools.reduce(operator.add, (found.images for _, found in sets))
    return diagnose(sets, inspect(images, SIZE, store, console))


def diagnose(sets: Sequence[tuple[str, LabelledImages]], inspection: Inspection) -> Report:
    """The faults of sets of images, each given by its name and its images, the training images first.

    Args:
        inspection: of the images of all sets, one set after the other.
    """
    owners: Owners = []
    for what, data in sets:
        owners += [CheckedSet(what, data, len(owners))] * len(data)
    training = sets[0][1]
    faults = [
        *_unreadable(owners, inspection),
        *(fault for _, one in sets for fault in _folder_faults(one)),
        *_odd(owners, inspection),
        *_duplicates(owners, inspection),
        *_class_faults(training, inspection),
    ]
    faults.sort(key=lambda fault: not fault.serious)
    counts = dict(zip(training.classes.tolist(), training.counts().tolist(), strict=True))
    return Report(faults, counts, len(owners), _images_of(faults, owners))


def _images_of(faults: Sequence[Fault], owners: Owners) -> dict[str, Images]:
    """The image behind each name in the faults, found even after a change of the working directory."""
    named = {name for fault in faults for name in (fault.where, fault.other)}
    return {
        name: one.data.images.subset([number - one.start]).absolute()
        for number, one in enumerate(owners)
        if (name := one.name(number)) in named
    }


def _unreadable(owners: Owners, inspection: Inspection) -> Iterator[Fault]:
    for number, error in sorted(inspection.failures.items()):
        ((name, reason),) = error.failures.items()
        yield Fault(error.kinds[name], owners[number].name(number), reason, True)


def _odd(owners: Owners, inspection: Inspection) -> Iterator[Fault]:
    for number, oddities in sorted(inspection.oddities.items()):
        yield from (Fault(kind, owners[number].name(number), detail, False) for kind, detail in oddities)
    good = inspection.readable()
    for number in good[spread(inspection.thumbnails[good]) < FLAT].tolist():
        yield Fault("flat", owners[number].name(number), "the image appears to be a single colour", False)


def _duplicates(owners: Owners, inspection: Inspection) -> Iterator[Fault]:
    """Images with the same content, and images that look alike, across all sets."""
    good = inspection.readable()
    keys = inspection.keys[good]
    _, first, inverse = np.unique(keys.view(f"V{keys.shape[1]}").ravel(), return_index=True, return_inverse=True)
    first = good[first]
    twins = first[inverse]
    for at in np.flatnonzero(twins != good).tolist():
        yield _duplicate(owners, twins[at], good[at], same=True)
    # Tiny images show too little: handwritten digits, for example, all look alike.
    tiny = [number for number, odd in inspection.oddities.items() if "tiny" in dict(odd)]
    alone = np.setdiff1d(first, tiny)
    for earlier, later in pairs_alike(inspection.thumbnails[alone]):
        yield _duplicate(owners, alone[earlier], alone[later], same=False)


def _duplicate(owners: Owners, first: int, second: int, same: bool) -> Fault:
    """The fault of a second image that is the same as the first, or looks like it."""
    one, other = owners[first], owners[second]
    name, label = one.name(first), one.label(first)
    conflict, leak = label != other.label(second), one is not other
    detail = f"the same image as {name}" if same else f"looks like {name}"
    if conflict:
        if not isinstance(label, tuple):
            detail += f", which is in class {label}"
        else:
            detail += f", which has the labels {some_of(label)}" if label else ", which has no label"
    if leak:
        detail += f", which is in the {one.what} data"
    kind = "leak" if leak else "conflicting duplicate" if conflict else "duplicate"
    return Fault(kind if same else "near duplicate", other.name(second), detail, same and (leak or conflict), name)


def _class_faults(data: LabelledImages, inspection: Inspection) -> Iterator[Fault]:
    names, found = data.classes.tolist(), inspection.readable()
    counts, readable = data.counts().tolist(), data.counts(found[found < len(data)]).tolist()
    for name, count, good in zip(names, counts, readable, strict=True):
        if good == 0:
            yield Fault("empty class", str(name), "none of its images can be read" if count else "no images", True)
        elif good < FEW:
            only = "1 image" if good == 1 else f"{good} images"
            yield Fault("small class", str(name), f"only {only}; use at least {FEW}", False)
    spelled: dict[str, object] = {}
    for name in names:
        other = spelled.setdefault(" ".join(str(name).split()).casefold(), name)
        if other != name:
            yield Fault("similar class names", repr(name), f"differs from {other!r} only in case or spaces", False)
    if max(readable) > UNBALANCED * max(1, min(readable)):
        most, least = names[readable.index(max(readable))], names[readable.index(min(readable))]
        detail = f"{max(readable)} images of {most}, {min(readable)} of {least}: consider class_weight='balanced'"
        yield Fault("unbalanced classes", str(least), detail, False)


def _folder_faults(data: LabelledImages) -> Iterator[Fault]:
    found = data.folder
    if found is None:
        return
    for path, reason in found.unreadable:
        yield Fault("unreadable folder", str(path), reason, True)
    loose = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in found.beside_classes)
    if loose > LOOSE * len(data):
        detail = f"{loose:,} images are in no class folder, and are ignored"
        yield Fault("images beside the class folders", str(found.root), detail, True)
    if shared := _shared_subfolders(found):  # not serious: each class may have a folder per camera, or per day
        detail = f"every class folder holds the folders {some_of(shared)}: are these the classes?"
        yield Fault("same folders in all classes", str(found.root), detail, False)
    for kind, paths, detail in (
        ("beside the class folders", found.beside_classes, "is ignored"),
        ("other file", found.not_regular, "is not a regular file, and is ignored"),
        ("other file", found.not_images, "is not an image, and is ignored"),
        ("hidden or of the system", found.hidden, "is ignored"),
    ):
        yield from (Fault(kind, str(path), detail, False) for path in paths)


def _shared_subfolders(found: ClassFolder) -> list[str]:
    """The folders that each class folder holds, if all hold the same two or more and no images beside them."""
    inside: dict[str, set[str]] = {}
    for file, label in zip(found.files, found.labels, strict=True):
        parts = re.split(r"[/\\]", str(file)[len(str(found.root)) :].strip("/\\"))
        inside.setdefault(label, set()).add(parts[1] if len(parts) > 2 else "")
    first, *others = [*inside.values()] or [set[str]()]
    return sorted(first) if len(first) > 1 and "" not in first and all(other == first for other in others) else []
