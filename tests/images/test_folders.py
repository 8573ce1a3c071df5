"""Folders on disk: what counts as an image, what is left out, and which folders are refused."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from drawing import class_folder, write
from helpers import lock, refused

import transferkit as tk
from transferkit.errors import ImageReadError, InvalidInputError
from transferkit.images.decoding import Resizing, content_of, load
from transferkit.images.folders import is_hidden, list_class_folder, list_files
from transferkit.images.images import Images


def names(paths: Sequence[object]) -> list[str]:
    return [Path(str(path)).name for path in paths]


def below(root: Path, paths: Sequence[object]) -> list[str]:
    return [Path(str(path)).relative_to(root).as_posix() for path in paths]


@pytest.mark.parametrize(
    "name",
    [
        *["a.jpg", "a.JPG", "a.Jpeg", "a.jfif", "a.JFIF", "a.jpe", "a.png", "a.webp", "a.WebP", "a.tif", "a.TIFF"],
        *["a.gif", "a.bmp", "a.dib", "a.avif", "a.ico", "a.jp2", "a.ppm", "a.mpo", "a.b.c.jpg"],
        *["ä b [c]*?.jpg", "猫.png", "two\nlines.jpg", " .png", "-rf.jpg", "'\"$(x).jpg", "é.jpg", "e\u0301.jpg"],
        os.fsdecode(b"not \xff utf-8 \xe9.jpg"),
    ],
)
def test_an_image_counts_by_its_extension_in_any_case(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not even an image")
    assert names(list_files(tmp_path).files) == [name]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP"])
def test_an_image_without_an_extension_counts_by_its_first_bytes(tmp_path: Path, kind: str) -> None:
    image = write(tmp_path / "x.png")
    from PIL import Image

    Image.open(image).save(tmp_path / "photo", format=kind)
    assert names(list_files(tmp_path).files) == ["photo", "x.png"]


@pytest.mark.parametrize("name", ["notes.txt", "labels.csv", "README", "a.jpg.part", "jpg"])
def test_other_files_are_left_out_and_noted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"text")
    found = list_files(tmp_path)
    assert found.files == []
    assert names(found.not_images) == [name]


@pytest.mark.parametrize("name", [".DS_Store", "._a.jpg", ".hidden.png", "Thumbs.db", "desktop.ini"])
def test_hidden_files_are_left_out_and_noted(tmp_path: Path, name: str) -> None:
    write(tmp_path / "seen.png")
    (tmp_path / name).write_bytes((tmp_path / "seen.png").read_bytes())
    found = list_files(tmp_path)
    assert names(found.files) == ["seen.png"]
    assert names(found.hidden) == [name]


@pytest.mark.parametrize("folder", ["__MACOSX", ".git", "@eaDir", ".ipynb_checkpoints"])
def test_folders_of_the_system_are_not_entered(tmp_path: Path, folder: str) -> None:
    write(tmp_path / folder / "a.png")
    found = list_files(tmp_path)
    assert found.files == []
    assert names(found.hidden) == [folder]


@pytest.mark.parametrize(("name", "hidden"), [(".a", True), ("__macosx", True), ("a.", False), ("macosx", False)])
def test_a_name_is_hidden_by_its_dot_or_by_the_systems_list(name: str, hidden: bool) -> None:
    assert is_hidden(name) is hidden


def test_folders_are_listed_to_any_depth(tmp_path: Path) -> None:
    for place in ("b/2.png", "b/deep/er/3.png", "a/1.png", "4.png"):
        write(tmp_path / place)
    assert below(tmp_path, list_files(tmp_path).files) == ["4.png", "a/1.png", "b/2.png", "b/deep/er/3.png"]


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folder(tmp_path, {"b": 3, "a": 2, "Ä": 1, "Z": 2})
    before = list_class_folder(tmp_path)
    walk = os.walk
    for seed in range(5):

        def shuffled(*args: Any, seed: int = seed, **options: Any) -> Iterator[tuple[str, list[str], list[str]]]:
            for top, names, files in walk(*args, **options):
                random.Random(seed).shuffle(names)
                random.Random(seed).shuffle(files)
                yield top, names, files

        monkeypatch.setattr(os, "walk", shuffled)
        after = list_class_folder(tmp_path)
        assert (after.files, after.labels) == (before.files, before.labels)
    assert after.labels == sorted(after.labels)


def test_a_fifo_named_like_an_image_stays_for_the_reader_to_refuse_and_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    found = list_files(tmp_path)
    assert names(found.files) == ["pipe.jpg"]
    assert names(found.not_regular) == ["pipe"]


def test_dangling_and_looping_links_named_like_images_stay_for_the_reader_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "one.JPG").symlink_to(tmp_path / "two.tif")
    (tmp_path / "two.tif").symlink_to(tmp_path / "one.JPG")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    found = list_files(tmp_path)
    assert names(found.files) == ["gone.jpg", "one.JPG", "two.tif"]
    assert names(found.not_regular) == ["gone", "self"]
    for index in range(3):
        with refused(ImageReadError, str(found.files[index])) as caught:
            content_of(Images(found.files), index)
        assert list(caught.value.kinds.values()) == ["not a regular file"]


def test_a_socket_is_no_regular_file(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")  # relative: the whole path may be too long for a socket
    assert names(list_files(Path()).not_regular) == ["socket"]


def test_a_link_to_a_device_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "endless").symlink_to("/dev/zero")
    assert names(list_files(tmp_path).not_regular) == ["endless"]


def test_links_to_images_and_folders_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "store" / "a.png")
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.png").symlink_to(tmp_path / "store" / "a.png")
    (tmp_path / "cats" / "more").symlink_to(tmp_path / "store", target_is_directory=True)
    assert below(tmp_path / "cats", list_files(tmp_path / "cats").files) == ["a.png", "more/a.png"]


def test_class_folders_and_images_of_any_name_are_listed(tmp_path: Path) -> None:
    odd = ["[a]", "b\tc", "猫 *?", "%s{}", "~"]
    class_folder(tmp_path, dict.fromkeys(odd, 1))
    found = list_class_folder(tmp_path)
    assert sorted(found.labels) == sorted(odd)
    for index, path in enumerate(found.files):
        assert load(Images([path]), 0, Resizing((8, 8))).shape == (8, 8, 3), found.labels[index]


@pytest.mark.parametrize(
    ("name", "fault"), [(os.fsdecode(b"caf\xe9"), "'caf\\udce9' is not UTF-8"), ("b\nc", "'b\\nc' holds a line break")]
)
def test_a_class_folder_whose_name_cannot_be_one_of_a_class_is_refused(tmp_path: Path, name: str, fault: str) -> None:
    class_folder(tmp_path, {"cats": 1, name: 1})
    for read in (tk.TransferClassifier("TransferKitTiny").fit, tk.check_images):
        with refused(tk.InvalidInputError, "The class folder in", fault, "Rename it"):
            read(tmp_path, verbose=0)


def test_two_unicode_forms_of_a_name_are_one_class(tmp_path: Path) -> None:
    """As after a copy from macOS to Linux."""
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    class_folder(tmp_path, {"bar": 2, composed: 2, decomposed: 1})
    report = tk.check_images(tmp_path, verbose=0)
    assert report.counts == {"bar": 2, composed: 3}


def test_folders_that_hold_each_other_are_entered_once(tmp_path: Path) -> None:
    class_folder(tmp_path, {"one": 1, "two": 1})
    (tmp_path / "one" / "two").symlink_to(tmp_path / "two", target_is_directory=True)
    (tmp_path / "two" / "one").symlink_to(tmp_path / "one", target_is_directory=True)
    (tmp_path / "two" / "self").symlink_to(tmp_path / "two", target_is_directory=True)
    assert below(tmp_path, list_files(tmp_path).files) == ["one/000.png", "two/000.png"]
    assert list_class_folder(tmp_path).labels == ["one", "two"]


def test_a_folder_that_holds_itself_is_entered_once(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert names(list_files(tmp_path).files) == ["a.png"]


def test_a_class_that_is_a_link_to_another_class_is_refused(tmp_path: Path) -> None:
    class_folder(tmp_path, {"cats": 1, "dogs": 1})
    (tmp_path / "hounds").symlink_to(tmp_path / "dogs", target_is_directory=True)
    with refused(InvalidInputError, "'dogs', 'hounds'", "the same folder", "Remove the links"):
        list_class_folder(tmp_path)


def test_a_link_to_the_whole_data_set_does_not_make_dogs_cats(tmp_path: Path) -> None:
    class_folder(tmp_path, {"cats": 1, "dogs": 1})
    (tmp_path / "cats" / "up").symlink_to(tmp_path, target_is_directory=True)
    found = list_class_folder(tmp_path)
    labels = {
        Path(str(path)).resolve().parent.name: label for path, label in zip(found.files, found.labels, strict=True)
    }
    assert len(found.files) == 2
    assert labels == {"cats": "cats", "dogs": "dogs"}


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders called "locked" cannot be looked into: whoever runs the tests as root has every permission."""
    lock(monkeypatch, lambda name: name.startswith("locked"))


@pytest.mark.usefixtures("locked")
def test_folders_that_cannot_be_looked_into_are_all_named_at_once(tmp_path: Path) -> None:
    class_folder(tmp_path, {"cats": 1, "cats/locked": 1, "dogs/deep/locked": 1, "locked class": 1})
    all_named = [str(tmp_path / name) for name in ("cats/locked", "dogs/deep/locked", "locked class")]
    with refused(InvalidInputError, *all_named, "Permission denied", "Change its permissions"):
        list_class_folder(tmp_path)
    with refused(InvalidInputError, *all_named, "Permission denied", "Change its permissions"):
        list_files(tmp_path)


@pytest.mark.usefixtures("locked")
def test_folders_that_cannot_be_looked_into_are_noted_where_that_is_asked_for(tmp_path: Path) -> None:
    class_folder(tmp_path, {"cats": 1, "cats/locked": 1, "locked class": 1})
    known = [(tmp_path / "cats" / "locked", "Permission denied"), (tmp_path / "locked class", "Permission denied")]
    found = list_class_folder(tmp_path, lenient=True)
    assert found.unreadable == known
    assert found.labels == ["cats"]
    assert found.empty_classes == ["locked class"]
    assert list_files(tmp_path, lenient=True).unreadable == known


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize("lenient", [True, False])
def test_data_that_cannot_be_looked_into_at_all_are_refused(tmp_path: Path, lenient: bool) -> None:
    class_folder(tmp_path / "locked", {"cats": 1})
    with refused(InvalidInputError, str(tmp_path / "locked"), "Permission denied"):
        list_class_folder(tmp_path / "locked", lenient=lenient)


@pytest.mark.usefixtures("locked")
def test_a_split_that_cannot_be_looked_into_does_not_hide_what_is_wrong(tmp_path: Path) -> None:
    class_folder(tmp_path, {"train/cats": 1, "test/cats": 1, "test/locked": 1})
    with refused(InvalidInputError, "splits, not classes"):
        list_class_folder(tmp_path, lenient=True)


def test_each_image_has_the_label_of_its_class_folder(tmp_path: Path) -> None:
    class_folder(tmp_path, {"katzen ü": 2, "[dogs]": 1})
    write(tmp_path / "[dogs]" / "2024" / "May" / "x.JPG")
    found = list_class_folder(tmp_path)
    assert found.root == tmp_path
    assert found.labels == ["[dogs]", "[dogs]", "katzen ü", "katzen ü"]
    assert [path.partition("/")[0] for path in below(tmp_path, found.files)] == found.labels


def test_what_lies_beside_the_class_folders_and_in_them_is_noted(tmp_path: Path) -> None:
    class_folder(tmp_path, {"cats": 1, "dogs": 1, "empty": 0})
    write(tmp_path / "stray.png")
    (tmp_path / "cats" / "notes.txt").write_text("x")
    (tmp_path / "dogs" / ".DS_Store").write_text("x")
    os.mkfifo(tmp_path / "dogs" / "pipe.jpg")
    os.mkfifo(tmp_path / "dogs" / "pipe")
    found = list_class_folder(tmp_path)
    assert names(found.files) == ["000.png", "000.png", "pipe.jpg"]
    assert names(found.beside_classes) == ["stray.png"]
    assert found.empty_classes == ["empty"]
    assert names(found.not_images) == ["notes.txt"]
    assert names(found.hidden) == [".DS_Store"]
    assert names(found.not_regular) == ["pipe"]


@pytest.mark.parametrize("name", ["__MACOSX", ".cache"])
def test_a_folder_of_the_system_is_no_class(tmp_path: Path, name: str) -> None:
    class_folder(tmp_path, {"cats": 1, "dogs": 1, name: 1})
    assert list_class_folder(tmp_path).labels == ["cats", "dogs"]


def test_a_folder_of_files_that_are_no_images_is_noted_as_an_empty_class(tmp_path: Path) -> None:
    class_folder(tmp_path, {"cats": 1, "notes": 0})
    (tmp_path / "notes" / "a.txt").write_text("x")
    assert list_class_folder(tmp_path).empty_classes == ["notes"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with refused(
        InvalidInputError, repr(str(tmp_path)), "holds no images", "one folder per class", "Pass such a folder"
    ):
        list_class_folder(tmp_path)


def test_a_flat_folder_is_refused_with_its_count(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / "b.JPG")
    with refused(InvalidInputError, repr(str(tmp_path)), "holds 2 images but no folder per class", "list of paths"):
        list_class_folder(tmp_path)


@pytest.mark.parametrize(
    "splits",
    [
        ("train", "test"),
        ("Train", "val"),
        ("train", "dev"),
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("train_images", "test_images"),
        ("Training Data", "Testing Data"),
    ],
)
@pytest.mark.parametrize("beside", [{}, {"unsorted": 1}], ids=["alone", "with another folder"])
def test_the_parent_of_the_splits_is_refused(tmp_path: Path, splits: tuple[str, str], beside: dict[str, int]) -> None:
    class_folder(tmp_path, beside)
    for split in splits:
        class_folder(tmp_path / split, {"cats": 1, "dogs": 1})
    remedy = f"for example {str(tmp_path / splits[0])!r}"
    with refused(InvalidInputError, repr(str(tmp_path)), "splits, not classes", *map(repr, splits), remedy):
        list_class_folder(tmp_path)


def test_classes_that_are_called_like_splits_are_classes(tmp_path: Path) -> None:
    class_folder(tmp_path / "flat", {"train": 1, "test": 1})
    assert list_class_folder(tmp_path / "flat").labels == ["test", "train"]
    for name in ("train_station", "test_tube"):
        class_folder(tmp_path / "deep" / name, {"inside": 1})
    assert list_class_folder(tmp_path / "deep").labels == ["test_tube", "train_station"]


def test_a_folder_around_the_class_folders_is_refused_by_its_name(tmp_path: Path) -> None:
    class_folder(tmp_path / "dataset", {"daisy": 1, "roses": 1})
    remedy = f"Pass {str(tmp_path / 'dataset')!r}"
    with refused(InvalidInputError, "holds one folder, 'dataset', which holds 'daisy', 'roses'", remedy):
        list_class_folder(tmp_path)
    assert list_class_folder(tmp_path, may_be_one=True).labels == ["dataset", "dataset"]
