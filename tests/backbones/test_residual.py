"""The residual network: what comes out, for any size, and where it can be cut."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from transferkit.backbones.residual import build_residual

PLAN = {"stem": 4, "blocks": [("basic", 8, 6, 2), ("bottleneck", 12, 4, 2), ("bottleneck", 12, 4, 1)], "features": 20}


def build(size: tuple[int, int]) -> keras.Model:
    return build_residual(input_shape=(*size, 3), **PLAN)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 64), (39, 38)])
def test_any_size_gives_maps_an_eighth_as_large_rounded_up(size, rng):
    model = build(size)
    maps = np.asarray(model(rng.uniform(-1, 1, (2, *size, 3))))
    assert maps.shape == (2, -(-size[0] // 8), -(-size[1] // 8), 20)
    assert maps.min() == 0 < maps.max()


def test_nothing_is_off_by_a_pixel(rng):
    """The first convolution reads every second pixel from the first on, for odd and even sizes alike; with "same" padding
    it would begin at the second one of an even size."""
    model = build((33, 32))
    stem = model.get_layer("stem_conv")
    kernel = np.zeros((3, 3, 3, 4))
    kernel[1, 1] = 1  # the middle of the window alone
    stem.set_weights([kernel])
    images = rng.uniform(-1, 1, (1, 33, 32, 3)).astype(np.float32)
    read = np.asarray(keras.Model(model.input, stem.output)(images))[0, :, :, 0]
    assert read == pytest.approx(images[0, ::2, ::2].sum(axis=-1), abs=1e-5)


def test_a_block_without_a_change_of_shape_adds_to_what_it_gets(rng):
    model = build((32, 32))
    model.get_layer("block_3_3_norm").set_weights([np.zeros(12), np.zeros(12), np.zeros(12), np.ones(12)])
    before, after = (model.get_layer(f"block_{number}_relu").output for number in (2, 3))
    first, then = keras.Model(model.input, [before, after])(rng.uniform(-1, 1, (1, 32, 32, 3)))
    assert np.asarray(then) == pytest.approx(np.asarray(first))


def test_every_block_begins_at_one_value():
    """So that fine-tuning at a stage stores one tensor an image."""
    from transferkit.network.network import _crossing

    model = build((32, 32))
    names = [layer.name for layer in model.layers]
    for number in (1, 2, 3):
        first = next(index for index, name in enumerate(names) if name.startswith(f"block_{number}"))
        assert len(_crossing(model, first)) == 1
