"""The store: values by content, within a limit of bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import steady
from hypothesis import given
from hypothesis import strategies as st

from transferkit import shelves
from transferkit import store as store_module
from transferkit.segments import Row, Tensors, is_segment
from transferkit.shelves import MappedRows, content_key
from transferkit.store import Store

FORM: Tensors = (("float32", (3, 2)), ("uint8", (5,)))


def key(number: int) -> bytes:
    return content_key(str(number).encode())


def row(number: int) -> Row:
    """Values that tell which key they belong to."""
    return np.full((3, 2), number, np.float32), np.full(5, number % 256, np.uint8)


def fill(store: Store, numbers: range, computation: str = "network") -> None:
    """Store rows as a pass does: in one file, where they are few."""
    writer = store.shelf(computation, FORM).writer()
    for number in numbers:
        writer.put(key(number), row(number))
    writer.close()


def found(store: Store, number: int, computation: str = "network") -> bool:
    """Whether a row is there, and is the right one."""
    values = store.shelf(computation, FORM).get(key(number))
    if values is None:
        return False
    assert all(np.array_equal(a, b) for a, b in zip(values, row(number), strict=True))
    return True


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "values")


# ---- keys ----


@steady
@given(st.binary(), st.binary())
def test_bytes_have_one_key_exactly_when_they_are_equal(first: bytes, second: bytes) -> None:
    assert (content_key(first) == content_key(second)) is (first == second)
    assert len(content_key(first)) == 16


def test_a_key_does_not_change_between_runs() -> None:
    code = "from transferkit.shelves import content_key as k; import numpy as np; print(k(b'photo').hex(), k(np.eye(3)).hex())"
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


# ---- what is stored is found ----


def test_a_new_store_finds_what_another_stored(store):
    fill(store, range(10))
    assert all(found(Store(store.folder), number) for number in range(10))
    assert not found(store, 10)


def test_a_key_may_end_in_zeros(store):
    writer = store.shelf("network", FORM).writer()
    keys = [b"a" * 15 + b"\0", b"a" * 14 + b"\0\0", bytes(16)]
    for number, short in enumerate(keys):
        writer.put(short, row(number))
    writer.close()
    shelf = store.shelf("network", FORM)
    for number, short in enumerate(keys):
        values = shelf.get(short)
        assert values is not None and values[0][0, 0] == number
    assert shelf.get(b"a" * 14 + b"\0b") is None


def test_computations_and_forms_do_not_mix(store):
    fill(store, range(3))
    assert not found(store, 1, "another network")
    assert store.shelf("network", (("float16", (3, 2)), ("uint8", (5,)))).get(key(1)) is None


def test_what_another_process_stores_later_is_seen(store):
    shelf = store.shelf("network", FORM)
    assert shelf.get(key(1)) is None
    fill(Store(store.folder), range(3))
    assert found(store, 1)


def test_values_outlive_the_row_that_was_given(store):
    values = np.zeros((3, 2), np.float32), np.zeros(5, np.uint8)
    writer = store.shelf("network", FORM).writer()
    writer.put(key(0), values)
    writer.close()
    read = store.shelf("network", FORM).get(key(0))
    assert read is not None
    read[0][:] = 7
    again = store.shelf("network", FORM).get(key(0))
    assert again is not None and not again[0].any()


@steady
@given(st.lists(st.integers(0, 20), max_size=40), st.integers(1, 10))
def test_rows_are_found_however_they_were_written(tmp_path_factory, numbers: list[int], size: int) -> None:
    store = Store(tmp_path_factory.mktemp("values"))
    for start in range(0, len(numbers), size):
        writer = store.shelf("network", FORM).writer()
        for number in numbers[start : start + size]:
            writer.put(key(number), row(number))
        writer.close()
    assert {number for number in range(21) if found(store, number)} == set(numbers)


def test_a_full_file_is_written_before_the_end(store, monkeypatch):
    monkeypatch.setattr(shelves, "SEGMENT_BYTES", 100)
    writer = store.shelf("network", FORM).writer()
    settled = [writer.put(key(number), row(number)) for number in range(10)]  # 29 bytes each
    assert [len(keys) for keys in settled] == [0, 0, 0, 4, 0, 0, 0, 4, 0, 0]
    assert len(list(store.segments())) == 2


def test_a_slow_pass_writes_from_time_to_time(store, monkeypatch):
    monkeypatch.setattr(shelves, "SEGMENT_SECONDS", -1.0)
    writer = store.shelf("network", FORM).writer()
    assert writer.put(key(0), row(0)) == [key(0)]


def test_many_small_files_become_one(store):
    for number in range(200):
        fill(store, range(number, number + 1))
    assert len(list(store.segments())) < 2 * shelves.SMALL_FILES
    assert all(found(Store(store.folder), number) for number in range(200))


# ---- damage ----


def test_any_flipped_byte_is_seen_and_what_is_found_is_right(tmp_path):
    rng = np.random.default_rng(0)
    pristine = Store(tmp_path / "pristine")
    fill(pristine, range(4))
    (path,) = pristine.segments()
    content = path.read_bytes()
    positions = [*range(60), *rng.integers(60, len(content), 120).tolist(), *range(len(content) - 10, len(content))]
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        store = Store(pristine.folder)
        missing = [number for number in range(4) if not found(store, number)]
        assert missing, f"byte {position} was changed and not seen"
        fill(store, range(4))
        assert all(found(Store(pristine.folder), number) for number in range(4))
        for other in pristine.segments():
            other.unlink()
        path.write_bytes(content)


@pytest.mark.parametrize("keep", [0, 10, 100, 300, -1])
def test_a_truncated_file_is_dropped(store, keep):
    fill(store, range(4))
    (path,) = store.segments()
    path.write_bytes(path.read_bytes()[:keep])
    assert not any(found(Store(store.folder), number) for number in range(4))


def test_a_damaged_file_does_not_hide_a_good_one(store):
    fill(store, range(4))
    (path,) = store.segments()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    other = Store(store.folder)
    assert not all(found(other, number) for number in range(4))
    assert not path.exists()
    fill(other, range(4))
    assert all(found(store, number) for number in range(4))


# ---- limits ----


def test_the_files_used_longest_ago_go_first(store):
    for number in range(4):
        fill(store, range(number * 100, number * 100 + 100), f"network {number}")
    paths = {f"network {n}": next(iter(store.shelf(f"network {n}", FORM).folder.glob("*.tkv"))) for n in range(4)}
    for age, name in enumerate(("network 2", "network 0", "network 3", "network 1")):
        os.utime(paths[name], (1000 + age, 1000 + age))
    size = sum(path.stat().st_size for path in paths.values())
    store.limit = size * 5 // 8
    assert {name for name, path in paths.items() if path.exists()} == {"network 3", "network 1"}


def test_using_values_makes_them_young(store):
    fill(store, range(3))
    shelf = store.shelf("network", FORM)
    place = shelf.find(key(1))
    assert place is not None
    os.utime(place[0].path, (1000, 1000))
    shelf.touch([place[0]])
    assert time.time() - place[0].path.stat().st_mtime < 60


def test_the_limit_holds_for_every_process_and_is_kept(store):
    store.limit = 12345
    assert Store(store.folder).limit == 12345
    (store.folder / store_module.SETTINGS).write_text("{")
    assert Store(store.folder).limit == store_module.DEFAULT_LIMIT


@steady
@given(st.integers(0, 20_000), st.lists(st.integers(1, 200), min_size=1, max_size=8))
def test_the_store_never_holds_more_than_its_limit(tmp_path_factory, limit: int, counts: list[int]) -> None:
    store = Store(tmp_path_factory.mktemp("values"), limit)
    for name, count in enumerate(counts):
        fill(store, range(count), str(name))
        # Headers, keys and checksums come on top of the values.
        overhead = sum(path.stat().st_size for path in store.segments()) - limit
        assert overhead <= 1000 + 20 * max(counts)


def test_no_room_on_the_disk_stops_storing_without_an_error(store, monkeypatch):
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": store_module.RESERVE}))
    writer = store.shelf("network", FORM).writer()
    writer.put(key(0), row(0))
    assert writer.flush() == []
    assert writer.stopped
    assert not store.folder.exists()


def test_a_disk_that_is_full_after_all_leaves_nothing_behind(store, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    fill(store, range(3))
    assert [path for path in store.folder.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the administrator may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_still_read(store):
    fill(store, range(3))
    for folder in (store.folder, *store.folder.iterdir()):
        folder.chmod(0o500)
    try:
        fill(Store(store.folder), range(3, 6))
        assert found(Store(store.folder), 1)
        assert not found(Store(store.folder), 4)
    finally:
        for folder in (store.folder, *store.folder.iterdir()):
            folder.chmod(0o700)


# ---- what belongs to others ----


def test_foreign_files_are_never_touched(store):
    fill(store, range(3))
    shelf = store.shelf("network", FORM).folder
    foreign = {
        store.folder / "notes.txt": b"mine",
        store.folder / "photos" / "a.tkv": b"mine",
        shelf / "notes.tkv": b"mine",
        shelf / ("0" * 32 + ".tkv"): b"mine, by chance of a name like theirs",
        shelf / ".hidden.tmp": b"mine",
    }
    for path, content in foreign.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1000, 1000))
    assert found(Store(store.folder), 1)
    store.limit = 0
    store.clear()
    assert {path: path.read_bytes() for path in foreign} == foreign
    assert not found(Store(store.folder), 1)


def test_clear_removes_all_that_the_store_wrote(store):
    fill(store, range(3))
    fill(store, range(3), "other")
    size = sum(path.stat().st_size for path in store.segments())
    assert store.clear() == size
    assert not any(store.folder.iterdir())
    assert not found(store, 1)
    assert Store(store.folder / "not there").clear() == 0


def test_a_link_to_a_file_elsewhere_is_not_followed(store, tmp_path):
    fill(store, range(3))
    (path,) = store.segments()
    outside = tmp_path / path.name
    path.rename(outside)
    path.symlink_to(outside)
    assert not found(Store(store.folder), 1)
    store.clear()
    assert is_segment(outside)


def test_what_a_killed_process_left_behind_goes_in_time(store):
    fill(store, range(3))
    folder = store.shelf("network", FORM).folder
    old, new = (folder / f".{'0' * 32}.{number}-0123abcd.tmp" for number in (1, 2))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1000, 1000))
    store.limit = 10**9
    assert (old.exists(), new.exists()) == (False, True)


# ---- several at once ----

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_store import fill
from transferkit.store import Store
for round in range(100):
    fill(Store(Path(sys.argv[2])), range(round, round + 20))
"""


def test_two_processes_write_while_a_third_reads(store):
    tests = str(Path(__file__).parent)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tests, str(store.folder)], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    rounds = hits = 0
    while any(writer.poll() is None for writer in writers):
        hits += sum(found(store, number) for number in range(0, 119, 7))  # checks the values of each
        rounds += 1
    errors = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], errors
    assert rounds > 0 and hits > 0
    assert all(found(store, number) for number in range(119))


# ---- rows on disk ----


def test_mapped_rows_are_read_like_an_array(store):
    fill(store, range(4))
    fill(store, range(10, 12))
    shelf = store.shelf("network", FORM)
    numbers = [11, 0, 3, 10, 3]
    found = [shelf.find(key(number)) for number in numbers]
    segments = list({id(place[0]): place[0] for place in found if place is not None}.values())
    places = np.array([(segments.index(place[0]), place[1]) for place in found if place is not None])
    mapped = MappedRows(segments, 0, places)
    expected = np.stack([row(number)[0] for number in numbers])
    assert (len(mapped), mapped.shape, mapped.nbytes) == (5, (5, 3, 2), 5 * 6 * 4)
    for positions in ([], [4, 0, 2], [1, 1, 1], range(5)):
        assert np.array_equal(mapped[np.array(positions, np.int64)], expected[list(positions)])
