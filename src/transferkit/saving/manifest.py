"""What a file says about a classifier besides its weights: the member ``transferkit.json``, and its checks."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field, fields, replace
from datetime import datetime, timezone
from typing import Any, Literal, TypeGuard, get_args

import keras
import numpy as np
import tensorflow as tf

from .._common.arguments import Resize
from .._common.version import __version__
from ..errors import BundleError, some_of
from ..images import ClassWeight, check_class_weight, label_array
from ..results import KEPT, History, Label, Phase, Selection
from .archive import MANIFEST

FORMAT_VERSION = 3
LARGEST_MANIFEST = 4 * 2**20  # bytes
MOST_BRACKETS = 100_000  # lists and objects take more memory than their text
FEATURES = 64  # in the self-test, at most


def _versions() -> dict[str, str]:
    """The versions of what wrote the file, besides transferkit."""
    packages = {"keras": keras.__version__, "tensorflow": tf.__version__, "numpy": np.__version__}
    return {**packages, "python": platform.python_version()}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Manifest:
    """The content of ``transferkit.json``."""

    backbone: str
    input_size: tuple[int, int]
    resize: Resize
    classes: list[Label]  # all of one type
    dropout: float
    precision: Literal["float32", "bfloat16"]  # of the frozen part
    feature_scale: float  # what the head multiplies features by
    weights: str | None  # the constructor's argument, or "file" instead of a path
    seed: int | None  # the constructor's argument
    split_seed: int  # of the split of `fit`, so that the same folder is split alike later
    self_test: list[float]  # what `self_test` gave when the classifier was saved
    history: list[dict[str, Any]]  # as `listed_phases` gives it
    thresholds: list[float] | None = None  # with several labels per image, of each class; None = one label
    class_weight: Any = None  # of `fit`: None, "balanced" or (class name, weight) pairs
    saved: str = field(default_factory=_now)
    versions: dict[str, str] = field(default_factory=_versions)
    transferkit_version: str = __version__
    format_version: int = FORMAT_VERSION

    def to_json(self) -> bytes:
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1).encode()
        if len(text) > LARGEST_MANIFEST:
            raise BundleError(
                f"The names of the {len(self.classes):,} classes and the rest of {MANIFEST} take {len(text):,} bytes: a "
                f"saved classifier has room for {LARGEST_MANIFEST:,}. Use shorter or fewer class names."
            )
        return text

    def class_weight_choice(self) -> ClassWeight:
        """`class_weight` as `fit` takes it: JSON has no dict with numbers for keys."""
        pairs = self.class_weight
        return check_class_weight(dict(pairs) if isinstance(pairs, list) else pairs, np.array(self.classes))

    def history_record(self) -> History:
        return History(tuple(_phase(fields, self.classes) for fields in self.history))


def listed_phases(history: History) -> list[dict[str, Any]]:
    """The phases for JSON: numbers of images in the order of the classes, and no file names of this machine."""
    plain = (replace(phase, skipped={}) for phase in history.phases)
    return [{**asdict(phase), "images": list(phase.images.values())} for phase in plain]


def _phase(fields: dict[str, Any], classes: list[Label]) -> Phase:
    selection, counts = fields.get("selection"), fields["images"]
    if not _are_counts(counts) or len(counts) not in (0, len(classes)):
        raise ValueError(f"{MANIFEST} holds invalid numbers of images")
    made = {
        "selection": Selection(**selection) if selection else None,
        "images": dict(zip(classes, counts, strict=False)),
    }
    return Phase(**{**fields, **made})


def parsed(text: bytes) -> dict[str, Any]:
    """The object in a JSON text, whose content is not checked.

    Raises:
        ValueError: it is not JSON, or would take much memory.
    """
    if text.count(b"[") + text.count(b"{") > MOST_BRACKETS:
        raise ValueError(f"{MANIFEST} holds more than {MOST_BRACKETS:,} lists")
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError(f"{MANIFEST} does not hold an object")
    return content


def manifest_from(content: Mapping[str, Any]) -> Manifest:
    """The manifest, checked for the types and ranges that other code relies on.

    Raises:
        ValueError: a value is invalid. Content of another structure raises other errors.
    """
    if odd := {one.name for one in fields(Manifest)} ^ set(content):
        raise ValueError(f"{MANIFEST} lacks fields or has unknown ones: {some_of(sorted(odd))}")
    manifest = Manifest(**content)
    if wrong := [name for name, holds in _rules(manifest).items() if not holds]:
        raise ValueError(f"{MANIFEST} holds invalid values of {some_of(wrong)}")
    manifest.class_weight_choice()
    height, width = manifest.input_size
    return replace(manifest, input_size=(height, width))


def _rules(manifest: Manifest) -> dict[str, object]:
    """Field -> whether its value is valid."""
    names, sides = manifest.classes, manifest.input_size
    seeds = [manifest.split_seed] if manifest.seed is None else [manifest.split_seed, manifest.seed]
    numbers = manifest.self_test
    return {
        "backbone": isinstance(manifest.backbone, str),
        "classes": isinstance(names, list) and len(set(names)) == len(names) >= 2 and _are_labels(names),
        "input_size": len(sides) == 2 and _are_counts(sides) and all(0 < side <= 10_000 for side in sides),
        "resize": manifest.resize in get_args(Resize),
        "weights": manifest.weights in ("pretrained", "imagenet", "file", None),
        "thresholds": manifest.thresholds is None or _are_thresholds(manifest.thresholds, len(names)),
        "feature_scale": _are_numbers([manifest.feature_scale]) and np.isfinite(manifest.feature_scale),
        "dropout": _are_numbers([manifest.dropout]) and 0 <= manifest.dropout < 1,
        "seed or split_seed": _are_counts(seeds) and max(seeds) < 2**32,
        "precision": manifest.precision in ("float32", "bfloat16"),
        "self_test": _are_numbers(numbers) and 0 < len(numbers) <= FEATURES and np.isfinite(numbers).all(),
        "history": manifest.history and all(map(_is_phase, manifest.history_record().phases)),
        "saved": manifest.saved == datetime.fromisoformat(manifest.saved).isoformat(timespec="seconds"),
        "versions": _are_texts([manifest.transferkit_version, *manifest.versions.values()]),
    }


def _is_phase(phase: Phase) -> bool:
    columns = list(phase.metrics.values())
    return (
        phase.name in ("fit", "fine_tune")
        and _are_texts([phase.first_layer, phase.data])
        and all(_are_numbers(column) and len(column) == phase.epochs > 0 for column in columns)
        and _are_counts([phase.kept, phase.folds, phase.validation_images])
        and phase.kept <= phase.epochs
        and _are_numbers([phase.seconds, phase.pass_seconds, phase.temperature])
        and 0.49 <= phase.temperature <= 2.01
        and _are_numbers(list(phase.errors.values()))
        and (phase.selection is None or _is_selection(phase.selection))
        and phase.skipped == {}
    )


def _is_selection(selection: Selection) -> bool:
    kept, *figures = astuple(selection)
    return kept in KEPT and _are_numbers(figures) and _are_counts(figures[-2:])


def _are_labels(names: list[Any]) -> bool:
    """Whether `fit` could have found these names."""
    return {type(name) for name in names} in ({str}, {int}, {bool}) and label_array(names, len(names)).tolist() == names


def _are_thresholds(values: object, count: int) -> bool:
    return _are_numbers(values) and len(values) == count and all(0 <= value <= 1 for value in values)


def _are_numbers(values: object) -> TypeGuard[list[float]]:
    return isinstance(values, list) and all(type(value) is float or _is_int64(value) for value in values)


def _are_counts(values: object) -> bool:
    return isinstance(values, (list, tuple)) and all(_is_int64(value) and value >= 0 for value in values)


def _is_int64(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)
