"""The photos of the pool, decoded once, and what the teachers see in them.

A pool is a folder with photos.tar (photos/00000.webp ..., all of one square size), index.csv (number, source) and
one teacher_NAME.npz for each teacher: PCA scores `z` (n, k), one row a photo.
"""

from __future__ import annotations

import csv
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

# Two sources forbid commercial use outright; what is trained here is licensed for it.
LEFT_OUT = ("camvid", "bsds500")


@dataclass(frozen=True)
class Pool:
    """`photos` uint8 (n, side, side, 3), RGB; `targets` float32 (n, k); `teachers` says which columns are whose."""

    photos: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.float32]
    teachers: dict[str, slice]


def read_pool(folder: Path, work: Path, power: float) -> Pool:
    """The photos of all sources but those in `LEFT_OUT`; the decoded ones are kept in `work` as one .npy file."""
    with (folder / "index.csv").open(newline="") as file:
        sources = [row["source"] for row in csv.DictReader(file)]
    kept = np.flatnonzero([source not in LEFT_OUT for source in sources])
    photos = np.load(_decoded(folder / "photos.tar", work / "photos.npy"), mmap_mode="r")[kept]
    columns, teachers, start = [], {}, 0
    for path in sorted(folder.glob("teacher_*.npz")):
        found = scaled(path, kept, power)
        teachers[path.stem.removeprefix("teacher_")] = slice(start, start + found.shape[1])
        start += found.shape[1]
        columns.append(found)
    return Pool(photos, np.concatenate(columns, axis=1), teachers)


def scaled(path: Path, kept: npt.NDArray[np.intp], power: float) -> npt.NDArray[np.float32]:
    """PCA scores with their spread brought nearer together, then to a mean square of 1 over the whole teacher.

    `power` 0 leaves them as they are (a few components are nearly all of the loss), 1 whitens them (the last ones,
    mostly noise, weigh as much as the first).
    """
    with np.load(path) as file:
        scores = file["z"][kept].astype(np.float32)
    scores /= scores.std(axis=0) ** power
    return scores / np.sqrt(np.mean(scores**2))


def _decoded(archive: Path, target: Path) -> Path:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            members = sorted((member for member in tar if member.isfile()), key=lambda member: member.name)
            pictures = np.stack([_pixels(tar.extractfile(member).read()) for member in members])
        unfinished = target.with_suffix(".part.npy")
        np.save(unfinished, pictures)
        unfinished.replace(target)
    return target


def _pixels(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
