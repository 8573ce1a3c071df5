"""`Backbone`: all that the library must know of a pretrained network before it builds it."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._public import public
from .arguments import check_count
from .errors import InvalidInputError, bad_argument, shown, some_of
from .sources import Pretrained, WeightsFile, weights_source

if TYPE_CHECKING:
    import keras

__all__ = ["Backbone"]

RULES = ("caffe", "torch", "tf", "none")
Preprocessing = str | Callable[[Any], Any]
Builder = str | Callable[..., "keras.Model"]


@public
@dataclass(frozen=True)
class Backbone:
    """A record of the registry: how a backbone is built and what it wants to be fed.

    Attributes:
        name: as Keras spells it, for example ``"MobileNetV2"``.
        builder: a callable, or the dotted text ``"package.module:name"`` of one. It is called with
            ``input_shape=(height, width, 3)`` and `options`, and returns a `keras.Model` that maps
            preprocessed images to feature maps `(n, h, w, feature_dim)` or features `(n, feature_dim)`.
        preprocessing: the rule that the pretrained weights expect: ``"caffe"`` (BGR, ImageNet means
            subtracted), ``"torch"`` (0-1, then ImageNet mean and standard deviation), ``"tf"`` (-1 to 1),
            ``"none"`` (0-255 as it is: the model scales inside), or a function of a float32 RGB 0-255
            batch that is made of Keras operations.
        default_size: input height and width in pixels that the weights were trained at.
        min_size: the smallest height and width that the network can be built for.
        feature_dim: number of features after global average pooling.
        stages: names of blocks, in the order of the data, that ``fine_tune(at=...)`` takes.
        parameters: number of weights; 0 = not stated.
        pretrained: where its own weights come from: a `WeightsFile` or several (one for each input size that
            there are weights for), the URL or the path of a file, a function that fills a model of
            the builder's with them, or None.
        trained_on: the data that they were trained on, ``"imagenet"`` for those of Keras Applications.
        options: further keyword arguments of the builder.
        family: what it is listed under.
        batch_norm, dropout: whether BatchNormalization and Dropout layers are inside; None = not stated.
        fixed_size: the network can be built for `default_size` alone.

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
    options: Mapping[str, Any] = field(default_factory=dict)
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
        is_known = isinstance(self.preprocessing, str) and self.preprocessing in RULES
        rule = f"must be one of {some_of(RULES)} or a function"
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
        object.__setattr__(self, "pretrained", weights_source(self.pretrained))
        object.__setattr__(self, "stages", tuple(self.stages))
        object.__setattr__(self, "options", dict(self.options))  # the caller may go on changing his

    def __hash__(self) -> int:
        return hash(self.name)  # equal records have one name; `options` and some builders have no hash

    def input_size(self, wanted: tuple[int, int] | None) -> tuple[int, int]:
        """(height, width) in pixels: `wanted`, or the default.

        Raises:
            InvalidInputError: smaller than `min_size`, or another than the only one that there is.
        """
        default = self.default_size, self.default_size
        if wanted is None:
            return default
        if self.fixed_size and not self.takes(wanted):
            raise InvalidInputError(
                f"`input_size={shown(wanted)}` does not fit {self.name!r}: it is made for {self.default_size} px alone. "
                f"Leave input_size out, or pick another backbone with list_backbones()."
            )
        if not self.takes(wanted):
            given = wanted[0] if wanted[0] == wanted[1] else wanted
            raise InvalidInputError(
                f"`input_size={given}` is too small for {self.name!r}: it takes {self.min_size} px or more. Pass "
                f"input_size={self.min_size} or larger, or pick another backbone with list_backbones()."
            )
        return wanted

    def takes(self, size: tuple[int, int]) -> bool:
        """Whether the network can be built for images of this (height, width) in pixels."""
        if self.fixed_size:
            return size == (self.default_size, self.default_size)
        return min(size) >= self.min_size

    @property
    def weight_sizes(self) -> tuple[int, ...]:
        """Input sizes in pixels that its pretrained weights were trained at; other sizes take the default's."""
        if self.pretrained is None:
            return ()
        files = self.pretrained if isinstance(self.pretrained, tuple) else ()
        return tuple(file.size for file in files if file.size) or (self.default_size,)

    def weights_file(self, size: tuple[int, int]) -> WeightsFile | None:
        """The file of its weights for images of this size; None where its weights come otherwise."""
        if not isinstance(self.pretrained, tuple):
            return None
        height, width = size
        by_size = {file.size or self.default_size: file for file in self.pretrained}
        wanted = height if height == width else self.default_size
        found: WeightsFile = by_size.get(wanted) or by_size.get(self.default_size) or self.pretrained[0]
        return found

    def build(self, size: tuple[int, int], **options: Any) -> keras.Model:
        """The network without its classification head; random weights unless `options` say otherwise."""
        builder = self.builder
        if isinstance(builder, str):
            module, _, attribute = builder.partition(":")
            try:
                builder = getattr(importlib.import_module(module), attribute)
            except (ImportError, AttributeError) as error:
                raise InvalidInputError(
                    f"The builder {self.builder!r} of {self.name!r} cannot be imported ({error}): it must be the text "
                    f"'package.module:name' of a function. Mend the record, or install the package."
                ) from error
        model = builder(input_shape=(*size, 3), **{**self.options, **options})
        import keras

        if not isinstance(model, keras.Model) or len(getattr(model, "outputs", None) or ()) != 1:
            raise InvalidInputError(
                f"The builder of {self.name!r} gave {shown(model)}: it must give a keras.Model with one output, made of "
                f"inputs and layers. Mend it."
            )
        return model

    def preprocess_input(self, images: Any, *, check_scale: bool = True) -> Any:
        """RGB 0-255 -> what the pretrained weights expect.

        Args:
            images: `(n, h, w, 3)` or `(h, w, 3)`, RGB 0-255, uint8 or float: a NumPy array, or a tensor.
                It is never changed.
            check_scale: refuse float pixels that all lie within [-1, 1], since they look as if they had been
                scaled already; False takes them as they are, for a picture that really is that dark.

        Returns:
            An array for an array, a tensor for a tensor; float32, of the same shape.

        Raises:
            InvalidInputError: the last axis is not 3 channels, or the pixels look scaled.

        The rules are those of `keras.applications.imagenet_utils.preprocess_input`. Keras's own
        functions work in place on float arrays, and wrap around silently on uint8 tensors; here both
        are converted to float32 first.

        Example:
            >>> import numpy as np, transferkit as tk
            >>> photo = np.array([[[255, 128, 0]]], np.uint8)
            >>> tk.get_backbone("MobileNetV2").preprocess_input(photo)[0, 0].round(2).tolist()
            [1.0, 0.0, -1.0]
        """
        from keras import ops
        from keras.applications.imagenet_utils import preprocess_input

        is_array = isinstance(images, (np.ndarray, Sequence))
        kind = _number_kind(images, is_array)
        pixels: Any = np.array(images, np.float32) if is_array else ops.cast(images, "float32")
        shape = tuple(pixels.shape or ())  # a tensor of unknown rank has a shape that is false
        if len(shape) not in (3, 4) or shape[-1] != 3:
            raise InvalidInputError(
                f"The images have the shape {shape}: preprocess_input takes (n, h, w, 3) or (h, w, 3), "
                f"RGB. Put the channels last."
            )
        if check_scale and "float" in kind:
            _refuse_scaled(pixels)
        if callable(self.preprocessing):
            result = self.preprocessing(pixels)
        elif self.preprocessing == "none":
            return pixels
        else:
            result = preprocess_input(pixels, data_format="channels_last", mode=self.preprocessing)
        return np.asarray(result, np.float32) if is_array else result

    def __str__(self) -> str:
        own = self.default_size
        sizes = f"{own} px alone" if self.fixed_size else f"{own} px, each side {self.min_size} px or more"
        inside = [name for name, there in (("BatchNormalization", self.batch_norm), ("Dropout", self.dropout)) if there]
        unstated = None in (self.batch_norm, self.dropout)
        rows = {
            "family": self.family,
            "input": sizes,
            "preprocessing": self.preprocessing if isinstance(self.preprocessing, str) else "a function of its own",
            "features": str(self.feature_dim or "not stated"),
            "parameters": f"{self.parameters:,}" if self.parameters else "not stated",
            "inside": ", ".join(inside) or ("not stated" if unstated else "neither BatchNormalization nor Dropout"),
            "weights": self._weights_line(),
            "stages": ", ".join(self.stages) or "none named",
        }
        return "\n".join([self.name, *(f"  {key:<14} {value}" for key, value in rows.items())])

    def _weights_line(self) -> str:
        if self.pretrained is None:
            return "none"
        source = self.trained_on or "its own"
        if isinstance(self.pretrained, tuple):
            return f"{source}, trained at {', '.join(map(str, self.weight_sizes))} px"
        return f"{source}, {self.pretrained}" if isinstance(self.pretrained, Path) else source


def _number_kind(images: Any, is_array: bool) -> str:
    """The name of the type of the numbers.

    Raises:
        InvalidInputError: something other than numbers, or not in an array or a dense tensor.
    """
    name = ""
    with contextlib.suppress(AttributeError, ValueError):  # no type; images of several sizes
        kind = np.asarray(images).dtype if is_array else images.dtype
        name = getattr(kind, "name", str(kind))
    if not re.match(r"u?int|b?float", name) or re.match("Sparse|Ragged", type(images).__name__):
        raise InvalidInputError(
            f"preprocess_input was given a {type(images).__name__}{f' of {name}' if name else ''}: it takes an array or a "
            f"tensor of numbers, (n, h, w, 3) or (h, w, 3). Convert it with numpy.asarray first."
        )
    return name


def _refuse_scaled(pixels: Any) -> None:
    """Float pixels within [-1, 1] were almost surely scaled before; symbolic tensors have no values yet."""
    try:
        values = np.asarray(pixels)
    except (TypeError, ValueError, NotImplementedError, RuntimeError):
        return
    if not np.isfinite(values).any():
        return
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low >= -1 and high <= 1 and not low == high == 0:  # nothing is scaled in a black picture
        raise InvalidInputError(
            f"The images have values from {low:g} to {high:g}: preprocess_input takes RGB 0-255 and does the scaling "
            f"itself. Pass the pixels as they are in the file, or check_scale=False if they really are that dark."
        )
