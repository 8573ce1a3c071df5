"""Photos that are broken or odd, one of each kind, as the tests of the doctor plant them among good ones."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from drawing import exif, picture, png_of, saved
from PIL import Image

SIZE = (120, 160)

Plant = Callable[[Path], object]


def photo(seed: int) -> Image.Image:
    """A drawing that no other one looks like."""
    return Image.fromarray(picture(seed, SIZE))


def content(data: bytes) -> Plant:
    return lambda path: path.write_bytes(data)


def half(data: bytes) -> Plant:
    return content(data[: len(data) // 2])


def damaged_png() -> bytes:
    """Whole by its length, with other bytes in the middle."""
    data = bytearray(saved(photo(503), "PNG"))
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    return bytes(data)


def of_twelve_bits() -> bytes:
    """A JPEG whose frame header says 12 bits per colour."""
    data = bytearray(saved(photo(504), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


def film(path: Path) -> None:
    """More than a gigabyte, none of which is written."""
    with path.open("wb") as file:
        file.truncate(2**30 + 1)


# File name -> the kind of fault, and what makes it. None of these can be read.
UNREADABLE: dict[str, tuple[str, Plant]] = {
    "empty.jpg": ("empty file", content(b"")),
    "web_page.jpg": ("not an image", content(b"<!DOCTYPE html><html><body>Not found</body></html>")),
    "pointer.png": ("not an image", content(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n")),
    "document.jpeg": ("not an image", content(b"%PDF-1.7\n1 0 obj << /Type /Catalog >> endobj\n%%EOF\n")),
    "phone.jpg": ("not an image", content(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500))),
    "half.jpg": ("truncated", half(saved(photo(501), "JPEG"))),
    "start.jpg": ("truncated", content(saved(photo(501), "JPEG")[:20])),
    "half.png": ("truncated", half(saved(photo(501), "PNG"))),
    "half.gif": ("truncated", half(saved(photo(501), "GIF"))),
    "half.bmp": ("truncated", half(saved(photo(501), "BMP"))),
    "half.webp": ("truncated", half(saved(photo(501), "WEBP"))),
    "half.tif": ("unreadable", half(saved(photo(502), "TIFF"))),
    "damaged.png": ("unreadable", content(damaged_png())),
    "zero_width.png": ("unreadable", content(png_of(0, 50))),
    "text_bomb.png": ("unreadable", content(png_of(50, 50, (b"zTXt", b"a\0\0" + zlib.compress(bytes(2**21)))))),
    "twelve_bits.jpg": ("unreadable", content(of_twelve_bits())),
    "bomb.png": ("huge", content(png_of(30_000, 30_000))),
    "film.jpg": ("huge", film),
    "pipe.jpg": ("not a regular file", os.mkfifo),
    "gone.jpg": ("not a regular file", lambda path: path.symlink_to("nowhere")),
}

# File name -> the kind of fault, a part of the detail, and what makes it. All of these can be read.
ODD: dict[str, tuple[str, str, Plant]] = {
    "wrong.jpg": ("wrong extension", "the content is PNG", content(saved(photo(601), "PNG"))),
    "wrong.png": ("wrong extension", "the content is WEBP", content(saved(photo(602), "WEBP"))),
    "wrong.bmp": ("wrong extension", "the content is ICO", content(saved(photo(603), "ICO", sizes=[(48, 48)]))),
    "lying.jpg": ("sideways", "EXIF orientation 6", content(saved(photo(604), "JPEG", exif=exif(6)))),
    "cmyk.jpg": ("unusual mode", "CMYK", content(saved(photo(605).convert("CMYK"), "JPEG"))),
    "deep.png": (
        "unusual mode",
        "16-bit",
        content(saved(Image.fromarray(np.asarray(photo(606).convert("L")).astype(np.uint16) * 257), "PNG")),
    ),
    "clear.png": ("unusual mode", "transparency", content(saved(photo(607).convert("RGBA"), "PNG"))),
    "bits.png": ("unusual mode", "1-bit", content(saved(photo(608).convert("1"), "PNG"))),
    "float.tif": (
        "unusual mode",
        "32-bit float",
        content(saved(Image.fromarray(np.asarray(photo(609).convert("L")).astype(np.float32)), "TIFF")),
    ),
    "film.gif": (
        "animated",
        "3 pictures",
        content(saved(photo(610), "GIF", save_all=True, append_images=[photo(611), photo(612)])),
    ),
    "film.webp": (
        "animated",
        "2 pictures",
        content(saved(photo(613), "WEBP", save_all=True, append_images=[photo(614)])),
    ),
    "small.png": ("tiny", "50 x 31 pixels", content(saved(photo(615).resize((50, 31)), "PNG"))),
    "grey.png": ("flat", "a single colour", content(saved(Image.new("RGB", (60, 60), (90, 120, 40)), "PNG"))),
}


def plant_unreadable(folder: Path) -> dict[str, str]:
    """One of each kind that cannot be read, in a folder; its kind by path."""
    for name, (_, plant) in UNREADABLE.items():
        plant(folder / name)
    return {str(folder / name): kind for name, (kind, _) in UNREADABLE.items()}


def plant_odd(folder: Path) -> dict[str, str]:
    """One of each kind that is odd but can be read, in a folder; its kind by path."""
    for name, (_, _, plant) in ODD.items():
        plant(folder / name)
    return {str(folder / name): kind for name, (kind, _, _) in ODD.items()}
