"""The forms in which users hand over images and labels, for signatures; `reading` checks them."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    import pandas
    import tensorflow as tf

__all__ = ["ImageData", "ImageLike", "Labels", "Validation"]

ImageLike: TypeAlias = "str | PathLike[str] | bytes | npt.NDArray[np.generic] | Image.Image"
ImageData: TypeAlias = (
    "str | PathLike[str] | Sequence[ImageLike] | npt.NDArray[np.generic] | pandas.DataFrame | tf.data.Dataset"
)
Labels: TypeAlias = "Sequence[str] | Sequence[int] | Sequence[bool] | npt.NDArray[np.generic] | pandas.Series"
# A share, images, "auto" (a text, as a path is), or None.
Validation: TypeAlias = "float | ImageData | tuple[ImageData, Labels] | None"
