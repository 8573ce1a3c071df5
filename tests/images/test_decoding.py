"""From the bytes of a file to upright RGB of one size, measured against Pillow."""

from __future__ import annotations

import os
import socket
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawing import large_photo, picture, png_of, saved, write
from helpers import as_by_pillow, fresh_python, refused, steady
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import transferkit as tk
from transferkit.errors import ImageReadError
from transferkit.images import decoding
from transferkit.images.decoding import Resizing, content_of, decode, load, resize, to_pixels
from transferkit.images.images import Images
from transferkit.images.opening import open_image
from transferkit.images.reading import read_images

PHOTO = Image.fromarray(picture(0, (24, 33)))
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))


# ---- formats ----


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 40, "subsampling": 2}, {"progressive": True}])
def test_a_jpeg_of_any_mode_has_the_pixels_of_pillow(mode: str, options: dict) -> None:
    as_by_pillow(saved(PHOTO.convert(mode), "JPEG", **options))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_a_png_of_any_mode_has_the_pixels_of_pillow(mode: str) -> None:
    as_by_pillow(saved(PHOTO.convert(mode), "PNG"), 0)


@pytest.mark.parametrize("colours", [2, 3, 4, 13, 16, 200])
def test_a_png_with_a_palette_of_any_depth_has_the_pixels_of_pillow(colours: int) -> None:
    as_by_pillow(saved(PHOTO.quantize(colours), "PNG"), 0)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_grey_png_of_few_bits_has_the_pixels_of_pillow(bits: int) -> None:
    values = np.arange(64).reshape(8, 8) % 2**bits
    rows = np.packbits((values[..., None] >> np.arange(bits)[::-1]) & 1, axis=None).reshape(8, bits)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    as_by_pillow(png_of(8, 8, pixels=pixels, bits=bits, colours=0), 0)


@pytest.mark.parametrize("kind", ["RGB", "L", "P"])
def test_a_transparent_colour_of_a_png_shows_white(kind: str) -> None:
    image = PHOTO.convert(kind)
    colour = image.getpixel((0, 0))
    data = saved(image, "PNG", transparency=colour)
    as_by_pillow(data, 0)
    assert decode(data)[0, 0].tolist() == [255, 255, 255]


def test_alpha_is_composited_on_white_and_hides_what_lies_under_it() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [[200, 0, 0, 255], [200, 0, 0, 128], [200, 0, 0, 0]]
    image = decode(saved(Image.fromarray(rgba), "PNG"))
    assert image[0].tolist() == [[200, 0, 0], [227, 127, 127], [255, 255, 255]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_transparent_pixels_of_other_formats_show_white(kind: str) -> None:
    image = PHOTO.convert("RGBA")
    image.paste((10, 200, 30, 0), (0, 0, 12, 12))
    data = saved(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert decode(data)[5, 5].tolist() == [255, 255, 255]
    as_by_pillow(data)


def test_a_16_bit_png_is_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    image = decode(saved(Image.fromarray(ramp), "PNG"))
    assert np.abs(image - ramp[..., None] / 257).max() <= 1


@pytest.mark.parametrize("kind", ["TIFF", "TIFF, big-endian", "PPM", "JPEG2000", "PNG"])
def test_16_bit_grey_is_scaled_by_the_whole_range_whatever_values_it_has(kind: str) -> None:
    ramp = np.linspace(300, 9000, 4096).astype("u2").reshape(64, 64)
    image = Image.fromarray(ramp.astype(">u2")) if kind == "TIFF, big-endian" else Image.fromarray(ramp)
    decoded = decode(saved(image, kind.partition(",")[0]))
    assert np.abs(decoded - ramp[..., None] / 257).max() <= 1


@pytest.mark.parametrize("kind", ["i4", "f4"])
def test_a_tiff_of_32_bits_is_scaled_by_its_own_range(kind: str) -> None:
    ramp = np.linspace(200, 900, 64).astype(kind).reshape(8, 8)
    image = decode(saved(Image.fromarray(ramp), "TIFF"))
    known = (ramp.astype(float) - 200) * 255 / 700
    assert np.abs(image - known[..., None]).max() <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_float_tiff_that_is_not_finite_is_refused_and_not_turned_black(value: float) -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    ramp[3, 3] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a user's program goes on after a warning
        with refused(ImageReadError, "scan.tif"):
            decode(saved(Image.fromarray(ramp), "TIFF"), "scan.tif")


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_a_gif_has_the_pixels_of_pillow(mode: str) -> None:
    as_by_pillow(saved(PHOTO.convert(mode), "GIF"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_a_bmp_of_any_depth_has_the_pixels_of_pillow(mode: str) -> None:
    as_by_pillow(saved(PHOTO.convert(mode), "BMP"), 0)


def test_a_picture_of_one_value_in_32_bits_is_black() -> None:
    assert decode(saved(Image.fromarray(np.full((8, 8), 7, np.float32)), "TIFF")).max() == 0


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF"])
def test_other_formats_have_the_pixels_of_pillow(kind: str) -> None:
    as_by_pillow(saved(PHOTO, kind))


# ---- what cannot be read ----


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_was_cut_off_is_refused_and_never_half_read(kind: str, share: float) -> None:
    data = saved(NOISE, kind)
    reason = "cannot be decoded" if kind == "TIFF" else "is truncated"  # a TIFF may have its directory anywhere
    with refused(ImageReadError, "photo.x", "cannot be read (", reason) as caught:
        decode(data[: int(len(data) * share)], "photo.x")
    assert caught.value.kinds == {"photo.x": "unreadable" if kind == "TIFF" else "truncated"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html>", "it is not an image"),
        (bytes(100), "it is not an image"),
        (b"\xff\xd8\xff", "the JPEG is truncated"),
        (b"\x89PNG\r\n\x1a\n", "the PNG is truncated"),
        (b"GIF89a", "the GIF is truncated"),
        (b"RIFF\x20\0\0\0WEBPVP8 ", "the WEBP is truncated"),
        (b"II*\0\x08\0\0\0", "the TIFF cannot be decoded: "),
    ],
)
def test_the_reason_is_told_in_words(data: bytes, reason: str) -> None:
    with refused(ImageReadError, "The image 'photo.jpg'", f"({reason}", "Repair or remove it") as caught:
        decode(data, "photo.jpg")
    assert "[Op:" not in str(caught.value)
    assert caught.value.failures["photo.jpg"].startswith(reason)
    assert "0x" not in str(caught.value)
    kinds = {"the file is empty": "empty file", "it is not an image": "not an image"}
    assert caught.value.kinds["photo.jpg"] == kinds.get(reason, "truncated" if "truncated" in reason else "unreadable")


def test_a_jpeg_that_is_damaged_in_the_middle_is_damaged_and_not_cut_off() -> None:
    data = bytearray(saved(NOISE, "JPEG"))
    at = data.index(b"\xff\xc4")
    data[at + 4 : at + 30] = bytes(26)  # a table of the code
    with refused(ImageReadError, "photo.x", "the JPEG cannot be decoded: broken data stream") as caught:
        decode(bytes(data), "photo.x")
    assert caught.value.kinds == {"photo.x": "unreadable"}


def test_each_pixel_is_blended_with_white_by_its_alpha() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (200, 7, 4), dtype=np.uint8)
    as_by_pillow(saved(Image.fromarray(rgba), "PNG"), 0.5)
    share = rgba[..., 3:].astype(np.float32) / 255
    known = np.round(rgba[..., :3] * share + 255 * (1 - share)).astype(np.uint8)
    assert np.abs(decode(saved(Image.fromarray(rgba), "PNG")).astype(int) - known).max() <= 1


# ---- files ----


@pytest.mark.parametrize("name", ["cat ñ 猫.jpg", "a b [1]*?.png", "UPPER.GIF", "no_extension", "wrong.png.bmp"])
def test_a_file_and_its_array_give_the_same_pixels(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, 3)
    with Image.open(path) as opened:
        array = np.asarray(opened.convert("RGB"))
    of_file = load(Images([str(path)]), 0, Resizing((16, 20)))
    assert np.abs(of_file - load(Images([array]), 0, Resizing((16, 20)))).mean() <= 1
    assert (of_file.shape, of_file.dtype) == ((16, 20, 3), np.float32)


@steady
@given(st.integers(130, 700), st.integers(130, 700), st.integers(8, 40), st.integers(8, 40), st.integers(1, 8))
def test_a_large_jpeg_is_reduced_while_it_is_decoded_and_looks_the_same(
    height: int, width: int, down: int, across: int, orientation: int
) -> None:
    data = large_photo((height, width), orientation)
    reduced = to_pixels(data, "photo", Resizing((down, across)))
    full = resize(decode(data), (down, across))
    assert reduced.shape == full.shape
    assert np.abs(reduced - full).mean() <= 1
    assert np.abs(reduced - full).max() <= 12


@pytest.mark.thorough
@settings(steady, max_examples=12)
@given(st.integers(1000, 1500), st.integers(680, 720), st.integers(8, 40), st.integers(8, 40), st.integers(1, 8))
def test_crops_and_padding_of_a_large_jpeg_of_each_orientation_are_those_of_its_upright_pixels(
    height: int, width: int, down: int, across: int, orientation: int
) -> None:
    data = large_photo((height, width), orientation)
    upright, opened = decode(data), open_image(data)
    for rule in ("squash", "crop", "pad"):
        resizing = Resizing((down, across), rule)
        seen = to_pixels(data, "photo", resizing)
        full = resize(upright, *resizing)
        assert np.abs(seen - full).mean() <= 1
        assert np.abs(seen - full).max() <= 12
        assert np.array_equal(to_pixels(data, "photo", resizing, opened), seen), "also if it is decoded already"


@pytest.mark.parametrize("orientation", [1, 6])
def test_what_a_jpeg_is_reduced_to_is_no_smaller_than_needed(orientation: int) -> None:
    data = large_photo((1200, 1335), orientation)
    sides = {1: (1200, 1335), 6: (1335, 1200)}[orientation]
    for size, power in (((450, 450), 1), ((336, 390), 2), ((151, 195), 4), ((90, 90), 8), ((2, 2), 8)):
        assert decode(data, "photo", size).shape == (*tuple(-(-side // power) for side in sides), 3)
    assert decode(data).shape == (*sides, 3)


def test_loading_an_array_never_changes_it() -> None:
    array = picture(0).astype(np.float32)
    array.setflags(write=False)
    loaded = load(Images([array]), 0, Resizing(array.shape[:2]))
    loaded[:] = -1
    assert np.array_equal(array, picture(0))


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    images = read_images(path)
    path.unlink()
    with refused(ImageReadError, repr(str(path)), "No such file"):
        content_of(images, 0)


def test_a_folder_in_place_of_a_file_is_named_and_leaves_nothing_open(tmp_path: Path) -> None:
    handles = Path("/proc/self/fd")
    before = len(list(handles.iterdir())) if handles.exists() else 0
    for _ in range(20):
        with refused(ImageReadError, repr(str(tmp_path)), os.strerror(21)) as caught:
            load(Images([str(tmp_path)]), 0, Resizing((8, 8)))
    assert caught.value.kinds == {str(tmp_path): "not a regular file"}
    assert not handles.exists() or len(list(handles.iterdir())) <= before + 2


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)  # relative: the whole path may be too long for a socket


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere.jpg")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("made", [fifo, unix_socket, device, link_to_nowhere, link_to_itself])
def test_what_is_no_regular_file_is_named_and_never_waited_for(tmp_path: Path, made: Callable[[Path], None]) -> None:
    path = tmp_path / "pipe.jpg"
    made(path)
    begun = time.monotonic()
    with refused(ImageReadError, repr(str(path)), "cannot be read (") as caught:
        content_of(Images([str(path)]), 0)
    assert time.monotonic() - begun < 1
    assert caught.value.kinds == {str(path): "not a regular file"}


def test_a_name_that_no_file_can_have_is_named() -> None:
    path = Path("a\0b.jpg")
    with refused(ImageReadError, repr(str(path)), "null byte") as caught:
        content_of(Images([str(path)]), 0)
    assert caught.value.kinds == {str(path): "unreadable"}


def test_a_file_of_too_many_bytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    path.touch()
    os.truncate(path, decoding.MAX_BYTES + 1)  # of nothing: it takes no space
    with refused(ImageReadError, repr(str(path)), "the file is too large (1,073,741,825 bytes)") as caught:
        content_of(Images([str(path)]), 0)
    assert caught.value.kinds == {str(path): "huge"}
    small = write(tmp_path / "small.png")
    monkeypatch.setattr(decoding, "MAX_BYTES", small.stat().st_size)
    assert content_of(Images([str(small)]), 0) == small.read_bytes()
    monkeypatch.setattr(decoding, "MAX_BYTES", small.stat().st_size - 1)
    with refused(ImageReadError, repr(str(small)), "the file is too large"):
        content_of(Images([str(small)]), 0)


def test_a_bomb_is_refused_at_once_and_takes_no_memory(tmp_path: Path) -> None:
    """529 million pixels in 64 kB: in a fresh process, as memory that was ever used is not given back."""
    side, deflate = 23_000, zlib.compressobj(9)
    pixels = b"".join([deflate.compress(bytes(1 + side // 8)) for _ in range(side)] + [deflate.flush()])

    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_of(side, side, pixels=pixels, bits=1, colours=0))
    assert bomb.stat().st_size < 70_000
    code = """
import resource, sys, time
from collections.abc import Callable
from pathlib import Path
from transferkit.images.decoding import load
from transferkit.images.decoding import Resizing
from transferkit.errors import ImageReadError
from transferkit.images.images import Images
good, bomb = map(Path, sys.argv[1:])
load(Images([str(good)]), 0, Resizing((8, 8)))
before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
try:
    load(Images([str(bomb)]), 0, Resizing((8, 8)))
except ImageReadError as error:
    seconds = time.monotonic() - begun
    print(list(error.kinds.values()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, seconds)
"""
    good = write(tmp_path / "good.png")
    kind, kilobytes, seconds = fresh_python(code, good, bomb).rsplit(maxsplit=2)
    assert kind == "['huge']"
    assert int(kilobytes) < 50_000
    assert float(seconds) < 1


@pytest.mark.parametrize(("where", "error"), [("to_rgb", MemoryError()), ("_without_waiting", OSError(24, "Too many"))])
def test_a_machine_that_runs_out_does_not_count_as_a_bad_photo(
    loaded: tk.TransferClassifier, photos: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    def fails(*_: object) -> object:
        raise error

    monkeypatch.setattr(f"transferkit.images.decoding.{where}", fails)
    with pytest.raises(type(error)):
        loaded.predict(photos / "new", on_bad_image="skip", verbose=0)


def test_all_values_of_16_bits_are_scaled_alike(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / "deep.png")
    grey = decode((tmp_path / "deep.png").read_bytes())[..., 0]
    assert np.array_equal(grey, np.round(values / 65535 * 255))
