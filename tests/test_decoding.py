"""From the bytes of a file to upright RGB of one size, measured against Pillow."""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from helpers import odd_image, picture, refused, steady, write
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps

from transferkit import decoding
from transferkit.decoding import decode, load, read_bytes
from transferkit.errors import ImageReadError, MissingExtraError
from transferkit.formats import read_header
from transferkit.images import ImageArrays, ImageFiles, read_images
from transferkit.resizing import resize
from transferkit.workers import in_background

PHOTO = Image.fromarray(picture(0, (24, 33)))


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def orientation_of(data: bytes) -> int:
    return read_header(data).orientation


def format_of(data: bytes) -> str:
    return read_header(data).format


def by_pillow(data: bytes) -> npt.NDArray[np.int64]:
    """Upright RGB; what is transparent lies on white."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of palettes and broken EXIF
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return np.asarray(image.convert("RGB")).astype(int)


def assert_as_by_pillow(data: bytes, tolerance: float = 2) -> None:
    image, known = decode(data), by_pillow(data)
    assert image.shape == known.shape
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.abs(image - known).mean() <= tolerance


# ---- formats ----


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 40, "subsampling": 2}, {"progressive": True}])
def test_a_jpeg_of_any_mode_has_the_pixels_of_pillow(mode: str, options: dict) -> None:
    assert_as_by_pillow(saved(PHOTO.convert(mode), "JPEG", **options))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_a_png_of_any_mode_has_the_pixels_of_pillow(mode: str) -> None:
    assert_as_by_pillow(saved(PHOTO.convert(mode), "PNG"), 0)


@pytest.mark.parametrize("colours", [2, 3, 4, 13, 16, 200])
def test_a_png_with_a_palette_of_any_depth_has_the_pixels_of_pillow(colours: int) -> None:
    assert_as_by_pillow(saved(PHOTO.quantize(colours), "PNG"), 0)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_grey_png_of_few_bits_has_the_pixels_of_pillow(bits: int) -> None:
    assert_as_by_pillow(grey_png(bits), 0)


def grey_png(bits: int) -> bytes:
    """8 x 8 pixels that go through all grey values; Pillow writes no such files."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    values = np.arange(64).reshape(8, 8) % 2**bits
    rows = np.packbits((values[..., None] >> np.arange(bits)[::-1]) & 1, axis=None).reshape(8, bits)
    header = struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["RGB", "L", "P"])
def test_a_transparent_colour_of_a_png_shows_white(kind: str) -> None:
    image = PHOTO.convert(kind)
    colour = image.getpixel((0, 0))
    data = saved(image, "PNG", transparency=colour)
    assert_as_by_pillow(data, 0)
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
    assert_as_by_pillow(data)


def test_a_16_bit_png_is_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    image = decode(saved(Image.fromarray(ramp), "PNG"))
    assert np.abs(image - ramp[..., None] / 257).max() <= 1


@pytest.mark.parametrize("kind", ["u2", "f4"])
def test_a_tiff_of_many_bits_is_scaled_by_its_own_range(kind: str) -> None:
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
    assert_as_by_pillow(saved(PHOTO.convert(mode), "GIF"))


def test_an_animation_is_its_first_picture() -> None:
    frames = [Image.fromarray(picture(seed)).quantize(64) for seed in range(3)]
    for kind in ("GIF", "PNG", "WEBP"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
        assert_as_by_pillow(data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_a_bmp_of_any_depth_has_the_pixels_of_pillow(mode: str) -> None:
    assert_as_by_pillow(saved(PHOTO.convert(mode), "BMP"), 0)


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF"])
def test_formats_beyond_tensorflow_are_read_with_pillow(kind: str) -> None:
    assert_as_by_pillow(saved(PHOTO, kind))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (saved(PHOTO, "JPEG"), "JPEG"),
        (saved(PHOTO, "PNG"), "PNG"),
        (saved(PHOTO, "GIF"), "GIF"),
        (saved(PHOTO, "BMP"), "BMP"),
        (saved(PHOTO, "WEBP"), "WebP"),
        (saved(PHOTO, "TIFF"), "TIFF"),
        (saved(PHOTO, "AVIF"), "AVIF"),
        (saved(PHOTO, "ICO"), "ICO"),
        (saved(PHOTO, "JPEG2000"), "JPEG 2000"),
        (saved(PHOTO, "PPM"), "PPM"),
        (b"<html></html>", ""),
        (b"BM", "BMP"),
        (b"", ""),
    ],
)
def test_the_format_is_told_by_the_content(data: bytes, kind: str) -> None:
    assert format_of(data) == kind


REAL = """
CAT_UPPER.JPG Landscape_3.jpg Portrait_6.jpg app13-multiple.jpg broken_exif_dpi.jpg cat_no_extension empty_gps_ifd.jpg
exif_typeerror.jpg frame_size.mpo hopper_bad_exif.jpg hopper_gray.jpg hopper_orientation_2.jpg hopper_orientation_5.jpg
hopper_orientation_8.jpg pil_sample_cmyk.jpg progressive_cat.jpg rgb.jpg
1_trns.png 7x13.png basn2c16.png basn6a16.png hopper_bw_500.png issue_2026.png jpeg_named_png.png l_trns.png
mode_palette_alpha.png pil123p.png pil123rgba.png rgb_trns.png tbbn3p08.png tm3n3p02.png uncompressed_la.png
webp_named_png.png
chi.gif dispose_bgnd.gif hopper.gif imageNotFound.gif transparent.gif
hopper.bmp hopper_rle8.bmp pal1.bmp rgb32bf-rgba.bmp
hopper.avif hopper.ppm hopper.webp hopper_g4.tif hopper_orientation_6.webp lossy_alpha.webp multipage.tiff rdf.tif
""".split()  # noqa: SIM905  # a list would be fifty lines


@pytest.mark.parametrize("name", [*REAL, "cat späce ñ 猫.jpg"])
def test_a_real_image_has_the_pixels_of_pillow(name: str) -> None:
    assert_as_by_pillow(odd_image(name).read_bytes())


# ---- upright ----


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """An EXIF segment with another tag before that of the orientation."""
    entries = [struct.pack(order + "HHI4s", 0x010F, 2, 4, b"cam\0")]
    entries.append(struct.pack(order + "HHI", 0x0112, kind, 1) + struct.pack(order + "HH", orientation, 0))
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return b"Exif\0\0" + head + struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
def test_a_jpeg_of_each_orientation_is_turned_as_pillow_turns_it(orientation: int, order: str) -> None:
    data = saved(PHOTO, "JPEG", quality=95, exif=exif(orientation, order))
    assert orientation_of(data) == orientation
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == orientation
    assert_as_by_pillow(data)
    turned = decode(data).shape[:2]
    assert turned == ((24, 33) if orientation < 5 else (33, 24))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_other_formats_are_turned_by_their_orientation_too(kind: str, orientation: int) -> None:
    image = PHOTO.copy()
    image.getexif()[0x0112] = orientation
    data = saved(image, kind, exif=image.getexif())
    assert_as_by_pillow(data)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_passed_over(orientation: int) -> None:
    data = saved(PHOTO, "JPEG", exif=exif(orientation))
    assert orientation_of(data) == 1
    assert_as_by_pillow(data)


def test_a_jpeg_without_exif_is_upright() -> None:
    assert orientation_of(saved(PHOTO, "JPEG")) == 1


def test_the_orientation_is_found_behind_other_segments() -> None:
    data = saved(PHOTO, "JPEG", exif=exif(6), comment=b"x" * 300)
    other = b"\xff\xe1" + struct.pack(">H", 12) + b"http://xml"
    assert orientation_of(data[:2] + other + data[2:]) == 6


@steady
@given(st.binary(max_size=80), st.booleans())
def test_a_broken_exif_segment_is_passed_over(content: bytes, little: bool) -> None:
    body = b"Exif\0\0" + (b"II*\0" if little else b"MM\0*") + content
    data = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    assert 1 <= orientation_of(data) <= 8
    assert 1 <= orientation_of(data[: len(data) // 2]) <= 8


# ---- what cannot be read ----

BROKEN = """
truncated_jpeg.jpg truncated_image.png broken.png broken_data_stream.png decompression_bomb.gif zero_width.gif
hopper_webp.tif libtiff_segfault.tif seek_too_large.tif oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif l2rgb_read.bmp
ultrahdr.jpg badwidth.bmp badpalettesize.bmp badbitcount.bmp shortfile.bmp oss-fuzz-36829.jpeg zero-loop-count.gif
lfs_pointer.tif DS_Store_file zero_bytes.jpg cat_first_half.jpg cat_20_bytes.jpg html_page.jpg
""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named(name: str) -> None:
    path = odd_image(name)
    with refused(ImageReadError, repr(str(path)), "cannot be read (", "Repair it or take it out") as caught:
        load(read_images([path]), 0, (32, 32))
    assert list(caught.value.failures) == [repr(str(path))]
    assert caught.value.failures[repr(str(path))] in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_was_cut_off_is_refused_and_never_half_read(kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    data = saved(noise, kind)
    with refused(ImageReadError, "photo.x", "cannot be read ("):
        decode(data[: int(len(data) * share)], "photo.x")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html>", "it is not an image"),
        (bytes(100), "it is not an image"),
        (b"\xff\xd8\xff", "damaged JPEG"),
        (b"\x89PNG\r\n\x1a\n", "damaged PNG"),
        (b"GIF89a", "damaged GIF"),
    ],
)
def test_the_reason_is_told_in_words(data: bytes, reason: str) -> None:
    with refused(ImageReadError, "The image photo.jpg", f"({reason}", "Repair it") as caught:
        decode(data, "photo.jpg")
    assert "[Op:" not in str(caught.value)
    assert caught.value.failures["photo.jpg"].startswith(reason)


@steady
@given(st.sampled_from(["JPEG", "PNG", "GIF", "BMP"]), st.integers(0, 10**6), st.binary(min_size=1, max_size=6))
def test_flipped_bytes_give_an_image_or_its_error_and_nothing_else(kind: str, place: int, noise: bytes) -> None:
    data = bytearray(saved(PHOTO, kind))
    place %= len(data)
    data[place : place + len(noise)] = noise
    try:
        image = decode(bytes(data), "photo.x")
    except ImageReadError as error:
        assert "photo.x" in str(error)
    else:
        assert image.ndim == 3
        assert image.shape[2] == 3


def test_a_png_that_claims_too_many_pixels_is_refused_by_its_header() -> None:
    data = bytearray(saved(PHOTO, "PNG"))
    data[16:24] = struct.pack(">II", 23_000, 23_000)
    with refused(ImageReadError, "bomb.png", "23000 x 23000 pixels are too many"):
        decode(bytes(data), "bomb.png")


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "ICO", "JPEG2000", "PPM"])
def test_without_pillow_what_needs_it_names_the_extra(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(PHOTO, kind)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with refused(MissingExtraError, "photo.x", "pip install 'transferkit[images]'"):
        decode(data, "photo.x")


def test_without_pillow_common_formats_and_refusals_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {kind: by_pillow(saved(PHOTO, kind)) for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP")}
    files = {kind: saved(PHOTO, kind) for kind in known}
    monkeypatch.setitem(sys.modules, "PIL", None)
    for kind, data in files.items():
        assert np.abs(decode(data) - known[kind]).mean() <= 2
    with refused(ImageReadError, "page.jpg", "it is not an image"):
        decode(b"<html></html>", "page.jpg")


# ---- one size ----

IMAGES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)).flatmap(
    lambda shape: st.one_of(
        arrays(np.uint8, shape, elements=st.integers(0, 255)),
        arrays(np.float32, shape, elements=st.floats(0, 255, width=32)),
    )
)
SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24))


@steady
@given(IMAGES, SIZES)
def test_resizing_gives_the_size_stays_within_the_range_and_changes_no_argument(image, size) -> None:
    before = image.copy()
    resized = resize(image, size)
    assert resized.shape == (*size, 3)
    assert resized.dtype == np.float32
    assert resized.min() >= image.min() - 1e-3
    assert resized.max() <= image.max() + 1e-3
    assert np.array_equal(image, before)
    assert not np.shares_memory(image, resized)


@steady
@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), SIZES, st.tuples(*[st.integers(0, 255)] * 3))
def test_an_image_of_one_colour_keeps_it(shape, size, colour) -> None:
    resized = resize(np.full((*shape, 3), colour, np.uint8), size)
    assert np.abs(resized - np.array(colour)).max() <= 1e-3


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_an_image_of_the_right_size_keeps_its_pixels(kind: type) -> None:
    image = picture(0, (20, 30)).astype(kind)
    resized = resize(image, (20, 30))
    assert np.array_equal(resized, image)
    resized[:] = 0
    assert image.max() > 0


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64, np.float16, np.float64, ">f4"])
def test_the_type_of_the_pixels_does_not_matter(kind) -> None:
    image = picture(0, (50, 40))
    np.testing.assert_allclose(resize(image.astype(kind), (20, 16)), resize(image, (20, 16)), atol=1e-3)


def test_a_view_is_resized_like_its_copy() -> None:
    image = picture(0, (50, 40))[::-1, ::2]
    assert np.array_equal(resize(image, (16, 16)), resize(image.copy(), (16, 16)))


@pytest.mark.parametrize("factors", [(3, 3), (1, 5), (4, 2)])
def test_a_whole_factor_is_an_average_of_areas_so_that_nothing_aliases(factors: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12 * factors[0], 10 * factors[1], 3), dtype=np.uint8)
    means = noise.reshape(12, factors[0], 10, factors[1], 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(noise, (12, 10)), means, atol=1e-3)


def test_a_large_photo_looks_as_pillow_makes_it_look() -> None:
    photo = Image.fromarray(picture(0, (260, 410)))
    known = np.asarray(photo.resize((96, 64), Image.Resampling.BILINEAR)).astype(float)
    assert np.abs(resize(np.asarray(photo), (64, 96)) - known).mean() <= 2


# ---- files ----


@pytest.mark.parametrize("name", ["cat ñ 猫.jpg", "a b [1]*?.png", "UPPER.GIF", "no_extension", "wrong.png.bmp"])
def test_a_file_and_its_array_give_the_same_pixels(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, 3)
    with Image.open(path) as opened:
        array = np.asarray(opened.convert("RGB"))
    of_file = load(ImageFiles((path,)), 0, (16, 20))
    assert np.abs(of_file - load(ImageArrays([array], (0,)), 0, (16, 20))).mean() <= 1
    assert (of_file.shape, of_file.dtype) == ((16, 20, 3), np.float32)


def large_photo(seed: int, size: tuple[int, int], orientation: int = 1) -> bytes:
    """A JPEG of fine and coarse detail, of the size (height, width) in which it is stored."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(picture(seed, size)).resize(size[::-1])
    pixels = np.clip(np.asarray(coarse).astype(float) + rng.normal(0, 12, (*size, 3)), 0, 255).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.fromarray(pixels), "JPEG", quality=95, exif=exif)


@steady
@given(st.integers(130, 700), st.integers(130, 700), st.integers(8, 40), st.integers(8, 40), st.integers(1, 8))
def test_a_large_jpeg_is_reduced_while_it_is_decoded_and_looks_the_same(
    height: int, width: int, down: int, across: int, orientation: int
) -> None:
    data = large_photo(0, (height, width), orientation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "LARGE_BYTES", 0)
        small = decode(data, "photo", (down, across))
    full = decode(data)
    difference = np.abs(resize(small, (down, across)) - resize(full, (down, across)))
    assert difference.mean() <= 0.5
    assert difference.max() <= 6
    factor = full.shape[0] // small.shape[0]
    assert factor in (1, 2, 4, 8)
    if factor > 1:
        assert small.shape[0] >= 2 * down and small.shape[1] >= 2 * across


def test_what_is_not_much_larger_is_decoded_in_full() -> None:
    data = large_photo(0, (800, 890))
    assert len(data) > decoding.LARGE_BYTES
    assert decode(data, "photo", (224, 224)).shape == (800, 890, 3)
    assert decode(data, "photo", (200, 200)).shape == (400, 445, 3)
    assert decode(data, "photo", (50, 50)).shape == (100, 111, 3)
    assert decode(data, "photo", (2, 2)).shape == (100, 111, 3)
    assert decode(data).shape == (800, 890, 3)


def test_loading_an_array_never_changes_it() -> None:
    array = picture(0).astype(np.float32)
    array.setflags(write=False)
    loaded = load(ImageArrays([array], (0,)), 0, array.shape[:2])
    loaded[:] = -1
    assert np.array_equal(array, picture(0))


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    images = read_images(path)
    path.unlink()
    with refused(ImageReadError, repr(str(path)), "No such file"):
        read_bytes(images, 0)


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with refused(ImageReadError, repr(str(tmp_path)), os.strerror(21)):
        load(ImageFiles((tmp_path,)), 0, (8, 8))


# ---- in the background ----


def test_work_in_the_background_comes_out_in_order() -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number**2

    assert [f.result() for f in in_background(work, range(30), 4, 8)] == [n**2 for n in range(30)]


def test_work_in_the_background_does_not_run_far_ahead() -> None:
    started: list[int] = []
    results = in_background(started.append, range(100), 2, 5)
    next(results).result()
    time.sleep(0.05)
    assert len(started) <= 6
    results.close()
    assert len(started) <= 6


def test_an_error_in_the_background_comes_out_in_its_place() -> None:
    results = list(in_background(lambda n: 1 // n, [1, 0, 1], 2, 4))
    assert [results[0].result(), results[2].result()] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        results[1].result()


def test_background_threads_end_with_the_work() -> None:
    list(in_background(abs, range(10), 3, 3))
    assert not [t for t in threading.enumerate() if t.name.startswith("transferkit-decode")]
