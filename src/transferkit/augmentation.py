"""Random changes of training images. They exist while training only: never in the network, never in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .arguments import check_count
from .errors import InvalidInputError, bad_argument
from .fingerprints import graph_digest
from .resizing import Pixels

__all__ = ["Augmentation", "FixedViews", "augmenter", "fixed_views"]

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
    layer = _layer(choice, size, seed)
    signature = [tf.TensorSpec((None, *size, 3), tf.float32)]
    change: Callable[[Any], Any] = tf.function(
        lambda images: _in_scale(layer(images, training=True)), input_signature=signature, autograph=False
    )
    return change


class FixedViews:
    """A number of changed versions of every image, the same ones in every call and every process.

    Which version it is, and the content of the image, decide what is drawn: the seeds of the random layers are
    set from both, whatever seeds they were given.
    """

    def __init__(self, layer: keras.layers.Layer, size: tuple[int, int], count: int) -> None:
        self.count = count
        self._seeds = [_is_seed(variable) for variable in layer.non_trainable_variables]
        trainable = [variable.numpy() for variable in layer.trainable_variables]
        others = [variable.numpy() for variable in layer.non_trainable_variables]

        def change(image: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
            states, used = [], 0
            for is_seed, array in zip(self._seeds, others, strict=True):
                states.append(tf.cast(seeds[used], array.dtype) if is_seed else tf.constant(array))
                used += is_seed
            changed, _ = layer.stateless_call(
                [tf.constant(array) for array in trainable], states, image[tf.newaxis], training=True
            )
            return _in_scale(changed)[0]

        self._change = tf.function(change, autograph=False).get_concrete_function(
            tf.TensorSpec((*size, 3), tf.float32), tf.TensorSpec((sum(self._seeds), 2), tf.uint32)
        )
        self.name = graph_digest(self._change)  # its weights are constants of the graph

    def key(self, key: bytes, view: int) -> bytes:
        """The key of a view of the image that `key` stands for."""
        return hashlib.blake2b(key + f"{self.name}/{view}".encode(), digest_size=len(key)).digest()

    def draw(self, image: Pixels, key: bytes, view: int) -> Pixels:
        """One view of an image float32 `(h, w, 3)`, RGB 0-255, of the same shape and scale."""
        # A generator's state is a seed and a counter; each generator has a seed of its own.
        seeds = np.zeros((sum(self._seeds), 2), np.uint32)
        for number in range(len(seeds)):
            drawn = hashlib.blake2b(key + f"{view}/{number}".encode(), digest_size=4).digest()
            seeds[number, 0] = int.from_bytes(drawn, "big")
        changed: Pixels = self._change(tf.constant(image), tf.constant(seeds)).numpy()
        return changed


def fixed_views(choice: object, size: tuple[int, int], count: object) -> FixedViews | None:
    """`count` fixed views of every image; None where no number is given.

    Raises:
        InvalidInputError: no augmentation, not a positive number, or a layer that takes its randomness from elsewhere
            than Keras's seed generators, so that a view could not be drawn again.
    """
    if count is None:
        return None
    number = check_count("views", count, example=4)
    if choice is None:
        raise bad_argument(
            "views", count, "needs an augmentation, which makes the views", "Pass augmentation='light', or drop views"
        )
    layer = _layer(choice, size, 0)
    views = FixedViews(layer, size, number)
    if not _follows_its_seeds(views, layer, size):
        raise InvalidInputError(
            "views cannot be used with this augmentation, which does not draw by the seeds that it is given: its layers must "
            "take their randomness from keras.random.SeedGenerator. Drop views."
        )
    return views


def _follows_its_seeds(views: FixedViews, layer: Any, size: tuple[int, int]) -> bool:
    """Whether equal seeds give equal views, and other seeds others, if the layer is random at all."""
    probe = np.random.default_rng(0).uniform(0, 255, (*size, 3)).astype(np.float32)
    drawn = [views.draw(probe, b"probe", view).tobytes() for view in range(8)]
    if views.draw(probe, b"probe", 0).tobytes() != drawn[0]:
        return False
    is_random = len({np.asarray(layer(probe[np.newaxis], training=True)).tobytes() for _ in range(8)}) > 1
    return len(set(drawn)) > 1 or not is_random


def _layer(choice: object, size: tuple[int, int], seed: int) -> Any:
    """The layer that a choice stands for, tried on two images."""
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
    return layer


def _in_scale(images: Any) -> Any:
    """Interpolation may leave the scale by a little, contrast by a lot; the network knows 0-255 alone."""
    return tf.clip_by_value(tf.cast(images, tf.float32), 0.0, 255.0)


def _is_seed(variable: keras.Variable) -> bool:
    """Whether a variable is the state of a `keras.random.SeedGenerator`."""
    return bool(variable.name == "seed_generator_state" and tuple(variable.shape) == (2,))


def _light(seed: int) -> keras.Sequential:
    return keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal", seed=seed),
            keras.layers.RandomRotation(10 / 360, fill_mode="reflect", seed=seed + 1),
            keras.layers.RandomZoom(0.1, fill_mode="reflect", seed=seed + 2),
        ]
    )
