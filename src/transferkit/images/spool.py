"""Keep arrays that can be read only once in a temporary file, so that memory stays flat, however many there are."""

from __future__ import annotations

import math
import tempfile
import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInputError

MEMORY_BYTES = 2**26  # up to this size, the file stays in memory


class Spool:
    """A temporary file of arrays, deleted when none of its images is in use any more."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES, prefix="transferkit-")  # noqa: SIM115  # closed below
        self._end, self._lock = 0, threading.Lock()
        weakref.finalize(self, _close, self._file)

    def add(self, image: npt.NDArray[Any]) -> SpooledImage:
        """Append an image.

        Raises:
            InvalidInputError: the disk is full.
        """
        added = SpooledImage(self, self._end, image.shape, image.dtype)
        try:
            self._file.write(np.ascontiguousarray(image).data)
            self._file.flush()
        except OSError as error:
            raise InvalidInputError(
                f"The images of the dataset could not be written to {tempfile.gettempdir()!r} ({error.strerror}): they need "
                f"more than {self._end / 1e9:.1f} GB there. Set the variable TMPDIR to a folder with more room, or pass the "
                f"paths of the files."
            ) from error
        self._end += image.nbytes
        return added

    def read(self, start: int, size: int) -> bytes:
        """Read `size` bytes; on any thread, after the last `add`."""
        with self._lock:
            self._file.seek(start)
            return self._file.read(size)


@dataclass(frozen=True)
class SpooledImage:
    """An image in a `Spool`; copying or pickling it gives an array."""

    spool: Spool
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self) -> npt.NDArray[Any]:
        content = self.spool.read(self.start, math.prod(self.shape) * self.dtype.itemsize)
        return np.frombuffer(content, self.dtype).reshape(self.shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return np.asarray, (self.read(),)


def _close(file: Any) -> None:
    with suppress(OSError):  # the disk is full
        file.close()
