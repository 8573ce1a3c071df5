"""The store: values by content, within a limit of bytes."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import fresh_python, steady
from hypothesis import given
from hypothesis import strategies as st

from transferkit.cache import shards, tables
from transferkit.cache import store as store_module
from transferkit.cache.shards import KEY, Keys, Records, ShardFiles, Tensors, content_key, record_dtype
from transferkit.cache.store import Store
from transferkit.cache.tables import RowsOnDisk, Session
from transferkit.errors import TransferKitError

FORM: Tensors = (("float32", (3, 2)), ("uint8", (5,)))


def key(number: int) -> bytes:
    return content_key(str(number).encode())


def keys(number: int) -> Keys:
    return np.frombuffer(key(number), KEY)


def find(session: Session, key: bytes) -> Records | None:
    """The one row of a key."""
    rows, found = session.read(np.frombuffer(key, KEY))
    return rows if found[0] else None


def row(number: int) -> Records:
    """Values that tell which key they belong to."""
    record = np.empty(1, record_dtype(FORM))
    record["f0"], record["f1"] = number, number % 256
    return record


def fill(store: Store, numbers: range, computation: str = "network", store_from: int = 0) -> None:
    """Store rows as a pass does: in one shard, where they are few."""
    session = store.session(computation, FORM, store_from)
    for number in numbers:
        session.put(keys(number), row(number))
    session.flush()


def found(store: Store, number: int, computation: str = "network") -> bool:
    """Whether a row is there, and is the right one."""
    values = find(store.session(computation, FORM), key(number))
    assert values is None or values.tobytes() == row(number).tobytes()
    return values is not None


def files(shard: ShardFiles) -> list[Path]:
    return [Path(f"{shard.path}.{kind}.npy") for kind in ("keys", "rows")]


def only_shard(store: Store) -> ShardFiles:
    (shard,) = store.shards()
    return shard


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
    code = "from transferkit.cache.shards import content_key as k; import numpy as np; print(k(b'photo').hex(), k(np.eye(3)).hex())"
    assert fresh_python(code).split() == [content_key(b"photo").hex(), content_key(np.eye(3)).hex()]


@pytest.mark.parametrize(
    "other",
    [
        np.arange(24, dtype=np.uint8).reshape(4, 2, 3),
        np.arange(24, dtype=np.float32).reshape(2, 4, 3) + 0.5,
        np.arange(24, dtype=np.uint8).reshape(2, 4, 3)[::-1],
    ],
    ids=["shape", "fractions", "values"],
)
def test_the_key_of_an_array_stands_for_its_shape_and_values(other: np.ndarray) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert content_key(array) != content_key(other)


@pytest.mark.parametrize("kind", ["i1", "<f4", ">f8", "i8"])
def test_equal_numbers_of_any_type_have_one_key(kind: str) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert content_key(array) == content_key(array.astype(kind))
    assert content_key((array + 0.5).astype("<f4")) == content_key((array + 0.5).astype(">f8"))


def test_the_key_of_an_array_does_not_depend_on_its_layout_in_memory() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert content_key(array) == content_key(np.asfortranarray(array)) == content_key(np.repeat(array, 2, axis=0)[::2])


# ---- what is stored is found ----


def test_a_new_store_finds_what_another_stored(store):
    fill(store, range(10))
    assert all(found(Store(store.folder), number) for number in range(10))
    assert not found(store, 10)


def test_a_key_may_end_in_zeros(store):
    keys = [b"a" * 15 + b"\0", b"a" * 14 + b"\0\0", bytes(16)]
    session = store.session("network", FORM)
    for number, short in enumerate(keys):
        session.put(np.frombuffer(short, KEY), row(number))
    session.flush()
    for number, short in enumerate(keys):
        values = find(session, short)
        assert values is not None and values["f0"][0, 0, 0] == number
    assert find(session, b"a" * 14 + b"\0b") is None


def test_computations_and_forms_do_not_mix(store):
    fill(store, range(3))
    assert not found(store, 1, "another network")
    assert find(store.session("network", (("float16", (3, 2)), ("uint8", (5,)))), key(1)) is None


def test_what_another_process_stores_later_is_seen(store):
    assert not found(store, 1)
    fill(Store(store.folder), range(3))
    assert found(store, 1)
    fill(Store(store.folder), range(3, 6))
    assert found(store, 4)
    Store(store.folder).clear()
    assert not found(store, 1)


def test_a_folder_that_did_not_change_is_not_listed_again(store, monkeypatch):
    fill(store, range(3))
    os.utime(only_shard(store).path.parent, (1000, 1000))
    assert found(store, 1)
    monkeypatch.setattr(os, "scandir", None)
    assert found(store, 1) and not found(store, 3)


@steady
@given(st.lists(st.integers(0, 20), max_size=40), st.integers(1, 10))
def test_rows_are_found_however_they_were_written(tmp_path_factory, numbers: list[int], size: int) -> None:
    store = Store(tmp_path_factory.mktemp("values"))
    for start in range(0, len(numbers), size):
        session = store.session("network", FORM)
        for number in numbers[start : start + size]:
            session.put(keys(number), row(number))
        session.flush()
    for reader in (store, Store(store.folder)):
        assert {number for number in range(21) if found(reader, number)} == set(numbers)


def test_a_full_shard_is_written_before_the_end(store, monkeypatch):
    monkeypatch.setattr(tables, "SHARD_BYTES", 100)
    session = store.session("network", FORM)
    counts = []
    for number in range(10):
        session.put(keys(number), row(number))  # 29 bytes each
        counts.append(len(store.shards()))
    assert counts == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]


def test_a_slow_pass_writes_from_time_to_time(store, monkeypatch):
    monkeypatch.setattr(tables, "SHARD_SECONDS", -1.0)
    store.session("network", FORM).put(keys(0), row(0))
    assert found(Store(store.folder), 0)


def test_few_rows_are_not_stored_where_many_are_asked_for(store, monkeypatch):
    monkeypatch.setattr(tables, "SHARD_BYTES", 50)
    fill(store, range(5), store_from=6)
    assert not store.folder.exists()
    fill(store, range(6), store_from=6)
    assert all(found(store, number) for number in range(6))


def test_numpy_opens_a_shard(store):
    fill(store, range(4))
    keys, rows = map(np.load, files(only_shard(store)))
    assert rows["f0"][:, 0, 0].tolist() == [0, 1, 2, 3]
    assert keys["key"].tobytes() == b"".join(map(key, range(4)))


# ---- damage ----


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [0, 1], ids=["keys", "rows"])
def test_any_flipped_bit_is_seen_and_what_is_found_is_right(tmp_path, kind):
    rng = np.random.default_rng(0)
    pristine = Store(tmp_path / "pristine")
    fill(pristine, range(4))
    path = files(only_shard(pristine))[kind]
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        store = Store(pristine.folder)
        missing = [number for number in range(4) if not found(store, number)]
        # What the header of a .npy file tells other programs does not matter here.
        assert missing or 10 <= position < 128, f"byte {position} was changed and not seen"
        fill(store, range(4))
        assert all(found(Store(pristine.folder), number) for number in range(4))
        path.write_bytes(content)


@pytest.mark.parametrize("keep", [0, 5, 100, 130, -1])
@pytest.mark.parametrize("kind", [0, 1], ids=["keys", "rows"])
def test_a_shard_that_is_cut_off_is_dropped(store, kind, keep):
    fill(store, range(4))
    path = files(only_shard(store))[kind]
    path.write_bytes(path.read_bytes()[:keep])
    other = Store(store.folder)
    assert not any(found(other, number) for number in range(4))
    assert not path.exists()
    fill(other, range(4))
    assert all(found(other, number) for number in range(4))


@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 150), Path.unlink], ids=["cut off", "gone"])
def test_a_shard_that_is_damaged_while_it_is_used_is_dropped(store, damage):
    fill(store, range(4))
    session = store.session("network", FORM)
    damage(files(only_shard(store))[1])
    assert find(session, key(3)) is None
    assert store.shards() == []


def test_a_damaged_shard_does_not_hide_a_good_one(store):
    fill(store, range(4))
    first = only_shard(store)
    fill(Store(store.folder), range(5))
    for path in files(first)[1:]:
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        path.write_bytes(content)
    other = Store(store.folder)
    assert all(found(other, number) for number in range(5))


def nothing(*_: object) -> None:
    """Values that cannot be computed again."""


def test_rows_that_go_while_they_are_used_are_an_error_if_their_images_changed(store):
    fill(store, range(4))
    rows = RowsOnDisk(store.session("network", FORM), np.frombuffer(key(1) + key(2), KEY), "f0", nothing)
    assert rows[np.array([1, 0])][:, 0, 0].tolist() == [2, 1]
    Store(store.folder).clear()
    with pytest.raises(TransferKitError, match=r"1 values that this call stored .* were damaged or removed"):
        rows[np.array([1])]


MANY = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_store import FORM, fill, find, key
from transferkit.cache.store import Store
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
store = Store(Path(sys.argv[1]))
for number in range(0, 2000, 10):
    fill(store, range(number, number + 10))
assert len(store.shards()) == 200
for session in (store.session("network", FORM), Store(store.folder).session("network", FORM)):
    print(sum(find(session, key(number)) is not None for number in range(2000)))
"""


@pytest.mark.thorough
def test_more_shards_than_file_descriptors(store):
    pytest.importorskip("resource")
    assert fresh_python(MANY, store.folder, Path(__file__).parent).split() == ["2000", "2000"]


def test_a_shard_that_cannot_be_opened_is_an_error_and_not_missing(store, monkeypatch):
    fill(store, range(4))
    session = store.session("network", FORM)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(shards, "open", refuse, raising=False)
    with pytest.raises(OSError, match="Too many open files"):
        find(session, key(1))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOTDIR, errno.EPERM])
def test_a_shard_that_is_locked_or_broken_counts_as_missing_and_stays(store, monkeypatch, number):
    fill(store, range(4))
    session = store.session("network", FORM)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(shards, "open", refuse, raising=False)
        assert find(session, key(1)) is None
        patch.setattr(Path, "open", refuse)
        patch.setattr(os, "scandir", refuse)
        assert not found(Store(store.folder), 1)
        assert store.shards() == []
    assert found(Store(store.folder), 1)


def test_a_clock_that_goes_back_hides_nothing(store, monkeypatch):
    fill(store, range(3))
    folder = only_shard(store).path.parent
    day = 86_400
    os.utime(folder, (time.time() + day, time.time() + day))  # written before the clock was set back
    assert found(store, 1)
    fill(Store(store.folder), range(3, 6))
    os.utime(folder, (1000, 1000))  # and then far back
    assert found(store, 4)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    fill(Store(store.folder), range(6, 9))
    store.limit = 10**9  # removes what looks abandoned
    assert all(found(store, number) for number in range(9))


# ---- limits ----


def test_the_shards_used_longest_ago_go_first(store):
    names = [f"network {number}" for number in range(4)]
    shards = {}
    for number, name in enumerate(names):
        fill(store, range(number * 100, number * 100 + 100), name)
        shards[name] = next(shard for shard in store.shards() if shard.path.parent == store.table(name, FORM).folder)
    for age, number in enumerate((2, 0, 3, 1)):
        for path in files(shards[names[number]]):
            os.utime(path, (1000 + age, 1000 + age))
    store.limit = sum(shard.size for shard in shards.values()) * 5 // 8
    assert {name for name in names if all(path.exists() for path in files(shards[name]))} == {"network 3", "network 1"}
    assert len(store.shards()) == 2


def test_using_values_makes_them_young(store):
    fill(store, range(3))
    for path in files(only_shard(store)):
        os.utime(path, (1000, 1000))
    assert found(store, 1)
    assert time.time() - only_shard(store).used < 60


def test_what_a_call_uses_stays_until_it_ends(tmp_path):
    store = Store(tmp_path / "values", 1900)
    fill(store, range(20))
    session = store.session("network", FORM)
    assert find(session, key(0)) is not None
    fill(store, range(20, 40))  # there is no room for both
    assert found(store, 0) and not found(store, 20)
    del session
    fill(store, range(20, 40))
    assert found(store, 20) and not found(store, 0)


def test_what_other_processes_wrote_counts_when_the_limit_is_reached(tmp_path):
    ours, other = Store(tmp_path / "values", 2900), Store(tmp_path / "values", 2900)
    fill(ours, range(20))
    fill(other, range(20, 40), "other")
    fill(ours, range(40, 60))
    assert sum(shard.size for shard in ours.shards()) > 2900
    fill(ours, range(60, 80))
    assert sum(shard.size for shard in ours.shards()) <= 2900
    assert found(ours, 60)


def test_files_are_not_looked_at_before_each_shard(store, monkeypatch):
    looks = []
    monkeypatch.setattr(
        Store, "_shrink", lambda self, limit, shrink=Store._shrink: looks.append(1) or shrink(self, limit)
    )
    for number in range(5):
        fill(store, range(number, number + 1))
    assert len(looks) == 1


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
        # The headers of the files come on top.
        overhead = sum(shard.size for shard in store.shards()) - limit
        assert overhead <= 256 * len(counts)


def test_no_room_on_the_disk_stops_storing_without_an_error(store, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": store_module.RESERVE}))
    session = store.session("network", FORM)
    session.put(keys(0), row(0))
    session.flush()
    assert session.is_full
    assert not store.folder.exists()


def test_a_disk_that_is_full_after_all_leaves_nothing_behind(store, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    fill(store, range(3))
    assert [path for path in store.folder.rglob("*") if path.is_file()] == []


def test_a_disk_that_fills_up_at_any_byte_is_noticed(store):
    """Files of 24 kB, cut off by a limit anywhere: NumPy's own way to write loses the last 4 kB without an error."""
    resource = pytest.importorskip("resource")
    count, limits = 500, resource.getrlimit(resource.RLIMIT_FSIZE)
    whole = 128 + count * row(0).itemsize
    for size in (0, 127, 129, 5000, 9000, whole - 4097, whole - 4000, whole - 1):
        session = store.session("network", FORM)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            for number in range(count):
                session.put(keys(number), row(number))
            session.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert session.is_full and session.failure is not None and session.failure.errno == errno.EFBIG
        assert [path for path in store.folder.rglob("*") if path.is_file()] == []
    fill(store, range(count))
    assert found(Store(store.folder), count - 1)


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
    table = only_shard(store).path.parent
    foreign = {
        store.folder / "notes.txt": b"mine",
        store.folder / "photos" / f"{'0' * 32}.rows.npy": b"mine",
        table / "notes.npy": b"mine",
        table / f"{'0' * 32}.npy": b"mine, by chance of a name like theirs",
        table / ".hidden.tmp": b"mine",
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
    size = sum(path.stat().st_size for path in store.folder.rglob("*.npy"))
    assert store.clear() == size
    assert not any(store.folder.iterdir())
    assert not found(store, 1)
    assert Store(store.folder / "not there").clear() == 0


def test_a_link_to_a_file_elsewhere_is_not_followed(store, tmp_path):
    fill(store, range(3))
    for path in files(only_shard(store)):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    assert not found(Store(store.folder), 1)
    store.clear()
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_what_a_killed_process_left_behind_goes_in_time(store):
    fill(store, range(3))
    folder = only_shard(store).path.parent
    old = [folder / f"{'1' * 32}.keys.npy", folder / f"{'2' * 32}.rows.npy"]
    new = [folder / f"{'3' * 32}.keys.npy", folder / f"{'4' * 32}.rows.npy"]
    for path in (*old, *new):
        path.write_bytes(b"half")
    for path in old:
        os.utime(path, (1000, 1000))
    store.limit = 10**9
    assert [path.exists() for path in (*old, *new)] == [False, False, True, True]
    assert found(store, 1)


# ---- several at once ----

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_store import fill
from transferkit.cache.store import Store
for round in range(40):
    fill(Store(Path(sys.argv[1])), range(round, round + 20))
"""


@pytest.mark.thorough
def test_two_processes_write_while_a_third_reads(store):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(store.folder), str(Path(__file__).parent)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(2)
    ]
    rounds = hits = 0
    while any(writer.poll() is None for writer in writers):
        hits += sum(found(store, number) for number in range(0, 59, 7))  # checks the values of each
        rounds += 1
    errors = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], errors
    assert rounds > 0 and hits > 0
    assert all(found(store, number) for number in range(59))


# ---- rows on disk ----


def test_rows_on_disk_are_read_like_an_array(store):
    fill(store, range(4))
    fill(store, range(10, 12))
    numbers = [11, 0, 3, 10, 3]
    keys = np.frombuffer(b"".join(map(key, numbers)), KEY)
    for name, shape in (("f0", (3, 2)), ("f1", (5,))):
        rows = RowsOnDisk(store.session("network", FORM), keys, name, nothing)
        expected = np.concatenate([row(number)[name] for number in numbers])
        assert (len(rows), rows.shape, rows.dtype) == (5, (5, *shape), expected.dtype)
        for positions in ([], [4, 0, 2], [1, 1, 1], range(5)):
            assert np.array_equal(rows[np.array(positions, np.int64)], expected[list(positions)])


def test_threads_share_a_table_that_is_still_empty(store):
    first, second = store.session("network", FORM), store.session("network", FORM)
    assert first.table is second.table


def test_shards_that_could_not_be_opened_are_found_later(store, monkeypatch):
    for number in range(4):
        fill(Store(store.folder), range(number, number + 1))
    opened = []

    def stopped(*given):
        opened.append(given)
        if len(opened) == 3:
            raise KeyboardInterrupt
        return shards.open_shard(*given)

    with monkeypatch.context() as patch:
        patch.setattr(tables, "open_shard", stopped)
        with pytest.raises(KeyboardInterrupt):
            store.session("network", FORM)
    assert all(found(store, number) for number in range(4))


def test_a_file_system_that_reads_a_part_at_a_time_loses_nothing(store, monkeypatch):
    fill(store, range(2))

    class Slow(io.FileIO):
        def readinto(self, buffer):
            return super().readinto(memoryview(buffer)[:3])

    monkeypatch.setattr(shards, "open", lambda path, mode, **_: Slow(path, mode), raising=False)
    assert found(store, 1)
