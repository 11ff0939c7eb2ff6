# SPDX-License-Identifier: MIT
"""Decoding of Keras's serialised values and where a class comes from. Code and functions are never decoded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from unrolled.errors import ModelFileError, printable
from unrolled.formats.checks import mapping, sequence
from unrolled.spec import UnsupportedValue

# Keras's own modules; a class of any other module is somebody's own.
_KERAS_MODULES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "tensorflow_core.keras")
_KERAS_OPERATIONS = ("keras.ops", "keras.src.ops")
OPERATION = "keras.ops"


def decode_value(value: Any) -> Any:
    """A value of a config: plain, ndarray, tuple, slice, ellipsis, or ``UnsupportedValue``.

    Other serialised objects (initialisers, regularisers, ...) stay a dict of ``class_name`` and ``config``.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return UnsupportedValue("a number that is not finite")
    if isinstance(value, list):
        return [decode_value(element) for element in value]
    if isinstance(value, dict):
        return _decode_object(value)
    return value


def _decode_object(value: dict[str, Any]) -> Any:
    name = value.get("class_name")
    config = value.get("config")
    if name in ("__tensor__", "__numpy__"):
        return _decode_array(mapping(config, f"the config of {name}"))
    if name == "__tuple__":
        items = (
            value["items"] if "items" in value else mapping(config, "the config of __tuple__").get("items")
        )
        return tuple(decode_value(item) for item in sequence(items, "the items of __tuple__"))
    if name == "__slice__":
        bounds = mapping(config, "the config of __slice__")
        return slice(*(decode_value(bounds.get(key)) for key in ("start", "stop", "step")))
    if name == "__ellipsis__" or value.get("type") == "Ellipsis":
        return ...
    if name == "function" or name == "__lambda__":
        return decode_function(value)
    if isinstance(name, str) and name.startswith("__"):
        return UnsupportedValue(f"a value of the kind {printable(name)}")
    return {key: decode_value(element) for key, element in value.items()}


def _decode_array(config: dict[str, Any]) -> Any:
    dtype = config.get("dtype")
    if dtype not in ("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8"):
        return UnsupportedValue(f"an array of type {printable(dtype)}")
    try:
        return np.asarray(config.get("value"), dtype=dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise ModelFileError(f"config: an array whose values are no {dtype}: {printable(error)}") from error


def decode_function(value: dict[str, Any]) -> Any:
    """A function's name where it is Keras's own, else ``UnsupportedValue``."""
    config = value.get("config")
    if value.get("class_name") == "__lambda__" or not isinstance(config, str):
        return UnsupportedValue("Python code")
    module = value.get("module")
    if isinstance(module, str) and is_keras_module(module):
        return config
    where = printable(module or "an unknown module")
    return UnsupportedValue(f"the function {printable(config)} of {where}", config.split(">")[-1])


def is_keras_module(module: str) -> bool:
    """Whether a module is Keras's own."""
    return any(module == name or module.startswith(name + ".") for name in _KERAS_MODULES)


def decode_dtype(value: Any) -> Any:
    """A dtype policy as a plain string, such as "float32", "mixed_float16" or "int8_from_float32"."""
    if not isinstance(value, dict):
        return value
    config = value.get("config")
    config = config if isinstance(config, dict) else {}
    if isinstance(config.get("name"), str):
        return config["name"]
    if value.get("class_name") == "DTypePolicyMap":
        return _decode_policy_map(config)
    if isinstance(config.get("mode"), str):
        return f"{config['mode']}_from_{decode_dtype(config.get('source_name'))}"
    return UnsupportedValue(f"the dtype policy {printable(value.get('class_name'))}")


def _decode_policy_map(config: dict[str, Any]) -> Any:
    """Policies of a layer's inner layers by their path: one policy where all compute alike.

    Inner layers that a config serialises have policies of their own; a map matters for those that a layer
    makes itself (MultiHeadAttention). Widths of floats differ in storage only.
    """
    policies = config.get("policy_map")
    policies = list(policies.values()) if isinstance(policies, dict) else []
    default = config.get("default_policy")
    for policy in policies:
        name = decode_dtype(policy)
        if not isinstance(name, str) or name.startswith(("int", "float8")):
            return UnsupportedValue("a DTypePolicyMap with quantised layers inside")
    return "float32" if default is None else decode_dtype(default)


def origin_of(value: Mapping[str, Any]) -> str:
    """Where the class of a serialised layer comes from: "keras", "keras.ops" (an operation of a graph), or
    what the file says.

    Files of Keras 1 and `.h5` files have no module: their classes count as Keras's own, and a class that
    the layer registry does not know is refused there.
    """
    registered = value.get("registered_name")
    if isinstance(registered, str) and ">" in registered:
        return printable(registered.split(">")[0])
    class_name = value.get("class_name")
    if isinstance(class_name, str) and ">" in class_name:
        return printable(class_name.split(">")[0])
    if "module" not in value:
        return OPERATION if _looks_like_operation(value) else "keras"
    module = value["module"]
    if isinstance(module, str) and any(module.startswith(name) for name in _KERAS_OPERATIONS):
        return OPERATION
    if isinstance(module, str) and is_keras_module(module):
        return "keras"
    return printable(module or registered or "an unknown module")


def _looks_like_operation(value: Mapping[str, Any]) -> bool:
    # A Keras 3 `.h5` has no modules. Layers write "trainable", but for SpatialDropout (keras 3.15
    # layers/regularization/spatial_dropout.py); operations, whose classes partly share the layers' names
    # (Add, Concatenate, ...), never do. Their calls tell Keras 3.
    nodes = value.get("inbound_nodes")
    config = value.get("config")
    return (
        isinstance(nodes, list)
        and len(nodes) > 0
        and isinstance(nodes[0], dict)
        and isinstance(config, dict)
        and "trainable" not in config
        and not str(value.get("class_name")).startswith("SpatialDropout")
        and "layers" not in config
    )
