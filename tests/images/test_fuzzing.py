"""Files and folders that nobody made on purpose: an image or its error, and never anything else."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import numpy as np
import pytest
from drawing import picture, saved
from fuzz.mutations import MUTATIONS, mutated
from helpers import ODD_IMAGES, header_of_bytes, steady
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from transferkit.errors import ImageReadError, InvalidInputError
from transferkit.images.decoding import Resizing, decode, load, resize
from transferkit.images.folders import FileList, list_class_folder, list_files
from transferkit.images.images import Images
from transferkit.images.opening import FORMATS

PHOTO = Image.fromarray(picture(0, (24, 33)))
ALPHA = PHOTO.convert("RGBA")
ALPHA.paste((10, 200, 30, 0), (0, 0, 12, 12))
TURNED = Image.Exif()
TURNED[0x0112] = 6
FRAMES = {"save_all": True, "append_images": [PHOTO.rotate(20), PHOTO.rotate(40)], "duration": 50}
WHOLE = {
    "JPEG": saved(PHOTO, "JPEG", exif=TURNED),
    "JPEG, progressive": saved(PHOTO, "JPEG", progressive=True),
    "JPEG, CMYK": saved(PHOTO.convert("CMYK"), "JPEG"),
    "PNG": saved(PHOTO, "PNG"),
    "PNG, alpha": saved(ALPHA, "PNG", exif=TURNED),
    "PNG, palette": saved(PHOTO.quantize(13), "PNG"),
    "PNG, 16-bit": saved(Image.fromarray(np.arange(792, dtype=np.uint16).reshape(24, 33) * 80), "PNG"),
    "PNG, animated": saved(PHOTO, "PNG", **FRAMES),
    "GIF": saved(PHOTO, "GIF"),
    "GIF, transparent": saved(ALPHA, "GIF"),
    "GIF, animated": saved(PHOTO, "GIF", **FRAMES),
    "BMP": saved(PHOTO, "BMP"),
    "BMP, palette": saved(PHOTO.quantize(16), "BMP"),
    "WebP": saved(PHOTO, "WEBP"),
    "WebP, lossless": saved(ALPHA, "WEBP", lossless=True),
    "WebP, extended": saved(ALPHA, "WEBP", exif=TURNED),
    "WebP, animated": saved(PHOTO, "WEBP", **FRAMES),
    "TIFF": saved(PHOTO, "TIFF"),
    "TIFF, float": saved(Image.fromarray(np.linspace(0, 1, 792, dtype=np.float32).reshape(24, 33)), "TIFF"),
    "ICO": saved(PHOTO, "ICO"),
    "PPM": saved(PHOTO, "PPM"),
    "JPEG 2000": saved(PHOTO, "JPEG2000"),
}
OTHERS = list(WHOLE.values())
SIZES = st.sampled_from([None, (8, 8), (32, 24), (1, 1)])


def read(data: bytes, size: tuple[int, int] | None) -> None:
    """Any bytes are an image of the wanted size, or named in the one error there is for them."""
    try:
        image = decode(data, "photo.x", size)
    except ImageReadError as error:
        assert type(error) is ImageReadError
        assert list(error.failures) == list(error.kinds) == ["photo.x"]
        assert "\n" not in str(error)
        return
    assert (image.dtype, image.shape[2:]) == (np.dtype("uint8"), (3,))
    header = header_of_bytes(data)
    assert header.format in FORMATS
    assert 1 <= header.orientation <= 8
    assert header.frames >= 1
    assert header.height > 0 and header.width > 0
    resized = resize(image, size or (16, 16))
    assert resized.shape == (*(size or (16, 16)), 3)
    assert resized.min() >= -0.01 and resized.max() <= 255.01


# ---- files ----


@pytest.mark.parametrize("kind", WHOLE)
@steady
@given(st.integers(0, 2**32), SIZES)
def test_a_mutated_file_is_an_image_or_its_error(kind: str, seed: int, size: tuple[int, int] | None) -> None:
    read(mutated(WHOLE[kind], Random(seed), OTHERS, 2**16), size)


@pytest.mark.parametrize("kind", WHOLE)
@steady
@given(st.floats(0, 1), SIZES)
def test_a_file_that_is_cut_off_anywhere_is_an_image_or_its_error(kind: str, share: float, size) -> None:
    read(WHOLE[kind][: int(len(WHOLE[kind]) * share)], size)


@steady
@given(st.sampled_from(OTHERS), st.sampled_from(OTHERS), st.floats(0, 1), st.floats(0, 1), SIZES)
def test_the_beginning_of_one_file_with_the_end_of_another(first: bytes, second: bytes, one, two, size) -> None:
    read(first[: int(len(first) * one)] + second[int(len(second) * two) :], size)


@steady
@given(st.sampled_from([b"", *(data[:12] for data in OTHERS)]), st.binary(max_size=300), SIZES)
@example(b"", b"", None)
@example(b"GIF89a", b"\0\0\0\0\0\0\0\x21", None)
def test_random_bytes_behind_the_first_ones_of_a_format(start: bytes, rest: bytes, size) -> None:
    read(start + rest, size)


def is_readable(data: bytes) -> bool:
    try:
        return decode(data).ndim == 3
    except ImageReadError:
        return False


@pytest.mark.parametrize("kind", WHOLE)
def test_the_mutations_change_files_and_leave_some_of_them_readable(kind: str) -> None:
    tried = [mutated(WHOLE[kind], Random(seed), OTHERS) for seed in range(100)]
    assert len(set(tried)) > 80
    assert 1 <= sum(map(is_readable, tried)) < 100


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
@pytest.mark.parametrize("data", [b"", b"x", b"\xff\xd8", b"RIFF\4\0\0\0WEBP", b"\x89PNG\r\n\x1a\n", WHOLE["PNG"]])
def test_a_mutation_takes_any_bytes(mutation, data: bytes) -> None:
    for seed in range(20):
        assert isinstance(mutation(data, Random(seed), []), bytes)


# ---- what the long runs found ----


@pytest.mark.parametrize("kind", ["TIFF", "WEBP"])
def test_damaged_exif_does_not_make_pillow_warn(kind: str, recwarn: pytest.WarningsRecorder) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a name that does not fit into an entry"
    data = saved(PHOTO, kind, exif=exif)
    for seed in range(100):
        read(mutated(data, Random(seed)), None)
    assert not [str(one.message) for one in recwarn]


def test_a_signalling_nan_in_a_tiff_is_refused_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    data = WHOLE["TIFF, float"]
    at = data.index(np.float32(1).tobytes())
    with pytest.raises(ImageReadError, match="NaN or infinity"):
        decode(data[:at] + b"\x01\0\x80\x7f" + data[at + 4 :])
    assert not [str(one.message) for one in recwarn]


# ---- folders ----

NAMES = st.one_of(
    st.sampled_from(
        ["a.jpg", "B.PNG", "no_extension", ".hidden.png", "Thumbs.db", "[x]*?.tif", "two\nlines.gif", "train"]
    ),
    st.binary(min_size=1, max_size=12).map(os.fsdecode),
    st.text(min_size=1, max_size=6).map(lambda name: name.encode("utf-8", "replace").decode()),
).filter(lambda name: name not in (".", "..") and not set("/\0") & set(name))
KINDS = st.sampled_from(
    ["image", "text", "empty", "folder", "fifo", "to nowhere", "to itself", "to the top", "to beside"]
)
TREES = st.recursive(
    st.dictionaries(NAMES, KINDS, max_size=5),
    lambda deeper: st.dictionaries(NAMES, st.one_of(KINDS, deeper), max_size=5),
    max_leaves=12,
)


def plant(folder: Path, tree: dict, top: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, kind in tree.items():
        path = folder / name
        if os.path.lexists(path):  # a name in another spelling, on some file systems
            continue
        if isinstance(kind, dict):
            plant(path, kind, top)
        elif kind == "folder":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind.startswith("to "):
            targets = {"to nowhere": top / "nowhere", "to itself": path, "to the top": top, "to beside": folder.parent}
            path.symlink_to(targets[kind])
        else:
            path.write_bytes({"image": WHOLE["PNG"], "text": b"some words", "empty": b""}[kind])


def all_of(found: FileList) -> list[str]:
    others = *found.hidden, *found.not_images, *found.not_regular, *(path for path, _ in found.unreadable)
    return list(map(str, [*found.files, *others]))


def load_or_name(path: str) -> None:
    try:
        assert load(Images([path]), 0, Resizing((8, 8))).shape == (8, 8, 3)
    except ImageReadError as error:
        assert list(error.failures) == [path]


@steady
@given(TREES)
def test_a_folder_of_anything_is_listed_or_refused_in_words(tree: dict) -> None:
    with tempfile.TemporaryDirectory() as place:
        top = Path(place) / "data"
        plant(top, tree, top)
        found = list_files(top)
        assert all_of(found) == list(dict.fromkeys(all_of(found))), "each is in one list, once"
        assert list_files(top) == found
        for path in found.files:
            load_or_name(path)
        try:
            classes = list_class_folder(top)
        except InvalidInputError as error:
            assert repr(str(top)) in str(error)
        else:
            assert len(classes.files) == len(classes.labels) > 0


# ---- for longer ----


@pytest.mark.slow
def test_the_fuzzer_finds_nothing(tmp_path: Path) -> None:
    """In a process of its own, as native code that crashes takes its process along."""
    pytest.importorskip("atheris")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for kind, data in WHOLE.items():
        (corpus / kind).write_bytes(data)
    for path in ODD_IMAGES.glob("*"):
        shutil.copy(path, corpus)
    seconds = int(os.environ.get("TRANSFERKIT_FUZZ_SECONDS", "60"))
    target = Path(importlib.import_module("fuzz.mutations").__file__ or "").with_name("decoding.py")
    options = [f"-max_total_time={seconds}", "-max_len=120000", "-len_control=0", "-timeout=60", "-rss_limit_mb=6000"]
    run = subprocess.run(
        [sys.executable, target, corpus, *options], cwd=tmp_path, capture_output=True, timeout=seconds + 300
    )
    ended = run.stderr[-5000:].decode(errors="replace")
    left = [path.name for path in tmp_path.iterdir() if path != corpus]
    assert (run.returncode, left) == (0, []), ended
    assert "Done " in ended
