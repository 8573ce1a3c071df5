"""Every picture that the tests draw, and the files and folders that hold them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112  # the number of this tag in EXIF


# ---- pixels ----


def picture(seed: int = 0, size: tuple[int, int] = (24, 32)) -> Pixels:
    """A smooth picture of (height, width), different for each seed, that JPEG changes little."""
    rng = np.random.default_rng(seed)
    corners = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    return np.asarray(corners.resize(size[::-1], Image.Resampling.BICUBIC))


def draw(kind: str, rng: np.random.Generator, size: tuple[int, int] = (40, 48)) -> Pixels:
    """A noisy picture of one of three kinds: stripes that lie, stripes that stand, or a red haze."""
    y, x = np.mgrid[: size[0], : size[1]]
    phase = rng.uniform(0, 6)
    base = {"lying": np.sin(y / 2 + phase), "standing": np.sin(x / 2 + phase), "red": np.zeros(size)}[kind]
    pixels = np.repeat(127 + 90 * base[..., None], 3, axis=-1)
    if kind == "red":
        pixels += [90, -90, -90]
    return np.clip(pixels + rng.normal(0, 15, pixels.shape), 0, 255).astype(np.uint8)


def drawn(count: int, seed: int, size: tuple[int, int] = (32, 32)) -> tuple[Pixels, npt.NDArray[np.str_]]:
    """So many pictures of each of the three kinds, in turn, and their class names."""
    rng = np.random.default_rng(seed)
    kinds = np.array(["lying", "red", "standing"] * count)
    return np.stack([draw(kind, rng, size) for kind in kinds]), kinds


def textures(rng: np.random.Generator, count: int) -> tuple[Pixels, list[str]]:
    """Three kinds of coarse patterns of 96 x 96 pixels, in random colours, at random places."""
    images, labels = [], []
    for number in range(count):
        y, x = np.mgrid[:96, :96] + rng.uniform(0, 96, (2, 1, 1))
        kind = number % 3
        wave = [np.sin(x / 5), np.sin(x / 7) * np.sin(y / 7), np.sin(np.hypot(x - 96, y - 96) / 5)][kind]
        colour = rng.uniform(40, 120, 3)
        images.append(np.clip(128 + wave[..., None] * colour + rng.normal(0, 25, (96, 96, 3)), 0, 255))
        labels.append(["stripes", "checks", "rings"][kind])
    return np.array(images).astype(np.uint8), labels


def ramp(size: tuple[int, int], low: float, high: float, kind: str) -> npt.NDArray[Any]:
    """A grey picture of numbers that rise evenly, of any type."""
    return np.linspace(low, high, size[0] * size[1]).astype(kind).reshape(size)


# ---- files ----


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[ORIENTATION] = orientation
    return found


def animation(kind: str, count: int) -> bytes:
    frames = [Image.fromarray(picture(seed)).quantize(64) for seed in range(count)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)


def large_photo(size: tuple[int, int], orientation: int = 1) -> bytes:
    """A JPEG of fine and coarse detail, of the size (height, width) in which it is stored."""
    noise = np.random.default_rng(0).normal(0, 12, (*size, 3))
    pixels = np.clip(picture(0, size) + noise, 0, 255).astype(np.uint8)
    return saved(Image.fromarray(pixels), "JPEG", quality=95, exif=exif(orientation))


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(
    width: int, height: int, *more: tuple[bytes, bytes], pixels: bytes = b"", bits: int = 8, colours: int = 2
) -> bytes:
    """A PNG whose header says this size, with these chunks and pixels that may not fit: Pillow writes no such files."""
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    listed = [(b"IHDR", header), *more, (b"IDAT", pixels or zlib.compress(b"")), (b"IEND", b"")]
    return PNG_SIGNATURE + b"".join(chunk(*one) for one in listed)


# ---- files and folders on the disk ----


def write(path: Path, seed: int = 0, size: tuple[int, int] = (24, 32), **options: Any) -> Path:
    """An image file, in the format of its extension (PNG where it has none)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = Image.registered_extensions().get(path.suffix.lower(), "PNG")
    Image.fromarray(picture(seed, size)).save(path, format=kind, **options)
    return path


def write_png(path: Path, pixels: npt.NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(saved(Image.fromarray(pixels), "PNG"))


def class_folder(root: Path, counts: dict[str, int]) -> Path:
    """A folder per class with so many PNG files, no two alike."""
    seed = 0
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seed += 1
            write(root / name / f"{number:03d}.png", seed, (40, 48))
    return root
