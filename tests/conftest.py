"""What every test finds: no network, a cache of its own, TinyNet, drawn photos, and a classifier that is fitted once.

The process that only hands out the tests imports this file too, so it does not import TensorFlow.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import numpy.typing as npt
import pytest
from drawing import draw, drawn, write_png
from helpers import ASSETS
from networks import TINY

import transferkit as tk
from transferkit.backbones import registry as backbones

Make: TypeAlias = "Callable[..., tk.TransferClassifier]"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches another machine, even where this one has a network."""
    look_up = socket.getaddrinfo

    def look_up_here(host: str, *args: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            raise OSError("no network in tests")
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)


@pytest.fixture(scope="session", autouse=True)
def _no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures that serve several tests find no values of earlier runs either: another processor rounds otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


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
    if not (ASSETS / "data").is_dir():
        pytest.skip(f"no real photos: {ASSETS} is missing (set TRANSFERKIT_TEST_ASSETS)")
    return ASSETS


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
def pictures() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_]]:
    """36 pictures uint8 `(36, 32, 32, 3)` and their class names."""
    return drawn(12, seed=3)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files at URLs that are read from here on."""
    from transferkit._common.remote import Remote

    names: list[str] = []
    read = Remote.read

    def noting(file: Remote, most: int | None = None) -> bytes:
        names.append(file.url)
        return read(file, most)

    monkeypatch.setattr(Remote, "read", noting)
    return names


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the frozen part computes from here on, call by call."""
    from transferkit.network.extractor import FeatureExtractor

    counts: list[int] = []
    original = FeatureExtractor.__call__

    def counting(part: FeatureExtractor, images: Any) -> Any:
        counts.append(len(images))
        return original(part, images)

    monkeypatch.setattr(FeatureExtractor, "__call__", counting)
    return counts


def build(**changes: Any) -> tk.TransferClassifier:
    return tk.TransferClassifier(**{"backbone": "TinyNet", "weights": None, "seed": 0, **changes})


def fit(clf: tk.TransferClassifier, photos: Path) -> tk.TransferClassifier:
    return clf.fit(photos / "train", epochs=40, learning_rate=0.02, validation=0.25, verbose=0)


@pytest.fixture
def make() -> Make:
    """A classifier on TinyNet with random weights and a fixed seed."""
    return build


@pytest.fixture
def fitted(make: Make, photos: Path) -> tk.TransferClassifier:
    """For what a file does not keep: the data of `fit`, its report and its settings. Else `loaded` is the cheaper one."""
    return fit(make(), photos)


@pytest.fixture(scope="session")
def fitted_once(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, npt.NDArray[np.float32]]:
    """The file of a classifier like `fitted`, and what it says of the photos of the test folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "_registry", dict(backbones._registry))
        if "tinynet" not in backbones._registry:
            tk.register_backbone(TINY)
        clf = fit(build(cache=False), photos)
        path = tmp_path_factory.mktemp("fitted") / "pets.keras"
        clf.save(path)
        return path, clf.predict_proba(photos / "test", verbose=0)


@pytest.fixture
def saved_file(fitted_once: tuple[Path, Any], tmp_path: Path) -> Path:
    """A saved classifier that the test may damage."""
    path = tmp_path / "pets.keras"
    path.write_bytes(fitted_once[0].read_bytes())
    return path


@pytest.fixture
def loaded(fitted_once: tuple[Path, Any]) -> tk.TransferClassifier:
    """A classifier of three classes, fitted once for all tests."""
    return tk.TransferClassifier.load(fitted_once[0])


@pytest.fixture(autouse=True)
def _no_leftover_files(tmp_path: Path) -> Iterator[None]:
    """Tests work in a folder of their own."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield
    os.chdir(before)
