"""Thumbnails, and the pairs of images that look alike."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from drawing import picture
from helpers import steady
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageEnhance

from transferkit.checks.near_duplicates import contrast, pairs_alike, spread
from transferkit.features.inspection import THUMBNAIL_BYTES, thumbnail
from transferkit.images.decoding import decode, resize

SIZE = (224, 224)
Thumbnails = npt.NDArray[np.uint8]


def of_image(image: Image.Image) -> Thumbnails:
    return thumbnail(resize(np.asarray(image), SIZE))


def of_file(data: bytes) -> Thumbnails:
    return thumbnail(resize(decode(data, "photo", SIZE), SIZE))


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def plain(height: int, width: int, colour: tuple[float, float, float]) -> npt.NDArray[np.float32]:
    return np.full((height, width, 3), colour, np.float32)


# ---- thumbnails ----


@steady
@given(st.integers(1, 40), st.integers(1, 40), st.tuples(*[st.floats(0, 255, width=32)] * 3))
def test_a_thumbnail_of_one_colour_is_that_colour(height: int, width: int, colour: tuple[float, float, float]) -> None:
    small = thumbnail(plain(height, width, colour))
    assert small.shape == (THUMBNAIL_BYTES,)
    assert small.dtype == np.uint8
    assert np.abs(small[:81] - np.mean(colour)).max() <= 0.51
    assert np.abs(small[81:].reshape(9, 3) - np.array(colour)).max() <= 0.51
    assert spread(small[np.newaxis]).max() <= 1


@steady
@given(arrays(np.float32, st.tuples(st.integers(9, 30), st.integers(9, 30), st.just(3)), elements=st.integers(0, 255)))
def test_a_thumbnail_holds_the_means_of_its_areas(pixels: npt.NDArray[np.float32]) -> None:
    height, width = pixels.shape[:2]
    rows, columns = ([n * side // 9 for n in range(9)] + [side] for side in (height, width))
    grey = thumbnail(pixels)[:81].reshape(9, 9)
    for down in (0, 4, 8):
        for across in (0, 4, 8):
            area = pixels[rows[down] : rows[down + 1], columns[across] : columns[across + 1]]
            assert abs(float(grey[down, across]) - area.mean()) <= 0.51


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (8, 8), (9, 5)])
def test_images_of_fewer_pixels_than_areas_have_thumbnails(shape: tuple[int, int]) -> None:
    pixels = picture(3, (30, 30))[: shape[0], : shape[1]].astype(np.float32)
    pixels = np.broadcast_to(pixels[:1, :1], (*shape, 3)).copy() if pixels.shape[:2] != shape else pixels
    small = thumbnail(pixels)
    assert small.shape == (THUMBNAIL_BYTES,)
    assert abs(float(small[:81].mean()) - pixels.mean()) < 12


def test_the_pixels_are_left_as_they_are() -> None:
    pixels = picture(3, (30, 40)).astype(np.float32)
    before = pixels.copy()
    pixels.flags.writeable = False
    thumbnail(pixels)
    thumbnail(pixels[:5, :5])
    assert np.array_equal(pixels, before)


def test_contrast_is_that_of_brightness_and_spread_that_of_colours_too() -> None:
    flag = plain(40, 40, (200, 0, 0))
    flag[:, 20:] = (0, 200, 0)
    half = plain(40, 40, (0, 0, 0))
    half[20:] = 255
    both = np.stack([thumbnail(flag), thumbnail(half)])
    assert contrast(both).tolist() == [0, 255]
    assert spread(both)[0] >= 199
    assert spread(both)[1] == 255
    assert contrast(both[:0]).shape == spread(both[:0]).shape == (0,)


# ---- pairs ----

CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "the same pixels": lambda image: as_jpeg(image, 95),
    "JPEG of low quality": lambda image: as_jpeg(image, 40),
    "half the size": lambda image: as_jpeg(image.resize((image.width // 2, image.height // 2)), 85),
    "a third of the size": lambda image: as_jpeg(image.resize((image.width // 3, image.height // 3)), 85),
    "twice the size": lambda image: as_jpeg(image.resize((image.width * 2, image.height * 2)), 85),
    "a little brighter": lambda image: as_jpeg(ImageEnhance.Brightness(image).enhance(1.04), 90),
}


@pytest.fixture(scope="module")
def photos(assets: Path) -> tuple[list[Image.Image], Thumbnails]:
    """Real photos, and their thumbnails."""
    paths = [
        path for label in ("cats", "dogs") for path in sorted((assets / f"data/cats_dogs/train/{label}").iterdir())
    ]
    images = [Image.open(path).convert("RGB") for path in paths[::10]]
    return images, np.stack([of_file(path.read_bytes()) for path in paths[::10]])


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_a_photo_is_found_among_all_others(
    photos: tuple[list[Image.Image], Thumbnails], change: str
) -> None:
    images, originals = photos
    copies = [of_file(CHANGES[change](image)) for image in images[::5]]
    pairs = set(pairs_alike(np.concatenate([originals, np.stack(copies)])))
    expected = {(number * 5, len(images) + number) for number in range(len(copies))}
    assert len(pairs & expected) >= 0.9 * len(expected)
    assert pairs <= expected, "and nothing is paired that is not the same"


@pytest.mark.slow
def test_a_thousand_different_photos_are_not_paired(assets: Path) -> None:
    paths = [
        path for label in ("cats", "dogs") for path in sorted((assets / f"data/cats_dogs/train/{label}").iterdir())
    ]
    pairs = pairs_alike(np.stack([of_file(path.read_bytes()) for path in paths]))
    named = {frozenset((paths[first].name, paths[second].name)) for first, second in pairs}
    # Two photos of one dog on one sofa, a moment apart.
    assert named <= {frozenset(("dog.180.jpg", "dog.74.jpg"))}


def test_mirrored_and_turned_photos_are_other_pictures() -> None:
    image = Image.fromarray(picture(5, (90, 120)))
    turned = [image.transpose(way) for way in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180)]
    assert list(pairs_alike(np.stack([of_image(one) for one in (image, *turned)]))) == []


def test_drawings_are_found_again_and_not_confused() -> None:
    images = [Image.fromarray(picture(seed, (90, 120))) for seed in range(100)]
    halves = [image.resize((60, 45)) for image in images]
    pairs = list(pairs_alike(np.stack([of_image(image) for image in [*images, *halves]])))
    assert pairs == [(number, 100 + number) for number in range(100)]


def test_the_same_shape_in_another_colour_is_another_picture() -> None:
    image = Image.fromarray(picture(5, (90, 120)))
    blue, red = image.convert("RGB"), Image.merge("RGB", image.split()[::-1])
    assert list(pairs_alike(np.stack([of_image(blue), of_image(red)]))) == []


@pytest.mark.parametrize("difference", [0, 5])
def test_flat_images_are_never_paired(difference: int) -> None:
    images = np.stack([plain(30, 30, (100, 100, 100)) for _ in range(5)])
    images[:, :15] += difference
    thumbnails = np.stack([thumbnail(image) for image in images])
    assert list(pairs_alike(thumbnails)) == []
    both = np.stack([*thumbnails, *[thumbnail(picture(1, (30, 30)).astype(np.float32))] * 2])
    assert list(pairs_alike(both)) == [(5, 6)]


def test_each_later_copy_is_paired_with_one_earlier_image() -> None:
    one, other = (of_image(Image.fromarray(picture(seed))) for seed in (1, 2))
    pairs = list(pairs_alike(np.stack([one, other, one, one, other])))
    assert pairs == [(0, 2), (0, 3), (1, 4)]


@pytest.mark.parametrize("count", [0, 1])
def test_there_are_no_pairs_of_one_image_or_none(count: int) -> None:
    assert list(pairs_alike(np.stack([of_image(Image.fromarray(picture(1)))] * 2)[:count])) == []


def test_no_image_is_paired_with_itself_in_a_crowd_of_copies() -> None:
    pairs = list(pairs_alike(np.stack([of_image(Image.fromarray(picture(1)))] * 500)))
    assert all(first < second for first, second in pairs)
    assert [second for _, second in pairs] == list(range(1, 500)), "every one but the first, once"


def test_ten_thousand_thumbnails_take_seconds(rng: np.random.Generator) -> None:
    thumbnails = rng.integers(0, 256, (10_000, THUMBNAIL_BYTES), dtype=np.uint8)
    thumbnails[:, :60] = 255  # most bits agree, as in pictures of products
    started = time.perf_counter()
    pairs = list(pairs_alike(thumbnails))
    assert time.perf_counter() - started < 10
    assert len(pairs) < 10
