"""The frozen pass: once per image, through the store, and the same values either way."""

from __future__ import annotations

import gc
import re

import keras
import numpy as np
import pytest
from networks import TINY

import transferkit as tk
from transferkit._common.console import Console
from transferkit.cache import store as store_module
from transferkit.cache import tables
from transferkit.cache.store import Store
from transferkit.cache.tables import RowsOnDisk, Session
from transferkit.features import extraction as features
from transferkit.features import forecast, reader
from transferkit.features.augmentation import augmenter
from transferkit.features.extraction import Extraction, Plan, Storage, extract
from transferkit.features.values import LiveValues, StoredValues
from transferkit.images.reading import read_images
from transferkit.network.extractor import FeatureExtractor
from transferkit.network.network import assemble


@pytest.fixture
def network():
    return assemble(TINY, TINY.build((32, 32)), (32, 32), 3, 0.0, 0)


@pytest.fixture
def part(network):
    return FeatureExtractor(network.features_model(), (32, 32), "tiny/features")


@pytest.fixture
def images(photos):
    return read_images(photos / "test")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "values")


def extracted(part, images, store=None, verbose=0, skip=False, inspects=False, **storage) -> Extraction:
    return extract(part, Plan(images), Storage(store, **storage), Console(verbose), "computing", skip, inspects)


def values_of(part, images, store=None, **storage):
    """The first tensor, in memory."""
    rows = extracted(part, images, store, **storage).values[0]
    return rows[np.arange(len(rows))]


def count_decodings(monkeypatch):
    calls = []
    original = reader.to_pixels
    monkeypatch.setattr(
        reader, "to_pixels", lambda data, name, *rest: calls.append(name) or original(data, name, *rest)
    )
    return calls


def test_values_are_those_of_the_model_one_by_one(network, part, images):
    from transferkit.images.decoding import Resizing, load

    values = values_of(part, images)
    model = network.features_model()
    for index in (0, 7, 17):
        one = np.asarray(model(load(images, index, Resizing((32, 32)))[None], training=False)[0])
        assert values[index] == pytest.approx(one.reshape(-1), abs=1e-5)


def test_an_empty_sequence_gives_empty_values(part):
    assert values_of(part, read_images([])).shape == (0, 16)


def test_what_is_stored_is_not_computed_again(part, images, store, monkeypatch):
    calls = count_decodings(monkeypatch)
    first = values_of(part, images, store)
    assert len(calls) == len(images)
    second = values_of(part, images, store)
    assert len(calls) == len(images)
    assert np.array_equal(first, second)


def test_content_counts_and_not_the_name(part, photos, tmp_path, store, monkeypatch):
    calls = count_decodings(monkeypatch)
    source = photos / "new" / "red.png"
    values_of(part, read_images(source), store)
    (tmp_path / "renamed.png").write_bytes(source.read_bytes())
    values_of(part, read_images(tmp_path / "renamed.png"), store)
    assert len(calls) == 1


def test_other_weights_are_another_computation(network, images, store, monkeypatch):
    calls = count_decodings(monkeypatch)
    values_of(FeatureExtractor(network.features_model(), (32, 32), "tiny"), images, store)
    weight = network.backbone.weights[0]
    weight.assign(weight * 2)
    values_of(FeatureExtractor(network.features_model(), (32, 32), "tiny"), images, store)
    assert len(calls) == 2 * len(images)


def test_values_too_large_for_the_store_are_computed_all_the_same(part, images, tmp_path):
    store = Store(tmp_path / "values", limit=10)
    assert np.array_equal(values_of(part, images, store), values_of(part, images))
    assert not list(store.shards())


def test_results_keep_the_order_of_the_images(part, images):
    backwards = images.subset(range(len(images) - 1, -1, -1))
    forwards = values_of(part, images)
    assert values_of(part, backwards)[::-1] == pytest.approx(forwards, abs=1e-6)


def test_all_bad_files_are_named_and_computing_stops(part, photos, tmp_path):
    paths = sorted((photos / "test").glob("*/*.png"))
    for name in ("a b.png", "ñ.png", "[x].jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8 broken")
        paths.insert(1, tmp_path / name)
    with pytest.raises(tk.ImageReadError, match="3 images cannot be read") as caught:
        values_of(part, read_images(paths))
    for name in ("a b.png", "ñ.png", "[x].jpg"):
        assert name in str(caught.value)


def test_one_bad_file_gives_one_sentence(part, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"")
    with pytest.raises(tk.ImageReadError, match=r"The image .*x\.jpg' cannot be read \(the file is empty\)"):
        values_of(part, read_images(tmp_path / "x.jpg"))


def test_a_file_that_vanishes_is_named(part, tmp_path, photos):
    (tmp_path / "gone.png").write_bytes((photos / "new" / "red.png").read_bytes())
    images = read_images(tmp_path / "gone.png")
    (tmp_path / "gone.png").unlink()
    with pytest.raises(tk.ImageReadError, match=r"gone\.png.*No such file"):
        values_of(part, images)


def test_live_and_stored_values_are_the_same(part, images):
    stored = StoredValues(extracted(part, images).values, np.arange(len(images))[np.newaxis])
    live = LiveValues(images, part)
    batches = [np.array([3, 1, 17]), np.array([0])]
    for a, b in zip(stored.batches(batches), live.batches(batches), strict=True):
        assert a[0] == pytest.approx(b[0], abs=1e-6)


def test_live_values_are_augmented(part, images):
    white = keras.layers.Rescaling(0.0, offset=255.0)
    plain = next(LiveValues(images, part).batches([np.arange(4)]))
    equal = next(LiveValues(images, part, augment=augmenter(white, part.size, 0)).batches([np.arange(4)]))
    assert not np.allclose(plain[0], equal[0])
    assert equal[0] == pytest.approx(np.repeat(equal[0][:1], 4, axis=0), abs=1e-6)


def test_value_bytes(part):
    assert part.value_bytes(10) == 4 * 10 * 16


def test_a_look_names_every_bad_file_and_decodes_the_good_ones_once(tmp_path, photos, store, monkeypatch):
    paths = sorted((photos / "test").glob("*/*.png"))
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_bytes(b"")
        paths.append(tmp_path / name)
    calls = count_decodings(monkeypatch)
    for _ in range(2):
        seen = reader.inspect(read_images(paths), (32, 32), store, Console(0))
        assert sorted(seen.failures) == [len(paths) - 2, len(paths) - 1]
        assert seen.readable().tolist() == list(range(len(paths) - 2))
        assert seen.keys[:-2].any(axis=1).all() and seen.thumbnails[:-2].any(axis=1).all()
    assert len(calls) == len(paths) - 2


def test_a_pass_looks_and_computes_at_once(part, images, store, monkeypatch):
    calls = count_decodings(monkeypatch)
    first = extracted(part, images, store, inspects=True)
    assert len(calls) == len(images)
    again = extracted(part, images, store, inspects=True)
    assert len(calls) == len(images)
    assert np.array_equal(first.values[0], again.values[0])
    seen, known = first.inspection, again.inspection
    assert np.array_equal(seen.thumbnails, known.thumbnails) and np.array_equal(seen.keys, known.keys)
    assert np.array_equal(first.values[0], values_of(part, images))


@pytest.mark.parametrize("memory", [2**28, 1])
def test_a_pass_that_goes_on_computes_the_good_images(part, photos, tmp_path, store, monkeypatch, memory):
    monkeypatch.setattr(features, "MEMORY_BYTES", memory)
    paths = sorted((photos / "test").glob("*/*.png"))
    known = values_of(part, read_images(paths))
    (tmp_path / "bad.png").write_bytes(b"GIF")
    bad = tmp_path / "bad.png"
    found = extracted(part, read_images([bad, *paths[:5], bad, *paths[5:]]), store, skip=True)
    assert sorted(found.inspection.failures) == [0, 6]
    # Other images were computed in the same call: some processors then round differently.
    assert found.values[0][found.inspection.readable()] == pytest.approx(known, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_an_error_that_names_the_image(network, photos, store, value):
    kernel = network.backbone.get_layer("stage2_conv").kernel
    kernel.assign(np.full(kernel.shape, value, np.float32))
    part = FeatureExtractor(network.features_model(), (32, 32), "tiny/features")
    with pytest.raises(tk.WeightsError, match=r"NaN or infinite values for .*red\.png"):
        values_of(part, read_images(photos / "new" / "red.png"), store)
    assert not list(store.shards())


# ---- what is stored ----


def test_a_second_classifier_finds_what_the_first_computed(part, images, store, monkeypatch):
    first = values_of(part, images, store)
    calls = count_decodings(monkeypatch)
    again = FeatureExtractor(
        assemble(TINY, part_model(part), (32, 32), 5, 0.3, 9).features_model(), (32, 32), "tiny/features"
    )
    assert np.array_equal(values_of(again, images, Store(store.folder)), first)
    assert not calls


def part_model(part):
    """The backbone inside a frozen part."""
    return part.model.get_layer("tiny_net")


def test_what_was_computed_before_a_bad_file_is_kept(part, photos, tmp_path, store, monkeypatch):
    monkeypatch.setattr(reader, "thread_count", lambda: 2)
    paths = sorted(photos.glob("t*/*/*.png"))
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(tk.ImageReadError):
        values_of(part, read_images([*paths, tmp_path / "bad.png"]), store)
    calls = count_decodings(monkeypatch)
    values_of(part, read_images(paths), store)
    # Which of the last batches came too late to be computed depends on the threads.
    assert len(calls) <= 3 * features.GROUP < len(paths)


def test_a_damaged_file_of_the_store_is_computed_anew(part, images, store, monkeypatch):
    first = values_of(part, images, store)
    (path,) = store.folder.rglob("*.rows.npy")
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    calls = count_decodings(monkeypatch)
    assert np.array_equal(values_of(part, images, Store(store.folder)), first)
    assert calls


def test_one_changed_pixel_is_another_image(part, pictures, store, monkeypatch):
    x, _ = pictures
    values_of(part, read_images(x), store)
    computed = count_decodings(monkeypatch)
    values_of(part, read_images(x.copy()), store)
    assert not computed
    changed = x.copy()
    changed[3, 0, 0, 0] ^= 1
    values_of(part, read_images(changed), store)
    assert len(computed) == 1


def test_another_size_is_another_computation(network, images, store, monkeypatch):
    other = assemble(TINY, TINY.build((40, 40)), (40, 40), 3, 0.0, 0)
    other.backbone.set_weights(network.backbone.get_weights())
    values_of(FeatureExtractor(network.features_model(), (32, 32), "tiny"), images, store)
    calls = count_decodings(monkeypatch)
    values_of(FeatureExtractor(other.features_model(), (40, 40), "tiny"), images, store)
    assert len(calls) == len(images)


@pytest.mark.parametrize("memory", [2**28, 1])
def test_few_new_values_are_stored_if_they_have_to_be_on_disk(part, images, store, monkeypatch, memory):
    monkeypatch.setattr(features, "MEMORY_BYTES", memory)
    expected = values_of(part, images)
    assert np.array_equal(values_of(part, images, store, store_from=len(images) + 1), expected)
    assert bool(store.shards()) is (memory == 1)
    assert np.array_equal(values_of(part, images, store, store_from=len(images)), expected)
    assert store.shards()


# ---- on disk ----


@pytest.mark.parametrize("stored", [True, False])
def test_large_values_stay_on_disk(part, images, store, monkeypatch, stored):
    expected = values_of(part, images)
    monkeypatch.setattr(features, "MEMORY_BYTES", 100)
    monkeypatch.setattr(tables, "SHARD_BYTES", 300)
    rows = extracted(part, images, store if stored else None).values[0]
    assert isinstance(rows, RowsOnDisk)
    assert np.array_equal(rows[np.arange(len(images))], expected)
    assert bool(list(store.shards())) is stored
    if stored:  # and are found there
        again = extracted(part, images, Store(store.folder)).values[0]
        assert isinstance(again, RowsOnDisk)
        assert np.array_equal(again[np.arange(len(images))], expected)


def test_the_same_image_twice_has_two_rows_on_disk(part, pictures, store, monkeypatch):
    monkeypatch.setattr(features, "MEMORY_BYTES", 10)
    monkeypatch.setattr(tables, "SHARD_BYTES", 200)
    x = np.repeat(pictures[0][:5], 4, axis=0)
    assert np.array_equal(values_of(part, read_images(x), store), values_of(part, read_images(x)))


def test_a_disk_without_room_is_made_up_for_by_memory(part, images, store, monkeypatch):
    expected = values_of(part, images)
    monkeypatch.setattr(features, "MEMORY_BYTES", 100)
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 0}))
    assert np.array_equal(values_of(part, images, store), expected)
    with pytest.raises(features.NoRoomError):
        extracted(part, images, store, in_memory=False)


@pytest.mark.thorough
def test_temporary_values_go_with_the_rows(part, images, monkeypatch, tmp_path):
    monkeypatch.setattr(features, "MEMORY_BYTES", 100)
    monkeypatch.setattr(store_module.tempfile, "tempdir", str(tmp_path))
    rows = extracted(part, images).values
    assert list(tmp_path.rglob("*.npy"))
    del rows
    gc.collect()
    assert not list(tmp_path.rglob("*.npy"))


def test_half_precision_is_near_and_never_infinite(part, images, store, monkeypatch):
    exact = values_of(part, images)
    halved = values_of(part, images, store, half=True)
    assert halved.dtype == np.float16
    assert halved == pytest.approx(exact, rel=1e-3, abs=1e-3)
    monkeypatch.setattr(FeatureExtractor, "__call__", lambda _, images: [np.full((len(images), 16), 1e30, np.float32)])
    assert (values_of(part, images, half=True) == np.finfo(np.float16).max).all()


# ---- forecast ----


def test_a_long_pass_says_how_long_it_will_take(part, images, store, monkeypatch, capsys):
    monkeypatch.setattr(forecast, "FORECAST_SECONDS", 0.0)
    many = images.subset(list(range(18)) * 20)
    monkeypatch.setattr(
        Session, "read", lambda self, keys: (np.empty(len(keys), self.table.dtype), np.zeros(len(keys), bool))
    )
    extracted(part, many, store, verbose=1)
    line = capsys.readouterr().out
    assert re.fullmatch(r"computing: \d+ images at \d+ a second, about \d+ s, [\d.]+ kB on disk\.\n", line)
    extracted(part, many, store)
    assert not capsys.readouterr().out


def test_what_is_stored_needs_no_forecast(part, images, store, monkeypatch, capsys):
    values_of(part, images, store)
    monkeypatch.setattr(forecast, "FORECAST_SECONDS", 0.0)
    extracted(part, images.subset(list(range(18)) * 20), store, verbose=1)
    assert not capsys.readouterr().out


# ---- on a GPU ----


def test_the_function_for_gpus_gives_the_same_values(network, images):
    """XLA, filled-up batches and half precision, on the processor that is here."""
    plain = values_of(FeatureExtractor(network.features_model(), (32, 32), "tiny"), images)
    part = FeatureExtractor(network.features_model(), (32, 32), "tiny", gpu=True)
    assert part.chunk == 64
    assert values_of(part, images) == pytest.approx(plain, abs=1e-4)
    halved = FeatureExtractor(network.features_model(), (32, 32), "tiny", "bfloat16", gpu=True)
    assert halved.name.endswith("float16") and not halved.name.endswith("bfloat16")
    assert values_of(halved, images) == pytest.approx(plain, abs=2e-2)


def test_weights_that_change_under_way_are_never_stored_under_the_old_name(network, images):
    part = FeatureExtractor(network.features_model(), (32, 32), "changing")
    weight = network.backbone.weights[0]
    weight.assign(weight * 2)
    with pytest.raises(RuntimeError, match="changed"):
        part(np.zeros((1, 32, 32, 3), np.float32))
