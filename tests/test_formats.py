"""What the header of a file says, without a pixel being read: format, size, colours, pictures; and what is cut off."""

from __future__ import annotations

import struct
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from helpers import as_by_pillow, odd_image, picture, refused, saved, steady
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from transferkit import decoding, headers
from transferkit.decoding import decode, header_of
from transferkit.errors import ImageReadError
from transferkit.formats import EXTENSIONS, is_cut_off, read_header
from transferkit.headers import DamagedHeaderError, Header, first_picture
from transferkit.pillow import open_with_pillow, quiet_pillow

PHOTO = Image.fromarray(picture(0, (24, 33)))
KINDS = {
    "JPEG": "JPEG",
    "PNG": "PNG",
    "GIF": "GIF",
    "BMP": "BMP",
    "WEBP": "WebP",
    "TIFF": "TIFF",
    "AVIF": "AVIF",
    "JPEG2000": "JPEG 2000",
    "PPM": "PPM",
}
WHOLE = {kind: saved(PHOTO, kind) for kind in KINDS}


def format_of(data: bytes) -> str:
    return read_header(data).format


def animation(kind: str, count: int) -> bytes:
    frames = [Image.fromarray(picture(seed)).quantize(64) for seed in range(count)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)


# ---- the format ----


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


def test_every_format_has_extensions_in_lower_case_and_none_belongs_to_two() -> None:
    names = [name for names in EXTENSIONS.values() for name in names]
    assert len(names) == len(set(names))
    assert all(name.startswith(".") and name == name.lower() for name in names)
    assert {".webp", ".tif", ".tiff", ".jfif", ".jpg", ".jpeg", ".png"} <= set(names)


# ---- size and colours ----


@pytest.mark.parametrize("kind", KINDS)
def test_the_header_tells_the_size_and_nothing_unusual(kind: str) -> None:
    assert read_header(WHOLE[kind]) == Header(KINDS[kind], 24, 33)


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
        ("RGBA", "BMP", "transparency"),
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
    assert read_header(saved(image, kind)).oddity == oddity


def test_a_gif_of_which_no_picture_has_a_palette_is_told_and_read_as_grey() -> None:
    data = odd_image("no_palette.gif").read_bytes()
    assert read_header(data).oddity == "no palette"
    as_by_pillow(data)


@pytest.mark.parametrize("junk", [b"\0", b"junk", b"\0" * 500, b"\xff\0ab"])
def test_what_lies_between_the_segments_of_a_jpeg_is_passed_over_as_decoders_do(junk: bytes) -> None:
    data = saved(PHOTO, "JPEG")
    for marker in (b"\xff\xdb", b"\xff\xc0"):
        at = data.index(marker)
        damaged = data[:at] + junk + data[at:]
        assert read_header(damaged) == Header("JPEG", 24, 33)
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


def huge_webp(kind: str) -> bytes:
    if kind == "extended":
        data = bytearray(saved(PHOTO, "WEBP", exif=b"Exif\0\0II*\0"))
        data[24:30] = (19_999).to_bytes(3, "little") * 2
    elif kind == "lossless":
        data = bytearray(saved(PHOTO, "WEBP", lossless=True))
        data[21:25] = struct.pack("<I", 0x3FFF | 0x3FFF << 14)
    else:
        data = bytearray(saved(PHOTO, "WEBP"))
        data[26:30] = struct.pack("<HH", 0x3FFF, 0x3FFF)
    return bytes(data)


def huge_bmp() -> bytes:
    data = bytearray(saved(PHOTO, "BMP"))
    data[18:26] = struct.pack("<ii", 20_000, -20_000)
    return bytes(data)


def huge_png() -> bytes:
    data = bytearray(saved(PHOTO, "PNG"))
    data[16:24] = struct.pack(">II", 23_000, 23_000)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (huge_jpeg(), "20000 x 20000"),
        (huge_png(), "23000 x 23000"),
        (huge_gif(of_screen=True), "20000 x 20000"),
        (huge_gif(of_screen=False), "20000 x 20000"),
        (huge_webp("lossy"), "16383 x 16383"),
        (huge_webp("lossless"), "16384 x 16384"),
        (huge_webp("extended"), "20000 x 20000"),
        (huge_bmp(), "20000 x 20000"),
    ],
    ids=["jpeg", "png", "gif screen", "gif picture", "webp", "webp lossless", "webp extended", "bmp"],
)
def test_a_header_that_claims_too_many_pixels_is_refused_without_decoding(
    data: bytes, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "tf", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with refused(ImageReadError, "bomb.x", f"{size} pixels are too many") as caught:
        decode(data, "bomb.x")
    assert caught.value.kinds == {"bomb.x": "huge"}
    with refused(ImageReadError, f"{size} pixels are too many"):
        header_of(data, "bomb.x")


def test_a_tiff_that_claims_too_many_pixels_is_refused() -> None:
    data = bytearray(saved(PHOTO, "TIFF"))
    directory = struct.unpack_from("<I", data, 4)[0]
    for entry in range(struct.unpack_from("<H", data, directory)[0]):
        at = directory + 2 + 12 * entry
        if struct.unpack_from("<H", data, at)[0] in (256, 257):  # width and height
            data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 20_000)
    with refused(ImageReadError, "bomb.tif", "the TIFF has too many pixels") as caught:
        decode(bytes(data), "bomb.tif")
    assert caught.value.kinds == {"bomb.tif": "huge"}


def test_a_picture_of_as_many_pixels_as_allowed_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 24 * 33)
    assert decode(WHOLE["PNG"]).shape == (24, 33, 3)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 24 * 33 - 1)
    with refused(ImageReadError, "33 x 24 pixels are too many"):
        decode(WHOLE["PNG"])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_file_whose_header_tells_no_size_never_reaches_a_decoder(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "read_header", lambda data: Header(KINDS[kind]))
    with refused(ImageReadError, "photo.x", f"damaged {KINDS[kind]}: its header tells no size"):
        decode(WHOLE[kind], "photo.x")


def test_a_gif_that_ends_in_the_middle_of_an_extension_still_tells_its_size() -> None:
    for end in (b"\x21", b"\x21\xf9", b"\x21\xf9\x04"):
        assert read_header(huge_gif(of_screen=False)[:-1] + end).width == 20_000
        assert read_header(WHOLE["GIF"][: WHOLE["GIF"].index(b"\x2c", 700)] + end).width == 33


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
    as_by_pillow(with_text(kind, headers.MAX_TEXT), 0)
    data = with_text(kind, headers.MAX_TEXT + 1)
    assert len(data) < 5000
    with pytest.raises(DamagedHeaderError):
        read_header(data)
    with refused(ImageReadError, "dos.png", "its text inflates to more than a megabyte") as caught:
        decode(data, "dos.png")
    assert caught.value.kinds == {"dos.png": "unreadable"}


def test_a_large_colour_profile_is_no_bomb() -> None:
    profile = np.random.default_rng(0).integers(0, 4, headers.MAX_TEXT + 1000, dtype=np.uint8).tobytes()
    assert read_header(saved(PHOTO, "PNG", icc_profile=profile)) == Header("PNG", 24, 33)


def png_with(kind: bytes, content: bytes) -> bytes:
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return WHOLE["PNG"][:33] + chunk + WHOLE["PNG"][33:]


def test_a_text_of_an_unknown_compression_method_is_refused() -> None:
    with refused(ImageReadError, "a.png", "its text has an unknown compression method"):
        decode(png_with(b"zTXt", b"Comment\0\7abc"), "a.png")


def test_a_damaged_text_leaves_the_pixels_as_they_are() -> None:
    assert read_header(png_with(b"zTXt", b"Comment\0\0no zlib stream")) == Header("PNG", 24, 33)


# ---- pictures ----


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("count", [2, 5])
def test_the_pictures_of_an_animation_are_counted_and_the_first_is_decoded(kind: str, count: int) -> None:
    data = animation(kind, count)
    assert read_header(data).frames == count
    as_by_pillow(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_still_picture_is_one(kind: str) -> None:
    assert read_header(WHOLE[kind]).frames == 1


@pytest.mark.parametrize(
    ("name", "frames"), [("chi.gif", 31), ("dispose_bgnd.gif", 5), ("anim.webp", 6), ("multipage.tiff", 3)]
)
def test_the_pictures_of_a_real_animation_are_counted(name: str, frames: int) -> None:
    assert read_header(odd_image(name).read_bytes()).frames == frames


def test_only_the_first_picture_of_a_gif_is_left() -> None:
    data = animation("GIF", 4)
    first = first_picture(data)
    assert (read_header(first).frames, len(first) < len(data) / 2) == (1, True)
    assert np.array_equal(decode(first), decode(data))
    assert first_picture(first) == first
    assert first_picture(WHOLE["GIF"]) == WHOLE["GIF"]


def test_pictures_behind_the_first_may_be_of_any_size() -> None:
    still = WHOLE["GIF"]
    at = still.index(b"\x2c\0\0\0\0\x21\0\x18\0")
    bomb = b"\x2c" + struct.pack("<HHHH", 0, 0, 65535, 65535) + still[at + 9 : -1]
    data = still[:-1] + bomb * 50 + b";"
    assert read_header(data) == Header("GIF", 24, 33, frames=51)
    assert np.array_equal(decode(data), decode(still))


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"GIF89a" + bytes(7), b"GIF89a" + bytes(7) + b"\x21\xf9"])
def test_a_gif_without_a_picture_stays_as_it_is(data: bytes) -> None:
    assert first_picture(data) == data


# ---- cut off ----


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_a_file_is_cut_off_where_its_end_is_missing(kind: str) -> None:
    data = WHOLE[kind]
    assert not is_cut_off(data, read_header(data))
    for length in (20, len(data) // 2, len(data) - 2):
        assert is_cut_off(data[:length], Header(KINDS[kind]))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_what_follows_the_end_does_not_matter(kind: str) -> None:
    data = WHOLE[kind] + bytes(100)
    assert not is_cut_off(data, read_header(data))
    as_by_pillow(data)


def test_the_end_of_a_thumbnail_is_not_that_of_the_photo() -> None:
    thumbnail = b"\xff\xe1" + struct.pack(">H", 8) + b"\xff\xda\0\0\xff\xd9"
    data = WHOLE["JPEG"][:2] + thumbnail + WHOLE["JPEG"][2:]
    assert not is_cut_off(data, Header("JPEG"))
    assert is_cut_off(data[:-2], Header("JPEG"))


# ---- any bytes ----


@steady
@given(st.sampled_from(list(KINDS)), st.integers(0, 10**6), st.binary(min_size=1, max_size=8), st.integers(0, 10**6))
def test_any_bytes_have_a_header_or_a_damaged_one(kind: str, place: int, noise: bytes, length: int) -> None:
    data = bytearray(WHOLE[kind])
    place %= len(data)
    data[place : place + len(noise)] = noise
    for some in (bytes(data), bytes(data[: length % len(data)])):
        try:
            header = read_header(some)
        except DamagedHeaderError:
            continue
        assert header.format in {*EXTENSIONS, ""}
        assert 1 <= header.orientation <= 8
        assert header.frames >= 1
        assert header.height >= 0 and header.width >= 0


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "JPEG2000", "PPM"])
def test_without_pillow_the_format_is_all_that_is_known_of_others(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert read_header(WHOLE[kind]) == Header(KINDS[kind])


def test_programs_that_pillow_would_start_are_not_started() -> None:
    eps = saved(PHOTO, "EPS")
    assert format_of(eps) == ""
    with pytest.raises(OSError):
        open_with_pillow(eps)


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
        open_with_pillow(data).getexif()
    assert decode(data).shape == (24, 33, 3)
    assert not [str(one.message) for one in recwarn]


def test_only_pillow_is_quiet_and_only_while_a_thread_is_inside() -> None:
    before = list(warnings.filters)
    inside, leave = threading.Barrier(3), threading.Event()

    def stay() -> None:
        with quiet_pillow:
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
    assert (read_header(data).height, read_header(data).width) == (24, 33)
    as_by_pillow(data, 0)
