# SPDX-License-Identifier: MIT
"""Operations in a model being written: in the words of Keras 3's classes, which lack some options of tf.keras."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from unrolled.errors import printable
from unrolled.layers.naming import snake_case

_OPERATIONS = ("keras.src.ops.", "keras.src.activations.")


def in_keras_graph(config: dict[str, Any], *, has_masks: bool) -> list[str]:
    """Change what Keras 3 does not take of operations in a functional model's config; what to tell users."""
    layers: list[dict[str, Any]] = config["layers"]
    notes = _rename(config) if has_masks else []
    names = {layer["name"] for layer in layers}
    added = []
    for layer in layers:
        if layer["class_name"] == "GetItem":
            for node in layer["inbound_nodes"]:
                # A bare slice is no key there.
                node["args"] = [[arg] if isinstance(arg, slice) else arg for arg in node["args"]]
        if layer["class_name"] == "Matmul" and layer["config"].pop("transpose_b", False):
            name = f"{layer['name']}_transposed"
            while name in names:
                name += "_"
            names.add(name)
            calls = _swap_second_arguments(layer["inbound_nodes"], name)
            if calls:
                added.append(_swapaxes(name, calls))
    layers += added
    return notes


def _rename(config: dict[str, Any]) -> list[str]:
    """Give operations, and Concatenate layers, names that Keras does not give.

    While Keras 3.15 loads a model with masks, it computes them by operations of its own, under the automatic
    names "not_equal", "concatenate" and so on, and refuses a model in which one of them occurs twice.
    """
    names = {layer["name"] for layer in config["layers"]}
    renamed: dict[str, str] = {}
    for layer in config["layers"]:
        automatic = re.fullmatch(rf"{snake_case(layer['class_name'])}(_\d+)?", layer["name"])
        kind = "operation" if layer["module"].startswith(_OPERATIONS) else "layer"
        if automatic and (kind == "operation" or layer["class_name"] == "Concatenate"):
            name = f"{layer['name']}_{kind}"
            while name in names:
                name += "_"
            names.add(name)
            renamed[layer["name"]] = name
            layer["name"] = layer["config"]["name"] = name

    def tensors(value: Any) -> Any:
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            name, *rest = value["config"]["keras_history"]
            return value | {"config": value["config"] | {"keras_history": [renamed.get(name, name), *rest]}}
        if isinstance(value, dict):
            return {key: tensors(item) for key, item in value.items()}
        return type(value)(map(tensors, value)) if isinstance(value, list | tuple) else value

    def references(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: references(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [references(item) for item in value]
        return renamed.get(value, value) if isinstance(value, str) else value

    for layer in config["layers"]:
        layer["inbound_nodes"] = tensors(layer["inbound_nodes"])
    config["output_layers"] = references(config["output_layers"])
    return [
        f"layer {printable(old)!r} is named {printable(new)!r}: Keras needs the name for its own use"
        for old, new in renamed.items()
        if new.startswith(f"{old}_layer")
    ]


def _swap_second_arguments(nodes: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Have nodes of Matmul take what Swapaxes ``name`` gives; the calls of it. Constants change at once."""
    calls: list[dict[str, Any]] = []
    for node in nodes:
        named = [node["kwargs"].pop(key) for key in ("x1", "x2") if key in node["kwargs"]]
        first, second = list(node["args"]) + named
        if isinstance(second, dict):
            *leading, rows, columns = second["config"]["shape"]
            swapped = {"shape": (*leading, columns, rows), "keras_history": [name, len(calls), 0]}
            calls.append({"args": [second], "kwargs": {}})
            second = second | {"config": second["config"] | swapped}
        else:
            second = np.swapaxes(np.asarray(second), -1, -2)
        node["args"] = [first, second]
    return calls


def _swapaxes(name: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "module": "keras.src.ops.numpy",
        "class_name": "Swapaxes",
        "config": {"name": name, "axis1": -2, "axis2": -1},
        "registered_name": "Swapaxes",
        "name": name,
        "inbound_nodes": calls,
    }
