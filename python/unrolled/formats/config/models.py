# SPDX-License-Identifier: MIT
"""Layers and models of a config, of any Keras version, as ``LayerSpec`` and ``ModelSpec``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from unrolled.errors import ModelFileError, Problem, UnsupportedModelError, printable
from unrolled.formats.checks import CALLS, LAYERS, mapping, sequence, shape, text
from unrolled.formats.config.graph import (
    check_graph,
    decode_ends,
    decode_new_call,
    decode_old_call,
    has_new_nodes,
    number_calls,
)
from unrolled.formats.config.json_objects import decode_dtype, decode_function, decode_value, origin_of
from unrolled.formats.config.normalise import normalise
from unrolled.formats.config.tf_operations import map_operation
from unrolled.formats.config.versions import Writer
from unrolled.spec import LayerSpec, ModelSpec, TensorReference, UnsupportedValue, facts_of, inner_layer_keys

_ACTIVATION_KEYS = frozenset({"activation", "recurrent_activation", "inner_activation"})
_MODEL_CLASSES = frozenset({"Sequential", "Functional", "Model"})
_MODEL_KEYS = frozenset({"layers", "input_layers", "output_layers", "build_input_shape"})


@dataclass
class Decoder:
    """What decoding a file needs to know and remember.

    Parameters
    ----------
    writer : Writer
        The Keras that wrote the file.
    """

    writer: Writer
    layer_count: int = 0
    # Layers inside layers that the file says are one object, by its shared_object_id.
    shared: dict[int, LayerSpec] = field(default_factory=dict)
    # Top-level GRUs whose config does not say reset_after: their weights decide.
    undecided: list[LayerSpec] = field(default_factory=list)

    def count_layer(self) -> None:
        """Count one more layer; ``ModelFileError`` beyond the limit."""
        self.layer_count += 1
        if self.layer_count > LAYERS:
            raise ModelFileError(f"config: more than {LAYERS} layers")


def decode_layer(value: Any, decoder: Decoder, part: str) -> LayerSpec:
    """A serialised layer, cell, model or operation, in Keras 3's words, without its calls.

    Raises
    ------
    ModelFileError
        It is no serialised layer.
    """
    value = mapping(value, part)
    class_name = text(value.get("class_name"), f"{part}, class_name")
    decoder.count_layer()
    origin = origin_of(value)
    raw = value.get("config")
    if origin == "keras" and class_name in _MODEL_CLASSES:
        model = decode_model(value, decoder, part)
        items = raw.items() if isinstance(raw, dict) else ()
        config = {
            key: _decode_key(key, element, decoder, part) for key, element in items if key not in _MODEL_KEYS
        }
        return LayerSpec(model.kind, model.name, config, model=model)
    raw = mapping(raw, f"{part}, config")
    name = value.get("name", raw.get("name"))
    name = "" if name is None else text(name, f"{part}, name")
    part = f"layer {printable(name)!r}" if name else part
    config = {key: _decode_key(key, element, decoder, part) for key, element in raw.items()}
    spec = LayerSpec(class_name.split(">")[-1], name, config, origin=origin)
    if origin == "keras":
        if facts_of(class_name).has_reset_after and "reset_after" not in config:
            decoder.undecided.append(spec)
        normalise(spec, decoder.writer)
    return spec


def _decode_inner(value: Any, decoder: Decoder, part: str) -> LayerSpec:
    """A layer inside a layer; one that occurs twice is one ``LayerSpec`` in two places."""
    identity = value.get("shared_object_id") if isinstance(value, dict) else None
    if not isinstance(identity, int):
        return decode_layer(value, decoder, part)
    if identity not in decoder.shared:
        decoder.shared[identity] = decode_layer(value, decoder, part)
    return decoder.shared[identity]


def _decode_key(key: str, value: Any, decoder: Decoder, part: str) -> Any:
    """The value of one key of a layer's config."""
    holds_layers = key in inner_layer_keys()
    if holds_layers and isinstance(value, dict) and "class_name" in value:
        return _decode_inner(value, decoder, f"{part}, {key}")
    if holds_layers and isinstance(value, list):
        return [_decode_inner(element, decoder, f"{part}, {key}") for element in value]
    if key == "dtype":
        return decode_dtype(value)
    if key in _ACTIVATION_KEYS and isinstance(value, dict):
        if value.get("class_name") in ("function", "__lambda__"):
            return decode_function(value)
        if "class_name" not in value or not isinstance(value.get("config"), dict):
            # Keras 3 writes a lambda as {"value": [code, defaults, closure]}.
            return UnsupportedValue("Python code")
        return _decode_inner(value, decoder, f"{part}, {key}")
    return decode_value(value)


def decode_model(value: dict[str, Any], decoder: Decoder, part: str) -> ModelSpec:
    """A serialised Sequential or Functional model.

    Raises
    ------
    UnsupportedModelError
        A model of another class: its calls are code, not data.
    ModelFileError
        Not what a model looks like, or a graph that contradicts itself.
    """
    class_name = text(value.get("class_name"), f"{part}, class_name")
    config = value.get("config")
    name = config.get("name") if isinstance(config, dict) else value.get("name")
    name = name if isinstance(name, str) else class_name.lower()
    origin = origin_of(value)
    is_graph = isinstance(config, dict) and "layers" in config and "output_layers" in config
    if origin != "keras" or class_name not in _MODEL_CLASSES or not (class_name == "Sequential" or is_graph):
        where = "" if origin == "keras" else f" from {origin}"
        raise UnsupportedModelError(
            [
                Problem(
                    name,
                    class_name,
                    "",
                    f"a model class of its own{where}, or one defined by code",
                    "Sequential and Functional models are supported: rebuild it as one of them in Keras and save that",
                )
            ]
        )
    if class_name == "Sequential":
        return _decode_sequential(value, name, decoder, part)
    return _decode_functional(mapping(config, f"{part}, config"), name, decoder)


# ------------------------------------------------------------------ Sequential


def _decode_sequential(value: dict[str, Any], name: str, decoder: Decoder, part: str) -> ModelSpec:
    config = value.get("config")
    # Keras 1 to 2.2.2 wrote the list of layers alone.
    entries = config if isinstance(config, list) else mapping(config, f"{part}, config").get("layers")
    layers = [
        decode_layer(entry, decoder, f"{part}, layer {number}")
        for number, entry in enumerate(sequence(entries, f"{part}, layers"))
    ]
    _insert_input(layers)
    spec = ModelSpec("Sequential", name, layers)
    spec.build_input_shape = _build_shape(value, config)
    _check_names(layers, name)
    return spec


def _insert_input(layers: list[LayerSpec]) -> None:
    """Declare the input by an InputLayer, as Keras 3 does; Keras 1 and 2 may write it on the first layer."""
    declared = [_pop_input_shape(layer) for layer in layers]
    if not layers or layers[0].class_name == "InputLayer":
        return
    found = declared[0]
    first = layers[0]
    inner = first.config.get("layer")
    if found is None and facts_of(first.class_name).declares_input_inside and isinstance(inner, LayerSpec):
        found = inner.config.get("batch_shape")
    if found is None and first.model is not None and first.model.layers:
        nested = first.model.layers[0]
        single = first.model.kind == "Sequential" or isinstance(first.model.inputs, TensorReference)
        if single and nested.class_name == "InputLayer":
            found = nested.config.get("batch_shape")
    if found is None:
        return
    dtype = first.config.get("dtype")
    config = {
        "name": f"{first.name}_input",
        "batch_shape": found,
        "dtype": dtype if isinstance(dtype, str) and not dtype.startswith(("mixed", "int8")) else "float32",
    }
    layers.insert(0, LayerSpec("InputLayer", f"{first.name}_input", config))


def _pop_input_shape(layer: LayerSpec) -> list[int | None] | None:
    """Take ``batch_input_shape`` out of a layer's config; inner layers' ones say nothing that counts."""
    if layer.class_name == "InputLayer" or layer.origin != "keras":
        return None
    found = layer.config.pop("batch_input_shape", None)
    facts = facts_of(layer.class_name)
    for key in facts.inner_layers:
        inner = layer.config.get(key)
        if isinstance(inner, LayerSpec):
            inner_shape = _pop_input_shape(inner)
            if found is None and facts.declares_input_inside and key == "layer":
                found = inner_shape
    if found is None:
        return None
    return list(shape(found, f"layer {printable(layer.name)!r}, batch_input_shape"))


def _build_shape(value: dict[str, Any], config: Any) -> tuple[int | None, ...] | None:
    """The input shape that a model without an input layer was built with."""
    build = value.get("build_config")
    candidates = [
        config.get("build_input_shape") if isinstance(config, dict) else None,
        build.get("input_shape") if isinstance(build, dict) else None,
    ]
    for found in candidates:
        if isinstance(found, list) and found and all(size is None or isinstance(size, int) for size in found):
            return shape(found, "build_input_shape")
    return None


# ------------------------------------------------------------------ Functional


def _decode_functional(config: dict[str, Any], name: str, decoder: Decoder) -> ModelSpec:
    part = f"model {printable(name)!r}"
    entries = [
        mapping(entry, f"{part}, layers") for entry in sequence(config.get("layers"), f"{part}, layers")
    ]
    layers = [decode_layer(entry, decoder, f"{part}, layer {number}") for number, entry in enumerate(entries)]
    for layer, entry in zip(layers, entries, strict=True):
        _pop_input_shape(layer)
        given = entry.get("name")
        if isinstance(given, str):
            # Calls name a layer by this; a nested model's config may have another.
            layer.name = text(given, f"{part}, layer name")
            if layer.model is not None:
                layer.model.name = layer.name
    _check_names(layers, name)
    names = {layer.name for layer in layers}
    old = decoder.writer.keras_2_graphs and not any(has_new_nodes(entry) for entry in entries)
    for layer, entry in zip(layers, entries, strict=True):
        calls = sequence(entry.get("inbound_nodes", []), f"layer {printable(layer.name)!r}, inbound_nodes")
        if len(calls) > CALLS:
            raise ModelFileError(f"layer {printable(layer.name)!r}: {len(calls)} calls (at most {CALLS})")
        where = f"layer {printable(layer.name)!r}, inbound_nodes"
        decode = decode_old_call if old else decode_new_call
        layer.nodes = [node for call in calls if (node := decode(call, layer, names, where)) is not None]
    spec = ModelSpec("Functional", name, layers)
    spec.inputs = decode_ends(config.get("input_layers"), f"{part}, input_layers")
    spec.outputs = decode_ends(config.get("output_layers"), f"{part}, output_layers")
    number_calls(spec, old)
    for layer in layers:
        if layer.class_name in ("TFOpLambda", "SlicingOpLambda") and layer.origin == "keras":
            map_operation(layer)
    check_graph(spec)
    return spec


def _check_names(layers: list[LayerSpec], model: str) -> None:
    seen = set()
    for layer in layers:
        if layer.name in seen:
            raise ModelFileError(f"model {printable(model)!r}: two layers named {printable(layer.name)!r}")
        if layer.name:
            seen.add(layer.name)
