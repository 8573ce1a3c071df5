"""A classifier among scikit-learn's tools: its scores, and its features as a step of a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from helpers import refused
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import transferkit as tk


def test_decision_function_gives_logits(loaded: tk.TransferClassifier, pictures: Any) -> None:
    logits = loaded.decision_function(pictures[0], verbose=0)
    assert logits.shape == (36, 3)
    assert logits.dtype == np.float32
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, loaded.predict_proba(pictures[0], verbose=0), atol=1e-5)
    assert loaded.decision_function(pictures[0][:0], verbose=0).shape == (0, 3)


def test_of_two_classes_it_gives_one_number(make: Any, pictures: Any) -> None:
    x, y = pictures[0], pictures[1] == "red"
    clf = make().fit(x, y, verbose=0)
    scores = clf.decision_function(x, verbose=0)
    assert scores.shape == (36,)
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), clf.predict_proba(x, verbose=0)[:, 1], atol=1e-5)
    assert get_scorer("roc_auc")(clf, x, y) == 1


def test_transform_gives_the_features_of_the_network(loaded: tk.TransferClassifier, photos: Path) -> None:
    features = loaded.transform(photos / "test", verbose=0)
    assert features.shape == (18, 16)
    assert features.dtype == np.float32
    network = keras.Model(loaded.network_.inputs[0], loaded.network_.get_layer("features").output)
    images = np.stack(
        [keras.utils.img_to_array(keras.utils.load_img(p)) for p in sorted((photos / "test").glob("*/*"))]
    )
    small = np.asarray(keras.ops.image.resize(images, (32, 32), antialias=True))
    assert np.corrcoef(features.ravel(), np.asarray(network(small)).ravel())[0, 1] > 0.99
    assert loaded.transform(photos / "new" / "red.png", verbose=0).shape == (1, 16)


def test_fit_transform_gives_the_features_and_they_have_names(make: Any, pictures: Any) -> None:
    clf = make()
    features = clf.fit_transform(*pictures, validation=None, verbose=0)
    assert np.array_equal(features, clf.transform(pictures[0], verbose=0))
    pipeline = make_pipeline(clf, StandardScaler()).fit(*pictures)
    assert pipeline.get_feature_names_out().tolist() == [f"transferclassifier{column}" for column in range(16)]
    with pytest.raises(tk.NotFittedError, match="get_feature_names_out needs a fitted classifier"):
        make().get_feature_names_out()


def test_a_classifier_is_a_step_of_a_pipeline(make: Any, pictures: Any) -> None:
    pipeline = make_pipeline(make(), LogisticRegression(max_iter=1000))
    assert pipeline.fit(*pictures).score(*pictures) > 0.9
    assert cross_val_score(pipeline, *pictures, cv=2).mean() > 0.7


@pytest.mark.parametrize("method", ["decision_function", "neighbours", "predict_proba", "transform"])
def test_the_error_of_an_image_names_no_argument_that_the_method_lacks(fitted: Any, photos: Path, method: str) -> None:
    Path("bad.png").write_bytes(b"")
    with pytest.raises(tk.ImageReadError, match="Repair or remove it") as error:
        getattr(fitted, method)(["bad.png", photos / "new" / "red.png"])
    assert "on_bad_image" not in str(error.value)


@pytest.mark.parametrize("method", ["decision_function", "predict_proba", "transform"])
def test_fit_comes_first(make: Any, method: str) -> None:
    with pytest.raises(tk.NotFittedError, match=f"{method} needs a fitted classifier"):
        getattr(make(), method)("photos")


def test_fit_transform_gives_a_row_for_each_image_so_none_can_be_left_out(make: Any, pictures: Any) -> None:
    with refused(tk.InvalidInputError, "on_bad_image", "a row for each image"):
        make().fit_transform(*pictures, on_bad_image="skip")
