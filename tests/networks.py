"""TinyNet, on which most tests run, and what deep networks with random weights need.

Keras is imported where it is used, since conftest.py imports this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import transferkit as tk

if TYPE_CHECKING:
    import keras


def build_tiny(input_shape: tuple[int, int, int]) -> keras.Model:
    """Two small stages with all that makes cuts hard: BatchNormalization, Dropout, a residual, a bare operation."""
    import keras

    layers = keras.layers
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="stem_conv")(inputs)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.ReLU(name="stem_relu")(x)
    y = layers.Conv2D(8, 3, padding="same", name="stage1_conv")(x)
    y = layers.BatchNormalization(name="stage1_bn")(y)
    y = layers.Dropout(0.2, name="stage1_drop")(y)
    x = layers.Add(name="stage1_add")([x, y])
    x = keras.ops.multiply(x, 2.0)
    x = layers.Conv2D(16, 3, strides=2, padding="same", name="stage2_conv")(x)
    x = layers.BatchNormalization(name="stage2_bn")(x)
    x = layers.ReLU(name="stage2_relu")(x)
    return keras.Model(inputs, x, name="tiny_net")


TINY = tk.Backbone(
    "TinyNet",
    builder=build_tiny,
    preprocessing="tf",
    default_size=32,
    min_size=8,
    feature_dim=16,
    stages=("stage1", "stage2"),
)


def calibrate(backbone: keras.Model, preprocessed: Any) -> None:
    """Give BatchNormalization the statistics of some images: with those of a new one, deep random networks give zeros."""
    import keras

    trainable = backbone.trainable
    backbone.trainable = True
    for layer in backbone._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    backbone(preprocessed, training=True)
    backbone.trainable = trainable
