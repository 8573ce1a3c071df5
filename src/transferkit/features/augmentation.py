"""Random changes of training images, which are never part of the network or of a saved file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .._common.arguments import check_count
from ..errors import InvalidInputError, bad_argument, some_of
from ..images import Pixels
from ..network import graph_digest

SEED_STATE = "seed_generator_state"  # the name of the state of a `keras.random.SeedGenerator` in a layer

Augmentation = str | keras.layers.Layer | None


class Augmenter:
    """A function from a batch float32 `(n, h, w, 3)`, RGB 0-255, to a changed batch of the same shape and scale."""

    def __init__(self, layer: keras.layers.Layer, size: tuple[int, int], seed: int) -> None:
        self._seed = seed
        self._fresh = [(v.numpy(), v.name == SEED_STATE) for v in layer.non_trainable_variables]
        # A separate state, so that the user's layer does not change and the seed reaches its generators.
        self._states = [tf.Variable(value, dtype=value.dtype) for value, _ in self._fresh]
        self.restart(0)

        def change(images: tf.Tensor) -> tf.Tensor:
            pairs = zip(layer.non_trainable_variables, self._states, strict=True)
            with keras.StatelessScope(state_mapping=[(own, state.value()) for own, state in pairs]) as scope:
                changed = layer(images, training=True)
                for own, state in zip(layer.non_trainable_variables, self._states, strict=True):
                    state.assign(scope.get_current_value(own))
            return _in_scale(changed)

        given = [tf.TensorSpec((None, *size, 3), tf.float32)]
        self._change = tf.function(change, given, autograph=False).get_concrete_function()

    def __call__(self, images: Any) -> Any:
        return self._change(tf.constant(images))

    @cached_property
    def name(self) -> str:
        """A hash of what it does."""
        return graph_digest(self._change)

    def restart(self, epoch: int) -> None:
        """Begin an epoch, whose draws do not depend on earlier epochs, so that a run can go on from any of them."""
        seed = self._seed if not epoch else int(np.random.SeedSequence([self._seed, epoch]).generate_state(1)[0])
        for number, (state, (value, is_seed)) in enumerate(zip(self._states, self._fresh, strict=True)):
            state.assign([(seed + number) % 2**32, 0] if is_seed else value)


# Keras layers that mix images of several classes; older versions of Keras lack them.
MIXING = tuple(getattr(keras.layers, name) for name in ("MixUp", "CutMix") if hasattr(keras.layers, name))


def augmenter(choice: object, size: tuple[int, int], seed: int) -> Augmenter | None:
    """What changes the images of a batch at random; None for no changes.

    Args:
        choice: None; ``"light"`` (mirrored half of the time, rotated by up to 10 degrees, zoomed by up to a tenth);
            or a Keras layer, for example a `keras.Sequential` of random layers.

    Raises:
        InvalidInputError: any other value, or a layer that changes the shape.
    """
    if choice is None:
        return None
    return Augmenter(_layer(choice, size, seed), size, seed)


class FixedViews:
    """`count` changed versions of every image, the same in every call and every process.

    The seeds of the random layers are derived from the content of the image and the number of the view.
    """

    def __init__(self, layer: keras.layers.Layer, size: tuple[int, int], count: int) -> None:
        self.count = count
        trainable = [variable.numpy() for variable in layer.trainable_variables]
        others = [(v.numpy(), v.name == SEED_STATE) for v in layer.non_trainable_variables]
        self._seeds = sum(is_seed for _, is_seed in others)

        def change(image: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
            drawn = iter(tf.unstack(seeds, self._seeds))
            states = [tf.cast(next(drawn), array.dtype) if is_seed else tf.constant(array) for array, is_seed in others]
            weights = [tf.constant(array) for array in trainable]
            changed, _ = layer.stateless_call(weights, states, image[tf.newaxis], training=True)
            return _in_scale(changed)[0]

        self._change = tf.function(change, autograph=False).get_concrete_function(
            tf.TensorSpec((*size, 3), tf.float32), tf.TensorSpec((self._seeds, 2), tf.uint32)
        )
        self.name = graph_digest(self._change)  # its weights are constants of the graph

    def key(self, key: bytes, view: int) -> bytes:
        """The key of a view of the image that has this `key`."""
        return hashlib.blake2b(key + f"{self.name}/{view}".encode(), digest_size=len(key)).digest()

    def draw(self, image: Pixels, key: bytes, view: int) -> Pixels:
        """One view of an image float32 `(h, w, 3)`, RGB 0-255, of the same shape and scale."""
        # A generator's state is a seed and a counter; each generator has its own seed.
        seeds = np.zeros((self._seeds, 2), np.uint32)
        for number in range(self._seeds):
            drawn = hashlib.blake2b(key + f"{view}/{number}".encode(), digest_size=4).digest()
            seeds[number, 0] = int.from_bytes(drawn, "big")
        changed: Pixels = self._change(tf.constant(image), tf.constant(seeds)).numpy()
        return changed


class MirrorViews:
    """Each image unchanged, and mirrored left to right; the unchanged view has the key of the image itself."""

    count = 2

    def key(self, key: bytes, view: int) -> bytes:
        return hashlib.blake2b(key + b"mirrored", digest_size=len(key)).digest() if view else key

    def draw(self, image: Pixels, key: bytes, view: int) -> Pixels:  # noqa: ARG002  # as for `FixedViews`
        return np.ascontiguousarray(image[:, ::-1]) if view else image


def fixed_views(choice: object, size: tuple[int, int], count: object) -> FixedViews | None:
    """`count` fixed views of every image; None if `count` is None.

    Raises:
        InvalidInputError: no augmentation, a `count` that is not a positive number, or a layer that does not draw from
            Keras's seed generators, so that a view could not be drawn again.
    """
    if count is None:
        return None
    number = check_count("views", count, example=4)
    if choice is None:
        remedy = "Pass augmentation='light', or drop views"
        raise bad_argument("views", count, "needs an augmentation to make the views", remedy)
    layer = _layer(choice, size, 0)
    views = FixedViews(layer, size, number)
    if not _follows_its_seeds(views, layer, size):
        raise InvalidInputError(
            "views cannot be used with this augmentation: its layers must draw their randomness from "
            "keras.random.SeedGenerator. Remove views."
        )
    return views


def _follows_its_seeds(views: FixedViews, layer: Any, size: tuple[int, int]) -> bool:
    """Whether equal seeds give equal views, and different seeds different ones if the layer is random at all."""
    probe = np.random.default_rng(0).uniform(0, 255, (*size, 3)).astype(np.float32)
    drawn = [views.draw(probe, b"probe", view).tobytes() for view in (*range(8), 0)]
    with _unchanged(layer):
        is_random = len({np.asarray(layer(probe[np.newaxis], training=True)).tobytes() for _ in range(8)}) > 1
    return drawn[0] == drawn[-1] and (len(set(drawn)) > 1 or not is_random)


def _layer(choice: object, size: tuple[int, int], seed: int) -> Any:
    """The layer of a choice, tested on a few images."""
    layer: Any = _light(seed) if isinstance(choice, str) and choice == "light" else choice
    if not isinstance(layer, keras.layers.Layer):
        rule = "must be None, 'light' or a Keras layer"
        raise bad_argument("augmentation", choice, rule, "Pass augmentation='light'")
    if mixing := [part.name for part in layer._flatten_layers() if isinstance(part, MIXING)]:
        raise InvalidInputError(
            f"The layer {some_of(mixing)} mixes images of several classes: an augmentation must not change the class. "
            f"Leave it out."
        )
    probe = np.random.default_rng(0).uniform(0, 255, (4, *size, 3)).astype(np.float32)
    with _unchanged(layer):
        changed = layer(tf.constant(probe), training=True)
    shape = tuple(getattr(changed, "shape", ()))
    if shape != probe.shape:
        raise InvalidInputError(
            f"The augmentation turns images of shape {(*size, 3)} into {shape[1:]}: it must keep the shape. Leave out "
            f"layers that crop or resize."
        )
    if (highest := float(np.max(changed))) <= 1.5:
        raise InvalidInputError(
            f"The augmentation turns images of 0-255 into images of at most {highest:.3g}: it must keep the scale. Leave "
            f"out Rescaling, and pass value_range=(0, 255) to layers that have it."
        )
    return layer


@contextmanager
def _unchanged(layer: keras.layers.Layer) -> Iterator[None]:
    """Restore the user's layer after a trial: each call draws from its generators."""
    before = [(variable, variable.numpy()) for variable in layer.variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def _in_scale(images: Any) -> Any:
    """Clip to 0-255, as the network expects: interpolation may exceed the range a little, contrast a lot."""
    return tf.clip_by_value(tf.cast(images, tf.float32), 0.0, 255.0)


def _light(seed: int) -> keras.Sequential:
    return keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal", seed=seed),
            keras.layers.RandomRotation(10 / 360, fill_mode="reflect", seed=seed + 1),
            keras.layers.RandomZoom(0.1, fill_mode="reflect", seed=seed + 2),
        ]
    )
