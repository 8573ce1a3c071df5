"""The format of an image file, told by its first bytes and not by its name, and who reads its header."""

from __future__ import annotations

import struct
from collections.abc import Callable

from .headers import PNG_SIGNATURE, Header, bmp, gif, jpeg, png, webp
from .pillow import open_with_pillow, quiet_pillow

__all__ = ["EXTENSIONS", "is_cut_off", "read_header"]

EXTENSIONS: dict[str, frozenset[str]] = {
    "JPEG": frozenset([".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"]),
    "PNG": frozenset([".png"]),
    "GIF": frozenset([".gif"]),
    "BMP": frozenset([".bmp", ".dib"]),
    "WebP": frozenset([".webp"]),
    "TIFF": frozenset([".tif", ".tiff"]),
    "AVIF": frozenset([".avif"]),
    "ICO": frozenset([".ico"]),
    "JPEG 2000": frozenset([".jp2", ".j2k"]),
    "PPM": frozenset([".ppm", ".pgm", ".pbm", ".pnm"]),
}
# Pillow's modes that do not go into 8-bit RGB as they are, in words.
PILLOW_MODES = {
    "CMYK": "CMYK",
    "LAB": "Lab",
    "HSV": "HSV",
    "YCbCr": "",
    "F": "32-bit float",
    "I": "32-bit",
    "1": "1-bit",
}


def read_header(data: bytes) -> Header:
    """The header of an image file; one without a format where the bytes are those of none.

    Raises:
        DamagedHeaderError: it breaks a rule of its format in a way that makes reading on dangerous.
    """
    reader = _reader(data)
    if reader is None:
        return Header("")
    try:
        return reader(data)
    except (struct.error, IndexError):  # it ends before the header does
        return Header(_NAMES[reader])


def is_cut_off(data: bytes, header: Header) -> bool:
    """Whether the end of the file is missing."""
    if header.format == "JPEG":
        return data.find(b"\xff\xd9", max(0, data.rfind(b"\xff\xda"))) < 0
    if header.format == "PNG":
        return b"IEND\xae\x42\x60\x82" not in data[-4096:]
    if header.format == "GIF":
        return not data.rstrip(b"\0").endswith(b"\x3b")
    if header.format == "WebP":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    if header.format == "BMP":
        return len(data) < int.from_bytes(data[2:6], "little")
    return False


def _by_pillow(format_name: str) -> Callable[[bytes], Header]:
    """A reader of a format that Pillow alone knows here; without it, or if it cannot, the format is all that is known."""

    def read(data: bytes) -> Header:
        try:
            with quiet_pillow, open_with_pillow(data) as image:
                mode = PILLOW_MODES.get(image.mode, "16-bit" if image.mode.startswith("I;16") else "")
                alpha = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
                orientation = image.getexif().get(0x0112) or 1
                frames = getattr(image, "n_frames", 1) if format_name in ("TIFF", "AVIF") else 1
                width, height = image.size
                return Header(
                    format_name, height, width, mode, alpha, frames, orientation if 1 <= orientation <= 8 else 1
                )
        except Exception:  # Pillow's plugins raise whatever their parsers meet; decoding will say what is wrong
            return Header(format_name)

    return read


_tiff, _avif, _ico, _jp2, _ppm = map(_by_pillow, ["TIFF", "AVIF", "ICO", "JPEG 2000", "PPM"])
_NAMES: dict[Callable[[bytes], Header], str] = {jpeg: "JPEG", png: "PNG", gif: "GIF", bmp: "BMP", webp: "WebP"}
_STARTS: list[tuple[tuple[bytes, ...], Callable[[bytes], Header]]] = [
    ((b"\xff\xd8",), jpeg),
    ((PNG_SIGNATURE,), png),
    ((b"GIF87a", b"GIF89a"), gif),
    ((b"BM",), bmp),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    ((b"\0\0\1\0",), _ico),
    ((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), _jp2),
]


def _reader(data: bytes) -> Callable[[bytes], Header] | None:
    """Who reads what begins with these bytes."""
    for starts, reader in _STARTS:
        if data.startswith(starts):
            return reader
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return webp
    if data[4:8] == b"ftyp" and (b"avif" in data[8:40] or b"avis" in data[8:40]):
        return _avif
    if data[:1] == b"P" and data[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and data[2:3].isspace():
        return _ppm
    return None
