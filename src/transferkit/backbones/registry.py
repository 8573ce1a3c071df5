"""The registry of backbones: the built-in one, those of Keras Applications, and those that a program adds."""

from __future__ import annotations

import difflib

from .._common.arguments import check_count, check_size
from .._public import public
from ..errors import InvalidInputError, UnknownBackboneError, bad_argument, some_of
from .keras_applications import TABLE
from .record import Backbone
from .tiny import TINY

# The backbone that the name of a family stands for: a small one, so that a first try is fast.
FAMILIES = {
    "TransferKit": "TransferKitTiny",
    "VGG": "VGG16",
    "ResNet": "ResNet50",
    "ResNetV2": "ResNet50V2",
    "MobileNet": "MobileNetV2",
    "MobileNetV1": "MobileNet_1.0",
    "MobileNetV3": "MobileNetV3Large",
    "DenseNet": "DenseNet121",
    "Inception": "InceptionV3",
    "NASNet": "NASNetMobile",
    "EfficientNet": "EfficientNetB0",
    "EfficientNetV2": "EfficientNetV2B0",
    "ConvNeXt": "ConvNeXtTiny",
}

_default_of = {family.lower(): name.lower() for family, name in FAMILIES.items()}
_registry: dict[str, Backbone] = {record.name.lower(): record for record in (TINY, *TABLE)}


@public
def list_backbones(
    family: str | None = None,
    *,
    max_parameters: int | None = None,
    input_size: int | tuple[int, int] | None = None,
) -> list[str]:
    """The names of all backbones, or of those that meet every given condition, in the order of the registry.

    Args:
        family: as in the records, ignoring case: ``"VGG"``; ``"MobileNet"`` stands for ``"MobileNetV2"``.
        max_parameters: the largest number of weights; records that state no number are left out.
        input_size: an image size that they can be built for: an int or (height, width) in pixels.

    Raises:
        InvalidInputError: an unknown family, or a condition that is not a number or a size.

    Example:
        >>> import transferkit as tk
        >>> tk.list_backbones("vgg")
        ['VGG16', 'VGG19']
        >>> tk.list_backbones(max_parameters=500_000)
        ['MobileNet_0.25', 'MobileNetV2_0.35']
        >>> "Xception" in tk.list_backbones(input_size=64)
        False
    """
    records = list(_registry.values())
    if family is not None:
        known = {record.family.lower(): record.family for record in records}
        default = _registry.get(_default_of.get(str(family).lower(), ""))
        wanted = default.family if default else str(family)
        if wanted.lower() not in known:
            rule = f"must be one of {some_of(known.values(), 20)}"
            raise bad_argument("family", family, rule, "Leave it out to list all")
        records = [record for record in records if record.family.lower() == wanted.lower()]
    if max_parameters is not None:
        most = check_count("max_parameters", max_parameters, example=5_000_000)
        records = [record for record in records if 0 < record.parameters <= most]
    if (size := check_size(input_size)) is not None:
        records = [record for record in records if record.takes(size)]
    return [record.name for record in records]


@public
def get_backbone(name: str | Backbone) -> Backbone:
    """The record of a backbone, by name or family, ignoring case; a record is returned unchanged.

    The documentation lists the backbone that each family stands for.

    Raises:
        UnknownBackboneError: an unknown name; the message suggests the nearest ones.

    Example:
        >>> import transferkit as tk
        >>> tk.get_backbone("ResNet").name
        'ResNet50'
    """
    if isinstance(name, Backbone):
        return name
    key = str(name).lower()
    record = _registry.get(_default_of.get(key, key))
    if record is None:
        near = difflib.get_close_matches(key, _registry, n=3, cutoff=0.5)
        hint = f"Did you mean {some_of(_registry[key].name for key in near)}?" if near else "See list_backbones()."
        if hasattr(name, "layers"):
            hint = "A network of your own needs a record: register_backbone(Backbone(name, function_that_builds_it))."
        raise UnknownBackboneError(f"There is no backbone {name!r}: {len(_registry)} backbones are registered. {hint}")
    return record


@public
def register_backbone(record: Backbone) -> Backbone:
    """Add a backbone of your own, under a name that is not taken yet, and return it.

    It can then be used by its name, like any other. `TransferClassifier.load` looks backbones up here, so
    a program that loads a classifier must register its backbone first.

    Raises:
        InvalidInputError: not a `Backbone`, or the name is taken.
    """
    if not isinstance(record, Backbone):
        raise bad_argument("record", record, "must be a transferkit.Backbone", "Make one with Backbone(...)")
    key = record.name.lower()
    taken = _registry.get(_default_of.get(key, key))
    if taken is not None:
        raise InvalidInputError(
            f"The registry already holds {taken.name!r} under the name {record.name!r}: a name can be registered only "
            f"once. Choose another name."
        )
    _registry[key] = record
    return record


def is_registered(record: Backbone) -> bool:
    """Whether this very record is registered under its name."""
    return _registry.get(record.name.lower()) == record
