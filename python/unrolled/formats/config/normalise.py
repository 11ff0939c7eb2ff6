# SPDX-License-Identifier: MIT
"""Turning the config of one layer, of any Keras version, into Keras 3's class names, keys and explicit values."""

from __future__ import annotations

from unrolled.formats.config import keras1, keras2
from unrolled.formats.config.versions import Writer
from unrolled.spec import LayerSpec, facts_of


def normalise(spec: LayerSpec, writer: Writer) -> None:
    """Change ``spec`` in place. Keys that no table names stay, so that the layer can refuse them."""
    if writer.keras_1_names:
        keras1.normalise(spec)
    if writer.javascript:
        _stack_cells(spec)
    if writer.major < 3:
        keras2.normalise(spec)
    _write_out_defaults(spec, writer)
    if writer.old_hard_sigmoid:
        for key in ("activation", "recurrent_activation"):
            if spec.config.get(key) == "hard_sigmoid":
                spec.config[key] = "hard_sigmoid_v2"


def _write_out_defaults(spec: LayerSpec, writer: Writer) -> None:
    """Values of the writer's version where the config has no key and today's default is another."""
    facts = facts_of(spec.class_name)
    if facts.recurrent_activation == "gated":
        spec.config.setdefault("recurrent_activation", writer.recurrent_activation)
    if facts.recurrent_activation == "convolutional":
        spec.config.setdefault("recurrent_activation", writer.convolutional_recurrent_activation)
    if facts.has_reset_after and "reset_after" not in spec.config:
        # The bias's shape may overrule this where the weights are at hand: see reading.settle_reset_after.
        spec.config["reset_after"] = writer.reset_after


def _stack_cells(spec: LayerSpec) -> None:
    """TensorFlow.js repeats stacked cells as RNN's own ``cells`` (tfjs-layers 4.22 recurrent.ts, getConfig)."""
    cells = spec.config.pop("cells", None) if spec.class_name == "RNN" else None
    if cells is not None and "cell" not in spec.config:
        name = f"{spec.name}_cells"
        spec.config["cell"] = LayerSpec("StackedRNNCells", name, {"name": name, "cells": cells})
