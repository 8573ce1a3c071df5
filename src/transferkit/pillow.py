"""Pillow (extra ``images``), kept to the formats that are wanted, and quiet."""

from __future__ import annotations

import io
import threading
import warnings
from typing import Any

__all__ = ["open_with_pillow", "quiet_pillow"]

# Others, such as EPS, would start programs of theirs.
PILLOW_FORMATS = ["AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"]


def open_with_pillow(data: bytes) -> Any:
    """A file as Pillow's image, not decoded yet.

    Raises:
        ImportError: Pillow is not installed.
    """
    from PIL import Image

    with quiet_pillow:
        return Image.open(io.BytesIO(data), formats=PILLOW_FORMATS)


class _QuietPillow:
    """While a thread is in here, warnings of Pillow are not shown: they do not name the file; the doctor does.

    Filters are those of the whole process. The first thread that enters sets them, the last one that leaves takes them
    back, so that none waits for another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(None, None, None)


quiet_pillow = _QuietPillow()
