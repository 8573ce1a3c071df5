"""The table: each fact of each row against Keras itself, and each row at work in a network.

A row is built as Keras builds it with its ImageNet weights, up to the point where it would read them:
what it asks its own helpers for on the way (sizes, file, hash) is what the row must say.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras.src.applications import imagenet_utils
from keras.src.utils import file_utils
from networks import calibrate

import transferkit as tk
from transferkit._common.console import Console
from transferkit.backbones.keras_applications import TABLE
from transferkit.cache.store import Store
from transferkit.features.extraction import Plan, Storage, extract
from transferkit.images.reading import read_images
from transferkit.network.extractor import FeatureExtractor
from transferkit.network.network import Network, assemble

ROWS = {record.name: record for record in TABLE}
# One row of each kind that is built and run in a second or two; the others are proved by the tier `table`.
LIGHT = {"VGG16", "MobileNet_0.25", "MobileNetV2_0.35", "MobileNetV3Small", "EfficientNetB0"}
every_row = pytest.mark.parametrize("name", ROWS)
pytestmark = pytest.mark.no_cover  # these are tests of a table, and slow where they are measured
PHOTOS = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)


class Asked(NamedTuple):
    """What Keras asked its own helpers for while it built a network with ImageNet weights."""

    default_size: int
    min_size: int
    file: str
    url: str
    digest: str
    model: keras.Model


def with_imagenet(record: tk.Backbone, size: int) -> Asked:
    """Keras's own network with ImageNet weights, but for the reading of the file."""
    asked: dict[str, Any] = {}
    original = imagenet_utils.obtain_input_shape

    def obtain_input_shape(*args: Any, **kwargs: Any) -> Any:
        asked.update(kwargs)
        return original(*args, **{**kwargs, "weights": None})

    def get_file(fname: str, origin: str, file_hash: str = "", **_: Any) -> str:
        asked.update(file=fname, url=origin, digest=file_hash or "")
        return "nowhere.h5"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagenet_utils, "obtain_input_shape", obtain_input_shape)
        patch.setattr(file_utils, "get_file", get_file)
        patch.setattr(keras.Model, "load_weights", lambda *_: None)
        model = record.build((size, size), weights="imagenet")
    if "default_size" not in asked:  # MobileNetV3 checks sizes by itself; its files are named by the size
        asked.update(default_size=int(asked["file"].split("_")[4]), min_size=32)
    return Asked(asked["default_size"], asked["min_size"], asked["file"], asked["url"], asked["digest"], model)


def described(model: keras.Model) -> list[tuple[str, str, list[tuple[int, ...]]]]:
    """The layers: name, kind, shapes of the weights."""
    return [(layer.name, type(layer).__name__, [tuple(w.shape) for w in layer.weights]) for layer in model.layers]


def flat(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        yield layer
        yield from flat(layer) if hasattr(layer, "layers") else ()


# ---- names ----


def test_names_are_unique_in_any_case() -> None:
    assert len({name.lower() for name in ROWS}) == len(TABLE) >= 40


def test_every_network_of_keras_applications_has_a_row() -> None:
    known = {name for name in dir(keras.applications) if name[0].isupper()}
    assert {name.partition("_")[0] for name in ROWS} == known


@every_row
def test_a_row_is_named_as_keras_spells_it(name: str) -> None:
    builder, _, alpha = name.partition("_")
    assert ROWS[name].builder == f"keras.applications:{builder}"
    assert ROWS[name].options.get("alpha") == (float(alpha) if alpha else None)
    assert ROWS[name].trained_on == "imagenet"


# ---- facts ----


@every_row
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_preprocessing_is_that_of_keras_and_in_a_copy(name: str, kind: type) -> None:
    function = getattr(keras.applications, name.partition("_")[0])
    theirs = importlib.import_module(function.__module__).preprocess_input
    photos = PHOTOS.astype(kind)
    photos.setflags(write=False)
    for images in (photos, photos[0]):
        ours = ROWS[name].preprocess_input(images)
        np.testing.assert_allclose(ours, theirs(images.astype(np.float32)), rtol=1e-5, atol=1e-5)
        assert ours.dtype == np.float32
        assert not np.shares_memory(ours, images)


def tiered(record: tk.Backbone) -> Any:
    return pytest.param(record.name, marks=() if record.name in LIGHT else pytest.mark.table)


@pytest.fixture(scope="module", params=[tiered(record) for record in TABLE])
def built(request: pytest.FixtureRequest) -> tuple[tk.Backbone, keras.Model]:
    """A row and its network. One side is the least it takes, so the square of that size works too."""
    record = ROWS[request.param]
    keras.utils.clear_session()  # nameless layers are numbered per process
    keras.utils.set_random_seed(0)
    return record, record.build((record.min_size, record.min_size + 9))


@pytest.mark.thorough
def test_a_row_agrees_with_the_network_that_keras_builds(built: tuple[tk.Backbone, keras.Model]) -> None:
    record, ours = built
    assert ours.output_shape[-1] == record.feature_dim
    assert ours.count_params() == record.parameters
    kinds = {type(layer).__name__ for layer in flat(ours)}
    assert ("BatchNormalization" in kinds, "Dropout" in kinds) == (record.batch_norm, record.dropout)
    with pytest.raises(ValueError, match="at least"):
        record.build((record.min_size - 1, record.min_size))


@pytest.mark.thorough
def test_a_row_names_the_file_that_keras_fills_the_same_network_from(built: tuple[tk.Backbone, keras.Model]) -> None:
    record, ours = built
    keras.utils.clear_session()
    theirs = with_imagenet(record, record.default_size)
    file = record.weights_file(record.input_size(None))
    assert file is not None
    assert (record.default_size, record.min_size) == (theirs.default_size, theirs.min_size)
    assert (file.name, file.url) == (theirs.file, theirs.url)
    assert file.digest.partition(":")[2] == theirs.digest
    # The factor that Keras adds for ImageNet weights alone: see transferkit.backbones.loading.
    extra = ["rescaling_1"] if record.family == "EfficientNet" else []
    assert described(ours) == [row for row in described(theirs.model) if row[0] not in extra]


SEVERAL_SIZES = [
    pytest.param(name, size, marks=() if name in LIGHT and size in (96, 200) else pytest.mark.table)
    for name, record in ROWS.items()
    if len(record.weight_sizes) > 1
    for size in (96, 128, 160, 192, 200)
]


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "size"), SEVERAL_SIZES)
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square")
def test_the_file_for_a_size_is_the_one_that_keras_takes(name: str, size: int) -> None:
    theirs = with_imagenet(ROWS[name], size)
    file = ROWS[name].weights_file((size, size))
    assert file is not None
    assert (file.name, file.url, file.digest) == (theirs.file, theirs.url, theirs.digest)


# ---- at work ----


@pytest.mark.thorough
def test_every_stage_cuts_the_network_in_two_that_give_the_whole(built: tuple[tk.Backbone, keras.Model]) -> None:
    record, backbone = built
    size = backbone.input_shape[1:3]
    network = assemble(record, backbone, size, 3, 0.0, seed=0)
    rng = np.random.default_rng(0)
    network.head[-1].set_weights([rng.normal(size=w.shape) for w in network.head[-1].get_weights()])
    images = rng.uniform(0, 255, (2, *size, 3)).astype(np.float32)
    fresh = statistics(network)
    calibrate(backbone, record.preprocess_input(images))
    moved = [name for name, values in statistics(network).items() if not np.array_equal(values, fresh[name])]
    assert len(moved) >= len(batch_norms(network))  # what must not happen in training can happen
    features = listed(network.features_model()(images, training=False))[0].numpy()
    assert np.isfinite(features).all()
    assert np.ptp(features) > 0
    weights, bias = network.head[-1].get_weights()
    whole = features @ weights + bias

    places = []
    for stage in record.stages:
        cut = network.cut_at(stage)
        places.append(cut.index)
        values = listed(cut.extractor.model(images, training=False))
        logits = cut.trainable(values if len(values) > 1 else values[0], training=False).numpy()
        np.testing.assert_allclose(logits, whole, rtol=0, atol=1e-5 * np.abs(whole).max(), err_msg=stage)
    assert places == sorted(set(places))

    before = statistics(network)
    assert bool(before) is record.batch_norm
    cut = network.cut_at(0)
    cut.trainable(images, training=True)
    for name, after in statistics(network).items():
        np.testing.assert_array_equal(after, before[name], err_msg=name)


@pytest.mark.thorough
def test_stored_equals_unstored(built: tuple[tk.Backbone, keras.Model], tmp_path: Path) -> None:
    """What the compiled network computed, and the store gives back, is what the network as it is computes."""
    record, backbone = built
    size = backbone.input_shape[1:3]
    rng = np.random.default_rng(0)
    # Not statistics of two small images: dividing by those makes any rounding large.
    for weight in backbone.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.9, 1.1, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(rng.normal(0, 0.1, weight.shape))
    network = assemble(record, backbone, size, 3, 0.0, seed=0)
    images = rng.uniform(0, 255, (2, *size, 3)).astype(np.float32)
    model = network.features_model()
    unstored, nudged = (listed(model(given, training=False))[0].numpy() for given in (images, images * (1 + 1e-6)))
    assert np.ptp(unstored) > 0
    # The deepest networks with random weights make any rounding large: of their images as well.
    tolerance = max(1e-5 * np.abs(unstored).max(), 10 * np.abs(nudged - unstored).max())
    for _ in range(2):
        part = FeatureExtractor(network.features_model(), network.size, record.name)
        (stored,) = extract(part, Plan(read_images(images)), Storage(Store(tmp_path)), Console(0), "").values
        np.testing.assert_allclose(stored, unstored, rtol=0, atol=tolerance)
    assert part._function is None  # the second time nothing was computed


def batch_norms(network: Network) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in flat(network.backbone) if isinstance(layer, keras.layers.BatchNormalization)]


def statistics(network: Network) -> dict[str, np.ndarray]:
    moving = [weight for layer in batch_norms(network) for weight in (layer.moving_mean, layer.moving_variance)]
    return {weight.path: weight.numpy() for weight in moving}


def listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]


# The first row of each family, and the two rows with layers of their own in Keras.
FIRST = {record.family: record.name for record in reversed(TABLE)}
ONE_EACH = sorted({*FIRST.values(), "InceptionResNetV2"})


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_EACH)
def test_a_backbone_goes_through_the_whole_work(name: str, tmp_path: Path) -> None:
    record = ROWS[name]
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (16, 80, 90, 3), dtype=np.uint8), list("ab" * 8)
    size = (record.min_size, record.min_size + 8)
    clf = tk.TransferClassifier(name, weights=None, input_size=size, seed=0).fit(images, labels, epochs=1, verbose=0)
    moving = {weight.path: weight.numpy() for weight in clf.network_.weights if "moving" in weight.path}
    clf.fine_tune(at=record.stages[-1], epochs=1, learning_rate=1e-3, verbose=0)
    for weight in clf.network_.weights:
        if weight.path in moving:
            np.testing.assert_array_equal(weight.numpy(), moving[weight.path])
    clf.save(tmp_path / "own.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "own.keras")
    np.testing.assert_allclose(loaded.predict_proba(images), clf.predict_proba(images), atol=1e-6)
    assert keras.saving.load_model(tmp_path / "own.keras").input_shape == (None, *size, 3)
