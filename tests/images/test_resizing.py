"""One size for every image, without aliasing, for each type of the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from drawing import picture
from helpers import steady
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from transferkit.images.decoding import resize

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


@pytest.mark.parametrize("kind", [np.uint16, np.int64, np.float16, np.float64, ">f4"])
def test_the_type_of_whole_numbers_does_not_matter(kind) -> None:
    image = picture(0, (50, 40))
    assert np.array_equal(resize(image.astype(kind), (20, 16)), resize(image, (20, 16)))


def test_fractions_are_not_rounded() -> None:
    image = np.full((50, 40, 3), 100.25, np.float32)
    np.testing.assert_allclose(resize(image, (20, 16)), 100.25, atol=1e-3)


def test_a_view_is_resized_like_its_copy() -> None:
    image = picture(0, (50, 40))[::-1, ::2]
    assert np.array_equal(resize(image, (16, 16)), resize(image.copy(), (16, 16)))


@pytest.mark.parametrize("factor", [2, 3, 7])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_fine_patterns_do_not_alias(factor: int, kind: type) -> None:
    rows = np.arange(30 * factor) % 2 * 255
    stripes = np.repeat(np.repeat(rows[:, None], 30 * factor, 1)[..., None], 3, -1).astype(kind)
    inner = resize(stripes, (30, 30))[2:-2]
    assert np.abs(inner - 127.5).max() <= 26


@pytest.mark.parametrize("size", [(64, 96), (200, 300), (300, 500)])
def test_a_photo_looks_as_pillow_makes_it_look(size: tuple[int, int]) -> None:
    photo = Image.fromarray(picture(0, (260, 410)))
    known = np.asarray(photo.resize(size[::-1], Image.Resampling.BILINEAR)).astype(float)
    assert np.abs(resize(np.asarray(photo), size) - known).mean() <= 1


# ---- rules for other aspect ratios ----

RULES = ["squash", "crop", "pad"]
SIDES = st.integers(1, 200)


@steady
@given(st.one_of(IMAGES, st.tuples(SIDES, SIDES).map(lambda shape: picture(1, shape))), SIZES, st.sampled_from(RULES))
def test_each_rule_gives_the_size_and_invents_no_values_but_mean_grey(image, size, rule) -> None:
    resized = resize(image, size, rule)
    assert resized.shape == (*size, 3)
    assert resized.dtype == np.float32
    own = resized[(resized != 127).any(axis=-1)]
    assert own.size == 0 or own.min() >= image.min() - 1e-3
    assert own.size == 0 or own.max() <= image.max() + 1e-3


@steady
@given(st.integers(1, 12), SIZES, st.booleans())
def test_an_image_of_the_right_aspect_ratio_is_the_same_under_each_rule(times, size, whole) -> None:
    image = picture(2, (size[0] * times, size[1] * times)).astype(np.uint8 if whole else np.float32)
    squashed = resize(image, size)
    for rule in ("crop", "pad"):
        assert np.abs(resize(image, size, rule) - squashed).max() <= 1


@pytest.mark.parametrize("shape", [(40, 120), (120, 40), (41, 121)])
def test_a_crop_is_the_centre_and_keeps_the_proportions(shape: tuple[int, int]) -> None:
    image = picture(3, shape)
    start = [(side - min(shape)) // 2 for side in shape]
    centre = image[start[0] : start[0] + min(shape), start[1] : start[1] + min(shape)]
    assert np.abs(resize(image, (20, 20), "crop") - resize(centre, (20, 20))).mean() <= 1
    assert np.abs(resize(image, (20, 20)) - resize(centre, (20, 20))).mean() > 5


@pytest.mark.parametrize("shape", [(40, 120), (120, 40), (43, 121), (1, 500)])
def test_padding_keeps_the_whole_image_between_two_bars_of_mean_grey(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 255, np.uint8)
    image[:1], image[-1:], image[:, :1], image[:, -1:] = 0, 0, 0, 0  # a frame, all of which stays
    padded = resize(image, (30, 30), "pad")
    upright = padded if shape[0] < shape[1] else padded.transpose(1, 0, 2)
    bars = (upright == 127).all(axis=(1, 2))
    inside = upright[~bars]
    assert len(inside) == max(1, round(30 * min(shape) / max(shape)))
    assert abs(int(bars[:15].sum()) - int(bars[15:].sum())) <= 1
    assert (
        np.abs(inside - resize(image if shape[0] < shape[1] else image.transpose(1, 0, 2), inside.shape[:2])).max() <= 1
    )


@pytest.mark.parametrize("rule", ["crop", "pad"])
@pytest.mark.parametrize("size", [(20, 50), (50, 20)])
def test_proportions_are_kept_in_any_size(rule: str, size: tuple[int, int]) -> None:
    y, x = np.mgrid[:300, :300]
    disc = np.where(np.hypot(y - 149.5, x - 149.5) < 45, 255, 0).astype(np.uint8)
    seen = resize(np.repeat(disc[..., None], 3, axis=-1), size, rule)[..., 0] > 128
    down, across = seen.any(axis=1).sum(), seen.any(axis=0).sum()
    assert abs(int(down) - int(across)) <= 1
    assert abs(down - 90 * {"crop": max(size), "pad": min(size)}[rule] / 300) <= 1
