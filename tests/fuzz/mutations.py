"""Damaged image files, made from whole ones: what a decoder must refuse in words, whatever is in them.

Bytes that are changed at random hardly ever get past the checksums of a PNG or the lengths of a header, so the
structure of the common formats is known here as far as that takes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from random import Random

from drawing import PNG_SIGNATURE, chunk

__all__ = ["MUTATIONS", "PLAIN", "mutated"]

# Numbers at which lengths, sizes and offsets go wrong.
EDGES = [
    0,
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    31,
    63,
    127,
    128,
    254,
    255,
    256,
    1023,
    32767,
    32768,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
]
# Words that headers and blocks begin with; one in a wrong place sends a parser elsewhere.
WORDS = [
    b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xdb", b"\xff\xdd", b"\xff\xe1",
    b"Exif\0\0", b"II*\0", b"MM\0*", b"http://ns.adobe.com/xap/1.0/\0", b"tiff:Orientation=\"6\"",
    PNG_SIGNATURE, b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf", b"iTXt", b"zTXt", b"acTL", b"fcTL", b"fdAT",
    b"GIF89a", b"\x21\xf9\x04", b"\x21\xff\x0b", b"\x2c", b"\x3b", b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"ANIM",
    b"ANMF", b"ALPH", b"EXIF", b"XMP ", b"BM", b"P4", b"P5 ", b"P6\n", b"\0\0\1\0", b"ftypavif", b"jP  ",
]  # fmt: skip


def mutated(data: bytes, random: Random, others: Sequence[bytes] = (), largest: int = 2**20) -> bytes:
    """A few changes one upon the other; `others` are files to take pieces from."""
    for _ in range(random.choice([1, 1, 1, 2, 3, 6])):
        data = random.choice(MUTATIONS)(data, random, others)[:largest]
    return data


def _place(data: bytes, random: Random) -> int:
    """Anywhere, but most likely in the header."""
    return random.randrange(min(len(data), random.choice([32, 256, len(data)])) or 1)


def flipped(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 8]) if data else 0):
        changed[_place(data, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwritten(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    at = _place(data, random)
    piece = random.choice([random.randbytes(random.randint(1, 8)), random.choice(WORDS)])
    return data[:at] + piece + data[at + len(piece) :]


def cut_off(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def cut_out(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    at = _place(data, random)
    return data[:at] + data[at + random.choice([1, 2, 4, 12, random.randrange(len(data) + 1)]) :]


def repeated(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    at = _place(data, random)
    piece = data[at : at + random.choice([1, 4, 12, 64, 4096])]
    return data[:at] + piece * random.choice([2, 3, 50]) + data[at + len(piece) :]


def put_in(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    at = _place(data, random)
    return data[:at] + random.choice([random.randbytes(random.randint(1, 40)), random.choice(WORDS)]) + data[at:]


def spliced(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """The beginning of one and the end of another."""
    other = random.choice(others) if others else data[::-1]
    return data[: _place(data, random)] + other[random.randrange(len(other) + 1) :]


def with_another_number(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """A length, size or offset that is not true."""
    kind = random.choice(["B", "<H", ">H", "<I", ">I"])
    width = struct.calcsize(kind)
    if len(data) < width:
        return data
    at = min(_place(data, random), len(data) - width)
    number = struct.unpack_from(kind, data, at)[0]
    number = random.choice([random.choice(EDGES), number + random.choice([-2, -1, 1, 2]), number * 2, number // 2])
    return data[:at] + struct.pack(kind, number % 2 ** (8 * width)) + data[at + width :]


def with_another_block(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """A block of a PNG, WebP or JPEG changed, doubled, moved or dropped, with what frames it set right."""
    if data.startswith(PNG_SIGNATURE):
        return PNG_SIGNATURE + b"".join(_changed(list(_chunks_of_png(data)), random, others, chunk))
    if data[:4] == b"RIFF":
        body = b"WEBP" + b"".join(_changed(list(_chunks_of_webp(data)), random, others, _webp_chunk))
        return b"RIFF" + struct.pack("<I", len(body)) + body
    if data[:2] == b"\xff\xd8":
        segments, rest = _segments_of_jpeg(data)
        return b"\xff\xd8" + b"".join(_changed(segments, random, others, _jpeg_segment)) + rest
    return with_another_number(data, random, others)


def _changed(
    blocks: list[tuple[bytes, bytes]],
    random: Random,
    others: Sequence[bytes],
    framed: Callable[[bytes, bytes], bytes],
) -> Iterator[bytes]:
    if blocks:
        at = random.randrange(len(blocks))
        kind, content = blocks[at]
        what = random.randrange(5)
        if what == 0:
            blocks.insert(random.randrange(len(blocks) + 1), (kind, content))
        elif what == 1:
            blocks.insert(random.randrange(len(blocks)), blocks.pop(at))
        elif what == 2:
            del blocks[at]
        else:
            change = random.choice(PLAIN)
            blocks[at] = (
                kind,
                _inflated_and_changed(content, random, others) if kind == b"IDAT" else change(content, random, others),
            )
    return (framed(*block) for block in blocks)


def _inflated_and_changed(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    try:
        pixels = zlib.decompress(content)
    except zlib.error:
        return random.choice(PLAIN)(content, random, others)
    return zlib.compress(random.choice(PLAIN)(pixels, random, others)[: 2**22], 1)


def _chunks_of_png(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 8 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += length + 12


def _chunks_of_webp(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        length = struct.unpack_from("<I", data, at + 4)[0]
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _webp_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _segments_of_jpeg(data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Those before the pixels, and the rest."""
    found, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xDA, 0xD9):
        length = struct.unpack_from(">H", data, at + 2)[0]
        found.append((data[at : at + 2], data[at + 4 : at + 2 + length]))
        at += 2 + max(length, 2)
    return found, data[at:]


def _jpeg_segment(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack(">H", (len(content) + 2) % 65536) + content


Mutation = Callable[[bytes, Random, Sequence[bytes]], bytes]
PLAIN: list[Mutation] = [flipped, overwritten, cut_off, cut_out, repeated, put_in, spliced, with_another_number]
MUTATIONS: list[Mutation] = [*PLAIN, with_another_number, with_another_block, with_another_block, with_another_block]
