"""The data check before training: refuse or leave out, then divide, and know where what was computed is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from drawing import class_folder, picture, write
from faults import UNREADABLE, plant_unreadable
from helpers import lock, refused

from transferkit.checks.examination import Examined, check_policy, examine
from transferkit.errors import ImageReadError, InvalidInputError
from transferkit.features.extraction import inspect
from transferkit.features.inspection import Findings
from transferkit.images.images import Images, LabelledImages
from transferkit.images.reading import read_labelled
from transferkit.images.splits import Material, read_material

SIZE = (32, 32)


class Eye:
    """Looks at images as training does, and gives a row for each that says which image it is of."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.given_up: list[bool] = []

    def __call__(self, images: Images, findings: Findings) -> list[str]:
        self.calls.append(len(images))
        self.given_up.append(findings.gives_up)
        inspect(images, SIZE, None, findings, 0, "")
        return [images.name(index) for index in range(len(images))]


def examined(material: Material, skip: bool = True) -> Examined:
    return examine(material, skip, Eye())


def material(folder: object, validation: object = None, share: float = 0.0, seed: int = 0) -> Material:
    data = read_labelled(folder, lenient=True)
    return read_material(data, share if validation is None else validation, seed, lenient=True)


def paths(data: LabelledImages | None) -> list[str]:
    assert data is not None
    return [str(data.images.path(index)) for index in range(len(data))]


def contents(data: LabelledImages | None) -> set[bytes]:
    return {Path(path).read_bytes() for path in paths(data)}


def rows_match(result: Examined) -> bool:
    """Whether `rows` says where in `computed` the images of both parts are."""
    sides = [(result.training, 0)] if result.validation is None else [(result.training, 0), (result.validation, 1)]
    return all(
        [result.computed[side][row] for row in result.rows[side].tolist()] == paths(data) for data, side in sides
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "photos", {"cats": 10, "dogs": 12})


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    root = tmp_path / "held out"
    for number in range(5):
        write(root / "dogs" / f"{number}.png", 200 + number, (40, 48))
    return root


@pytest.mark.parametrize(("policy", "skip"), [("raise", False), ("skip", True)])
def test_bad_images_are_refused_or_left_out(policy: str, skip: bool) -> None:
    assert check_policy(policy) is skip


@pytest.mark.parametrize("policy", ["x", "Skip", "", None, True, 1, ["skip"]])
def test_another_policy_is_refused(policy: object) -> None:
    with refused(InvalidInputError, f"`on_bad_image={policy!r}`", "must be 'raise' or 'skip'"):
        check_policy(policy)


@pytest.mark.parametrize("skip", [False, True])
def test_good_images_are_divided_as_the_material_says(folder: Path, skip: bool) -> None:
    given = material(folder, share=0.25, seed=3)
    result = examined(given, skip)
    training, validation = given.positions()
    everything = paths(given.images)
    assert paths(result.training) == [everything[index] for index in training]
    assert paths(result.validation) == [everything[index] for index in validation]
    assert result.training.codes.tolist() == given.images.codes[training].tolist()
    assert result.skipped == {}
    assert result.report.ok
    assert rows_match(result)


def test_without_validation_all_images_are_trained_on(folder: Path) -> None:
    result = examined(material(folder))
    assert len(result.training) == 22
    assert result.validation is None
    assert rows_match(result)


def test_all_bad_images_of_both_sets_are_named_in_one_error(folder: Path, held_out: Path) -> None:
    named = plant_unreadable(folder / "cats") | plant_unreadable(held_out / "dogs")
    eye = Eye()
    with refused(ImageReadError, f"{2 * len(UNREADABLE)} images", "on_bad_image='skip'", "check_images") as caught:
        examine(material(folder, held_out), False, eye)
    assert caught.value.kinds == named
    listed = list(caught.value.failures)
    assert listed == sorted(listed, key=lambda name: "held out" in name), "in the order of the data"
    assert eye.calls == [22 + len(UNREADABLE), 5 + len(UNREADABLE)]
    assert eye.given_up == [False, True], "validation images are only read once the error is certain"


def test_bad_files_are_named_where_the_validation_data_are_arrays(folder: Path) -> None:
    (folder / "cats" / "bad.png").write_bytes(b"")
    arrays = np.stack([picture(seed, SIZE) for seed in range(4)])
    eye = Eye()
    with refused(ImageReadError, "bad.png"):
        examine(material(folder, (arrays, ["cats", "dogs"] * 2)), False, eye)
    result = examine(material(folder, (arrays, ["cats", "dogs"] * 2)), True, eye)
    assert eye.calls == [23, 4] * 2
    assert len(result.training) == 22
    assert result.rows[1].tolist() == [0, 1, 2, 3]
    assert result.computed[1] == [f"image {number}" for number in range(4)]


def test_one_bad_image_is_named_with_the_way_to_go_on(folder: Path) -> None:
    (folder / "cats" / "bad.png").write_bytes(b"")
    with refused(ImageReadError, "bad.png", "the file is empty", "on_bad_image='skip'"):
        examined(material(folder), skip=False)


def test_what_is_left_is_divided_as_if_the_bad_images_had_never_been(folder: Path) -> None:
    known = examined(material(folder, share=0.25, seed=3))
    named = plant_unreadable(folder / "cats")
    result = examined(material(folder, share=0.25, seed=3))
    assert paths(result.training) == paths(known.training)
    assert paths(result.validation) == paths(known.validation)
    assert result.training.codes.tolist() == known.training.codes.tolist()
    assert result.skipped.keys() == named.keys()
    assert {fault.where for fault in result.report.faults} == named.keys()
    assert rows_match(result)


def test_bad_images_of_given_validation_data_are_left_out(folder: Path, held_out: Path) -> None:
    known = examined(material(folder, held_out))
    named = plant_unreadable(folder / "dogs") | plant_unreadable(held_out / "dogs")
    result = examined(material(folder, held_out))
    assert paths(result.training) == paths(known.training)
    assert paths(result.validation) == paths(known.validation)
    assert result.skipped.keys() == named.keys()
    assert rows_match(result)


def test_a_class_of_which_nothing_can_be_read_is_refused_by_name(folder: Path) -> None:
    (folder / "owls").mkdir()
    plant_unreadable(folder / "owls")
    with refused(InvalidInputError, "None of the training images of the class 'owls'", "check_images"):
        examined(material(folder))


def test_validation_data_may_lose_a_class_but_not_all(folder: Path, held_out: Path) -> None:
    (held_out / "cats").mkdir()
    (held_out / "cats" / "bad.png").write_bytes(b"")
    result = examined(material(folder, held_out))
    assert result.validation is not None
    assert set(result.validation.codes.tolist()) == {1}
    for path in (held_out / "dogs").iterdir():
        path.write_bytes(b"")
    with refused(InvalidInputError, "validation images can be read", "pass others"):
        examined(material(folder, held_out))


def test_too_few_images_that_can_be_read_cannot_be_divided(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "photos", {"cats": 2, "dogs": 1})
    (folder / "cats" / "000.png").write_bytes(b"")
    with refused(InvalidInputError, "leaves none for validation", "validation=None"):
        examined(material(folder, share=0.5))


def test_a_folder_that_cannot_be_looked_into_is_left_out_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = folder / "cats" / "locked"
    write(locked / "inside.png", 99, (40, 48))
    lock(monkeypatch, lambda name: name == "locked")
    result = examined(material(folder))
    assert result.skipped == {str(locked): "Permission denied"}
    assert [fault.kind for fault in result.report.faults] == ["unreadable folder"]


@pytest.mark.parametrize("seed", range(5))
def test_copies_of_an_image_are_on_one_side(folder: Path, seed: int) -> None:
    for number in range(10):
        for copy in range(3):
            shutil.copy(folder / "cats" / f"{number:03d}.png", folder / "cats" / f"{copy} of {number}.png")
    result = examined(material(folder, share=0.3, seed=seed))
    assert not contents(result.training) & contents(result.validation)
    assert rows_match(result)


@pytest.mark.parametrize("seed", range(5))
def test_copies_in_two_classes_are_on_one_side(folder: Path, seed: int) -> None:
    for number in range(6):
        shutil.copy(folder / "cats" / f"{number:03d}.png", folder / "dogs" / f"cat {number}.png")
    result = examined(material(folder, share=0.4, seed=seed))
    assert not contents(result.training) & contents(result.validation)
    assert sum(fault.kind == "conflicting duplicate" for fault in result.report.faults) == 6


def test_copies_in_training_and_validation_data_are_named_and_stay_where_they_are(folder: Path, held_out: Path) -> None:
    shutil.copy(folder / "dogs" / "000.png", held_out / "dogs" / "again.png")
    result = examined(material(folder, held_out), skip=False)
    assert [(fault.kind, Path(fault.where).name) for fault in result.report.faults] == [("leak", "again.png")]
    assert len(result.training) == 22
    assert result.validation is not None
    assert len(result.validation) == 6


def test_arrays_are_examined_too() -> None:
    arrays: npt.NDArray[np.uint8] = np.stack([picture(seed, SIZE) for seed in range(20)])
    arrays[11] = arrays[1]
    data = read_labelled(arrays, ["cats", "dogs"] * 10)
    result = examine(read_material(data, 0.3, 0), False, Eye())
    assert len(result.training) + len(result.validation or []) == 20
    assert [(fault.kind, fault.where, fault.other) for fault in result.report.faults] == [
        ("duplicate", "image 11", "image 1")
    ]
