"""Image encoders of KerasHub (ViT, DINOv2, SigLIP, ...) as records of the registry; extra ``hub``."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._public import public
from .arguments import check_count
from .errors import InvalidInputError, WeightsError, bad_argument, import_extra
from .records import Backbone, Preprocessing

if TYPE_CHECKING:
    import keras

__all__ = ["keras_hub_backbone"]

DEFAULT_SIZE, MIN_SIZE = 224, 32  # pixels, for encoders that take any size
# Encoders whose first token stands for the whole image, where their settings do not say so.
CLASS_TOKEN = ("DINO", "DeiT", "CLIP", "MetaCLIP")
BLOCK = re.compile(r"(stack_?\d+|stage_?\d+|block_?\d+)(?!\d)")


@public
def keras_hub_backbone(
    preset: str | os.PathLike[str],
    *,
    name: str | None = None,
    image_size: int | None = None,
    preprocessing: Preprocessing | None = None,
) -> Backbone:
    """The image encoder of a KerasHub preset as a record, to be passed to `register_backbone`.

    Its settings are read now, its weights when a classifier is fitted with ``weights="pretrained"``.
    Feature maps are averaged; of tokens the class token is taken where there is one, else their mean.

    Args:
        preset: as in KerasHub: a name (``"vit_base_patch16_224_imagenet"``), a handle (``"hf://..."``), or the
            folder of a preset.
        name: under which to register it; None = the last part of `preset`.
        image_size: height and width in pixels to build it for; None = that of the preset. Encoders with
            one embedding for each position take no other size afterwards.
        preprocessing: None = scale and offset of the preset's image converter; or a rule as in `Backbone`.

    Returns:
        The record. `TransferClassifier.load` needs it registered under the same name again.

    Raises:
        MissingExtraError: KerasHub is not installed.
        WeightsError: the preset cannot be had.
        InvalidInputError: it is no image encoder, or brings no image converter and `preprocessing` is None.

    Example:
        ::

            record = tk.register_backbone(tk.keras_hub_backbone("vit_base_patch16_224_imagenet"))
            clf = tk.TransferClassifier(record.name).fit("photos/train")
    """
    hub = import_extra("keras_hub", "A backbone of KerasHub", "hub")
    if not isinstance(preset, (str, os.PathLike)):
        raise bad_argument("preset", preset, "must be a preset's name or folder", "Pass one of KerasHub's")
    handle = os.fspath(preset)
    source = _from_preset(hub.models.Backbone, handle, load_weights=False)
    # Plain dicts and lists: those that Keras returns hold on to the model and cannot be copied.
    build = _Builder(type(source), json.loads(json.dumps(source.get_config())), handle)
    if image_size is not None:
        if "image_shape" not in build.settings:
            raise bad_argument(
                "image_size", image_size, f"cannot be chosen for {handle!r}: its size is fixed", "Leave it out"
            )
        build = build.resized(check_count("image_size", image_size, minimum=1, example=224))
    encoder = build.encoder(source if image_size is None else build.whole())
    shape = _image_shape(encoder)
    features = _pooled(encoder)
    # Feature maps follow the size of the image, where it can be stated or is left open.
    any_size = len(encoder.outputs[0].shape) == 4 and ("image_shape" in build.settings or shape[0] is None)
    side = shape[0] or image_size or DEFAULT_SIZE
    if shape[0] != shape[1]:
        raise bad_argument("preset", handle, f"is made for images of {shape}, not square", "Pass image_size=224")
    return Backbone(
        name=name or re.split(r"[/\\]", handle.rstrip("/\\"))[-1],
        builder=build,
        preprocessing=preprocessing or _converter(hub, handle),
        default_size=side,
        min_size=min(MIN_SIZE, side) if any_size else side,
        feature_dim=int(features.shape[-1]),
        stages=_stages(encoder),
        parameters=encoder.count_params(),
        pretrained=build.fill,
        family="KerasHub",
        fixed_size=not any_size,
    )


@dataclass(frozen=True)
class _Builder:
    """Builds the encoder from its class and settings; what `Backbone.builder` is for these records."""

    kind: type
    settings: dict[str, Any]
    preset: str

    def __call__(self, input_shape: tuple[int, int, int]) -> keras.Model:
        import keras

        encoder = self.resized(*input_shape[:2]).encoder()
        return keras.Model(encoder.inputs[0], _pooled(encoder))

    def resized(self, height: int, width: int | None = None) -> _Builder:
        """The same for another size, where the settings name one."""
        if "image_shape" not in self.settings:
            return self
        shape = (height, width or height, 3)
        return _Builder(self.kind, {**self.settings, "image_shape": shape}, self.preset)

    def whole(self) -> Any:
        return self.kind.from_config(self.settings)  # type: ignore[attr-defined]

    def encoder(self, whole: Any = None) -> Any:
        """The part that sees images; encoders of images and texts hold one inside."""
        whole = whole or self.whole()
        return getattr(whole, "vision_encoder", None) or getattr(whole, "image_encoder", None) or whole

    def fill(self, model: keras.Model) -> None:
        """Copy the preset's weights into a model that this builder built."""
        source = self.encoder(_from_preset(self.kind, self.preset))
        model.set_weights(source.get_weights())


def _from_preset(kind: Any, preset: str, **options: Any) -> Any:
    try:
        return kind.from_preset(preset, **options)
    except Exception as error:  # KerasHub, Kaggle and others raise many kinds
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"The KerasHub preset {preset!r} could not be had ({lines[0].rstrip('.: ')}): KerasHub downloads it once, or "
            f"reads it from a folder. Check its name and the connection."
        ) from error


def _image_shape(encoder: Any) -> tuple[int | None, ...]:
    shapes = [tuple(tensor.shape[1:]) for tensor in encoder.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][-1] != 3:
        raise InvalidInputError(
            f"The KerasHub preset of {type(encoder).__name__!r} takes inputs of the shapes {shapes}: a backbone takes one "
            f"RGB image, (h, w, 3). Pass the preset of an image encoder."
        )
    return shapes[0]


def _pooled(encoder: Any) -> Any:
    """One vector an image, from the encoder's output of any form."""
    import keras

    output = encoder.outputs[0]
    if len(output.shape) == 4:
        return output  # averaged by the head, as for all backbones
    if len(output.shape) == 3:
        if _has_class_token(encoder):
            return output[:, 0]
        return keras.layers.GlobalAveragePooling1D(name="tokens_mean")(output)
    return output


def _has_class_token(encoder: Any) -> bool:
    stated = encoder.get_config().get("use_class_token")
    return type(encoder).__name__.startswith(CLASS_TOKEN) if stated is None else bool(stated)


def _stages(encoder: Any) -> tuple[str, ...]:
    """Blocks by the names of the layers; for encoders with a few large layers, these layers."""
    layers = [layer.name for layer in encoder.layers if layer.weights and not _is_nameless(layer)]
    blocks = dict.fromkeys(found[1] for found in map(BLOCK.search, layers) if found)
    if len(blocks) > 1:
        return tuple(blocks)
    return tuple(layers) if len(layers) <= 20 else ()


def _is_nameless(layer: Any) -> bool:
    """Whether Keras made up its name: from its class and a number that another process counts otherwise."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
    snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
    return re.fullmatch(rf"{re.escape(snake)}(_\d+)?", layer.name) is not None


def _converter(hub: Any, preset: str) -> Preprocessing:
    """Scale and offset of the preset's image converter; sizes are transferkit's own affair."""
    try:
        converter = hub.layers.ImageConverter.from_preset(preset)
    except Exception as error:
        raise InvalidInputError(
            f"The KerasHub preset {preset!r} brings no image converter, so how it wants its pixels is not known: a backbone "
            f"needs a rule. Pass preprocessing='tf' or another rule, or a function."
        ) from error
    return _Scaling(_numbers(converter.scale, 1.0), _numbers(converter.offset, 0.0))


def _numbers(value: Any, default: float) -> tuple[float, ...]:
    return tuple(np.ravel(default if value is None else value).astype(float).tolist())


@dataclass(frozen=True)
class _Scaling:
    """Pixels times `scale` plus `offset`, each one number or one for each channel."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    def __call__(self, images: Any) -> Any:
        return images * np.array(self.scale, np.float32) + np.array(self.offset, np.float32)
