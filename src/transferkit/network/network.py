"""Preprocessing -> backbone -> head as one Keras model; where it can be cut; which layers are trainable.

A cut divides the network into a frozen part, which is computed once per image, and a trainable model, which starts from
the values at the cut. Both share their layers with the whole network. All layers and operations come from Keras, so a
saved network opens without transferkit.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from .._common.arguments import Resize, is_whole
from ..backbones import Backbone, build_with_weights, copy_weights
from ..errors import InvalidInputError, bad_argument, some_of
from .extractor import FeatureExtractor, graph_of, nodes_of
from .fingerprints import computation

At: TypeAlias = int | str

SMALL_MAPS = 14  # a sixteenth of 224 pixels


@dataclass(frozen=True)
class Cut:
    """A division of the network into a frozen part and a trainable model."""

    index: int  # of the first trained layer in ``backbone.layers``; their count for a cut before the head
    first_layer: str  # its name
    from_pixels: bool  # no layer before the cut has weights
    extractor: FeatureExtractor  # images float32 `(n, h, w, 3)` -> the list of tensors that cross the cut
    trainable: keras.Model  # those tensors -> logits `(n, n_classes)`
    features: keras.Model  # those tensors -> the input of the last layer `(n, feature_dim)`
    whole: keras.Model  # images -> probabilities, for callbacks


@dataclass(eq=False)
class Network:
    """A whole network and the pieces that it is made of."""

    record: Backbone
    size: tuple[int, int]
    model: keras.Model
    backbone: keras.Model
    preprocessed: keras.KerasTensor  # the input of the backbone inside `model`
    features: keras.KerasTensor  # (n, feature_dim), the pooled features inside `model`
    head: tuple[keras.layers.Layer, ...]  # pooling, scale, dropout, dense: from feature maps to logits
    precision: Literal["float32", "bfloat16"]  # of the frozen layers
    resize: Resize  # how images of another aspect ratio are resized
    # With several labels per image, `(n_classes,)`: the lowest probability to predict each label. None = one per image.
    thresholds: npt.NDArray[np.float64] | None = None

    def copy(self) -> Network:
        """The same network with its own copy of the weights, to be trained while this one predicts."""
        backbone = _flattened(build_with_weights(self.record, self.size, None, seed=0))
        for layer, original in zip(backbone.layers, self.backbone.layers, strict=True):
            layer.name = original.name  # Keras numbers unnamed layers differently in each build
        dropout, logits = self.head[2:]
        options = dropout.rate, dropout.seed, self.precision, self.resize, self.thresholds
        made = assemble(self.record, backbone, self.size, logits.units, *options)
        made.set_feature_scale(self.feature_scale)
        copy_weights(self.model, made.model)
        return made

    def features_model(self) -> keras.Model:
        """Images -> pooled features: everything before the head."""
        return keras.Model(self.model.input, [self.features])

    def feature_extractor(self) -> FeatureExtractor:
        """The same as a fast function, with the current weights."""
        return self._extractor(self.features_model(), "features")

    def head_model(self) -> keras.Model:
        """Pooled features -> logits, and probabilities."""
        return keras.Model(self.features, [self.head[-1].output, self.model.output])

    def set_feature_scale(self, scale: float) -> None:
        """Set the factor that the head multiplies features by, before the network is first called."""
        self.head[1].scale = scale

    @property
    def feature_scale(self) -> float:
        return float(self.head[1].scale)

    def cut_before_head(self) -> Cut:
        """The cut of `fit`: everything but the head is frozen, and the pooled features cross the cut."""
        self.backbone.trainable = False
        behind = self._behind([self.features], self.head[1:-1])
        name, extractor = self.head[-1].name, self.feature_extractor()
        return Cut(len(self.backbone.layers), name, False, extractor, *behind, self._whole())

    def cut_at(self, at: At) -> Cut:
        """The cut of `fine_tune`, before the layer or stage `at`; sets which layers are trainable."""
        index = self.resolve(at)
        layers = self.backbone.layers
        self._train_from(index)
        crossing = _crossing(self.backbone, index)
        from_pixels = not any(layer.weights for layer in layers[:index])
        inside = keras.Model(self.backbone.inputs, crossing)
        frozen = keras.Model(self.model.input, keras.tree.flatten(inside(self.preprocessed)))
        tail = keras.Model(crossing, self.backbone.output)
        behind = self._behind(crossing, [tail, *self.head[:-1]])
        return Cut(index, layers[index].name, from_pixels, self._extractor(frozen, index), *behind, self._whole())

    def resolve(self, at: At) -> int:
        """`at` as an index into ``backbone.layers``."""
        names, stages = [layer.name for layer in self.backbone.layers], self.record.stages
        count = len(names)
        remedy = f"Pass the index or the name of a layer: {some_of(names, 20)}"
        if stages:
            remedy = f"Its stages are {some_of(stages, 20)}; layer names and indices work as well"
        if is_whole(at):
            index = int(at)
            if not -count <= index < count:
                rule = f"must be {-count} to {count - 1}, since {self.record.name!r} has {count} layers"
                raise bad_argument("at", at, rule, remedy)
            return index % count
        if not isinstance(at, str):
            raise bad_argument("at", at, "must be a layer's index, a layer's name or a stage", remedy)
        if at in names:
            return names.index(at)
        if at in stages:
            # "block_1" must not find "block_13"; ConvNeXt puts its own name in front of "stage_1".
            pattern = re.compile(rf"(^|_){re.escape(at)}(?!\d)")
            for index, name in enumerate(names):
                if pattern.search(name):
                    return index
            raise InvalidInputError(
                f"The stage {at!r} of {self.record.name!r} matches no layer: the names of its layers must begin with the "
                f"stage. Correct the record, or pass a layer's name or index."
            )
        near = difflib.get_close_matches(at, [*stages, *names], n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise bad_argument("at", at, f"is neither a layer nor a stage of {self.record.name!r}{hint}", remedy)

    def default_cut(self) -> int:
        """Where `fine_tune` starts by default, as an index into ``backbone.layers``.

        It is the stage that begins where feature maps shrink to a sixteenth of the image, or to 14 pixels in small
        images, where a sixteenth is coarse: the layers before it find edges and colours, which all photos share.
        Without such maps (transformers), it is the stage or layer half-way.
        """
        layers = self.backbone.layers
        starts = [self.resolve(stage) for stage in self.record.stages] or [
            number for number, layer in enumerate(layers) if layer.weights
        ]
        most = max(SMALL_MAPS, -(-max(self.size) // 16))
        small = [number for number, layer in enumerate(layers) if 1 < _height(layer) <= most]
        if not small or small[0] <= starts[0]:
            return starts[len(starts) // 2]
        return min(starts, key=lambda start: abs(start - small[0]))

    def trained_variables(self, index: int) -> list[tuple[keras.Variable, float]]:
        """The variables from layer `index` on, including gamma and beta of BatchNormalization, each with its depth.

        Depths go from 0 (layer `index`) to 1 (the head).
        """
        layers = self.backbone.layers[index:]
        found: dict[int, tuple[keras.Variable, float]] = {}
        for number, layer in enumerate(layers):
            for part in layer._flatten_layers():  # Keras has no public API for the layers inside a layer
                norm = isinstance(part, keras.layers.BatchNormalization)
                own = [part.gamma, part.beta] if norm else part.trainable_variables
                found |= {id(v): (v, number / len(layers)) for v in own if v is not None}
        return [*found.values(), *((variable, 1.0) for layer in self.head for variable in layer.trainable_variables)]

    def trained_layers(self) -> list[keras.layers.Layer]:
        """Layers with weights that training changes, from inputs to outputs."""
        return [layer for layer in (*self.backbone.layers, *self.head) if layer.trainable_weights]

    def _train_from(self, index: int) -> None:
        """Make the layers of the backbone from `index` on trainable, and the others not."""
        # A model's flag overrides the flags of its layers, so it must be on. Setting it also sets theirs, so it is set
        # first.
        self.backbone.trainable = True
        for number, layer in enumerate(self.backbone.layers):
            layer.trainable = number >= index
        # A trainable BatchNormalization uses the statistics of the batch and updates its own: with small batches, both
        # do harm, and the values before the cut were computed without either.
        for part in self.backbone._flatten_layers():  # Keras has no public API for the layers inside a layer
            if isinstance(part, keras.layers.BatchNormalization):
                part.trainable = False

    def _extractor(self, model: keras.Model, at: int | str) -> FeatureExtractor:
        part = computation(self.record, model, self.size, at)
        return FeatureExtractor(model, self.size, part, self.precision, resize=self.resize)

    def _behind(
        self, crossing: list[keras.KerasTensor], layers: Iterable[keras.layers.Layer]
    ) -> tuple[keras.Model, keras.Model]:
        """Models from the tensors at a cut, through `layers`: to logits, and to the input of the last layer."""
        inputs = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in crossing]
        given: Any = inputs if len(inputs) > 1 else inputs[0]
        values = given
        for layer in layers:
            values = layer(values)
        return keras.Model(given, self.head[-1](values)), keras.Model(given, values)

    def _whole(self) -> keras.Model:
        """The network as a model that can be compiled; callbacks save and load it without the optimizer."""
        whole = keras.Model(self.model.input, self.model.output)
        whole.save, whole.save_weights = self.model.save, self.model.save_weights
        whole.load_weights = self.model.load_weights
        return whole


def assemble(
    record: Backbone,
    backbone: keras.Model,
    size: tuple[int, int],
    n_classes: int,
    dropout: float,
    seed: int,
    precision: Literal["float32", "bfloat16"] = "float32",
    resize: Resize = "squash",
    thresholds: npt.NDArray[np.float64] | None = None,
) -> Network:
    """One model from RGB 0-255 float32 `(n, h, w, 3)` to probabilities `(n, n_classes)`, backbone frozen.

    With `thresholds`, an image may have several labels, each with its own probability.

    The head: global average pooling, features scaled to unit size (by a constant that `fit` measures, so that one
    learning rate suits all backbones), dropout, and a dense layer that starts at zero: before training every class is
    equally likely, and the result does not depend on a random start.
    """
    backbone = _flattened(backbone)
    inputs = keras.Input((*size, 3), dtype="float32", name="image")
    preprocessed = record.preprocess_input(inputs)
    maps = backbone(preprocessed)
    pool = {4: keras.layers.GlobalAveragePooling2D, 2: keras.layers.Identity}.get(len(maps.shape))
    if pool is None:
        raise InvalidInputError(
            f"The backbone {record.name!r} returns values of shape {tuple(maps.shape)}: it must return feature maps "
            f"(n, h, w, features) or features (n, features). Build it without its classification head."
        )
    head = (
        pool(name="features"),
        keras.layers.Rescaling(1.0, name="unit_scale", dtype="float32"),
        keras.layers.Dropout(dropout, seed=seed, name="dropout", dtype="float32"),
        keras.layers.Dense(n_classes, kernel_initializer="zeros", name="logits", dtype="float32"),
    )
    features = values = head[0](maps)
    for layer in head[1:]:
        values = layer(values)
    last = keras.layers.Softmax if thresholds is None else partial(keras.layers.Activation, "sigmoid")
    probabilities = last(name="probabilities", dtype="float32")(values)
    model = keras.Model(inputs, probabilities, name="transferkit")
    backbone.trainable = False
    return Network(record, size, model, backbone, preprocessed, features, head, precision, resize, thresholds)


def _flattened(model: keras.Model) -> keras.Model:
    """The same layers as one graph: the layers of a nested model take that model's place.

    If two layers have the same name, the name of the model that holds the later one is put in front of its name.
    """
    graph = graph_of(model)
    if graph is None or (graph is model and not any(map(graph_of, model.operations))):
        return model
    (pixels,) = graph.inputs
    first = pixels._keras_history.operation
    named = {first.name: first}

    def run(holder: keras.Model, values: Any) -> Any:
        def expanded(operation: Any) -> Any:
            if graph_of(operation):
                return lambda values, **_: run(operation, values)  # `training` and masks are the same for all layers
            while named.setdefault(operation.name, operation) is not operation:
                operation.name = f"{holder.name}_{operation.name}"
            return operation

        return graph_of(holder)._run_through_graph(values, expanded)

    return keras.Model(pixels, keras.tree.flatten(run(model, pixels))[0], name=model.name)


def _height(layer: keras.layers.Layer) -> int:
    """The height of the feature maps that a layer returns; 0 if it returns none."""
    shape: tuple[int | None, ...] = getattr(layer.output, "shape", ())
    return int(shape[1] or 0) if len(shape) == 4 else 0


def _crossing(backbone: keras.Model, index: int) -> list[keras.KerasTensor]:
    """The tensors made before layer `index` that this layer or a later operation reads.

    Operations that are not layers (an addition of two tensors, say) are on the side on which the model's order, from
    inputs to outputs, puts them.
    """
    operations = list(backbone.operations)
    at = operations.index(backbone.layers[index])
    if at == 0:
        return list(backbone.inputs)
    later = set(map(id, operations[at:]))
    behind: set[int] = set()
    crossing: dict[int, keras.KerasTensor] = {}
    for node in nodes_of(backbone):
        if id(node.operation) in later:
            behind.update(map(id, node.output_tensors))
            crossing.update((id(tensor), tensor) for tensor in node.input_tensors if id(tensor) not in behind)
        elif behind.intersection(map(id, node.input_tensors)):
            rule = f"is between two calls of the layer {node.operation.name!r}"
            remedy = f"Pass at={node.operation.name!r}, or a layer after the last call"
            raise bad_argument("at", operations[at].name, rule, remedy)
    for tensor in crossing.values():
        if tensor.shape[:1] != (None,):  # a table of positions, say, cannot be stored per image
            maker = tensor._keras_history.operation.name
            rule = f"is after {maker!r}, which gives one value for all images of a batch"
            raise bad_argument("at", operations[at].name, rule, f"Pass a layer before {maker!r}, or at=0")
    return list(crossing.values())
