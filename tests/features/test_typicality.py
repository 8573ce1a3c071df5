"""How much images resemble those that were trained on: what the number means, and that it comes with every prediction."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from drawing import drawn, picture
from helpers import refused

import transferkit as tk
from transferkit.features import Typicality
from transferkit.saving.archive import seal


def features(count: int, seed: int, shift: float = 0.0) -> npt.NDArray[np.float32]:
    """Features that vary in 5 of 40 directions."""
    rng = np.random.default_rng(seed)
    axes = np.random.default_rng(0).normal(size=(5, 40))
    return (5 + shift + rng.normal(size=(count, 5)) @ axes + rng.normal(0, 0.3, (count, 40))).astype(np.float32)


def measured(given: npt.NDArray[Any]) -> Typicality:
    found = Typicality.of_training(given)
    assert found is not None
    return found


def test_it_is_the_share_of_training_images_that_are_less_typical() -> None:
    found = measured(features(600, 1))(features(2000, 2))
    assert (found.dtype, found.shape) == (np.float32, (2000,))
    for share in (0.1, 0.5, 0.9):
        assert (found < share).mean() == pytest.approx(share, abs=0.05)


def test_what_is_unlike_all_is_at_zero_whatever_the_scale() -> None:
    typicality = measured(features(600, 1))
    strange = np.abs(np.random.default_rng(3).normal(size=(50, 40))).astype(np.float32)
    assert typicality(strange).max() < 0.01
    np.testing.assert_allclose(typicality(7 * features(50, 2)), typicality(features(50, 2)), atol=0.01)


@pytest.mark.parametrize("given", [features(19, 1), np.ones((50, 40), np.float32), np.zeros((50, 40), np.float32)])
def test_too_few_images_or_all_alike_say_nothing(given: npt.NDArray[np.float32]) -> None:
    assert Typicality.of_training(given) is None


def test_it_is_measured_on_some_of_many_images() -> None:
    typicality = measured(features(5000, 1))
    assert len(typicality.distances) == 4096
    assert len(typicality.to_bytes()) <= Typicality.most_bytes(40)


def test_bytes_bring_it_back_and_others_are_refused() -> None:
    typicality = measured(features(100, 1))
    content = typicality.to_bytes()
    np.testing.assert_array_equal(Typicality.from_bytes(content, 40)(features(9, 2)), typicality(features(9, 2)))
    numbers = np.frombuffer(content[16:], "<f4")
    swapped = np.concatenate([numbers[:-2], numbers[:-3:-1]])
    changed = [content[:16] + array.tobytes() for array in (swapped, -numbers, np.full_like(numbers, np.nan))]
    for other in (b"", content[:-1], content[:400], content + bytes(4), bytes(16) + content[16:], *changed):
        with pytest.raises(ValueError, match=r"wrong|invalid|unpack"):
            Typicality.from_bytes(other, 40)
    with pytest.raises(ValueError, match="wrong"):
        Typicality.from_bytes(content, 41)


# ---- with predictions ----


@pytest.fixture(scope="module")
def strange() -> npt.NDArray[np.uint8]:
    return np.stack([picture(seed, (32, 32)) for seed in range(8)])


def test_strange_pictures_are_less_typical(make: Any, pictures: Any, strange: Any) -> None:
    clf = make(backbone="TransferKitTiny", weights="pretrained").fit(*pictures, verbose=0)
    usual, odd = clf.predict(drawn(4, seed=9)[0], verbose=0), clf.predict(strange, verbose=0)
    assert usual.typicalities.mean() > 0.25
    assert odd.typicalities.max() < 0.05
    assert odd[0].typicality == pytest.approx(float(odd.typicalities[0]))
    np.testing.assert_array_equal(odd[2:4].typicalities, odd.typicalities[2:4])
    assert "typicality" in str(usual).splitlines()[0]


def test_few_training_images_give_nan(make: Any, pictures: Any) -> None:
    x, y = pictures
    predictions = make().fit(x[:9], y[:9], verbose=0).predict(x[:2], verbose=0)
    assert np.isnan(predictions.typicalities).all()
    assert "typicality" not in str(predictions)


@pytest.mark.parametrize("given", [{}, {"epochs": 2}, {"epochs": 2, "augmentation": "light"}])
def test_each_way_of_training_measures_it(make: Any, pictures: Any, given: dict[str, Any]) -> None:
    options = {name: given[name] for name in given if name != "augmentation"}
    clf = make(augmentation=given.get("augmentation")).fit(*pictures, verbose=0, **options)
    assert np.isfinite(clf.predict(pictures[0][:3], verbose=0).typicalities).all()


@pytest.mark.thorough
@pytest.mark.parametrize("at", [0, "stage2"])
def test_fine_tune_measures_it_again(make: Any, pictures: Any, at: Any) -> None:
    clf = make().fit(*pictures, verbose=0)
    before = clf._fitted.typicality
    clf.fine_tune(at=at, epochs=2, learning_rate=1e-3, validation=None, verbose=0)
    after = clf._fitted.typicality
    assert not np.array_equal(before.distances, after.distances)
    assert 0.2 < clf.predict(drawn(12, seed=9)[0], verbose=0).typicalities.mean() < 0.8


def test_it_is_saved_and_copied(make: Any, pictures: Any, tmp_path: Path) -> None:
    clf = make().fit(*pictures, verbose=0)
    expected = clf.predict(pictures[0][:5], verbose=0).typicalities
    clf.save(tmp_path / "a.keras")
    for other in (tk.TransferClassifier.load(tmp_path / "a.keras"), pickle.loads(pickle.dumps(clf))):
        np.testing.assert_allclose(other.predict(pictures[0][:5], verbose=0).typicalities, expected, atol=0.03)


def test_numbers_that_are_invalid_are_refused(make: Any, pictures: Any, tmp_path: Path) -> None:
    make().fit(*pictures, verbose=0).save(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "b.keras", "w") as archive:
        for name, content in {**members, "typicality.bin": members["typicality.bin"][:-4]}.items():
            archive.writestr(name, content)
    seal(tmp_path / "b.keras")
    with refused(tk.BundleError, "typicality values", "wrong length"):
        tk.TransferClassifier.load(tmp_path / "b.keras")
