"""Real photos and real weights: what the library promises, seen through its public names."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from helpers import MOBILENET
from PIL import Image

import transferkit as tk

# What only this runs has no test of its own.
pytestmark = pytest.mark.no_cover


def some(folder: Path, count: int) -> tuple[list[Path], list[str]]:
    """The first photos of each class."""
    paths = [p for label in ("cats", "dogs") for p in sorted((folder / label).iterdir())[:count]]
    return paths, [path.parent.name for path in paths]


@pytest.fixture(scope="module")
def small(assets) -> tk.TransferClassifier:
    return tk.TransferClassifier("TransferKitTiny", seed=0).fit(*some(assets / "data/cats_dogs/train", 150), verbose=0)


def test_cats_and_dogs_are_told_apart(small, assets):
    # All 1,000 photos give more than 300 do: docs/transferkit-tiny.md.
    assert small.evaluate(*some(assets / "data/cats_dogs/test", 100), verbose=0).accuracy >= 0.78


def test_a_photo_gives_the_same_probabilities_however_it_comes_in(small, assets):
    path = assets / "data/cats_dogs/test/cats/cat.4001.jpg"
    expected = small.predict_proba(path, verbose=0)
    pixels = tf.io.decode_jpeg(path.read_bytes(), dct_method="INTEGER_ACCURATE").numpy()
    dataset = tf.data.Dataset.from_tensors(pixels[None])
    for form in (
        str(path),
        [path],
        path.read_bytes(),
        Image.open(io.BytesIO(path.read_bytes())),
        pixels,
        pixels.astype("float32")[None],
        [pixels],
        dataset,
    ):
        assert small.predict_proba(form, verbose=0) == pytest.approx(expected, abs=1e-5)


@pytest.mark.thorough
def test_fine_tuning_from_a_stage_saving_and_loading(small, assets, tmp_path):
    test = some(assets / "data/cats_dogs/test", 30)
    statistics = {w.path: w.numpy() for w in small.network_.non_trainable_weights if "moving" in w.path}
    small.fine_tune(at="block_6", epochs=2, verbose=0)
    now = {w.path: w.numpy() for w in small.network_.non_trainable_weights}
    assert statistics
    assert all(np.array_equal(value, now[path]) for path, value in statistics.items())
    small.save(tmp_path / "pets.keras")
    expected = small.predict_proba(test[0], verbose=0)
    loaded = tk.TransferClassifier.load(tmp_path / "pets.keras")
    assert loaded.predict_proba(test[0], verbose=0) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "backbone", "weights", "options", "bar"),
    [
        ("cats_dogs", "MobileNetV2", MOBILENET, {"epochs": 5}, 0.98),
        ("cats_dogs", "MobileNetV2", MOBILENET, {}, 0.9875),
        ("flowers", "MobileNetV2", MOBILENET, {}, 0.81),
        ("flowers", "DenseNet121", "densenet121_imagenet_notop.weights.h5", {}, 0.80),
    ],
)
def test_median_accuracy_over_three_seeds(assets, data, backbone, weights, options, bar):
    scores = []
    for seed in range(3):
        clf = tk.TransferClassifier(backbone, weights=assets / "weights" / weights, seed=seed)
        clf.fit(assets / "data" / data / "train", verbose=0, **options)
        scores.append(clf.score(assets / "data" / data / "test"))
    assert np.median(scores) >= bar


@pytest.mark.slow
def test_the_first_example_as_it_stands(assets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/train").symlink_to(assets / "data/cats_dogs/train")
    (tmp_path / "photos/test").symlink_to(assets / "data/cats_dogs/test")
    (tmp_path / "photos/new").symlink_to(assets / "data/cats_dogs/test/cats")
    weights = assets / "weights" / MOBILENET
    clf = tk.TransferClassifier("MobileNetV2", weights=weights)
    clf.fit("photos/train", validation=0.15, epochs=5)
    clf.fine_tune(at="block_13", epochs=5)
    report = clf.evaluate("photos/test")
    assert report.accuracy >= 0.975
    labels = [p.label for p in clf.predict("photos/new")]
    assert labels.count("cats") >= 190
    clf.save("pets.keras")
    clf = tk.TransferClassifier.load("pets.keras")
    assert clf.evaluate("photos/test").accuracy == report.accuracy
