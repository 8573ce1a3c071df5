"""A hundred images that decoders stumble over: each is read as Pillow reads it, or refused by name."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from drawing import write
from helpers import ODD_IMAGES, as_by_pillow, header_of_bytes, refused

import transferkit as tk
from transferkit.errors import ImageReadError
from transferkit.images.decoding import Resizing, decode, load
from transferkit.images.images import Images

# Whoever makes one of these readable, or makes another one refused, changes this table. File -> (kind, reason).
REFUSED = {
    "truncated_jpeg.jpg": ("truncated", "the JPEG is truncated"),
    "ultrahdr.jpg": ("truncated", "the JPEG is truncated"),
    "oss-fuzz-36829.jpeg": ("truncated", "the JPEG is truncated"),
    "cat_first_half.jpg": ("truncated", "the JPEG is truncated"),
    "cat_20_bytes.jpg": ("truncated", "the JPEG is truncated"),
    "truncated_image.png": ("truncated", "the PNG is truncated"),
    "truncated_end_chunk.png": ("truncated", "the PNG is truncated"),
    "broken.png": ("truncated", "the PNG is truncated"),
    "broken_data_stream.png": ("truncated", "the PNG is truncated"),
    "zero_width.gif": ("truncated", "the GIF is truncated"),
    "zero-loop-count.gif": ("truncated", "the GIF is truncated"),
    "l2rgb_read.bmp": ("truncated", "the BMP is truncated"),
    "shortfile.bmp": ("truncated", "the BMP is truncated"),
    "decompression_bomb.gif": ("huge", "the GIF has too many pixels"),
    "badwidth.bmp": ("huge", "pixels"),
    "unknown_compression_method.png": ("unreadable", "the PNG cannot be decoded: Unknown compression method"),
    "png_decompression_dos.png": ("unreadable", "the PNG cannot be decoded: Decompressed data too large"),
    "badpalettesize.bmp": ("unreadable", "the BMP cannot be decoded: Unsupported BMP Palette size"),
    "badbitcount.bmp": ("unreadable", "the BMP cannot be decoded: Unsupported BMP pixel depth"),
    "monkey12.jpg": ("unreadable", "the JPEG cannot be decoded: cannot handle 12-bit layers"),
    "hopper_webp.tif": ("unreadable", "the TIFF cannot be decoded: "),
    "libtiff_segfault.tif": ("unreadable", "the TIFF cannot be decoded: "),
    "seek_too_large.tif": ("unreadable", "the TIFF cannot be decoded: "),
    "oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif": ("unreadable", "the TIFF cannot be decoded: "),
    "lfs_pointer.tif": ("not an image", "it is not an image of a known format"),
    "DS_Store_file": ("not an image", "it is not an image of a known format"),
    "html_page.jpg": ("not an image", "it is not an image of a known format"),
    "zero_bytes.jpg": ("empty file", "the file is empty"),
}
# Pillow counts the second view of a stereo photo as a frame.
OTHER_COUNTS = {"frame_size.mpo": 1}


def rows() -> list[dict[str, str]]:
    if not (ODD_IMAGES / "MANIFEST.csv").exists():
        return []
    with (ODD_IMAGES / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


ROWS = rows()
REASON = f"no real photos: {ODD_IMAGES} is missing (set TRANSFERKIT_TEST_ASSETS)"
pytestmark = pytest.mark.skipif(not ROWS, reason=REASON)


@pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
def test_an_odd_image_is_read_as_by_pillow_or_refused_by_name(row: dict[str, str]) -> None:
    path = ODD_IMAGES / row["file"]
    name = str(path)
    if row["file"] not in REFUSED:
        assert load(Images([str(path)]), 0, Resizing((32, 32))).shape == (32, 32, 3)
        as_by_pillow(path.read_bytes(), 4)
        return
    kind, reason = REFUSED[row["file"]]
    with refused(ImageReadError, name, "cannot be read (", reason, "Repair or remove it") as caught:
        load(Images([str(path)]), 0, Resizing((32, 32)))
    assert caught.value.kinds == {name: kind}
    assert list(caught.value.failures) == [name]
    assert caught.value.failures[name].startswith(reason) or kind == "huge"
    assert "0x" not in str(caught.value).replace(str(path), "")


def test_the_table_of_what_is_refused_names_files_that_are_there() -> None:
    assert len(ROWS) == 100
    assert set(REFUSED) <= {row["file"] for row in ROWS}
    assert not [name for name in REFUSED if not (ODD_IMAGES / name).exists()]


READ = [row for row in ROWS if row["file"] not in REFUSED]


@pytest.mark.parametrize("row", READ, ids=[row["file"] for row in READ])
def test_the_header_of_an_odd_image_says_what_is_known_of_it(row: dict[str, str]) -> None:
    data = (ODD_IMAGES / row["file"]).read_bytes()
    header = header_of_bytes(data)
    assert header.format == ("JPEG" if row["format"] == "MPO" else row["format"])
    assert f"{header.width}x{header.height}" == row["size_px"]
    assert header.frames == OTHER_COUNTS.get(row["file"], int(row["frames"]))
    assert header.orientation == int(row["exif_orientation"] or 1)
    assert decode(data).shape[:2] in [(header.height, header.width), (header.width, header.height)]


def test_the_doctor_names_every_odd_image_that_cannot_be_read(tmp_path: Path) -> None:
    for row in ROWS:
        (tmp_path / "odd").mkdir(exist_ok=True)
        shutil.copy(ODD_IMAGES / row["file"], tmp_path / "odd")
    write(tmp_path / "plain" / "a.png")
    report = tk.check_images(tmp_path, cache=False, verbose=0)
    kinds = {kind for kind, _ in REFUSED.values()}
    named = {Path(fault.where).name: (fault.kind, fault.detail) for fault in report.faults if fault.kind in kinds}
    other = {Path(fault.where).name for fault in report.faults if fault.kind == "other file"}
    assert other == {"DS_Store_file"}  # without an image's extension, it is left out by its first bytes
    assert set(named) == set(REFUSED) - other
    for name, (kind, detail) in named.items():
        assert kind == REFUSED[name][0]
        assert REFUSED[name][1] in detail
    assert all(fault.serious for fault in report.faults if fault.kind in kinds)
