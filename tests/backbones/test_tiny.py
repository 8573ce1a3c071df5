"""TransferKitTiny: what lies in the box is what its record says, and it sees more than random weights do."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import numpy as np
import pytest
from drawing import textures
from helpers import ROOT, refused

import transferkit as tk
from transferkit.backbones.loading import build_with_weights
from transferkit.backbones.tiny import TINY

SIZE = (96, 96)


@pytest.fixture(scope="module")
def network():
    return build_with_weights(TINY, SIZE, TINY.pretrained, 0)


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


def test_another_size_takes_the_same_weights_and_says_so(capsys):
    clf = tk.TransferClassifier("TransferKitTiny", input_size=(64, 48), seed=0)
    clf.fit(np.zeros((8, 96, 96, 3), np.uint8), ["a", "b"] * 4, epochs=1, validation=None, verbose=2)
    assert "has no weights for 64 x 48 px, so 'tiny.weights.h5' for 96 px is used" in capsys.readouterr().out


def test_its_record_is_had_without_tensorflow():
    code = "import sys, transferkit as tk; tk.get_backbone('TransferKitTiny'); print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_it_sees_more_than_random_weights_do(rng):
    images, labels = textures(rng, 90)
    test, truth = textures(rng, 120)
    scores = []
    for weights in ("pretrained", None):
        clf = tk.TransferClassifier("TransferKitTiny", weights=weights, seed=0)
        scores.append(clf.fit(images, labels, epochs=20, verbose=0).score(test, truth))
    assert scores[0] >= max(0.8, scores[1] + 0.1)


def test_a_whole_round_without_network_or_photos(rng, tmp_path):
    images, labels = textures(rng, 30)
    clf = tk.TransferClassifier("TransferKitTiny", seed=0).fit(images, labels, epochs=2, verbose=0)
    clf.fine_tune(at=TINY.stages[-1], epochs=1, verbose=0)
    clf.save(tmp_path / "textures.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "textures.keras")
    assert np.array_equal(loaded.predict_proba(images, verbose=0), clf.predict_proba(images, verbose=0))


@pytest.mark.parametrize(
    ("data", "least"),
    [pytest.param("cats_dogs", 0.8, marks=pytest.mark.slow), ("flowers", 0.62), ("cifar10", 0.5)],
)
def test_the_head_that_fit_trains_tells_real_photos_apart(assets, data, least):
    folder = assets / "data" / data
    clf = tk.TransferClassifier("TransferKitTiny", seed=0).fit(folder / "train", verbose=0)
    assert clf.evaluate(folder / "test", verbose=0).accuracy >= least
