# SPDX-License-Identifier: MIT
"""Write ``docs/layers.md`` from the registry of layers: what is supported, and how it treats masks.

python docs/make_layers_table.py [--check]

``--check`` writes nothing and fails where the file is stale. Needs unrolled, not Keras.
"""

from __future__ import annotations

import sys
from pathlib import Path

from unrolled.layers.registry import layer_classes, operation_classes

TARGET = Path(__file__).with_name("layers.md")
KIND = {
    "core": "Core", "embedding": "Core", "input_layer": "Core", "einsum": "Core",
    "recurrent": "Recurrent", "cells": "Recurrent", "conv_recurrent": "Recurrent",
    "wrappers": "Wrappers", "attention": "Attention", "multi_head_attention": "Attention",
    "merging": "Merging", "concatenation": "Merging", "dot": "Merging",
    "convolution": "Convolution", "depthwise": "Convolution", "transposed": "Convolution", "pooling": "Pooling",
    "normalization": "Normalisation", "unit_normalization": "Normalisation",
    "regularization": "Regularisation", "reshaping": "Reshaping", "resizing": "Reshaping",
    "preprocessing": "Preprocessing", "lookup": "Preprocessing", "vectorization": "Preprocessing",
    "activation_layers": "Activations",
}  # fmt: skip
ORDER = [
    "Core", "Recurrent", "Wrappers", "Attention", "Merging", "Convolution", "Pooling", "Normalisation",
    "Regularisation", "Reshaping", "Preprocessing", "Activations",
]  # fmt: skip

GENERIC = {
    "name", "trainable", "dtype", "batch_shape", "batch_input_shape", "input_shape", "input_dim",
    "input_length", "batch_size", "seed", "quantization_config", "unit_forget_bias", "weights",
}  # fmt: skip
# Given, but of one value only.
FIXED = {("InputLayer", "sparse"), ("InputLayer", "ragged"), ("InputLayer", "shape")}
KEPT = {("Embedding", "input_dim"), ("InputLayer", "batch_shape")}

HEADER = """\
# Layers

Written by `docs/make_layers_table.py` from the registry; a test fails where it is stale. What each layer computes,
and the source in Keras that it follows, is in its docstring: `help(unrolled.layers.LSTM)`.

- *Options* change what a trained layer computes and are all supported. Initialisers, regularisers, constraints and
  dropout do not, and are kept for saving.
- *Mask* says what becomes of a mask that arrives; where versions of Keras differ, the rule of the version that wrote
  the file holds.
- *Keras* are the lines whose files have the class (1, 2 with tf.keras, 3).
- *Tolerance* is the largest difference from that Keras over the fixtures in float32, for outputs of order 1:
  absolute, `tests/tolerances.py`. Files in 16 bits and int8: see [precision](precision.md).
"""


def options_of(name: str, cls: type) -> str:
    """The options that decide what a layer computes."""
    keys = [
        key
        for key in cls.config_keys()  # type: ignore[attr-defined]
        if (key not in GENERIC or (name, key) in KEPT)
        and not key.endswith("_initializer")
        and (name, key) not in FIXED
    ]
    return ", ".join(f"`{key}`" for key in dict.fromkeys(keys)) or "none"


def kind_of(cls: type) -> str:
    return KIND[cls.__module__.rsplit(".", 1)[-1]]


def table() -> str:
    lines = [HEADER]
    classes = layer_classes()
    for kind in ORDER:
        names = sorted(name for name, cls in classes.items() if kind_of(cls) == kind)
        if not names:
            continue
        lines += [f"\n## {kind}\n", "| layer | options | mask | Keras | tolerance |", "|---|---|---|---|---|"]
        for name in names:
            cls = classes[name]
            versions = cls.keras_versions + (", int8" if cls.has_int8 else "")
            row = (name, options_of(name, cls), cls.mask_rule, versions, "1e-6")
            lines.append(f"| {' | '.join(row)} |")
    operations = ", ".join(sorted(operation_classes()))
    lines += [
        "\n## Operations of graphs\n",
        "Masks end at operations. tf.keras's TFOpLambda is mapped onto them.\n",
    ]
    lines += [f"{operations}\n"]
    return "\n".join(lines)


def main() -> int:
    text = table()
    if "--check" in sys.argv[1:]:
        return 0 if TARGET.read_text(encoding="utf-8") == text else 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
