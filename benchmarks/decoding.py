"""Decode and resize JPEGs: the decoder of transferkit against the bare TensorFlow calls.

    python benchmarks/decoding.py [--count 300] [--rounds 7]

Measures the CPU time per photo, from files in memory to 224 x 224 px. The decoders run in turns in this process. The photos
are those of cats_dogs (about 400 px) and flowers (500 px), and the largest of cats_dogs enlarged to 12 megapixels, the size
of phone photos. The bare calls ignore EXIF and check nothing, and only those that reduce or antialias avoid aliasing.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Mapping
from typing import Any

from sides import folder_of, in_turns, print_table

import tensorflow as tf  # isort: skip  # after sides, which quiets it
from PIL import Image

from transferkit.images.decoding import Resizing, to_pixels

SIZE = (224, 224)


def ours(data: bytes) -> Any:
    return to_pixels(data, "photo", Resizing(SIZE))


def bare(data: bytes) -> Any:
    return tf.image.resize(tf.io.decode_jpeg(data, channels=3), SIZE).numpy()


def reduced(data: bytes) -> Any:
    """Reduced while decoding, as far as Pillow reduces it; libjpeg gives the size."""
    height, width = tf.io.extract_jpeg_shape(data).numpy()[:2]
    ratio = next(power for power in (8, 4, 2, 1) if power <= max(1, min(height // SIZE[0], width // SIZE[1])))
    image = tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")
    return tf.raw_ops.ResizeBilinear(images=image[tf.newaxis], size=SIZE, half_pixel_centers=True).numpy()[0]


def antialiased(data: bytes) -> Any:
    return tf.image.resize(tf.io.decode_jpeg(data, channels=3), SIZE, antialias=True).numpy()


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

    def cost(function: Callable[[bytes], Any]) -> Callable[[int], Mapping[str, float]]:
        def seconds(_: int) -> Mapping[str, float]:
            started = time.process_time()
            for data in files:
                function(data)
            return {"seconds": (time.process_time() - started) / len(files)}

        return seconds

    sides = {
        "transferkit": cost(ours),
        "tf.io.decode_jpeg, tf.image.resize": cost(bare),
        "the same, antialiased": cost(antialiased),
        "the same, reduced while decoded": cost(reduced),
    }
    print_table(in_turns(sides, rounds, warm_up=True), "transferkit")


if __name__ == "__main__":
    main()
