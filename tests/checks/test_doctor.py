"""The report on a data set: every fault by name, nothing changed."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from drawing import class_folder, picture, write
from faults import ODD, UNREADABLE, plant_odd, plant_unreadable
from helpers import lock, refused
from PIL import Image

import transferkit as tk
from transferkit.checks.checks import Fault, Report
from transferkit.features import reader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "photos", {"cats": 10, "dogs": 11})


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that are decoded from here on."""
    names: list[str] = []
    original = reader.to_pixels

    def noting(data: bytes, name: str, *rest: object) -> npt.NDArray[np.uint8]:
        names.append(name)
        return original(data, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "to_pixels", noting)
    return names


def check(data: object, labels: object = None, **sets: object) -> Report:
    return tk.check_images(data, labels, verbose=0, **sets)  # type: ignore[arg-type]


def faults(report: Report, kind: str) -> list[Fault]:
    return [fault for fault in report.faults if fault.kind == kind]


def what(report: Report) -> list[tuple[str, str, bool]]:
    """Kind, place and weight of each fault."""
    return [(fault.kind, fault.where, fault.serious) for fault in report.faults]


def drawn(count: int, first: int = 0) -> npt.NDArray[np.uint8]:
    return np.stack([picture(seed, (32, 32)) for seed in range(first, first + count)])


def recompressed(source: Path, target: Path, scale: float = 1.0) -> Path:
    """The same picture in another file, as a JPEG and maybe smaller."""
    image = Image.open(source)
    image.resize((round(image.width * scale), round(image.height * scale))).save(target, quality=80)
    return target


# ---- everything at once ----


def test_a_good_folder_has_no_faults(folder: Path) -> None:
    report = check(folder)
    assert report.faults == []
    assert report.ok
    assert report.counts == {"cats": 10, "dogs": 11}
    assert report.n_images == 21
    assert str(report) == "21 images in 2 classes: no faults found"


@pytest.mark.parametrize("cache", [True, False])
def test_every_fault_of_a_folder_is_in_one_report_by_file_name(folder: Path, cache: bool) -> None:
    cats, dogs = folder / "cats", folder / "dogs"
    serious, lesser = plant_unreadable(cats), plant_odd(dogs)
    lesser[str(shutil.copy(cats / "001.png", cats / "zz again.png"))] = "duplicate"
    serious[str(shutil.copy(cats / "002.png", dogs / "zz other class.png"))] = "conflicting duplicate"
    lesser[str(recompressed(dogs / "003.png", dogs / "zz smaller.jpg", 0.8))] = "near duplicate"
    (folder / "owls").mkdir()
    write(folder / "newts" / "newt.png", 90, (40, 48))
    serious["owls"], lesser["newts"] = "empty class", "small class"
    lesser[str(write(folder / "stray.png", 91))] = "beside the class folders"
    (cats / "notes.txt").write_text("x")
    (cats / ".DS_Store").write_text("x")
    lesser[str(cats / "notes.txt")], lesser[str(cats / ".DS_Store")] = "other file", "hidden or of the system"
    report = check(folder, cache=cache)
    expected = [
        (kind, where, weight) for named, weight in ((serious, True), (lesser, False)) for where, kind in named.items()
    ]
    # The smallest class has no images at all.
    assert sorted(what(report)) == sorted([*expected, ("unbalanced classes", "owls", False)])
    assert not report.ok


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_image_that_cannot_be_read_is_of_the_kind_that_fits_and_has_a_reason(folder: Path, name: str) -> None:
    kind, plant = UNREADABLE[name]
    plant(folder / "cats" / name)
    report = check(folder)
    assert what(report) == [(kind, str(folder / "cats" / name), True)]
    detail = report.faults[0].detail
    assert 5 < len(detail) < 100, "a reason, and not a whole message"
    assert not report.ok
    assert report.n_images == 22


@pytest.mark.parametrize("name", ODD)
def test_an_odd_image_is_named_with_what_is_odd_and_is_no_obstacle(folder: Path, name: str) -> None:
    kind, part, plant = ODD[name]
    plant(folder / "cats" / name)
    report = check(folder)
    assert what(report) == [(kind, str(folder / "cats" / name), False)]
    assert part in report.faults[0].detail
    assert report.ok


def test_serious_faults_come_first(folder: Path) -> None:
    write(folder / "cats" / "aaa.png", 99, (8, 8))
    (folder / "dogs" / "zzz.jpg").write_bytes(b"")
    assert [fault.serious for fault in check(folder).faults] == [True, False]


def test_one_image_can_have_several_faults(folder: Path) -> None:
    image = Image.new("RGBA", (20, 20), (9, 9, 9, 255))
    image.save(folder / "cats" / "small.jpg", format="PNG")
    assert {fault.kind for fault in check(folder).faults} == {"tiny", "flat", "unusual mode", "wrong extension"}


@pytest.mark.parametrize("name", ["upper.JPG", "photo.jpeg", "photo.jpe", "photo.jfif", "scan.TIF", "draw.bmp"])
def test_every_usual_extension_of_a_format_is_right(folder: Path, name: str) -> None:
    write(folder / "cats" / name, 99, (40, 48))
    assert check(folder).faults == []


def test_an_image_without_an_extension_is_looked_at_and_its_name_is_a_fault(folder: Path) -> None:
    path = write(folder / "cats" / "photo", 99, (40, 48))
    report = check(folder)
    assert what(report) == [("wrong extension", str(path), False)]
    assert report.n_images == 22


# ---- copies ----


def test_a_photo_in_two_classes_is_a_conflict_and_names_both(folder: Path) -> None:
    original = str(folder / "cats" / "003.png")
    twin = shutil.copy(original, folder / "dogs" / "again.png")
    report = check(folder)
    detail = f"the same image as {original}, which is in class cats"
    assert report.faults == [Fault("conflicting duplicate", str(twin), detail, True, original)]
    assert not report.ok


def test_a_photo_twice_in_a_class_is_a_lesser_fault(folder: Path) -> None:
    original = str(folder / "cats" / "003.png")
    twins = [str(shutil.copy(original, folder / "cats" / f"again {number}.png")) for number in range(2)]
    report = check(folder)
    assert report.faults == [
        Fault("duplicate", twin, f"the same image as {original}", False, original) for twin in twins
    ]
    assert report.ok


@pytest.mark.parametrize("what_set", ["validation", "test"])
def test_a_photo_in_two_sets_is_a_leak(folder: Path, tmp_path: Path, what_set: str) -> None:
    held_out = tmp_path / "held out"
    write(held_out / "cats" / "fresh.png", 80, (40, 48))
    original = str(folder / "cats" / "003.png")
    twin = str(shutil.copy(original, held_out / "cats"))
    report = check(folder, **{what_set: held_out})
    detail = f"the same image as {original}, which is in the training data"
    assert report.faults == [Fault("leak", twin, detail, True, original)]
    assert not report.ok
    assert report.n_images == 23


def test_a_leak_into_another_class_says_so(folder: Path, tmp_path: Path) -> None:
    original = str(folder / "cats" / "003.png")
    (tmp_path / "test" / "dogs").mkdir(parents=True)
    shutil.copy(original, tmp_path / "test" / "dogs")
    (fault,) = check(folder, test=tmp_path / "test").faults
    assert fault.kind == "leak"
    assert "in class cats" in fault.detail


def test_validation_and_test_data_are_compared_with_each_other(folder: Path, tmp_path: Path) -> None:
    first = write(tmp_path / "validation" / "cats" / "a.png", 80, (40, 48))
    second = write(tmp_path / "test" / "cats" / "b.png", 80, (40, 48))
    report = check(folder, validation=first.parent.parent, test=second.parent.parent)
    detail = f"the same image as {first}, which is in the validation data"
    assert report.faults == [Fault("leak", str(second), detail, True, str(first))]


def test_faults_of_the_other_sets_are_named_too(folder: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "test"
    write(held_out / "cats" / "fresh.png", 80, (40, 48))
    named = plant_unreadable(held_out / "cats")
    (held_out / "cats" / "notes.txt").write_text("x")
    expected = [*((kind, where, True) for where, kind in named.items())]
    expected.append(("other file", str(held_out / "cats" / "notes.txt"), False))
    assert sorted(what(check(folder, test=held_out))) == sorted(expected)


@pytest.mark.parametrize("scale", [1.0, 0.8, 2.0])
def test_a_photo_that_was_saved_anew_or_resized_looks_like_the_first(folder: Path, scale: float) -> None:
    original = folder / "cats" / "003.png"
    copy = str(recompressed(original, folder / "cats" / "again.jpg", scale))
    report = check(folder)
    assert report.faults == [Fault("near duplicate", copy, f"looks like {original}", False, str(original))]
    assert report.ok


def test_a_photo_that_looks_like_one_of_another_class_or_set_says_so(folder: Path, tmp_path: Path) -> None:
    original = folder / "cats" / "003.png"
    (tmp_path / "test" / "dogs").mkdir(parents=True)
    copies = [
        recompressed(original, folder / "dogs" / "x.jpg"),
        recompressed(original, tmp_path / "test" / "dogs" / "y.jpg", 0.8),
    ]
    found = faults(check(folder, test=tmp_path / "test"), "near duplicate")
    assert [(fault.where, fault.other) for fault in found] == [(str(copy), str(original)) for copy in copies]
    assert "in class cats" in found[0].detail
    assert "training data" not in found[0].detail
    assert "in class cats" in found[1].detail
    assert "in the training data" in found[1].detail


def test_copies_of_one_photo_are_compared_with_others_once(folder: Path) -> None:
    original = folder / "cats" / "003.png"
    recompressed(original, folder / "cats" / "again.jpg")
    for number in range(3):
        shutil.copy(original, folder / "cats" / f"copy {number}.png")
    assert Counter(fault.kind for fault in check(folder).faults) == {"duplicate": 3, "near duplicate": 1}


def test_flat_images_are_not_taken_for_each_other(folder: Path) -> None:
    for number in range(3):
        Image.new("RGB", (40, 40), (200 + number, 200, 200)).save(folder / "cats" / f"flat {number}.png")
    assert Counter(fault.kind for fault in check(folder).faults) == {"flat": 3}


def test_tiny_images_are_compared_by_content_alone(folder: Path) -> None:
    small = write(folder / "cats" / "small.png", 99, (24, 24))
    recompressed(small, folder / "cats" / "small.jpg")
    shutil.copy(small, folder / "cats" / "small again.png")
    assert Counter(fault.kind for fault in check(folder).faults) == {"tiny": 3, "duplicate": 1}


def test_an_image_of_two_colours_of_one_brightness_is_not_flat(folder: Path) -> None:
    image = Image.new("RGB", (40, 40), (255, 0, 0))
    image.paste((0, 255, 0), (0, 0, 20, 40))
    image.save(folder / "cats" / "flag.png")
    assert check(folder).faults == []


# ---- classes ----


def test_tiny_photos_are_named_with_their_size(folder: Path) -> None:
    path = write(folder / "cats" / "tiny.png", 99, (31, 50))
    write(folder / "cats" / "just.png", 98, (32, 50))
    assert check(folder).faults == [Fault("tiny", str(path), "50 x 31 pixels", False)]


def test_small_classes_are_named_with_their_count(tmp_path: Path) -> None:
    report = check(class_folder(tmp_path, {"cats": 9, "dogs": 10}))
    assert what(report) == [("small class", "cats", False)]
    assert "9 images" in report.faults[0].detail


def test_a_class_is_small_by_the_images_that_can_be_read(folder: Path) -> None:
    (folder / "cats" / "000.png").write_bytes(b"")
    assert [fault.kind for fault in check(folder).faults] == ["empty file", "small class"]


def test_classes_of_very_different_size_are_named() -> None:
    images = drawn(24)
    found = faults(check(images, ["cats"] * 2 + ["dogs"] * 22), "unbalanced classes")
    assert [(f.where, f.serious) for f in found] == [("cats", False)]
    assert "22 images of dogs, 2 of cats" in found[0].detail
    assert not faults(check(images[:22], ["cats"] * 2 + ["dogs"] * 20), "unbalanced classes")


def test_an_empty_class_is_a_fault_and_no_end_of_the_report(folder: Path) -> None:
    (folder / "owls").mkdir()
    (folder / "newts").mkdir()
    (folder / "newts" / "broken.jpg").write_bytes(b"")
    report = check(folder)
    assert {(f.where, f.detail) for f in faults(report, "empty class")} == {
        ("owls", "no images"),
        ("newts", "none of its images can be read"),
    }
    assert faults(report, "empty file")
    assert report.counts == {"cats": 10, "dogs": 11, "newts": 1, "owls": 0}


# ---- what is left out of a folder ----


def test_what_is_left_out_of_a_folder_is_named(folder: Path) -> None:
    write(folder / "stray.png")
    (folder / "cats" / "notes.txt").write_text("x")
    (folder / "cats" / ".DS_Store").write_text("x")
    os.mkfifo(folder / "dogs" / "pipe")
    (folder / "dogs" / "gone").symlink_to("nowhere")
    report = check(folder)
    assert {(f.kind, Path(f.where).name) for f in report.faults} == {
        ("beside the class folders", "stray.png"),
        ("other file", "notes.txt"),
        ("hidden or of the system", ".DS_Store"),
        ("other file", "pipe"),
        ("other file", "gone"),
    }
    assert report.ok


@pytest.mark.parametrize("name", ["__MACOSX", ".cache"])
def test_a_hidden_folder_beside_the_classes_is_named(folder: Path, name: str) -> None:
    write(folder / name / "._000.png")
    assert what(check(folder)) == [("hidden or of the system", str(folder / name), False)]


def test_a_folder_that_cannot_be_looked_into_is_a_serious_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "cats" / "locked" / "inside.png", 99, (40, 48))
    lock(monkeypatch, lambda name: name == "locked")
    report = check(folder)
    assert report.faults == [Fault("unreadable folder", str(folder / "cats" / "locked"), "Permission denied", True)]


# ---- other forms of data ----


def test_arrays_are_named_by_their_position() -> None:
    images = drawn(20)
    images[13] = images[2]
    images[17] = 50
    for labels, shown in (([0, 1], "0"), ([1, 0], "1"), ([True, False], "True"), (["a", "b"], "a")):
        assert check(images, labels * 10).faults == [
            Fault(
                "conflicting duplicate",
                "image 13",
                f"the same image as image 2, which is in class {shown}",
                True,
                "image 2",
            ),
            Fault("flat", "image 17", "the image appears to be a single colour", False),
        ]


def test_arrays_of_several_sets_are_told_apart() -> None:
    images, held_out = drawn(20), drawn(3, first=100)
    held_out[1] = images[1]
    report = check(images, [0, 1] * 10, test=(held_out, [0, 1, 0]))
    detail = "the same image as image 1, which is in the training data"
    assert report.faults == [Fault("leak", "image 1 of the test data", detail, True, "image 1")]


def test_a_data_frame_is_examined_like_a_folder(folder: Path) -> None:
    paths = sorted(folder.rglob("*.png"))
    (folder / "dogs" / "000.png").write_bytes(b"junk")
    report = check(pd.DataFrame({"path": paths, "label": [path.parent.name for path in paths]}))
    assert what(report) == [("not an image", str(folder / "dogs" / "000.png"), True)]
    assert report.counts == {"cats": 10, "dogs": 11}


def test_listed_files_that_are_missing_or_none_are_faults(folder: Path) -> None:
    paths = sorted(folder.rglob("*.png"))
    os.mkfifo(folder / "pipe")
    (folder / "gone.png").symlink_to("nowhere")
    odd = [
        folder / "missing.png",
        folder / "pipe",
        folder / "gone.png",
        folder / "cats",
        folder / "cats" / "000.png" / "x",
    ]
    report = check([*paths, *odd], [path.parent.name for path in paths] + ["cats"] * len(odd))
    assert {fault.where: fault.kind for fault in report.faults} == {
        str(odd[0]): "unreadable",
        str(odd[1]): "not a regular file",
        str(odd[2]): "not a regular file",
        str(odd[3]): "not a regular file",
        str(odd[4]): "unreadable",
    }
    assert "No such file" in next(fault.detail for fault in report.faults if fault.where == str(odd[0]))


def test_classes_that_are_numbers_or_truths_are_named(folder: Path) -> None:
    images = drawn(21)
    assert check(images, [False, True, True] * 7, cache=False).counts == {False: 7, True: 14}
    assert faults(check(images, [7] * 9 + [8] * 12), "small class")[0].where == "7"


@pytest.mark.parametrize("counts", [{"cats": 3}, {}])
def test_data_that_is_no_data_set_is_refused(tmp_path: Path, counts: dict[str, int]) -> None:
    class_folder(tmp_path, counts)
    with refused(tk.InvalidInputError, "class"):
        check(tmp_path)
    with refused(tk.InvalidInputError, "nowhere", "Check the path"):
        check(tmp_path / "nowhere")


def test_a_class_of_the_test_data_that_is_not_known_is_refused(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "test" / "dog" / "a.png")
    with refused(tk.InvalidInputError, "The test data holds the class 'dog'", "did you mean 'dogs'?"):
        check(folder, test=tmp_path / "test")


def test_wrong_arguments_are_refused(folder: Path) -> None:
    with refused(tk.InvalidInputError, "`verbose='loud'`", "Pass verbose=0"):
        tk.check_images(folder, verbose="loud")
    with refused(tk.InvalidInputError, "`cache=3`", "Pass cache=True"):
        tk.check_images(folder, cache=3)  # type: ignore[arg-type]


# ---- what it leaves behind ----


def test_nothing_on_disk_is_changed(folder: Path) -> None:
    plant_unreadable(folder / "cats")
    plant_odd(folder / "cats")

    def state() -> dict[Path, tuple[float, int, bytes]]:
        entries = {path: path.lstat() for path in folder.rglob("*")}
        small = {path for path in entries if path.is_file() and entries[path].st_size < 2**20}
        return {
            path: (status.st_mtime_ns, status.st_size, path.read_bytes() if path in small else b"")
            for path, status in entries.items()
        }

    before = state()
    check(folder).html(folder.parent / "report.html")
    assert state() == before


def test_a_second_look_decodes_nothing_and_says_the_same(folder: Path, decoded: list[str]) -> None:
    plant_odd(folder / "cats")
    shutil.copy(folder / "cats" / "003.png", folder / "dogs" / "again.png")
    recompressed(folder / "cats" / "004.png", folder / "cats" / "again.jpg")
    first = check(folder)
    assert len(set(decoded)) == len(decoded) >= 21 + len(ODD)
    decoded.clear()
    assert check(folder) == first
    assert decoded == []


def test_a_second_look_tries_broken_files_again(folder: Path, decoded: list[str]) -> None:
    named = plant_unreadable(folder / "cats")
    first = check(folder)
    decoded.clear()
    assert check(folder) == first
    assert set(decoded) <= set(named)
    (folder / "cats" / "half.png").unlink()
    write(folder / "cats" / "half.png", 99, (40, 48))
    assert len(check(folder).faults) == len(first.faults) - 1


def test_without_a_cache_the_report_is_the_same_and_nothing_is_kept(folder: Path, decoded: list[str]) -> None:
    plant_odd(folder / "cats")
    first = check(folder, cache=False)
    count = len(decoded)
    assert tk.cache.info().size == 0
    assert check(folder, cache=False) == first == check(folder)
    assert len(decoded) == 3 * count


def test_a_cache_of_its_own_folder_is_used(folder: Path, tmp_path: Path, decoded: list[str]) -> None:
    check(folder, cache=tmp_path / "kept")
    decoded.clear()
    check(folder, cache=tmp_path / "kept")
    assert decoded == []
    assert tk.cache.info().size == 0 < tk.cache.info(tmp_path / "kept").size


def test_progress_is_shown_only_if_asked_for(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check(folder)
    assert capfd.readouterr() == ("", "")


def test_one_file_under_two_labels_is_one_more_fault(folder: Path) -> None:
    paths = [str(path) for path in sorted(folder.rglob("*.png"))]
    labels = [Path(path).parent.name for path in paths]
    found = faults(check([*paths, paths[0]], [*labels, "dogs"]), "conflicting duplicate")
    assert [(fault.where, fault.other) for fault in found] == [(paths[0], paths[0])]


def test_many_images_beside_the_class_folders_are_serious(folder: Path) -> None:
    for number in range(10):
        write(folder / f"loose {number}.png", number)
    report = tk.check_images(folder, verbose=0)
    (fault,) = (fault for fault in report.faults if fault.kind == "images beside the class folders")
    assert fault.serious
    assert fault.detail.startswith("10 images")
    assert not report.ok


def test_names_that_differ_only_in_case_or_spaces_are_told() -> None:
    arrays = [picture(seed, (32, 32)) for seed in range(4)]
    report = tk.check_images(arrays, ["Daisy", "daisy ", "rose", "rose"], verbose=0)
    assert [fault.where for fault in report.faults if fault.kind == "similar class names"] == ["'daisy '"]


def test_folders_that_all_classes_hold_may_be_the_classes(tmp_path: Path) -> None:
    for year in ("2019", "2020"):
        for number in range(20):
            write(tmp_path / year / ("daisy", "rose")[number % 2] / f"{number}.png", int(year) + 50 * number, (40, 48))
    detail = "every class folder holds the folders 'daisy', 'rose': are these the classes?"
    fault = Fault("same folders in all classes", str(tmp_path), detail, False)
    assert fault in check(tmp_path).faults
    write(tmp_path / "2020" / "other.png", 1, (40, 48))
    assert fault.kind not in {found.kind for found in check(tmp_path).faults}
