"""What the data check takes for near duplicates: slightly changed copies, and images that are not the same.

    python benchmarks/near_duplicates.py [--count 500]

Compares each photo of cats_dogs and flowers with changed copies of itself, among all the others. It also prints the pairs
among the unchanged photos, for you to look at: each pair should show one scene.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

from sides import folder_of, timed

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow
from PIL import Image, ImageEnhance

from transferkit.checks.near_duplicates import pairs_alike
from transferkit.features.inspection import THUMBNAIL_BYTES, thumbnail
from transferkit.images.decoding import decode, resize

SIZE = (224, 224)

CHANGES: dict[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    "JPEG quality 50": (lambda photo: photo, 50),
    "half the size": (lambda photo: photo.resize((photo.width // 2, photo.height // 2)), 85),
    "a fifth of the size": (lambda photo: photo.resize((photo.width // 5, photo.height // 5)), 85),
    "5 % brighter": (lambda photo: ImageEnhance.Brightness(photo).enhance(1.05), 90),
    "2 % cut off at the left and top": (
        lambda photo: photo.crop((photo.width // 50, photo.height // 50, photo.width, photo.height)),
        90,
    ),
    "mirrored (a different image)": (lambda photo: photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 90),
}


def thumbnail_of(data: bytes) -> np.ndarray:
    return thumbnail(resize(decode(data, "photo", SIZE), SIZE))


def changed(path: Path, change: Callable[[Image.Image], Image.Image], quality: int) -> bytes:
    file = io.BytesIO()
    change(Image.open(path).convert("RGB")).save(file, "JPEG", quality=quality)
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500)
    asked = parser.parse_args()
    for name in ("cats_dogs", "flowers"):
        paths = sorted(folder_of(name).glob("*/*/*.jpg"))
        originals = np.stack([thumbnail_of(path.read_bytes()) for path in paths])
        print(f"{name}: pairs among {len(paths)} photos as they are")
        for earlier, later in pairs_alike(originals):
            print(
                f"  {paths[earlier].relative_to(paths[0].parents[2])}  {paths[later].relative_to(paths[0].parents[2])}"
            )
        chosen = paths[:: max(1, len(paths) // asked.count)][: asked.count]
        for title, (change, quality) in CHANGES.items():
            compare(title, paths, originals, chosen, [thumbnail_of(changed(p, change, quality)) for p in chosen])
    noise = np.random.default_rng(0).integers(0, 256, (200_000, THUMBNAIL_BYTES), dtype=np.uint8)
    print(f"200,000 thumbnails of noise: {timed(lambda: list(pairs_alike(noise)))[0]:.1f} s")


def compare(title: str, paths: list[Path], originals: np.ndarray, chosen: list[Path], copies: list[np.ndarray]) -> None:
    """How many copies are linked to their original, and how many to another photo."""
    place = {path: number for number, path in enumerate(paths)}
    known = {frozenset(pair) for pair in pairs_alike(originals)}
    right = wrong = 0
    for earlier, later in pairs_alike(np.concatenate([originals, np.stack(copies)])):
        if later >= len(paths):
            original = place[chosen[later - len(paths)]]
            right += earlier == original or frozenset((earlier, original)) in known
            wrong += not (earlier == original or frozenset((earlier, original)) in known)
    print(f"  {title}: {right} of {len(chosen)} found, {wrong} linked to another photo")


if __name__ == "__main__":
    main()
