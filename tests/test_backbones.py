"""The registry: its table against Keras, and the three functions on it."""

from __future__ import annotations

import re

import keras
import pytest
from helpers import refused

import transferkit as tk
from transferkit import backbones

TABLE = {record.name: record for record in backbones._TABLE}


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table alone, in a registry that is thrown away after the test."""
    monkeypatch.setattr(backbones, "_registry", {name.lower(): record for name, record in TABLE.items()})


def own(name: str = "MyNet", **changes: object) -> tk.Backbone:
    return tk.Backbone(name, builder=lambda **_: None, preprocessing="none", **changes)  # type: ignore[arg-type]


# ---- the table ----


def test_names_are_unique_in_any_case() -> None:
    names = [record.name.lower() for record in backbones._TABLE]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", TABLE)
def test_a_row_is_named_as_keras_spells_it(name: str) -> None:
    builder, _, alpha = name.partition("_")
    assert callable(getattr(keras.applications, builder))
    assert TABLE[name].builder == f"keras.applications:{builder}"
    assert TABLE[name].options.get("alpha") == (float(alpha) if alpha else None)
    assert TABLE[name].pretrained == "imagenet"


def test_every_network_of_keras_applications_has_a_row() -> None:
    known = {name for name in dir(keras.applications) if name[0].isupper()}
    assert {name.partition("_")[0] for name in TABLE} == known


EFFICIENT = dict(zip([f"EfficientNetB{n}" for n in range(8)], (224, 240, 260, 300, 380, 456, 528, 600), strict=True))
EFFICIENT_2 = dict(
    zip(
        [f"EfficientNetV2{s}" for s in ("B0", "B1", "B2", "B3", "S", "M", "L")],
        (224, 240, 260, 300, 384, 480, 480),
        strict=True,
    )
)
DEFAULT_SIZES = {
    "InceptionV3": 299,
    "InceptionResNetV2": 299,
    "Xception": 299,
    "NASNetLarge": 331,
    **EFFICIENT,
    **EFFICIENT_2,
}
MIN_SIZES = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}
FAMILY_RULES = {"VGG": "caffe", "ResNet": "caffe", "DenseNet": "torch"}
SCALES_INSIDE = {"MobileNetV3", "EfficientNet", "EfficientNetV2", "ConvNeXt"}


@pytest.mark.parametrize("name", TABLE)
def test_sizes_and_rules_are_those_that_were_measured(name: str) -> None:
    record = TABLE[name]
    assert record.default_size == DEFAULT_SIZES.get(name, 224)
    assert record.min_size == MIN_SIZES.get(name, 32)
    rule = "none" if record.family in SCALES_INSIDE else FAMILY_RULES.get(record.family, "tf")
    assert record.preprocessing == rule


def check_against_keras(name: str) -> None:
    record = TABLE[name]
    model = record.build(record.input_size((96, 96)))
    assert model.output_shape[-1] == record.feature_dim
    assert model.count_params() == record.parameters
    names = [layer.name for layer in model.layers]
    firsts = [
        next((i for i, layer in enumerate(names) if re.search(rf"(^|_){re.escape(stage)}(?!\d)", layer)), None)
        for stage in record.stages
    ]
    assert None not in firsts
    assert firsts == sorted(set(firsts))  # type: ignore[type-var]
    later = re.compile(rf"(^|_){re.escape(record.stages[-1][:-1])}(\d+)")
    numbers = [int(found[2]) for found in map(later.search, names) if found]
    assert not numbers or record.stages[-1].endswith(str(max(numbers)))


@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV2_0.35", "VGG16", "MobileNetV3Small"])
def test_a_light_row_agrees_with_the_network_that_keras_builds(name: str) -> None:
    check_against_keras(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "MobileNet_0.25",
        "ResNet50",
        "ResNet50V2",
        "DenseNet121",
        "EfficientNetB0",
        "EfficientNetV2B0",
        "InceptionV3",
        "Xception",
        "ConvNeXtTiny",
    ],
)
def test_a_row_agrees_with_the_network_that_keras_builds(name: str) -> None:
    check_against_keras(name)


# ---- looking up ----


def test_the_list_has_every_name_in_the_order_of_the_table() -> None:
    assert tk.list_backbones() == list(TABLE)


def test_the_list_of_a_family_is_part_of_the_whole() -> None:
    families = dict.fromkeys(record.family for record in TABLE.values())
    assert [name for family in families for name in tk.list_backbones(family)] == tk.list_backbones()
    assert tk.list_backbones("vgg") == tk.list_backbones("VGG") == ["VGG16", "VGG19"]


@pytest.mark.parametrize("family", ["VGGs", "", 3])
def test_an_unknown_family_is_refused_with_those_there_are(family: object) -> None:
    with refused(tk.InvalidInputError, f"`family={family!r}`", "'VGG', 'ResNet'", "Leave it out"):
        tk.list_backbones(family)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TABLE)
def test_a_backbone_is_found_in_any_case(name: str) -> None:
    assert tk.get_backbone(name) is tk.get_backbone(name.lower()) is tk.get_backbone(name.upper()) is TABLE[name]


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("MobilNetV2", "MobileNetV2"),
        ("mobilenet-v2", "MobileNetV2"),
        ("resnet_50", "ResNet50"),
        ("vgg", "VGG16"),
        ("EfficientNet-B0", "EfficientNetB0"),
        ("densenet 121", "DenseNet121"),
    ],
)
def test_a_near_miss_is_suggested(wrong: str, meant: str) -> None:
    with refused(tk.UnknownBackboneError, f"no backbone {wrong!r}", "Did you mean", repr(meant)):
        tk.get_backbone(wrong)


@pytest.mark.parametrize("name", ["qqqqqqq", "", None, 3])
def test_a_name_like_no_other_points_to_the_list(name: object) -> None:
    with refused(tk.UnknownBackboneError, f"no backbone {name!r}", f"{len(TABLE)} others", "list_backbones()"):
        tk.get_backbone(name)  # type: ignore[arg-type]


# ---- registering ----


def test_a_registered_backbone_is_found_and_listed_last() -> None:
    record = own()
    assert tk.register_backbone(record) is record
    assert tk.get_backbone("MYNET") is record
    assert tk.list_backbones() == [*TABLE, "MyNet"]
    assert tk.list_backbones("own") == ["MyNet"]


@pytest.mark.parametrize("name", ["VGG16", "vgg16", "MYNET"])
def test_a_name_that_is_taken_is_refused_and_nothing_changes(name: str) -> None:
    record = tk.register_backbone(own())
    with refused(
        tk.InvalidInputError, f"{tk.get_backbone(name).name!r}", "each name is given once", "Choose another name"
    ):
        tk.register_backbone(own(name))
    assert tk.get_backbone("MyNet") is record
    assert tk.get_backbone("VGG16") is TABLE["VGG16"]


@pytest.mark.parametrize("thing", ["VGG16", None, keras.applications.VGG16])
def test_what_is_no_record_is_refused(thing: object) -> None:
    with refused(tk.InvalidInputError, "`record=", "must be a transferkit.Backbone", "Make one"):
        tk.register_backbone(thing)  # type: ignore[arg-type]


def test_a_near_miss_of_a_registered_backbone_is_suggested() -> None:
    tk.register_backbone(own("PetNet"))
    with refused(tk.UnknownBackboneError, "Did you mean 'PetNet'"):
        tk.get_backbone("PetsNet")
