"""What a fitted classifier says of its training photos: labels that look wrong, and neighbours."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from drawing import drawn, write_png
from helpers import refused

import transferkit as tk


@pytest.fixture
def exchanged() -> tuple[Any, npt.NDArray[np.str_], set[int]]:
    """60 pictures, the labels of which four are wrong, and where these four are."""
    x, y = drawn(20, seed=4)
    y = y.copy()
    for row in (5, 22, 31, 48):
        y[row] = {"lying": "standing", "red": "lying", "standing": "red"}[y[row]]
    return x, y, {5, 22, 31, 48}


@pytest.mark.parametrize(
    "given",
    [
        {},
        pytest.param({"validation": 0.25}, marks=pytest.mark.thorough),
        pytest.param({"epochs": 2}, marks=pytest.mark.thorough),
    ],
)
def test_labels_that_are_wrong_are_found(make: Any, exchanged: Any, given: dict[str, Any]) -> None:
    x, y, wrong = exchanged
    clf = make(backbone="TransferKitTiny", weights="pretrained").fit(x, y, verbose=0, **given)
    found = clf.suspicious_labels(verbose=0)
    assert {one.position for one in found} == wrong
    assert found.images == 60
    right = drawn(20, seed=4)[1]
    for one in found:
        assert one.path is None
        assert one.label == y[one.position]
        assert one.suggested == right[one.position]
        assert one.self_confidence < 0.4


@pytest.mark.thorough
def test_the_rank_is_the_ratio_of_probabilities_and_not_the_suspicion(make: Any) -> None:
    labels = (np.random.default_rng(0).random(60) < 0.25).astype(int)  # rarely 1, and pictures do not tell
    clf = make(backbone="TransferKitTiny", weights="pretrained").fit(drawn(20, seed=4)[0], labels, verbose=0)
    confidences = [one.self_confidence for one in clf.suspicious_labels(60, verbose=0)]
    assert confidences == sorted(confidences)  # of two classes, both are in the same order
    assert 0 < len(clf.suspicious_labels(verbose=0)) < 60


@pytest.mark.thorough
def test_so_many_as_wanted_are_listed(make: Any, exchanged: Any) -> None:
    x, y, wrong = exchanged
    clf = make(backbone="TransferKitTiny", weights="pretrained").fit(x, y, verbose=0)
    found = clf.suspicious_labels(10, verbose=0)
    assert len(found) == 10
    assert {one.position for one in found[:4]} == wrong
    assert len(clf.suspicious_labels(2, verbose=0)) == 2
    assert str(found).splitlines()[0].split() == ["image", "label", "suggested", "self-confidence"]
    assert found.to_dataframe().columns.tolist() == ["path", "label", "suggested", "self_confidence", "position"]
    assert str(found).splitlines()[2].split()[:2] == ["image", str(found[0].position)]
    assert repr(found) == "<SuspiciousLabels: 10 of 60 images>"


@pytest.mark.thorough
def test_after_fine_tune_the_frozen_features_judge(make: Any, exchanged: Any) -> None:
    clf = make().fit(*exchanged[:2], verbose=0)
    before = list(clf.suspicious_labels(12, verbose=0))
    clf.fine_tune(at="stage2", epochs=2, learning_rate=1e-2, validation=None, verbose=0)
    assert list(clf.suspicious_labels(12, verbose=0)) == before


def test_what_is_in_several_classes_is_not_judged(make: Any, pictures: Any) -> None:
    x, y = pictures
    clf = make().fit(np.concatenate([x, x[:1]]), np.concatenate([y, y[1:2]]), verbose=0)
    found = clf.suspicious_labels(37, verbose=0)
    assert (len(found), found.images) == (35, 35)
    assert not {0, 36} & {one.position for one in found}


@pytest.mark.parametrize("pair", [tuple, list])
def test_positions_go_on_through_the_validation_data(make: Any, pictures: Any, pair: Any) -> None:
    x, y = pictures
    clf = make().fit(x[6:], y[6:], validation=pair((x[:6], y[:6])), verbose=0)
    found = clf.suspicious_labels(36, verbose=0)
    assert sorted(one.position for one in found) == list(range(36))
    assert [one.label for one in found] == [np.concatenate([y[6:], y[:6]])[one.position] for one in found]


def test_labels_of_numbers_and_two_classes(make: Any, exchanged: Any) -> None:
    x, y, _ = exchanged
    clf = make().fit(x, (y == "red").astype(int), verbose=0)
    (first, *_) = clf.suspicious_labels(3, verbose=0)
    assert {type(first.label), type(first.suggested)} == {int}
    assert first.label != first.suggested


# ---- neighbours ----


def test_a_training_photo_is_its_own_neighbour(fitted: tk.TransferClassifier, photos: Any) -> None:
    path = sorted((photos / "train" / "red").iterdir())[3]
    given = [path, photos / "new" / "lying.png"]
    found, other = fitted.neighbours(given, k=3, verbose=0)
    training = fitted._fitted.split.training.images
    if str(path) in map(str, training.files):
        assert found[0].path == str(path) == str(sorted((photos / "train").glob("*/*"))[found[0].position])
        assert found[0].similarity == pytest.approx(1, abs=1e-5)
    assert {one.label for one in found} == {"red"}
    assert [one.similarity for one in other] == sorted((one.similarity for one in other), reverse=True)
    assert len(other) == 3


def test_there_are_no_more_neighbours_than_photos(make: Any, pictures: Any) -> None:
    clf = make().fit(*pictures, verbose=0)
    (found,) = clf.neighbours(pictures[0][7], k=99, verbose=0)
    assert len(found) == 36
    assert (found[0].path, found[0].position) == (None, 7)


@pytest.mark.parametrize("method", ["neighbours", "suspicious_labels"])
def test_a_loaded_classifier_has_no_photos(loaded: tk.TransferClassifier, method: str) -> None:
    with refused(tk.InvalidInputError, method, "loaded or copied", "fit again"):
        loaded.suspicious_labels() if method == "suspicious_labels" else loaded.neighbours("x.jpg")


@pytest.mark.parametrize("method", ["neighbours", "suspicious_labels"])
def test_photos_that_changed_since_fit_are_refused(make: Any, pictures: Any, method: str) -> None:
    x, y = pictures[0].copy(), pictures[1]
    clf = make().fit(x, y, verbose=0)
    x[7] = x[8]
    with refused(tk.InvalidInputError, "Images changed since fit ('image 7'", "Put them back", "fit again"):
        clf.suspicious_labels(verbose=0) if method == "suspicious_labels" else clf.neighbours(x[0], verbose=0)


@pytest.mark.thorough
def test_photos_that_are_gone_are_left_out(
    make: Any, photos: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(photos / "train", tmp_path / "train")
    clf = make().fit(tmp_path / "train", verbose=0)
    before = {one.path: one.position for one in clf.suspicious_labels(36, verbose=0)}
    (tmp_path / "train" / "red" / "03.png").rename(tmp_path / "train" / "lying" / "moved.png")
    found = clf.suspicious_labels(36)
    assert len(before) == 36 and found.images == 35
    assert all(before[one.path] == one.position for one in found)
    assert "Images of fit that can no longer be read: 1." in capsys.readouterr().out
    (near,) = clf.neighbours(photos / "new" / "red.png", 36, verbose=0)
    assert {one.position for one in near} == {one.position for one in found}


@pytest.mark.thorough
@pytest.mark.parametrize("count", [0, -1, 2.5, True])
def test_counts_are_whole(fitted: tk.TransferClassifier, photos: Any, count: Any) -> None:
    with refused(tk.InvalidInputError, "`k="):
        fitted.neighbours(photos / "new", k=count)
    with refused(tk.InvalidInputError, "`n="):
        fitted.suspicious_labels(count)


def test_a_class_whose_photos_are_gone_is_left_out(make: Any, tmp_path: Path) -> None:
    images, labels = drawn(6, seed=2)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        write_png(tmp_path / "photos" / str(label) / f"{number}.png", image)
    clf = make().fit(tmp_path / "photos", verbose=0)
    gone = str(labels[0])
    shutil.rmtree(tmp_path / "photos" / gone)
    (found,) = clf.neighbours(images[:1], k=12, verbose=0)
    assert len(found) == 12
    assert gone not in {one.label for one in found}
    assert gone not in {one.label for one in clf.suspicious_labels(12, verbose=0)}
    shutil.rmtree(tmp_path / "photos")
    with refused(tk.InvalidInputError, "can be read"):
        clf.neighbours(images[:1], verbose=0)


def test_a_single_class_that_is_left_is_judged(make, photos, tmp_path):
    shutil.copytree(photos / "train", tmp_path / "train")
    shutil.rmtree(tmp_path / "train" / "red")
    clf = make().fit(tmp_path / "train", verbose=0)
    shutil.rmtree(tmp_path / "train" / "lying")
    assert len(clf.suspicious_labels()) == 0


def test_an_image_whose_own_class_is_the_most_probable_is_not_suspicious(make, photos):
    clf = make().fit(photos / "train", verbose=0)
    assert all(one.confidence < 0.5 for one in clf.suspicious_labels())
