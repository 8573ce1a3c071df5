"""The result of training, as a classifier holds it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .._common.arguments import LabelKind
from .._common.console import Console
from ..backbones import WeightsChoice
from ..cache import Store
from ..errors import InvalidInputError
from ..features import Inspection, Predictor, Typicality
from ..images import ClassWeight, Images, Known, Split, trained_on
from ..network import Network
from ..results import MultiLabelPredictions, Predictions


@dataclass(frozen=True)
class Fitted:
    """The result of training; replaced as a whole, so that a failure leaves the previous one in place.

    Attributes:
        weights, seed: the arguments of the constructor at the time of `fit`; after `load`, "file" instead of a path.
        split_seed: the seed of the split of `fit`, and of the order of images in training.
        split: the images of `fit`; None after `load`.
        share: the share of them that `fit` held out; 0 if it was given validation images, or used none.
        known: digests of the contents of all images that the classifier was trained on.
        typicality: of the training images of the last phase that changed the network.
    """

    network: Network
    classes: npt.NDArray[Any]
    weights: WeightsChoice
    seed: int | None
    split_seed: int
    dropout: float
    class_weight: ClassWeight
    known: Known
    split: Split | None = None
    share: float = 0.0
    typicality: Typicality | None = None

    @property
    def kind(self) -> LabelKind:
        """Whether an image may have several labels."""
        return "single" if self.network.thresholds is None else "multiple"

    @cached_property
    def predictor(self) -> Predictor:
        return Predictor(self.network, self.typicality)

    def predictions(
        self, images: Images, store: Store | None, console: Console, title: str, skip: bool, views: int = 1
    ) -> tuple[Predictions, Inspection]:
        """Predictions for the images that can be read, and which these are; arguments as for `Predictor`."""
        _, probabilities, typicalities, inspection = self.predictor(images, store, console, title, skip, views)
        rows = inspection.readable()
        paths = [images.path(index) for index in rows.tolist()]
        found = self.classes, probabilities, paths, inspection.reasons(images), typicalities, rows
        thresholds = self.network.thresholds
        predictions = Predictions(*found) if thresholds is None else MultiLabelPredictions(*found, thresholds)
        return predictions, inspection

    def holds_known(self, keys: npt.NDArray[Any]) -> bool:
        """Whether all images that the classifier was trained on are among those with these keys."""
        return bool(np.isin(self.known, trained_on(keys) if keys.ndim > 1 else keys).all())

    def split_of_fit(self, method: str) -> Split:
        """The images of `fit`.

        Raises:
            InvalidInputError: the classifier was loaded or copied, so `method` cannot have them.
        """
        if self.split is None:
            raise InvalidInputError(
                f"{method} was called on a classifier that was loaded or copied, but it needs the images of fit, which "
                f"only the fitted classifier has. Call it on that classifier, or fit again."
            )
        return self.split
