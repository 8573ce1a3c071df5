"""The temperature: chosen on images that were not trained on, part of the last layer, said in the history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from drawing import drawn

import transferkit as tk
from transferkit.training import head as heads
from transferkit.training.head import calibrated
from transferkit.training.scores import Scores


def pale(count: int, seed: int) -> tuple[Any, Any]:
    """Pictures that are hard to tell apart."""
    x, y = drawn(count, seed)
    noise = np.random.default_rng(seed).normal(0, 60, x.shape)
    return np.clip(127 + (x - 127.0) * 0.15 + noise, 0, 255).astype(np.uint8), y


def temperature_of(clf: tk.TransferClassifier) -> float:
    return clf.history_.phases[-1].temperature


def sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the search choose a head that is far too sure."""
    monkeypatch.setattr(heads, "STRENGTHS", (1e4,))


def test_a_head_that_is_too_sure_is_calmed(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sure(monkeypatch)
    clf = make().fit(*pale(20, 1), verbose=0)
    assert temperature_of(clf) > 1.2
    test = pale(60, 2)
    dense = clf.network_.get_layer("logits")
    after = clf.evaluate(*test, verbose=0)
    dense.set_weights([value * temperature_of(clf) for value in dense.get_weights()])
    before = clf.evaluate(*test, verbose=0)
    assert after.loss < before.loss
    assert after.accuracy == before.accuracy


def test_each_fold_is_measured_at_the_temperature_of_the_others() -> None:
    head = heads.Head(
        np.eye(3, dtype=np.float32),
        np.zeros(3, np.float32),
        1.0,
        logits := 10 * np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32),
        np.arange(100),
        Scores.of(logits, codes := np.arange(100) % 3),
        {0: (np.eye(3, dtype=np.float32), np.zeros(3, np.float32))},
    )
    found = calibrated(head, codes, np.arange(100) % 5)
    assert found.temperature == 2  # the limit, also without each of the folds
    assert found.scores.loss == pytest.approx(Scores.of(logits / 2, codes).loss)
    np.testing.assert_array_equal(found.kernel, found.fold_heads[0][0])
    logits[:20] = 20 * np.eye(3)[codes[:20]]  # one fold that is right: it does not make itself more sure
    assert calibrated(head, codes, np.arange(100) // 20).scores.losses[:20].min() > 2e-5


def test_plain_keras_gives_the_same_probabilities(make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sure(monkeypatch)
    clf = make().fit(*pale(20, 1), verbose=0)
    clf.save(tmp_path / "a.keras")
    x = pale(3, 2)[0]
    expected = keras.saving.load_model(tmp_path / "a.keras").predict(x.astype(np.float32), verbose=0)
    np.testing.assert_allclose(clf.predict_proba(x, verbose=0), expected, atol=1e-4)
    assert temperature_of(tk.TransferClassifier.load(tmp_path / "a.keras")) == temperature_of(clf)


def test_a_head_that_is_trained_by_steps_is_scaled_on_validation_images(make: Any) -> None:
    x, y = pale(20, 1)
    held_out = pale(30, 2)
    clf = make().fit(x, y, epochs=3, validation=held_out, verbose=0)
    assert temperature_of(clf) < 1  # few epochs: not sure enough
    assert clf.evaluate(*held_out, verbose=0).loss < clf.history_["val_loss"][-1]


@pytest.mark.parametrize("given", [{"epochs": 2, "validation": None}, {}])
def test_without_images_to_measure_on_it_is_one(make: Any, pictures: Any, given: dict[str, Any]) -> None:
    x, y = pictures
    images = (x, y) if given else (x[:3], y[:3])  # one image of each class: there are no folds
    assert temperature_of(make().fit(*images, verbose=0, **given)) == 1
