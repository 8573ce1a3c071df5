"""`explain`: where in an image the classifier finds what speaks for a class.

TransferKitTiny learns three drawn patterns; pictures with one of them in a quadrant say whether a heatmap is right.
"""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from drawing import exif, picture, textures, write
from helpers import refused
from matplotlib.figure import Figure
from PIL import Image

import transferkit as tk
from transferkit.backbones.tiny import build_residual
from transferkit.classifier import explaining

PATTERNS = textures(np.random.default_rng(0), 60)
CLASSES = ["checks", "rings", "stripes"]


def train(backbone: str | tk.Backbone) -> tk.TransferClassifier:
    return tk.TransferClassifier(backbone, seed=0, cache=False).fit(*PATTERNS, verbose=0)


@pytest.fixture(scope="module")
def clf() -> tk.TransferClassifier:
    return train("TransferKitTiny")


def variant(name: str, end: Any) -> tk.Backbone:
    """TransferKitTiny with more layers at its end."""

    def build(**options: Any) -> keras.Model:
        model = build_residual(**options)
        return keras.Model(model.input, end(model.output))

    return replace(tk.get_backbone("TransferKitTiny"), name=name, builder=build)


def quadrants(count: int) -> tuple[list[np.ndarray], list[str], list[int]]:
    """Grey pictures with a pattern in one quadrant, the class of each, and which quadrant it is."""
    images, labels = textures(np.random.default_rng(1), count)
    rng, drawn = np.random.default_rng(2), []
    for number, image in enumerate(images):
        canvas = np.clip(rng.normal(128, 5, (96, 96, 3)), 0, 255).astype(np.uint8)
        top, left = 48 * (number % 4 // 2), 48 * (number % 2)
        canvas[top : top + 48, left : left + 48] = image[:48, :48]
        drawn.append(canvas)
    return drawn, labels, [number % 4 for number in range(count)]


def share_inside(heatmap: np.ndarray, quadrant: int) -> float:
    top, left = (side // 2 * at for side, at in zip(heatmap.shape, divmod(quadrant, 2), strict=True))
    height, width = (side // 2 for side in heatmap.shape)
    return float(heatmap[top : top + height, left : left + width].sum() / heatmap.sum())


# ---- what the heatmaps say ----


def test_the_heatmap_lies_on_a_pattern_that_was_pasted_in(clf: tk.TransferClassifier) -> None:
    images, labels, places = quadrants(12)
    found = clf.explain(images, labels, verbose=0)
    shares = [share_inside(one.heatmap, place) for one, place in zip(found, places, strict=True)]
    assert np.mean(np.array(shares) > 0.5) >= 0.9, shares  # a quarter is chance
    assert [one.label for one in found] == labels


def test_of_two_patterns_it_shows_the_one_that_is_asked_for(clf: tk.TransferClassifier) -> None:
    stripes, _, rings = PATTERNS[0][:3]
    both = np.concatenate([stripes[:, :48], rings[:, :48]], axis=1)
    left = [one.heatmap[:, :48].sum() / one.heatmap.sum() for one in clf.explain([both] * 2, ["stripes", "rings"])]
    assert left[0] > 0.6
    assert left[1] < 0.4


@pytest.mark.thorough
def test_with_random_weights_the_heatmap_is_another(clf: tk.TransferClassifier, tmp_path: Path) -> None:
    """The sanity check of Adebayo et al. (2018): a map of edges would stay as it is."""
    clf.save(tmp_path / "copy.keras")
    images, labels, _ = quadrants(8)
    before = clf.explain(images, labels, verbose=0).heatmaps
    changed = tk.TransferClassifier.load(tmp_path / "copy.keras")
    again = changed.explain(images, labels, verbose=0).heatmaps
    np.testing.assert_allclose(again, before, atol=1e-4)
    rng = np.random.default_rng(0)
    for layer in changed.network_._flatten_layers():
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(rng.permutation(layer.kernel.numpy().ravel()).reshape(layer.kernel.shape))
    after = changed.explain(images, labels, verbose=0).heatmaps
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if b.std() > 0]
    assert np.mean([abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs]) < 0.5


def test_the_places_add_up_to_the_logit_of_the_image(clf: tk.TransferClassifier) -> None:
    images = keras.ops.convert_to_tensor(PATTERNS[0][:6].astype(np.float32))
    codes = np.array([0, 1, 2, 2, 1, 0])
    network = clf._fitted.network
    places = explaining._activation_map(network, network.backbone.output, images, codes).numpy()
    logits = np.log(clf.predict_proba(PATTERNS[0][:6], verbose=0))
    bias = clf.network_.get_layer("logits").bias.numpy()
    wanted = (logits - bias) - (logits - bias).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(places.mean(axis=(1, 2)), wanted[np.arange(6), codes], atol=0.02)


@pytest.mark.thorough
def test_grad_cam_is_the_class_activation_map_where_both_are_defined(clf: tk.TransferClassifier) -> None:
    """Maps of one place say nothing, so those before them are explained."""
    pooled = train(variant("Pooled", keras.layers.GlobalAveragePooling2D(keepdims=True)))
    images, labels, _ = quadrants(4)
    found, exact = (one.explain(images, labels, verbose=0).heatmaps for one in (pooled, clf))
    np.testing.assert_allclose(found, exact, atol=0.02)


@pytest.mark.thorough
def test_tokens_are_explained_by_gradients_of_the_pixels() -> None:
    def tokens(maps: Any) -> Any:
        return keras.layers.GlobalAveragePooling1D()(keras.layers.Reshape((36, 640))(maps))

    images, labels, places = quadrants(8)
    found = train(variant("Tokens", tokens)).explain(images, labels, verbose=0)
    assert np.mean([share_inside(one.heatmap, place) for one, place in zip(found, places, strict=True)]) > 0.4


# ---- what comes out ----


def test_an_explanation_has_what_predict_says(clf: tk.TransferClassifier) -> None:
    images = PATTERNS[0][:5]
    predictions, found = clf.predict(images, verbose=0), clf.explain(images, verbose=0)
    assert [one.label for one in found] == predictions.labels.tolist()
    assert [one.confidence for one in found] == pytest.approx(predictions.confidences.tolist())
    assert found.heatmaps.shape == (5, 96, 96)
    assert found.heatmaps.dtype == np.float32
    assert found.heatmaps.min() >= 0
    assert found.heatmaps.max() <= 1
    np.testing.assert_array_equal(found[0].image, images[0])
    assert repr(found[1:3]) == "<Explanations: 2 images>"


def test_the_confidence_is_that_of_the_class_asked_for(clf: tk.TransferClassifier) -> None:
    probabilities = clf.predict_proba(PATTERNS[0][0], verbose=0)[0]
    for name, probability in zip(CLASSES, probabilities, strict=True):
        assert clf.explain(PATTERNS[0][0], name, verbose=0)[0].confidence == pytest.approx(probability)


def test_a_figure_shows_images_in_their_own_aspect_ratio(clf: tk.TransferClassifier, tmp_path: Path) -> None:
    upright = write(tmp_path / "a.png", size=(30, 90))
    turned = write(tmp_path / "b.jpg", size=(30, 90), exif=exif(6))
    found = clf.explain([str(upright), str(turned)], verbose=0)
    assert [one.shape for one in found] == [(30, 90), (90, 30)]
    assert [one.path for one in found] == [str(upright), str(turned)]
    assert clf.explain(picture(2, (50, 20)), verbose=0)[0].shape == (50, 20)
    figure = found.plot()
    assert isinstance(figure, Figure)
    assert [list(axes.images[-1].get_extent()) for axes in figure.axes] == [[0, 90, 30, 0], [0, 30, 90, 0]]
    assert [axes.get_title() for axes in figure.axes] == [f"{one.label} {one.confidence:.2f}" for one in found]


def test_one_image_is_drawn_with_and_without_its_heatmap(clf: tk.TransferClassifier, tmp_path: Path) -> None:
    figure = clf.explain(str(write(tmp_path / "a.png")), verbose=0).plot()
    assert [len(axes.images) for axes in figure.axes] == [1, 2]
    assert figure.axes[0].get_title() == "a.png"


def test_a_notebook_shows_the_figure_if_it_can_be_drawn(
    clf: tk.TransferClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = clf.explain(PATTERNS[0][:2], verbose=0)
    for shown in (found, found[0]):
        png = shown._repr_png_()
        assert png is not None
        assert Image.open(io.BytesIO(png)).size == (480, 270)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert found._repr_png_() is None


def test_nothing_gives_no_explanations(clf: tk.TransferClassifier) -> None:
    assert len(clf.explain([], verbose=0)) == 0
    assert clf.explain([], verbose=0).heatmaps.shape == (0,)
    with refused(tk.InvalidInputError, "no explanations to draw", "at least one image"):
        clf.explain([], verbose=0).plot()


def test_none_among_labels_is_the_most_probable_class(clf: tk.TransferClassifier) -> None:
    images = PATTERNS[0][:3]
    likely = [one.label for one in clf.predict(images, verbose=0)]
    found = clf.explain(images, [None, "rings", None], verbose=0)
    assert [one.label for one in found] == [likely[0], "rings", likely[2]]


@pytest.mark.thorough
def test_it_works_after_fine_tune(fitted: tk.TransferClassifier, photos: Path) -> None:
    fitted.fine_tune(steps=2, validation=None, verbose=0)
    found = fitted.explain(photos / "new", verbose=0)
    assert len(found) == 3
    assert found.heatmaps.max() > 0


# ---- what is refused ----


def test_an_unknown_class_is_refused(clf: tk.TransferClassifier) -> None:
    with refused(tk.InvalidInputError, "`label='dots'`", "'checks', 'rings', 'stripes'"):
        clf.explain(PATTERNS[0][0], "dots")


@pytest.mark.parametrize("label", [3.5, {"rings"}, [["rings"]]])
def test_something_else_than_a_class_is_refused(clf: tk.TransferClassifier, label: Any) -> None:
    with refused(tk.InvalidInputError, "`label="):
        clf.explain(PATTERNS[0][0], label)


def test_labels_must_be_one_for_each_image(clf: tk.TransferClassifier) -> None:
    with refused(tk.InvalidInputError, "one for each of the 3 images"):
        clf.explain(PATTERNS[0][:3], ["rings", "checks"])


def test_images_that_cannot_be_read_are_named_or_left_out(clf: tk.TransferClassifier, tmp_path: Path) -> None:
    good, broken = write(tmp_path / "a.png"), tmp_path / "b.png"
    broken.write_bytes(b"no image")
    with refused(tk.ImageReadError, "b.png"):
        clf.explain([str(broken), str(good)], ["rings", "checks"], verbose=0)
    found = clf.explain([str(broken), str(good)], ["rings", "checks"], on_bad_image="skip", verbose=0)
    assert [one.label for one in found] == ["checks"]
    assert list(found.skipped) == [str(broken)]


def test_it_needs_a_fitted_classifier() -> None:
    with refused(tk.NotFittedError, "explain"):
        tk.TransferClassifier().explain(PATTERNS[0][0])


def averaged(input_shape: tuple[int, int, int]) -> keras.Model:
    inner = build_residual(input_shape=input_shape, stem=8, blocks=(("basic", 8, 8, 2),), features=16)
    return keras.Model(inner.input, keras.layers.GlobalAveragePooling2D()(inner.output), name="inner")


def of_a_model(input_shape: tuple[int, int, int]) -> keras.Model:
    pixels = keras.Input(input_shape)
    return keras.Model(pixels, averaged(input_shape)(pixels))


def of_a_list(input_shape: tuple[int, int, int]) -> keras.Model:
    return keras.Sequential([keras.Input(input_shape), averaged(input_shape)])


def of_one_convolution(input_shape: tuple[int, int, int]) -> keras.Model:
    return keras.Sequential(
        [keras.Input(input_shape), keras.layers.Conv2D(16, 3, 4), keras.layers.GlobalAveragePooling2D()]
    )


@pytest.mark.parametrize("builder", [of_a_model, of_a_list, of_one_convolution])
def test_backbones_that_contain_models_and_average_are_explained(builder: Any) -> None:
    record = tk.Backbone("Own", builder, "tf", default_size=96, feature_dim=16)
    clf = tk.TransferClassifier(record, weights=None, cache=False, seed=0).fit(*PATTERNS, verbose=0)
    heatmaps = clf.explain(PATTERNS[0][:4], verbose=0).heatmaps
    assert heatmaps.shape == (4, 96, 96)
    assert heatmaps.max() > 0
