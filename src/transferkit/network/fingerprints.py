"""What a network computes, as a short text: two networks with the same fingerprint compute the same values."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .._common.version import __version__
from ..backbones import Backbone

# Builders whose code is determined by the versions of Keras and of this package.
KNOWN_BUILDERS = ("keras.applications:", "transferkit.")


def computation(record: Backbone, model: keras.Model, size: tuple[int, int], at: int | str) -> str:
    """A text that identifies what a part of a network computes, apart from its weights.

    Args:
        model: preprocessing and the layers of the record's backbone before `at`.
    """
    builder, rule = record.builder, record.preprocessing
    if isinstance(builder, str) and builder.startswith(KNOWN_BUILDERS) and isinstance(rule, str):
        versions = [keras.__version__, tf.__version__, __version__]
        known = [builder, sorted(record.options.items()), rule, size, at, versions]
        return f"{record.name}/{at}/{_digest(known)}"
    return f"{record.name}/{at}/{_graph_of(model)}"


def weights_digest(model: keras.Model) -> str:
    """SHA-256 over all weights of a model, in order: two models with the same digest hold the same numbers."""
    digest = hashlib.sha256()
    for weight in model.weights:
        array = np.ascontiguousarray(weight.numpy())
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.data if array.ndim else array.tobytes())
    return digest.hexdigest()


def checksum_of(model: keras.Model) -> Callable[[], bytes]:
    """A function that returns a checksum of the current weights of a model; much faster than the digest."""

    def checksums() -> tf.Tensor:
        # Most weights are vectors: with one operation for all of a dtype, the function is built in half the time.
        vectors, arrays = defaultdict(list), []
        for weight in model.weights:
            if len(weight.shape) > 1:
                arrays.append(weight.value)
            else:
                vectors[weight.dtype].append(tf.reshape(weight.value, [-1]) if not weight.shape else weight.value)
        joined = [tf.concat(group, axis=0)[tf.newaxis] for group in vectors.values()]
        return tf.concat([tf.fingerprint(values) for values in (*arrays, *joined)], axis=0)

    function = tf.function(checksums, autograph=False).get_concrete_function()
    return lambda: function().numpy().tobytes()


def graph_digest(function: Any) -> str:
    """A hash of the graph of a concrete function: operations, settings, constants and connections, but not names."""
    definition = function.graph.as_graph_def()
    library = {item.signature.name: item for item in definition.library.function}
    known: dict[str, str] = {}
    return _digest([_nodes(definition.node, library, known), tf.__version__])


def _graph_of(model: keras.Model) -> str:
    inputs = model.inputs[0]
    try:
        function = tf.function(lambda images: model(images, training=False), autograph=False)
        concrete = function.get_concrete_function(tf.TensorSpec((None, *inputs.shape[1:]), inputs.dtype))
        numbers = {id(weight.value.handle): number for number, weight in enumerate(model.weights, 1)}
        # Whatever the model reads besides its weights must be constant: otherwise this fails.
        used = [numbers.get(id(tensor)) or repr(tensor.numpy().tolist()) for tensor in concrete.captured_inputs]
        return _digest([graph_digest(concrete), used])
    except Exception:  # a user's code may raise anything: this model then equals no other
        return uuid.uuid4().hex


def _nodes(nodes: Any, library: dict[str, Any], known: dict[str, str]) -> list[Any]:
    """Each node's operation, settings and where its inputs come from, by position."""
    positions = {node.name: str(number) for number, node in enumerate(nodes)}
    described = []
    for node in nodes:
        settings = {}
        for name, setting in node.attr.items():
            if name.startswith("_") or name in ("shared_name", "container", "debug_name"):
                continue
            if setting.HasField("func"):
                settings[name] = _function(setting.func.name, library, known)
            else:
                settings[name] = hashlib.sha256(setting.SerializeToString(deterministic=True)).hexdigest()
        inputs = []
        for source in node.input:
            head, _, tail = source.lstrip("^").partition(":")
            inputs.append(f"{positions.get(head, head)}:{tail}{'^' if source.startswith('^') else ''}")
        # TensorFlow lists control inputs in an arbitrary order.
        inputs.sort(key=lambda source: (source.endswith("^"), source if source.endswith("^") else ""))
        described.append([_function(node.op, library, known), settings, inputs])
    return described


def _function(name: str, library: dict[str, Any], known: dict[str, str]) -> str:
    """A function inside a graph, by what it does, since its name differs between processes; other names unchanged."""
    if name not in library:
        return name
    if name not in known:
        known[name] = "recursion"
        known[name] = _digest(_nodes(library[name].node_def, library, known))
    return known[name]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
