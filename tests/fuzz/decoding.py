"""Fuzzing the decoder: any bytes at all become an image of the wanted size, or an `ImageReadError`.

Run by test_fuzzing.py, or by hand for longer: ``python tests/fuzz/decoding.py CORPUS -max_total_time=3600``. CORPUS is
a folder of image files, to which the fuzzer adds those that reach new code; the other arguments are libFuzzer's. What
crashes is written to a file ``crash-...`` in the current folder, and decoded again by naming that file as the corpus.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from random import Random

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import atheris

with atheris.instrument_imports(include=["transferkit", "PIL"]):
    from PIL import Image  # noqa: F401  # its plugins are parsers too

    from transferkit.errors import ImageReadError
    from transferkit.images import decoding, opening

from fuzz.mutations import mutated

SIZES = [None, (8, 8), (32, 24), (1, 1), (300, 200)]
# A file that claims to be large is refused anyway: here sooner, so that thousands can be tried in a minute.
PIXELS = 2_000_000
# Formats whose header alone says how large what is decoded may be.
TOLD_BY_HEADER = ("JPEG", "PNG", "BMP", "WEBP")


def decode_and_resize(data: bytes) -> None:
    """What is asserted of any bytes."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        _decode_and_resize(data)
    assert not told, [str(one.message) for one in told]


def _decode_and_resize(data: bytes) -> None:
    size = SIZES[sum(data[-4:]) % len(SIZES)]
    try:
        image = decoding.decode(data, "file", size)
    except ImageReadError as error:
        assert list(error.failures) == list(error.kinds) == ["file"]
        assert str(error).startswith("The image 'file' cannot be read (")
        assert "\n" not in str(error) and len(str(error)) < 500, str(error)
        return
    assert image.dtype == "uint8" and image.ndim == 3 and image.shape[2] == 3
    header = opening.header_of(opening.open_image(data), data)
    if size is None and header.format in TOLD_BY_HEADER:
        stored = (header.height, header.width)
        assert image.shape[:2] == (stored if header.orientation < 5 else stored[::-1]), (image.shape, header)
    resized = decoding.resize(image, size or (16, 16))
    assert resized.shape == (*(size or (16, 16)), 3)
    assert resized.min() >= -0.01 and resized.max() <= 255.01


def main() -> None:
    opening.MAX_PIXELS = PIXELS
    seeds = [
        path.read_bytes()
        for folder in sys.argv[1:]
        if Path(folder).is_dir()
        for path in sorted(Path(folder).iterdir())[:300]
    ]

    def change(data: bytes, largest: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.2:
            return atheris.Mutate(data, largest)
        return mutated(data, random, seeds, largest)

    atheris.Setup(sys.argv, decode_and_resize, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
