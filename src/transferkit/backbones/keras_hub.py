"""KerasHub's image encoders (ViT, DINOv2, SigLIP, ...) as records for the registry (extra ``hub``)."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._common.arguments import check_count
from .._public import public
from ..errors import InvalidInputError, TransferKitError, WeightsError, bad_argument, first_line, import_extra
from .record import Backbone, Preprocessing

if TYPE_CHECKING:
    import keras


DEFAULT_SIZE, MIN_SIZE = 224, 32  # pixels, for encoders that take any size
# Encoders whose first token is a class token, though their settings do not say so.
CLASS_TOKEN = ("DINO", "DeiT", "CLIP", "MetaCLIP")
# Layers that only call the blocks of a transformer one after another.
CHAINS = ("ViTEncoder", "DINOV2Encoder")
BLOCK = re.compile(r"(stack_?\d+|stage_?\d+|block_?\d+|layers_\d+)(?!\d)")


@public
def keras_hub_backbone(
    preset: str | os.PathLike[str],
    *,
    name: str | None = None,
    image_size: int | None = None,
    preprocessing: Preprocessing | None = None,
) -> Backbone:
    """The image encoder of a KerasHub preset as a record, to pass to `register_backbone`.

    Its settings are read now, its weights when a classifier is fitted with ``weights="pretrained"``.
    Feature maps are averaged. Tokens are reduced to the class token if there is one, else to their mean.

    Args:
        preset: as in KerasHub: a name (``"vit_base_patch16_224_imagenet"``), a handle (``"hf://..."``), or the
            folder of a preset.
        name: the name of the record; None = the last part of `preset`.
        image_size: height and width in pixels to build it for; None = as in the preset. Encoders with
            one embedding per position accept no other size afterwards.
        preprocessing: a rule as in `Backbone`; None = scale and offset of the preset's image converter.

    Returns:
        The record. Before `TransferClassifier.load`, register it under the same name again.

    Raises:
        MissingExtraError: KerasHub is not installed.
        WeightsError: the preset could not be loaded.
        InvalidInputError: it is not an image encoder, or has no image converter and `preprocessing` is None.

    Example:
        ::

            record = tk.register_backbone(tk.keras_hub_backbone("vit_base_patch16_224_imagenet"))
            clf = tk.TransferClassifier(record.name).fit("photos/train")
    """
    if sys.version_info < (3, 11):
        raise TransferKitError(
            "Backbones of KerasHub need Python 3.11 or later. Install it, or choose another backbone."
        )
    hub = import_extra("keras_hub", "A backbone of KerasHub", "hub")
    if not isinstance(preset, (str, os.PathLike)):
        raise bad_argument("preset", preset, "must be a preset's name or folder", "Pass one of KerasHub's")
    handle = os.fspath(preset)
    source = _from_preset(hub.models.Backbone, handle, load_weights=False)
    # Plain dicts and lists: those that Keras returns keep the model alive and cannot be copied.
    build = _Builder(type(source), json.loads(json.dumps(source.get_config())), handle)
    is_sizable = "image_shape" in build.settings
    if image_size is not None:
        if not is_sizable:
            rule = f"cannot be chosen for {handle!r}: its size is fixed"
            raise bad_argument("image_size", image_size, rule, "Leave it out")
        build = build.resized(check_count("image_size", image_size, example=224))
        source = build.whole()
    encoder = _image_part(source)
    height, width = _image_shape(encoder)
    if height != width:
        raise bad_argument("preset", handle, f"takes {height} x {width} px, not a square", "Pass image_size=224")
    model = _pooled(encoder)
    # Feature maps adapt to the size of the image, if it can be set or is left open.
    any_size = len(model.output_shape) == 4 and (is_sizable or height is None)
    side = height or image_size or DEFAULT_SIZE
    return Backbone(
        name=name or re.split(r"[/\\]", handle.rstrip("/\\"))[-1],
        builder=build,
        preprocessing=preprocessing or _converter(hub, handle),
        default_size=side,
        min_size=min(MIN_SIZE, side) if any_size else side,
        feature_dim=int(model.output_shape[-1]),
        stages=_stages(model),
        parameters=model.count_params(),
        pretrained=build.fill,
        family="KerasHub",
        fixed_size=not any_size,
    )


@dataclass(frozen=True)
class _Builder:
    """Builds the encoder from its class and settings: the `builder` of the record."""

    kind: Any
    settings: dict[str, Any]
    preset: str

    def __call__(self, input_shape: tuple[int, int, int]) -> keras.Model:
        build = self.resized(*input_shape[:2]) if "image_shape" in self.settings else self
        return _pooled(_image_part(build.whole()))

    def resized(self, height: int, width: int | None = None) -> _Builder:
        return replace(self, settings={**self.settings, "image_shape": (height, width or height, 3)})

    def whole(self) -> Any:
        return self.kind.from_config(self.settings)

    def fill(self, model: keras.Model) -> None:
        """Copy the preset's weights into a model that this builder built."""
        model.set_weights(_pooled(_image_part(_from_preset(self.kind, self.preset))).get_weights())


def _image_part(model: Any) -> Any:
    """The part that takes images; encoders of images and text contain one."""
    return getattr(model, "vision_encoder", None) or getattr(model, "image_encoder", None) or model


def _from_preset(kind: Any, preset: str, **options: Any) -> Any:
    try:
        return kind.from_preset(preset, **options)
    except Exception as error:  # KerasHub, Kaggle and others raise many types of errors
        raise WeightsError(
            f"The KerasHub preset {preset!r} could not be loaded ({first_line(error)}): KerasHub downloads it once, or "
            f"reads it from a folder. Check its name and the network connection."
        ) from error


def _image_shape(encoder: Any) -> tuple[int | None, int | None]:
    shapes = [tuple(tensor.shape[1:]) for tensor in encoder.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][-1] != 3:
        raise InvalidInputError(
            f"The KerasHub preset of {type(encoder).__name__!r} takes inputs of the shapes {shapes}: a backbone takes one "
            f"RGB image, (h, w, 3). Pass the preset of an image encoder."
        )
    return shapes[0][0], shapes[0][1]


def _pooled(encoder: Any) -> keras.Model:
    """The encoder, with each block of a transformer as a layer of its own.

    Tokens become one vector per image; the head averages feature maps, as for all backbones.
    """
    import keras

    def opened(layer: Any) -> Any:
        return layer.call if type(layer).__name__ in CHAINS else layer

    output = keras.tree.flatten(encoder._run_through_graph(encoder.inputs, opened))[0]
    if len(output.shape) == 3:
        is_known = type(encoder).__name__.startswith(CLASS_TOKEN)
        if encoder.get_config().get("use_class_token", is_known):
            output = output[:, 0]
        else:
            output = keras.layers.GlobalAveragePooling1D(name="tokens_mean")(output)
    return keras.Model(encoder.inputs[0], output)


def _stages(model: keras.Model) -> tuple[str, ...]:
    """The names of the blocks, from those of the layers; for encoders with a few large layers, the layers."""
    layers = [layer.name for layer in model.layers if layer.weights and not _is_numbered(layer)]
    blocks = dict.fromkeys(found[1] for found in map(BLOCK.search, layers) if found)
    if len(blocks) > 1:
        return tuple(blocks)
    return tuple(layers) if len(layers) <= 20 else ()


def _is_numbered(layer: Any) -> bool:
    """Whether Keras made up the layer's name, from its class and a number that differs between processes."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)  # as Keras does it
    snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
    return re.sub(r"_\d+$", "", layer.name) == snake


def _converter(hub: Any, preset: str) -> Preprocessing:
    """Scale and offset of the preset's image converter; transferkit resizes images itself."""
    try:
        converter = hub.layers.ImageConverter.from_preset(preset)
    except Exception as error:
        raise InvalidInputError(
            f"The KerasHub preset {preset!r} has no image converter, so the scale of its pixels is not known. Pass "
            f"preprocessing='tf', another rule, or a function."
        ) from error
    scale = 1.0 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    return _Scaling(*(tuple(np.ravel(value).tolist()) for value in (scale, offset)))


@dataclass(frozen=True)
class _Scaling:
    """Pixels times `scale` plus `offset`, each one number or one per channel."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    def __call__(self, images: Any) -> Any:
        return images * np.array(self.scale, np.float32) + np.array(self.offset, np.float32)
