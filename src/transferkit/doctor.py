"""Every fault of a data set, by file name, before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._public import public
from .arguments import check_verbose
from .decoding import decode, in_background, read_bytes
from .errors import ImageReadError, MissingExtraError
from .frozen import THREADS
from .images import ImageFiles, LabelledImages, read_labelled
from .progress import Bar
from .store import content_key

if TYPE_CHECKING:
    import pandas

__all__ = ["Fault", "Report", "check_images"]

FEW = 10  # images of a class below which a classifier can hardly learn it
UNBALANCED = 10  # times as many images in the largest class as in the smallest
TINY = 32  # pixels of the shorter side


@public
class Fault(NamedTuple):
    """One thing that is wrong, or that may be.

    Attributes:
        kind: for example ``"unreadable"`` or ``"duplicate"``.
        where: the file, the folder or the class.
        detail: what is wrong with it.
        serious: training would fail, or learn something wrong.
    """

    kind: str
    where: str
    detail: str
    serious: bool


@public
@dataclass
class Report:
    """The faults of a data set; prints as a short table.

    Attributes:
        faults: all of them, the serious ones first.
        counts: class name -> number of images.
        n_images: how many images were looked at.
    """

    faults: list[Fault] = field(default_factory=list)
    counts: dict[Any, int] = field(default_factory=dict)
    n_images: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing serious was found."""
        return not any(fault.serious for fault in self.faults)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per fault (extra ``pandas``)."""
        try:
            import pandas
        except ImportError:
            raise MissingExtraError("A DataFrame", "pandas") from None
        return pandas.DataFrame(self.faults, columns=list(Fault._fields))

    def __str__(self) -> str:
        head = f"{self.n_images} images of {len(self.counts)} classes"
        if not self.faults:
            return f"{head}: no faults found"
        lines = [f"{head}: {sum(f.serious for f in self.faults)} serious faults, {len(self.faults)} in all"]
        for kind, count in Counter(fault.kind for fault in self.faults).items():
            lines.append(f"  {kind} ({count})")
            of_kind = [fault for fault in self.faults if fault.kind == kind]
            lines += [f"    {fault.where}: {fault.detail}" for fault in of_kind[:10]]
            if count > 10:
                lines.append(f"    ... and {count - 10} more in .faults")
        return "\n".join(lines)


@public
def check_images(data: object, labels: object = None, *, verbose: str | int = "auto") -> Report:
    """Look for every fault of a labelled data set: each image is read and decoded once.

    Args:
        data: as for `TransferClassifier.fit`.
        labels: one per image, where `data` brings none.
        verbose: 0 shows no progress bar.

    Returns:
        A `Report`. Nothing is changed on disk.

    Raises:
        InvalidInputError: the data as a whole cannot be used (no such folder, fewer than two classes).

    Found are: images that cannot be read, very small images, the same image twice in a class or in two
    classes, empty, small and unbalanced classes, files beside the class folders, and files that are left
    out because they are hidden, no images, or not regular files.

    Example:
        >>> import transferkit as tk
        >>> report = tk.check_images("photos/train", verbose=0)
        >>> report.ok
        True
    """
    verbose = check_verbose(verbose)
    return _examine(read_labelled(data, labels, empty_classes=True), verbose)


def _examine(data: LabelledImages, verbose: str | int) -> Report:
    names = data.classes.tolist()
    counts = np.bincount(data.codes, minlength=len(names)).tolist()
    faults = [*_image_faults(data, verbose), *_class_faults(names, counts), *_folder_faults(data)]
    return Report(sorted(faults, key=lambda fault: not fault.serious), dict(zip(names, counts, strict=True)), len(data))


def _image_faults(data: LabelledImages, verbose: str | int) -> Iterable[Fault]:
    """What shows in the images: one pass, on threads."""
    first: dict[bytes, int] = {}
    with Bar("checking images", len(data), "images", verbose) as bar:
        looks = in_background(_looker(data), range(len(data)), THREADS, 64)
        for index, future in enumerate(looks):
            bar.advance()
            name = _name(data, index)
            try:
                key, (height, width) = future.result()
            except (ImageReadError, MissingExtraError) as error:
                reason = next(iter(error.failures.values())) if isinstance(error, ImageReadError) else str(error)
                yield Fault("unreadable", name, reason, True)
                continue
            if min(height, width) < TINY:
                yield Fault("tiny", name, f"{width} x {height} pixels", False)
            twin = first.setdefault(key, index)
            if twin != index:
                conflict = bool(data.codes[twin] != data.codes[index])
                kind = "conflicting duplicate" if conflict else "duplicate"
                yield Fault(kind, name, f"the same image as {_name(data, twin)}", conflict)


def _looker(data: LabelledImages) -> Callable[[int], tuple[bytes, tuple[int, int]]]:
    images = data.images

    def look(index: int) -> tuple[bytes, tuple[int, int]]:
        if not isinstance(images, ImageFiles):
            array = images.array(index)
            return content_key(array), (array.shape[0], array.shape[1])
        content = read_bytes(images, index)
        height, width = decode(content, images.name(index)).shape[:2]
        return content_key(content), (height, width)

    return look


def _class_faults(names: list[Any], counts: list[int]) -> Iterable[Fault]:
    for name, count in zip(names, counts, strict=True):
        if count == 0:
            yield Fault("empty class", str(name), "no images", True)
        elif count < FEW:
            yield Fault("small class", str(name), f"{count} images, {FEW} or more are advised", False)
    if max(counts) > UNBALANCED * max(1, min(counts)):
        most, least = names[counts.index(max(counts))], names[counts.index(min(counts))]
        detail = f"{max(counts)} images of {most}, {min(counts)} of {least}: think of class_weight='balanced'"
        yield Fault("unbalanced classes", str(least), detail, False)


def _folder_faults(data: LabelledImages) -> Iterable[Fault]:
    if data.folder is None:
        return
    left_out = data.folder.left_out
    for path in data.folder.beside_classes:
        yield Fault("beside the class folders", str(path), "is left out", False)
    for path in left_out.not_regular:
        yield Fault("not a regular file", str(path), "is left out", False)
    for path in left_out.not_images:
        yield Fault("not an image", str(path), "is left out", False)
    for path in left_out.hidden:
        yield Fault("hidden or of the system", str(path), "is left out", False)


def _name(data: LabelledImages, index: int) -> str:
    return data.images.path(index) or data.images.name(index)
