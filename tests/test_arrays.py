"""Images that come as arrays: checked, never copied, never changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from helpers import refused, steady
from hypothesis import given
from hypothesis import strategies as st

from transferkit.arrays import check_image, image_arrays
from transferkit.errors import InvalidInputError

BATCH = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i8", "f2", "f4", "f8", ">f4"])
def test_pixels_of_any_numeric_type_on_the_scale_are_let_through_as_they_are(kind: str) -> None:
    batch = BATCH.astype(kind)
    batch.setflags(write=False)
    images = image_arrays(batch, "data")
    assert np.shares_memory(images, batch)
    assert len(images) == 5


def test_images_of_several_sizes_come_in_a_list() -> None:
    given_images = [BATCH[0], BATCH[1, :3].astype(np.float32), BATCH[2, :, :2]]
    images = image_arrays(given_images, "data")
    assert all(np.shares_memory(a, b) for a, b in zip(images, given_images, strict=True))


def test_an_array_of_objects_is_taken_as_a_list() -> None:
    ragged = np.empty(2, object)
    ragged[:] = [BATCH[0], BATCH[1, :3]]
    assert [image.shape for image in image_arrays(ragged, "data")] == [(6, 7, 3), (3, 7, 3)]


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4, 4, 3))])
def test_no_images_are_let_through(empty) -> None:
    assert len(image_arrays(empty, "data")) == 0


def overshoot(value: float) -> np.ndarray:
    batch = BATCH.astype(np.float32)
    batch[3, 1, 2, 0] = value
    return batch


@pytest.mark.parametrize("value", [-0.4, 255.4])
def test_a_rounding_error_of_interpolation_is_let_through(value: float) -> None:
    image_arrays(overshoot(value), "data")


CHECKS: list[Callable[[np.ndarray], object]] = [
    lambda batch: image_arrays(batch, "data"),
    lambda batch: image_arrays(list(batch), "data"),
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
        image_arrays(batch, "data")


@pytest.mark.parametrize("check", CHECKS, ids=["array", "list"])
@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_pixels_that_were_divided_by_255_are_refused(check: Callable, kind: str) -> None:
    with refused(InvalidInputError, "to 1:", "0-255", "Multiply by 255"):
        check((BATCH / np.maximum(BATCH.max(axis=(1, 2, 3), keepdims=True), 1)).astype(kind))


def test_a_dark_picture_is_let_through_in_uint8_and_a_black_one_in_any_type() -> None:
    image_arrays(np.ones((2, 4, 4, 3), np.uint8), "data")
    image_arrays(np.zeros((2, 4, 4, 3), np.float32), "data")


@pytest.mark.parametrize("check", CHECKS, ids=["array", "list"])
def test_one_dark_picture_among_others_is_let_through(check: Callable) -> None:
    batch = BATCH.astype(np.float32)
    batch[2] = 0.5
    check(batch)


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((2, 3, 8, 8), "np.moveaxis(x, -3, -1)"),
        ((2, 8, 8, 1), "np.repeat(x, 3, axis=-1)"),
        ((2, 8, 8, 4), "x[..., :3]"),
        ((2, 8, 8), "np.stack([x] * 3, axis=-1)"),
        ((8,), "Reshape it"),
        ((2, 2, 8, 8, 3), "Reshape it"),
    ],
)
def test_another_shape_is_refused_with_its_remedy(shape: tuple[int, ...], remedy: str) -> None:
    with refused(InvalidInputError, f"The data has the shape {shape}", "(n, height, width, 3)", remedy):
        image_arrays(np.zeros(shape, np.uint8), "data")


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [((3, 8, 8), "np.moveaxis"), ((8, 8, 1), "np.repeat"), ((8, 8, 4), "x[..., :3]"), ((8, 8), "np.stack")],
)
def test_one_image_of_another_shape_is_refused_with_its_remedy(shape: tuple[int, ...], remedy: str) -> None:
    with refused(InvalidInputError, f"Image 1 has the shape {shape}", "(height, width, 3)", remedy):
        image_arrays([BATCH[0], np.zeros(shape, np.uint8)], "data")


@pytest.mark.parametrize("shape", [(2, 0, 8, 3), (2, 8, 0, 3)])
def test_images_without_pixels_are_refused(shape: tuple[int, ...]) -> None:
    with refused(InvalidInputError, f"{shape}", "must not be empty", "Check how it was made"):
        image_arrays(np.zeros(shape, np.uint8), "data")
    with refused(InvalidInputError, f"{shape[1:]}"):
        image_arrays([np.zeros(shape[1:], np.uint8)], "data")


@pytest.mark.parametrize("kind", [bool, complex, str, object])
def test_another_type_is_refused(kind: type) -> None:
    with refused(InvalidInputError, "The data has the type", "uint8 or float", "astype"):
        image_arrays(np.zeros((2, 4, 4, 3), kind), "data")


@steady
@given(st.integers(0, 255), st.sampled_from(["u1", "f4"]))
def test_checking_one_image_changes_nothing(value: int, kind: str) -> None:
    image = np.full((3, 4, 3), value if value != 1 else 2, kind)
    before = image.copy()
    check_image(image, "the image")
    assert np.array_equal(image, before)
