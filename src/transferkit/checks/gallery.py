"""A labelled grid of what a network will see."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._common.arguments import Resize, check_count, check_resize, check_seed, check_size
from .._public import public
from ..errors import InvalidInputError
from ..features import Augmentation, augmenter
from ..images import ImageData, ImageLike, Labels, Resizing, load, read_images, read_labelled
from ..results import grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@public
def show_images(
    data: ImageData | ImageLike,
    labels: Labels | None = None,
    *,
    size: int | tuple[int, int] = 224,
    resize: Resize = "squash",
    count: int = 12,
    augmentation: Augmentation = None,
    seed: int | None = 0,
) -> Figure:
    """Draw images as a network will see them: upright, resized, and augmented (extra ``plot``).

    Args:
        data: as for `TransferClassifier.fit`, or as for `predict` without labels.
        labels: one per image, if `data` contains none.
        size: pixels, or (height, width).
        resize: as for `TransferClassifier`.
        count: how many images, evenly spaced so that every class is shown.
        augmentation: as for `TransferClassifier`.
        seed: the seed of the augmentation; None = another one in each call.

    Returns:
        A figure; it is not shown. Save it with ``.savefig("images.png")``.

    Raises:
        InvalidInputError: there are no images, or an argument is wrong.
        ImageReadError: one of the drawn images cannot be read.
    """
    pixels = check_size(size, "size") or (224, 224)
    resizing = Resizing(pixels, check_resize(resize))
    given = check_seed(seed)
    check_count("count", count, example=12)
    augment = augmenter(augmentation, pixels, secrets.randbelow(2**31) if given is None else given)
    try:
        labelled = read_labelled(data, labels, kind="auto")
        images, names = labelled.images, [labelled.label(index) for index in range(len(labelled))]
        titles = [", ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in names]
    except InvalidInputError:
        if labels is not None:
            raise
        images = read_images(data)
        titles = [Path(images.name(index)).name for index in range(len(images))]
    if not len(images):
        raise InvalidInputError("There are no images to show: pass at least one. Check the folder.")
    chosen = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int))
    batch: Any = np.stack([load(images, int(index), resizing) for index in chosen])
    return grid(list(batch if augment is None else augment(batch).numpy()), [titles[at] for at in chosen])
