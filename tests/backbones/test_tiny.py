"""TransferKitTiny: its weights fit its record and beat random ones; the residual network that it is built of."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from drawing import textures
from helpers import ROOT, refused

import transferkit as tk
from transferkit.backbones.loading import build_with_weights
from transferkit.backbones.tiny import TINY, build_residual

SIZE = (96, 96)
PLAN = {"stem": 4, "blocks": [("basic", 8, 6, 2), ("bottleneck", 12, 4, 2), ("bottleneck", 12, 4, 1)], "features": 20}


@pytest.fixture(scope="module")
def network():
    return build_with_weights(TINY, SIZE, TINY.pretrained, 0)


@pytest.mark.thorough
def test_the_record_tells_the_truth(network):
    assert tk.get_backbone("transferkittiny") is TINY
    assert network.count_params() == TINY.parameters <= 600_000
    assert network.output_shape == (None, 6, 6, TINY.feature_dim)
    names = [layer.name for layer in network.layers]
    assert all(any(name.startswith(f"{stage}_") for name in names) for stage in TINY.stages)
    assert "TransferKitTiny" in tk.list_backbones(max_parameters=600_000, input_size=96)


def test_the_weights_are_small_finite_and_all_there(network):
    assert TINY.pretrained.stat().st_size <= 1_500_000
    for weight in network.weights:
        values = weight.numpy()
        assert np.isfinite(values).all()
        assert values.std() > 0, weight.path


def test_the_weights_are_in_the_wheel(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        assert opened.read("transferkit/backbones/tiny.weights.h5") == TINY.pretrained.read_bytes()
        assert opened.getinfo("transferkit/backbones/tiny.weights.h5").compress_size <= 1_500_000


def test_there_is_nothing_to_download(tmp_path, capsys):
    assert tk.download_weights(["TransferKitTiny"], tmp_path) == []
    assert "'TransferKitTiny' need not be downloaded" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_imagenet_is_refused_since_they_are_its_own():
    clf = tk.TransferClassifier("TransferKitTiny", weights="imagenet")
    with refused(tk.WeightsError, "'imagenet'", "'TransferKitTiny'", "weights='pretrained'"):
        clf.fit(np.zeros((4, 96, 96, 3), np.uint8), ["a", "b"] * 2)


@pytest.mark.thorough
def test_another_size_takes_the_same_weights_and_says_so(capsys):
    clf = tk.TransferClassifier("TransferKitTiny", input_size=(64, 48), seed=0)
    clf.fit(np.zeros((8, 96, 96, 3), np.uint8), ["a", "b"] * 4, epochs=1, validation=None, verbose=2)
    assert "has no weights for 64 x 48 px, so 'tiny.weights.h5' for 96 px is used" in capsys.readouterr().out


def test_its_record_is_had_without_tensorflow():
    code = "import sys, transferkit as tk; tk.get_backbone('TransferKitTiny'); print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.thorough
def test_it_sees_more_than_random_weights_do(rng):
    images, labels = textures(rng, 90)
    test, truth = textures(rng, 120)
    scores = []
    for weights in ("pretrained", None):
        clf = tk.TransferClassifier("TransferKitTiny", weights=weights, seed=0)
        scores.append(clf.fit(images, labels, epochs=20, verbose=0).score(test, truth))
    assert scores[0] >= max(0.8, scores[1] + 0.1)


@pytest.mark.thorough
def test_a_whole_round_without_network_or_photos(rng, tmp_path):
    images, labels = textures(rng, 30)
    clf = tk.TransferClassifier("TransferKitTiny", seed=0).fit(images, labels, epochs=2, verbose=0)
    clf.fine_tune(at=TINY.stages[-1], epochs=1, verbose=0)
    clf.save(tmp_path / "textures.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "textures.keras")
    assert np.array_equal(loaded.predict_proba(images, verbose=0), clf.predict_proba(images, verbose=0))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("data", "least"),
    [pytest.param("cats_dogs", 0.8, marks=pytest.mark.slow), ("flowers", 0.62), ("cifar10", 0.5)],
)
def test_the_head_that_fit_trains_tells_real_photos_apart(assets, data, least):
    folder = assets / "data" / data
    clf = tk.TransferClassifier("TransferKitTiny", seed=0).fit(folder / "train", verbose=0)
    assert clf.evaluate(folder / "test", verbose=0).accuracy >= least


# ---- the residual network: what comes out, for any size, and where it can be cut ----


def build(size: tuple[int, int]) -> keras.Model:
    return build_residual(input_shape=(*size, 3), **PLAN)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 64), (39, 38)])
def test_any_size_gives_maps_an_eighth_as_large_rounded_up(size, rng):
    model = build(size)
    maps = np.asarray(model(rng.uniform(-1, 1, (2, *size, 3))))
    assert maps.shape == (2, -(-size[0] // 8), -(-size[1] // 8), 20)
    assert maps.min() == 0 < maps.max()


def test_nothing_is_off_by_a_pixel(rng):
    """The first convolution reads every second pixel from the first on, for odd and even sizes alike; with "same" padding
    it would begin at the second one of an even size."""
    model = build((33, 32))
    stem = model.get_layer("stem_conv")
    kernel = np.zeros((3, 3, 3, 4))
    kernel[1, 1] = 1  # the middle of the window alone
    stem.set_weights([kernel])
    images = rng.uniform(-1, 1, (1, 33, 32, 3)).astype(np.float32)
    read = np.asarray(keras.Model(model.input, stem.output)(images))[0, :, :, 0]
    assert read == pytest.approx(images[0, ::2, ::2].sum(axis=-1), abs=1e-5)


def test_a_block_without_a_change_of_shape_adds_to_what_it_gets(rng):
    model = build((32, 32))
    model.get_layer("block_3_3_norm").set_weights([np.zeros(12), np.zeros(12), np.zeros(12), np.ones(12)])
    before, after = (model.get_layer(f"block_{number}_relu").output for number in (2, 3))
    first, then = keras.Model(model.input, [before, after])(rng.uniform(-1, 1, (1, 32, 32, 3)))
    assert np.asarray(then) == pytest.approx(np.asarray(first))


def test_every_block_begins_at_one_value():
    """So that fine-tuning at a stage stores one tensor an image."""
    from transferkit.network.network import _crossing

    model = build((32, 32))
    names = [layer.name for layer in model.layers]
    for number in (1, 2, 3):
        first = next(index for index, name in enumerate(names) if name.startswith(f"block_{number}"))
        assert len(_crossing(model, first)) == 1
