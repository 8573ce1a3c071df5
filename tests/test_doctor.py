"""The report on a data set: every fault by name, nothing changed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import class_folder, picture, refused, write

import transferkit as tk
from transferkit.doctor import Fault, Report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "photos", {"cats": 10, "dogs": 11})


def check(data: object, labels: object = None) -> Report:
    return tk.check_images(data, labels, verbose=0)


def faults(report: Report, kind: str) -> list[Fault]:
    return [fault for fault in report.faults if fault.kind == kind]


def test_a_good_folder_has_no_faults(folder: Path) -> None:
    report = check(folder)
    assert report.faults == []
    assert report.ok
    assert report.counts == {"cats": 10, "dogs": 11}
    assert report.n_images == 21
    assert str(report) == "21 images of 2 classes: no faults found"


def test_a_file_that_cannot_be_read_is_a_serious_fault_with_its_reason(folder: Path) -> None:
    path = folder / "cats" / "broken.jpg"
    path.write_bytes(b"")
    report = check(folder)
    assert report.faults == [Fault("unreadable", str(path), "the file is empty", True)]
    assert not report.ok
    assert report.n_images == 22


def test_every_broken_file_is_named(folder: Path) -> None:
    broken = [folder / "dogs" / name for name in ("a ñ.jpg", "b.png", "c.gif")]
    for path, content in zip(broken, [b"<html>", b"\x89PNG\r\n\x1a\n123", b"GIF89a"], strict=True):
        path.write_bytes(content)
    assert [fault.where for fault in faults(check(folder), "unreadable")] == [str(path) for path in broken]


def test_a_photo_in_two_classes_is_a_conflict_and_names_both(folder: Path) -> None:
    twin = shutil.copy(folder / "cats" / "003.png", folder / "dogs" / "again.png")
    report = check(folder)
    assert report.faults == [
        Fault("conflicting duplicate", str(twin), f"the same image as {folder / 'cats' / '003.png'}", True)
    ]
    assert not report.ok


def test_a_photo_twice_in_a_class_is_a_lesser_fault(folder: Path) -> None:
    twin = shutil.copy(folder / "cats" / "003.png", folder / "cats" / "again.png")
    report = check(folder)
    assert [(f.kind, f.where, f.serious) for f in report.faults] == [("duplicate", str(twin), False)]
    assert report.ok


def test_tiny_photos_are_named_with_their_size(folder: Path) -> None:
    path = write(folder / "cats" / "tiny.png", 99, (31, 50))
    write(folder / "cats" / "just.png", 98, (32, 50))
    assert check(folder).faults == [Fault("tiny", str(path), "50 x 31 pixels", False)]


def test_small_classes_are_named_with_their_count(tmp_path: Path) -> None:
    report = check(class_folder(tmp_path, {"cats": 9, "dogs": 10}))
    assert [(f.kind, f.where) for f in report.faults] == [("small class", "cats")]
    assert "9 images" in report.faults[0].detail


def test_classes_of_very_different_size_are_named(tmp_path: Path) -> None:
    images = np.stack([picture(seed, (32, 32)) for seed in range(24)])
    found = faults(check(images, ["cats"] * 2 + ["dogs"] * 22), "unbalanced classes")
    assert [(f.where, f.serious) for f in found] == [("cats", False)]
    assert "22 images of dogs, 2 of cats" in found[0].detail
    assert not faults(check(images[:22], ["cats"] * 2 + ["dogs"] * 20), "unbalanced classes")


def test_what_is_left_out_of_a_folder_is_named(folder: Path) -> None:
    write(folder / "stray.png")
    (folder / "cats" / "notes.txt").write_text("x")
    (folder / "cats" / ".DS_Store").write_text("x")
    os.mkfifo(folder / "dogs" / "pipe.jpg")
    (folder / "dogs" / "gone.jpg").symlink_to("nowhere")
    report = check(folder)
    assert {(f.kind, Path(f.where).name) for f in report.faults} == {
        ("beside the class folders", "stray.png"),
        ("not an image", "notes.txt"),
        ("hidden or of the system", ".DS_Store"),
        ("not a regular file", "pipe.jpg"),
        ("not a regular file", "gone.jpg"),
    }
    assert report.ok


@pytest.mark.parametrize("name", ["__MACOSX", ".cache"])
def test_a_hidden_folder_beside_the_classes_is_named(folder: Path, name: str) -> None:
    write(folder / name / "._000.png")
    assert [(f.kind, f.where) for f in check(folder).faults] == [("hidden or of the system", str(folder / name))]


def test_an_empty_class_is_a_fault_and_no_end_of_the_report(folder: Path) -> None:
    (folder / "owls").mkdir()
    (folder / "cats" / "broken.jpg").write_bytes(b"")
    report = check(folder)
    assert any("empty" in f.kind and "owls" in f.where for f in report.faults)
    assert faults(report, "unreadable")


def test_serious_faults_come_first(folder: Path) -> None:
    write(folder / "cats" / "aaa.png", 99, (8, 8))
    (folder / "dogs" / "zzz.jpg").write_bytes(b"")
    assert [fault.serious for fault in check(folder).faults] == [True, False]


def test_arrays_are_named_by_their_position() -> None:
    images = np.stack([picture(seed, (32, 32)) for seed in range(20)])
    images[13] = images[2]
    assert check(images, [0, 1] * 10).faults == [
        Fault("conflicting duplicate", "image 13", "the same image as image 2", True)
    ]


def test_a_data_frame_is_examined_like_a_folder(folder: Path) -> None:
    paths = sorted(folder.rglob("*.png"))
    (folder / "dogs" / "000.png").write_bytes(b"junk")
    report = check(pd.DataFrame({"path": paths, "label": [path.parent.name for path in paths]}))
    assert [(f.kind, f.where) for f in report.faults] == [("unreadable", str(folder / "dogs" / "000.png"))]
    assert report.counts == {"cats": 10, "dogs": 11}


def test_nothing_on_disk_is_changed(folder: Path) -> None:
    (folder / "cats" / "broken.jpg").write_bytes(b"junk")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    check(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_report_prints_ten_faults_of_a_kind_and_counts_the_rest() -> None:
    many = [Fault("unreadable", f"{n}.jpg", "empty", True) for n in range(13)]
    text = str(Report([*many, Fault("tiny", "x.jpg", "8 x 8 pixels", False)], {"a": 7, "b": 8}, 15))
    assert text.startswith("15 images of 2 classes: 13 serious faults, 14 in all")
    assert "9.jpg: empty" in text
    assert "10.jpg" not in text
    assert "and 3 more" in text
    assert "x.jpg: 8 x 8 pixels" in text


def test_a_report_becomes_a_data_frame() -> None:
    frame = Report([Fault("tiny", "x.jpg", "8 x 8 pixels", False)]).to_dataframe()
    assert frame.columns.tolist() == ["kind", "where", "detail", "serious"]
    assert frame.iloc[0].tolist() == ["tiny", "x.jpg", "8 x 8 pixels", False]
    assert len(Report().to_dataframe()) == 0


def test_without_pandas_a_data_frame_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with refused(tk.MissingExtraError, "DataFrame", "pip install 'transferkit[pandas]'"):
        Report().to_dataframe()


def test_without_pillow_a_webp_is_named_with_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(folder / "cats" / "new.webp", 99, (40, 40))
    monkeypatch.setitem(sys.modules, "PIL", None)
    found = check(folder).faults
    assert [(f.kind, f.where, f.serious) for f in found] == [("unreadable", str(path), True)]
    assert "transferkit[images]" in found[0].detail


@pytest.mark.parametrize("counts", [{"cats": 3}, {}])
def test_data_that_is_no_data_set_is_refused(tmp_path: Path, counts: dict[str, int]) -> None:
    class_folder(tmp_path, counts)
    with refused(tk.InvalidInputError, "class"):
        check(tmp_path)
    with refused(tk.InvalidInputError, "nowhere", "Check the path"):
        check(tmp_path / "nowhere")


def test_an_unknown_verbose_is_refused(folder: Path) -> None:
    with refused(tk.InvalidInputError, "`verbose='loud'`", "Pass verbose=0"):
        tk.check_images(folder, verbose="loud")
