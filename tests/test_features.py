"""The frozen pass: once per image, through the store, and the same values either way."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import TINY

import transferkit as tk
from transferkit import features
from transferkit.features import FrozenPart, LiveValues, StoredValues, compute
from transferkit.images import read_images
from transferkit.network import assemble
from transferkit.store import Store


@pytest.fixture
def network():
    return assemble(TINY, TINY.build((32, 32)), (32, 32), 3, 0.0, 0)


@pytest.fixture
def part(network):
    return FrozenPart(network.features_model(), (32, 32), "tiny/features")


@pytest.fixture
def images(photos):
    return read_images(photos / "test")


def count_decodings(monkeypatch):
    calls = []
    original = features.decode
    monkeypatch.setattr(features, "decode", lambda data, name: calls.append(name) or original(data, name))
    return calls


def test_values_are_those_of_the_model_one_by_one(network, part, images):
    from transferkit.decoding import load

    values = compute(part, images, None, 0, "")[0]
    model = network.features_model()
    for index in (0, 7, 17):
        one = np.asarray(model(load(images, index, (32, 32))[None], training=False)[0])
        assert values[index] == pytest.approx(one.reshape(-1), abs=1e-5)


def test_an_empty_sequence_gives_empty_values(part):
    assert compute(part, read_images([]), None, 0, "")[0].shape == (0, 16)


def test_what_is_stored_is_not_computed_again(part, images, monkeypatch):
    store, calls = Store(), count_decodings(monkeypatch)
    first = compute(part, images, store, 0, "")
    assert len(calls) == len(images)
    second = compute(part, images, store, 0, "")
    assert len(calls) == len(images)
    assert np.array_equal(first[0], second[0])


def test_content_counts_and_not_the_name(part, photos, tmp_path, monkeypatch):
    store, calls = Store(), count_decodings(monkeypatch)
    source = photos / "new" / "red.png"
    compute(part, read_images(source), store, 0, "")
    (tmp_path / "renamed.png").write_bytes(source.read_bytes())
    compute(part, read_images(tmp_path / "renamed.png"), store, 0, "")
    assert len(calls) == 1


def test_other_weights_are_another_computation(network, images, monkeypatch):
    store, calls = Store(), count_decodings(monkeypatch)
    compute(FrozenPart(network.features_model(), (32, 32), "tiny"), images, store, 0, "")
    weight = network.backbone.weights[0]
    weight.assign(weight * 2)
    compute(FrozenPart(network.features_model(), (32, 32), "tiny"), images, store, 0, "")
    assert len(calls) == 2 * len(images)


def test_a_value_too_large_for_the_store_is_computed_all_the_same(part, images):
    store = Store(limit=10)
    assert np.array_equal(compute(part, images, store, 0, "")[0], compute(part, images, None, 0, "")[0])


def test_results_keep_the_order_of_the_images(part, images):
    backwards = images.subset(range(len(images) - 1, -1, -1))
    forwards = compute(part, images, None, 0, "")[0]
    assert compute(part, backwards, None, 0, "")[0][::-1] == pytest.approx(forwards, abs=1e-6)


def test_all_bad_files_are_named_and_computing_stops(part, photos, tmp_path):
    paths = sorted((photos / "test").glob("*/*.png"))
    for name in ("a b.png", "ñ.png", "[x].jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8 broken")
        paths.insert(1, tmp_path / name)
    with pytest.raises(tk.ImageReadError, match="3 images cannot be read") as caught:
        compute(part, read_images(paths), None, 0, "")
    for name in ("a b.png", "ñ.png", "[x].jpg"):
        assert name in str(caught.value)


def test_one_bad_file_gives_one_sentence(part, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"")
    with pytest.raises(tk.ImageReadError, match=r"The image .*x\.jpg' cannot be read \(the file is empty\)"):
        compute(part, read_images(tmp_path / "x.jpg"), None, 0, "")


def test_a_file_that_vanishes_is_named(part, tmp_path, photos):
    (tmp_path / "gone.png").write_bytes((photos / "new" / "red.png").read_bytes())
    images = read_images(tmp_path / "gone.png")
    (tmp_path / "gone.png").unlink()
    with pytest.raises(tk.ImageReadError, match=r"gone\.png.*No such file"):
        compute(part, images, None, 0, "")


def test_live_and_stored_values_are_the_same(part, images):
    stored = StoredValues(compute(part, images, None, 0, ""))
    live = LiveValues(images, part)
    batches = [np.array([3, 1, 17]), np.array([0])]
    for a, b in zip(stored.batches(batches), live.batches(batches), strict=True):
        assert a[0] == pytest.approx(b[0], abs=1e-6)


def test_live_values_are_augmented(part, images):
    import tensorflow as tf

    plain = next(LiveValues(images, part).batches([np.arange(4)]))
    black = next(LiveValues(images, part, augment=lambda x: tf.zeros_like(x)).batches([np.arange(4)]))
    assert not np.allclose(plain[0], black[0])
    assert black[0] == pytest.approx(np.repeat(black[0][:1], 4, axis=0), abs=1e-6)


def test_value_bytes(part):
    assert part.value_bytes(10) == 4 * 10 * 16


def test_images_that_no_pass_would_read_are_read_before_training(tmp_path, photos):
    paths = sorted((photos / "test").glob("*/*.png"))
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_bytes(b"")
        paths.append(tmp_path / name)
    with pytest.raises(tk.ImageReadError, match="2 images cannot be read"):
        features.refuse_unreadable(read_images(paths), 0)
    features.refuse_unreadable(read_images(paths[:-2]), 0)
