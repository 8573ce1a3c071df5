"""Plain arguments: what is let through, and how the rest is refused."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from helpers import refused, steady
from hypothesis import given
from hypothesis import strategies as st

from transferkit._common.arguments import (
    check_count,
    check_number,
    check_on_bad_image,
    check_seed,
    check_size,
    is_whole,
)
from transferkit.errors import InvalidInputError

INFINITY = float("inf")


@pytest.mark.parametrize("value", [1, 7, np.int64(7), np.uint8(7), 10**30])
def test_a_count_comes_back_as_an_int(value) -> None:
    count = check_count("epochs", value)
    assert count == value
    assert type(count) is int


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "3", None, np.float64(2), [1]])
def test_what_is_no_count_is_refused(value: object) -> None:
    with refused(InvalidInputError, f"`epochs={value!r}`", "a whole number of 1 or more", "Pass for example epochs=5"):
        check_count("epochs", value)


def test_a_count_below_its_own_minimum_is_refused() -> None:
    assert check_count("folds", 2, minimum=2) == 2
    with refused(InvalidInputError, "`folds=1`", "2 or more", "folds=3"):
        check_count("folds", 1, minimum=2, example=3)


@steady
@given(st.floats(0, 1, exclude_max=True))
def test_a_number_within_its_limits_is_let_through(value: float) -> None:
    assert check_number("dropout", value, low=0, high=1, example=0.1) == value


@steady
@given(st.floats().filter(lambda x: not 0 <= x < 1))
def test_a_number_outside_its_limits_is_refused(value: float) -> None:
    with refused(
        InvalidInputError, f"`dropout={value!r}`", "of at least 0 and below 1", "Pass for example dropout=0.1"
    ):
        check_number("dropout", value, low=0, high=1, example=0.1)


@pytest.mark.parametrize("value", [True, "0.5", None, 1j, [0.5], Decimal("0.5")])
def test_what_is_no_number_is_refused(value: object) -> None:
    with refused(InvalidInputError, "`dropout=", "must be a number", "dropout=0.1"):
        check_number("dropout", value, low=0, high=1, example=0.1)


def test_a_number_with_an_open_limit_excludes_it() -> None:
    assert check_number("rate", 1e-9, low=0, high=INFINITY, example=1e-3, open_low=True) == 1e-9
    with refused(InvalidInputError, "`rate=0`", "a number above 0", "rate=0.001") as caught:
        check_number("rate", 0, low=0, high=INFINITY, example=1e-3, open_low=True)
    assert "below" not in str(caught.value)


def test_a_number_beyond_every_float_is_refused_like_any_other() -> None:
    with refused(InvalidInputError, "`dropout=1000", "below 1"):
        check_number("dropout", 10**400, low=0, high=1, example=0.1)


@pytest.mark.parametrize("value", [np.float32(0.25), np.float64(0.25), np.int64(0), 0])
def test_numpy_numbers_come_back_as_floats(value) -> None:
    number = check_number("dropout", value, low=0, high=1, example=0.1)
    assert number == value
    assert type(number) is float


@pytest.mark.parametrize("value", [None, 0, 2**32 - 1, np.int64(3)])
def test_a_seed_is_none_or_32_bits(value) -> None:
    assert check_seed(value) == value


@pytest.mark.parametrize("value", [-1, 2**32, 1.5, "0", True])
def test_another_seed_is_refused(value: object) -> None:
    with refused(InvalidInputError, f"`seed={value!r}`", "Pass for example seed=0"):
        check_seed(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [(None, None), (64, (64, 64)), ((96, 64), (96, 64)), ([96, 64], (96, 64)), (np.int64(64), (64, 64))],
)
def test_a_size_is_none_a_side_or_height_and_width(value: object, size: tuple[int, int] | None) -> None:
    assert check_size(value) == size


@pytest.mark.parametrize("value", [0, -1, 64.0, "224", True, (64,), (64, 64, 3), (64, 0), (64, "64"), (), b"ab"])
def test_another_size_is_refused(value: object) -> None:
    with refused(InvalidInputError, f"`input_size={value!r}`", "(height, width) in pixels", "input_size=224"):
        check_size(value)


@pytest.mark.parametrize(("policy", "skip"), [("raise", False), ("skip", True)])
def test_bad_images_are_refused_or_left_out(policy: str, skip: bool) -> None:
    assert check_on_bad_image(policy) is skip


@pytest.mark.parametrize("policy", ["x", "Skip", "", None, True, 1, ["skip"]])
def test_another_policy_is_refused(policy: object) -> None:
    with refused(InvalidInputError, f"`on_bad_image={policy!r}`", "must be one of 'raise', 'skip'"):
        check_on_bad_image(policy)


@pytest.mark.parametrize(
    ("value", "answer"),
    [(1, True), (np.int8(1), True), (True, False), (np.True_, False), (1.0, False), ("1", False), (None, False)],
)
def test_a_whole_number_is_an_int_and_no_bool(value: object, answer: bool) -> None:
    assert is_whole(value) is answer
