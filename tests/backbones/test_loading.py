"""A file of weights in a backbone: what is loaded is what the file holds, and what does not fit is refused."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from helpers import MOBILENET, refused
from keras.src.legacy.saving import legacy_h5_format
from keras.src.utils import file_utils
from networks import TINY, calibrate

import transferkit as tk
from transferkit.backbones.loading import build_with_weights
from transferkit.network.fingerprints import weights_digest


def save_as_keras_2(model: keras.Model, path: Path) -> Path:
    """The format of the files that Keras Applications delivers."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


def save_as_keras_3(model: keras.Model, path: Path) -> Path:
    model.save_weights(path.with_name("made.weights.h5"))
    return path.with_name("made.weights.h5").rename(path)


def same_weights(a: keras.Model, b: keras.Model) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def test_a_file_of_weights_is_loaded_at_any_size(tmp_path):
    source = TINY.build((32, 32))
    path = save_as_keras_3(source, tmp_path / "w.weights.h5")
    assert same_weights(source, build_with_weights(TINY, (48, 40), path, 0))


@pytest.mark.thorough
def test_a_file_that_was_replaced_is_read_again(tmp_path):
    for seed in (0, 1):
        keras.utils.set_random_seed(seed)
        source = TINY.build((32, 32))
        path = save_as_keras_3(source, tmp_path / "w.weights.h5")
        for _ in range(2):
            assert same_weights(source, build_with_weights(TINY, (32, 32), path, 0))


@pytest.mark.thorough
@pytest.mark.parametrize("save", [save_as_keras_2, save_as_keras_3])
@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.hdf5", "w"])
def test_the_format_is_known_by_the_content_whatever_the_name(tmp_path, save, name):
    source = TINY.build((32, 32))
    path = save(source, tmp_path / name)
    assert same_weights(source, build_with_weights(TINY, (32, 32), path, 0))
    assert {file.name for file in tmp_path.iterdir()} == {name}


def test_random_weights_follow_the_seed():
    digests = [weights_digest(build_with_weights(TINY, (32, 32), None, seed)) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_the_digest_sees_every_weight():
    model = TINY.build((32, 32))
    before = weights_digest(model)
    bias = model.get_layer("stage2_bn").moving_variance
    bias.assign(bias + 1e-6)
    assert weights_digest(model) != before


def test_a_function_may_bring_the_weights():
    source = TINY.build((32, 32))
    loaded = build_with_weights(TINY, (32, 32), lambda model: model.set_weights(source.get_weights()), 0)
    assert same_weights(source, loaded)


def test_a_function_that_fails_is_a_weights_error():
    def fail(model):
        raise OSError("no connection")

    record = replace(TINY, pretrained=fail)
    with pytest.raises(tk.WeightsError, match=r"'TinyNet' could not be loaded \(no connection\)"):
        build_with_weights(record, (32, 32), fail, 0)


# ---- files that do not fit ----


def test_a_file_of_another_network_is_refused(tmp_path):
    inputs = keras.Input((8, 8, 3))
    other = keras.Model(inputs, keras.layers.Conv2D(4, 5)(inputs))
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(tk.WeightsError, match=r"other\.weights\.h5' does not fit 'TinyNet'"):
        build_with_weights(TINY, (32, 32), tmp_path / "other.weights.h5", 0)


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + b"x" * 100])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "bad.weights.h5").write_bytes(content)
    with pytest.raises(tk.WeightsError, match="does not fit"):
        build_with_weights(TINY, (32, 32), tmp_path / "bad.weights.h5", 0)


def test_a_small_file_that_declares_gigabytes_is_refused_unread(tmp_path):
    with h5py.File(tmp_path / "bomb.weights.h5", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (1000, 1000, 1000), "float32", chunks=True, compression="gzip")
    assert (tmp_path / "bomb.weights.h5").stat().st_size < 2**20
    with pytest.raises(tk.WeightsError, match="declares 1,000,000,000 values"):
        build_with_weights(TINY, (32, 32), tmp_path / "bomb.weights.h5", 0)


def test_a_file_that_points_to_others_is_refused(tmp_path):
    with h5py.File(tmp_path / "outside.weights.h5", "w") as file:
        file.create_dataset("x", (4,), "float32", external=[("/etc/hostname", 0, 16)])
    with pytest.raises(tk.WeightsError, match="points to other files"):
        build_with_weights(TINY, (32, 32), tmp_path / "outside.weights.h5", 0)


# ---- against Keras ----


@pytest.mark.thorough
@pytest.mark.parametrize("name", [MOBILENET])
def test_real_weights_are_those_that_keras_loads(assets, name):
    path = assets / "weights" / name
    record = tk.get_backbone("MobileNetV2")
    ours = build_with_weights(record, (224, 224), path, 0)
    theirs = keras.applications.MobileNetV2(include_top=False, weights=path, input_shape=(224, 224, 3))
    assert weights_digest(ours) == weights_digest(theirs)


def set_normalization(model, mean, variance):
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.weights[0].assign(mean.reshape(layer.weights[0].shape))
            layer.weights[1].assign(variance.reshape(layer.weights[1].shape))
            layer.finalize_state()


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square")
@pytest.mark.parametrize(
    "name",
    [
        "EfficientNetB0",  # whose files need mending
        "MobileNetV2_0.35",
        *(pytest.param(name, marks=pytest.mark.table) for name in ("MobileNetV3Small", "ResNet50")),
    ],
)
def test_the_network_computes_what_that_of_keras_with_imagenet_weights_computes(name, tmp_path, monkeypatch):
    """One file in the form of Keras's own, read by Keras as ``weights="imagenet"`` and by us."""
    record = tk.get_backbone(name)
    keras.utils.set_random_seed(0)
    source = record.build((64, 64))
    rng = np.random.default_rng(0)
    images = record.preprocess_input(rng.uniform(0, 255, (2, 64, 64, 3)).astype(np.float32))
    mean, deviation = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    set_normalization(source, mean, deviation**2)
    calibrate(source, images)
    set_normalization(source, mean, deviation)  # as the files of EfficientNet hold it
    official = record.weights_file((224, 224))
    path = save_as_keras_2(source, tmp_path / official.name)

    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
    theirs = record.build((64, 64), weights="imagenet")
    expected = theirs(images, training=False).numpy()
    assert 1e-3 < np.abs(expected).max() < 1e6
    for _ in ("from the file", "from memory"):
        ours = build_with_weights(record, (64, 64), path, 0)
        assert ours(images, training=False).numpy() == pytest.approx(expected, abs=1e-4 * float(np.abs(expected).max()))


@pytest.mark.thorough
def test_a_network_inside_a_model_is_mended_too(tmp_path):
    def build(input_shape):
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, tk.get_backbone("EfficientNetB0").build(input_shape[:2])(inputs))

    record = replace(TINY, builder=build, feature_dim=1280)
    source = record.build((32, 32))
    mean, deviation = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    set_normalization(source.layers[-1], mean, deviation)
    source.save_weights(tmp_path / "own.weights.h5")
    loaded = build_with_weights(record, (32, 32), tmp_path / "own.weights.h5", 0)
    (found,) = (layer for layer in loaded.layers[-1].layers if isinstance(layer, keras.layers.Normalization))
    assert np.ravel(found.weights[1]) == pytest.approx(deviation**2)


def test_a_normalization_of_ones_own_stays_as_it_is(tmp_path):
    def build(input_shape):
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, keras.layers.Conv2D(4, 3)(keras.layers.Normalization()(inputs)))

    record = replace(TINY, builder=build, feature_dim=4)
    source = record.build((32, 32))
    layer = next(layer for layer in source.layers if isinstance(layer, keras.layers.Normalization))
    layer.weights[0].assign([0.5, 0.5, 0.5])
    layer.weights[1].assign([0.1, 0.2, 0.3])
    source.save_weights(tmp_path / "own.weights.h5")
    loaded = build_with_weights(record, (32, 32), tmp_path / "own.weights.h5", 0)
    found = next(layer for layer in loaded.layers if isinstance(layer, keras.layers.Normalization))
    assert np.ravel(found.weights[1]) == pytest.approx([0.1, 0.2, 0.3])


def test_random_weights_follow_the_seed_in_threads_too():
    def digest(seed: int) -> str:
        return weights_digest(build_with_weights(TINY, (32, 32), None, seed))

    expected = [digest(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(digest, range(4))) == expected


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    source = TINY.build((32, 32))
    kernel = source.layers[-3].weights[0] if source.layers[-3].weights else source.weights[0]
    kernel.assign(np.full(kernel.shape, value))
    path = save_as_keras_3(source, tmp_path / "w.weights.h5")
    with refused(tk.WeightsError, "w.weights.h5", "is missing or not finite"):
        build_with_weights(TINY, (32, 32), path, 0)


def test_a_thread_that_warns_does_not_disturb_a_file_that_is_loaded(tmp_path):
    path = save_as_keras_3(TINY.build((32, 32)), tmp_path / "w.weights.h5")
    done = threading.Event()

    def warn() -> None:
        while not done.is_set():
            warnings.warn("of another thread", stacklevel=1)

    with warnings.catch_warnings(), ThreadPoolExecutor(1) as pool:
        warnings.simplefilter("ignore")
        warning = pool.submit(warn)
        try:
            build_with_weights(replace(TINY), (32, 32), path, 0)
        finally:
            done.set()
        warning.result()
