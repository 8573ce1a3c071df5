"""`precision=`: what it takes, what it is part of, and what it costs."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import refused

import transferkit as tk
from transferkit.classifier import classifier
from transferkit.network import precision

needs_bfloat16 = pytest.mark.skipif(
    not precision.has_fast_half(), reason="the processor has no instructions for bfloat16"
)


@pytest.fixture
def without_bfloat16(monkeypatch):
    """A machine whose processor has no instructions for bfloat16."""
    for module in (precision, classifier):
        monkeypatch.setattr(module, "has_fast_half", lambda: False)


def stored_precision(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("transferkit.json"))["precision"]


@pytest.mark.parametrize("choice", ["float16", "BFLOAT16", None, 16])
def test_another_choice_is_refused_before_any_work(make, photos, choice):
    with refused(tk.InvalidInputError, f"`precision={choice!r}`", "'float32', 'bfloat16', 'auto'"):
        make(precision=choice).fit(photos / "train", verbose=0)


def test_bfloat16_is_refused_where_the_machine_has_none(make, photos, without_bfloat16):
    with refused(tk.InvalidInputError, "`precision='bfloat16'`", "AVX-512 BF16", "precision='auto'"):
        make(precision="bfloat16").fit(photos / "train", verbose=0)


@pytest.mark.thorough
def test_auto_takes_float32_where_the_machine_has_no_bfloat16(make, photos, tmp_path, without_bfloat16):
    plain, auto = (make(precision=p).fit(photos / "train", epochs=1, verbose=0) for p in ("float32", "auto"))
    assert np.array_equal(auto.predict_proba(photos / "test"), plain.predict_proba(photos / "test"))
    auto.save(tmp_path / "auto.keras")
    assert stored_precision(tmp_path / "auto.keras") == "float32"


@pytest.mark.thorough
@needs_bfloat16
def test_values_of_one_precision_are_not_taken_for_those_of_the_other(make, photos, computed):
    plain, half = (make(precision=p).fit(photos / "train", epochs=5, verbose=0) for p in ("float32", "auto"))
    assert sum(computed) == 2 * 36
    first, second = plain.predict_proba(photos / "test"), half.predict_proba(photos / "test")
    assert 0 < np.abs(first - second).max() < 0.1


@pytest.mark.thorough
@needs_bfloat16
def test_a_saved_classifier_keeps_its_precision(make, photos, tmp_path):
    clf = make(precision="bfloat16").fit(photos / "train", epochs=5, verbose=0)
    clf.fine_tune(at="stage2", epochs=1, verbose=0).save(tmp_path / "half.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "half.keras")
    assert loaded.precision == "bfloat16"
    assert np.array_equal(loaded.predict_proba(photos / "test"), clf.predict_proba(photos / "test"))


@pytest.mark.thorough
@needs_bfloat16
def test_a_classifier_of_bfloat16_loads_where_the_machine_has_none(
    make, photos, tmp_path, without_bfloat16, monkeypatch
):
    with monkeypatch.context() as there:
        there.setattr(precision, "has_fast_half", lambda: True)
        clf = make(precision="bfloat16").fit(photos / "train", epochs=5, verbose=0)
        clf.save(tmp_path / "half.keras")
    with pytest.warns(UserWarning, match=r"half\.keras.*precision='bfloat16'.*float32"):
        loaded = tk.TransferClassifier.load(tmp_path / "half.keras")
    difference = np.abs(loaded.predict_proba(photos / "test") - clf.predict_proba(photos / "test"))
    assert 0 < difference.max() < 0.1
