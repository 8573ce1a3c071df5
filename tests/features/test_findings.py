"""What a pass sees of images: contents, thumbnails, oddities, failures, and the error that names them all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from drawing import picture, saved, write
from faults import ODD, UNREADABLE, photo
from helpers import refused

from transferkit._common.console import Console
from transferkit.cache.store import Store
from transferkit.errors import ImageReadError
from transferkit.features import reader
from transferkit.features.inspection import Inspection, refuse_unreadable, thumbnail
from transferkit.features.reader import ImageReader, OpenedImage, inspect
from transferkit.images.decoding import Resizing, resize
from transferkit.images.images import Images
from transferkit.images.reading import read_images

SIZE = (32, 48)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each reading and each decoding from here on."""
    calls: list[str] = []
    for name in ("content_of", "to_pixels"):
        original = getattr(reader, name)

        def noting(*args: object, name: str = name, original: object = original) -> object:
            calls.append(name)
            return original(*args)  # type: ignore[operator]

        monkeypatch.setattr(reader, name, noting)
    return calls


def failure(name: str, reason: str = "damaged", kind: str = "unreadable") -> ImageReadError:
    return ImageReadError(f"The image {name} cannot be read ({reason})", {name: reason}, {name: kind})


def look_at(images: Images, store: Store | None = None) -> tuple[Inspection, OpenedImage]:
    """The first image, seen by a reader of its own."""
    reader = ImageReader(images, Resizing(SIZE), store)
    (image,) = reader.open([0])
    reader.keep([image])
    reader.close()
    return reader.inspection, image


def oddities(images: Images, store: Store | None = None) -> tuple[tuple[str, str], ...]:
    return look_at(images, store)[0].oddities.get(0, ())


# ---- an inspection ----


def test_readable_images_are_those_that_did_not_fail() -> None:
    seen = Inspection(5)
    seen.failures = {3: failure("d"), 0: failure("a")}
    assert seen.readable().tolist() == [1, 2, 4]
    assert seen.readable().dtype == np.int64
    assert Inspection(0).readable().tolist() == []


def test_an_inspection_without_thumbnails_takes_no_memory() -> None:
    assert len(Inspection(1_000_000, keeps_thumbnails=False).thumbnails) == 0


def test_reasons_are_by_path_in_the_order_of_the_data() -> None:
    seen = Inspection(3)
    seen.failures = {2: failure("a.jpg", "gone"), 0: failure("b.jpg", "empty")}
    images = Images(["b.jpg", "x.jpg", "a.jpg"])
    assert list(seen.reasons(images).items()) == [("b.jpg", "empty"), ("a.jpg", "gone")]


def test_reasons_of_arrays_are_by_position() -> None:
    seen = Inspection(2)
    seen.failures = {0: failure("image 2", "odd")}
    assert seen.reasons(Images([np.zeros((2, 2, 3), np.uint8)] * 2, (2, 1))) == {"image 2": "odd"}


# ---- one image ----


def test_an_image_is_read_once_and_decoded_once(tmp_path: Path, work: list[str]) -> None:
    inspection, image = look_at(read_images(write(tmp_path / "a.jpg", 1, (60, 90))))
    assert image.pixels() is image.pixels()
    assert image.pixels().shape == (*SIZE, 3)
    assert work == ["content_of", "to_pixels"]
    assert image.is_new
    assert np.array_equal(inspection.thumbnails[0], thumbnail(image.pixels()))


def test_an_image_whose_thumbnail_is_known_is_not_decoded(tmp_path: Path, store: Store, work: list[str]) -> None:
    first, image = look_at(read_images(write(tmp_path / "a.jpg", 1, (60, 90))), store)
    work.clear()
    again, copy = look_at(read_images(shutil.copy(tmp_path / "a.jpg", tmp_path / "b.jpg")), store)
    assert work == ["content_of"]
    assert (image.is_new, copy.is_new) == (True, False)
    assert copy.key == image.key
    assert np.array_equal(again.thumbnails, first.thumbnails)


def test_what_the_name_says_is_judged_for_each_name_of_a_content(tmp_path: Path, store: Store) -> None:
    right = write(tmp_path / "a.png", 1, (60, 90))
    wrong = shutil.copy(right, tmp_path / "b.jpg")
    assert oddities(read_images(right), store) == ()
    assert [kind for kind, _ in oddities(read_images(wrong), store)] == ["wrong extension"]


@pytest.mark.parametrize("name", ODD)
def test_oddities_are_told_without_decoding(tmp_path: Path, store: Store, work: list[str], name: str) -> None:
    kind, part, plant = ODD[name]
    plant(tmp_path / name)
    first = oddities(read_images(tmp_path / name), store)
    work.clear()
    again = oddities(read_images(tmp_path / name), store)
    assert "to_pixels" not in work
    assert again == first
    if kind != "flat":  # that is told by the thumbnail
        ((found, detail),) = first
        assert found == kind
        assert part in detail


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_an_error_of_its_kind(tmp_path: Path, name: str) -> None:
    kind, plant = UNREADABLE[name]
    plant(tmp_path / name)
    path = str(tmp_path / name)
    with refused(ImageReadError, path) as caught:
        refuse_unreadable(inspect(Images([str(tmp_path / name)]), SIZE, None, Console(0)).failures, "")
    assert caught.value.kinds == {path: kind}
    assert list(caught.value.failures) == [path]


def test_an_array_is_looked_at_like_a_file(store: Store) -> None:
    array = picture(1, (20, 90))
    (first, image), (_, copy) = (look_at(Images([array.copy()]), store) for _ in range(2))
    assert first.oddities == {0: (("tiny", "90 x 20 pixels"),)}
    assert image.key == copy.key
    assert not copy.is_new
    assert np.array_equal(first.thumbnails[0], thumbnail(resize(array, SIZE)))
    assert look_at(Images([array.astype(np.float32)]), store)[1].key == image.key


def test_without_keys_images_of_one_content_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(saved(photo(1), "JPEG"))
    images = read_images([tmp_path / "a.jpg"] * 2)
    keys = [
        image.key for image in ImageReader(images, Resizing(SIZE), None, inspects=False).open(range(2), keyed=False)
    ]
    assert len(set(keys)) == 2
    assert {len(key) for key in keys} == {16}


def test_what_was_seen_outlives_the_reader(tmp_path: Path, store: Store) -> None:
    _, _, plant = ODD[next(iter(ODD))]
    plant(tmp_path / "odd.jpg")
    first, _ = look_at(read_images(tmp_path / "odd.jpg"), store)
    again, image = look_at(read_images(tmp_path / "odd.jpg"), Store(store.folder))
    assert not image.is_new
    assert first.oddities == again.oddities
    assert np.array_equal(first.thumbnails, again.thumbnails)


# ---- the error ----


def unreadable(failures: dict[int, ImageReadError]) -> ImageReadError:
    with pytest.raises(ImageReadError) as caught:
        refuse_unreadable(failures, " Do this.")
    return caught.value


def test_one_failure_keeps_its_own_words() -> None:
    with refused(ImageReadError, "The image a.jpg cannot be read (empty)", "Do this."):
        raise unreadable({4: failure("a.jpg", "empty", "empty file")})
    assert unreadable({4: failure("a.jpg", "empty", "empty file")}).kinds == {"a.jpg": "empty file"}


def test_several_failures_are_one_error_in_the_order_of_the_data() -> None:
    errors = {7: failure("c.jpg"), 2: failure("b.jpg", "empty", "empty file"), 5: failure("a.jpg")}
    error = unreadable(errors)
    assert list(error.failures.items()) == [("b.jpg", "empty"), ("a.jpg", "damaged"), ("c.jpg", "damaged")]
    assert error.kinds["b.jpg"] == "empty file"
    assert str(error).startswith("3 images cannot be read ('b.jpg': empty; 'a.jpg': damaged; 'c.jpg': damaged)")
    assert str(error).endswith("Do this.")
    assert "check_images" in str(error)


def test_a_message_names_twenty_and_the_error_all() -> None:
    error = unreadable({number: failure(f"{number:03d}.jpg") for number in range(300)})
    assert len(error.failures) == len(error.kinds) == 300
    assert "019.jpg" in str(error)
    assert "020.jpg" not in str(error)
    assert "280 more in .failures" in str(error)
    assert len(str(error)) < 1000
