"""`Backbone`: the record, its rules, and its preprocessing."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import refused

import transferkit as tk

PHOTOS = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)

# The backbone, and the module of Keras whose preprocess_input its weights were trained with.
MODULES = {
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "ResNet50": "resnet",
    "ResNet50V2": "resnet_v2",
    "MobileNet": "mobilenet",
    "MobileNet_0.25": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV2_0.35": "mobilenet_v2",
    "MobileNetV3Small": "mobilenet_v3",
    "MobileNetV3Large": "mobilenet_v3",
    "DenseNet121": "densenet",
    "InceptionV3": "inception_v3",
    "InceptionResNetV2": "inception_resnet_v2",
    "Xception": "xception",
    "NASNetMobile": "nasnet",
    "NASNetLarge": "nasnet",
    "EfficientNetB0": "efficientnet",
    "EfficientNetV2B0": "efficientnet_v2",
    "ConvNeXtTiny": "convnext",
}


def build(input_shape: tuple[int, int, int], width: int = 4, **options: object) -> keras.Model:
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, keras.layers.Conv2D(width, 3)(inputs))


def record(**changes: object) -> tk.Backbone:
    return tk.Backbone(**{"name": "Own", "builder": build, "preprocessing": "none", **changes})  # type: ignore[arg-type]


def keras_result(module: str, images: np.ndarray) -> np.ndarray:
    """What Keras makes of a copy as float32."""
    function = importlib.import_module(f"keras.applications.{module}").preprocess_input
    return np.asarray(function(images.astype(np.float32)))


# ---- preprocessing ----


@pytest.mark.parametrize(("name", "module"), MODULES.items())
def test_preprocessing_is_that_of_keras(name: str, module: str) -> None:
    result = tk.get_backbone(name).preprocess_input(PHOTOS)
    np.testing.assert_allclose(result, keras_result(module, PHOTOS), rtol=1e-5, atol=1e-5)
    assert result.dtype == np.float32


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
        "`input_size=64` is too small for 'Xception': it takes 71 px or more. Pass input_size=71 or larger, or pick "
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
    for part in ("Xception", "299 px (71 px or more)", "tf", "2048", "20,861,480", "imagenet", "block14"):
        assert part in text
    assert "a function of its own" in str(record(preprocessing=abs))
    assert str(record()).count("not stated") == 2
