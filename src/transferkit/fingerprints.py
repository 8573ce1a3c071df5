"""What a network computes, as a short text: two networks of one fingerprint give the same values."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["architecture_digest", "graph_digest", "weights_digest"]

# What says nothing about values: names are counted up in each process, seeds and flags matter in training alone.
SILENT = {"name", "seed", "trainable", "build_config", "compile_config", "shared_object_id", "registered_name"}
# Where names of layers say how they are connected.
CONNECTIONS = {"keras_history", "input_layers", "output_layers"}


class _ForeignError(Exception):
    """Something whose settings do not tell what it computes."""


def weights_digest(model: keras.Model) -> str:
    """SHA-256 over all weights of a model, in order: two models of one digest hold the same numbers."""
    digest = hashlib.sha256()
    for weight in model.weights:
        array = np.ascontiguousarray(weight.numpy())
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.data if array.ndim else array.tobytes())
    return digest.hexdigest()


def architecture_digest(model: keras.Model) -> str:
    """A hash of what a model computes, its weights apart, and of the versions that compute it.

    Layers of Keras itself are described by their settings. Where a model has others, or functions of somebody's own,
    their names and settings do not tell what they do: then it is the graph that TensorFlow makes of the model. What
    cannot be described in either way gets a hash of its own: its values are never mistaken for those of another.
    """
    try:
        described: Any = _canonical(_config(model), {})
    except _ForeignError:
        described = _graph_of(model)
    return _digest([described, keras.__version__, tf.__version__])


def graph_digest(function: Any) -> str:
    """A hash of the graph of a concrete function: operations, settings, constants and connections, names apart."""
    definition = function.graph.as_graph_def()
    library = {item.signature.name: item for item in definition.library.function}
    known: dict[str, str] = {}
    return _digest([_nodes(definition.node, library, known), tf.__version__])


def _config(model: keras.Model) -> dict[str, Any]:
    try:
        config: dict[str, Any] = keras.saving.serialize_keras_object(model)
    except Exception as error:  # get_config of a layer of somebody's own raises whatever it meets
        raise _ForeignError from error
    return config


def _canonical(value: Any, names: dict[str, int], key: str = "") -> Any:
    """A configuration without what differs between processes; layers are numbered where they are connected."""
    if isinstance(value, dict):
        _refuse_foreign(value)
        if isinstance(value.get("name"), str):
            names.setdefault(value["name"], len(names))
        return {str(k): _canonical(v, names, k) for k, v in value.items() if k not in SILENT}
    if isinstance(value, (list, tuple)):
        return [_canonical(item, names, key) for item in value]
    if isinstance(value, str):
        return names.setdefault(value, len(names)) if key in CONNECTIONS else value
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise _ForeignError


def _refuse_foreign(serialized: dict[str, Any]) -> None:
    """Raise where a part is not Keras's own, or holds code."""
    name, module = serialized.get("class_name"), serialized.get("module")
    if name in ("function", "__lambda__", "Lambda"):
        raise _ForeignError
    if module is not None and module != "builtins" and module.partition(".")[0] != "keras":
        raise _ForeignError
    if name is not None and module is None and serialized.get("registered_name") is not None:
        raise _ForeignError  # a class that Keras knows by its name alone


def _graph_of(model: keras.Model) -> str:
    inputs = model.inputs[0]
    try:
        function = tf.function(lambda images: model(images, training=False), autograph=False)
        concrete = function.get_concrete_function(tf.TensorSpec((None, *inputs.shape[1:]), inputs.dtype))
        numbers = {id(weight.value): number for number, weight in enumerate(model.weights)}
        used = [numbers[id(variable)] for variable in concrete.variables]  # none beside the weights
        return _digest([graph_digest(concrete), used])
    except Exception:  # code of somebody's own
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
        described.append([node.op if node.op not in library else _function(node.op, library, known), settings, inputs])
    return described


def _function(name: str, library: dict[str, Any], known: dict[str, str]) -> str:
    """A function inside a graph, by what it does: its name is counted up in each process."""
    if name not in library:
        return name
    if name not in known:
        known[name] = "recursion"
        known[name] = _digest(_nodes(library[name].node_def, library, known))
    return known[name]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
