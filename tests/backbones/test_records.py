"""`Backbone`: the record, its rules, and its preprocessing."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from drawing import drawn
from helpers import refused

import transferkit as tk

PHOTOS = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)


def build(input_shape: tuple[int, int, int], width: int = 4, **options: object) -> keras.Model:
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, keras.layers.Conv2D(width, 3)(inputs))


def record(**changes: object) -> tk.Backbone:
    return tk.Backbone(**{"name": "Own", "builder": build, "preprocessing": "none", **changes})  # type: ignore[arg-type]


# ---- preprocessing ----


RULES = {"caffe": "VGG16", "torch": "DenseNet121", "tf": "MobileNetV2", "none": "EfficientNetB0"}


@pytest.fixture(params=RULES)
def rule(request: pytest.FixtureRequest) -> tk.Backbone:
    backbone = tk.get_backbone(RULES[request.param])
    assert backbone.preprocessing == request.param
    return backbone


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.float16, np.float32, np.float64])
def test_preprocessing_never_changes_its_argument_and_takes_any_type(rule: tk.Backbone, kind: type) -> None:
    images = PHOTOS.astype(kind)
    images.setflags(write=False)
    result = rule.preprocess_input(images)
    np.testing.assert_array_equal(result, rule.preprocess_input(PHOTOS))
    assert not np.shares_memory(result, images)


def test_one_image_is_preprocessed_like_a_batch(rule: tk.Backbone) -> None:
    batch = rule.preprocess_input(PHOTOS)
    for image, known in zip(PHOTOS, batch, strict=True):
        np.testing.assert_allclose(rule.preprocess_input(image), known, rtol=1e-6)
    np.testing.assert_allclose(rule.preprocess_input(list(PHOTOS)), batch, rtol=1e-6)


@pytest.mark.parametrize("kind", ["uint8", "float32", "int64"])
@pytest.mark.parametrize("several", [True, False])
def test_a_tensor_gives_a_tensor_with_the_values_of_the_array(rule: tk.Backbone, kind: str, several: bool) -> None:
    images = PHOTOS if several else PHOTOS[0]
    tensor = tf.constant(images.astype(kind))
    result = rule.preprocess_input(tensor)
    assert isinstance(result, tf.Tensor)
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, rule.preprocess_input(images), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(tensor, images)


def test_preprocessing_becomes_part_of_a_model(rule: tk.Backbone) -> None:
    inputs = keras.Input((5, 4, 3))
    model = keras.Model(inputs, rule.preprocess_input(inputs))
    result = model(PHOTOS.astype(np.float32))
    np.testing.assert_allclose(result, rule.preprocess_input(PHOTOS), rtol=1e-5, atol=1e-5)


def test_a_rule_of_ones_own_gets_float32_and_cannot_reach_the_callers_array() -> None:
    def spoil(images):
        assert images.dtype == np.float32
        images[:] = 7
        return images

    images = PHOTOS.astype(np.float32)
    result = record(preprocessing=spoil).preprocess_input(images)
    assert (result == 7).all()
    assert np.array_equal(images, PHOTOS)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 4), (2, 3, 5, 4), (1, 2, 5, 4, 3)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with refused(tk.InvalidInputError, f"shape {shape}", "(n, h, w, 3) or (h, w, 3)", "Put the channels last"):
        record().preprocess_input(np.zeros(shape))


# ---- sizes ----


def test_without_a_wish_the_input_has_the_default_size() -> None:
    assert record(default_size=96).input_size(None) == (96, 96)


@pytest.mark.parametrize("size", [(40, 40), (40, 300)])
def test_a_size_from_the_smallest_on_is_taken(size: tuple[int, int]) -> None:
    assert record(min_size=40, default_size=64).input_size(size) == size


def test_a_size_below_the_smallest_is_refused_in_the_words_of_the_design() -> None:
    with refused(tk.InvalidInputError) as caught:
        tk.get_backbone("Xception").input_size((64, 64))
    assert str(caught.value) == (
        "`input_size=64` is too small for 'Xception', which needs at least 71 px. Pass input_size=71 or more, or pick "
        "another backbone with list_backbones()."
    )


@pytest.mark.parametrize("size", [(31, 200), (200, 31)])
def test_one_side_below_the_smallest_is_refused_with_both(size: tuple[int, int]) -> None:
    with refused(tk.InvalidInputError, f"`input_size={size}`", "'Own'", "32 px"):
        record().input_size(size)


# ---- the record ----


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_a_record_needs_a_name(name: object) -> None:
    with refused(tk.InvalidInputError, f"`name={name!r}`", "must be a name", "name='MyNet'"):
        record(name=name)


@pytest.mark.parametrize("builder", ["keras.applications.VGG16", "a:b:c", "os.system('x'):y", None, 3])
def test_a_builder_is_a_callable_or_a_dotted_name(builder: object) -> None:
    with refused(tk.InvalidInputError, "`builder=", "'package.module:name'", "Pass the function"):
        record(builder=builder)


@pytest.mark.parametrize("rule", ["imagenet", "", None, 3])
def test_an_unknown_preprocessing_is_refused_with_those_there_are(rule: object) -> None:
    with refused(
        tk.InvalidInputError, f"`preprocessing={rule!r}`", "'caffe', 'torch', 'tf', 'none'", "Pass one of these"
    ):
        record(preprocessing=rule)


@pytest.mark.parametrize("sizes", [{"min_size": 300}, {"min_size": 0}, {"default_size": 16}])
def test_the_smallest_size_lies_below_the_default(sizes: dict[str, int]) -> None:
    with refused(tk.InvalidInputError, f"`min_size={sizes.get('min_size', 32)}`", "default_size"):
        record(**sizes)


@pytest.mark.parametrize("sizes", [{"min_size": "32"}, {"default_size": None}, {"default_size": (224, 224)}])
def test_a_size_that_is_no_number_is_refused(sizes: dict[str, object]) -> None:
    with refused(tk.InvalidInputError, next(iter(sizes))):
        record(**sizes)


@pytest.mark.parametrize("stages", ["block1", ("block1", ""), (1, 2)])
def test_stages_are_names(stages: object) -> None:
    with refused(tk.InvalidInputError, "`stages=", "names of blocks", "('block1', 'block2')"):
        record(stages=stages)


@pytest.mark.parametrize("made", [None, "model", lambda images: images])
def test_a_builder_gives_a_model(made: object) -> None:
    with refused(tk.InvalidInputError, "The builder of 'Own' returned", "keras.Model with one output"):
        record(builder=lambda input_shape: made).build((32, 32))


def strided(input_shape: tuple[int, ...], **options: str) -> keras.Model:
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, keras.layers.Conv2D(8, 3, strides=2, padding="same", **options)(inputs))


@pytest.mark.parametrize(
    ("builder", "feature_dim", "parts"),
    [
        (lambda input_shape: strided(input_shape[::-1]), 8, ["takes (None, 3, 32, 32)", "(None, 32, 32, 3)"]),
        (lambda input_shape: strided((40, 40, 3)), 8, ["takes (None, 40, 40, 3)", "Use the input_shape"]),
        (lambda input_shape: keras.Sequential([keras.Input((96,)), keras.layers.Dense(8)]), 8, ["takes (None, 96)"]),
        (lambda input_shape: strided(input_shape, data_format="channels_first"), 8, ["gives (None, 8, 16, 2)"]),
        (strided, 9, ["gives (None, 16, 16, 8)", "feature_dim=9", "Correct the record"]),
    ],
)
def test_a_network_that_does_not_fit_its_record_is_refused(builder, feature_dim, parts) -> None:
    own = record(builder=builder, feature_dim=feature_dim, default_size=32, min_size=8)
    clf = tk.TransferClassifier(own, weights=None)
    with refused(tk.InvalidInputError, "'Own'", *parts):
        clf.fit(*drawn(2, seed=0), verbose=0)


def test_a_network_for_images_of_any_size_fits_its_record() -> None:
    own = record(builder=lambda input_shape: strided((None, None, 3)), feature_dim=8)
    assert own.build((40, 32)).input_shape == (None, None, None, 3)


def test_keras_with_the_channels_first_is_refused() -> None:
    keras.config.set_image_data_format("channels_first")
    try:
        with refused(tk.InvalidInputError, "Keras is set to put the channels first", "keras.json"):
            tk.TransferClassifier("TransferKitTiny").fit(*drawn(2, seed=0), verbose=0)
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("field", ["family", "trained_on", "options", "stages"])
def test_a_field_of_another_kind_is_refused(field: str) -> None:
    with refused(tk.InvalidInputError, f"`{field}=None`"):
        record(**{field: None})


@pytest.mark.parametrize("builder", ["no.such.package:thing", "keras.applications:NoSuchNet"])
def test_a_builder_that_cannot_be_imported_is_named(builder: str) -> None:
    with refused(tk.InvalidInputError, repr(builder), "'Own' cannot be imported", "install the package"):
        record(builder=builder).build((32, 32))


@pytest.mark.parametrize(
    "images",
    [
        "photo.jpg",
        b"",
        None,
        {},
        3,
        [[1, 2], [3]],
        ["a", "b"],
        np.array([None]),
        np.zeros((5, 4, 3), complex),
        PHOTOS > 9,
        tf.constant(["a"]),
    ],
)
def test_what_are_no_pixels_is_refused(images: object) -> None:
    with refused(tk.InvalidInputError, "preprocess_input was given", "an array or a tensor of numbers"):
        record().preprocess_input(images)


def test_a_record_cannot_be_changed() -> None:
    options = {"width": 5}
    stages = ["a", "b"]
    own = record(options=options, stages=stages)
    options["width"] = 9
    stages.append("c")
    assert (dict(own.options), own.stages) == ({"width": 5}, ("a", "b"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        own.name = "Other"  # type: ignore[misc]


@pytest.mark.parametrize("way", [copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r)), dataclasses.replace])
def test_a_record_of_the_table_is_equal_to_its_copies(way) -> None:
    assert way(tk.get_backbone("MobileNet_0.25")) == tk.get_backbone("MobileNet_0.25")
    assert record(name="A") != record(name="B")


def test_records_are_keys_of_sets_and_dicts() -> None:
    vgg = tk.get_backbone("vgg16")
    assert {vgg, copy.deepcopy(vgg), tk.get_backbone("vgg19")} == {vgg, tk.get_backbone("vgg19")}
    assert len({record(options={"width": 4}), record(options={"width": 5})}) == 2


def test_a_record_builds_with_its_options_and_those_of_the_call() -> None:
    own = record(options={"width": 5})
    assert own.build((20, 30)).input_shape == (None, 20, 30, 3)
    assert own.build((20, 30)).output_shape[-1] == 5
    assert own.build((20, 30), width=7).output_shape[-1] == 7


def test_a_builder_may_be_dotted_text() -> None:
    dotted = record(
        builder="keras.applications:MobileNetV2", options={"include_top": False, "weights": None, "alpha": 0.35}
    )
    assert dotted.build((32, 32)).output_shape == (None, 1, 1, 1280)


def test_a_record_prints_what_one_picks_it_by() -> None:
    text = str(tk.get_backbone("xception"))
    for part in ("Xception", "299 px, each side 71 px or more", "tf", "2048", "20,861,480", "imagenet", "block14"):
        assert part in text
    assert "custom function" in str(record(preprocessing=abs))
    assert "224, 192" not in text
    assert str(record()).count("not stated") == 3  # features, parameters, what is inside
    assert "BatchNormalization, Dropout" in str(tk.get_backbone("efficientnetb0"))
    assert "neither" in str(tk.get_backbone("vgg16"))
    assert "imagenet, trained at 128, 160, 192, 224 px" in str(tk.get_backbone("mobilenetv1"))
    assert "64 px only" in str(record(fixed_size=True, default_size=64))


# ---- pixels that were scaled before ----


def in_all_kinds(images: np.ndarray) -> list[object]:
    return [images, images.astype(np.float64), images[0], list(images), tf.constant(images)]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0.25, 0.5), (-1, 0), (0.5, 0.5)])
def test_pixels_that_were_scaled_before_are_refused_unless_insisted_on(
    rule: tk.Backbone, low: float, high: float
) -> None:
    images = np.linspace(low, high, PHOTOS.size, dtype=np.float32).reshape(PHOTOS.shape)
    for given in in_all_kinds(images):
        with refused(tk.InvalidInputError, "0-255", "does the scaling itself", "check_scale=False"):
            rule.preprocess_input(given)
        result = np.asarray(rule.preprocess_input(given, check_scale=False))
        assert np.isfinite(result).all()


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 5, 4, 3), np.float32),  # black
        np.ones((2, 5, 4, 3), np.uint8),  # almost black, and never scaled
        np.linspace(0, 2, 120, dtype=np.float32).reshape(2, 5, 4, 3),
        np.linspace(-2, 1, 120, dtype=np.float32).reshape(2, 5, 4, 3),
        np.zeros((0, 5, 4, 3), np.float32),
    ],
)
def test_dark_pixels_are_taken_as_they_are(rule: tk.Backbone, images: np.ndarray) -> None:
    assert np.asarray(rule.preprocess_input(images)).shape == images.shape


# ---- weights ----


def file(size: int | None) -> tk.WeightsFile:
    return tk.WeightsFile(f"https://example.org/own_{size}.weights.h5", size=size)


def test_a_size_takes_the_file_that_was_trained_at_it_and_others_that_of_the_default() -> None:
    own = record(default_size=96, pretrained=[file(64), file(96), file(128)])
    assert own.weight_sizes == (64, 96, 128)
    for size, expected in {(64, 64): 64, (128, 128): 128, (96, 96): 96, (100, 100): 96, (64, 128): 96}.items():
        assert own.weights_file(size) == file(expected)
    assert record(pretrained=file(None)).weights_file((50, 60)) == file(None)
    assert record(pretrained=file(None)).weight_sizes == (224,)
    assert record(pretrained=print).weights_file((50, 60)) is None
    assert record().weight_sizes == ()


def test_a_network_of_one_size_takes_no_other() -> None:
    own = record(default_size=64, fixed_size=True)
    assert own.input_size(None) == own.input_size((64, 64)) == (64, 64)
    for size in ((96, 96), (64, 96)):
        assert not own.takes(size)
        shown = size[0] if size[0] == size[1] else size
        with refused(tk.InvalidInputError, f"`input_size={shown}`", "64 px only", "Leave input_size out"):
            own.input_size(size)


def test_a_builder_that_returns_the_same_model_is_refused():
    mine = tk.get_backbone("TinyNet").build((32, 32))
    tk.register_backbone(dataclasses.replace(tk.get_backbone("TinyNet"), name="Mine", builder=lambda input_shape: mine))
    x, y = drawn(2, seed=0)
    clf = tk.TransferClassifier("Mine", weights=None, seed=0).fit(x, y, verbose=0)
    with refused(tk.InvalidInputError, "'Mine' returned variables that it had returned before", "clone_model"):
        clf.fine_tune(at="stage1", steps=1, verbose=0)
    before = clf.predict_proba(x, verbose=0)
    with refused(tk.InvalidInputError, "variables that it had returned before"):
        tk.TransferClassifier("Mine", weights=None, seed=1).fit(x, y, verbose=0)
    assert np.array_equal(clf.predict_proba(x, verbose=0), before)


def test_a_network_with_far_fewer_parameters_than_its_record_says_is_refused():
    record = dataclasses.replace(tk.get_backbone("TinyNet"), name="Wrong", parameters=10_000)
    with refused(tk.InvalidInputError, "has 2,104 parameters", "the record says 10,000"):
        record.build((32, 32))


def test_a_network_without_weights_and_a_network_instead_of_a_name_are_refused():
    pooled = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.AveragePooling2D(8)])
    bare = tk.Backbone("Bare", builder=lambda input_shape: pooled, preprocessing="tf", default_size=32)
    with refused(tk.InvalidInputError, "'Bare' returned has no weights"):
        bare.build((32, 32))
    with refused(tk.UnknownBackboneError, "register_backbone"):
        tk.get_backbone(pooled)
