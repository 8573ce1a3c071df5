"""The headers of the formats that are read here: size, colours, pictures and which way up a picture is.

Nothing is inflated and no pixel is read, so that a picture that would not fit into memory is known by its header.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .orientation import of_exif, of_xmp

__all__ = ["PNG_SIGNATURE", "DamagedHeaderError", "Header", "bmp", "first_picture", "gif", "jpeg", "png", "webp"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A text beside the pixels of a PNG that inflates to more than this is there to fill the memory.
MAX_TEXT = 2**20


class DamagedHeaderError(Exception):
    """The header breaks a rule of its format; internal, whoever reads the file names it."""


@dataclass(frozen=True)
class Header:
    """What is known of a picture without its pixels.

    Attributes:
        format: as in `formats.EXTENSIONS`; empty = none that is known.
        height: pixels as stored, before it is turned upright; 0 = not known.
        width: the same.
        mode: what is unusual about its colours, for example ``"CMYK"``; empty = nothing.
        has_alpha: whether pixels may be transparent.
        frames: pictures that are shown one after the other.
        orientation: 1 (upright) to 8, as in EXIF.
    """

    format: str
    height: int = 0
    width: int = 0
    mode: str = ""
    has_alpha: bool = False
    frames: int = 1
    orientation: int = 1

    @property
    def oddity(self) -> str:
        """What is unusual about its colours, transparency included."""
        return ", ".join(filter(None, [self.mode, "transparency" if self.has_alpha else ""]))


def jpeg(data: bytes) -> Header:
    """The segments before the pixels (ITU T.81, B.1.1): the frame header, EXIF and XMP."""
    header, exif, xmp = Header("JPEG"), None, None
    for marker, start, stop in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width, channels = struct.unpack_from(">BHHB", data, start)
            mode = "CMYK" if channels == 4 else "" if bits == 8 else f"{bits}-bit"
            header = replace(header, height=height, width=width, mode=mode)
        elif marker == 0xE1 and exif is None and data[start : start + 6] == b"Exif\0\0":
            exif = of_exif(data[start + 6 : stop])
        elif marker == 0xE1 and xmp is None and data.startswith(b"http://ns.adobe.com/xap/1.0/\0", start):
            xmp = of_xmp(data[start + 29 : stop])
    return replace(header, orientation=exif or xmp or 1)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, where its content begins, where it ends) of each segment before the pixels of a JPEG.

    What lies between two segments is passed over, as decoders do: a size that they find must not be missed here.
    """
    at = data.find(b"\xff", 2)
    while 0 <= at <= len(data) - 4:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in (0xDA, 0xD9):
            return
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD7:  # no marker, or one that stands alone
            at += 2
        else:
            length = struct.unpack_from(">H", data, at + 2)[0]
            yield marker, at + 4, at + 2 + length
            at += 2 + max(length, 2)
        at = data.find(b"\xff", at)


def png(data: bytes) -> Header:
    """The header and the chunks beside the pixels (PNG, third edition, 11.2.1 and 11.3)."""
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if data[12:16] != b"IHDR":
        return Header("PNG")
    mode = "16-bit" if bits == 16 else "1-bit" if bits == 1 and colour == 0 else ""
    header, exif, xmp = Header("PNG", height, width, mode, colour in (4, 6)), None, None
    for kind, start, stop in _chunks(data):
        if kind == b"tRNS":
            header = replace(header, has_alpha=True)
        elif kind == b"acTL":
            header = replace(header, frames=max(1, struct.unpack_from(">I", data, start)[0]))
        elif kind == b"eXIf":
            exif = exif or of_exif(data[start:stop])
        elif kind in (b"iTXt", b"zTXt", b"iCCP"):
            text = _png_text(kind, data[start:stop])
            if text.startswith(b"XML:com.adobe.xmp\0"):
                xmp = of_xmp(text)
            elif text.startswith(b"Raw profile type exif\0"):
                exif = exif or _of_raw_profile(text)
    return replace(header, orientation=exif or xmp or 1)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where its content begins, where it ends) of each chunk of a PNG; EXIF may stand behind the pixels."""
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I", data, at)[0], data[at + 4 : at + 8]
        if kind == b"IEND":
            return
        yield kind, at + 8, at + 8 + length
        at += length + 12


def _of_raw_profile(text: bytes) -> int | None:
    """EXIF data that ImageMagick writes as text: a name, a length, and lines of hexadecimal digits."""
    try:
        return of_exif(bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii")).removeprefix(b"Exif\0\0"))
    except ValueError:
        return None


def _png_text(kind: bytes, content: bytes) -> bytes:
    """A chunk with text, whose compressed part must inflate to no more than it may."""
    name, _, rest = content.partition(b"\0")
    if kind == b"iTXt":
        if rest[:1] != b"\1":
            return content
        method, compressed = rest[1:2], rest[2:].split(b"\0", 2)[-1]
    else:
        method, compressed = rest[:1], rest[1:]
    if method != b"\0":
        raise DamagedHeaderError("its text has an unknown compression method")
    inflating = zlib.decompressobj()
    try:
        text = inflating.decompress(compressed, MAX_TEXT)
    except zlib.error:  # the text is damaged, the pixels need not be
        return content
    if inflating.unconsumed_tail and kind != b"iCCP":  # colour profiles of some printers are that large
        raise DamagedHeaderError("its text inflates to more than a megabyte")
    return name + b"\0" + text


def gif(data: bytes) -> Header:
    """The screen, the pictures and the extensions (GIF89a, 18 to 23)."""
    width, height, packed = struct.unpack_from("<HHB", data, 6)
    frames, has_alpha, has_palette = 0, False, bool(packed & 0x80)
    for kind, start, _ in _blocks(data):
        if kind == 0x2C:
            if not frames:  # it may be larger than the screen
                left, top, across, down, packed = struct.unpack_from("<HHHHB", data, start + 1)
                width, height = max(width, left + across), max(height, top + down)
                has_palette |= bool(packed & 0x80)
            frames += 1
        elif not frames and data[start + 1 : start + 2] == b"\xf9":
            has_alpha = bool(data[start + 3 : start + 4] and data[start + 3] & 1)
    return Header("GIF", height, width, "" if has_palette else "no palette", has_alpha, max(1, frames))


def first_picture(data: bytes) -> bytes:
    """A GIF without those that follow its first picture, which may be any number of any size."""
    for kind, _, stop in _blocks(data):
        if kind == 0x2C:
            return data[:stop] + b"\x3b" if stop < len(data) else data
    return data


def _blocks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(0x2C for a picture or 0x21 for an extension, where it begins, where it ends) of each block of a GIF."""
    at = 13 + _palette_bytes(data[10:11])
    while at < len(data) and data[at] in (0x21, 0x2C):  # else the trailer, or something that should not be there
        content = at + 2 if data[at] == 0x21 else at + 11 + _palette_bytes(data[at + 9 : at + 10])
        stop = _after_blocks(data, content)
        yield data[at], at, stop
        at = stop


def _palette_bytes(packed: bytes) -> int:
    """How long the palette is that these bits announce."""
    return 3 * 2 ** ((packed[0] & 7) + 1) if packed and packed[0] & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Where a chain of sub-blocks ends."""
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


def bmp(data: bytes) -> Header:
    """The information header of Windows, or the shorter one of OS/2."""
    form = "<HHHH" if struct.unpack_from("<I", data, 14)[0] == 12 else "<iiHH"
    width, height, _, bits = struct.unpack_from(form, data, 18)
    return Header("BMP", abs(height), abs(width), "1-bit" if bits == 1 else "", bits == 32)


def webp(data: bytes) -> Header:
    """The extended header, or that of the one picture (WebP container specification; RFC 6386, 9.1)."""
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WebP", height & 0x3FFF, width & 0x3FFF)
    if kind == b"VP8L":
        packed = struct.unpack_from("<I", data, 21)[0]
        return Header("WebP", (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1, "", bool(packed >> 28 & 1))
    flags, width, height = data[20], data[24:27], data[27:30]
    header = Header(
        "WebP", int.from_bytes(height, "little") + 1, int.from_bytes(width, "little") + 1, "", bool(flags & 0x10), 0
    )
    exif = xmp = None
    at = 30
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        content = slice(at + 8, at + 8 + length)
        if kind == b"ANMF":
            header = replace(header, frames=header.frames + 1)
        elif kind == b"EXIF":
            exif = of_exif(data[content].removeprefix(b"Exif\0\0"))
        elif kind == b"XMP ":
            xmp = of_xmp(data[content])
        at += 8 + length + length % 2
    return replace(header, frames=max(1, header.frames), orientation=exif or xmp or 1)
