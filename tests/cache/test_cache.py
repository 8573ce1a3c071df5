"""What users see of the cache, and which store a classifier's argument stands for."""

from __future__ import annotations

import functools
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest
from drawing import draw, write_png
from helpers import fresh_python, refused

import transferkit as tk
from transferkit import cache
from transferkit.cache import store as store_module
from transferkit.cache import user
from transferkit.cache.store import Store
from transferkit.features import extraction, reader
from transferkit.features import prediction as inference
from transferkit.features.augmentation import fixed_views
from transferkit.network.extractor import FeatureExtractor


def files() -> int:
    return tk.cache.info().files


def test_it_lies_in_the_users_cache_folder(make, photos):
    make().fit(photos / "train", epochs=1, verbose=0)
    found = tk.cache.info()
    assert found.path == Path(os.environ["XDG_CACHE_HOME"]) / "transferkit" / "values"
    assert found.size == sum(path.stat().st_size for path in found.path.rglob("*.npy")) > 0
    assert found.limit == 4 * 10**9
    assert "kB of 4.0 GB in 4 files in" in str(found)
    assert found.path.stat().st_mode & 0o077 == 0


def test_nothing_is_there_before_anything_is_computed():
    assert (tk.cache.info().size, tk.cache.info().files) == (0, 0)
    assert not tk.cache.info().path.exists()


@pytest.mark.thorough
def test_every_call_finds_what_the_others_computed(make, photos, computed, monkeypatch):
    monkeypatch.setattr(inference, "STORE_FROM", 18)
    clf = make().fit(photos / "train", epochs=1, verbose=0)
    assert sum(computed) == 36
    computed.clear()
    make(dropout=0.5).fit(photos / "train", epochs=3, validation=0.3, verbose=0)
    clf.evaluate(photos / "train", verbose=0)
    clf.predict(photos / "train", verbose=0)
    assert not computed
    clf.predict(photos / "test", verbose=0)
    clf.evaluate(photos / "test", verbose=0)
    assert sum(computed) == 18


@pytest.mark.thorough
def test_predicting_few_images_writes_nothing(make, photos, computed):
    clf = make().fit(photos / "train", epochs=1, verbose=0)
    before = tk.cache.info()
    for _ in range(2):
        clf.predict(photos / "test", verbose=0)
        clf.evaluate(photos / "test", verbose=0)
    assert sum(computed) == 36 + 4 * 18
    assert tk.cache.info() == before
    tk.cache.clear()
    clf.predict(photos / "test", verbose=0)
    assert not list(before.path.iterdir())


@pytest.mark.thorough
def test_renamed_moved_and_relabelled_photos_are_found(make, photos, tmp_path, computed):
    make().fit(photos / "train", epochs=1, verbose=0)
    computed.clear()
    for number, path in enumerate(sorted((photos / "train").glob("*/*.png"))):
        copy = tmp_path / "other" / ("a" if number % 2 else "b") / f"renamed {number}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    make().fit(tmp_path / "other", epochs=1, verbose=0)
    assert not computed


@pytest.mark.thorough
def test_a_changed_photo_is_computed_anew(make, photos, tmp_path, computed):
    clf = make().fit(photos / "train", epochs=1, verbose=0)
    write_png(tmp_path / "x.png", draw("red", np.random.default_rng(0)))
    clf.predict(tmp_path / "x.png", verbose=0)
    computed.clear()
    write_png(tmp_path / "x.png", draw("red", np.random.default_rng(1)))
    clf.predict(tmp_path / "x.png", verbose=0)
    assert sum(computed) == 1


@pytest.mark.thorough
def test_fine_tuning_changes_the_weights_and_so_the_features(make, photos, computed):
    clf = make().fit(photos / "train", epochs=1, verbose=0)
    clf.fine_tune(at="stage2", epochs=1, learning_rate=1e-2, validation=0, verbose=0)
    computed.clear()
    after = clf.predict_proba(photos / "train", verbose=0)
    assert sum(computed) == 36
    clf.set_params(cache=False)
    assert np.allclose(after, clf.predict_proba(photos / "train", verbose=0), atol=1e-6)
    clf.set_params(cache=True)
    computed.clear()
    clf.fine_tune(at="stage2", epochs=1, validation=0, verbose=0)  # what lies before the cut is as it was
    assert sum(computed) == 0


ANOTHER = """
import sys
import keras
import transferkit as tk
from networks import TINY
from transferkit.features.augmentation import fixed_views
from transferkit.network.extractor import FeatureExtractor
keras.layers.Dense(3); keras.layers.RandomFlip()  # what comes next gets other names than in the first process
tk.register_backbone(TINY)
def refuse(*_): raise AssertionError("computed again")
FeatureExtractor.__call__ = refuse
clf = tk.TransferClassifier("TinyNet", weights=None, seed=0, augmentation="light", views=2)
print(clf.fit(sys.argv[1], epochs=2, verbose=0).history_["loss"][-1])
print(fixed_views("light", (32, 32), 2).draw(keras.ops.convert_to_numpy(keras.ops.ones((32, 32, 3))) * 99, b"a", 1).sum())
"""


@pytest.mark.thorough
def test_another_process_computes_nothing_again(make, photos):
    """The network, each photo and each view of it have keys that do not depend on the process; nor do the views."""
    loss = make(augmentation="light", views=2).fit(photos / "train", epochs=2, verbose=0).history_["loss"][-1]
    view = fixed_views("light", (32, 32), 2).draw(np.full((32, 32, 3), 99, np.float32), b"a", 1)
    other = fresh_python(ANOTHER, photos / "train").split()
    assert list(map(float, other)) == pytest.approx([loss, float(view.sum())], abs=1e-6)


@pytest.mark.parametrize(
    "choice",
    [False, *(pytest.param(it, marks=pytest.mark.thorough) for it in (True, "folder", Path("a") / "b"))],
    ids=str,
)
def test_the_same_classifier_with_and_without_a_cache(make, photos, choice):
    expected = make(cache=False).fit(photos / "train", epochs=3, verbose=0).predict_proba(photos / "test", verbose=0)
    for _ in range(2):
        clf = make(cache=choice).fit(photos / "train", epochs=3, verbose=0)
        assert clf.predict_proba(photos / "test", verbose=0) == pytest.approx(expected, abs=1e-6)
    if isinstance(choice, (str, Path)):
        assert tk.cache.info(choice).files > 0
        assert files() == 0
        assert tk.cache.clear(choice) > 0
        assert tk.cache.info(choice).files == 0


def test_false_leaves_nothing(make, photos):
    make(cache=False).fit(photos / "train", epochs=1, verbose=0)
    assert files() == 0


def test_clear_frees_what_was_stored(make, photos, computed):
    make().fit(photos / "train", epochs=1, verbose=0)
    size = tk.cache.info().size
    assert tk.cache.clear() == size > 0
    assert tk.cache.info().size == 0
    computed.clear()
    make().fit(photos / "train", epochs=1, verbose=0)
    assert sum(computed) == 36


@pytest.mark.thorough
def test_a_limit_of_nothing_stores_nothing(make, photos):
    tk.cache.set_limit(0)
    make().fit(photos / "train", epochs=1, verbose=0)
    assert files() == 0
    tk.cache.set_limit(10**6)
    make().fit(photos / "train", epochs=1, verbose=0)
    assert files() == 4  # features and thumbnails, keys and rows of each
    tk.cache.set_limit(100)
    assert files() == 0


@pytest.mark.parametrize("size", [-1, 1.5, "4 GB", None, True])
def test_a_limit_is_a_number_of_bytes(size):
    with refused(tk.InvalidInputError, "size", "whole number of 0 or more"):
        tk.cache.set_limit(size)


@pytest.mark.thorough
def test_a_small_limit_costs_nothing_but_time(make, photos, computed, capsys):
    results = []
    for cache_limit in (10**9, 0):
        tk.cache.set_limit(cache_limit)
        clf = make(augmentation="light", views=2).fit(photos / "train", epochs=2)
        clf.fine_tune(at="stage2", epochs=2)
        results.append(clf.predict_proba(photos / "test", verbose=0))
    assert results[0] == pytest.approx(results[1], abs=1e-6)
    assert "anew" not in capsys.readouterr().out


@pytest.mark.parametrize("path", ["~no such user/x", "a\0b"])
def test_a_path_that_is_none_is_refused(make, photos, path):
    for call in (
        lambda: make(cache=path).fit(photos / "train", verbose=0),
        lambda: tk.cache.info(path),
        lambda: tk.cache.clear(path),
        lambda: tk.cache.set_limit(5, path),
    ):
        with refused(tk.InvalidInputError, "cache", "not a path on this machine"):
            call()


def test_a_cache_folder_that_cannot_be_looked_into_is_as_none(make, photos, monkeypatch):
    def denied(path: Path, **_: object) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(user, "_temporary_store", functools.cache(Store.temporary))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", denied)
        store = cache.open_store(True)
    assert store is not None
    assert store.folder != tk.cache.info().path


@pytest.mark.parametrize("choice", [None, 3, "", b"x", ["a"]], ids=str)
def test_a_cache_is_a_choice_or_a_folder(make, photos, choice):
    with refused(tk.InvalidInputError, "cache", "must be True, False or the path of a folder"):
        make(cache=choice).fit(photos / "train", verbose=0)


def test_a_path_that_cannot_be_a_folder_is_refused_before_any_work(make, photos, tmp_path, computed):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with refused(tk.InvalidInputError, "cache folder", "cannot be written to", "cache=False"):
            make(cache=path).fit(photos / "train", verbose=0)
    with refused(tk.InvalidInputError, "cannot be written to"):
        tk.cache.set_limit(5, tmp_path / "file")
    assert not computed
    assert (tmp_path / "file").read_text() == "mine"


def test_a_cache_that_can_no_longer_be_used_does_not_stop_predictions(make, photos, tmp_path):
    clf = make(cache=tmp_path / "store").fit(photos / "train", epochs=1, verbose=0)
    expected = clf.predict_proba(photos / "test", verbose=0)
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "store").write_text("mine")
    with pytest.warns(UserWarning, match=r"cache folder .*store' cannot be written to .*nothing is stored"):
        found = clf.predict_proba(photos / "test", verbose=0)
    assert found == pytest.approx(expected, abs=1e-6)
    with refused(tk.InvalidInputError, "cannot be written to"):
        clf.fit(photos / "train", verbose=0)


@pytest.mark.thorough
def test_shards_that_are_cut_off_while_the_process_uses_them_change_no_result(make, photos):
    clf = make(cache="store").fit(photos / "train", epochs=1, verbose=0)
    expected = clf.predict_proba(photos / "train", verbose=0)
    for path in Path("store").glob("*/*.rows.npy"):
        os.truncate(path, 150)
    for _ in range(2):
        assert clf.predict_proba(photos / "train", verbose=0) == pytest.approx(expected, abs=1e-6)
    again = make(cache="store").fit(photos / "train", epochs=1, verbose=0)
    assert again.predict_proba(photos / "train", verbose=0) == pytest.approx(expected, abs=1e-6)


def test_without_a_cache_folder_values_last_as_long_as_the_process(make, photos, monkeypatch, computed, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(user, "_temporary_store", functools.cache(Store.temporary))
    make().fit(photos / "train", epochs=1, verbose=0)
    make().fit(photos / "train", epochs=1, verbose=0)
    assert sum(computed) == 36


def test_a_second_pass_after_an_interrupted_one_goes_on(make, photos, monkeypatch, computed):
    original = FeatureExtractor.__call__

    def stops(part, images):
        if sum(computed) >= 20:
            raise KeyboardInterrupt
        return original(part, images)

    with monkeypatch.context() as patch:
        patch.setattr(reader, "thread_count", lambda: 1)  # with more, what is under way depends on their speed
        patch.setattr(FeatureExtractor, "__call__", stops)
        with pytest.raises(KeyboardInterrupt):
            make().fit(photos / "train", epochs=1, verbose=0)
    done = sum(computed)
    assert 12 <= done < 36
    computed.clear()
    make().fit(photos / "train", epochs=1, verbose=0)
    assert sum(computed) <= 36 - done + 8  # the group of 8 that was under way is not stored


# ---- under fire: no result changes ----


def limited(size: int) -> AbstractContextManager[None]:
    """A disk on which no file can grow beyond `size` bytes."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limit() -> Iterator[None]:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return limit()


@pytest.mark.thorough
@pytest.mark.parametrize("size", [0, 2000])
def test_a_full_disk_costs_a_line_and_no_result(make, photos, computed, capsys, size):
    expected = make(cache=False).fit(photos / "train", epochs=1, verbose=0).predict_proba(photos / "test", verbose=0)
    with limited(size):
        clf = make(cache="store").fit(photos / "train", epochs=1)
    assert "No more values can be stored in " in (said := capsys.readouterr().out)
    assert f"{Path('store').absolute()}' (File too large)" in said
    assert tk.cache.info("store").files == 0
    np.testing.assert_array_equal(clf.predict_proba(photos / "test", verbose=0), expected)
    computed.clear()
    make(cache="store").fit(photos / "train", epochs=1, verbose=0)
    assert sum(computed) == 36
    assert tk.cache.info("store").files == 4


def cut_off(folder: Path) -> None:
    for path in folder.glob("*/*.rows.npy"):
        os.truncate(path, 150)


def flip(folder: Path) -> None:
    for path in folder.glob("*/*.rows.npy"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def replace_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("mine")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("fire", "folder"), [(cut_off, "store"), (replace_by_a_file, "store"), (flip, None), (shutil.rmtree, None)]
)
def test_values_on_disk_that_are_lost_while_they_are_used_are_computed_again(
    make, photos, monkeypatch, capsys, tmp_path, fire, folder
):
    """Values too large for memory are on disk alone, in the user's folder or in a temporary one."""
    monkeypatch.setattr(extraction, "MEMORY_BYTES", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    class Lose(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            if epoch == 1:
                for place in [Path(folder)] if folder else tmp_path.glob("transferkit-*"):
                    fire(place)

    results = []
    for callbacks in ([], [Lose()]):
        clf = make(cache=folder or False).fit(photos / "train", verbose=0)
        clf.fine_tune(at="stage2", steps=9, batch_size=8, validation=0, callbacks=callbacks)
        results.append(clf.set_params(cache=False).predict_proba(photos / "test", verbose=0))
        said = "damaged or removed, and are computed again" in capsys.readouterr().out
        assert said == bool(callbacks)
    np.testing.assert_array_equal(*results)


@pytest.mark.skipif(os.name != "posix", reason="the mode of a folder")
def test_a_folder_that_is_made_for_values_is_for_this_user_alone(make, photos, tmp_path):
    before = os.umask(0o002)
    try:
        make(cache=tmp_path / "new" / "store").fit(photos / "train", verbose=0)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "store").stat().st_mode) == 0o700


@pytest.mark.skipif(os.name != "posix", reason="elsewhere, nothing is removed")
def test_what_a_killed_process_left_in_the_temporary_folder_is_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name, age in (
        (f"{dead.pid}-old", 7200),
        (f"{dead.pid}-new", 0),
        (f"{os.getpid()}-old", 7200),
        ("user-old", 7200),
    ):
        folder = tmp_path / f"transferkit-{name}"
        folder.mkdir()
        (folder / "values").write_text("-")
        os.utime(folder, (time.time() - age,) * 2)
    store = Store.temporary()
    left = {path.name.removeprefix("transferkit-") for path in tmp_path.iterdir() if path != store.folder}
    assert left == {f"{dead.pid}-new", f"{os.getpid()}-old", "user-old"}


def test_a_disk_with_too_little_room_is_mentioned(make, photos, monkeypatch, capsys):
    monkeypatch.setattr(store_module, "RESERVE", 2**60)
    make(cache="store").fit(photos / "train", epochs=1)
    assert "No more values can be stored in " in (said := capsys.readouterr().out)
    assert "(its limit is reached, or less than 1 GB would stay free)" in said


def test_values_beyond_the_limit_are_mentioned(make, photos, capsys):
    tk.cache.set_limit(1000, "store")
    make(cache="store").fit(photos / "train", epochs=1)
    assert "more than the limit of the cache (1.0 kB), so they are not stored" in capsys.readouterr().out
