"""`TransferClassifier`: each method lists the steps of its work in order."""

from __future__ import annotations

import contextlib
import io
import secrets
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, wraps
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import keras
import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from .. import saving
from .._common.arguments import (
    LabelKind,
    OnBadImage,
    Resize,
    check_choice,
    check_count,
    check_number,
    check_on_bad_image,
    check_resize,
    check_seed,
    check_share,
    check_size,
    check_views,
)
from .._common.console import Console, Verbose
from .._public import public
from ..backbones import (
    Backbone,
    Source,
    WeightsChoice,
    build_with_weights,
    check_weights,
    find_weights,
    get_backbone,
    is_registered,
    size_note,
)
from ..cache import open_store
from ..checks import Report, show_images
from ..errors import (
    BundleError,
    InvalidInputError,
    NotFittedError,
    TransferKitError,
    UnknownBackboneError,
    bad_argument,
    shown,
    shown_url,
    some_of,
)
from ..export import Quantization, check_target, export, photos_for, photos_to_calibrate
from ..features import (
    Augmentation,
    Scored,
    augmenter,
    fixed_views,
    refuse_unreadable,
)
from ..images import (
    ClassWeight,
    ImageData,
    ImageLike,
    Images,
    Labels,
    Resizing,
    Split,
    Validation,
    check_class_weight,
    read_images,
    read_labelled,
    read_training_data,
    thumbnails,
    trained_on,
    validation_share,
)
from ..network import At, FeatureExtractor, Network, Precision, assemble, check_precision, has_fast_half, refuse_fork
from ..results import (
    Coverage,
    Evaluation,
    Explanations,
    ExportReport,
    History,
    Label,
    MultiLabelEvaluation,
    MultiLabelPredictions,
    Neighbour,
    Predictions,
    SuspiciousLabels,
    text_table,
)
from ..training import (
    FOLDS,
    FitOptions,
    LearningRate,
    RunFolder,
    check_callbacks,
    check_rate,
    check_strategy,
    extract_features,
    suspicious_labels,
    train_head,
    tune,
)
from .estimator import Estimator
from .explaining import explain, label_codes
from .fitted import Fitted
from .neighbours import nearest
from .preparing import (
    check,
    images_of_fit,
    images_to_tune_on,
    intention,
    is_auto,
    read_unlabelled,
    recorded,
    refuse_forgetting,
    refuse_unlabelled,
    run_folder,
    selects_best,
    tell_of_new_images,
    tuning_options,
    validation_of,
)

if TYPE_CHECKING:
    import tensorflow as tf
    from matplotlib.figure import Figure


F = TypeVar("F", bound=Callable[..., Any])

# Remedies, for methods that need one label per image.
THRESHOLDS = (
    "Each label has its own threshold instead, at which evaluate gives precision and recall; to be stricter, compare "
    "the `probabilities` of predict with a higher one"
)
LOSSES = "Look at the images with the highest losses instead, on the page that `evaluation.html` writes"

HALF_HERE = (
    "They were compared in float32. predict computes the frozen layers in bfloat16, so its probabilities differ more."
)
RESULTS = ("_fitted", "classes_", "network_", "history_", "report_")  # attributes that training sets


def _says_what_stays(method: F) -> F:
    """After Ctrl-C in a method that trains, print what is left and how to continue, then raise it again."""

    @wraps(method)
    def call(self: TransferClassifier, *data: Any, **options: Any) -> Any:
        before = vars(self).get("_fitted")
        try:
            return method(self, *data, **options)
        except KeyboardInterrupt:
            if vars(self).get("_fitted") is before:
                left = "not fitted" if before is None else "as it was before the call"
                resume = options.get("resume")
                remedy = "With resume=FOLDER, the same call can continue where it was stopped."
                if resume is not None:
                    remedy = f"The same call continues from the state in {str(resume)!r}."
                text = f"{method.__name__} was stopped: the classifier is {left}. {remedy}"
                Console(options.get("verbose", "auto")).say(text)
            raise

    return cast("F", call)


@public
class TransferClassifier(Estimator):
    """An image classifier: a pretrained backbone with a new head.

    Args:
        backbone: a name from `list_backbones` or of a family (``"ResNet"`` is ResNet50; `repr` shows which), in any
            case, or a record. `load` finds backbones by name: register your own records (`register_backbone`).
        weights: ``"pretrained"`` (those of the backbone's record), ``"imagenet"`` (the same, but an error
            if they were not trained on ImageNet), the path of a weights file, or None (random). After `load` it is
            ``"file"`` instead of a path, which is not saved: set it to a path before you call `fit` again.
        input_size: None = the backbone's default, an int, or (height, width) in pixels.
        resize: how images of another aspect ratio are fitted to the input size: ``"squash"`` = each side is scaled
            independently; ``"crop"`` = the shorter side is scaled to fit, and the centre is cropped; ``"pad"`` = the
            longer side is scaled to fit, and the rest is filled with mean grey.
        dropout: the share of features to drop while the head is trained by steps, 0 to below 1.
        augmentation: None, ``"light"`` (mirrored at random, rotated and zoomed a little), or a Keras layer that maps
            float32 batches `(n, h, w, 3)`, RGB 0-255, to the same shape. Active only during training.
        views: with `augmentation`, None = every epoch augments the images again; or the number of augmented versions of
            each image, which are computed once and stored. A head is solved for on all of them; epochs use them in
            turn. They depend on the image alone, not on `seed`.
        cache: True = computed values are stored in the user's cache folder, for later calls and other processes
            (`transferkit.cache` shows, limits and clears it); the path of another folder to store them in, which each
            call resolves if it is relative; False = nothing is stored after the call.
        precision: of the frozen part of the network: ``"float32"``; ``"bfloat16"``, with which `fit` is 1.4 to 1.6 times
            as fast on a CPU with AVX-512 BF16 or AMX, and float16 on a GPU with tensor cores; or ``"auto"``, which uses
            bfloat16 if the machine is fast at it. Half precision costs up to half a point of accuracy: see the page on
            performance. Training uses float32.
        labels: how many labels an image has: ``"single"`` = one; ``"multiple"`` = none, one or several; ``"auto"`` =
            `fit` infers it from the form of the labels, and refuses labels that leave it open.
        seed: for the split, the order of images, dropout and augmentation; None = a new seed for each `fit`.

    Attributes:
        classes_: class names `(n_classes,)`, sorted; str, int64 or bool as the labels were.
        network_: a `keras.Model` from RGB 0-255 float32 `(n, h, w, 3)` to probabilities `(n, n_classes)`. Weights that
            you set in it are used from then on.
        history_: a `History`, the epochs of all phases.
        report_: a `Report`, the result of the data check in the last `fit`, or in the last `fine_tune` that was given
            images; not saved.

    The constructor only stores its arguments; `fit` checks them. `copy.deepcopy` and `pickle` copy what `save` writes,
    so a copy lacks the images of `fit` and `report_`.

    Example:
        >>> import transferkit as tk
        >>> clf = tk.TransferClassifier("MobileNetV2", seed=0)
        >>> clf = clf.fit("photos/train", epochs=5, verbose=0)
        >>> clf.predict("photos/new")[0].label in clf.classes_
        True
    """

    _fitted: Fitted
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
        resize: Resize = "squash",
        dropout: float = 0.1,
        augmentation: Augmentation = None,
        views: int | None = None,
        cache: bool | str | PathLike[str] = True,
        precision: Precision = "float32",
        labels: LabelKind = "auto",
        seed: int | None = None,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.input_size = input_size
        self.resize = resize
        self.dropout = dropout
        self.augmentation = augmentation
        self.views = views
        self.cache = cache
        self.precision = precision
        self.labels = labels
        self.seed = seed

    @_says_what_stays
    def fit(
        self,
        data: ImageData,
        labels: Labels | None = None,
        *,
        validation: Validation = "auto",
        epochs: int | None = None,
        batch_size: int = 32,
        learning_rate: LearningRate = "auto",
        class_weight: ClassWeight = None,
        unlabelled: ImageData | None = None,
        on_bad_image: OnBadImage = "raise",
        callbacks: Sequence[keras.callbacks.Callback] | None = (),
        resume: str | PathLike[str] | None = None,
        strategy: tf.distribute.Strategy | None = None,
        verbose: Verbose = "auto",
    ) -> Self:
        """Train a new head on the features of the frozen backbone.

        The features of each image are computed once, or not at all if an earlier call stored them (with `augmentation`,
        once in each epoch, or once for each of the `views`). The head on these features is solved for: it is a logistic
        regression whose penalty is chosen by cross-validation. With `epochs`, `learning_rate`, `callbacks` or an
        augmentation without `views`, or with more than 1 GiB of features, it is trained by steps of Adam instead, and
        the last epoch is kept. The images are checked as by `check_images`, and `report_` has the result. Copies of an
        image are never split between training and validation.

        Args:
            data: a folder with one folder per class; a list or array of file paths, an array `(n, h, w, 3)`, RGB
                0-255, uint8 or float, or a list of arrays, ``bytes`` of image files or Pillow images, with `labels`; a
                pandas DataFrame with the columns ``path`` or ``image``, and ``label`` (other common names work too);
                a batched `tf.data.Dataset` of ``(image, label)``.
            labels: one per image: text, whole numbers, booleans or one-hot rows. For several labels per image, a list
                of names for each image, which may be empty, or a DataFrame with a column of 0 and 1 for each class.
                Such columns may also be next to ``path`` in `data`.
            validation: the share of images to hold out, drawn in proportion from each class; or validation data in any
                of these forms, arrays and paths as a pair ``(data, labels)``; None or 0 = hold out none. ``"auto"`` =
                up to 1,000 images are cross-validated in 5 folds, and all of them are trained on; of more images, or if
                the head is trained by steps, 15 % are held out.
            epochs: passes over the images, for a head that is trained by steps; None = 30.
            batch_size: images per step.
            learning_rate: of Adam: a number or a Keras schedule; ``"auto"`` = 0.001. This rate and the 30 epochs come
                from ``benchmarks/recipe.py``.
            class_weight: None, ``"balanced"``, or a dict from class name to weight; `fine_tune` uses it too. With
                several labels per image, ``"balanced"`` balances the images with a label and those without it, and a
                weight in a dict applies to the images with that label.
            unlabelled: more images of these classes, in any form that `predict` takes; worth trying with 10 or fewer
                labelled images per class. In 5 rounds, the head labels the images that it is most sure of and learns
                from them (Lee, 2013). The result is kept only if it lowers the out-of-fold loss on the labelled images
                by more than half of the standard error. At most 5,000 images are used, drawn at random. Not for a head
                that is trained by steps.
            on_bad_image: ``"raise"`` = an error before the first epoch names all images that cannot be read;
                ``"skip"`` = they are left out, and ``history_.skipped`` lists them.
            callbacks: Keras callbacks; one that saves the model saves the whole network, before its logits are scaled.
            resume: a folder to save the state of the run in every few seconds. If the process is killed, the same call
                continues from there and ends as an uninterrupted run would (to the last bit on a CPU). It is refused if
                the data or an argument has changed. Not with `callbacks`, whose state is unknown.
            strategy: of `tf.distribute`, such as ``MirroredStrategy()`` for all GPUs of a machine: each device trains
                on its share of each batch, with the same result as one device except for rounding. None = one device. A
                head that is solved for does not use it. See "Several devices" on the page on performance.
            verbose: 0 = silent; ``"auto"`` or 1 = messages, and progress bars on a terminal; 2 = also a line per epoch.

        Returns:
            The classifier itself.

        Raises:
            InvalidInputError: an argument, the data or the labels break a rule.
            UnknownBackboneError: no such backbone.
            ImageReadError: some images cannot be read, all of them named.
            WeightsError: the weights could not be loaded.
            TrainingError: the loss or the weights became NaN or infinite, or the loss too large to learn from; it names
                the images of the batch.

        If `fit` fails or is stopped with Ctrl-C, a classifier that was fitted before stays unchanged.
        """
        refuse_fork()
        record = get_backbone(self.backbone)
        size = record.input_size(check_size(self.input_size))
        source = check_weights(record, self.weights, size)
        dropout = check_number("dropout", self.dropout, low=0, high=1, example=0.1)
        precision, resize = check_precision(self.precision), check_resize(self.resize)
        kind = check_choice("labels", self.labels, LabelKind, "Leave it out")
        chosen_seed = check_seed(self.seed)
        seed = secrets.randbelow(2**31) if chosen_seed is None else chosen_seed
        strategy = None if strategy is None else check_strategy(strategy, chosen_seed)
        folder = run_folder(resume, callbacks, "fit", strategy)
        if folder is not None and chosen_seed is None:
            seed = folder.seed(seed)
        given = epochs, batch_size, learning_rate, callbacks, on_bad_image, verbose
        options = self._options(given, size, seed, folder, strategy)
        validation_share(validation)  # refuses an invalid share before a large folder is listed
        more = read_unlabelled(unlabelled, options)
        images = read_labelled(data, labels, what="training data", lenient=options.skip, kind=kind)
        several = images.kind == "multiple"
        if several and more is not None:
            raise InvalidInputError(
                "unlabelled was given for images with several labels: it takes images with one label each. Leave it out."
            )
        weight = check_class_weight(class_weight, images.classes)
        read = read_training_data(images, validation_of(validation, len(images), options.solves), options.skip)

        thresholds = np.full(len(images.classes), 0.5) if several else None
        how = dropout, seed, precision, resize, thresholds
        with options.scope():
            backbone = _pretrained(record, source, size, seed, options.console)
            network = assemble(record, backbone, size, len(images.classes), *how)
        in_folds = is_auto(validation) and options.solves and not read.share and bool(read.images.counts().max() > 1)
        options.console.say(intention(network, read, in_folds))
        cut = network.cut_before_head()
        extraction = extract_features(cut, read, options)
        checked = check(read, extraction.inspection, seed, options.console)
        with options.scope():
            phase, known, typicality = train_head(
                network, cut, extraction, checked.split, weight, options, in_folds, more
            )
        network = _on_one_device(network, options)
        history = History((recorded(phase, checked),))
        split = checked.split
        # A path as it is in any folder: the current one may change.
        own = isinstance(source, Path) and self.weights not in ("pretrained", "imagenet")
        arguments = str(source) if own else self.weights, chosen_seed, seed, dropout, weight
        fitted = Fitted(network, images.classes, *arguments, known, split, read.share, typicality)
        self._become(fitted, history, checked.report)
        return self

    @_says_what_stays
    def fine_tune(
        self,
        data: ImageData | None = None,
        labels: Labels | None = None,
        *,
        at: At | None = None,
        validation: Validation = "auto",
        steps: int | None = None,
        epochs: int | None = None,
        batch_size: int = 32,
        learning_rate: LearningRate = "auto",
        layer_decay: float = 0.3,
        label_smoothing: float = 0.1,
        class_weight: ClassWeight = None,
        on_bad_image: OnBadImage = "raise",
        callbacks: Sequence[keras.callbacks.Callback] | None = (),
        resume: str | PathLike[str] | None = None,
        strategy: tf.distribute.Strategy | None = None,
        verbose: Verbose = "auto",
    ) -> Self:
        """Train the last part of the backbone together with the head, and keep the result if it is better.

        The values before `at` are computed once per image and stored. Layers before `at` stay frozen, as do all
        statistics of BatchNormalization, whose gamma and beta are trained from `at` on. The loss of the tuned network,
        and of the points half and three quarters of the way to it (Wortsman et al., 2022), is compared with that of the
        previous classifier, on images that were not trained on. The best of them, in a tie the one nearest to the tuned
        network, is kept if its gain is more than half of its standard error; its logits are then multiplied by the number,
        0.5 to 2, that gives the lowest loss (Guo et al., 2017). ``history_.phases[-1].selection`` has the figures.

        Args:
            data: None = the images of `fit`, split as they were, which must not have changed; or data in any form
                that `fit` takes, of the classes that the classifier knows.
            labels: one per image; needed unless `data` contains them.
            at: the first trained layer: its index in ``backbone.layers`` (negative counts from the end), its name, or a
                stage of the backbone's record. 0 trains the whole backbone, from pixels. None = the stage that begins
                where the feature maps shrink to a sixteenth of the image, or to 14 pixels if that is earlier.
            validation: ``"auto"`` = the validation images of `fit`, or 15 % of new data. If `fit` had none, or if new
                data of up to 1,000 images includes all that the classifier was trained on, one to five shorter runs
                (more for fewer images) each start with a new head, leave out a fifth of the images and are measured on
                it. If that shows a gain, or with `epochs` or `callbacks`, a run on all images follows. Or the share
                that `fit` held out; a share of new data; or data. None or 0 = always keep the tuned network.
            steps: about how many steps; rounded to whole epochs, 25 at most. None = 400.
            epochs: passes over the images, instead of `steps`. With a number or a schedule as `learning_rate` too, all
                layers use this rate, gamma and beta stay frozen, and `layer_decay` and `label_smoothing` do nothing.
            batch_size: images per step.
            learning_rate: the peak rate of the head: it rises from 0 in the first tenth of the steps, then falls to 0
                along a cosine. ``"auto"`` = 0.008 times the size of the kernels (4e-4 for MobileNetV2); a Keras
                schedule is used unchanged.
            layer_decay: the rate of the first trained layer as a share of that of the head, above 0 to 1; between
                them it changes geometrically (Howard and Ruder, 2018).
            label_smoothing: the share of each label that is spread evenly over all classes, 0 to below 1 (Szegedy et
                al., 2016).
            class_weight: None = that of `fit`; ``{}`` = every image counts the same; else as for `fit`.
            on_bad_image, callbacks, resume, strategy, verbose: as for `fit`. Callbacks see only the run on all images,
                and may set the learning rate only if both `epochs` and a number as `learning_rate` are given.

        Returns:
            The classifier itself.

        Raises:
            NotFittedError: the classifier is not fitted.
            InvalidInputError: an argument or the data break a rule, `data` and the images of `fit` are missing, or a
                class has images neither in `data` nor among those that the comparison is made on.
            ImageReadError, TrainingError: as for `fit`.

        If `fine_tune` fails or is stopped with Ctrl-C, the classifier stays unchanged. It trains a copy of `network_`,
        so other threads predict with the previous classifier until it ends.

        Example:
            >>> import transferkit as tk
            >>> clf = tk.TransferClassifier("MobileNetV2", seed=0).fit("photos/train", epochs=5, verbose=0)
            >>> clf = clf.fine_tune(at="block_16", steps=5, verbose=0)
            >>> [phase.name for phase in clf.history_.phases]
            ['fit', 'fine_tune']
        """
        fitted = self._fitted_or_raise("fine_tune")
        before = self.history_.phases
        at = fitted.network.default_cut() if at is None else fitted.network.resolve(at)  # before a folder is listed
        weight = fitted.class_weight if class_weight is None else check_class_weight(class_weight, fitted.classes)
        given = epochs, batch_size, learning_rate, callbacks, on_bad_image, verbose
        strategy = None if strategy is None else check_strategy(strategy, fitted.seed)
        folder = run_folder(resume, callbacks, f"fine_tune-{len(before)}", strategy)
        options = self._options(given, fitted.network.size, fitted.split_seed + len(before), folder, strategy)
        tuning = tuning_options(steps, options, layer_decay, label_smoothing)
        was_tuned = any(phase.name == "fine_tune" and phase.kept for phase in before)
        checked = images_to_tune_on(fitted, data, labels, validation, options, was_tuned)
        selects = selects_best(validation, checked.split, was_tuned, options.console)
        if data is not None:
            refuse_forgetting(checked.split, selects, options.console)
        if selects and checked.split.validation is None:
            refuse_unlabelled(before)
        tuning = replace(tuning, new_head=fitted.holds_known(checked.split.keys[0]))
        with options.scope():
            network = fitted.network.copy()  # other threads keep predicting with the previous classifier
            phase, learned, typicality = tune(
                network, network.cut_at(at), checked.split, weight, options, tuning, selects
            )
        tell_of_new_images(checked.split.keys[0], fitted.known, bool(phase.kept), options.console)
        tuned = replace(fitted, network=_on_one_device(network, options))
        if phase.kept:
            tuned = replace(tuned, known=np.union1d(fitted.known, learned), typicality=typicality)
        self._become(tuned, History((*before, recorded(phase, checked))), checked.report)
        return self

    def evaluate(
        self,
        data: ImageData,
        labels: Labels | None = None,
        *,
        views: int = 1,
        on_bad_image: OnBadImage = "raise",
        verbose: Verbose = "auto",
    ) -> Evaluation | Any:
        """Loss, accuracy, confusion matrix and per-class figures on labelled images.

        Args:
            data: as for `fit`; classes may be missing, but unknown ones are an error.
            labels: one per image; needed unless `data` contains them.
            views: as for `predict`.
            on_bad_image: as for `fit`; with ``"skip"``, ``.predictions.skipped`` lists the images left out.
            verbose: 0 = no progress bar, and no message if the classifier was trained on some of the images. They are
                recognized by content, which needs the cache.

        Returns:
            An `Evaluation`; with several labels per image, a `MultiLabelEvaluation`.

        Raises:
            NotFittedError: the classifier is not fitted.
            InvalidInputError: the data is empty, or holds a class that the classifier does not know.
            ImageReadError: some images cannot be read, all of them named; with ``"skip"`` only if none can be.
        """
        fitted = self._fitted_or_raise("evaluate")
        skip, console, views = check_on_bad_image(on_bad_image), Console(verbose), check_views(views)
        store = open_store(self.cache, lenient=True)
        test = read_labelled(data, labels, fitted.classes, "test data", lenient=skip, kind=fitted.kind)
        predictions, inspection = fitted.predictions(test.images, store, console, "evaluating", skip, views)
        if not len(predictions):
            refuse_unreadable(inspection.failures, " No image is left to evaluate.")
        rows = inspection.readable()
        if known := int(np.isin(trained_on(inspection.keys[rows]), fitted.known).sum()):
            console.say(
                f"The classifier was trained on {known:,} of these {len(rows):,} images, so the figures are better than on "
                f"new images."
            )
        if predictions.skipped:
            console.say(f"Unreadable images left out: {len(predictions.skipped):,}; .predictions.skipped says why.")
        pictures = partial(thumbnails, test.images.absolute().subset(rows.tolist()))
        if isinstance(predictions, MultiLabelPredictions):
            return MultiLabelEvaluation(predictions, test.codes[rows], pictures)
        return Evaluation(predictions, test.codes[rows], pictures)

    def predict(
        self,
        images: ImageData | ImageLike,
        *,
        min_confidence: float | None = None,
        views: int = 1,
        on_bad_image: OnBadImage = "raise",
        verbose: Verbose = "auto",
    ) -> Predictions:
        """The most probable class of each image.

        Args:
            images: one path, one image, a folder (all images below it, sorted by path), a list or array of paths,
                images `(n, h, w, 3)`, a list of images, a DataFrame with the column ``path`` or ``image``, or a
                dataset. An image is an array `(h, w, 3)`, RGB 0-255, uint8 or float, or one with 1 channel (grey) or 4
                (RGBA); the bytes of an image file; or a Pillow image.
            min_confidence: 0 to 1: the label is None if the probability of the most probable class is below this; None
                = every image gets a label. `coverage` shows the accuracy at each value.
            views: 2 = the probabilities are averaged over each image and its mirror image, which takes twice the time.
            on_bad_image: as for `fit`; with ``"skip"``, the other images keep their order, and ``.skipped`` lists
                the images left out.
            verbose: 0 = no progress bar.

        Returns:
            `Predictions`: a sequence of `Prediction(label, confidence, path, typicality)`, empty for empty input. With
            several labels per image, `MultiLabelPredictions`, where label and confidence are tuples.

        Raises:
            NotFittedError: the classifier is not fitted.
            InvalidInputError: a path that does not exist, or an array that is not an image.
            ImageReadError: some images cannot be read, all of them named.
        """
        fitted = (
            self._fitted_or_raise("predict")
            if min_confidence is None
            else self._single_label_or_raise("min_confidence", THRESHOLDS)
        )
        skip, console, views = check_on_bad_image(on_bad_image), Console(verbose), check_views(views)
        least = None if min_confidence is None else check_share("min_confidence", min_confidence)
        given, store = read_images(images, lenient=skip), open_store(self.cache, lenient=True)
        if not len(given) and isinstance(images, (str, PathLike)):
            console.say(f"The folder {shown_url(str(images))!r} holds no images.")
        predictions, _ = fitted.predictions(given, store, console, "predicting", skip, views)
        return predictions if least is None else predictions.at_least(least)

    def predict_proba(self, images: ImageData | ImageLike, *, verbose: Verbose = "auto") -> npt.NDArray[np.float32]:
        """The probabilities of all classes, float32 `(n, n_classes)`; columns in the order of `classes_`.

        Arguments and errors as for `predict`; images that cannot be read are always an error.
        """
        return self._scored("predict_proba", images, verbose).probabilities

    def decision_function(self, images: ImageData | ImageLike, *, verbose: Verbose = "auto") -> npt.NDArray[np.float32]:
        """The logits, float32 `(n, n_classes)`; for two classes `(n,)`, that of the second minus that of the first.

        Arguments and errors as for `predict_proba`.
        """
        logits = self._scored("decision_function", images, verbose).logits
        is_binary = logits.shape[1] == 2 and self._fitted.network.thresholds is None
        return logits[:, 1] - logits[:, 0] if is_binary else logits

    def _scored(self, method: str, images: ImageData | ImageLike, verbose: Verbose) -> Scored:
        """The output of the network for images, all of which must be readable."""
        fitted, store = self._fitted_or_raise(method), open_store(self.cache, lenient=True)
        return fitted.predictor(read_images(images), store, Console(verbose), "predicting", None)

    def transform(
        self,
        images: ImageData | ImageLike,
        labels: Labels | None = None,  # noqa: ARG002  # a Pipeline passes them
        *,
        verbose: Verbose = "auto",
    ) -> npt.NDArray[np.float32]:
        """The features that the head gets, float32 `(n, feature_dim)`; so a classifier can be a step of a Pipeline.

        Arguments and errors as for `predict_proba`.
        """
        fitted = self._fitted_or_raise("transform")
        return self._features(fitted, read_images(images), Console(verbose))

    def fit_transform(self, data: ImageData, labels: Labels | None = None, **options: Any) -> npt.NDArray[np.float32]:
        """`fit` with these options, then `transform` of the same images, all of which must be readable."""
        if options.get("on_bad_image", "raise") != "raise":
            rule = "leaves images out, but fit_transform gives a row for each image"
            raise bad_argument("on_bad_image", options["on_bad_image"], rule, "Leave it out, or call fit and transform")
        return self.fit(data, labels, **options).transform(data, verbose=options.get("verbose", "auto"))

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> npt.NDArray[np.object_]:  # noqa: ARG002
        """A name for each column of `transform`, in the style of scikit-learn: ``"transferclassifier0"`` and so on."""
        count = self._fitted_or_raise("get_feature_names_out").network.features.shape[-1]
        return np.array([f"{type(self).__name__.lower()}{column}" for column in range(count)], object)

    def _features(self, fitted: Fitted, images: Images, console: Console) -> npt.NDArray[np.float32]:
        """Features float32 `(n, d)`, read from the store if they are there."""
        return fitted.predictor.features(images, open_store(self.cache, lenient=True), console)

    def _features_of_fit(self, fitted: Fitted, split: Split, console: Console) -> tuple[Split, npt.NDArray[np.float32]]:
        """The training images that can still be read, which must not have changed, and their features `(n, d)`."""
        store = open_store(self.cache, lenient=True)
        split = images_of_fit(split.without_validation(), store, console, skip=True, all_classes=False).split
        return split, self._features(fitted, split.training.images, console)

    def coverage(
        self,
        data: ImageData,
        labels: Labels | None = None,
        *,
        views: int = 1,
        on_bad_image: OnBadImage = "raise",
        verbose: Verbose = "auto",
    ) -> Coverage:
        """How accurate the answers are, and how many images get one, at each `min_confidence` of `predict`.

        Arguments and errors as for `evaluate`.
        """
        self._single_label_or_raise("coverage", THRESHOLDS)
        evaluation = self.evaluate(data, labels, views=views, on_bad_image=on_bad_image, verbose=verbose)
        predictions = evaluation.predictions
        return Coverage(predictions.confidences, evaluation.labels == predictions.labels)

    def neighbours(
        self, images: ImageData | ImageLike, k: int = 5, *, verbose: Verbose = "auto"
    ) -> list[list[Neighbour]]:
        """The training photos most similar to each image, by the cosine similarity of their features.

        The photos of `fit` are read again, and must not have changed since; those that are gone are left out.

        Args:
            images, verbose: as for `predict_proba`.
            k: how many photos; all, if there are fewer.

        Returns:
            A list of `Neighbour(path, label, similarity, position)` for each image, the most similar first.

        Raises:
            NotFittedError: the classifier is not fitted.
            InvalidInputError: as for `predict`, or the images of `fit` are not available, after `load` and in a copy, or
                have changed.
            ImageReadError: some of the images cannot be read.
        """
        fitted, console = self._fitted_or_raise("neighbours"), Console(verbose)
        split, given = fitted.split_of_fit("neighbours"), read_images(images)
        count = check_count("k", k)
        split, known = self._features_of_fit(fitted, split, console)
        return nearest(self._features(fitted, given, console), known, split, count)

    def suspicious_labels(self, n: int | None = None, *, verbose: Verbose = "auto") -> SuspiciousLabels:
        """The images of `fit`, including validation images, whose labels look wrong, the most suspicious first.

        Each image is judged by heads that were not trained on it, in five folds, on features of the frozen backbone,
        even after `fine_tune`: a tuned network has memorized the wrong labels. Images that are in several classes, and
        the only image of a class, are not judged. Images that are gone are left out; the others must not have changed.

        Args:
            n: how many to list; None = those that confident learning flags (Northcutt et al., 2021).
            verbose: 0 = no progress bar.

        Raises:
            NotFittedError: the classifier is not fitted.
            InvalidInputError: the images of `fit` are not available, after `load` and in a copy, or have changed.
        """
        fitted, console = self._single_label_or_raise("suspicious_labels", LOSSES), Console(verbose)
        split = fitted.split_of_fit("suspicious_labels").undivided()
        count = None if n is None else check_count("n", n, example=25)
        split, features = self._features_of_fit(_as_in_fit(fitted, self.history_, console), split, console)
        scaled = features * np.float32(fitted.network.feature_scale)
        return suspicious_labels(scaled, split, split.folds(FOLDS, fitted.split_seed), count)

    def score(self, data: ImageData, labels: Labels | None = None, *, verbose: Verbose = 0) -> float:
        """The accuracy on labelled images, 0 to 1; arguments and errors as for `evaluate`."""
        self._fitted_or_raise("score")
        return self.evaluate(data, labels, verbose=verbose).accuracy

    def explain(
        self,
        images: ImageData | ImageLike,
        label: Label | Sequence[Label | None] | None = None,
        *,
        on_bad_image: OnBadImage = "raise",
        verbose: Verbose = "auto",
    ) -> Explanations:
        """Heatmaps of the parts of each image that support a class.

        For backbones that output feature maps, as all in `list_backbones` do, this is exact: the head averages the maps
        and applies one dense layer to the mean, so the logit of the image is the mean of the logits at each position
        (class activation maps; Zhou et al., 2016). For a backbone that averages its maps itself, it is Grad-CAM
        (Selvaraju et al., 2017); for a transformer, the gradient at each pixel times the pixel, averaged over patches.
        Parts that speak against the class are 0. With several labels per image, a map shows the parts that would get
        the label if the whole image looked like them.

        Args:
            images: one or several, in any form that `predict` takes.
            label: the class to explain, or one for each image; None = the most probable class of the image.
            on_bad_image, verbose: as for `predict`.

        Returns:
            `Explanations`: a sequence of `Explanation(label, confidence, heatmap, ...)`; ``.plot()`` draws them.

        Raises:
            NotFittedError: the classifier is not fitted.
            InvalidInputError: an unknown class, a path that does not exist, or an array that is not an image.
            ImageReadError: some images cannot be read, all of them named.

        Example:
            >>> import transferkit as tk
            >>> clf = tk.TransferClassifier.load("pets.keras")
            >>> clf.explain("photos/new/a.jpg", "cats")[0].heatmap.shape
            (224, 224)
        """
        fitted = self._fitted_or_raise("explain")
        skip, console = check_on_bad_image(on_bad_image), Console(verbose)
        listed, store = read_images(images, lenient=skip), open_store(self.cache, lenient=True)
        codes = label_codes(label, fitted.classes, len(listed))
        predictions, inspection = fitted.predictions(listed, store, console, "explaining", skip)
        return explain(fitted.network, listed, inspection.readable(), predictions, codes)

    def summary(self) -> str:
        """A short text on what was fitted: backbone, input size, classes, parameters, and a line per phase.

        `repr` shows the arguments of the next `fit` instead.

        Raises:
            NotFittedError: the classifier is not fitted.
        """
        fitted = self._fitted_or_raise("summary")
        network, (height, width) = fitted.network, fitted.network.size
        rows = []
        for phase in self.history_.phases:
            figures, accuracy = phase.metrics.get("val_accuracy", ()), "-"
            if phase.kept_epoch and figures:
                accuracy = f"{figures[phase.kept - 1]:.4f}"
            elif (chosen := phase.selection) is not None and phase.name == "fine_tune":
                accuracy = f"{chosen.accuracy_before if chosen.kept == 'before' else chosen.accuracy:.4f}"
            rows.append([phase.name, phase.first_layer, str(phase.epochs), str(phase.kept), accuracy])
        facts = (
            f"{network.record.name} at {height} x {width} px ({network.resize}), in {network.precision}\n"
            f"{len(fitted.classes)} classes: {some_of(fitted.classes.tolist(), 10)}\n"
            f"{network.model.count_params():,} parameters, {network.head[-1].count_params():,} of them in the head\n\n"
        )
        return facts + text_table(["phase", "first layer", "epochs", "kept", "val_accuracy"], rows)

    def card(self) -> str:
        """A model card in Markdown: what was trained, how and on what, how well it did, and how to use it.

        It starts with the YAML that model hubs read: save it as ``README.md`` next to the file of `save`, choose a
        license, and describe the images.

        Raises:
            NotFittedError: the classifier is not fitted.
        """
        fitted = self._fitted_or_raise("card")
        return saving.model_card(self._manifest(fitted), fitted.network.record)

    def save(self, path: saving.Place) -> None:
        """Write the classifier to one file.

        It is a ``.keras`` file that `keras.saving.load_model` opens without transferkit, with up to three more members.
        An existing file is replaced as a whole or not at all. Augmentation is not saved.

        Args:
            path: a path that ends in ``.keras``, or a binary file that is open for writing (``"wb"`` or `io.BytesIO`).

        Raises:
            NotFittedError: the classifier is not fitted.
            InvalidInputError: the path does not end in ``.keras``, its folder does not exist, or the file is closed or
                open as text.
            BundleError: the file cannot be written, for example because the disk is full.
        """
        target = saving.check_target(path)
        fitted = self._fitted_or_raise("save")
        saving.save(target, fitted.network, self._manifest(fitted), fitted.known, fitted.typicality)

    def _manifest(self, fitted: Fitted) -> saving.Manifest:
        # A path means nothing on another machine, and reveals something about this one.
        portable = fitted.weights if fitted.weights in ("pretrained", "imagenet", None) else "file"
        options = {name: getattr(fitted, name) for name in ("dropout", "seed", "split_seed")} | {"weights": portable}
        return saving.describe(fitted.network, fitted.classes, fitted.class_weight, self.history_, **options)

    def export(
        self,
        path: str | PathLike[str],
        *,
        check: ImageData | None = None,
        labels: Labels | None = None,
        quantize: Quantization | None = None,
        calibrate: ImageData | None = None,
        verbose: Verbose = "auto",
    ) -> ExportReport:
        """Write the network for another runtime, run the file there, and compare the answers of the two.

        The file takes RGB 0-255 float32 `(n, h, w, 3)` in batches of any size and gives probabilities `(n, n_classes)`;
        preprocessing is included. The class names, the input size, the `resize` rule and, with several labels per
        image, the thresholds are written to ``NAME.labels.json`` next to it, and to the metadata of ONNX and OpenVINO.
        Existing files are replaced.

        Args:
            path: its ending selects the format: ``.onnx`` (extra ``onnx``), ``.tflite`` (LiteRT; extra ``litert``),
                ``.xml`` (OpenVINO, with a ``.bin`` next to it; extra ``openvino``), or none for a SavedModel folder.
            check: images to compare on, as for `evaluate` or `predict`; up to 500 are used. None = up to 200 validation
                or training images of `fit`, or noise if these are not available, as after `load`.
            labels: of `check`, if it does not contain them.
            quantize: None = float32; ``"float16"`` (LiteRT, OpenVINO): half the size; ``"dynamic"`` (LiteRT): weights
                in int8; ``"int8"`` (LiteRT): weights and activations in int8, input and output in float32.
            calibrate: images on which ``"int8"`` measures activations, at most 100 of them; None = training images.
            verbose: 0 = silent.

        Returns:
            An `ExportReport`: differences, accuracy, size and speed.

        Raises:
            NotFittedError: the classifier is not fitted.
            InvalidInputError: an argument or the data break a rule.
            MissingExtraError: the format's packages are not installed.
            ImageReadError: some images of `check` or `calibrate` cannot be read.
            ExportError: the network cannot be converted or written, or a probability in float32 differs by more than
                0.001; an existing file stays unchanged.

        Warns:
            UserWarning: a quantized file loses more than 0.02 of accuracy or, without labels, gives a different answer
                for more than 2 % of the images.
        """
        fitted = self._fitted_or_raise("export")
        console, resizing = Console(verbose), Resizing(fitted.network.size, fitted.network.resize)
        target, kind = check_target(path, quantize)
        calibration = photos_to_calibrate(calibrate, quantize, fitted.split, resizing)
        photos = photos_for(check, labels, fitted.classes, fitted.kind, fitted.split, resizing)
        console.say(f"export writes {target.name} ({kind.name}) and compares it on {len(photos.pixels)} images.")
        about = fitted.classes, fitted.network.thresholds, resizing
        if fitted.network.precision == "bfloat16":
            photos = replace(photos, note="\n".join(filter(None, [photos.note, HALF_HERE])))
        return export(fitted.network.model, *about, target, kind, quantize, photos, calibration)

    @classmethod
    def load(cls, path: saving.Place) -> Self:
        """Read a classifier that was saved with `save`, without running anything that the file describes.

        The network is built from the registry and filled with the file's weights; a small self-test compares its
        features with the saved ones. The training images are not in the file, so `fine_tune` needs data.

        Args:
            path: of the file; or a binary file that is open for reading, which is read from its position to its end.

        Raises:
            BundleError: the file does not exist, is damaged, is not a transferkit classifier or is of another version,
                or its backbone is not registered here.
            InvalidInputError: `path` is neither a path nor an open binary file.
        """
        with saving.open_saved(path) as saved:
            manifest, record = saved.manifest, _registered(saved)
            size = None if manifest.input_size == record.input_size(None) else manifest.input_size
            names = "resize", "dropout", "precision", "seed"
            options: dict[str, Any] = {name: getattr(manifest, name) for name in names}
            options["labels"] = "auto" if manifest.thresholds is None else "multiple"
            clf = cls(record.name, weights=manifest.weights, input_size=size, **options)
            clf._restore(saved, record)
        return clf

    def _restore(self, saved: saving.SavedClassifier, record: Backbone) -> None:
        refuse_fork()
        manifest, precision = saved.manifest, saved.manifest.precision
        if precision != "float32" and not has_fast_half():
            precision = "float32"
            warnings.warn(
                f"The classifier in {saved.place} was trained with precision='bfloat16', which this machine does not "
                f"support, so it computes in float32; confidences may differ slightly.",
                stacklevel=3,
            )
        network, classes = saving.rebuild(saved, record, precision), np.array(manifest.classes)
        arguments = manifest.weights, manifest.seed, manifest.split_seed, manifest.dropout
        typicality = saving.read_typicality(saved, network.features.shape[-1])
        known = manifest.class_weight_choice(), saved.known
        fitted = Fitted(network, classes, *arguments, *known, typicality=typicality)
        self._become(fitted, manifest.history_record())

    def __getstate__(self) -> dict[str, Any]:
        """The arguments and, if fitted, the file that `save` writes, since networks cannot be pickled."""
        state = {name: value for name, value in vars(self).items() if name not in RESULTS}
        if self.__sklearn_is_fitted__():
            record, file = self._fitted.network.record, io.BytesIO()
            self.save(file)
            # A registered backbone is found by its name, as after `load`.
            state["_saved"] = (None if is_registered(record) else record, file.getvalue())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        record, content = state.pop("_saved", (None, b""))
        self.__dict__.update(state)
        if content:
            try:
                refuse_fork()
            except TransferKitError:  # raised here, it would end a pool's worker, and the pool starts new ones forever
                self._saved = record, content
                return
            with saving.open_saved(io.BytesIO(content)) as saved:
                self._restore(saved, record or _registered(saved))

    def show_images(
        self, data: ImageData, labels: Labels | None = None, *, count: int = 12, augmentation: bool = False
    ) -> Figure:
        """Draw images as this classifier's network will see them (extra ``plot``).

        Arguments as for `transferkit.show_images`; with `augmentation=True`, the classifier's augmentation is applied.
        """
        size = get_backbone(self.backbone).input_size(check_size(self.input_size))
        return show_images(
            data,
            labels,
            size=size,
            resize=self.resize,
            count=count,
            augmentation=self.augmentation if augmentation else None,
        )

    def _extractor(self, at: At | None) -> FeatureExtractor:
        """Extracts the values before the head, or before `at`, of the fitted network or the one `fit` would build."""
        if self.__sklearn_is_fitted__():
            network = self._fitted_or_raise("FeatureBatch").network
            return network.feature_extractor() if at is None else network.copy().cut_at(at).extractor
        refuse_fork()
        record, seed = get_backbone(self.backbone), check_seed(self.seed)
        size = record.input_size(check_size(self.input_size))
        source, precision = check_weights(record, self.weights, size), check_precision(self.precision)
        if source is None and seed is None:
            raise bad_argument("seed", None, "gives each process different random weights", "Pass for example seed=0")
        backbone = _pretrained(record, source, size, seed or 0, Console(0))
        network = assemble(record, backbone, size, 2, 0.0, seed or 0, precision, check_resize(self.resize))
        return network.feature_extractor() if at is None else network.cut_at(at).extractor

    def _options(
        self,
        given: tuple[object, ...],
        size: tuple[int, int],
        seed: int,
        folder: RunFolder | None,
        strategy: tf.distribute.Strategy | None,
    ) -> FitOptions:
        """The arguments of a call, and the constructor arguments that training needs, checked before any work."""
        epochs, batch_size, learning_rate, callbacks, on_bad_image, verbose = given
        listed = check_callbacks(callbacks)
        return FitOptions(
            epochs if epochs is None else check_count("epochs", epochs),
            check_count("batch_size", batch_size, example=32),
            check_rate(learning_rate, listed),
            listed,
            skip=check_on_bad_image(on_bad_image),
            console=Console(verbose),
            augment=augmenter(self.augmentation, size, seed),
            views=fixed_views(self.augmentation, size, self.views),
            store=open_store(self.cache),
            seed=seed,
            folder=folder,
            strategy=strategy,
        )

    def _become(self, fitted: Fitted, history: History, report: Report | None = None) -> None:
        values = (fitted, fitted.classes, fitted.network.model, history)
        found: dict[str, object] = dict(zip(RESULTS, values, strict=False))
        if report is not None:
            found["report_"] = report
        vars(self).update(found)  # all at once, so neither Ctrl-C nor another thread sees a mixture

    def _fitted_or_raise(self, method: str) -> Fitted:
        refuse_fork()
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                f"{method} needs a fitted classifier. Call fit or load first; load returns a new classifier."
            )
        return self._fitted

    def _single_label_or_raise(self, method: str, remedy: str) -> Fitted:
        """The fitted state, for methods that need one label per image."""
        fitted = self._fitted_or_raise(method)
        if fitted.network.thresholds is not None:
            raise InvalidInputError(
                f"{method} is for one label per image, but this classifier was fitted on several. {remedy}."
            )
        return fitted

    def _described(self, name: str) -> str:
        """For `repr`: the backbone as the name of its record, if there is one."""
        if name == "backbone":
            with contextlib.suppress(UnknownBackboneError):
                return repr(get_backbone(self.backbone).name)
        return super()._described(name)

    def __getattr__(self, name: str) -> Any:
        if name == "report_" and self.__sklearn_is_fitted__():
            raise AttributeError("report_ is available after fit and is not saved. Call check_images for a report.")
        if name in RESULTS:
            raise NotFittedError(f"{name} is available after fit. Call fit first.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _pretrained(record: Backbone, source: Source, size: tuple[int, int], seed: int, console: Console) -> keras.Model:
    """The backbone with its weights, which are downloaded if they are missing."""
    if note := size_note(record, source, size):
        console.say(note)
    return build_with_weights(record, size, find_weights(record, source, console), seed)


def _on_one_device(network: Network, options: FitOptions) -> Network:
    """A network that a strategy has trained, with plain variables again, which `save` and any thread can use."""
    return network if options.strategy is None else network.copy()


def _as_in_fit(fitted: Fitted, history: History, console: Console) -> Fitted:
    """The same, with the network as it was before fine-tuning, whose features are stored."""
    if not any(phase.name == "fine_tune" and phase.kept for phase in history.phases):
        return fitted
    network, seed, weights = fitted.network, fitted.split_seed, fitted.weights
    record, size = network.record, network.size
    backbone = _pretrained(record, check_weights(record, weights, size), size, seed, console)
    shape = size, len(fitted.classes), fitted.dropout, seed, network.precision, network.resize
    before = assemble(record, backbone, *shape)
    return replace(fitted, network=before)


def _registered(saved: saving.SavedClassifier) -> Backbone:
    name = saved.manifest.backbone
    try:
        return get_backbone(name)
    except UnknownBackboneError as error:
        raise BundleError(
            f"The classifier in {saved.place} has the backbone {shown(name)}, which is not registered here: "
            f"load rebuilds it from the registry. Call register_backbone with its record first."
        ) from error
