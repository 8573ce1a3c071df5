"""`FeatureBatch`: feature extraction as a function of a batch that fills a store."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .._common.console import Console
from .._public import public
from ..errors import InvalidInputError, UnknownBackboneError, bad_argument
from .batches import Batch, Columns, LoadedOnce, checked_cpus, split_columns, use_cpus

if TYPE_CHECKING:
    from ..backbones import Backbone
    from ..classifier import TransferClassifier
    from ..network import At, FeatureExtractor


@public
class FeatureBatch:
    """Extracts the features of batches of images into a folder, for engines such as Ray Data, Dask and Spark.

    The folder is the `cache` of a classifier: when all batches are done, ``TransferClassifier(..., cache=store)`` with
    the same arguments computes no features in `fit`. All processes must reach the folder, for example on a network file
    system; or each machine fills its own folder, and `transferkit.cache.push` merges them at a URL.

    Args:
        classifier: a classifier, fitted or not, whose backbone, weights, input size and precision are used; the path or
            URL of a saved one; or a backbone, as a record or by its registered name.
        store: the folder. Nothing in it is deleted to make room: a batch that does not fit is an error, so raise its
            limit with `transferkit.cache.set_limit` first.
        at: None = the features, for `fit`; or the `at` of a later `fine_tune`, for the values there.
        image: the column of images, as for `PredictBatch`. With URLs, `fit` on the same URLs downloads nothing either.
        features: also return a column ``features``, float32 `(n, ...)`.
        num_cpus: as for `PredictBatch`.

    Raises:
        InvalidInputError: an argument breaks a rule.

    Example:
        >>> import transferkit as tk
        >>> extract = tk.FeatureBatch(tk.TransferClassifier("MobileNetV2"), store="values", image="path")
        >>> answer = extract({"path": ["photos/new/a.jpg", "photos/new/b.jpg"]})
        >>> list(answer), answer["error"].tolist()
        (['path', 'error'], [None, None])
    """

    def __init__(
        self,
        classifier: TransferClassifier | Backbone | str | os.PathLike[str],
        *,
        store: str | os.PathLike[str],
        at: At | None = None,
        image: str = "image",
        features: bool = False,
        num_cpus: int | None = None,
    ) -> None:
        self._source, self._num_cpus = LoadedOnce(_with_backbone(classifier)), checked_cpus(num_cpus)
        if not isinstance(store, (str, os.PathLike)):
            raise bad_argument("store", store, "must be the path of a folder", "Pass for example store='values'")
        if getattr(classifier, "precision", "") == "auto":
            rule = "may differ between machines, and stored values are looked up by it"
            raise bad_argument("precision", "auto", rule, "Pass 'float32' or 'bfloat16' to the classifier")
        self.store, self.at, self.image, self.features = os.fspath(store), at, image, features

    def __call__(self, batch: Batch) -> Columns:
        """The columns of a batch -> its other columns, and ``error`` (None, or why an image cannot be read).

        With `features`, the column ``features`` too, NaN for images that cannot be read. The column of images is left
        out, unless it holds paths or URLs.

        Raises:
            InvalidInputError: a column is missing or has the name of one that is added, or the values could not be
                stored.
            WeightsError: the weights could not be loaded.
        """
        from ..cache import KEY, shared_store
        from ..features import Plan, Storage, extract
        from ..images import read_each

        use_cpus(self._num_cpus)
        items, columns = split_columns(
            batch, self.image, ["error", *(["features"] if self.features else [])], self._source
        )
        images, faults = read_each(items)
        extractor, store = self._extractor(), shared_store(self.store)
        plan, console = Plan(images), Console(0)
        extraction = extract(extractor, plan, Storage(store), console, "computing features", skip=True, inspects=True)
        inspection = extraction.inspection
        rows = inspection.readable()
        keys = inspection.keys[rows].view(KEY).ravel()
        if not store.table(extractor.name, extractor.tensors).locate(keys)[1].all():
            raise InvalidInputError(
                f"The values of a batch could not be stored in {self.store!r}: the folder must be writable, with room under "
                f"its limit and on its disk. Raise the limit with transferkit.cache.set_limit(bytes, {self.store!r})."
            )
        columns["error"] = np.array(inspection.errors(faults), object)
        if self.features:
            columns["features"] = self._column(extraction.values, rows)
        return columns

    def _extractor(self) -> FeatureExtractor:
        extractor: FeatureExtractor = self._source.once(
            f"{self.at!r}", lambda classifier: classifier._extractor(self.at)
        )
        return extractor

    def _column(self, values: Any, rows: Any) -> Any:
        if len(values) > 1:
            rule = f"is not possible for at={self.at!r}, where {len(values)} tensors cross the cut"
            raise bad_argument("features", True, rule, "Leave it out")
        found = np.full(values[0].shape, np.nan, np.float32)
        found[rows] = values[0][rows]
        return found


def _with_backbone(source: Any) -> Any:
    """A classifier with the backbone, if `source` is a record or a registered name that is not a file; else `source`."""
    from ..backbones import Backbone, get_backbone

    is_name = isinstance(source, str) and not os.path.isfile(source)  # noqa: PTH113
    if not is_name and not isinstance(source, Backbone):
        return source
    with contextlib.suppress(UnknownBackboneError):
        record = get_backbone(source)
        from ..classifier import TransferClassifier

        return TransferClassifier(record)
    return source
