"""The store: values by content, within a limit of bytes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from helpers import steady
from hypothesis import given
from hypothesis import strategies as st

from transferkit.store import Row, Shelf, Store, content_key


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
    shelf = Shelf()
    first = row(10)
    shelf.put(b"a", first)
    assert shelf.get(b"a") is first
    assert shelf.get(b"b") is None
    assert (len(shelf), shelf.size) == (1, 10)


def test_what_is_on_a_shelf_already_is_kept_and_counted_once() -> None:
    shelf = Shelf()
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
        store.shelf(name).put(b"a", row(size))
    return store


def holds(store: Store, name: str) -> bool:
    return len(store.shelf(name)) > 0


def test_a_shelf_is_found_again_by_its_name() -> None:
    store = filled(100, a=10, b=20)
    assert store.shelf("a").size == 10
    assert store.shelf("b").size == 20
    assert store.shelf("c").size == 0


def test_there_is_room_up_to_the_limit_and_nothing_is_dropped_for_it() -> None:
    store = filled(100, a=40, b=30)
    assert store.room(30)
    assert holds(store, "a")
    assert holds(store, "b")


def test_the_shelf_that_was_used_longest_ago_goes_first() -> None:
    store = filled(100, a=40, b=30, c=20)
    store.shelf("a")
    assert store.room(40)
    assert not holds(store, "b")
    assert holds(store, "a")
    assert holds(store, "c")


def test_the_shelf_used_last_is_never_dropped() -> None:
    store = filled(100, a=60, b=50)
    assert not store.room(60)
    assert holds(store, "b")
    assert not holds(store, "a")


def test_more_than_the_limit_finds_no_room_and_drops_nothing() -> None:
    store = filled(100, a=40, b=30)
    assert not store.room(101)
    assert holds(store, "a")
    assert holds(store, "b")


@steady
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 60)), max_size=30))
def test_whoever_asks_for_room_first_never_exceeds_the_limit(steps: list[tuple[str, int]]) -> None:
    store = Store(100)
    for number, (name, size) in enumerate(steps):
        store.shelf(name)
        if store.room(size):
            store.shelf(name).put(str(number).encode(), row(size))
        assert sum(store.shelf(n).size for n in "abcd") <= 100


def test_a_cleared_store_is_empty() -> None:
    store = filled(100, a=90)
    store.clear()
    assert not holds(store, "a")
    assert store.room(100)
