"""What the tests share: a tiny backbone, drawn photos, and the folder of real ones."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf

import transferkit as tk
from transferkit.backbones import registry as backbones
from transferkit.network.extractor import FrozenPart

MOBILENET = "mobilenet_v2_1.0_224_imagenet_notop.weights.h5"


def build_tiny(input_shape: tuple[int, int, int]) -> keras.Model:
    """Two small stages with all that makes cuts hard: BatchNormalization, Dropout, a residual, a bare operation."""
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


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches another machine, even where this one has a network."""
    look_up = socket.getaddrinfo

    def look_up_here(host: str, *args: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            raise OSError("no network in tests")
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test finds an empty cache, and leaves nothing in the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _tiny_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """TinyNet in the registry, whatever a test registers besides gone after it."""
    monkeypatch.setattr(backbones, "_registry", dict(backbones._registry))
    tk.register_backbone(TINY)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real photos and weights, beside the project or where the variable says."""
    folder = Path(os.environ.get("TRANSFERKIT_TEST_ASSETS") or Path(__file__).parents[2] / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no real photos: {folder} is missing (set TRANSFERKIT_TEST_ASSETS)")
    return folder


def draw(kind: str, rng: np.random.Generator, size: tuple[int, int] = (40, 48)) -> np.ndarray:
    """A noisy picture of one of three kinds: stripes that lie, stripes that stand, or a red haze."""
    y, x = np.mgrid[: size[0], : size[1]]
    phase = rng.uniform(0, 6)
    base = {"lying": np.sin(y / 2 + phase), "standing": np.sin(x / 2 + phase), "red": np.zeros(size)}[kind]
    picture = np.repeat(127 + 90 * base[..., None], 3, axis=-1)
    if kind == "red":
        picture += [90, -90, -90]
    return np.clip(picture + rng.normal(0, 15, picture.shape), 0, 255).astype(np.uint8)


def write_png(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(picture).numpy())


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/ (12 photos of each of three classes), test/ (6 of each) and new/ (3 without classes)."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(7)
    for split, count in (("train", 12), ("test", 6)):
        for kind in ("lying", "red", "standing"):
            for number in range(count):
                write_png(root / split / kind / f"{number:02d}.png", draw(kind, rng))
    for kind in ("lying", "red", "standing"):
        write_png(root / "new" / f"{kind}.png", draw(kind, rng))
    return root


@pytest.fixture(scope="session")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """36 pictures uint8 `(36, 32, 32, 3)` and their class names."""
    rng = np.random.default_rng(3)
    kinds = np.array(["lying", "red", "standing"] * 12)
    return np.stack([draw(kind, rng, (32, 32)) for kind in kinds]), kinds


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the frozen part computes from here on, call by call."""
    counts: list[int] = []
    original = FrozenPart.__call__

    def counting(part: FrozenPart, images: Any) -> Any:
        counts.append(len(images))
        return original(part, images)

    monkeypatch.setattr(FrozenPart, "__call__", counting)
    return counts


@pytest.fixture
def make() -> Callable[..., tk.TransferClassifier]:
    """A classifier on TinyNet with random weights and a fixed seed."""

    def build(**changes: Any) -> tk.TransferClassifier:
        return tk.TransferClassifier(**{"backbone": "TinyNet", "weights": None, "seed": 0, **changes})

    return build


@pytest.fixture
def fitted(make: Callable[..., tk.TransferClassifier], photos: Path) -> tk.TransferClassifier:
    return make().fit(photos / "train", epochs=40, learning_rate=0.02, validation=0.25, verbose=0)


@pytest.fixture(autouse=True)
def _no_leftover_files(tmp_path: Path) -> Iterator[None]:
    """Tests work in a folder of their own."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield
    os.chdir(before)
