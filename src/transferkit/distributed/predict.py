"""`PredictBatch`: the classifier as a function from a dict of columns to a dict of columns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from .._console import Console
from .._public import public
from .batches import Batch, Columns, LoadedOnce, checked_cpus, column, split_columns, use_cpus

if TYPE_CHECKING:
    from ..classifier import TransferClassifier

__all__ = ["PredictBatch"]


@public
class PredictBatch:
    """Predicts batches of images, for engines such as Ray Data, Dask and Spark.

    An instance is a function of a batch. It can be pickled, and loads the classifier once in each process. Nothing is
    stored on the machine.

    Args:
        classifier: the path or the URL of a saved classifier, which each process reads; or a classifier.
        image: the column of images: bytes of image files, dicts with the keys ``bytes`` and ``path``, paths, URLs, or
            arrays `(h, w, 3)`, RGB 0-255.
        probabilities: also answer a column ``probabilities``, float32 `(n, n_classes)`, in the order of `classes_`.
        prefix: of the names of the columns that are added.
        num_cpus: how many CPUs a process uses; None = the number in the variable ``OMP_NUM_THREADS``, which most engines
            set to what a task was given, or all.

    Raises:
        InvalidInputError: an argument breaks a rule.

    Example:
        >>> from pathlib import Path
        >>> import transferkit as tk
        >>> predict = tk.PredictBatch("pets.keras", image="bytes")
        >>> answer = predict({"bytes": [Path("photos/new/a.jpg").read_bytes(), b"broken"], "id": [7, 8]})
        >>> list(answer)
        ['id', 'label', 'confidence', 'error']
        >>> answer["error"].tolist()
        [None, 'it is not an image of a known format']
    """

    def __init__(
        self,
        classifier: TransferClassifier | str | os.PathLike[str],
        *,
        image: str = "image",
        probabilities: bool = False,
        prefix: str = "",
        num_cpus: int | None = None,
    ) -> None:
        self._source, self._num_cpus = LoadedOnce(classifier), checked_cpus(num_cpus)
        self.image, self.probabilities, self.prefix = image, probabilities, prefix

    def __call__(self, batch: Batch) -> Columns:
        """The columns of a batch -> its other columns, and the answers.

        The columns ``label`` (class names, None for images that cannot be read), ``confidence`` (float32, 0 to 1, NaN
        for these) and ``error`` (the reason, None for the others) are added, and ``probabilities`` if wanted. The column
        of images is left out, unless it holds paths or URLs.

        Raises:
            InvalidInputError: a column is missing, or has the name of one that is added.
            BundleError: the classifier cannot be loaded. An image that cannot be read is never an error.
        """
        from ..images import read_each

        use_cpus(self._num_cpus)
        names = [self.prefix + name for name in ("label", "confidence", "error")]
        shares_name = self.prefix + "probabilities"
        items, columns = split_columns(batch, self.image, [*names, shares_name] if self.probabilities else names)
        images, faults = read_each(items)
        fitted = self._source.get()._single_label_or_raise("PredictBatch")
        _, shares, _, inspection = fitted.predictor(images, None, Console(0), "predicting", skip=True)
        rows, codes = inspection.readable(), shares.argmax(axis=1)
        labels, confidences = column([None] * len(items)), np.full(len(items), np.nan, np.float32)
        labels[rows], confidences[rows] = fitted.classes[codes].tolist(), shares.max(axis=1)
        columns |= dict(zip(names, (labels, confidences, column(inspection.errors(faults))), strict=True))
        if self.probabilities:
            columns[shares_name] = np.full((len(items), len(fitted.classes)), np.nan, np.float32)
            columns[shares_name][rows] = shares
        return columns
