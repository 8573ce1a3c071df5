"""`compare`: the accuracy and the cost of a head on each of several backbones, on the same images."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ._common.arguments import (
    LabelKind,
    OnBadImage,
    check_number,
    check_on_bad_image,
    check_resize,
    check_seed,
    check_size,
)
from ._common.console import Console, Verbose, duration
from ._public import public
from .backbones import Backbone, build_with_weights, check_weights, find_weights, get_backbone
from .cache import KEY, Keys, Store, open_store
from .classifier import TransferClassifier
from .errors import ImageReadError, InvalidInputError, TransferKitError, bad_argument, first_line, import_extra
from .features import Plan, Storage, count_new, extract, inspect, milliseconds_per_image
from .images import ImageData, LabelledImages, Labels, Size, Split, TrainingData, read_labelled
from .network import FeatureExtractor, assemble, check_precision, refuse_fork
from .results import BackboneScores, Printed, Table, backbone_parts, judged, tradeoff
from .training import Scores, cross_validated

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


DEFAULTS = (
    "TransferKitTiny",
    "MobileNetV2",
    "EfficientNetV2B0",
    "DenseNet121",
    "ResNet50",
)  # small to large, five designs
MOST_IMAGES = 10_000  # enough to tell accuracies apart that differ by half a point
LOOK_SIZE = (96, 96)  # pixels: the size at which images are first read
UNITS = {"s": 1, "min": 60, "h": 3600}  # in seconds

Candidate: TypeAlias = str | Backbone | TransferClassifier


@public
@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Printed):
    """The accuracy and the cost of a head on each backbone; prints as a table.

    Attributes:
        rows: a `BackboneScores` for each backbone, the most accurate first or, with several labels per image, the one
            with the lowest loss first; backbones that were not measured come last.
        images: how many images were used.
        classes: class names `(n_classes,)`.
        skipped: image -> reason, for images that could not be read and were left out (``on_bad_image="skip"``).
    """

    rows: list[BackboneScores]
    images: int
    classes: npt.NDArray[np.generic]
    skipped: dict[str, str]
    _classifiers: list[TransferClassifier]  # of the rows
    _data: tuple[ImageData, Labels | None, OnBadImage]
    _by_loss: bool

    def best(self, within: Literal["1se"] | None = None, *, verbose: Verbose = "auto") -> TransferClassifier:
        """A classifier with the first backbone of `rows`, fitted on all the data; its features come from the store.

        Args:
            within: ``"1se"`` = the cheapest backbone that is behind it by at most one standard error of the difference.
            verbose: as for `TransferClassifier.fit`.

        Raises:
            InvalidInputError: no backbone was measured, or `within` has another value.
        """
        if within not in (None, "1se"):
            raise bad_argument("within", within, "must be None or '1se'", "Leave it out for the best backbone")
        measured = self._measured()
        close = [number for number, row in enumerate(measured) if row.behind <= row.behind_error]
        number = min(close, key=lambda number: measured[number].milliseconds) if within else 0
        data, labels, on_bad_image = self._data
        clf = TransferClassifier(**self._classifiers[number].get_params())  # type: ignore[arg-type]
        return clf.fit(data, labels, on_bad_image=on_bad_image, verbose=verbose)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per backbone, with the attributes of `BackboneScores` as columns (extra ``pandas``)."""
        return import_extra("pandas", "A DataFrame", "pandas").DataFrame([asdict(row) for row in self.rows])

    def plot(self) -> Figure:
        """A figure of accuracy or loss against milliseconds per image; it is returned, not shown (extra ``plot``)."""
        name = "loss" if self._by_loss else "accuracy"
        columns = [
            (_label(row), row.milliseconds, getattr(row, name), getattr(row, f"{name}_error"), row.unbeaten)
            for row in self._measured()
        ]
        return tradeoff(*zip(*columns, strict=True), title=f"cross-validated {name}")

    def _measured(self) -> list[BackboneScores]:
        if not (measured := [row for row in self.rows if not row.reason]):
            raise InvalidInputError(
                "No backbone was measured, so none is the best. Print the comparison to see why, and pass other "
                "backbones or a larger budget."
            )
        return measured

    def _parts(self) -> tuple[str, Table, str]:
        title = f"{self.images:,} images of {len(self.classes)} classes, cross-validated; +- is a standard error"
        return title, *backbone_parts(self.rows)

    def __repr__(self) -> str:
        return f"<Comparison: {len(self.rows)} backbones on {self.images} images>"


@public
def compare(
    data: ImageData,
    labels: Labels | None = None,
    backbones: Candidate | Sequence[Candidate] | Mapping[str, Candidate] | None = None,
    sizes: int | Size | Sequence[int | Size] | None = None,
    budget: float | str | None = "5min",
    *,
    cache: bool | str | PathLike[str] = True,
    seed: int = 0,
    on_bad_image: OnBadImage = "raise",
    verbose: Verbose = "auto",
) -> Comparison:
    """Measure the accuracy and the cost of a head on each of several backbones, on the same images.

    For each backbone, the features of the images are computed once, or not at all if an earlier call stored them. A
    head is solved for on them, as in `TransferClassifier.fit`, with 5-fold cross-validation. This is repeated for three
    divisions into folds, the same for all backbones. With several labels per image, the backbones are compared by loss.
    Small backbones are measured first. A backbone that cannot be measured is listed with the reason, for example that
    its weights could not be downloaded. At most 10,000 images are used, drawn at random.

    Args:
        data, labels: as for `TransferClassifier.fit`.
        backbones: names or records; or classifiers, fitted or not, whose backbone, weights, input size, `resize`,
            precision and `labels` are used. A dict gives them names of your own. None = TransferKitTiny, MobileNetV2,
            EfficientNetV2B0, DenseNet121 and ResNet50.
        sizes: a list of input sizes in pixels, ints or (height, width): each backbone is measured at each size. None =
            the default of each backbone. Classifiers keep their own.
        budget: about how long it may take: seconds, text such as ``"30s"``, ``"5min"`` or ``"1h"``, or None = no limit.
            A backbone that would take longer than what is left when its turn comes is listed as not measured.
        cache: as for `TransferClassifier`.
        seed: for the folds, and for drawing images.
        on_bad_image, verbose: as for `TransferClassifier.fit`.

    Returns:
        A `Comparison`; ``.best()`` is a fitted classifier.

    Raises:
        InvalidInputError: an argument, the data or the labels break a rule, or there is no image to hold out.
        UnknownBackboneError: no such backbone.
        ImageReadError: some images cannot be read, all of them named.

    Example:
        >>> import transferkit as tk
        >>> comparison = tk.compare("photos/train", backbones=["TransferKitTiny"], verbose=0)
        >>> [row.name for row in comparison.rows]
        ['TransferKitTiny']
    """
    started = time.monotonic()
    refuse_fork()
    limit, skip, console = _seconds(budget), check_on_bad_image(on_bad_image), Console(verbose)
    store, seed = open_store(cache), check_seed(seed) or 0
    candidates = list(_told_apart(list(_candidates(backbones, sizes, {"cache": cache, "seed": seed}, console))))
    kind = _kind_of([clf for _, clf in candidates])
    images = _drawn(read_labelled(data, labels, lenient=skip, kind=kind).absolute(), seed)
    for _, clf in candidates:
        clf.set_params(labels=images.kind)  # `best` must read the labels as they were read here
    inspection = inspect(images.images, LOOK_SIZE, store, console, skip)
    whole = TrainingData(images, None, 0.0)
    split = whole.split(inspection.readable(), inspection.keys, inspection.thumbnails, seed)
    if not (split.folds(2, seed) >= 0).any():
        raise InvalidInputError(
            "No image can be held out to test a head on: at least one class needs two different images that are in no "
            "other class. Add images."
        )
    keys = np.ascontiguousarray(inspection.keys[split.rows[0]]).view(KEY).ravel()
    run = _Run(split, keys, store, console, seed, started + limit)
    measured = [run.measured(name, clf) for name, clf in sorted(candidates, key=lambda pair: _guessed_cost(pair[1]))]
    by_loss = images.kind == "multiple"
    found = {number: scores for number, (_, scores, _) in enumerate(measured) if scores is not None}
    goodness = {number: -scores.losses if by_loss else scores.correct for number, scores in found.items()}
    rows, order = judged([row for row, *_ in measured], goodness)
    classifiers, skipped = [measured[number][2] for number in order], inspection.reasons(images.images)
    given = data, labels, on_bad_image
    return Comparison(rows, len(split.training), images.classes, skipped, classifiers, given, by_loss)


def _kind_of(classifiers: Sequence[TransferClassifier]) -> LabelKind:
    """What the classifiers say about the labels; all of them are measured on the same ones."""
    kinds = sorted({clf.labels for clf in classifiers} - {"auto"})
    if len(kinds) > 1:
        raise InvalidInputError(
            "Some classifiers have labels='single' and others labels='multiple': all of them are compared on the same "
            "labels. Pass classifiers of one kind."
        )
    return kinds[0] if kinds else "auto"


def _seconds(budget: Any) -> float:
    """A budget in seconds; infinity for none."""
    if budget is None:
        return float("inf")
    if not isinstance(budget, str):
        return check_number("budget", budget, low=0, high=float("inf"), example=300, open_low=True)
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h)", budget.strip())
    if not found or not float(found[1]):
        raise bad_argument(
            "budget", budget, "must be seconds, text with the unit s, min or h, or None", "Pass budget='5min'"
        )
    return float(found[1]) * UNITS[found[2]]


def _candidates(
    backbones: Any, sizes: Any, shared: dict[str, Any], console: Console
) -> Iterator[tuple[str, TransferClassifier]]:
    """A name and a classifier for each backbone and size."""
    listed = DEFAULTS if backbones is None else backbones
    listed = [listed] if isinstance(listed, (str, Backbone, TransferClassifier)) else listed
    named = listed.items() if isinstance(listed, Mapping) else [(None, one) for one in listed]
    if not named:
        raise bad_argument(
            "backbones", backbones, "must name at least one backbone", "Leave it out to compare five common ones"
        )
    wanted = [check_size(size, "sizes") for size in (sizes if isinstance(sizes, list) else [sizes])]
    for name, one in named:
        if not isinstance(name, str | None):
            raise bad_argument("backbones", name, "names a backbone: a name must be text", f"Pass {str(name)!r}")
        if isinstance(one, TransferClassifier):
            if hasattr(one, "classes_"):
                shown = name or get_backbone(one.backbone).name
                console.say(f"Of the fitted classifier {shown!r}, a new head on its backbone is compared.")
            clf = TransferClassifier(one.backbone, weights=one.weights, input_size=one.input_size, **shared)
            made = [clf.set_params(resize=one.resize, precision=check_precision(one.precision), labels=one.labels)]
        else:
            made = [TransferClassifier(one, input_size=size, **shared) for size in wanted]
        yield from ((name or get_backbone(clf.backbone).name, clf) for clf in made)


def _told_apart(
    candidates: Sequence[tuple[str, TransferClassifier]],
) -> Iterator[tuple[str, TransferClassifier]]:
    """The same, where names that would clash also say how each candidate differs from the others."""
    times: Counter[tuple[str, object]] = Counter()
    for name, clf in candidates:
        same = [other for known, other in candidates if (known, _size_of(other)) == (name, _size_of(clf))]
        own = [
            f"{setting}={getattr(clf, setting)!r}"
            for setting in ("weights", "resize", "precision")
            if any(getattr(other, setting) != getattr(clf, setting) for other in same)
        ]
        shown = ", ".join([name, *own])
        times[shown, _size_of(clf)] += 1  # records of one name may differ in anything
        number = times[shown, _size_of(clf)]
        yield shown if number == 1 else f"{shown} #{number}", clf


def _size_of(clf: TransferClassifier) -> Size:
    side = get_backbone(clf.backbone).default_size
    return check_size(clf.input_size) or (side, side)


def _guessed_cost(clf: TransferClassifier) -> float:
    height, width = _size_of(clf)
    return (get_backbone(clf.backbone).parameters or 1e12) * height * width


def _label(row: BackboneScores) -> str:
    return row.name if row.input_size is None else "{}, {} x {} px".format(row.name, *row.input_size)


def _drawn(images: LabelledImages, seed: int) -> LabelledImages:
    """All images, or as many as a comparison needs, drawn at random."""
    if len(images) <= MOST_IMAGES:
        return images
    return images.subset(np.sort(np.random.default_rng(seed).permutation(len(images))[:MOST_IMAGES]))


class _Run(NamedTuple):
    """What all backbones share.

    Attributes:
        keys: of the contents of the images of `split`.
        deadline: when the budget is used up, on the monotonic clock.
    """

    split: Split
    keys: Keys
    store: Store | None
    console: Console
    seed: int
    deadline: float

    def measured(self, name: str, clf: TransferClassifier) -> tuple[BackboneScores, Scores | None, TransferClassifier]:
        """Measure one backbone; a failure gives a row with the reason."""
        row, scores = BackboneScores(name), None
        try:
            row = replace(row, input_size=get_backbone(clf.backbone).input_size(check_size(clf.input_size)))
            row, scores = self._measured(row, clf)
            told = f"accuracy {row.accuracy:.4f} (+-{row.accuracy_error:.4f}), loss {row.loss:.3f} (+-{row.loss_error:.3f})"
            told = f"{told}, {row.milliseconds:.1f} ms per image"
        except ImageReadError:  # the images have changed since they were first read
            raise
        except Exception as error:  # users' builders, Keras, KerasHub and downloads raise many kinds
            row = replace(row, reason=str(error) if isinstance(error, TransferKitError) else first_line(error))
            told = f"not measured: {row.reason}"
        self.console.say(f"compare: {_label(row)}: {told}")
        return row, scores, clf

    def _measured(self, row: BackboneScores, clf: TransferClassifier) -> tuple[BackboneScores, Scores]:
        if time.monotonic() >= self.deadline:
            raise TimeoutError("the budget was already used up")
        record, size = get_backbone(clf.backbone), row.input_size or (0, 0)
        weights = find_weights(record, check_weights(record, clf.weights, size), self.console)
        backbone, precision = build_with_weights(record, size, weights, self.seed), check_precision(clf.precision)
        classes = len(self.split.training.classes)
        options = 0.0, self.seed, precision, check_resize(clf.resize)
        extractor = assemble(record, backbone, size, classes, *options).feature_extractor()
        row = replace(row, milliseconds=milliseconds_per_image(extractor), megabytes=4 * backbone.count_params() / 1e6)
        self._check_time(row.milliseconds, extractor)
        plan, title = Plan(self.split.training.images), f"computing features of {row.name}"
        extraction = extract(extractor, plan, Storage(self.store), self.console, title)
        features = np.asarray(extraction.values[0][np.arange(len(plan))], np.float32)
        scores = cross_validated(features, self.split, self.seed, self.console)
        row = replace(row, accuracy=scores.accuracy, loss=scores.loss, seconds=extraction.seconds)
        errors = scores.errors
        return replace(row, accuracy_error=errors["accuracy"], loss_error=errors["loss"]), scores

    def _check_time(self, milliseconds: float, extractor: FeatureExtractor) -> None:
        """Refuse to compute features if that would take longer than what is left of the budget."""
        needed = count_new(extractor, self.keys, self.store) * milliseconds / 1000
        left = max(0.0, self.deadline - time.monotonic())
        if needed > left:
            raise TimeoutError(f"it takes about {duration(needed)}, and {duration(left)} of the budget were left")
