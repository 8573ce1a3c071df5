"""Bytes of an image file -> upright RGB uint8 -> one size. Training and predicting share this decoder.

Resizing, the same for every source: first by whole factors, by averaging areas, until less than a factor of
two is left; then bilinear interpolation does the rest. Plain bilinear interpolation reads two pixels per output
pixel and skips those between them, which aliases fine patterns; the antialiased kind costs two thirds of the
throughput. The aspect ratio is not kept, as in Keras's own image loading.

The factor of an image that is much larger than wanted is a multiple of a power of two, and a large JPEG is reduced
by that power, up to 8, while it is decoded (DCT scaling). That takes half the time, and leaves the result within one
grey level of 255, on average over a photo, of the full decode.
"""

from __future__ import annotations

import io
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from .errors import ImageReadError, MissingExtraError
from .images import ImageFiles, Images

__all__ = ["PIXEL_RULE", "Pixels", "decode", "in_background", "load", "read_bytes", "resize", "unreadable"]

Pixels = npt.NDArray[np.float32]
Size = tuple[int, int]
T = TypeVar("T")
R = TypeVar("R")

# JPEGs of fewer bytes are decoded in full: they take no time.
LARGE_BYTES = 100_000
# Stands for all rules by which bytes become pixels: stored values depend on it, so a change that changes pixels
# changes it too.
PIXEL_RULE = "area-bilinear-2"
# Transparent pixels are composited on this colour: what hides under full transparency is arbitrary.
BACKGROUND = 255.0
# A picture of more pixels than this is refused by its header, before any of it is inflated.
MAX_PIXELS = 100_000_000


def load(images: Images, index: int, size: Size) -> Pixels:
    """Image `index` as float32 `(height, width, 3)`, RGB 0-255, upright, of the wanted size.

    Raises:
        ImageReadError: the file cannot be read; the message names it.
    """
    if isinstance(images, ImageFiles):
        return resize(decode(read_bytes(images, index), images.name(index), size), size)
    return resize(images.array(index), size)


def read_bytes(images: ImageFiles, index: int) -> bytes:
    """The bytes of one file."""
    try:
        return images.paths[index].read_bytes()
    except OSError as error:
        raise unreadable(images.name(index), error.strerror or str(error)) from error


def unreadable(name: str, reason: str) -> ImageReadError:
    """The one wording of an image that cannot be read."""
    return ImageReadError(
        f"The image {name} cannot be read ({reason}): every image must be whole and of a known format. Repair it or "
        f"take it out.",
        {name: reason},
    )


def resize(image: npt.NDArray[Any], size: Size) -> Pixels:
    """An image `(h, w, 3)`, 0-255 -> float32 `(height, width, 3)`; the argument is never changed."""
    if image.shape[:2] == size:
        return image.astype(np.float32)
    down = _whole_factors(image.shape[:2], size)
    if image.dtype != np.uint8:
        image = image.astype(np.float32)
    # The public tf.image.resize would bring all of the image to float32 first, which costs as much again.
    areas = _area_sums(image, *down)[np.newaxis]
    resized: Pixels = tf.raw_ops.ResizeBilinear(images=areas, size=size, half_pixel_centers=True).numpy()[0]
    if down != (1, 1):
        resized /= down[0] * down[1]
    return resized


def _power_of_two(shape: Size, size: Size) -> int:
    """The largest power of two that, divided by, both sides are still twice as long as wanted; 1 at least."""
    left = min(shape[0] // (2 * size[0]), shape[1] // (2 * size[1]))
    return int(2 ** (left.bit_length() - 1)) if left else 1


def _whole_factors(shape: Size, size: Size) -> tuple[int, int]:
    """By how much each side is reduced before the interpolation."""
    power = _power_of_two(shape, size)
    down, across = (side // (power * wanted) or 1 for side, wanted in zip(shape, size, strict=True))
    return power * down, power * across


def _area_sums(image: npt.NDArray[Any], down: int, across: int) -> npt.NDArray[Any]:
    """The sums over areas of `down` x `across` pixels; what is left over at the far edges is not used.

    Rows first, which lie together in memory, then column by column of each channel.
    """
    if (down, across) == (1, 1):
        return image
    height, width = image.shape[0] // down, image.shape[1] // across
    exact = np.uint16 if image.dtype == np.uint8 and down * across <= 257 else np.float32
    rows: npt.NDArray[Any] = image[: height * down : down].astype(exact)
    for start in range(1, down):
        np.add(rows, image[start : height * down : down], out=rows)
    if across == 1:
        return rows
    sums = np.empty((height, width, 3), exact)
    for channel in range(3):
        columns = rows[:, : width * across : across, channel].copy()
        for start in range(1, across):
            np.add(columns, rows[:, start : width * across : across, channel], out=columns)
        sums[..., channel] = columns
    return sums


def decode(data: bytes, name: str = "image", size: Size | None = None) -> npt.NDArray[np.uint8]:
    """The bytes of a file -> uint8 `(h, w, 3)`, RGB, upright. The content decides, not the extension.

    Args:
        size: what the image will be resized to; a much larger one may come out reduced.

    Raises:
        ImageReadError: empty, truncated, not an image, or too large.
    """
    if not data:
        raise unreadable(name, "the file is empty")
    kind = sniff(data)
    try:
        if kind == "jpeg":
            return _decode_jpeg(data, size)
        image = _DECODERS[kind](data) if kind in _DECODERS else _decode_with_pillow(data, name)
    except tf.errors.OpError as error:
        raise unreadable(name, _reason(kind, error)) from error
    return np.ascontiguousarray(upright(image, _png_orientation(data) if kind == "png" else 1))


def sniff(data: bytes) -> str:
    """The format that the first bytes declare."""
    if data.startswith(b"\xff\xd8"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith((b"GIF87a", b"GIF89a")) and not _has_transparency(data):
        return "gif"
    if data.startswith(b"BM") and _is_plain_bmp(data):
        return "bmp"
    return "other"


def _has_transparency(gif: bytes) -> bool:
    """Whether the first graphic control extension (GIF89a, 23) names a transparent colour, which TensorFlow blackens."""
    at = gif.find(b"\x21\xf9\x04")
    return 0 <= at < len(gif) - 3 and bool(gif[at + 3] & 1)


def _is_plain_bmp(data: bytes) -> bool:
    """24 bits a pixel, uncompressed: what TensorFlow decodes rightly (palettes it does not)."""
    return len(data) > 34 and struct.unpack_from("<H", data, 28)[0] == 24 and struct.unpack_from("<I", data, 30)[0] == 0


def _decode_jpeg(data: bytes, size: Size | None) -> npt.NDArray[np.uint8]:
    orientation = exif_orientation(data)
    ratio, shape = 1, None
    if size is not None and len(data) > LARGE_BYTES:
        height, width, _ = tf.io.extract_jpeg_shape(data).numpy().tolist()
        power = min(8, _power_of_two((height, width), size if orientation < 5 else size[::-1]))
        # Pixels that no whole area covers are left out at the far edges, which are elsewhere in a turned photo.
        if orientation == 1 or (height % power, width % power) == (0, 0):
            ratio, shape = power, (height // power, width // power)
    # The accurate integer transform gives the pixels that Pillow and most viewers give.
    image = tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE").numpy()
    if shape is not None:
        image = image[: shape[0], : shape[1]]
    return np.ascontiguousarray(upright(image, orientation))


def _decode_png(data: bytes) -> npt.NDArray[np.uint8]:
    width, height = struct.unpack_from(">II", data, 16) if len(data) > 25 else (0, 0)
    if width * height > MAX_PIXELS:
        raise tf.errors.InvalidArgumentError(None, None, f"{width} x {height} pixels is too large")
    # TensorFlow makes up a wrong alpha for pictures of less than 8 bits: it is asked for only where there is one.
    has_alpha = len(data) > 25 and (data[25] in (4, 6) or _png_chunk(data, b"tRNS") is not None)
    image: npt.NDArray[np.uint8] = tf.io.decode_png(data, channels=4 if has_alpha else 3).numpy()
    return _on_background(image) if has_alpha else image


def _png_chunk(data: bytes, kind: bytes) -> bytes | None:
    """The content of the first chunk of a kind that stands before the pixels, if there is one."""
    at = 8
    while at + 8 <= len(data):
        length, found = struct.unpack_from(">I", data, at)[0], data[at + 4 : at + 8]
        if found == kind:
            return data[at + 8 : at + 8 + length]
        if found == b"IDAT":
            return None
        at += length + 12
    return None


def _png_orientation(data: bytes) -> int:
    """The EXIF orientation of a PNG, from its eXIf chunk; 1 where there is none."""
    exif = _png_chunk(data, b"eXIf")
    return 1 if exif is None else _orientation_of_tiff(exif)


def _decode_gif(data: bytes) -> npt.NDArray[np.uint8]:
    image: npt.NDArray[np.uint8] = tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
    return image


def _decode_bmp(data: bytes) -> npt.NDArray[np.uint8]:
    image: npt.NDArray[np.uint8] = tf.io.decode_bmp(data, channels=3).numpy()
    return image


_DECODERS: dict[str, Callable[[bytes], npt.NDArray[np.uint8]]] = {
    "png": _decode_png,
    "gif": _decode_gif,
    "bmp": _decode_bmp,
}


def _looks_like_image(data: bytes) -> bool:
    """Whether the first bytes are those of a format that Pillow reads and TensorFlow does not."""
    return (
        data.startswith((b"RIFF", b"BM", b"GIF8", b"II*\x00", b"MM\x00*", b"\x00\x00\x01\x00", b"\xff\x4f\xff\x51"))
        or data[4:8] in (b"ftyp", b"jP  ")
        or (data[:1] == b"P" and data[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and data[2:3].isspace())
    )


def _on_background(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return rgb
    share = alpha.astype(np.float32) / 255
    return np.round(rgb * share + BACKGROUND * (1 - share)).astype(np.uint8)


def _decode_with_pillow(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    """WebP, TIFF and what else TensorFlow does not decode, or decodes wrongly."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        if not _looks_like_image(data):
            raise unreadable(name, "it is not an image") from None
        raise MissingExtraError(f"Reading {name}", "images") from None
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = ImageOps.exif_transpose(opened)
            if "A" in image.getbands() or "transparency" in image.info:
                return _on_background(np.asarray(image.convert("RGBA")))
            if image.mode.startswith(("I", "F")):
                return _scaled_to_8_bits(np.asarray(image))
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        raise unreadable(name, "it is not an image") from None
    except Exception as error:  # Pillow's plugins raise whatever their parsers meet
        raise unreadable(name, f"{type(error).__name__}: {error}") from error


def _scaled_to_8_bits(grey: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """16-bit and float pictures by their own range: a plain conversion would clip nearly all of it."""
    values = grey.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are no numbers")
    low, high = float(values.min()), float(values.max())
    scaled = np.round((values - low) * (255 / ((high - low) or 1))).astype(np.uint8)
    return np.repeat(scaled[..., np.newaxis], 3, axis=-1)


def _reason(kind: str, error: tf.errors.OpError) -> str:
    """TensorFlow's message, without the part that names its operation."""
    text = str(error.message).partition("[Op:")[0].replace("{{function_node", "{{").strip()
    text = text.rpartition("}}")[2].strip().rstrip(".")
    return f"damaged {kind.upper()}: {text}" if text else f"damaged {kind.upper()}"


def exif_orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG, 1 to 8; 1 where there is none or it makes no sense.

    Follows the segment structure of JPEG (ITU T.81, B.1.1) to APP1 and reads tag 0x0112 of the
    first TIFF directory there (CIPA DC-008, 4.6.4).
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xDA, 0xD9):
        length = struct.unpack_from(">H", data, at + 2)[0]
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\x00\x00":
            return _orientation_of_tiff(data[at + 10 : at + 2 + length])
        at += 2 + length
    return 1


def _orientation_of_tiff(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        directory = struct.unpack_from(order + "I", tiff, 4)[0]
        for entry in range(struct.unpack_from(order + "H", tiff, directory)[0]):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * entry)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:  # the directory points outside the segment
        pass
    return 1


def upright(image: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo an EXIF orientation: 2-4 are mirrorings and the half turn, 5-8 swap the sides."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def in_background(work: Callable[[T], R], items: Iterable[T], threads: int, ahead: int) -> Iterator[Future[R]]:
    """`work` over `items` on a few threads, in order, at most `ahead` results waiting to be taken."""
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="transferkit-decode")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
