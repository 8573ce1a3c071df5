"""TransferKitTiny, the built-in backbone, whose weights are part of the package.

It was trained by ``training/`` in the project's repository, by distillation from larger networks; its data, accuracy
and limits are in docs/transferkit-tiny.md.

It is built from residual blocks (He et al. 2015, https://arxiv.org/abs/1512.03385) of two kinds: two 3 x 3 convolutions
for few channels, a bottleneck (1 x 1, 3 x 3, 1 x 1) for many. A strided shortcut averages before it projects, so that
no value is skipped (He et al. 2018, https://arxiv.org/abs/1812.01187, ResNet-D). Convolutions are full, not depthwise:
for the same number of multiplications, a CPU computes them several times as fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .record import Backbone

if TYPE_CHECKING:
    import keras


# The kind, output channels, inner channels and stride of each block.
BLOCKS = (
    ("basic", 40, 40, 2),
    ("basic", 40, 40, 1),
    ("basic", 72, 72, 2),
    ("bottleneck", 144, 72, 1),
    ("bottleneck", 192, 72, 2),
    ("bottleneck", 192, 72, 1),
    ("bottleneck", 192, 72, 1),
)

TINY = Backbone(
    name="TransferKitTiny",
    builder="transferkit.backbones.tiny:build_residual",
    preprocessing="tf",
    default_size=96,
    feature_dim=640,
    stages=tuple(f"block_{number}" for number in range(1, len(BLOCKS) + 1)),
    parameters=585_760,
    pretrained=Path(__file__).with_name("tiny.weights.h5"),
    trained_on="photos of many domains, by distillation",
    options={"stem": 32, "blocks": BLOCKS, "features": 640},
    family="TransferKit",
    batch_norm=True,
    dropout=False,
)


def build_residual(
    *, input_shape: tuple[int, int, int], stem: int, blocks: Sequence[tuple[str, int, int, int]], features: int
) -> keras.Model:
    """A residual network with random weights, from images (n, h, w, c) to feature maps (n, h', w', `features`) >= 0.

    Args:
        input_shape: (height, width, channels) of the images.
        stem: channels of the first convolution, 3 x 3 with stride 2.
        blocks: in the form of `BLOCKS`.
        features: channels of the last convolution, 1 x 1.
    """
    import keras

    images = keras.Input(input_shape, name="images")
    values = keras.layers.ReLU(name="stem_relu")(_convolution(images, stem, 3, 2, "stem"))
    for number, block in enumerate(blocks, 1):
        values = _block(values, *block, f"block_{number}")
    values = keras.layers.ReLU(name="last_relu")(_convolution(values, features, 1, 1, "last"))
    return keras.Model(images, values, name="residual")


def _block(values: Any, kind: str, width: int, inner: int, stride: int, name: str) -> Any:
    from keras import layers

    small = [(inner, 3, stride), (width, 3, 1)]
    plan = small if kind == "basic" else [(inner, 1, 1), (inner, 3, stride), (width, 1, 1)]
    found = shortcut = values
    for number, convolution in enumerate(plan, 1):
        found = _convolution(found, *convolution, f"{name}_{number}")
        if number < len(plan):
            found = layers.ReLU(name=f"{name}_{number}_relu")(found)
    if stride != 1:
        shortcut = layers.AveragePooling2D(stride, padding="same", name=f"{name}_pool")(shortcut)
    if stride != 1 or values.shape[-1] != width:
        shortcut = _convolution(shortcut, width, 1, 1, f"{name}_shortcut")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([found, shortcut]))


def _convolution(values: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    """A convolution and its normalization. "same" padding with a stride would be off-centre for even sizes."""
    from keras import layers

    if stride != 1:
        values = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(values)
    padding = "same" if stride == 1 else "valid"
    values = layers.Conv2D(channels, kernel, stride, padding, use_bias=False, name=f"{name}_conv")(values)
    return layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(values)
