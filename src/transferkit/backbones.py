"""The registry: the table of backbones, and the three functions that read and extend it.

Each row holds what cannot be asked of Keras without building the network. A new backbone of the
library is one row here; a user's own is one call of `register_backbone`.
"""

from __future__ import annotations

import difflib

from ._public import public
from .errors import InvalidInputError, UnknownBackboneError, bad_argument, some_of
from .records import Backbone

__all__ = ["get_backbone", "list_backbones", "register_backbone"]


def _numbered(prefix: str, first: int, last: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{number}" for number in range(first, last + 1))


def _keras(
    name: str,
    family: str,
    preprocessing: str,
    default_size: int,
    min_size: int,
    feature_dim: int,
    parameters: int,
    stages: tuple[str, ...],
    alpha: float | None = None,
) -> Backbone:
    """A row of Keras Applications; `alpha` is the width multiplier of the MobileNets."""
    options: dict[str, object] = {"include_top": False, "weights": None}
    if alpha is not None:
        options["alpha"] = alpha
    builder = f"keras.applications:{name.partition('_')[0]}"
    return Backbone(
        name,
        builder,
        preprocessing,
        default_size,
        min_size,
        feature_dim,
        stages,
        parameters,
        "imagenet",
        options,
        family,
    )


# name, family, preprocessing, default size, smallest size, features, parameters, stages
_TABLE = (
    _keras("VGG16", "VGG", "caffe", 224, 32, 512, 14_714_688, _numbered("block", 1, 5)),
    _keras("VGG19", "VGG", "caffe", 224, 32, 512, 20_024_384, _numbered("block", 1, 5)),
    _keras("ResNet50", "ResNet", "caffe", 224, 32, 2048, 23_587_712, _numbered("conv", 2, 5)),
    _keras("ResNet101", "ResNet", "caffe", 224, 32, 2048, 42_658_176, _numbered("conv", 2, 5)),
    _keras("ResNet152", "ResNet", "caffe", 224, 32, 2048, 58_370_944, _numbered("conv", 2, 5)),
    _keras("ResNet50V2", "ResNetV2", "tf", 224, 32, 2048, 23_564_800, _numbered("conv", 2, 5)),
    _keras("ResNet101V2", "ResNetV2", "tf", 224, 32, 2048, 42_626_560, _numbered("conv", 2, 5)),
    _keras("ResNet152V2", "ResNetV2", "tf", 224, 32, 2048, 58_331_648, _numbered("conv", 2, 5)),
    _keras("MobileNet", "MobileNet", "tf", 224, 32, 1024, 3_228_864, _numbered("conv_dw_", 1, 13)),
    _keras("MobileNet_0.25", "MobileNet", "tf", 224, 32, 256, 218_544, _numbered("conv_dw_", 1, 13), alpha=0.25),
    _keras("MobileNet_0.5", "MobileNet", "tf", 224, 32, 512, 829_536, _numbered("conv_dw_", 1, 13), alpha=0.5),
    _keras("MobileNet_0.75", "MobileNet", "tf", 224, 32, 768, 1_832_976, _numbered("conv_dw_", 1, 13), alpha=0.75),
    _keras("MobileNetV2", "MobileNetV2", "tf", 224, 32, 1280, 2_257_984, _numbered("block_", 1, 16)),
    _keras("MobileNetV2_0.35", "MobileNetV2", "tf", 224, 32, 1280, 410_208, _numbered("block_", 1, 16), alpha=0.35),
    _keras("MobileNetV2_0.5", "MobileNetV2", "tf", 224, 32, 1280, 706_224, _numbered("block_", 1, 16), alpha=0.5),
    _keras("MobileNetV2_0.75", "MobileNetV2", "tf", 224, 32, 1280, 1_382_064, _numbered("block_", 1, 16), alpha=0.75),
    _keras("MobileNetV2_1.3", "MobileNetV2", "tf", 224, 32, 1664, 3_766_048, _numbered("block_", 1, 16), alpha=1.3),
    _keras("MobileNetV2_1.4", "MobileNetV2", "tf", 224, 32, 1792, 4_363_712, _numbered("block_", 1, 16), alpha=1.4),
    _keras(
        "MobileNetV3Small",
        "MobileNetV3",
        "none",
        224,
        32,
        576,
        939_120,
        ("expanded_conv", *_numbered("expanded_conv_", 1, 10)),
    ),
    _keras(
        "MobileNetV3Small_0.75",
        "MobileNetV3",
        "none",
        224,
        32,
        432,
        583_160,
        ("expanded_conv", *_numbered("expanded_conv_", 1, 10)),
        alpha=0.75,
    ),
    _keras(
        "MobileNetV3Large",
        "MobileNetV3",
        "none",
        224,
        32,
        960,
        2_996_352,
        ("expanded_conv", *_numbered("expanded_conv_", 1, 14)),
    ),
    _keras(
        "MobileNetV3Large_0.75",
        "MobileNetV3",
        "none",
        224,
        32,
        720,
        1_808_736,
        ("expanded_conv", *_numbered("expanded_conv_", 1, 14)),
        alpha=0.75,
    ),
    _keras("DenseNet121", "DenseNet", "torch", 224, 32, 1024, 7_037_504, _numbered("conv", 2, 5)),
    _keras("DenseNet169", "DenseNet", "torch", 224, 32, 1664, 12_642_880, _numbered("conv", 2, 5)),
    _keras("DenseNet201", "DenseNet", "torch", 224, 32, 1920, 18_321_984, _numbered("conv", 2, 5)),
    _keras("InceptionV3", "Inception", "tf", 299, 75, 2048, 21_802_784, _numbered("mixed", 0, 10)),
    _keras(
        "InceptionResNetV2",
        "Inception",
        "tf",
        299,
        75,
        1536,
        54_336_736,
        ("mixed_5b", "mixed_6a", "mixed_7a", "conv_7b"),
    ),
    _keras("Xception", "Xception", "tf", 299, 71, 2048, 20_861_480, _numbered("block", 1, 14)),
    _keras("NASNetMobile", "NASNet", "tf", 224, 32, 1056, 4_269_716, ()),
    _keras("NASNetLarge", "NASNet", "tf", 331, 32, 4032, 84_887_922, ()),
    _keras("EfficientNetB0", "EfficientNet", "none", 224, 32, 1280, 4_049_571, _numbered("block", 1, 7)),
    _keras("EfficientNetB1", "EfficientNet", "none", 240, 32, 1280, 6_575_239, _numbered("block", 1, 7)),
    _keras("EfficientNetB2", "EfficientNet", "none", 260, 32, 1408, 7_768_569, _numbered("block", 1, 7)),
    _keras("EfficientNetB3", "EfficientNet", "none", 300, 32, 1536, 10_783_535, _numbered("block", 1, 7)),
    _keras("EfficientNetB4", "EfficientNet", "none", 380, 32, 1792, 17_673_823, _numbered("block", 1, 7)),
    _keras("EfficientNetB5", "EfficientNet", "none", 456, 32, 2048, 28_513_527, _numbered("block", 1, 7)),
    _keras("EfficientNetB6", "EfficientNet", "none", 528, 32, 2304, 40_960_143, _numbered("block", 1, 7)),
    _keras("EfficientNetB7", "EfficientNet", "none", 600, 32, 2560, 64_097_687, _numbered("block", 1, 7)),
    _keras("EfficientNetV2B0", "EfficientNetV2", "none", 224, 32, 1280, 5_919_312, _numbered("block", 1, 6)),
    _keras("EfficientNetV2B1", "EfficientNetV2", "none", 240, 32, 1280, 6_931_124, _numbered("block", 1, 6)),
    _keras("EfficientNetV2B2", "EfficientNetV2", "none", 260, 32, 1408, 8_769_374, _numbered("block", 1, 6)),
    _keras("EfficientNetV2B3", "EfficientNetV2", "none", 300, 32, 1536, 12_930_622, _numbered("block", 1, 6)),
    _keras("EfficientNetV2S", "EfficientNetV2", "none", 384, 32, 1280, 20_331_360, _numbered("block", 1, 6)),
    _keras("EfficientNetV2M", "EfficientNetV2", "none", 480, 32, 1280, 53_150_388, _numbered("block", 1, 7)),
    _keras("EfficientNetV2L", "EfficientNetV2", "none", 480, 32, 1280, 117_746_848, _numbered("block", 1, 7)),
    _keras("ConvNeXtTiny", "ConvNeXt", "none", 224, 32, 768, 27_820_128, _numbered("stage_", 0, 3)),
    _keras("ConvNeXtSmall", "ConvNeXt", "none", 224, 32, 768, 49_454_688, _numbered("stage_", 0, 3)),
    _keras("ConvNeXtBase", "ConvNeXt", "none", 224, 32, 1024, 87_566_464, _numbered("stage_", 0, 3)),
    _keras("ConvNeXtLarge", "ConvNeXt", "none", 224, 32, 1536, 196_230_336, _numbered("stage_", 0, 3)),
    _keras("ConvNeXtXLarge", "ConvNeXt", "none", 224, 32, 2048, 348_147_968, _numbered("stage_", 0, 3)),
)

_registry: dict[str, Backbone] = {record.name.lower(): record for record in _TABLE}


@public
def list_backbones(family: str | None = None) -> list[str]:
    """The names of all backbones, in the order of the table; `family` picks those of one family.

    >>> import transferkit as tk
    >>> tk.list_backbones("VGG")
    ['VGG16', 'VGG19']
    """
    records = list(_registry.values())
    if family is None:
        return [record.name for record in records]
    families = {record.family.lower(): record.family for record in records}
    if not isinstance(family, str) or family.lower() not in families:
        raise bad_argument(
            "family", family, f"must be one of {some_of(families.values(), 20)}", "Leave it out to list all"
        )
    return [record.name for record in records if record.family.lower() == family.lower()]


@public
def get_backbone(name: str) -> Backbone:
    """The record of a backbone, by its name in any case.

    Raises:
        UnknownBackboneError: no such name; the nearest ones are suggested.
    """
    record = _registry.get(name.lower()) if isinstance(name, str) else None
    if record is None:
        raise UnknownBackboneError(_unknown(name))
    return record


@public
def register_backbone(record: Backbone) -> Backbone:
    """Add a backbone of your own, under a name that is not taken yet; returns it.

    It then works like any other, by its name. `TransferClassifier.load` looks backbones up here, so
    the program that loads a classifier must register its backbone too.

    Raises:
        InvalidInputError: not a `Backbone`, or the name is taken.
    """
    if not isinstance(record, Backbone):
        raise bad_argument(
            "record", record, "must be a transferkit.Backbone", "Make one with transferkit.Backbone(...)"
        )
    if record.name.lower() in _registry:
        raise InvalidInputError(
            f"The registry already holds a backbone {get_backbone(record.name).name!r}: each name is given once. Choose "
            f"another name."
        )
    _registry[record.name.lower()] = record
    return record


def _unknown(name: object) -> str:
    near = difflib.get_close_matches(str(name).lower(), _registry, n=3, cutoff=0.5)
    hint = f"Did you mean {some_of(_registry[key].name for key in near)}?" if near else "See list_backbones()."
    return f"There is no backbone {name!r}: the registry holds {len(_registry)} others. {hint}"
