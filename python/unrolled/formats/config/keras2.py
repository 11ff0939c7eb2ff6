# SPDX-License-Identifier: MIT
"""Keras 2 (stand-alone, tf.keras, tf_keras) class names and config keys, into Keras 3's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrolled.spec import LayerSpec, UnsupportedValue

CLASSES: Mapping[str, str] = {
    "CuDNNLSTM": "LSTM",
    "CuDNNGRU": "GRU",
    # tf.keras 1.13 to 2.0 beta.
    "UnifiedLSTM": "LSTM",
    "UnifiedGRU": "GRU",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
}

# What CuDNN's kernels compute, and no key says.
_CUDNN: Mapping[str, dict[str, Any]] = {
    "CuDNNLSTM": {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True},
    "CuDNNGRU": {
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "use_bias": True,
        "reset_after": True,
    },
}

# Class ("*": every one), old key, new key.
RENAMED: tuple[tuple[str, str, str], ...] = (
    ("InputLayer", "batch_input_shape", "batch_shape"),
    ("LeakyReLU", "alpha", "negative_slope"),
)

# Class ("*": every one), key, why nothing is lost.
DROPPED: tuple[tuple[str, str, str], ...] = (
    ("Embedding", "input_length", "repeats the input shape's length"),
    ("MultiHeadAttention", "query_shape", "shape at build time; the weights have it"),
    ("MultiHeadAttention", "key_shape", "shape at build time; the weights have it"),
    ("MultiHeadAttention", "value_shape", "shape at build time; the weights have it"),
)


def normalise(spec: LayerSpec) -> None:
    """Change a layer of Keras 2 in place; ``batch_input_shape`` is left for the model around it."""
    for key, value in _CUDNN.get(spec.class_name, {}).items():
        spec.config.setdefault(key, value)
    spec.class_name = CLASSES.get(spec.class_name, spec.class_name)
    rename(spec, RENAMED)
    drop(spec, DROPPED)
    if spec.class_name == "BatchNormalization":
        axis = spec.config.get("axis")
        if isinstance(axis, list) and len(axis) == 1:
            spec.config["axis"] = axis[0]
    if spec.class_name == "Lambda":
        _hide_code(spec)


def rename(spec: LayerSpec, table: tuple[tuple[str, str, str], ...]) -> None:
    """Rename config keys by a table of class, old and new key."""
    for class_name, old, new in table:
        if class_name in ("*", spec.class_name) and old in spec.config:
            value = spec.config.pop(old)
            spec.config.setdefault(new, value)


def drop(spec: LayerSpec, table: tuple[tuple[str, str, str], ...]) -> None:
    """Drop config keys by a table of class, key and reason."""
    for class_name, key, _reason in table:
        if class_name in ("*", spec.class_name):
            spec.config.pop(key, None)


def _hide_code(spec: LayerSpec) -> None:
    """Replace marshalled code of a Lambda layer; names of functions too, as nothing is ever looked up."""
    for key in ("function", "output_shape", "mask"):
        value = spec.config.get(key)
        if isinstance(value, str):
            spec.config[key] = UnsupportedValue(f"the function {value[:60]}")
        elif value is not None and (key == "function" or isinstance(value, list)):
            spec.config[key] = UnsupportedValue("Python code")
