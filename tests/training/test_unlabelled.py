"""`fit(unlabelled=...)`: the head learns from images without labels, where that helps."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing import drawn
from helpers import MOBILENET, refused

import transferkit as tk
from transferkit.training import inputs


def few(assets: Path) -> tuple[list[Path], list[str], list[Path]]:
    """Four labelled photos of each of ten classes, and the others."""
    files = np.array(sorted((assets / "data/textures/train").rglob("*.*")))
    labels = np.array([path.parent.name for path in files])
    order = np.random.default_rng(1).permutation(len(files))
    chosen = np.concatenate([order[labels[order] == label][:4] for label in np.unique(labels)])
    return list(files[chosen]), list(labels[chosen]), list(np.delete(files, chosen))


def pretrained(assets: Path) -> tk.TransferClassifier:
    return tk.TransferClassifier("MobileNetV2", weights=assets / "weights" / MOBILENET, seed=1)


@pytest.fixture(scope="module")
def taught(assets: Path) -> tk.TransferClassifier:
    images, labels, others = few(assets)
    return pretrained(assets).fit(images, labels, unlabelled=others, verbose=0)


@pytest.mark.thorough
def test_it_is_kept_where_the_out_of_fold_loss_falls(taught: tk.TransferClassifier) -> None:
    selection = taught.history_.phases[0].selection
    assert selection is not None
    assert (selection.kept, selection.images, selection.folds) == ("unlabelled", 40, 5)
    assert selection.loss < selection.loss_before
    assert "kept the head trained on the unlabelled images too" in str(selection)


@pytest.mark.thorough
def test_it_helps_on_images_that_it_has_not_seen(taught: tk.TransferClassifier, assets: Path) -> None:
    images, labels, _ = few(assets)
    alone = pretrained(assets).fit(images, labels, verbose=0)
    test = assets / "data/textures/test"
    assert taught.score(test) > alone.score(test) + 0.02


@pytest.mark.thorough
def test_images_of_other_things_leave_the_head_as_it_was(make: Any, pictures: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), np.uint8)
    clf = make().fit(*pictures, unlabelled=noise, verbose=0)
    selection = clf.history_.phases[0].selection
    assert selection.kept == "labelled"
    assert np.array_equal(clf.predict_proba(noise), make().fit(*pictures, verbose=0).predict_proba(noise))


@pytest.mark.thorough
def test_the_same_seed_gives_the_same_head(taught: tk.TransferClassifier, assets: Path) -> None:
    images, labels, others = few(assets)
    again = pretrained(assets).fit(images, labels, unlabelled=others, verbose=0)
    assert np.array_equal(again.predict_proba(others), taught.predict_proba(others))


def test_very_many_are_drawn_from(
    make: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inputs, "MOST_UNLABELLED", 6)
    make().fit(*pictures, unlabelled=drawn(4, 1)[0], verbose=1)
    assert "6 of the 12 unlabelled images are used" in capsys.readouterr().out


def test_unreadable_ones_are_named_or_left_out(make: Any, pictures: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with refused(tk.ImageReadError, "broken.jpg"):
        make().fit(*pictures, unlabelled=tmp_path, verbose=0)
    clf = make().fit(*pictures, unlabelled=tmp_path, on_bad_image="skip", verbose=0)
    assert list(clf.history_.skipped) == [str(tmp_path / "broken.jpg")]
    assert clf.history_.phases[0].selection is None


@pytest.mark.thorough
def test_fine_tune_does_not_compare_with_a_weaker_head(taught: tk.TransferClassifier) -> None:
    with refused(tk.InvalidInputError, "unlabelled images", "validation"):
        taught.fine_tune(steps=1, verbose=0)


@pytest.mark.parametrize("given", [{"epochs": 2}, {"learning_rate": 0.01}])
def test_a_head_trained_by_steps_takes_none(make: Any, pictures: Any, given: dict[str, Any]) -> None:
    with refused(tk.InvalidInputError, "trained by steps", "Leave out epochs"):
        make().fit(*pictures, unlabelled=pictures[0], **given)


def test_an_empty_folder_is_refused(make: Any, pictures: Any, tmp_path: Path) -> None:
    with refused(tk.InvalidInputError, "holds no images"):
        make().fit(*pictures, unlabelled=tmp_path, verbose=0)


def test_images_that_train_or_validate_are_not_taken_as_unlabelled(make: Any, pictures: Any) -> None:
    images, labels = pictures
    test = drawn(4, seed=9)
    clf = make(seed=0).fit(images, labels, unlabelled=np.concatenate([images, test[0]]), validation=test, verbose=0)
    assert clf.history_.phases[0].selection is None


@pytest.mark.thorough
def test_images_that_it_learned_from_do_not_validate(taught: tk.TransferClassifier, assets: Path) -> None:
    _, _, others = few(assets)
    clf = pickle.loads(pickle.dumps(taught))
    with refused(tk.InvalidInputError, "on all of the images that could validate it"):
        clf.fine_tune(others, [path.parent.name for path in others], validation=0.3, verbose=0)


@pytest.mark.thorough
def test_a_class_of_one_image_is_still_named(assets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels, others = few(assets)
    del images[8:11], labels[8:11]  # three of the four of one class
    clf = pretrained(assets).fit(images, labels, unlabelled=others)
    selection = clf.history_.phases[0].selection
    assert selection is not None and selection.kept == "unlabelled"
    assert f"No image of the class '{labels[8]}' could be held out" in capsys.readouterr().out


@pytest.mark.parametrize(
    "reason", ["no class has two different labelled images to measure on", "none is readable and new"]
)
def test_images_that_are_not_used_are_mentioned(
    make: Any, pictures: Any, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = pictures
    if reason.startswith("no class"):
        rows = np.unique(labels, return_index=True)[1]
        clf = make().fit(images[rows], labels[rows], unlabelled=images[5:9])
    else:
        clf = make().fit(images, labels, unlabelled=images[5:9])
    assert clf.history_.phases[0].selection is None
    assert f"unlabelled images are not used: {reason}" in capsys.readouterr().out
