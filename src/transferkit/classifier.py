"""`TransferClassifier`: hands each step of the work to the module that knows it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from . import bundle, cache, phases
from ._public import public
from .arguments import check_number, check_seed, check_size, check_verbose
from .augmentation import Augmentation, augmenter, fixed_views
from .backbones import get_backbone
from .errors import (
    BundleError,
    InvalidInputError,
    NotFittedError,
    UnknownBackboneError,
    bad_argument,
)
from .estimator import Estimator
from .examination import check_policy
from .findings import Findings, all_unreadable
from .gallery import show_images
from .images import Images, LabelledImages
from .inference import Predictor
from .inputs import read_images, read_labelled
from .labels import class_weights
from .loading import build_with_weights
from .network import At, Network, assemble
from .progress import say
from .rates import LearningRate
from .records import Backbone
from .report import Report
from .request import Request, request
from .results import Evaluation, History, Predictions
from .splits import VALIDATION, Material, read_material, validation_share
from .weights import Source, WeightsChoice, check_weights, find_weights, size_note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TransferClassifier"]


@dataclass(frozen=True)
class _Fitted:
    """What training made; replaced as a whole, so that a failure leaves the last one in place."""

    network: Network
    classes: npt.NDArray[Any]
    seed: int
    dropout: float
    report: Report | None = None
    data: LabelledImages | None = None
    validation: LabelledImages | None = None
    phases: int = 1
    class_weight: object = None
    predictor: Predictor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "predictor", Predictor(self.network))


@public
class TransferClassifier(Estimator):
    """An image classifier: a pretrained backbone with a new head.

    Args:
        backbone: a name from `list_backbones`, in any case, or a record. `load` finds backbones by their name, so a
            record of your own is registered first (`register_backbone`) if the classifier is to be loaded.
        weights: ``"pretrained"`` (those of the backbone's record), ``"imagenet"`` (the same, and an error
            where they were not trained on ImageNet), the path of a weights file, or None (random).
        input_size: None = the backbone's default, an int, or (height, width) in pixels.
        dropout: share of features that is dropped while the head trains, 0 to below 1.
        augmentation: None, ``"light"`` (mirrored, turned, zoomed a little), or a Keras layer that keeps the
            shape of a batch float32 `(n, h, w, 3)`, RGB 0-255. Active while training only.
        views: with `augmentation`, None = every epoch sees newly changed images, which are computed anew; or the
            number of changed versions of each image that are computed once and stored, and that the epochs go
            through in turn. What they show depends on the image alone, not on `seed`.
        cache: True = what was computed for an image is stored in the user's cache folder, and no later call and
            no other process computes it again (`transferkit.cache` shows, limits and clears it); the path of a
            folder of your own for that; False = nothing outlives the call.
        seed: of the split, the order of images, dropout and augmentation; None = a new one for each `fit`.

    Attributes:
        classes_: class names `(n_classes,)`, sorted; str, int64 or bool as the labels were.
        network_: a `keras.Model` from RGB 0-255 float32 `(n, h, w, 3)` to probabilities `(n, n_classes)`.
        history_: a `History`, the epochs of all phases.
        report_: a `Report`, what the doctor found in the images of the last `fit`, or of the `fine_tune` that brought
            its own; not part of a saved classifier.

    The constructor only stores its arguments; `fit` checks them.

    Example:
        >>> import transferkit as tk
        >>> clf = tk.TransferClassifier("MobileNetV2", seed=0)
        >>> clf = clf.fit("photos/train", epochs=5, verbose=0)
        >>> clf.predict("photos/new")[0].label in clf.classes_
        True
    """

    classes_: npt.NDArray[Any]
    network_: keras.Model
    history_: History
    report_: Report

    def __init__(
        self,
        backbone: str | Backbone = "MobileNetV2",
        *,
        weights: WeightsChoice = "pretrained",
        input_size: int | tuple[int, int] | None = None,
        dropout: float = 0.1,
        augmentation: Augmentation = None,
        views: int | None = None,
        cache: bool | str | PathLike[str] = True,
        seed: int | None = None,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.input_size = input_size
        self.dropout = dropout
        self.augmentation = augmentation
        self.views = views
        self.cache = cache
        self.seed = seed

    def fit(
        self,
        data: object,
        labels: object = None,
        *,
        validation: object = VALIDATION,
        epochs: int = 30,
        batch_size: int = 32,
        learning_rate: LearningRate = 1e-3,
        class_weight: object = None,
        on_bad_image: str = "raise",
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: str | int = "auto",
    ) -> Self:
        """Train a new head on the features of the frozen backbone.

        Each image passes the backbone once, however many epochs there are, and not at all if an earlier call
        stored its features (with `augmentation`, once in each epoch, or once for each of the `views`). The
        weights of the last epoch are kept. In the same pass the doctor looks at the images, see `check_images`;
        `report_` is what it found. Copies of an image are never divided between training and validation.

        Args:
            data: a folder with one folder per class; a list or array of file paths, an array `(n, h, w, 3)`, RGB
                0-255, uint8 or float, or a list of arrays, ``bytes`` of image files or Pillow images, with `labels`; a
                pandas DataFrame with the columns ``path`` or ``image``, and ``label``; a batched `tf.data.Dataset` of
                ``(image, label)``.
            labels: one per image: text, whole numbers, booleans or one-hot rows.
            validation: the share of images held out, drawn from each class alike; or data in any of these
                forms, arrays and paths as a pair ``(data, labels)``; None or 0 = no validation.
            epochs: passes over the stored features.
            batch_size: images per step.
            learning_rate: of Adam: a number or a Keras schedule. The default and that of `epochs` come from
                ``benchmarks/recipe.py``.
            class_weight: None, ``"balanced"``, or a dict from class name to weight; `fine_tune` goes on with it.
            on_bad_image: ``"raise"`` = images that cannot be read are an error that names them all, before the
                first epoch; ``"skip"`` = they are left out, and ``history_.skipped`` names them.
            callbacks: Keras callbacks; one that saves the model saves the whole network.
            verbose: ``"auto"`` or 1 = messages, and progress bars on a terminal; 2 = also a line per epoch;
                0 = silent.

        Returns:
            The classifier itself.

        Raises:
            InvalidInputError: an argument, the data or the labels break a rule.
            UnknownBackboneError: no such backbone.
            ImageReadError: images that cannot be read, all of them named.
            WeightsError: the weights cannot be had.
            TrainingError: the loss or the weights became NaN or infinite, or the loss too large to learn from; it names
                the images of the batch.

        If it fails, a classifier that was fitted before is still what it was.
        """
        asked = request(epochs, batch_size, learning_rate, callbacks, verbose)
        skip = check_policy(on_bad_image)
        record = get_backbone(self.backbone)
        size = record.input_size(check_size(self.input_size))
        source = check_weights(record, self.weights, size)
        dropout = check_number("dropout", self.dropout, low=0, high=1, example=0.1)
        seed = check_seed(self.seed)
        seed = secrets.randbelow(2**31) if seed is None else seed
        asked = self._equipped(asked, size, seed, seed, skip)
        share = validation_share(validation)
        everything = read_labelled(data, labels, what="training data", lenient=skip)
        class_weights(class_weight, everything.codes, everything.classes)  # a wrong one is refused before long work
        material = read_material(everything, validation, share, seed, lenient=skip)

        backbone = _pretrained(record, source, size, seed, asked.verbose)
        network = assemble(record, backbone, size, len(everything.classes), dropout, seed)
        say(phases.opening_line(material, network), asked.verbose)
        phase, examined = phases.fit_head(network, material, class_weight, asked)
        fitted = _Fitted(
            network,
            everything.classes,
            seed,
            dropout,
            examined.report,
            examined.training,
            examined.validation,
            class_weight=class_weight,
        )
        self._become(fitted, History((phase,)))
        return self

    def fine_tune(
        self,
        data: object = None,
        labels: object = None,
        *,
        at: At,
        validation: object = None,
        epochs: int = 5,
        batch_size: int = 32,
        learning_rate: LearningRate = 1e-5,
        on_bad_image: str = "raise",
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: str | int = "auto",
    ) -> Self:
        """Train the last part of the backbone together with the head, at a low rate.

        What lies before `at` is computed once per image and stored; layers there stay as they are, and so
        do the BatchNormalization layers everywhere. With validation images, the classifier that comes out
        is the best of all epochs and of what it was before: never a worse one, by validation accuracy and,
        where that is equal, by loss.

        Args:
            data: None = the images of `fit`, divided as they were; or data in any form that `fit` takes, of
                the classes that the classifier knows.
            labels: one per image, where `data` brings none.
            at: the first trained layer: its index in ``backbone.layers`` (negative counts from the end), its
                name, or a stage of the backbone's record. 0 trains the whole backbone, from pixels.
            validation: None = the validation images of `fit`, or with new data 15 % of it; or a share of
                the new data, or data; 0 = no validation.
            epochs: passes over the stored values.
            batch_size: images per step.
            learning_rate: of Adam: a number or a Keras schedule.
            on_bad_image: as for `fit`, of new data.
            callbacks: Keras callbacks; one that saves the model saves the whole network.
            verbose: as for `fit`.

        Returns:
            The classifier itself.

        Raises:
            NotFittedError: `fit` comes first.
            InvalidInputError: an argument or the data break a rule, or `data` is None and there is none of `fit`.
            ImageReadError: images that cannot be read, all of them named.
            TrainingError: the loss or the weights became NaN or infinite, or the loss too large to learn from; it names
                the images of the batch.

        If it fails or is stopped with Ctrl-C, the classifier is what it was before.

        Example:
            >>> import transferkit as tk
            >>> clf = tk.TransferClassifier("MobileNetV2", seed=0).fit("photos/train", epochs=5, verbose=0)
            >>> clf = clf.fine_tune(at="block_16", epochs=1, verbose=0)
            >>> [phase.name for phase in clf.history_.phases]
            ['fit', 'fine_tune']
        """
        fitted = self._fitted_or_raise("fine_tune")
        asked = request(epochs, batch_size, learning_rate, callbacks, verbose)
        fitted.network.resolve(at)
        skip = check_policy(on_bad_image)
        # A new order of images for each phase, from the one seed.
        asked = self._equipped(asked, fitted.network.size, fitted.seed, fitted.seed + fitted.phases, skip)
        material = _material_to_go_on_with(fitted, data, labels, validation, skip)
        training, held_out, report, skipped = fitted.data, fitted.validation, fitted.report, {}
        if material is not None:
            examined = phases.inspected(material, fitted.network.size, asked)
            training, held_out, report, skipped = (
                examined.training,
                examined.validation,
                examined.report,
                examined.skipped,
            )
        assert training is not None  # else there would be material
        with fitted.network.unchanged_on_error():
            phase = phases.fine_tune(fitted.network, at, training, held_out, fitted.class_weight, asked, skipped)
        self._become(
            replace(fitted, phases=fitted.phases + 1, report=report),
            History((*self.history_.phases, phase)),
        )
        return self

    def evaluate(
        self, data: object, labels: object = None, *, on_bad_image: str = "raise", verbose: str | int = "auto"
    ) -> Evaluation:
        """Loss, accuracy, confusion matrix and per-class figures on labelled images.

        Args:
            data: as for `fit`; classes may be missing from it, unknown ones may not occur.
            labels: one per image, where `data` brings none.
            on_bad_image: ``"raise"`` = images that cannot be read are an error that names them all; ``"skip"`` =
                the figures are those of the others, and ``.predictions.skipped`` names them.
            verbose: 0 = no progress bar.

        Raises:
            NotFittedError: `fit` comes first.
            InvalidInputError: the data is empty, or holds a class that the classifier does not know.
            ImageReadError: images that cannot be read, all of them named; or with ``"skip"``, not one can be.
        """
        fitted = self._fitted_or_raise("evaluate")
        skip, verbose = check_policy(on_bad_image), check_verbose(verbose)
        images = read_labelled(data, labels, fitted.classes, "test data", lenient=skip)
        findings = Findings(len(images), looks=False, goes_on=skip)
        predictions = self._predicted(fitted, images.images, findings, verbose, "evaluating")
        if not len(predictions):
            raise all_unreadable(findings.failures, " None is left to evaluate on.")
        return Evaluation(predictions, images.codes[findings.good()])

    def predict(self, images: object, *, on_bad_image: str = "raise", verbose: str | int = "auto") -> Predictions:
        """The most probable class of each image.

        Args:
            images: one path, one image, a folder (all images below it, sorted by path), a list or array of paths,
                images `(n, h, w, 3)`, a list of images, a DataFrame with the column ``path`` or ``image``, or a
                dataset. An image is an array `(h, w, 3)`, RGB 0-255, uint8 or float, with 1 channel (grey) or 4
                (RGBA) too, the bytes of an image file, or a Pillow image.
            on_bad_image: ``"raise"`` = images that cannot be read are an error that names them all; ``"skip"`` =
                the predictions are those of the others, in their order, and ``.skipped`` names them.
            verbose: 0 = no progress bar.

        Returns:
            `Predictions`: a sequence of `Prediction(label, confidence, path)`, empty for empty input.

        Raises:
            NotFittedError: `fit` comes first.
            InvalidInputError: a path that does not exist, or an array that is not an image.
            ImageReadError: images that cannot be read, all of them named.
        """
        fitted = self._fitted_or_raise("predict")
        skip, verbose = check_policy(on_bad_image), check_verbose(verbose)
        found = read_images(images, lenient=skip)
        findings = Findings(len(found), looks=False, goes_on=skip)
        return self._predicted(fitted, found, findings, verbose, "predicting")

    def _predicted(
        self, fitted: _Fitted, images: Images, findings: Findings, verbose: str | int, title: str
    ) -> Predictions:
        """Predictions of the images that can be read; the findings tell which these are."""
        store = cache.open_store(self.cache)
        probabilities = fitted.predictor.probabilities(images, store, verbose, title, findings)
        paths = [images.path(index) for index in findings.good().tolist()]
        return Predictions(fitted.classes, probabilities, paths, findings.reasons(images))

    def predict_proba(self, images: object, *, verbose: str | int = "auto") -> npt.NDArray[np.float32]:
        """The probabilities of all classes, float32 `(n, n_classes)`; columns in the order of `classes_`.

        Arguments and errors are those of `predict`; images that cannot be read are always an error.
        """
        return self.predict(images, verbose=verbose).probabilities

    def score(self, data: object, labels: object = None) -> float:
        """The accuracy on labelled images, 0 to 1; arguments and errors are those of `evaluate`."""
        return self.evaluate(data, labels, verbose=0).accuracy

    def save(self, path: str | PathLike[str]) -> None:
        """Write the classifier to one file.

        It is a ``.keras`` file that `keras.saving.load_model` opens without transferkit, with one more
        member, ``transferkit.json``. It is written under another name and then renamed: a file that was
        there before is replaced as a whole or not at all. Augmentation is not part of it.

        Raises:
            NotFittedError: `fit` comes first.
            InvalidInputError: the path does not end in ``.keras``, or its folder does not exist.
        """
        target = bundle.check_target(path)
        fitted = self._fitted_or_raise("save")
        params = self.get_params()
        # A path says nothing on another machine, and something about this one.
        portable = params["weights"] if params["weights"] in ("pretrained", "imagenet", None) else "pretrained"
        options = {"dropout": fitted.dropout, "weights": portable, "seed": params["seed"], "split_seed": fitted.seed}
        bundle.save(target, fitted.network, fitted.classes, self.history_, **options)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a classifier that `save` wrote; nothing that the file describes is run.

        The network is built from the registry and filled with the file's weights; a small self-test
        compares its answers with those from before. The training images are not part of the file:
        `fine_tune` then needs data.

        Raises:
            BundleError: no such file, damaged, foreign, or its backbone is not registered here.
            InvalidInputError: `path` is no path.
        """
        manifest = bundle.read_manifest(path)
        try:
            record = get_backbone(manifest.backbone)
        except UnknownBackboneError as error:
            raise BundleError(
                f"The classifier in {str(path)!r} has the backbone {manifest.backbone!r}, which is not registered here: "
                f"load rebuilds it from the registry. Call register_backbone with its record first."
            ) from error
        height, width = manifest.input_size
        square = (record.default_size, record.default_size) == (height, width)
        clf = cls(
            record.name,
            weights=manifest.weights,
            input_size=None if square else (height, width),
            dropout=manifest.dropout,
            seed=manifest.seed,
        )
        network = bundle.rebuild(path, record, manifest)
        history = manifest.history_record()
        fitted = _Fitted(network, np.array(manifest.classes), manifest.split_seed, manifest.dropout)
        clf._become(replace(fitted, phases=len(history.phases)), history)
        return clf

    def show_images(
        self, data: object, labels: object = None, *, count: int = 12, augmentation: bool = False
    ) -> Figure:
        """Draw images as this classifier's network will see them (extra ``plot``); see `transferkit.show_images`.

        Args:
            data: as for `fit` or `predict`.
            labels: one per image, where `data` brings none.
            count: how many images.
            augmentation: draw them changed by the classifier's augmentation.
        """
        size = get_backbone(self.backbone).input_size(check_size(self.input_size))
        chosen = self.augmentation if augmentation else None
        return show_images(data, labels, size=size, count=count, augmentation=chosen)

    def _equipped(self, asked: Request, size: tuple[int, int], drawn: int, ordered: int, skip: bool) -> Request:
        """What is asked, with the parts that the arguments of the constructor stand for, checked."""
        return replace(
            asked,
            augment=augmenter(self.augmentation, size, drawn),
            views=fixed_views(self.augmentation, size, self.views),
            store=cache.open_store(self.cache),
            seed=ordered,
            skip=skip,
        )

    def _become(self, fitted: _Fitted, history: History) -> None:
        self._fitted = fitted
        self.classes_, self.network_, self.history_ = fitted.classes, fitted.network.model, history
        self.__dict__.pop("report_", None)  # of an earlier fit
        if fitted.report is not None:
            self.report_ = fitted.report

    def _fitted_or_raise(self, method: str) -> _Fitted:
        fitted: _Fitted | None = self.__dict__.get("_fitted")
        if fitted is None:
            raise NotFittedError(
                f"{method} was called on a classifier that is not fitted: it needs one. Call fit or load first."
            )
        return fitted

    def __getattr__(self, name: str) -> Any:
        if name in ("classes_", "network_", "history_"):
            raise AttributeError(f"{name} is there once the classifier is fitted. Call fit first.")
        if name == "report_":
            raise AttributeError("report_ is there after fit; a saved classifier does not have it. Call check_images.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _pretrained(record: Backbone, source: Source, size: tuple[int, int], seed: int, verbose: str | int) -> keras.Model:
    """The backbone with its weights, which are downloaded if need be."""
    weights = find_weights(record, source, verbose)
    note = size_note(record, source, size)
    if note:
        say(note, verbose)
    return build_with_weights(record, size, weights, seed)


def _material_to_go_on_with(
    fitted: _Fitted, data: object, labels: object, validation: object, skip: bool
) -> Material | None:
    """New images for a fine-tuning, or None: those of `fit`, as they are."""
    if data is not None:
        validation = VALIDATION if validation is None else validation
        share = validation_share(validation)
        everything = read_labelled(data, labels, fitted.classes, "data to fine-tune on", lenient=skip)
        return read_material(everything, validation, share, fitted.seed, lenient=skip)
    if fitted.data is None:
        raise InvalidInputError(
            "fine_tune was called without data on a loaded classifier: the images of fit are not part of the file. Pass "
            "data."
        )
    if validation is None:
        return None
    share = validation_share(validation)
    if share:
        raise bad_argument(
            "validation",
            validation,
            "cannot divide the images of fit again, since the head has seen its training images",
            "Leave it out to go on with the division of fit, or pass validation images",
        )
    return read_material(fitted.data, validation, share, fitted.seed, lenient=skip)
