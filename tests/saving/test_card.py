"""The model card: what model hubs read of it, and what people do."""

from __future__ import annotations

import io
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
from helpers import refused, steady
from hypothesis import given
from hypothesis import strategies as st
from networks import TINY

import transferkit as tk
from transferkit.saving import model_card, open_saved

yaml = pytest.importorskip("yaml")

NASTY = [
    'a "b": c',
    "- x\n---\nkey: 1",
    "tab\there",
    "<script>alert(1)</script>",
    "a | b",
    "[x](http://evil)",
    "ñ 猫 \U0001f600",
]


@pytest.fixture(scope="module")
def manifest(fitted_once):
    with open_saved(fitted_once[0]) as saved:
        return saved.manifest


def head_of(card: str) -> dict:
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def test_hubs_find_what_they_read(loaded):
    head = head_of(loaded.card())
    assert head["library_name"] == "transferkit"
    assert head["pipeline_tag"] == "image-classification"
    assert {"image-classification", "keras", "TinyNet"} <= set(head["tags"])
    assert "license" not in head


def test_people_find_what_was_trained_and_how_well(fitted):
    card = fitted.card()
    (phase,) = fitted.history_.phases
    for part in (
        "# Image classifier on TinyNet",
        "one of 3 classes",
        "random weights",
        "32 x 32 px",
        "| lying | 9 |",
        "| fit | logits | 40 | 27 | 9 |",
        f"accuracy {phase.metrics['val_accuracy'][-1]:.4f}",
        "on 9 images",
        "TransferClassifier.load",
        "## Limits",
    ):
        assert part in card


def test_the_card_is_the_same_after_loading(fitted):
    buffer = io.BytesIO()
    fitted.save(buffer)
    buffer.seek(0)
    assert tk.TransferClassifier.load(buffer).card() == fitted.card()


@pytest.mark.thorough
def test_weights_of_a_file_are_not_called_those_of_the_record(tmp_path, pictures):
    path = tmp_path / "own.weights.h5"
    tk.get_backbone("TransferKitTiny").build((96, 96)).save_weights(path)
    clf = tk.TransferClassifier("TransferKitTiny", weights=path, seed=0).fit(*pictures, verbose=0)
    card = clf.card()
    assert "(weights from a file, 585,760 parameters)" in card
    loaded = pickle.loads(pickle.dumps(clf))
    assert loaded.card() == card
    clf.save(tmp_path / "a.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "a.keras")
    assert loaded.weights == "file"
    with refused(tk.WeightsError, "came from a file", "set_params(weights='PATH')"):
        loaded.fit(*pictures, verbose=0)
    again = loaded.set_params(weights=path).fit(*pictures, verbose=0)
    assert np.array_equal(again.predict_proba(pictures[0]), clf.predict_proba(pictures[0]))


@pytest.mark.thorough
def test_folds_errors_and_the_choice_of_fine_tuning_are_told(make, photos):
    clf = make().fit(photos / "train", verbose=0).fine_tune(at="stage2", steps=1, verbose=0)
    card = clf.card()
    error = clf.history_.phases[0].errors["val_accuracy"]
    assert f"(+-{error:.4f})" in card
    assert "5 folds of the training images" in card
    assert f"- fine_tune: {clf.history_.phases[1].selection}" in card


def test_validation_images_are_told_beside_the_choice_of_unlabelled_ones(make, pictures):
    x, y = pictures
    clf = make().fit(x, y, validation=0.25, unlabelled=255 - x, verbose=0)
    (phase,) = clf.history_.phases
    card = clf.card()
    assert f"- fit: accuracy {phase.metrics['val_accuracy'][0]:.4f}" in card
    assert f"on 9 images; {phase.selection}" in card


def test_no_validation_is_told(make, photos):
    card = make().fit(photos / "train", validation=0, epochs=1, verbose=0).card()
    assert "- fit: not measured on held-out images" in card


def test_before_fit_there_is_none(make):
    with refused(tk.NotFittedError, "card needs a fitted classifier"):
        make().card()


@pytest.mark.parametrize("name", NASTY)
def test_a_backbone_of_any_name_is_one_tag(manifest, name):
    card = model_card(manifest, replace(TINY, name=name))
    head, _, text = card.removeprefix("---\n").partition("\n---\n")
    assert yaml.safe_load(head)["tags"][-1] == name
    assert "<script>" not in text
    assert not re.search(r"(?<!\\)\]\(", text)
    assert "\n---\nkey" not in text


@pytest.mark.thorough
@steady
@given(name=st.text(min_size=1))
def test_any_text_is_one_scalar_of_the_head(manifest, name):
    card = model_card(manifest, replace(TINY, name=f"x{name}"))
    assert head_of(card)["tags"][-1] == f"x{name}"


@pytest.mark.parametrize("name", NASTY)
def test_a_class_of_any_name_is_one_cell(manifest, name):
    card = model_card(replace(manifest, classes=["lying", "red", name]), TINY)
    rows = re.findall(r"^\| .* \|$", card, re.MULTILINE)
    row = rows[rows.index("| red | 9 |") + 1]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert "<script>" not in row


def test_many_classes_are_counted(manifest, monkeypatch):
    monkeypatch.setattr("transferkit.saving.card.MOST_CLASSES", 2)
    card = model_card(manifest, TINY)
    assert "and 1 more." in card
    assert "| standing" not in card


def test_huggingface_reads_the_head(loaded):
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard(loaded.card()).data
    assert (data.library_name, data.pipeline_tag) == ("transferkit", "image-classification")


@pytest.mark.thorough
def test_images_of_a_phase_that_was_not_kept_are_not_those_of_the_classes(make, photos):
    clf = make().fit(photos / "train", verbose=0)
    noise = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    clf.fine_tune(
        noise, ["lying", "red", "standing"] * 2, epochs=1, learning_rate=0.5, validation=photos / "test", verbose=0
    )
    assert clf.history_.phases[1].selection.kept == "before"
    card = clf.card()
    assert "| red | 12 |" in card
    assert "| fine_tune (not kept) |" in card
