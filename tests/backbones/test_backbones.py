"""The registry: the three functions on the table."""

from __future__ import annotations

import keras
import pytest
from helpers import refused

import transferkit as tk
from transferkit.backbones import registry as backbones
from transferkit.backbones.keras_applications import TABLE as RECORDS
from transferkit.backbones.tiny import TINY

TABLE = {record.name: record for record in (TINY, *RECORDS)}


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table alone, in a registry that is thrown away after the test."""
    monkeypatch.setattr(backbones, "_registry", {name.lower(): record for name, record in TABLE.items()})


def own(name: str = "MyNet", **changes: object) -> tk.Backbone:
    return tk.Backbone(name, builder=lambda **_: None, preprocessing="none", **changes)  # type: ignore[arg-type]


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


def test_the_list_can_be_cut_down_by_parameters_and_size() -> None:
    tk.register_backbone(own("Unstated", parameters=0))
    small = tk.list_backbones(max_parameters=1_000_000)
    assert small == [name for name in TABLE if TABLE[name].parameters <= 1_000_000]
    assert 0 < len(small) < len(TABLE)
    assert set(tk.list_backbones()) - set(tk.list_backbones(input_size=70)) == {
        "Xception",
        "InceptionV3",
        "InceptionResNetV2",
    }
    assert "Xception" in tk.list_backbones(input_size=(71, 200))
    assert tk.list_backbones(input_size=31) == []
    assert tk.list_backbones("mobilenetv2", max_parameters=500_000, input_size=96) == ["MobileNetV2_0.35"]


@pytest.mark.parametrize("condition", [{"max_parameters": "5M"}, {"max_parameters": 0}, {"input_size": "small"}])
def test_a_condition_that_is_no_number_is_refused(condition: dict[str, object]) -> None:
    with refused(tk.InvalidInputError, f"`{next(iter(condition))}="):
        tk.list_backbones(**condition)  # type: ignore[arg-type]


def test_a_record_is_its_own_answer() -> None:
    record = own()
    assert tk.get_backbone(record) is record


@pytest.mark.parametrize("name", TABLE)
def test_a_backbone_is_found_in_any_case(name: str) -> None:
    assert tk.get_backbone(name) is tk.get_backbone(name.lower()) is tk.get_backbone(name.upper()) is TABLE[name]


FAMILIES = {
    "ResNet": "ResNet50",
    "ResNetV2": "ResNet50V2",
    "EfficientNet": "EfficientNetB0",
    "EfficientNetV2": "EfficientNetV2B0",
    "MobileNet": "MobileNetV2",
    "MobileNetV1": "MobileNet_1.0",
    "MobileNetV3": "MobileNetV3Large",
    "VGG": "VGG16",
    "DenseNet": "DenseNet121",
    "Inception": "InceptionV3",
    "NASNet": "NASNetMobile",
    "ConvNeXt": "ConvNeXtTiny",
    "TransferKit": "TransferKitTiny",
}


@pytest.mark.parametrize(("family", "default"), FAMILIES.items())
def test_the_name_of_a_family_stands_for_one_of_its_backbones(family: str, default: str) -> None:
    assert tk.get_backbone(family) is tk.get_backbone(family.lower()) is tk.get_backbone(default)
    assert default in tk.list_backbones(family)
    assert repr(tk.TransferClassifier(family)) == f"TransferClassifier(backbone={default!r})"
    assert tk.TransferClassifier(family).get_params()["backbone"] == family


def test_every_family_of_the_table_has_a_default() -> None:
    for record in TABLE.values():
        assert tk.get_backbone(record.family).family == record.family


def test_without_its_default_a_family_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "_registry", {"mynet": own()})
    with refused(tk.UnknownBackboneError, "no backbone 'VGG'"):
        tk.get_backbone("VGG")
    with refused(tk.InvalidInputError, "`family='VGG'` must be one of 'own'"):
        tk.list_backbones("VGG")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("MobilNetV2", "MobileNetV2"),
        ("mobilenet-v2", "MobileNetV2"),
        ("resnet_50", "ResNet50"),
        ("vggs", "VGG16"),
        ("EfficientNet-B0", "EfficientNetB0"),
        ("densenet 121", "DenseNet121"),
    ],
)
def test_a_near_miss_is_suggested(wrong: str, meant: str) -> None:
    with refused(tk.UnknownBackboneError, f"no backbone {wrong!r}", "Did you mean", repr(meant)):
        tk.get_backbone(wrong)


@pytest.mark.parametrize("name", ["qqqqqqq", "", None, 3])
def test_a_name_like_no_other_points_to_the_list(name: object) -> None:
    with refused(tk.UnknownBackboneError, f"no backbone {name!r}", f"{len(TABLE)} backbones", "list_backbones()"):
        tk.get_backbone(name)  # type: ignore[arg-type]


# ---- registering ----


def test_a_registered_backbone_is_found_and_listed_last() -> None:
    record = own()
    assert tk.register_backbone(record) is record
    assert tk.get_backbone("MYNET") is record
    assert tk.list_backbones() == [*TABLE, "MyNet"]
    assert tk.list_backbones("own") == ["MyNet"]


@pytest.mark.parametrize("name", ["VGG16", "vgg16", "MYNET", "vgg"])
def test_a_name_that_is_taken_is_refused_and_nothing_changes(name: str) -> None:
    record = tk.register_backbone(own())
    with refused(
        tk.InvalidInputError,
        f"{tk.get_backbone(name).name!r}",
        "a name can be registered only once",
        "Choose another name",
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
