"""What a report prints, and what it writes: a table, rows, a page that needs no other file."""

from __future__ import annotations

import os
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from drawing import class_folder, picture, write
from faults import plant_unreadable
from helpers import refused
from pages import Page
from PIL import Image

import transferkit as tk
from transferkit.checks.report import Fault, Report

MANY = [Fault("unreadable", f"{number}.jpg", "empty", True) for number in range(13)]
TINY = Fault("tiny", "x.jpg", "8 x 8 pixels", False)


def page_of(report: Report, path: Path) -> Page:
    report.html(path)
    return Page(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "photos", {"cats": 10, "dogs": 10})


# ---- the table ----


def test_a_report_prints_five_faults_of_a_kind_and_counts_the_rest() -> None:
    text = str(Report([*MANY, TINY], {"a": 7, "b": 8}, 15))
    assert text.startswith("15 images in 2 classes: 13 serious faults, 14 in all")
    assert "4.jpg: empty" in text
    assert "5.jpg" not in text
    assert "and 8 more" in text
    assert "x.jpg: 8 x 8 pixels" in text
    assert len(text.splitlines()) < 20


def test_serious_kinds_are_marked() -> None:
    lines = str(Report([*MANY, TINY], {"a": 7, "b": 8}, 15)).splitlines()
    assert next(line for line in lines if "unreadable" in line).startswith("!")
    assert next(line for line in lines if "tiny" in line).startswith(" ")


def test_every_fault_is_one_line_whatever_the_names_hold(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "new\nline", {"cats": 10, "dogs": 10})
    (folder / "cats" / "again\r\t\x1b[31m.png").write_bytes((folder / "cats" / "000.png").read_bytes())
    report = tk.check_images(folder, verbose=0)
    assert len(report.faults) == 1
    text = str(report)
    assert len(text.splitlines()) == len(str(Report([TINY], {"a": 1, "b": 1}, 2)).splitlines())
    assert "\x1b" not in text
    assert "\r" not in text
    assert report.faults[0].where == str(folder / "cats" / "again\r\t\x1b[31m.png"), "the name itself stays as it is"


def test_a_summary_is_one_line_with_a_count_per_kind() -> None:
    assert Report([*MANY, TINY], {"a": 700, "b": 800}, 1500).summary() == (
        "1,500 images in 2 classes: 13 unreadable (serious), 1 tiny"
    )
    assert Report([], {"a": 1, "b": 2}, 3).summary() == "3 images in 2 classes: no faults found"


def test_a_report_is_good_if_nothing_serious_was_found() -> None:
    assert Report().ok
    assert Report([TINY]).ok
    assert not Report([TINY, *MANY]).ok


# ---- rows ----


def test_a_report_becomes_a_data_frame() -> None:
    twin = Fault("duplicate", "y.jpg", "the same image as x.jpg", False, "x.jpg")
    frame = Report([TINY, twin]).to_dataframe()
    assert frame.columns.tolist() == ["kind", "where", "detail", "serious", "other"]
    assert frame.iloc[0].tolist() == ["tiny", "x.jpg", "8 x 8 pixels", False, None]
    assert frame.iloc[1].tolist() == list(twin)
    assert Report().to_dataframe().columns.tolist() == frame.columns.tolist()
    assert len(Report().to_dataframe()) == 0


def test_without_pandas_a_data_frame_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with refused(tk.MissingExtraError, "DataFrame", "pip install 'transferkit[pandas]'"):
        Report().to_dataframe()


def test_a_report_can_be_pickled(folder: Path, tmp_path: Path) -> None:
    write(folder / "cats" / "small.png", 99, (8, 8))
    report = tk.check_images(folder, verbose=0)
    twin = pickle.loads(pickle.dumps(report))
    assert twin == report
    assert page_of(twin, tmp_path / "twin.html").source == page_of(report, tmp_path / "report.html").source


def test_a_notebook_shows_a_report_as_a_table_of_its_first_faults() -> None:
    shown = Report([*MANY, Fault("tiny", "<b>.jpg", "8 x 8 pixels", False)], {"a": 7, "b": 8}, 15)._repr_html_()
    assert shown.count("<tr>") == 1 + 5 + 1
    assert "15 images in 2 classes" in shown
    assert "<td>&lt;b&gt;.jpg</td>" in shown
    assert Report([], {"a": 1}, 1)._repr_html_() == "<p>1 images in 1 classes: no faults found</p>"


# ---- the page ----


def test_the_page_needs_no_other_file_and_no_network(folder: Path, tmp_path: Path) -> None:
    plant_unreadable(folder / "cats")
    write(folder / "cats" / "small.png", 99, (20, 20))
    page = page_of(tk.check_images(folder, verbose=0), tmp_path / "report.html")
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object")
        assert all((value or "").startswith("data:") for key, value in attributes.items() if key in ("src", "href"))
    assert not re.search(r"https?:|url\(|@import", page.source)
    assert page.source.startswith("<!DOCTYPE html>")


def test_the_page_says_all_that_the_report_does(folder: Path, tmp_path: Path) -> None:
    plant_unreadable(folder / "cats")
    report = tk.check_images(folder, verbose=0)
    page = page_of(report, tmp_path / "report.html")
    assert report.summary() in page.text
    for fault in report.faults:
        assert fault.where in page.text
        assert fault.detail in page.text
    assert len(page.figures) == len(report.faults)


def test_names_are_escaped(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "photos", {"<i>cats": 10, "dogs": 10})
    path = write(folder / "<i>cats" / '<b onclick="x">&.jpg', 99, (20, 20))
    (folder / "dogs" / "<script>alert(1)<script>.jpg").write_bytes(b"")
    page = page_of(tk.check_images(folder, verbose=0), tmp_path / "report.html")
    tags = [tag for tag, _ in page.tags]
    assert not {"b", "i"} & set(tags)
    assert tags.count("script") == 1, "that of the page itself"
    assert str(path) in page.text
    assert "&lt;b onclick" in page.source


def test_a_name_that_is_no_text_does_not_end_the_page(folder: Path, tmp_path: Path) -> None:
    (folder / "cats" / "bad \udcff.jpg").write_bytes(b"")
    page = page_of(tk.check_images(folder, verbose=0), tmp_path / "report.html")
    assert r"bad \udcff.jpg" in page.text


def test_images_that_can_be_read_are_shown_upright_and_small(folder: Path, tmp_path: Path) -> None:
    small = write(folder / "cats" / "small.png", 97, (20, 30))
    lying = folder / "dogs" / "lying.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(98, (300, 600))).save(lying, exif=exif, quality=95)
    page = page_of(tk.check_images(folder, verbose=0), tmp_path / "report.html")
    (shown,) = page.pictures_of(str(small))
    assert shown.size == (30, 20), "never enlarged"
    assert np.abs(np.asarray(shown).astype(int) - picture(97, (20, 30))).mean() < 10
    (turned,) = page.pictures_of(str(lying))
    assert turned.size == (64, 128)
    upright = np.rot90(picture(98, (300, 600)), -1)[::5, ::5]
    known = np.asarray(Image.fromarray(upright).resize((64, 128))).astype(int)
    assert np.abs(np.asarray(turned).astype(int) - known).mean() < 10


def test_a_duplicate_is_shown_beside_its_twin(folder: Path, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (folder / name / "again.png").write_bytes((folder / "cats" / "000.png").read_bytes())
    report = tk.check_images(folder, verbose=0)
    page = page_of(report, tmp_path / "report.html")
    assert len(report.faults) == 2
    for fault in report.faults:
        first, second = page.pictures_of(fault.where)
        assert np.array_equal(np.asarray(first), np.asarray(second))


def test_what_cannot_be_read_has_an_entry_without_a_picture(folder: Path, tmp_path: Path) -> None:
    named = plant_unreadable(folder / "cats")
    page = page_of(tk.check_images(folder, verbose=0), tmp_path / "report.html")
    assert [page.pictures_of(name) for name in named] == [[]] * len(named)


def test_an_image_that_was_removed_meanwhile_has_an_entry_without_a_picture(folder: Path, tmp_path: Path) -> None:
    small = write(folder / "cats" / "small.png", 99, (20, 20))
    report = tk.check_images(folder, verbose=0)
    small.unlink()
    assert page_of(report, tmp_path / "report.html").pictures_of(str(small)) == []


def test_arrays_are_shown_too(tmp_path: Path) -> None:
    images = [picture(seed, (40, 40)).astype(np.float32) for seed in range(20)]
    images[7] = images[2].copy()
    images.append(np.full((300, 10, 3), 60, np.uint8))
    report = tk.check_images(images, ["cats", "dogs"] * 10 + ["cats"], verbose=0)
    page = page_of(report, tmp_path / "report.html")
    assert len(page.pictures_of("image 7")) == 2
    flat = [pictures for pictures, caption in page.figures if caption.startswith("image 20")]
    assert [[picture.size for picture in pictures] for pictures in flat] == [[(4, 128)]] * 2  # tiny, and flat


def test_a_long_list_of_one_kind_is_cut(tmp_path: Path) -> None:
    many = [Fault("unreadable", f"{number}.jpg", "empty", True) for number in range(250)]
    page = page_of(Report(many, {"a": 7, "b": 8}, 300), tmp_path / "report.html")
    assert len(page.figures) == 100
    assert "and 150 more" in page.text


def test_a_report_without_faults_has_a_page(tmp_path: Path) -> None:
    assert "no faults found" in page_of(Report([], {"a": 1, "b": 2}, 3), tmp_path / "report.html").text


def test_a_page_replaces_one_that_is_there_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    other_name = tmp_path / "link.html"
    other_name.hardlink_to(target)
    Report([TINY]).html(str(target))
    assert "8 x 8" in target.read_text(encoding="utf-8")
    assert other_name.read_text() == "old", "written beside it and renamed, never half of it"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.html", "report.html"]


def test_a_page_that_cannot_be_made_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(tk.InvalidInputError, match="No space"):
        Report([TINY]).html(target)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("path", ["report.pdf", "report", "report.html.txt", 3, None, b"report.html"])
def test_another_ending_is_refused(path: object) -> None:
    with refused(tk.InvalidInputError, f"`path={path!r}` must end in .html", "report.html"):
        Report().html(path)  # type: ignore[arg-type]


def test_a_folder_that_is_missing_or_in_the_way_is_refused(tmp_path: Path) -> None:
    with refused(tk.InvalidInputError, "nowhere/report.html", "in a folder that does not exist", "Make the folder"):
        Report().html("nowhere/report.html")
    (tmp_path / "folder.html").mkdir()
    with refused(tk.InvalidInputError, "folder.html", "Is a directory", "Pass another path"):
        Report().html(tmp_path / "folder.html")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_what_is_not_a_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.html")
    (tmp_path / "link.html").symlink_to("pipe.html")
    for name in ("pipe.html", "link.html"):
        with refused(tk.InvalidInputError, name, "not a regular file"):
            Report().html(tmp_path / name)
    assert (tmp_path / "pipe.html").is_fifo()


def test_pictures_are_found_wherever_the_process_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = class_folder(tmp_path / "photos", {"cats": 10, "dogs": 10})
    (folder / "cats" / "again.png").write_bytes((folder / "cats" / "003.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    report = tk.check_images("photos", verbose=0)
    assert not Path(report.faults[0].where).is_absolute()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert page_of(report, tmp_path / "report.html").source.count("<img") == 2
