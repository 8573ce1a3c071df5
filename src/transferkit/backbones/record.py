"""`Backbone`, what the library needs to know about a pretrained network before building it, and `WeightsFile`."""

from __future__ import annotations

import contextlib
import os
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt

from .._common.arguments import check_count
from .._public import public
from ..errors import InvalidInputError, bad_argument, shown, some_of

if TYPE_CHECKING:
    import keras


BUILT = "_of_transferkit"  # the attribute of a variable that names the record that it was built for
DIGEST = "(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})?"


@public
@dataclass(frozen=True)
class WeightsFile:
    """A weights file that can be downloaded.

    Attributes:
        url: its address, ``https://...`` or ``http://...``.
        digest: ``"sha256:"`` or ``"md5:"`` and the hexadecimal digits of the file's hash; empty = not known,
            so that only the form of a download is checked.
        size: the input height and width in pixels that the weights were trained at; None = not stated.
        name: the name of the file on disk, ending in ``.h5``; empty = as in the URL.

    Raises:
        InvalidInputError: an address without a host, a malformed digest, a size below 1, or an invalid name.

    Example:
        >>> import transferkit as tk
        >>> tk.WeightsFile("https://example.org/mynet.weights.h5").name
        'mynet.weights.h5'
    """

    url: str
    digest: str = ""
    size: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        remedy = "Pass for example WeightsFile('https://example.org/mynet.weights.h5', 'sha256:...')"
        if not _is_url(self.url):
            raise bad_argument("url", self.url, "must begin with https:// or http:// and a host", remedy)
        if not isinstance(self.digest, str) or not re.fullmatch(DIGEST, self.digest, re.IGNORECASE):
            rule = "must be 'sha256:' and 64 hexadecimal digits, or 'md5:' and 32"
            raise bad_argument("digest", self.digest, rule, remedy)
        if self.size is not None:
            check_count("size", self.size, example=224)
        name = self.name or unquote(urlsplit(self.url).path).rpartition("/")[2]
        if not isinstance(name, str) or not re.fullmatch(r"[^/\\\0]*\.h5", name) or len(name.encode()) > 200:
            raise bad_argument("name", name, "must be the name of a file, ending in .h5, of 200 bytes or less", remedy)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "digest", self.digest.lower())


Tensor: TypeAlias = Any  # of Keras or of its backend
Rule: TypeAlias = Literal["caffe", "torch", "tf", "none"]
Preprocessing: TypeAlias = Rule | Callable[[Tensor], Tensor]
Builder: TypeAlias = str | Callable[..., "keras.Model"]
Options: TypeAlias = Mapping[str, Any]  # whatever the builder takes
Loader: TypeAlias = Callable[["keras.Model"], object]
Pretrained: TypeAlias = str | os.PathLike[str] | WeightsFile | Sequence[WeightsFile] | Loader | None


@public
@dataclass(frozen=True)
class Backbone:
    """A record of the registry: how a backbone is built and which pixels it expects.

    Attributes:
        name: as Keras spells it, for example ``"MobileNetV2"``.
        builder: a callable, or its dotted name ``"package.module:name"``. It is called with
            ``input_shape=(height, width, 3)`` and `options`, and returns a `keras.Model` that maps
            preprocessed images to feature maps `(n, h, w, feature_dim)` or features `(n, feature_dim)`.
        preprocessing: the rule that the pretrained weights expect: ``"caffe"`` (BGR, ImageNet means
            subtracted), ``"torch"`` (0-1, then ImageNet mean and standard deviation), ``"tf"`` (-1 to 1),
            ``"none"`` (0-255: the model itself scales), or a function of a float32 RGB 0-255 batch, made of
            Keras operations.
        default_size: input height and width in pixels that the weights were trained at.
        min_size: the smallest height and width that the network can be built for.
        feature_dim: number of features after global average pooling.
        stages: names of blocks that ``fine_tune(at=...)`` accepts, from input to output.
        parameters: number of weights; 0 = not stated.
        pretrained: where its weights come from: a `WeightsFile` or several (one for each input size that
            has weights), the URL or the path of a file, a function that loads them into a model that the
            builder made, or None.
        trained_on: the data that the weights were trained on, ``"imagenet"`` in Keras Applications.
        options: further keyword arguments of the builder.
        family: the family that `list_backbones` lists it under.
        batch_norm, dropout: whether it contains BatchNormalization and Dropout layers; None = not stated.
        fixed_size: the network can be built for `default_size` only.

    Example:
        >>> import transferkit as tk
        >>> record = tk.get_backbone("vgg16")
        >>> record.name, record.default_size, record.stages[-1]
        ('VGG16', 224, 'block5')
    """

    name: str
    builder: Builder
    preprocessing: Preprocessing
    default_size: int = 224
    min_size: int = 32
    feature_dim: int = 0
    stages: tuple[str, ...] = ()
    parameters: int = 0
    pretrained: Pretrained = None
    trained_on: str = ""
    options: Options = field(default_factory=dict)
    family: str = "own"
    batch_norm: bool | None = None
    dropout: bool | None = None
    fixed_size: bool = False

    def __post_init__(self) -> None:
        def require(name: str, holds: object, rule: str, remedy: str) -> None:
            if not holds:
                raise bad_argument(name, getattr(self, name), rule, remedy)

        require("name", isinstance(self.name, str) and self.name.strip(), "must be a name", "Pass name='MyNet'")
        is_dotted = re.fullmatch(r"[\w.]+:\w+", str(self.builder))
        rule = "must be a callable or text like 'package.module:name'"
        require("builder", callable(self.builder) or is_dotted, rule, "Pass the function")
        rules = get_args(Rule)
        is_known = isinstance(self.preprocessing, str) and self.preprocessing in rules
        rule = f"must be one of {some_of(rules)} or a function"
        require("preprocessing", callable(self.preprocessing) or is_known, rule, "Pass one of these")
        for number in ("default_size", "min_size", "feature_dim", "parameters"):
            check_count(number, getattr(self, number), minimum=0, example=224)
        rule = f"must be between 1 and the default_size {self.default_size}"
        require("min_size", 1 <= self.min_size <= self.default_size, rule, "Correct one of the two")
        for text in ("family", "trained_on"):
            require(text, isinstance(getattr(self, text), str), "must be text", "Leave it out")
        require("options", isinstance(self.options, Mapping), "must be a dict of arguments", "Leave it out")
        are_names = isinstance(self.stages, (tuple, list)) and all(isinstance(s, str) and s for s in self.stages)
        require("stages", are_names, "must be names of blocks", "Pass for example ('block1', 'block2')")
        object.__setattr__(self, "pretrained", _weights_source(self.pretrained))
        object.__setattr__(self, "stages", tuple(self.stages))
        object.__setattr__(self, "options", dict(self.options))  # the caller may change theirs later

    def __hash__(self) -> int:
        return hash(self.name)  # equal records have equal names; `options` and some builders are not hashable

    def input_size(self, wanted: tuple[int, int] | None) -> tuple[int, int]:
        """(height, width) in pixels: `wanted`, or the default.

        Raises:
            InvalidInputError: the network cannot be built for this size.
        """
        if wanted is None:
            return self.default_size, self.default_size
        if self.takes(wanted):
            return wanted
        if self.fixed_size:
            rule, remedy = f"does not fit {self.name!r}: it takes {self.default_size} px only", "Leave input_size out"
        else:
            rule = f"is too small for {self.name!r}, which needs at least {self.min_size} px"
            remedy = f"Pass input_size={self.min_size} or more"
        given = wanted[0] if wanted[0] == wanted[1] else wanted
        raise bad_argument("input_size", given, rule, f"{remedy}, or pick another backbone with list_backbones()")

    def takes(self, size: tuple[int, int]) -> bool:
        """Whether the network can be built for images of this (height, width) in pixels."""
        if self.fixed_size:
            return size == (self.default_size, self.default_size)
        return min(size) >= self.min_size

    @property
    def weight_sizes(self) -> tuple[int, ...]:
        """Input sizes in pixels that its pretrained weights were trained at; other sizes use the weights of the default."""
        if self.pretrained is None:
            return ()
        files = self.pretrained if isinstance(self.pretrained, tuple) else ()
        return tuple(file.size for file in files if file.size) or (self.default_size,)

    def weights_file(self, size: tuple[int, int]) -> WeightsFile | None:
        """The weights file for images of this size; None if the weights are not files to download."""
        if not isinstance(self.pretrained, tuple):
            return None
        by_size: dict[object, WeightsFile] = {file.size or self.default_size: file for file in self.pretrained}
        side = size[0] if size[0] == size[1] else None
        return by_size.get(side) or by_size.get(self.default_size) or next(iter(by_size.values()))

    def build(self, size: tuple[int, int], **options: Any) -> keras.Model:
        """Build the network without its classification head, with random weights unless `options` say otherwise.

        Raises:
            InvalidInputError: the builder cannot be imported, or returns something that does not fit the record.
        """
        import keras

        if keras.config.image_data_format() != "channels_last":
            raise InvalidInputError(
                "Keras is set to put the channels first: all images and networks here have them last. Call "
                "keras.config.set_image_data_format('channels_last'), or correct ~/.keras/keras.json."
            )
        builder = self.builder
        if isinstance(builder, str):
            try:
                builder = pkgutil.resolve_name(builder)
            except (ImportError, AttributeError, ValueError) as error:
                raise InvalidInputError(
                    f"The builder {self.builder!r} of {self.name!r} cannot be imported ({error}): it must name a "
                    f"function as 'package.module:name'. Correct the record, or install the package."
                ) from error
        model = builder(input_shape=(*size, 3), **{**self.options, **options})
        self._check_built(model, size, sized=not options)
        return model

    def _check_built(self, model: Any, size: tuple[int, int], sized: bool) -> None:
        """Refuse what the builder returned if it does not fit; `sized`: the record states its parameters and features."""
        import keras

        if not isinstance(model, keras.Model) or len(getattr(model, "outputs", None) or ()) != 1:
            raise InvalidInputError(
                f"The builder of {self.name!r} returned {shown(model)}: it must return a keras.Model with one output, "
                f"made of inputs and layers. Correct it."
            )
        if any(getattr(variable, BUILT, None) == self.name for variable in model.variables):
            raise InvalidInputError(
                f"The builder of {self.name!r} returned variables that it had returned before: it must build new ones in "
                f"each call, since classifiers must not share them. For a model of your own, call "
                f"keras.models.clone_model(mine), and pass pretrained=lambda built: built.set_weights(mine.get_weights())."
            )
        for variable in model.variables:
            setattr(variable, BUILT, self.name)
        if 2 * model.count_params() < (self.parameters if sized else 0):
            raise InvalidInputError(
                f"The network that the builder of {self.name!r} returned has {model.count_params():,} parameters: the "
                f"record says {self.parameters:,}. Correct the record or the builder."
            )
        if not model.weights:
            raise InvalidInputError(
                f"The network that the builder of {self.name!r} returned has no weights: a backbone needs some. Correct the "
                f"builder."
            )
        given, returned = model.input_shape, model.output_shape
        if len(given) != 4 or any(
            side not in (None, wanted) for side, wanted in zip(given[1:], (*size, 3), strict=True)
        ):
            raise InvalidInputError(
                f"The network that the builder of {self.name!r} returned takes {given}: it must take images of shape "
                f"{(None, *size, 3)}, channels last. Use the input_shape that the builder is called with."
            )
        if self.feature_dim and sized and returned[-1] != self.feature_dim:
            raise InvalidInputError(
                f"The network that the builder of {self.name!r} returned gives {returned}: its last axis, the features, must "
                f"have the length feature_dim={self.feature_dim} of the record. Correct the record or the builder."
            )

    def preprocess_input(self, images: npt.ArrayLike | Tensor, *, check_scale: bool = True) -> Any:
        """Convert RGB 0-255 images to what the pretrained weights expect.

        Args:
            images: `(n, h, w, 3)` or `(h, w, 3)`, RGB 0-255, uint8 or float: an array or a tensor. It is
                never changed.
            check_scale: refuse float pixels that are all within [-1, 1], since they seem to be scaled already; False
                accepts them, for a picture that really is that dark.

        Returns:
            An array for an array, a tensor for a tensor; float32, of the same shape.

        Raises:
            InvalidInputError: not numbers, the last axis is not 3 channels, or the pixels look scaled.

        Example:
            >>> import numpy as np, transferkit as tk
            >>> photo = np.array([[[255, 128, 0]]], np.uint8)
            >>> tk.get_backbone("MobileNetV2").preprocess_input(photo)[0, 0].round(2).tolist()
            [1.0, 0.0, -1.0]
        """
        # Keras's function changes float arrays in place and wraps around on uint8 tensors, so it gets a float32 copy.
        from keras.applications.imagenet_utils import preprocess_input

        is_array = isinstance(images, (np.ndarray, Sequence))
        pixels, was_float = _float32(images, is_array)
        shape = tuple(pixels.shape or ())  # the shape of a tensor of unknown rank is falsy
        if len(shape) not in (3, 4) or shape[-1] != 3:
            raise InvalidInputError(
                f"The images have the shape {shape}: preprocess_input takes (n, h, w, 3) or (h, w, 3), "
                f"RGB. Put the channels last."
            )
        if check_scale and was_float:
            _refuse_scaled(pixels)
        if callable(self.preprocessing):
            pixels = self.preprocessing(pixels)
        elif self.preprocessing != "none":
            pixels = preprocess_input(pixels, data_format="channels_last", mode=self.preprocessing)
        return np.asarray(pixels, np.float32) if is_array else pixels

    def __str__(self) -> str:
        layers = {"BatchNormalization": self.batch_norm, "Dropout": self.dropout}
        neither = "not stated" if None in layers.values() else "neither BatchNormalization nor Dropout"
        side = self.default_size
        weights = "none" if self.pretrained is None else self.trained_on or "its own"
        if isinstance(self.pretrained, tuple):
            weights += f", trained at {', '.join(map(str, self.weight_sizes))} px"
        elif isinstance(self.pretrained, Path):
            weights += f", {self.pretrained}"
        rows = {
            "family": self.family,
            "input": f"{side} px only" if self.fixed_size else f"{side} px, each side {self.min_size} px or more",
            "preprocessing": self.preprocessing if isinstance(self.preprocessing, str) else "custom function",
            "features": str(self.feature_dim or "not stated"),
            "parameters": f"{self.parameters:,}" if self.parameters else "not stated",
            "contains": ", ".join(name for name, is_there in layers.items() if is_there) or neither,
            "weights": weights,
            "stages": ", ".join(self.stages) or "none named",
        }
        return "\n".join([self.name, *(f"  {key:<14} {value}" for key, value in rows.items())])


def _float32(images: Any, is_array: bool) -> tuple[Any, bool]:
    """A float32 copy of the numbers in an array or a dense tensor, and whether they were floats."""
    from keras import ops

    kind = ""
    with contextlib.suppress(AttributeError, ValueError):  # no dtype; images of different sizes
        dtype = np.asarray(images).dtype if is_array else images.dtype
        kind = getattr(dtype, "name", str(dtype))
    given = type(images).__name__
    if not re.match(r"u?int|b?float", kind) or given.startswith(("Sparse", "Ragged")):
        raise InvalidInputError(
            f"preprocess_input was given a {given}{kind and f' of {kind}'}: it takes an array or a tensor of numbers, "
            f"(n, h, w, 3) or (h, w, 3). Convert it with numpy.asarray first."
        )
    return np.array(images, np.float32) if is_array else ops.cast(images, "float32"), "float" in kind


def _refuse_scaled(pixels: Any) -> None:
    """Refuse float pixels within [-1, 1], which were almost certainly scaled before, except in a black picture."""
    try:
        values = np.nan_to_num(np.asarray(pixels))
    except (TypeError, ValueError, NotImplementedError, RuntimeError):  # a symbolic tensor has no values yet
        return
    if values.any() and np.abs(values).max() <= 1:
        raise InvalidInputError(
            f"The images have values from {values.min():g} to {values.max():g}: preprocess_input takes RGB 0-255 and does "
            f"the scaling itself. Pass the pixels as they are in the file, or check_scale=False if they really are that dark."
        )


# ---- where weights come from ----


def _weights_source(given: object) -> tuple[WeightsFile, ...] | Path | Loader | None:
    """A record's `pretrained` in one of four forms: files, a path, a function, or None."""
    if given is None or callable(given):
        return given
    if isinstance(given, WeightsFile):
        return (given,)
    if _is_url(given):
        return (WeightsFile(str(given)),)
    if isinstance(given, os.PathLike) or (isinstance(given, str) and given):
        return Path(given)
    if isinstance(given, Sequence) and given and all(isinstance(file, WeightsFile) for file in given):
        return tuple(given)
    rule = "must be a WeightsFile or several, the URL or the path of a file, a function that loads weights, or None"
    raise bad_argument("pretrained", given, rule, "Pass one of these")


def _is_url(text: object) -> bool:
    """Whether this is a web address with a host; whether it can be reached shows when it is downloaded."""
    try:
        return isinstance(text, str) and bool(re.match("https?://", text, re.IGNORECASE) and urlsplit(text).hostname)
    except ValueError:  # a bracket that is not closed
        return False
