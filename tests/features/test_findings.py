"""What a pass sees of images: contents, thumbnails, oddities, failures, and the error that names them all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from drawing import picture, saved, write
from faults import ODD, UNREADABLE, photo
from helpers import refused

from transferkit.cache.store import Store
from transferkit.errors import ImageReadError
from transferkit.features import inspection as findings
from transferkit.features.inspection import Findings, OpenedImage, Seen, ThumbnailCache, all_unreadable
from transferkit.features.thumbnails import THUMBNAIL_BYTES, thumbnail
from transferkit.images.images import ImageArrays, ImageFiles, Images
from transferkit.images.opening import Header
from transferkit.images.reading import read_images
from transferkit.images.resizing import resize

SIZE = (32, 48)
KEY, OTHER_KEY = b"0123456789abcdef", bytes(range(16))
SMALL = np.arange(THUMBNAIL_BYTES, dtype=np.uint8)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each reading and each decoding from here on."""
    calls: list[str] = []
    for name in ("content_of", "to_pixels"):
        original = getattr(findings, name)

        def noting(*args: object, name: str = name, original: object = original) -> object:
            calls.append(name)
            return original(*args)  # type: ignore[operator]

        monkeypatch.setattr(findings, name, noting)
    return calls


def failure(name: str, reason: str = "damaged", kind: str = "unreadable") -> ImageReadError:
    return ImageReadError(f"The image {name} cannot be read ({reason})", {name: reason}, {name: kind})


def look_at(images: Images, store: Store | None = None, index: int = 0) -> Seen:
    thumbnails = ThumbnailCache(store, (32, 32))
    seen = OpenedImage(images, index, SIZE, keyed=True).seen(thumbnails)
    thumbnails.keep(seen)
    thumbnails.close()
    return seen


# ---- findings ----


def test_what_was_seen_is_noted_by_position() -> None:
    seen = Findings(3)
    seen.note(1, Seen(KEY, SMALL, True, (("tiny", "1 x 1 pixels"),)))
    seen.note(2, Seen(OTHER_KEY, SMALL[::-1], False))
    assert [key.tobytes() for key in seen.keys] == [bytes(16), KEY, OTHER_KEY]
    assert seen.thumbnails[1].tolist() == SMALL.tolist()
    assert seen.oddities == {1: (("tiny", "1 x 1 pixels"),)}
    assert seen.good().tolist() == [0, 1, 2]


def test_the_good_images_are_those_that_did_not_fail() -> None:
    seen = Findings(5, failures={3: failure("d"), 0: failure("a")})
    assert seen.good().tolist() == [1, 2, 4]
    assert seen.good().dtype == np.int64
    assert Findings(0).good().tolist() == []
    assert Findings(1, failures={0: failure("a")}).good().tolist() == []


def test_findings_that_do_not_look_take_no_memory() -> None:
    assert len(Findings(1_000_000, looks=False).thumbnails) == 0


def test_an_error_is_certain_once_an_image_failed_unless_the_others_are_wanted() -> None:
    assert not Findings(2).gives_up
    assert Findings(2, failures={0: failure("a")}).gives_up
    assert Findings(2, failed_before=True).gives_up
    assert not Findings(2, goes_on=True, failures={0: failure("a")}, failed_before=True).gives_up


def test_reasons_are_by_path_in_the_order_of_the_data() -> None:
    images = ImageFiles((Path("b.jpg"), Path("x.jpg"), Path("a.jpg")))
    seen = Findings(3, looks=False, failures={2: failure("a.jpg", "gone"), 0: failure("b.jpg", "empty")})
    assert list(seen.reasons(images).items()) == [("b.jpg", "empty"), ("a.jpg", "gone")]


def test_reasons_of_arrays_are_by_position() -> None:
    images = ImageArrays([np.zeros((2, 2, 3), np.uint8)] * 3, (2, 1))
    assert Findings(2, failures={0: failure("image 2", "odd")}).reasons(images) == {"image 2": "odd"}


# ---- one image ----


def test_an_image_is_read_once_and_decoded_once(tmp_path: Path, work: list[str]) -> None:
    image = OpenedImage(read_images(write(tmp_path / "a.jpg", 1, (60, 90))), 0, SIZE, keyed=True)
    seen = image.seen(ThumbnailCache(None, (32, 32)))
    assert image.pixels() is image.pixels()
    assert image.pixels().shape == (*SIZE, 3)
    assert work == ["content_of", "to_pixels"]
    assert seen.is_new
    assert np.array_equal(seen.thumbnail, thumbnail(image.pixels()))


def test_an_image_whose_thumbnail_is_known_is_not_decoded(tmp_path: Path, store: Store, work: list[str]) -> None:
    images = read_images(write(tmp_path / "a.jpg", 1, (60, 90)))
    first = look_at(images, store)
    work.clear()
    again = look_at(read_images(shutil.copy(tmp_path / "a.jpg", tmp_path / "b.jpg")), store)
    assert work == ["content_of"]
    assert (first.is_new, again.is_new) == (True, False)
    assert again.key == first.key
    assert np.array_equal(again.thumbnail, first.thumbnail)


def test_what_the_name_says_is_judged_for_each_name_of_a_content(tmp_path: Path, store: Store) -> None:
    right = write(tmp_path / "a.png", 1, (60, 90))
    wrong = shutil.copy(right, tmp_path / "b.jpg")
    assert look_at(read_images(right), store).oddities == ()
    assert [kind for kind, _ in look_at(read_images(wrong), store).oddities] == ["wrong extension"]


@pytest.mark.parametrize("name", ODD)
def test_oddities_are_told_without_decoding(tmp_path: Path, store: Store, work: list[str], name: str) -> None:
    kind, part, plant = ODD[name]
    plant(tmp_path / name)
    first = look_at(read_images(tmp_path / name), store)
    work.clear()
    again = look_at(read_images(tmp_path / name), store)
    assert "to_pixels" not in work
    assert again.oddities == first.oddities
    if kind != "flat":  # that is told by the thumbnail
        ((found, detail),) = first.oddities
        assert found == kind
        assert part in detail


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_an_error_of_its_kind(tmp_path: Path, name: str) -> None:
    kind, plant = UNREADABLE[name]
    plant(tmp_path / name)
    path = str(tmp_path / name)
    with refused(ImageReadError, path) as caught:
        look_at(ImageFiles((tmp_path / name,)))
    assert caught.value.kinds == {path: kind}
    assert list(caught.value.failures) == [path]


def test_an_array_is_looked_at_like_a_file(store: Store) -> None:
    array = picture(1, (20, 90))
    first, again = (look_at(ImageArrays([array.copy()], (0,)), store) for _ in range(2))
    assert first.oddities == (("tiny", "90 x 20 pixels"),)
    assert first.key == again.key
    assert not again.is_new
    assert np.array_equal(first.thumbnail, thumbnail(resize(array, SIZE)))
    assert look_at(ImageArrays([array.astype(np.float32)], (0,)), store).key != first.key


def test_without_keys_images_of_one_content_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(saved(photo(1), "JPEG"))
    images = read_images([tmp_path / "a.jpg"] * 2)
    keys = [OpenedImage(images, index, SIZE, keyed=False).key for index in range(2)]
    assert len(set(keys)) == 2
    assert {len(key) for key in keys} == {16}


HEADER = Header("TIFF", 300, 400, "CMYK, transparency", 7, 6)


def test_a_thumbnail_outlives_the_cache_object(tmp_path: Path) -> None:
    first = ThumbnailCache(Store(tmp_path), (32, 32))
    assert first.find(KEY) is None
    first.keep(Seen(KEY, SMALL, True, header=HEADER))
    first.keep(Seen(OTHER_KEY, SMALL, False))  # known already: not written again
    first.close()
    second = ThumbnailCache(Store(tmp_path), (32, 32))
    found = second.find(KEY)
    assert found is not None
    assert found[0].tolist() == SMALL.tolist()
    assert found[1] == HEADER
    assert second.find(OTHER_KEY) is None
    second.close()


def test_thumbnails_without_a_store_are_not_kept() -> None:
    thumbnails = ThumbnailCache(None, (32, 32))
    thumbnails.keep(Seen(KEY, SMALL, True))
    thumbnails.close()
    assert thumbnails.find(KEY) is None


# ---- the error ----


def test_one_failure_keeps_its_own_words() -> None:
    with refused(ImageReadError, "The image a.jpg cannot be read (empty)", "Do this."):
        raise all_unreadable({4: failure("a.jpg", "empty", "empty file")}, " Do this.")
    assert all_unreadable({4: failure("a.jpg", "empty", "empty file")}).kinds == {"a.jpg": "empty file"}


def test_several_failures_are_one_error_in_the_order_of_the_data() -> None:
    errors = {7: failure("c.jpg"), 2: failure("b.jpg", "empty", "empty file"), 5: failure("a.jpg")}
    error = all_unreadable(errors, " Do this.")
    assert list(error.failures.items()) == [("b.jpg", "empty"), ("a.jpg", "damaged"), ("c.jpg", "damaged")]
    assert error.kinds["b.jpg"] == "empty file"
    assert str(error).startswith("3 images cannot be read ('b.jpg': empty; 'a.jpg': damaged; 'c.jpg': damaged)")
    assert str(error).endswith("Do this.")
    assert "check_images" in str(error)


def test_a_message_names_twenty_and_the_error_all() -> None:
    error = all_unreadable({number: failure(f"{number:03d}.jpg") for number in range(300)})
    assert len(error.failures) == len(error.kinds) == 300
    assert "019.jpg" in str(error)
    assert "020.jpg" not in str(error)
    assert "280 more in .failures" in str(error)
    assert len(str(error)) < 1000
