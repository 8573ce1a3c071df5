"""Weights: what is loaded is what the file holds, and what does not fit is refused."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import TINY

import transferkit as tk
from transferkit.weights import build_with_weights, check_weights, weights_digest


def test_a_file_of_weights_is_loaded(tmp_path):
    source = TINY.build((32, 32))
    source.save_weights(tmp_path / "w.weights.h5")
    path = check_weights(TINY, str(tmp_path / "w.weights.h5"))
    loaded = build_with_weights(TINY, (48, 40), path, 0)
    for a, b in zip(source.weights, loaded.weights, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


def test_random_weights_follow_the_seed():
    digests = [weights_digest(build_with_weights(TINY, (32, 32), None, seed)) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_the_digest_sees_every_weight():
    model = TINY.build((32, 32))
    before = weights_digest(model)
    bias = model.get_layer("stage2_bn").moving_variance
    bias.assign(bias + 1e-6)
    assert weights_digest(model) != before


def test_pretrained_weights_may_be_a_path_in_the_record(tmp_path):
    TINY.build((32, 32)).save_weights(tmp_path / "own.weights.h5")
    record = replace(TINY, pretrained=str(tmp_path / "own.weights.h5"))
    assert check_weights(record, "pretrained") == tmp_path / "own.weights.h5"
    with pytest.raises(tk.WeightsError, match="imagenet"):
        check_weights(record, "imagenet")


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


def test_a_failed_download_is_a_weights_error(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise Exception("URL fetch failure on https://example.invalid: no route")

    record = replace(TINY, pretrained="imagenet", builder=refuse)
    with pytest.raises(tk.WeightsError, match=r"'TinyNet' could not be had.*URL fetch failure.*weights=PATH"):
        build_with_weights(record, (32, 32), "imagenet", 0)


@pytest.mark.parametrize("name", ["mobilenet_v2_1.0_224_imagenet_notop.weights.h5"])
def test_real_weights_are_those_that_keras_loads(assets, name):
    path = assets / "weights" / name
    record = tk.get_backbone("MobileNetV2")
    ours = build_with_weights(record, (224, 224), path, 0)
    theirs = keras.applications.MobileNetV2(include_top=False, weights=path, input_shape=(224, 224, 3))
    assert weights_digest(ours) == weights_digest(theirs)
