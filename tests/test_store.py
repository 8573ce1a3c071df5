"""The store: values by content, within a limit of bytes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from helpers import steady
from hypothesis import given
from hypothesis import strategies as st

from transferkit.store import Row, Store, content_key


def row(size: int, value: int = 0) -> Row:
    """A row of `size` bytes in two arrays."""
    return (np.full(size // 2, value, np.uint8), np.full(size - size // 2, value, np.uint8))


# ---- keys ----


@steady
@given(st.binary(), st.binary())
def test_bytes_have_one_key_exactly_when_they_are_equal(first: bytes, second: bytes) -> None:
    assert (content_key(first) == content_key(second)) is (first == second)
    assert len(content_key(first)) == 16


def test_a_key_does_not_change_between_runs() -> None:
    code = "from transferkit.store import content_key as k; import numpy as np; print(k(b'photo').hex(), k(np.eye(3)).hex())"
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert other.split() == [content_key(b"photo").hex(), content_key(np.eye(3)).hex()]


@pytest.mark.parametrize(
    "other",
    [
        np.arange(24, dtype=np.uint8).reshape(4, 2, 3),
        np.arange(24, dtype=np.int8).reshape(2, 4, 3),
        np.arange(24, dtype=np.float32).reshape(2, 4, 3),
        np.arange(24, dtype=np.uint8).reshape(2, 4, 3)[::-1],
    ],
    ids=["shape", "type", "float", "values"],
)
def test_the_key_of_an_array_stands_for_its_type_shape_and_values(other: np.ndarray) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert content_key(array) != content_key(other)


def test_the_key_of_an_array_does_not_depend_on_its_layout_in_memory() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert content_key(array) == content_key(np.asfortranarray(array)) == content_key(np.repeat(array, 2, axis=0)[::2])


# ---- shelves ----


def test_a_shelf_gives_back_what_was_put_on_it() -> None:
    shelf = Store(10**6).shelf("x", 0)
    first = row(10)
    shelf.put(b"a", first)
    assert shelf.get(b"a") is first
    assert shelf.get(b"b") is None
    assert (len(shelf), shelf.size) == (1, 10)


def test_what_is_on_a_shelf_already_is_kept_and_counted_once() -> None:
    shelf = Store(10**6).shelf("x", 0)
    first = row(10)
    shelf.put(b"a", first)
    shelf.put(b"a", row(30, 1))
    assert shelf.get(b"a") is first
    assert (len(shelf), shelf.size) == (1, 10)


# ---- the store ----


def filled(limit: int, **sizes: int) -> Store:
    """A store with a row of so many bytes on each shelf, used in this order."""
    store = Store(limit)
    for name, size in sizes.items():
        store.shelf(name, size).put(b"a", row(size))
    return store


def holds(store: Store, name: str) -> bool:
    return name in store._shelves and len(store._shelves[name]) > 0


def test_a_shelf_is_found_again_by_its_name() -> None:
    store = filled(100, a=10, b=20)
    assert store.shelf("a", 10).size == 10
    assert store.shelf("b", 20).size == 20
    assert store.shelf("c", 0).size == 0


def test_there_is_room_up_to_the_limit_and_nothing_is_dropped_for_it() -> None:
    store = filled(100, a=40, b=30)
    store.shelf("c", 30)
    assert holds(store, "a")
    assert holds(store, "b")


def test_the_shelf_that_was_used_longest_ago_goes_first() -> None:
    store = filled(100, a=40, b=30, c=20)
    store.shelf("a", 40)
    store.shelf("d", 40)
    assert not holds(store, "b")
    assert holds(store, "a")
    assert holds(store, "c")


def test_what_a_shelf_holds_already_is_not_counted_twice() -> None:
    store = filled(100, a=20, b=70)
    store.shelf("b", 70)
    assert holds(store, "a")
    assert holds(store, "b")


def test_the_shelf_that_is_asked_for_is_never_dropped() -> None:
    store = filled(100, a=60, b=30)
    store.shelf("a", 90)
    assert holds(store, "a")
    assert not holds(store, "b")


def test_more_than_the_limit_finds_no_shelf_and_drops_nothing() -> None:
    store = filled(100, a=40, b=30)
    assert store.shelf("c", 101) is None
    assert holds(store, "a")
    assert holds(store, "b")


@steady
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 60)), max_size=30))
def test_the_limit_is_never_exceeded(steps: list[tuple[str, int]]) -> None:
    store = Store(100)
    for number, (name, size) in enumerate(steps):
        store.shelf(name, size).put(str(number).encode(), row(size))
        assert store.size <= 100


def test_a_cleared_store_is_empty() -> None:
    store = filled(100, a=90)
    store.clear()
    assert not holds(store, "a")
    assert store.size == 0
