"""Keep arrays that can be read only once in a temporary file, so that memory stays flat, however many there are."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInputError


def spooled(images: Iterable[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """The same arrays, mapped to a temporary file, which is deleted when none of them is in use any more.

    The file has no name, so nobody else can shorten it.

    Raises:
        InvalidInputError: the disk is full.
    """
    forms: list[tuple[tuple[int, ...], np.dtype[Any], int]] = []
    end = 0
    try:
        with tempfile.TemporaryFile(prefix="transferkit-") as file:
            for image in images:
                file.write(np.ascontiguousarray(image).data)
                forms.append((image.shape, image.dtype, end))
                end += image.nbytes
            file.flush()
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if end else b""
    except OSError as error:
        raise InvalidInputError(
            f"The images of the dataset could not be written to {tempfile.gettempdir()!r} ({error.strerror}): they need "
            f"more than {end / 1e9:.1f} GB there. Set the variable TMPDIR to a folder with more room, or pass the "
            f"paths of the files."
        ) from error
    return [np.ndarray(shape, dtype, content, start) for shape, dtype, start in forms]
