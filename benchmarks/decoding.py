"""From the bytes of a JPEG to pixels of one size: this decoder against the bare TensorFlow calls, and against Pillow.

    python benchmarks/decoding.py [--count 300] [--rounds 7]

Two threads, files already in memory, 224 x 224 px; sides run in turns in this process. Photos of cats_dogs (400 px or
so), of flowers (500 px), and the largest of cats_dogs enlarged to 12 megapixels, as a phone takes them. The bare calls
neither look at EXIF, nor guard against anything, nor avoid aliasing.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sides import folder_of, in_turns, print_table, timed

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow
import tensorflow as tf
from PIL import Image, ImageOps

from transferkit.decoding import decode
from transferkit.resizing import resize

SIZE = (224, 224)


def ours(data: bytes) -> Any:
    return resize(decode(data, "photo", SIZE), SIZE)


def bare(data: bytes) -> Any:
    return tf.image.resize(tf.io.decode_jpeg(data, channels=3), SIZE).numpy()


def antialiased(data: bytes) -> Any:
    return tf.image.resize(tf.io.decode_jpeg(data, channels=3), SIZE, antialias=True).numpy()


def by_pillow(data: bytes) -> Any:
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", SIZE)
    upright = ImageOps.exif_transpose(image).convert("RGB")
    return np.asarray(upright.resize(SIZE[::-1], Image.Resampling.BILINEAR), np.float32)


def as_from_a_phone(data: bytes) -> bytes:
    photo = Image.open(io.BytesIO(data)).convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90)
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    for name in ("cats_dogs", "flowers"):
        files = [path.read_bytes() for path in sorted(folder_of(name).glob("*/*/*.jpg"))[: asked.count]]
        compare(f"{name}, {len(files)} photos", files, asked.rounds)
    largest = sorted(folder_of("cats_dogs").glob("*/*/*.jpg"), key=lambda path: path.stat().st_size)[-8:]
    compare("12 megapixels, 8 photos", [as_from_a_phone(path.read_bytes()) for path in largest], asked.rounds)


def compare(title: str, files: list[bytes], rounds: int) -> None:
    print(title)
    with ThreadPoolExecutor(2) as pool:

        def rate(function: Callable[[bytes], Any]) -> Callable[[int], Mapping[str, float]]:
            return lambda _: {"images/s": len(files) / timed(lambda: list(pool.map(function, files)))[0]}

        sides = {
            "transferkit": rate(ours),
            "tf.io.decode_jpeg, tf.image.resize": rate(bare),
            "the same, antialiased": rate(antialiased),
            "Pillow, draft, antialiased": rate(by_pillow),
        }
        print_table(in_turns(sides, rounds, warm_up=True), "transferkit", "images/s")


if __name__ == "__main__":
    main()
