"""Find every fault of a data set, by file name, before training."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np

from .._console import Console, Verbose
from .._public import public
from ..cache import open_store
from ..errors import some_of
from ..features import Inspection, inspect
from ..images import ImageData, Images, LabelledImages, Labels, read_labelled, split_pair
from .near_duplicates import pairs_alike, spread
from .report import Fault, Report

FEW = 10  # a classifier can hardly learn a class with fewer images
UNBALANCED = 10  # times as many images in the largest class as in the smallest
FLAT = 4  # of 255; an image whose areas differ by less shows nothing
SIZE = (224, 224)  # the size that photos are resized to, without a network that says otherwise


class CheckedSet(NamedTuple):
    """One set of images, its name, and its inspection."""

    what: str
    data: LabelledImages
    inspection: Inspection

    def name(self, index: int) -> str:
        """How a fault names an image: a file's path, or an array's position and set."""
        images, place = self.data.images, "" if self.what == "training" else f" of the {self.what} data"
        return images.name(index) + ("" if images.path(index) else place)


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
            sets.append((what, read))
    images = functools.reduce(operator.add, (found.images for _, found in sets))
    return diagnose(sets, inspect(images, SIZE, store, console))


def diagnose(sets: Sequence[tuple[str, LabelledImages]], inspection: Inspection) -> Report:
    """The faults of sets of images, each given by its name and its images, the training images first.

    Args:
        inspection: of the images of all sets, one set after the other.
    """
    ends = np.cumsum([len(data) for _, data in sets]).tolist()
    checked = [
        CheckedSet(what, data, inspection.part(end - len(data), end))
        for (what, data), end in zip(sets, ends, strict=True)
    ]
    faults: list[Fault] = []
    for one in checked:
        faults += [*_unreadable(one), *_folder_faults(one.data), *_odd(one)]
    faults += [*_duplicates(checked), *_class_faults(checked[0])]
    faults.sort(key=lambda fault: not fault.serious)
    data = checked[0].data
    counts = dict(zip(data.classes.tolist(), data.counts().tolist(), strict=True))
    return Report(faults, counts, ends[-1], _images_of(faults, checked))


def _images_of(faults: Sequence[Fault], sets: Sequence[CheckedSet]) -> dict[str, Images]:
    """The image behind each name in the faults, found even after a change of the working directory."""
    named = {name for fault in faults for name in (fault.where, fault.other)}
    return {
        name: one.data.images.subset([index]).absolute()
        for one in sets
        for index in range(len(one.data))
        if (name := one.name(index)) in named
    }


def _unreadable(one: CheckedSet) -> Iterator[Fault]:
    for index, error in sorted(one.inspection.failures.items()):
        ((name, reason),) = error.failures.items()
        yield Fault(error.kinds[name], one.name(index), reason, True)


def _odd(one: CheckedSet) -> Iterator[Fault]:
    for index, oddities in sorted(one.inspection.oddities.items()):
        yield from (Fault(kind, one.name(index), detail, False) for kind, detail in oddities)
    good = one.inspection.readable()
    for index in good[spread(one.inspection.thumbnails[good]) < FLAT].tolist():
        yield Fault("flat", one.name(index), "the image appears to be a single colour", False)


Place = tuple[CheckedSet, int]


def _duplicates(sets: Sequence[CheckedSet]) -> Iterator[Fault]:
    """Images with the same content, and images that look alike, across all sets."""
    starts = np.cumsum([0, *(len(one.data) for one in sets)])
    numbered = list(zip(sets, starts.tolist(), strict=False))

    def place(number: int) -> Place:
        at = int(starts.searchsorted(number, side="right")) - 1
        return sets[at], int(number - starts[at])

    good = np.concatenate([one.inspection.readable() + start for one, start in numbered])
    keys = np.concatenate([one.inspection.keys for one in sets])[good]
    _, first, inverse = np.unique(keys.view(f"V{keys.shape[1]}").ravel(), return_index=True, return_inverse=True)
    first = good[first]
    twins = first[inverse]
    for at in np.flatnonzero(twins != good).tolist():
        yield _duplicate(place(twins[at]), place(good[at]), same=True)
    # Tiny images show too little: handwritten digits, for example, all look alike.
    tiny = [
        start + index
        for one, start in numbered
        for index, odd in one.inspection.oddities.items()
        if "tiny" in dict(odd)
    ]
    alone = np.setdiff1d(first, tiny)
    thumbnails = np.concatenate([one.inspection.thumbnails for one in sets])[alone]
    for earlier, later in pairs_alike(thumbnails):
        yield _duplicate(place(alone[earlier]), place(alone[later]), same=False)


def _duplicate(first: Place, second: Place, same: bool) -> Fault:
    """The fault of a second image that is the same as the first, or looks like it."""
    (one, index), (other, position) = first, second
    name = one.name(index)
    label = one.data.label(index)
    conflict, leak = label != other.data.label(position), one is not other
    detail = f"the same image as {name}" if same else f"looks like {name}"
    if conflict:
        several = f", which has the labels {some_of(label)}" if label else ", which has no label"
        detail += several if isinstance(label, tuple) else f", which is in class {label}"
    if leak:
        detail += f", which is in the {one.what} data"
    kind = "leak" if leak else "conflicting duplicate" if conflict else "duplicate"
    return Fault(kind if same else "near duplicate", other.name(position), detail, same and (leak or conflict), name)


def _class_faults(one: CheckedSet) -> Iterator[Fault]:
    names, data = one.data.classes.tolist(), one.data
    counts, readable = data.counts().tolist(), data.counts(one.inspection.readable()).tolist()
    for name, count, good in zip(names, counts, readable, strict=True):
        if good == 0:
            yield Fault("empty class", str(name), "none of its images can be read" if count else "no images", True)
        elif good < FEW:
            yield Fault("small class", str(name), f"only {good} images; use at least {FEW}", False)
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
    for kind, paths, detail in (
        ("beside the class folders", found.beside_classes, "is ignored"),
        ("other file", found.not_regular, "is not a regular file, and is ignored"),
        ("other file", found.not_images, "is not an image, and is ignored"),
        ("hidden or of the system", found.hidden, "is ignored"),
    ):
        yield from (Fault(kind, str(path), detail, False) for path in paths)
