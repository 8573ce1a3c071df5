"""Cuts: the frozen part followed by the trained part is the whole network."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from networks import TINY

import transferkit as tk
from transferkit.network.network import Network, assemble

IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)


def network(record: tk.Backbone = TINY, size: int = 32) -> Network:
    """A network whose head and BatchNormalization statistics are not the trivial ones of a new model."""
    rng = np.random.default_rng(1)
    made = assemble(record, record.build((size, size)), (size, size), 4, 0.5, seed=0)
    made.set_feature_scale(0.5)
    made.head[-1].set_weights([rng.normal(size=w.shape) for w in made.head[-1].get_weights()])
    for layer in made.backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([w + rng.uniform(0, 0.5, w.shape) for w in layer.get_weights()])
    return made


def listed(values):
    return list(values) if isinstance(values, (list, tuple)) else [values]


def through_the_cut(cut, images):
    values = listed(cut.extractor.model(images, training=False))
    logits = cut.trainable(values if len(values) > 1 else values[0], training=False)
    return keras.ops.softmax(logits).numpy(), values


def test_every_cut_gives_what_the_whole_network_gives():
    made = network()
    expected = made.model(IMAGES, training=False).numpy()
    for at in range(len(made.backbone.layers)):
        result, _ = through_the_cut(made.cut_at(at), IMAGES)
        assert result == pytest.approx(expected, abs=1e-6), at
    result, values = through_the_cut(made.cut_before_head(), IMAGES)
    assert result == pytest.approx(expected, abs=1e-6)
    assert [tuple(v.shape) for v in values] == [(3, 16)]


def test_a_cut_inside_a_residual_carries_both_branches():
    _, values = through_the_cut(network().cut_at("stage1_drop"), IMAGES)
    assert len(values) == 2


def test_a_cut_after_an_operation_that_is_no_layer():
    made = network()
    _, values = through_the_cut(made.cut_at("stage2_conv"), IMAGES)
    assert [tuple(v.shape) for v in values] == [(3, 16, 16, 8)]
    expected = keras.Model(made.backbone.input, made.backbone.get_layer("stage1_add").output)
    preprocessed = TINY.preprocess_input(IMAGES)
    assert values[0].numpy() == pytest.approx(2 * expected(preprocessed, training=False).numpy(), abs=1e-5)


@pytest.mark.parametrize(("at", "from_pixels"), [(0, True), (1, True), (2, False), ("stage1", False)])
def test_nothing_with_weights_before_the_cut_means_from_pixels(at, from_pixels):
    assert network().cut_at(at).from_pixels is from_pixels


def test_batch_normalization_is_never_trainable():
    made = network()
    made.cut_at(0)
    kinds = {type(layer).__name__ for layer in made.trained_layers()}
    assert kinds == {"Conv2D", "Dense"}


def test_a_later_cut_freezes_what_an_earlier_one_trained():
    made = network()
    made.cut_at(0)
    made.cut_at("stage2")
    assert [layer.name for layer in made.trained_layers()] == ["stage2_conv", "logits"]
    made.cut_before_head()
    assert [layer.name for layer in made.trained_layers()] == ["logits"]


def test_a_stage_without_layers_is_a_fault_of_the_record():
    record = dataclasses.replace(TINY, stages=(*TINY.stages, "stage9"))
    with pytest.raises(tk.InvalidInputError, match="The stage 'stage9' of 'TinyNet' matches no layer"):
        network(record).resolve("stage9")


@pytest.mark.thorough
def test_a_stage_is_not_mistaken_for_one_whose_name_it_begins():
    made = network(tk.get_backbone("MobileNetV2_0.35"), 32)
    names = [layer.name for layer in made.backbone.layers]
    assert names[made.resolve("block_1")] == "block_1_expand"
    assert names[made.resolve("block_13")] == "block_13_expand"


def test_vgg16_at_15_trains_the_fifth_block_and_the_head():
    made = network(tk.get_backbone("VGG16"), 32)
    assert made.resolve(15) == made.resolve("block5")
    made.cut_at(15)
    assert [layer.name for layer in made.trained_layers()] == [
        "block5_conv1",
        "block5_conv2",
        "block5_conv3",
        "logits",
    ]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "size", "cuts"),
    [
        ("TransferKitTiny", 96, ["block_2", "block_5", "block_7_2_conv"]),
        ("MobileNetV2_0.35", 96, ["block_3", "block_6_depthwise", 100]),
    ],
)
def test_cuts_of_real_backbones(name, size, cuts):
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    made = network(tk.get_backbone(name), size)
    expected = made.model(images, training=False).numpy()
    for at in cuts:
        result, _ = through_the_cut(made.cut_at(at), images)
        assert result == pytest.approx(expected, abs=1e-5), at


def test_features_of_rank_2_need_no_pooling():
    def build(input_shape):
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(inputs))

    record = tk.Backbone("Flat", build, "none", default_size=8, min_size=8)
    assert assemble(record, build((8, 8, 3)), (8, 8), 2, 0.0, 0).model.output.shape == (None, 2)


def test_a_backbone_that_gives_something_else_is_refused():
    def build(input_shape):
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, keras.layers.Reshape((-1, 3))(inputs))

    record = tk.Backbone("Odd", build, "none", default_size=8, min_size=8)
    with pytest.raises(tk.InvalidInputError, match="'Odd' returns values of shape"):
        assemble(record, build((8, 8, 3)), (8, 8), 2, 0.0, 0)


def test_before_training_every_class_is_equally_likely():
    made = assemble(TINY, TINY.build((32, 32)), (32, 32), 4, 0.1, 0)
    assert made.model(IMAGES, training=False).numpy() == pytest.approx(np.full((3, 4), 0.25), abs=1e-6)


def test_preprocessing_is_part_of_the_network():
    made = network()
    inner = keras.Model(made.backbone.input, made.backbone.output)
    by_hand = inner(TINY.preprocess_input(IMAGES), training=False).numpy().mean(axis=(1, 2))
    assert listed(made.features_model()(IMAGES, training=False))[0].numpy() == pytest.approx(by_hand, abs=1e-5)


def test_a_copy_computes_the_same_under_the_same_names_with_weights_of_its_own():
    def build(input_shape):
        inputs = keras.Input(input_shape)
        x = keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])(inputs)
        x = keras.layers.Normalization()(x)  # it computes with numbers that it takes from its weights
        return keras.Model(inputs, keras.layers.Conv2D(16, 3)(x))

    made = network(tk.Backbone("Unnamed", build, "none", default_size=32))
    made.backbone.layers[2].adapt(IMAGES)
    expected = made.model(IMAGES, training=False).numpy()
    copy = made.copy()
    assert [layer.name for layer in copy.backbone.layers] == [layer.name for layer in made.backbone.layers]
    assert np.array_equal(copy.model(IMAGES, training=False), expected)
    copy.model.set_weights([weight * 2 for weight in copy.model.get_weights()])
    assert np.array_equal(made.model(IMAGES, training=False), expected)


class Block(keras.layers.Layer):
    """A layer of one's own with layers inside, as KerasHub has them."""

    def __init__(self, **options):
        super().__init__(**options)
        self.conv = keras.layers.Conv2D(4, 3)
        self.norm = keras.layers.BatchNormalization()

    def build(self, shape):
        self.conv.build(shape)
        self.norm.build(self.conv.compute_output_shape(shape))

    def call(self, images, training=False):
        return self.norm(self.conv(images), training=training)


def test_batch_normalization_inside_a_layer_of_ones_own_is_not_trainable_either():
    def build(input_shape):
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, Block(name="block_1")(inputs))

    record = tk.Backbone("Nested", build, "none", default_size=8, min_size=8, stages=("block_1",))
    made = assemble(record, build((8, 8, 3)), (8, 8), 2, 0.0, 0)
    cut = made.cut_at("block_1")
    block = made.backbone.get_layer("block_1")
    assert len(block.trainable_weights) == 2
    before = [w.numpy() for w in block.norm.weights]
    cut.trainable(IMAGES[:, :8, :8], training=True)
    for weight, value in zip(block.norm.weights, before, strict=True):
        assert np.array_equal(weight.numpy(), value)
