"""The data check before training: refuse or leave out, then split, and know where the rows of each image are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from drawing import class_folder, picture, write
from faults import UNREADABLE, plant_unreadable
from helpers import lock, refused

from transferkit._common.console import Console
from transferkit.checks import Report, diagnose
from transferkit.errors import ImageReadError, InvalidInputError
from transferkit.features.reader import inspect
from transferkit.images.images import LabelledImages
from transferkit.images.reading import read_labelled
from transferkit.images.splits import read_training_data

SIZE = (32, 32)


class Checked(NamedTuple):
    """What `fit` does before it trains: look at all images, judge them, split those that can be read."""

    training: LabelledImages
    validation: LabelledImages | None
    report: Report
    skipped: dict[str, str]
    rows: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    names: list[str]


def checked(folder: object, validation: object = None, share: float = 0.0, seed: int = 0, skip: bool = True) -> Checked:
    labelled = folder if isinstance(folder, LabelledImages) else read_labelled(folder, lenient=True)
    data = read_training_data(labelled, share if validation is None else validation, lenient=True)
    images = data.all_images
    inspection = inspect(images, SIZE, None, Console(0), skip)
    report = diagnose(data.sets, inspection)
    training, held_out, rows, _ = data.split(inspection.readable(), inspection.keys, inspection.thumbnails, seed)
    names = [images.name(index) for index in range(len(images))]
    return Checked(training, held_out, report, inspection.reasons(images), rows, names)


def paths(data: LabelledImages | None) -> list[str]:
    assert data is not None
    return [str(data.images.path(index)) for index in range(len(data))]


def contents(data: LabelledImages | None) -> set[bytes]:
    return {Path(path).read_bytes() for path in paths(data)}


def rows_match(result: Checked) -> bool:
    """Whether `rows` says where the images of both sets are among all."""
    sides = [result.training] if result.validation is None else [result.training, result.validation]
    return all(
        [result.names[row] for row in rows.tolist()] == [data.images.name(index) for index in range(len(data))]
        for data, rows in zip(sides, result.rows, strict=False)
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


@pytest.mark.parametrize("skip", [False, True])
def test_good_images_are_split(folder: Path, skip: bool) -> None:
    result = checked(folder, share=0.25, seed=3, skip=skip)
    assert (len(result.training), len(result.validation or ())) == (16, 6)
    assert sorted(paths(result.training) + paths(result.validation)) == sorted(result.names)
    assert result.skipped == {}
    assert result.report.ok
    assert rows_match(result)


def test_without_validation_all_images_are_trained_on(folder: Path) -> None:
    result = checked(folder)
    assert len(result.training) == 22
    assert result.validation is None
    assert rows_match(result)


def test_all_bad_images_of_both_sets_are_named_in_one_error(folder: Path, held_out: Path) -> None:
    named = plant_unreadable(folder / "cats") | plant_unreadable(held_out / "dogs")
    with refused(ImageReadError, f"{2 * len(UNREADABLE)} images", "on_bad_image='skip'", "check_images") as caught:
        checked(folder, held_out, skip=False)
    assert caught.value.kinds == named
    listed = list(caught.value.failures)
    assert listed == sorted(listed, key=lambda name: "held out" in name), "in the order of the data"


def test_bad_files_are_named_where_the_validation_data_are_arrays(folder: Path) -> None:
    (folder / "cats" / "bad.png").write_bytes(b"")
    arrays = np.stack([picture(seed, SIZE) for seed in range(4)])
    with refused(ImageReadError, "bad.png"):
        checked(folder, (arrays, ["cats", "dogs"] * 2), skip=False)
    result = checked(folder, (arrays, ["cats", "dogs"] * 2))
    assert len(result.training) == 22
    assert sorted(result.rows[1].tolist()) == [23, 24, 25, 26]
    assert rows_match(result)


def test_one_bad_image_is_named_with_the_way_to_go_on(folder: Path) -> None:
    (folder / "cats" / "bad.png").write_bytes(b"")
    with refused(ImageReadError, "bad.png", "the file is empty", "on_bad_image='skip'"):
        checked(folder, skip=False)


def test_what_is_left_is_divided_as_if_the_bad_images_had_never_been(folder: Path) -> None:
    known = checked(folder, share=0.25, seed=3)
    named = plant_unreadable(folder / "cats")
    result = checked(folder, share=0.25, seed=3)
    assert paths(result.training) == paths(known.training)
    assert paths(result.validation) == paths(known.validation)
    assert result.training.codes.tolist() == known.training.codes.tolist()
    assert result.skipped.keys() == named.keys()
    assert {fault.where for fault in result.report.faults} == named.keys()
    assert rows_match(result)


def test_bad_images_of_given_validation_data_are_left_out(folder: Path, held_out: Path) -> None:
    known = checked(folder, held_out)
    named = plant_unreadable(folder / "dogs") | plant_unreadable(held_out / "dogs")
    result = checked(folder, held_out)
    assert paths(result.training) == paths(known.training)
    assert paths(result.validation) == paths(known.validation)
    assert result.skipped.keys() == named.keys()
    assert rows_match(result)


def test_a_class_of_which_nothing_can_be_read_is_refused_by_name(folder: Path) -> None:
    (folder / "owls").mkdir()
    plant_unreadable(folder / "owls")
    with refused(InvalidInputError, "None of the training images of the class 'owls'", "check_images"):
        checked(folder)


def test_validation_data_may_lose_a_class_but_not_all(folder: Path, held_out: Path) -> None:
    (held_out / "cats").mkdir()
    (held_out / "cats" / "bad.png").write_bytes(b"")
    result = checked(folder, held_out)
    assert result.validation is not None
    assert set(result.validation.codes.tolist()) == {1}
    for path in (held_out / "dogs").iterdir():
        path.write_bytes(b"")
    with refused(InvalidInputError, "validation images can be read", "pass others"):
        checked(folder, held_out)


def test_too_few_images_that_can_be_read_cannot_be_divided(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "photos", {"cats": 2, "dogs": 1})
    (folder / "cats" / "000.png").write_bytes(b"")
    with refused(InvalidInputError, "leaves none for validation", "validation=None"):
        checked(folder, share=0.5)


def test_a_folder_that_cannot_be_looked_into_is_left_out_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = folder / "cats" / "locked"
    write(locked / "inside.png", 99, (40, 48))
    lock(monkeypatch, lambda name: name == "locked")
    result = checked(folder)
    assert result.skipped == {str(locked): "Permission denied"}
    assert [fault.kind for fault in result.report.faults] == ["unreadable folder"]


@pytest.mark.parametrize("seed", range(5))
def test_copies_of_an_image_are_on_one_side(folder: Path, seed: int) -> None:
    for number in range(10):
        for copy in range(3):
            shutil.copy(folder / "cats" / f"{number:03d}.png", folder / "cats" / f"{copy} of {number}.png")
    result = checked(folder, share=0.3, seed=seed)
    assert not contents(result.training) & contents(result.validation)
    assert rows_match(result)


@pytest.mark.parametrize("seed", range(5))
def test_copies_in_two_classes_are_on_one_side(folder: Path, seed: int) -> None:
    for number in range(6):
        shutil.copy(folder / "cats" / f"{number:03d}.png", folder / "dogs" / f"cat {number}.png")
    result = checked(folder, share=0.4, seed=seed)
    assert not contents(result.training) & contents(result.validation)
    assert sum(fault.kind == "conflicting duplicate" for fault in result.report.faults) == 6


def test_copies_of_training_images_are_named_and_do_not_validate(folder: Path, held_out: Path) -> None:
    shutil.copy(folder / "dogs" / "000.png", held_out / "dogs" / "again.png")
    result = checked(folder, held_out, skip=False)
    assert [(fault.kind, Path(fault.where).name) for fault in result.report.faults] == [("leak", "again.png")]
    assert len(result.training) == 22
    assert result.validation is not None
    assert len(result.validation) == 5


def test_arrays_are_examined_too() -> None:
    arrays: npt.NDArray[np.uint8] = np.stack([picture(seed, SIZE) for seed in range(20)])
    arrays[11] = arrays[1]
    data = read_labelled(arrays, ["cats", "dogs"] * 10)
    result = checked(data, share=0.3, skip=False)
    assert len(result.training) + len(result.validation or []) == 20
    assert [(fault.kind, fault.where, fault.other) for fault in result.report.faults] == [
        ("duplicate", "image 11", "image 1")
    ]
