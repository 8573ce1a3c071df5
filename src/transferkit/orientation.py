"""Which way up a photo is stored, by its EXIF or XMP data, and how to turn it upright."""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy.typing as npt

__all__ = ["of_exif", "of_xmp", "upright"]

# As an attribute or as an element (XMP specification, part 2, 2.5: the tiff namespace).
XMP_ORIENTATION = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*(\d)")


def of_exif(tiff: bytes) -> int | None:
    """Tag 0x0112 of the first directory of EXIF data, 1 to 8 (CIPA DC-008, 4.6.4); None where there is none.

    A value that does not exist counts as 1.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    try:
        directory = struct.unpack_from(order + "I", tiff, 4)[0]
        for entry in range(struct.unpack_from(order + "H", tiff, directory)[0]):
            at = directory + 2 + 12 * entry
            tag, kind = struct.unpack_from(order + "HH", tiff, at)
            if tag == 0x0112:
                # A short number, as the standard asks for, or a long one, as some programs write it.
                value = struct.unpack_from(order + ("I" if kind == 4 else "H"), tiff, at + 8)[0]
                return value if kind in (3, 4) and 1 <= value <= 8 else 1
    except struct.error:  # the directory points outside the segment
        pass
    return None


def of_xmp(packet: bytes) -> int | None:
    """The same of XMP data, which some editors write in place of EXIF."""
    found = XMP_ORIENTATION.search(packet)
    if found is None:
        return None
    value = int(found[1])
    return value if 1 <= value <= 8 else 1


def upright(image: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo an orientation: 2-4 are mirrorings and the half turn, 5-8 swap the sides."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image
