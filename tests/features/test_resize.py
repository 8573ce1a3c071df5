"""`resize=`: one choice for training, prediction, the file, the store and the pictures that are shown."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest
from drawing import write_png
from forging import with_manifest
from helpers import refused

import transferkit as tk
from transferkit._common.console import Console
from transferkit.features.reader import ImageReader, inspect
from transferkit.images.decoding import Resizing, resize
from transferkit.images.images import Images

RULES = ["squash", "crop", "pad"]


def wide(centre: int, edges: int, seed: int) -> np.ndarray:
    """A noisy picture three times as wide as high, whose middle third has one grey and whose ends have another."""
    grey = np.repeat([[edges] * 32 + [centre] * 32 + [edges] * 32], 32, axis=0)
    noisy = grey[..., None] + np.random.default_rng(seed).normal(0, 8, (32, 96, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.fixture
def panoramas() -> tuple[np.ndarray, list[str]]:
    """Two classes that differ at the ends alone."""
    images = [wide(128, [40, 210][number % 2], number) for number in range(24)]
    return np.stack(images), ["dark", "bright"] * 12


@pytest.mark.thorough
@pytest.mark.parametrize("rule", RULES)
def test_the_network_sees_images_by_the_rule_in_fit_and_predict(make, panoramas, rule):
    clf = make(resize=rule).fit(*panoramas, validation=None, verbose=0)
    seen = np.stack([resize(image, (32, 32), rule) for image in panoramas[0]])
    expected = clf.network_.predict(seen, verbose=0)
    assert clf.predict_proba(panoramas[0], verbose=0) == pytest.approx(expected, abs=1e-5)
    assert (clf.score(*panoramas) > 0.95) == (rule != "crop"), "what is cut off cannot be learnt"
    assert f"({rule})" in clf.summary()


@pytest.mark.thorough
def test_values_are_stored_for_each_rule_and_found_again(make, panoramas, computed):
    answers = {}
    for rule in ("squash", "pad"):
        computed.clear()
        answers[rule] = make(resize=rule).fit(*panoramas, verbose=0).predict_proba(panoramas[0], verbose=0)
        assert sum(computed) == 24, "once, by this rule"
    computed.clear()
    for rule in answers:
        again = make(resize=rule).fit(*panoramas, verbose=0)
        assert np.array_equal(again.predict_proba(panoramas[0], verbose=0), answers[rule])
    assert not computed


@pytest.mark.thorough
def test_values_that_are_computed_in_each_epoch_follow_the_rule(make, panoramas):
    clf = make(resize="crop", augmentation="light").fit(*panoramas, epochs=30, learning_rate=0.05, verbose=0)
    assert clf.score(*panoramas) < 0.8, "what is cut off cannot be learnt"


def test_the_data_check_sees_whole_images_under_each_rule(make, panoramas, monkeypatch):
    make().fit(*panoramas, verbose=0)
    decoded = []
    monkeypatch.setattr("transferkit.features.reader.thumbnail", lambda pixels: decoded.append(pixels))
    clf = make(resize="crop").fit(*panoramas, verbose=0)
    assert not decoded, "thumbnails are shared"
    assert clf.report_.counts == {"bright": 12, "dark": 12}


def test_a_check_without_a_store_gives_the_same_report(panoramas):
    images = Images(list(panoramas[0]))
    with closing(ImageReader(images, Resizing((32, 32), "crop"), None)) as reader:
        reader.open(range(len(images)))
    expected = inspect(images, (32, 32), None, Console(0))
    assert np.array_equal(reader.inspection.thumbnails, expected.thumbnails)


@pytest.mark.thorough
def test_a_file_keeps_the_rule_and_so_does_a_tuned_copy(make, panoramas, tmp_path):
    clf = make(resize="crop").fit(*panoramas, verbose=0)
    clf.fine_tune(at="stage2", epochs=1, learning_rate=1e-3, validation=None, verbose=0)
    clf.save(tmp_path / "wide.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "wide.keras")
    assert loaded.resize == "crop"
    expected = clf.predict_proba(panoramas[0], verbose=0)
    assert loaded.predict_proba(panoramas[0], verbose=0) == pytest.approx(expected, abs=1e-6)
    seen = np.stack([resize(image, (32, 32), "crop") for image in panoramas[0]])
    assert clf.network_.predict(seen, verbose=0) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("rule", ["stretch", 1, ["crop"]])
def test_a_file_with_another_rule_is_refused(saved_file, rule):
    with_manifest(saved_file, resize=rule)
    with refused(tk.BundleError, "resize"):
        tk.TransferClassifier.load(saved_file)


@pytest.mark.parametrize("rule", ["stretch", "Crop", None, 1, ["crop"]])
def test_another_rule_is_refused_before_the_data_is_read(make, rule):
    with refused(tk.InvalidInputError, "resize", "'squash', 'crop', 'pad'"):
        make(resize=rule).fit("nowhere")
    with refused(tk.InvalidInputError, "resize", "'squash', 'crop', 'pad'"):
        tk.show_images("nowhere", resize=rule)


def test_a_run_is_not_resumed_with_another_rule(make, panoramas, tmp_path):
    make().fit(*panoramas, epochs=2, resume=tmp_path, verbose=0)
    with refused(tk.InvalidInputError, "resize"):
        make(resize="pad").fit(*panoramas, epochs=2, resume=tmp_path, verbose=0)


@pytest.mark.parametrize("rule", RULES)
def test_images_are_shown_as_the_network_sees_them(make, panoramas, rule, tmp_path):
    write_png(tmp_path / "wide.png", panoramas[0][0])

    def pixels(figure: Any) -> np.ndarray:
        return np.asarray(figure.axes[0].images[0].get_array())

    known = resize(panoramas[0][0], (32, 32), rule)
    assert np.abs(pixels(make(resize=rule).show_images(tmp_path / "wide.png")) - known).max() <= 1
    assert np.abs(pixels(tk.show_images(tmp_path / "wide.png", size=32, resize=rule)) - known).max() <= 1


@pytest.mark.thorough
def test_a_comparison_takes_the_rule_of_each_classifier(make, panoramas, monkeypatch):
    monkeypatch.setattr("transferkit.features.forecast.TIMED_SECONDS", 0.01)
    images, labels = panoramas
    found = tk.compare(images, labels, {"whole": make(), "centre": make(resize="crop")}, verbose=0)
    accuracies = {row.name: row.accuracy for row in found.rows}
    assert accuracies["whole"] > 0.9 > 0.7 > accuracies["centre"]
    assert found.best().resize == "squash"


@pytest.mark.thorough
@pytest.mark.parametrize("rule", ["crop", "pad"])
def test_an_explanation_is_of_what_the_network_sees(make, panoramas, rule):
    clf = make(resize=rule).fit(*panoramas, validation=None, verbose=0)
    (found,) = clf.explain(panoramas[0][0], verbose=0)
    assert np.abs(found.image - resize(panoramas[0][0], (32, 32), rule)).max() <= 1
    assert found.shape == (32, 32)
