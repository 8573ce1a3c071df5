"""Which way up a photo is: EXIF and XMP, in each format that has them, whole or damaged."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from drawing import chunk, picture, saved
from helpers import as_by_pillow, header_of_bytes, steady
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from transferkit.images.decoding import Resizing, decode, to_rgb
from transferkit.images.opening import open_image

PHOTO = Image.fromarray(picture(0, (24, 33)))


def orientation_of(data: bytes) -> int:
    return header_of_bytes(data).orientation


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
    as_by_pillow(data)
    turned = decode(data).shape[:2]
    assert turned == ((24, 33) if orientation < 5 else (33, 24))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_other_formats_are_turned_by_their_orientation_too(kind: str, orientation: int) -> None:
    image = PHOTO.copy()
    image.getexif()[0x0112] = orientation
    data = saved(image, kind, exif=image.getexif())
    as_by_pillow(data)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_passed_over(orientation: int) -> None:
    data = saved(PHOTO, "JPEG", exif=exif(orientation))
    assert orientation_of(data) == 1
    as_by_pillow(data)


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
    photo = saved(PHOTO, "JPEG")
    data = photo[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + photo[2:]
    assert 1 <= orientation_of(data) <= 8


# ---- XMP ----


def xmp(orientation: int, form: str = "attribute") -> bytes:
    value = {"attribute": ' tiff:Orientation="{}"/>', "element": "><tiff:Orientation>{}</tiff:Orientation></x>"}[form]
    return ('<x:xmpmeta xmlns:x="adobe:ns:meta/"><x' + value.format(orientation) + "</x:xmpmeta>").encode()


def with_xmp(kind: str, packet: bytes, **options) -> bytes:
    if not kind.startswith("PNG"):
        return saved(PHOTO, kind, xmp=packet, **options)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=kind == "PNG, compressed")
    return saved(PHOTO, "PNG", pnginfo=text, **options)


@pytest.mark.parametrize("kind", ["PNG", "PNG, compressed", "JPEG", "WEBP"])
@pytest.mark.parametrize("form", ["attribute", "element"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_orientation_of_xmp_counts_where_exif_has_none(kind: str, form: str, orientation: int) -> None:
    data = with_xmp(kind, xmp(orientation, form))
    assert orientation_of(data) == orientation
    as_by_pillow(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3])
def test_exif_comes_before_xmp(kind: str, orientation: int) -> None:
    image = Image.Exif()
    image[0x0112] = orientation
    data = with_xmp(kind, xmp(6), exif=image)
    assert orientation_of(data) == orientation
    as_by_pillow(data)


def test_exif_without_an_orientation_leaves_it_to_xmp() -> None:
    image = Image.Exif()
    image[0x010F] = "camera"
    assert orientation_of(with_xmp("JPEG", xmp(6), exif=image)) == 6


@pytest.mark.parametrize("value", [0, 9])
def test_an_xmp_orientation_that_does_not_exist_is_passed_over(value: int) -> None:
    assert orientation_of(with_xmp("JPEG", xmp(value))) == 1


def test_an_xmp_text_of_another_name_does_not_count() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("Comment", xmp(6).decode())
    assert orientation_of(saved(PHOTO, "PNG", pnginfo=text)) == 1


# ---- turning ----


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_resized_to_the_size_that_it_has_upright(kind: str, orientation: int) -> None:
    image = Image.fromarray(picture(0, (240, 330)))
    image.getexif()[0x0112] = orientation
    data = saved(image, kind, exif=image.getexif())
    resized = np.asarray(to_rgb(open_image(data), Resizing((20, 31))), np.float32)
    assert resized.shape == (20, 31, 3)
    known = np.asarray(Image.fromarray(decode(data)).resize((31, 20), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(resized - known).mean() <= 1


@pytest.mark.parametrize("kind", [2, 7])
def test_an_orientation_of_another_type_than_it_must_have_counts_as_upright(kind: int) -> None:
    assert orientation_of(saved(PHOTO, "JPEG", exif=exif(6, kind=kind))) == 1


def before_the_end(data: bytes, more: bytes) -> bytes:
    """A PNG with one more chunk behind its pixels."""
    at = data.rindex(b"IEND") - 4
    return data[:at] + more + data[at:]


def test_exif_behind_the_pixels_of_a_png_counts() -> None:
    data = before_the_end(saved(PHOTO, "PNG"), chunk(b"eXIf", exif(6)[6:]))
    assert orientation_of(data) == 6
    as_by_pillow(data)


def test_exif_that_imagemagick_wrote_as_text_counts() -> None:
    info = PngImagePlugin.PngInfo()
    content = exif(8)
    info.add_text("Raw profile type exif", f"\nexif\n{len(content):8d}\n{content.hex()}\n", zip=True)
    data = saved(PHOTO, "PNG", pnginfo=info)
    assert orientation_of(data) == 8
    as_by_pillow(data)


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_orientation_that_is_a_long_number_counts(order: str) -> None:
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    tiff = head + struct.pack(order + "HHHII", 1, 0x0112, 4, 1, 6) + bytes(4)
    data = saved(PHOTO, "JPEG", quality=95, exif=b"Exif\0\0" + tiff)
    assert orientation_of(data) == 6
    as_by_pillow(data)
