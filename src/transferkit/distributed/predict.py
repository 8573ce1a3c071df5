"""`PredictBatch`: the classifier as a function from a dict of columns to a dict of columns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from .._common.arguments import check_views
from .._common.console import Console
from .._public import public
from .batches import Batch, Columns, LoadedOnce, checked_cpus, split_columns, use_cpus

if TYPE_CHECKING:
    from ..classifier import TransferClassifier


@public
class PredictBatch:
    """Predicts batches of images, for engines such as Ray Data, Dask and Spark.

    An instance is a function of a batch. It can be pickled, and loads the classifier once in each process. Nothing is
    stored on the machine.

    Args:
        classifier: the path or URL of a saved classifier, which each process reads; or a classifier.
        image: the column of images: bytes of image files, dicts with the keys ``bytes`` and ``path``, paths, URLs, or
            arrays `(h, w, 3)`, RGB 0-255.
        probabilities: also return a column ``probabilities``, float32 `(n, n_classes)`, in the order of `classes_`.
        typicality: also return a column ``typicality``, float32 0 to 1, as `Prediction.typicality`.
        views: 2 = average over each image and its mirror image, as for `predict`.
        prefix: for the names of the columns that are added.
        num_cpus: how many CPUs a process uses; None = the number in the variable ``OMP_NUM_THREADS``, which most
            engines set to the CPUs of a task; all if it is not set.

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
        typicality: bool = False,
        views: int = 1,
        prefix: str = "",
        num_cpus: int | None = None,
    ) -> None:
        self._source, self._num_cpus = LoadedOnce(classifier), checked_cpus(num_cpus)
        self.image, self.prefix = image, prefix
        self.probabilities, self.typicality = probabilities, typicality
        self.views = check_views(views)

    def __call__(self, batch: Batch) -> Columns:
        """The columns of a batch -> its other columns, and the answers.

        It adds the columns ``label`` (class names, None for images that cannot be read), ``confidence`` (float32, 0 to
        1, NaN for these), ``error`` (why an image cannot be read, or None) and, if requested, ``probabilities`` and
        ``typicality`` (NaN for these). With several labels per image, ``label`` and ``confidence`` hold lists, the most
        probable label first, and None for images that cannot be read. The column of images is left out, unless it holds
        paths or URLs.

        Raises:
            InvalidInputError: a column is missing, or has the name of one that is added.
            BundleError: the classifier cannot be loaded. An image that cannot be read is never an error.
        """
        from ..images import read_each

        use_cpus(self._num_cpus)
        extra = {"probabilities": self.probabilities, "typicality": self.typicality}
        names = ["label", "confidence", "error", *(name for name, asked in extra.items() if asked)]
        added = {name: self.prefix + name for name in names}
        items, columns = split_columns(batch, self.image, list(added.values()), self._source)
        images, faults = read_each(items)
        fitted = self._source.get()._fitted_or_raise("PredictBatch")
        found, inspection = fitted.predictions(images, None, Console(0), "predicting", True, self.views)
        rows, several = inspection.readable(), fitted.kind == "multiple"
        missing = np.full(len(items), None)
        labels, confidences = missing.copy(), missing if several else np.full(len(items), np.nan, np.float32)
        answers = zip(rows.tolist(), found.labels.tolist(), found.confidences.tolist(), strict=True)
        for row, label, confidence in answers:
            labels[row], confidences[row] = (list(label), list(confidence)) if several else (label, confidence)
        errors = np.array(inspection.errors(faults), object)
        answer: Columns = {"label": labels, "confidence": confidences, "error": errors}
        for name, values in (("probabilities", found.probabilities), ("typicality", found.typicalities)):
            answer[name] = np.full((len(items), *values.shape[1:]), np.nan, np.float32)
            answer[name][rows] = values
        return columns | {name: answer[short] for short, name in added.items()}
