"""`predict(views=2)`: means over each image and its mirror image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing import drawn
from helpers import refused

import transferkit as tk


@pytest.fixture
def clf(make: Any, pictures: Any) -> tk.TransferClassifier:
    return make(seed=0).fit(*pictures, verbose=0)


@pytest.mark.thorough
def test_probabilities_are_the_mean_of_both_sides(clf: tk.TransferClassifier) -> None:
    images = drawn(4, seed=1)[0]
    both = clf.predict(images, views=2).probabilities
    mean = (clf.predict_proba(images) + clf.predict_proba(images[:, :, ::-1])) / 2
    assert np.abs(both - mean).max() < 1e-6
    assert np.abs(both - clf.predict_proba(images)).max() > 1e-4


def test_evaluate_takes_them_too(clf: tk.TransferClassifier) -> None:
    images, labels = drawn(4, seed=1)
    evaluation = clf.evaluate(images, labels, views=2)
    assert np.array_equal(evaluation.predictions.probabilities, clf.predict(images, views=2).probabilities)


@pytest.mark.thorough
def test_images_as_they_are_come_from_the_store(make: Any, pictures: Any, computed: list[int], tmp_path: Path) -> None:
    clf = make(seed=0, cache=tmp_path).fit(*pictures, verbose=0)
    before = sum(computed)
    clf.predict(pictures[0], views=2)
    assert sum(computed) - before == len(pictures[0])


@pytest.mark.thorough
@pytest.mark.parametrize("views", [0, 3, 1.5, "2", True])
def test_one_or_two(clf: tk.TransferClassifier, views: Any) -> None:
    with refused(tk.InvalidInputError, "views", "mirror image"):
        clf.predict(drawn(1, seed=1)[0], views=views)
