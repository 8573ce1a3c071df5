"""One size for every image: of areas, without aliasing, whatever the type of the pixels."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from helpers import picture, steady
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from transferkit.resizing import power_of_two, resize

IMAGES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)).flatmap(
    lambda shape: st.one_of(
        arrays(np.uint8, shape, elements=st.integers(0, 255)),
        arrays(np.float32, shape, elements=st.floats(0, 255, width=32)),
    )
)
SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24))


@steady
@given(IMAGES, SIZES)
def test_resizing_gives_the_size_stays_within_the_range_and_changes_no_argument(image, size) -> None:
    before = image.copy()
    resized = resize(image, size)
    assert resized.shape == (*size, 3)
    assert resized.dtype == np.float32
    assert resized.min() >= image.min() - 1e-3
    assert resized.max() <= image.max() + 1e-3
    assert np.array_equal(image, before)
    assert not np.shares_memory(image, resized)


@steady
@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), SIZES, st.tuples(*[st.integers(0, 255)] * 3))
def test_an_image_of_one_colour_keeps_it(shape, size, colour) -> None:
    resized = resize(np.full((*shape, 3), colour, np.uint8), size)
    assert np.abs(resized - np.array(colour)).max() <= 1e-3


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_an_image_of_the_right_size_keeps_its_pixels(kind: type) -> None:
    image = picture(0, (20, 30)).astype(kind)
    resized = resize(image, (20, 30))
    assert np.array_equal(resized, image)
    resized[:] = 0
    assert image.max() > 0


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64, np.float16, np.float64, ">f4"])
def test_the_type_of_the_pixels_does_not_matter(kind) -> None:
    image = picture(0, (50, 40))
    np.testing.assert_allclose(resize(image.astype(kind), (20, 16)), resize(image, (20, 16)), atol=1e-3)


def test_a_view_is_resized_like_its_copy() -> None:
    image = picture(0, (50, 40))[::-1, ::2]
    assert np.array_equal(resize(image, (16, 16)), resize(image.copy(), (16, 16)))


@pytest.mark.parametrize("factors", [(3, 3), (1, 5), (4, 2)])
def test_a_whole_factor_is_an_average_of_areas_so_that_nothing_aliases(factors: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12 * factors[0], 10 * factors[1], 3), dtype=np.uint8)
    means = noise.reshape(12, factors[0], 10, factors[1], 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(noise, (12, 10)), means, atol=1e-3)


def test_a_large_photo_looks_as_pillow_makes_it_look() -> None:
    photo = Image.fromarray(picture(0, (260, 410)))
    known = np.asarray(photo.resize((96, 64), Image.Resampling.BILINEAR)).astype(float)
    assert np.abs(resize(np.asarray(photo), (64, 96)) - known).mean() <= 2


@pytest.mark.parametrize(
    ("shape", "size", "power"),
    [
        ((100, 100), (100, 100), 1),
        ((399, 400), (100, 100), 1),
        ((400, 400), (100, 100), 2),
        ((400, 2000), (100, 100), 2),
        ((1700, 1700), (100, 100), 8),
        ((10, 10), (100, 100), 1),
        ((0, 0), (100, 100), 1),
    ],
)
def test_the_power_of_two_leaves_both_sides_twice_as_long_as_wanted(shape, size, power: int) -> None:
    assert power_of_two(shape, size) == power


@steady
@given(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), SIZES)
def test_the_power_of_two_is_the_largest(shape, size) -> None:
    power = power_of_two(shape, size)
    assert power == 1 or all(side >= 2 * power * wanted for side, wanted in zip(shape, size, strict=True))
    assert any(side < 4 * power * wanted for side, wanted in zip(shape, size, strict=True))


def test_threads_do_not_share_their_scratch_memory() -> None:
    images = [picture(seed, (310, 290)) for seed in range(8)]
    alone = [resize(image, (20, 30)) for image in images]
    right: list[bool] = []

    def again(number: int) -> None:
        right.extend(np.array_equal(resize(images[number], (20, 30)), alone[number]) for _ in range(20))

    threads = [threading.Thread(target=again, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == 160 and all(right)


def test_what_was_resized_is_not_overwritten_by_the_next() -> None:
    first = resize(picture(0, (100, 100)), (20, 30))
    kept = first.copy()
    resize(picture(1, (100, 100)), (20, 30))
    assert np.array_equal(first, kept)
