"""What several test files share: a fixed way to draw examples, how a refusal is checked, and what Pillow sees.

TensorFlow is not imported here, so that tests in processes of their own start fast.
"""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image, ImageOps

import transferkit as tk
from transferkit.images.decoding import decode
from transferkit.images.opening import Header, header_of, open_image

ROOT = Path(__file__).parents[1]
ASSETS = Path(os.environ.get("TRANSFERKIT_TEST_ASSETS") or ROOT.parent / "shared")
ODD_IMAGES = ASSETS / "data" / "odd_images"
MOBILENET = "mobilenet_v2_1.0_224_imagenet_notop.weights.h5"

Error = TypeVar("Error", bound=Exception)

# The same examples on every run. The function-scoped fixtures of conftest only change folder and registry.
steady = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@contextmanager
def refused(kind: type[Error], *parts: str) -> Iterator[pytest.ExceptionInfo[Error]]:
    """The block raises exactly `kind`, in a message that holds each part and is one of transferkit's."""
    with pytest.raises(kind) as caught:
        yield caught
    message = str(caught.value)
    assert type(caught.value) is kind
    assert isinstance(caught.value, tk.TransferKitError)
    for part in parts:
        assert part in message, f"{part!r} is missing in {message!r}"


def fresh_python(code: str, *arguments: object, **environment: str) -> str:
    """What a Python of its own prints, in which the modules of the tests can be imported."""
    places = os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": places, **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def lock(monkeypatch: pytest.MonkeyPatch, is_locked: Callable[[str], bool]) -> None:
    """Let folders of these names look like ones that may not be listed: root, who may run the tests, may list all."""
    scandir = os.scandir

    def refuse(folder: Any) -> Any:
        if not isinstance(folder, int) and is_locked(Path(folder).name):  # shutil.rmtree lists by descriptor
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)


def header_of_bytes(data: bytes) -> Header:
    """What the header of a file says."""
    return header_of(open_image(data), data)


def by_pillow(data: bytes) -> npt.NDArray[np.int64]:
    """Upright RGB; what is transparent lies on white, and grey of 16 bits is scaled by its whole range."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of palettes and broken EXIF
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if image.mode.startswith("I"):
            grey = np.round(np.asarray(image) / 257).astype(np.int64)
            if "transparency" in image.info:
                grey[np.asarray(image) == image.info["transparency"]] = 255
            return np.repeat(grey[..., np.newaxis], 3, axis=-1)
        if image.mode == "F":
            grey = np.asarray(image, np.float64)
            grey = np.round((grey - grey.min()) * 255 / (grey.max() - grey.min())).astype(np.int64)
            return np.repeat(grey[..., np.newaxis], 3, axis=-1)
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return np.asarray(image.convert("RGB")).astype(np.int64)


def as_by_pillow(data: bytes, tolerance: float = 2) -> None:
    """The pixels of a file are those that Pillow finds, and of the form that all images have."""
    image, known = decode(data), by_pillow(data)
    assert image.shape == known.shape
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.abs(image - known).mean() <= tolerance


def odd_image(name: str) -> Path:
    """One of the odd images among the shared test data; skips, with the reason, where they are missing."""
    path = ODD_IMAGES / name
    if not path.exists():
        pytest.skip(f"no real photos: {path} is missing (set TRANSFERKIT_TEST_ASSETS)")
    return path


def public_things() -> dict[str, Any]:
    """Every public class and function by the name that users write after ``tk.``."""
    things = {name: getattr(tk, name) for name in tk.__all__ if name not in ("__version__", "cache")}
    for room in ("cache", "checks", "results"):
        module = importlib.import_module(f"transferkit.{room}")
        named = {name: getattr(module, name) for name in module.__all__}
        things |= {
            f"{room}.{name}": thing for name, thing in named.items() if room == "cache" or isinstance(thing, type)
        }
    return things
