"""Random changes of training images. They exist while training only: never in the network, never in a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from .errors import InvalidInputError, bad_argument

__all__ = ["Augmentation", "augmenter"]

Augmentation = str | keras.layers.Layer | None


def augmenter(choice: object, size: tuple[int, int], seed: int) -> Callable[[Any], Any] | None:
    """A function from a batch float32 `(n, h, w, 3)`, RGB 0-255, to a changed batch of the same shape and scale.

    Args:
        choice: None; ``"light"`` (mirrored half of the time, turned by up to 10 degrees, zoomed by up to a tenth);
            or any Keras layer, for example a `keras.Sequential` of random layers.

    Raises:
        InvalidInputError: something else, or a layer that changes the shape.
    """
    if choice is None:
        return None
    if isinstance(choice, str) and choice == "light":
        layer: Any = _light(seed)
    elif isinstance(choice, keras.layers.Layer):
        layer = choice
    else:
        raise bad_argument(
            "augmentation", choice, "must be None, 'light' or a Keras layer", "Pass augmentation='light'"
        )
    probe = layer(tf.zeros((2, *size, 3)), training=True)
    if tuple(getattr(probe, "shape", ())) != (2, *size, 3):
        raise InvalidInputError(
            f"The augmentation turns images of shape {(*size, 3)} into {tuple(getattr(probe, 'shape', ()))[1:]}: it must "
            f"keep the shape. Leave out layers that crop or resize."
        )
    signature = [tf.TensorSpec((None, *size, 3), tf.float32)]
    # Interpolation may leave the scale by a little, contrast by a lot; the network knows 0-255 alone.
    change: Callable[[Any], Any] = tf.function(
        lambda images: tf.clip_by_value(tf.cast(layer(images, training=True), tf.float32), 0.0, 255.0),
        input_signature=signature,
    )
    return change


def _light(seed: int) -> keras.Sequential:
    return keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal", seed=seed),
            keras.layers.RandomRotation(10 / 360, fill_mode="reflect", seed=seed + 1),
            keras.layers.RandomZoom(0.1, fill_mode="reflect", seed=seed + 2),
        ]
    )
