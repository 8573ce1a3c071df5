"""Preprocessing -> backbone -> head as one Keras model; where it can be cut; what is trainable.

A cut divides the network into a frozen part, which is computed once per image, and a trained part,
which goes on from the values at the cut. Both share their layers with the whole network, so what is
trained in the part is trained in the whole.

Only layers and operations of Keras itself occur, so a saved network opens without transferkit.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from .arguments import is_whole
from .errors import InvalidInputError, bad_argument, some_of
from .fingerprints import computation
from .records import Backbone

__all__ = ["Cut", "Network", "TrainedPart", "assemble"]

At = int | str


class TrainedPart(keras.Model):  # type: ignore[misc]  # keras is untyped
    """What lies behind a cut, from the values there to logits.

    Callbacks see this model. One that saves it (`keras.callbacks.ModelCheckpoint`) means the
    classifier, so `save` and `save_weights` write the whole network.
    """

    def __init__(self, whole: keras.Model, **graph: Any) -> None:
        super().__init__(**graph)
        # Bound methods, not the model: as an attribute it would count as a layer of this one.
        self._save_whole: Callable[..., None] = whole.save
        self._save_whole_weights: Callable[..., None] = whole.save_weights

    def save(self, *args: Any, **kwargs: Any) -> None:
        self._save_whole(*args, **kwargs)

    def save_weights(self, *args: Any, **kwargs: Any) -> None:
        self._save_whole_weights(*args, **kwargs)


@dataclass(frozen=True)
class Cut:
    """A place to divide the network.

    Attributes:
        index: the first trained layer's index in ``backbone.layers``; their number for a cut before the head.
        first_layer: its name.
        from_pixels: nothing with weights lies before the cut.
        frozen: images float32 `(n, h, w, 3)` -> the list of tensors that cross the cut.
        trained: those tensors -> logits `(n, n_classes)`.
    """

    index: int
    first_layer: str
    from_pixels: bool
    frozen: keras.Model
    trained: TrainedPart


@dataclass(eq=False)
class Network:
    """A whole network and the pieces that it was made of."""

    record: Backbone
    size: tuple[int, int]
    model: keras.Model
    backbone: keras.Model
    preprocessed: keras.KerasTensor  # what the backbone is fed inside `model`
    features: keras.KerasTensor  # (n, feature_dim), what the head is fed inside `model`
    head: tuple[keras.layers.Layer, ...]  # pooling, scale, dropout, dense: from feature maps to logits
    _version: int = 0
    _changing: bool = False

    @contextmanager
    def changing(self) -> Iterator[None]:
        """The block changes weights of the backbone."""
        self._changing = True
        try:
            yield
        finally:
            self._changing = False
            self._version += 1

    @property
    def version(self) -> int:
        """A number that goes up when the weights of the backbone change; at each look while they are trained."""
        self._version += self._changing
        return self._version

    def computation(self, model: keras.Model, at: int | str) -> str:
        """A text that stands for what a part of this network computes, its weights apart; see `fingerprints`."""
        return computation(self.record, model, self.size, at)

    def features_model(self) -> keras.Model:
        """Images -> pooled features: all that lies before the head."""
        return keras.Model(self.model.input, [self.features])

    def head_model(self) -> keras.Model:
        """Pooled features -> probabilities."""
        return keras.Model(self.features, self.model.output)

    def set_feature_scale(self, scale: float) -> None:
        """What the head multiplies features by; to be set before the network is first called."""
        self._rescaling.scale = scale

    @property
    def feature_scale(self) -> float:
        return float(self._rescaling.scale)

    @property
    def _rescaling(self) -> keras.layers.Rescaling:
        return next(layer for layer in self.head if isinstance(layer, keras.layers.Rescaling))

    def cut_before_head(self) -> Cut:
        """The cut of `fit`: everything but the head is frozen; what crosses is the pooled features."""
        self._freeze(self.backbone.layers)
        return Cut(
            len(self.backbone.layers),
            self.head[-1].name,
            False,
            self.features_model(),
            self._trained_part([self.features], list(self.head[1:])),
        )

    def cut_at(self, at: At) -> Cut:
        """The cut of `fine_tune`, before the layer or stage `at`; sets which layers are trainable.

        Raises:
            InvalidInputError: no such layer or stage.
        """
        index = self.resolve(at)
        layers = self.backbone.layers
        self._freeze(layers[:index])
        self._unfreeze(layers[index:])
        crossing = _crossing(self.backbone, index)
        from_pixels = not any(layer.weights for layer in layers[:index])
        inside = keras.Model(self.backbone.inputs, crossing)
        frozen = keras.Model(self.model.input, _as_list(inside(self.preprocessed)))
        tail = keras.Model(crossing, self.backbone.output)
        return Cut(index, layers[index].name, from_pixels, frozen, self._trained_part(crossing, [tail, *self.head]))

    def resolve(self, at: At) -> int:
        """`at` as an index into ``backbone.layers``."""
        layers = self.backbone.layers
        if is_whole(at):
            index = int(at)
            if not -len(layers) <= index < len(layers):
                raise bad_argument(
                    "at",
                    at,
                    f"must lie between {-len(layers)} and {len(layers) - 1}, since {self.record.name!r} has {len(layers)} "
                    f"layers",
                    self._stages_remedy(),
                )
            return index % len(layers)
        if not isinstance(at, str):
            raise bad_argument("at", at, "must be a layer's index, a layer's name or a stage", self._stages_remedy())
        names = [layer.name for layer in layers]
        if at in names:
            return names.index(at)
        if at in self.record.stages:
            # "block_1" must not find "block_13"; ConvNeXt puts its own name in front of "stage_1".
            pattern = re.compile(rf"(^|_){re.escape(at)}(?!\d)")
            found = [index for index, name in enumerate(names) if pattern.search(name)]
            if found:
                return found[0]
            raise InvalidInputError(
                f"The stage {at!r} of {self.record.name!r} has no layer: a stage is what the names of its layers begin "
                f"with, and they begin otherwise here. Mend the record, or pass a layer's name or index."
            )
        near = difflib.get_close_matches(at, [*self.record.stages, *names], n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise bad_argument("at", at, f"is no layer and no stage of {self.record.name!r}{hint}", self._stages_remedy())

    def trained_layers(self) -> list[keras.layers.Layer]:
        """Layers with weights that training changes, in the order of the data."""
        return [layer for layer in (*self.backbone.layers, *self.head) if layer.trainable_weights]

    @contextmanager
    def unchanged_on_error(self) -> Iterator[None]:
        """Put back which layers are trainable if what is done inside fails."""
        flags = [(layer, layer.trainable) for layer in (*self.backbone.layers, self.backbone)]
        try:
            yield
        except BaseException:
            self.backbone.trainable = True
            for layer, flag in flags:
                layer.trainable = flag
            raise

    def _stages_remedy(self) -> str:
        if self.record.stages:
            return f"Its stages are {some_of(self.record.stages, 20)}; layer names and indices work as well"
        return "Pass a layer's index or name, as get_backbone(name).build((height, width)).layers lists them"

    def _freeze(self, layers: Iterable[keras.layers.Layer]) -> None:
        for layer in layers:
            layer.trainable = False

    def _unfreeze(self, layers: Iterable[keras.layers.Layer]) -> None:
        # A model's flag stands above those of its layers: it must be on for any of them to count. Setting
        # it sets theirs too, so it comes first.
        frozen = [layer for layer in self.backbone.layers if not layer.trainable]
        self.backbone.trainable = True
        self._freeze(frozen)
        for layer in layers:
            layer.trainable = True
            # A BatchNormalization that is trainable uses the batch's statistics and moves its own: with small
            # batches both do harm, and the values before the cut were computed without.
            for part in _flat([layer]):
                if isinstance(part, keras.layers.BatchNormalization):
                    part.trainable = False

    def _trained_part(self, crossing: list[keras.KerasTensor], layers: list[keras.layers.Layer]) -> TrainedPart:
        inputs = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in crossing]
        given: Any = inputs if len(inputs) > 1 else inputs[0]
        values = given
        for layer in layers:
            values = layer(values)
        return TrainedPart(self.model, inputs=given, outputs=values)


def assemble(
    record: Backbone, backbone: keras.Model, size: tuple[int, int], n_classes: int, dropout: float, seed: int
) -> Network:
    """One model from RGB 0-255 float32 `(n, h, w, 3)` to probabilities `(n, n_classes)`, backbone frozen.

    The head: global average pooling, features brought to unit size (a constant that `fit` measures, so
    that one learning rate suits all backbones), dropout, and a dense layer that starts at zero: before
    training every class is equally likely, and no random start is left in the result.
    """
    inputs = keras.Input((*size, 3), dtype="float32", name="image")
    preprocessed = record.preprocess_input(inputs)
    maps = backbone(preprocessed)
    pool: keras.layers.Layer
    if len(maps.shape) == 4:
        pool = keras.layers.GlobalAveragePooling2D(name="features")
    elif len(maps.shape) == 2:
        pool = keras.layers.Identity(name="features")
    else:
        raise InvalidInputError(
            f"The backbone {record.name!r} gives values of shape {tuple(maps.shape)}: it must give feature maps "
            f"(n, h, w, features) or features (n, features). Build it without its classification head."
        )
    head = (
        pool,
        keras.layers.Rescaling(1.0, name="unit_scale", dtype="float32"),
        keras.layers.Dropout(dropout, seed=seed, name="dropout", dtype="float32"),
        keras.layers.Dense(n_classes, kernel_initializer="zeros", name="logits", dtype="float32"),
    )
    features = values = head[0](maps)
    for layer in head[1:]:
        values = layer(values)
    probabilities = keras.layers.Softmax(name="probabilities", dtype="float32")(values)
    model = keras.Model(inputs, probabilities, name="transferkit")
    backbone.trainable = False
    return Network(record, size, model, backbone, preprocessed, features, head)


def _crossing(backbone: keras.Model, index: int) -> list[keras.KerasTensor]:
    """The tensors made before layer `index` that something from there on reads.

    Operations that are no layers (an addition of two tensors, say) belong to the side where they
    stand in the model's order, which runs from inputs to outputs.
    """
    operations = list(backbone.operations)
    at = operations.index(backbone.layers[index])
    if at == 0:
        return list(backbone.inputs)
    behind = set(map(id, operations[at:]))
    crossing: dict[int, keras.KerasTensor] = {}
    for operation in operations[at:]:
        for tensor in _as_list(operation.input):
            producer = tensor._keras_history.operation
            if id(producer) not in behind:
                crossing.setdefault(id(tensor), tensor)
    return list(crossing.values())


def _flat(layers: Iterable[keras.layers.Layer]) -> Iterable[keras.layers.Layer]:
    """Layers and the layers inside them, those of models and of layers of one's own alike."""
    for layer in layers:
        yield from layer._flatten_layers()  # Keras has no public way to the second kind


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
