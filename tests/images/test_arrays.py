"""Images that come in memory: checked, never changed, and RGB whatever they were."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from drawing import picture, saved
from helpers import refused, steady
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from transferkit.errors import ImageReadError, InvalidInputError
from transferkit.images.arrays import checked_image, image_contents
from transferkit.images.decoding import decode

BATCH = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i8", "f2", "f4", "f8", ">f4"])
def test_pixels_of_any_numeric_type_on_the_scale_are_let_through_as_they_are(kind: str) -> None:
    batch = BATCH.astype(kind)
    batch.setflags(write=False)
    images = image_contents(batch, "data")
    assert np.shares_memory(images, batch)
    assert len(images) == 5


def test_images_of_several_sizes_come_in_a_list() -> None:
    given_images = [BATCH[0], BATCH[1, :3].astype(np.float32), BATCH[2, :, :2]]
    images = image_contents(given_images, "data")
    assert all(np.shares_memory(a, b) for a, b in zip(images, given_images, strict=True))


def test_an_array_of_objects_is_taken_as_a_list() -> None:
    ragged = np.empty(2, object)
    ragged[:] = [BATCH[0], BATCH[1, :3]]
    assert [image.shape for image in image_contents(ragged, "data")] == [(6, 7, 3), (3, 7, 3)]


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4, 4, 3))])
def test_no_images_are_let_through(empty) -> None:
    assert len(image_contents(empty, "data")) == 0


def overshoot(value: float) -> np.ndarray:
    batch = BATCH.astype(np.float32)
    batch[3, 1, 2, 0] = value
    return batch


@pytest.mark.parametrize("value", [-0.4, 255.4])
def test_a_rounding_error_of_interpolation_is_let_through(value: float) -> None:
    image_contents(overshoot(value), "data")


CHECKS: list[Callable[[np.ndarray], object]] = [
    lambda batch: image_contents(batch, "data"),
    lambda batch: image_contents(list(batch), "data"),
]


@pytest.mark.parametrize("check", CHECKS, ids=["array", "list"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_image_that_is_not_finite_is_named(check: Callable, value: float) -> None:
    with refused(InvalidInputError, "Image 3 holds NaN or infinity", "0 to 255", "Repair or drop it"):
        check(overshoot(value))


@pytest.mark.parametrize("check", CHECKS, ids=["array", "list"])
@pytest.mark.parametrize("value", [-1.0, 256.0, 65535.0])
def test_an_image_off_the_scale_is_named_with_its_range(check: Callable, value: float) -> None:
    with refused(InvalidInputError, "Image 3 holds values from", f"{value:g}", "0-255", "Undo the scaling"):
        check(overshoot(value))


def test_the_first_bad_image_of_many_is_named() -> None:
    batch = np.zeros((200, 2, 2, 3), np.float32)
    batch[[130, 150], 0, 0, 0] = 300
    with refused(InvalidInputError, "Image 130 "):
        image_contents(batch, "data")


@pytest.mark.parametrize("check", CHECKS, ids=["array", "list"])
@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_pixels_that_were_divided_by_255_are_refused(check: Callable, kind: str) -> None:
    with refused(InvalidInputError, "to 1:", "0-255", "Multiply by 255"):
        check((BATCH / np.maximum(BATCH.max(axis=(1, 2, 3), keepdims=True), 1)).astype(kind))


@pytest.mark.parametrize("check", CHECKS, ids=["array", "list"])
@pytest.mark.parametrize("image", [BATCH[2] / 255, np.full((6, 7, 3), 0.5), np.ones((6, 7, 3))])
def test_one_scaled_image_among_others_is_refused_by_its_position(check: Callable, image: np.ndarray) -> None:
    batch = BATCH.astype(np.float64)
    batch[2] = image
    with refused(InvalidInputError, "Image 2 has values from ", f" to {image.max():g}", "Pillow image"):
        check(batch)


def test_interpolation_may_carry_divided_pixels_beyond_0_and_1() -> None:
    with refused(InvalidInputError, "from -0.04 to 1.3", "0-255", "Multiply by 255"):
        checked_image(np.linspace(-0.04, 1.3, 126).reshape(6, 7, 3), "the image")


@pytest.mark.parametrize("check", CHECKS, ids=["array", "list"])
@pytest.mark.parametrize("kind", ["u1", "i8"])
def test_whole_numbers_that_are_all_0_or_1_are_refused(check: Callable, kind: str) -> None:
    batch = BATCH.astype(kind)
    batch[3] = BATCH[3] > 127
    with refused(InvalidInputError, "Image 3 has values from 0 to 1", "0-255", "Multiply by 255"):
        check(batch)


@pytest.mark.parametrize("check", CHECKS, ids=["array", "list"])
def test_black_and_almost_black_images_are_let_through(check: Callable) -> None:
    batch = BATCH.copy()
    batch[1], batch[2], batch[3] = 0, 1, np.minimum(BATCH[3], 2)
    check(batch)
    check(np.where(batch < 3, 0, batch).astype(np.float32))
    image_contents([Image.fromarray(np.minimum(BATCH[0], 1))], "data")


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((2, 3, 8, 8), "np.moveaxis(x, -3, -1)"),
        ((2, 1, 8, 8), "np.moveaxis(x, -3, -1)"),
        ((2, 8, 8), "x[..., np.newaxis]"),
        ((2, 8, 8, 2), "Reshape it"),
        ((8,), "Reshape it"),
        ((2, 2, 8, 8, 3), "Reshape it"),
    ],
)
def test_another_shape_is_refused_with_its_remedy(shape: tuple[int, ...], remedy: str) -> None:
    with refused(InvalidInputError, f"The data has the shape {shape}", "(n, height, width, 3)", remedy):
        image_contents(np.zeros(shape, np.uint8), "data")


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [((3, 8, 8), "np.moveaxis"), ((8, 8, 2), "x[..., np.newaxis]"), ((8, 8), "x[..., np.newaxis]")],
)
def test_one_image_of_another_shape_is_refused_with_its_remedy(shape: tuple[int, ...], remedy: str) -> None:
    with refused(InvalidInputError, f"Image 1 has the shape {shape}", "(height, width, 3)", remedy):
        image_contents([BATCH[0], np.zeros(shape, np.uint8)], "data")


@pytest.mark.parametrize("shape", [(2, 0, 8, 3), (2, 8, 0, 3)])
def test_images_without_pixels_are_refused(shape: tuple[int, ...]) -> None:
    with refused(InvalidInputError, f"{shape}", "must not be empty", "Check how it was made"):
        image_contents(np.zeros(shape, np.uint8), "data")
    with refused(InvalidInputError, f"{shape[1:]}"):
        image_contents([np.zeros(shape[1:], np.uint8)], "data")


@pytest.mark.parametrize("kind", [bool, complex, str, object])
def test_another_type_is_refused(kind: type) -> None:
    with refused(InvalidInputError, "The data has the type", "uint8 or float", "astype"):
        image_contents(np.zeros((2, 4, 4, 3), kind), "data")


@steady
@given(st.integers(0, 255), st.sampled_from(["u1", "f4"]))
def test_checking_one_image_changes_nothing(value: int, kind: str) -> None:
    image = np.full((3, 4, 3), value if value != 1 else 2, kind)
    before = image.copy()
    image_contents([image], "data")
    assert np.array_equal(image, before)


# ---- other channels, bytes, Pillow images ----


@pytest.mark.parametrize("kind", ["u1", "f4"])
def test_grey_arrays_become_rgb_without_a_copy(kind: str) -> None:
    grey = BATCH[..., :1].astype(kind)
    for images in (image_contents(grey, "data"), image_contents(list(grey), "data")):
        assert np.array_equal(images[0], np.repeat(grey[0], 3, axis=-1))
        assert np.shares_memory(images[0], grey)


@pytest.mark.parametrize("kind", ["u1", "i8", "f4", "f8"])
def test_arrays_with_alpha_lie_on_white(kind: str) -> None:
    rgba = np.array([[[200, 0, 0, 255], [200, 0, 0, 51], [200, 0, 0, 0]]], kind)
    for images in (image_contents(rgba[None], "data"), image_contents([rgba], "data")):
        assert images[0].dtype == kind
        np.testing.assert_allclose(images[0][0], [[200, 0, 0], [244, 204, 204], [255, 255, 255]], atol=1e-3)


def test_the_alpha_of_an_array_is_that_of_a_file() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    of_file = decode(saved(Image.fromarray(rgba), "PNG")).astype(int)
    assert np.abs(image_contents([rgba], "data")[0].astype(int) - of_file).max() <= 1


def test_bytes_are_left_for_the_decoder_as_they_are() -> None:
    files = [b"", b"no image", saved(Image.fromarray(BATCH[0]), "PNG")]
    assert image_contents([*files, BATCH[0]], "data")[:3] == files
    assert image_contents([files[2]], "data")[0] == files[2]


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("is_open", [True, False])
def test_a_pillow_image_has_the_pixels_of_its_file(mode: str, is_open: bool) -> None:
    photo = Image.fromarray(picture(0)).convert("L" if mode == "I;16" else mode).convert(mode)
    data = saved(photo, "TIFF" if mode in ("CMYK", "F") else "PNG")
    image = Image.open(io.BytesIO(data)) if is_open else photo
    (content,) = image_contents([image], "data")
    assert isinstance(content, np.ndarray)
    assert np.array_equal(content, decode(data))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pillow_image_is_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(picture(0)), "JPEG", exif=exif)
    assert np.array_equal(image_contents([Image.open(io.BytesIO(data))], "data")[0], decode(data))


def test_a_pillow_image_that_cannot_be_decoded_is_named() -> None:
    data = saved(Image.fromarray(picture(0)), "PNG")
    with refused(ImageReadError, "image 1", "cannot be decoded"):
        image_contents([BATCH[0], Image.open(io.BytesIO(data[: len(data) // 2]))], "data")
