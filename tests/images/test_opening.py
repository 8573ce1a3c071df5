"""What is known of a file before a pixel is read: format, size, colours, frames; and what is refused, and how."""

from __future__ import annotations

import io
import logging
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from drawing import animation, chunk, picture, saved
from helpers import as_by_pillow, header_of_bytes, refused
from PIL import Image, PngImagePlugin

from transferkit.errors import ImageReadError
from transferkit.images import opening
from transferkit.images.decoding import decode, to_rgb
from transferkit.images.opening import Header, open_image, reading

PHOTO = Image.fromarray(picture(0, (24, 33)))
KINDS = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM"]
WHOLE = {kind: saved(PHOTO, kind) for kind in KINDS}


# ---- the format ----


@pytest.mark.parametrize("kind", [*KINDS, "ICO"])
def test_the_format_is_told_by_the_content(kind: str) -> None:
    assert header_of_bytes(saved(PHOTO, kind)).format == kind


def test_photos_of_iphones_are_named() -> None:
    with refused(ImageReadError, "HEIC is not supported: convert it to JPEG"):
        open_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), "a.heic")


# ---- size and colours ----


@pytest.mark.parametrize("kind", KINDS)
def test_the_header_tells_the_size_and_nothing_unusual(kind: str) -> None:
    assert header_of_bytes(WHOLE[kind]) == Header(kind, 24, 33)


@pytest.mark.parametrize(
    ("mode", "kind", "oddity"),
    [
        ("CMYK", "JPEG", "CMYK"),
        ("L", "JPEG", ""),
        ("RGBA", "PNG", "transparency"),
        ("LA", "PNG", "transparency"),
        ("I;16", "PNG", "16-bit"),
        ("1", "PNG", "1-bit"),
        ("P", "PNG", ""),
        ("1", "BMP", "1-bit"),
        ("RGBA", "WEBP", "transparency"),
        ("I;16", "TIFF", "16-bit"),
        ("F", "TIFF", "32-bit float"),
        ("CMYK", "TIFF", "CMYK"),
        ("LAB", "TIFF", "Lab"),
        ("LA", "TIFF", "transparency"),
    ],
)
def test_the_header_tells_unusual_colours(mode: str, kind: str, oddity: str) -> None:
    image = Image.new(mode, (33, 24)) if mode == "LAB" else PHOTO.convert("L" if mode == "I;16" else mode).convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    assert header_of_bytes(saved(image, kind)).oddity == oddity


@pytest.mark.parametrize("junk", [b"\0", b"junk", b"\0" * 500, b"\xff\0ab"])
def test_what_lies_between_the_segments_of_a_jpeg_is_passed_over_as_decoders_do(junk: bytes) -> None:
    data = saved(PHOTO, "JPEG")
    for marker in (b"\xff\xdb", b"\xff\xc0"):
        at = data.index(marker)
        damaged = data[:at] + junk + data[at:]
        assert header_of_bytes(damaged) == Header("JPEG", 24, 33)
        assert decode(damaged).shape == (24, 33, 3)


# ---- too many pixels ----


def huge_jpeg() -> bytes:
    data = bytearray(saved(PHOTO, "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 20_000, 20_000)
    return bytes(data)


def huge_gif(of_screen: bool) -> bytes:
    data = bytearray(saved(PHOTO.quantize(16), "GIF"))
    at = 6 if of_screen else data.index(b"\x2c\0\0\0\0\x21\0\x18\0") + 5
    data[at : at + 4] = struct.pack("<HH", 20_000, 20_000)
    return bytes(data)


def huge_webp(lossless: bool) -> bytes:
    data = bytearray(saved(PHOTO, "WEBP", lossless=lossless))
    if lossless:
        data[21:25] = struct.pack("<I", 0x3FFF | 0x3FFF << 14)
    else:
        data[26:30] = struct.pack("<HH", 0x3FFF, 0x3FFF)
    return bytes(data)


def huge_bmp() -> bytes:
    data = bytearray(saved(PHOTO, "BMP"))
    data[18:26] = struct.pack("<ii", 20_000, -20_000)
    return bytes(data)


def huge_png() -> bytes:
    data = bytearray(saved(PHOTO, "PNG"))
    data[16:24] = struct.pack(">II", 23_000, 23_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


HUGE = {
    "jpeg": (huge_jpeg(), "it has too many pixels (20000 x 20000)"),
    "png": (huge_png(), "it has too many pixels (23000 x 23000)"),
    "gif screen": (huge_gif(of_screen=True), "it has too many pixels (20000 x 20000)"),
    "gif picture": (huge_gif(of_screen=False), "the GIF has too many pixels"),
    "webp": (huge_webp(lossless=False), "it has too many pixels (16383 x 16383)"),
    "webp lossless": (huge_webp(lossless=True), "it has too many pixels (16384 x 16384)"),
    "bmp": (huge_bmp(), "it has too many pixels (20000 x 20000)"),
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_header_that_claims_too_many_pixels_is_refused_without_decoding(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, reason = HUGE[kind]
    monkeypatch.setattr(Image.Image, "load", None)
    with refused(ImageReadError, "bomb.x", reason) as caught:
        decode(data, "bomb.x")
    assert caught.value.kinds == {"bomb.x": "huge"}


def test_an_image_beyond_the_limit_of_pillow_is_read_up_to_ours_and_pillow_keeps_its_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    assert all(decode(data).shape == (24, 33, 3) for kind, data in WHOLE.items() if kind != "TIFF")
    assert Image.MAX_IMAGE_PIXELS == 300


def test_a_tiff_that_claims_too_many_pixels_is_refused() -> None:
    data = bytearray(saved(PHOTO, "TIFF"))
    directory = struct.unpack_from("<I", data, 4)[0]
    for entry in range(struct.unpack_from("<H", data, directory)[0]):
        at = directory + 2 + 12 * entry
        if struct.unpack_from("<H", data, at)[0] in (256, 257):  # width and height
            data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 20_000)
    with refused(ImageReadError, "bomb.tif", "too many pixels (20000 x 20000)") as caught:
        decode(bytes(data), "bomb.tif")
    assert caught.value.kinds == {"bomb.tif": "huge"}


def test_a_picture_of_as_many_pixels_as_allowed_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_PIXELS", 24 * 33)
    assert decode(WHOLE["PNG"]).shape == (24, 33, 3)
    monkeypatch.setattr(opening, "MAX_PIXELS", 24 * 33 - 1)
    with refused(ImageReadError, "too many pixels (33 x 24)"):
        decode(WHOLE["PNG"])


# ---- texts of a PNG ----


def with_text(kind: str, length: int) -> bytes:
    """A PNG with a text of so many characters that is compressed to almost nothing."""
    text = PngImagePlugin.PngInfo()
    if kind == "iTXt":
        text.add_itxt("Comment", "x" * length, zip=True)
    else:
        text.add_text("Comment", "x" * length, zip=True)
    return saved(PHOTO, "PNG", pnginfo=text)


@pytest.mark.parametrize("kind", ["iTXt", "zTXt"])
def test_a_png_with_a_text_that_inflates_to_more_than_a_megabyte_is_refused(kind: str) -> None:
    as_by_pillow(with_text(kind, PngImagePlugin.MAX_TEXT_CHUNK), 0)
    data = with_text(kind, PngImagePlugin.MAX_TEXT_CHUNK + 1)
    assert len(data) < 5000
    with refused(ImageReadError, "dos.png", "Decompressed data too large") as caught:
        decode(data, "dos.png")
    assert caught.value.kinds == {"dos.png": "unreadable"}


def png_with(kind: bytes, content: bytes) -> bytes:
    return WHOLE["PNG"][:33] + chunk(kind, content) + WHOLE["PNG"][33:]


def test_a_text_of_an_unknown_compression_method_is_refused() -> None:
    with refused(ImageReadError, "a.png", "Unknown compression method"):
        decode(png_with(b"zTXt", b"Comment\0\7abc"), "a.png")


def test_a_damaged_text_leaves_the_pixels_as_they_are() -> None:
    assert header_of_bytes(png_with(b"zTXt", b"Comment\0\0no zlib stream")) == Header("PNG", 24, 33)


# ---- frames ----


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("count", [2, 5])
def test_the_pictures_of_an_animation_are_counted_and_the_first_is_decoded(kind: str, count: int) -> None:
    data = animation(kind, count)
    assert header_of_bytes(data).frames == count
    as_by_pillow(data)


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_an_animation_whose_first_frame_alone_is_whole_is_that_frame(kind: str) -> None:
    data = animation(kind, 4)
    damaged = data[: int(len(data) * 0.6)]
    image = open_image(damaged)
    assert opening.header_of(image, damaged).frames >= 1
    assert np.array_equal(np.asarray(to_rgb(image)), decode(data))


@pytest.mark.parametrize("kind", KINDS)
def test_a_still_picture_is_one(kind: str) -> None:
    assert header_of_bytes(WHOLE[kind]).frames == 1


def test_pictures_behind_the_first_may_be_of_any_size() -> None:
    still = WHOLE["GIF"]
    at = still.index(b"\x2c\0\0\0\0\x21\0\x18\0")
    bomb = b"\x2c" + struct.pack("<HHHH", 0, 0, 65535, 65535) + still[at + 9 : -1]
    data = still[:-1] + bomb * 50 + b";"
    assert header_of_bytes(data).frames == 51
    assert np.array_equal(decode(data), decode(still))


# ---- truncated ----


def kind_of_failure(data: bytes) -> str:
    with refused(ImageReadError, "a.x") as caught:
        decode(data, "a.x")
    return caught.value.kinds["a.x"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_what_follows_the_end_does_not_matter(kind: str) -> None:
    as_by_pillow(WHOLE[kind] + bytes(100))


def test_the_end_of_a_thumbnail_is_not_that_of_the_photo() -> None:
    thumbnail = b"\xff\xe1" + struct.pack(">H", 8) + b"\xff\xda\0\0\xff\xd9"
    data = WHOLE["JPEG"][:2] + thumbnail + WHOLE["JPEG"][2:]
    as_by_pillow(data)
    assert kind_of_failure(data[:-40]) == "truncated"


def test_programs_that_pillow_would_start_are_not_started() -> None:
    with refused(ImageReadError, "it is not an image of a known format"):
        open_image(saved(PHOTO, "EPS"))


# ---- warnings ----


def with_corrupt_exif() -> bytes:
    image = PHOTO.copy()
    image.getexif()[0x010F] = "x" * 40
    data = bytearray(saved(image, "WEBP", exif=image.getexif()))
    at = data.index(b"II*\0") if b"II*\0" in data else data.index(b"MM\0*")
    order = "<" if data[at : at + 2] == b"II" else ">"
    data[at + 8 : at + 10] = struct.pack(order + "H", 99)  # so many tags are not there
    return bytes(data)


def test_what_pillow_warns_of_is_not_shown_as_it_names_no_file(recwarn: pytest.WarningsRecorder) -> None:
    data = with_corrupt_exif()
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        Image.open(io.BytesIO(data)).getexif()
    assert decode(data).shape == (24, 33, 3)
    assert not [str(one.message) for one in recwarn]


def test_only_pillow_is_quiet_and_only_while_a_thread_is_inside() -> None:
    before = list(warnings.filters)
    inside, leave = threading.Barrier(3), threading.Event()

    def stay() -> None:
        with reading("a.jpg"):
            inside.wait(10)
            leave.wait(10)

    threads = [threading.Thread(target=stay) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(10)  # both are in there at once: none waits for the other
    assert warnings.filters != before
    with pytest.warns(UserWarning, match="ours"):
        warnings.warn("ours", stacklevel=1)
    leave.set()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_a_bmp_with_the_header_of_os2_is_read_like_any_other() -> None:
    pixels = np.asarray(PHOTO)[::-1, :, ::-1]
    rows = b"".join(row.tobytes().ljust(-(-row.size // 4) * 4, b"\0") for row in pixels)
    data = b"BM" + struct.pack("<IHHI", 26 + len(rows), 0, 0, 26) + struct.pack("<IHHHH", 12, 33, 24, 1, 24) + rows
    assert (header_of_bytes(data).height, header_of_bytes(data).width) == (24, 33)
    as_by_pillow(data, 0)


def test_what_pillow_logs_is_not_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a program that has not set up logging
    samples = struct.pack("<HHIH", 277, 3, 1, 3)
    assert samples in WHOLE["TIFF"]
    with refused(ImageReadError, "samples per pixel"):
        decode(WHOLE["TIFF"].replace(samples, struct.pack("<HHIH", 277, 3, 1, 65535)))
    assert capsys.readouterr().err == ""
