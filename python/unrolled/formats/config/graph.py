# SPDX-License-Identifier: MIT
"""Calls, inputs and outputs of Functional models of any Keras version, in Keras 3's form, and their checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from unrolled.errors import ModelFileError, printable
from unrolled.formats.checks import describe, index, mapping, sequence, text
from unrolled.formats.config.json_objects import decode_value
from unrolled.spec import LayerSpec, ModelSpec, NodeSpec, TensorReference, facts_of

_CONSTANT = "_CONSTANT_VALUE"


def has_new_nodes(entry: dict[str, Any]) -> bool:
    nodes = entry.get("inbound_nodes")
    return isinstance(nodes, list) and any(isinstance(node, dict) and "args" in node for node in nodes)


def decode_ends(value: Any, part: str) -> Any:
    """The tree of a model's inputs or outputs; a list of one tensor is that tensor, as in Keras."""

    def decode(tree: Any) -> Any:
        if _is_reference(tree):
            return _reference(tree, part)
        if isinstance(tree, dict):
            return {key: decode(element) for key, element in tree.items()}
        if isinstance(tree, list | tuple):
            return [decode(element) for element in tree]
        raise ModelFileError(f"{part}: expected [layer, node, tensor], got {describe(tree)}")

    tree = decode(value)
    if not any(True for _ in _references(tree)):
        raise ModelFileError(f"{part}: names no tensor")
    return tree[0] if isinstance(tree, list) and len(tree) == 1 else tree


def _is_reference(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and isinstance(value[0], str)
        and all(isinstance(number, int) and not isinstance(number, bool) for number in value[1:])
    )


def _reference(value: Any, part: str) -> TensorReference:
    return TensorReference(
        text(value[0], part), index(value[1], f"{part}, node index"), index(value[2], f"{part}, tensor index")
    )


def _references(tree: Any) -> Iterator[TensorReference]:
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, TensorReference):
            yield value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value


def _map_references(tree: Any, change: Callable[[TensorReference], TensorReference]) -> Any:
    if isinstance(tree, TensorReference):
        return change(tree)
    if isinstance(tree, dict):
        return {key: _map_references(value, change) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)([_map_references(value, change) for value in tree])
    return tree


# ----------------------------------------------------------- calls of Keras 3


def decode_new_call(call: Any, layer: LayerSpec, names: set[str], part: str) -> NodeSpec | None:
    call = mapping(call, part)

    def decode(value: Any) -> Any:
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            history = mapping(value.get("config"), part).get("keras_history")
            if not _is_reference(history):
                raise ModelFileError(f"{part}: expected a tensor's history, got {describe(history)}")
            return _reference(history, part)
        if isinstance(value, dict) and "class_name" not in value:
            return {key: decode(element) for key, element in value.items()}
        if isinstance(value, list):
            return [decode(element) for element in value]
        return decode_value(value)

    args = sequence(call.get("args", []), f"{part}, args")
    kwargs = mapping(call.get("kwargs", {}), f"{part}, kwargs")
    return NodeSpec(
        tuple(decode(value) for value in args), {key: decode(value) for key, value in kwargs.items()}
    )


# ------------------------------------------------------ calls of Keras 1 and 2


def decode_old_call(call: Any, layer: LayerSpec, names: set[str], part: str) -> NodeSpec | None:
    """``[[layer, node, tensor, kwargs], ...]``, or one such entry alone, or a dict of them."""
    kwargs: dict[str, Any] = {}

    def decode_argument(value: Any) -> Any:
        if _is_reference(value) and value[0] in names:
            return _reference(value, part)
        if isinstance(value, list):
            if len(value) == 3 and value[0] == _CONSTANT:
                return decode_value(value[2])
            return [decode_argument(element) for element in value]
        if isinstance(value, dict) and "class_name" not in value:
            return {key: decode_argument(element) for key, element in value.items()}
        return decode_value(value)

    def decode(value: Any) -> Any:
        if isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str):
            if len(value) == 4 and value[3] and not kwargs:
                # Keras repeats a call's other arguments on each of its tensors.
                given = mapping(value[3], f"{part}, arguments")
                kwargs.update({key: decode_argument(element) for key, element in given.items()})
            if value[0] == _CONSTANT:
                return decode_value(value[2])
            return _reference(value[:3], part)
        if isinstance(value, dict):
            return {key: decode(element) for key, element in value.items()}
        if isinstance(value, list):
            return [decode(element) for element in value]
        raise ModelFileError(f"{part}: expected [layer, node, tensor, arguments], got {describe(value)}")

    call = _lists(call)
    if call in ([], {}):
        return None
    first = decode(call)
    if isinstance(first, list) and len(first) == 1:
        first = first[0]
    if (
        facts_of(layer.class_name).takes_states
        and layer.origin == "keras"
        and isinstance(first, list)
        and len(first) > 1
    ):
        # The sequence, then states; with num_constants the last are constants of a custom cell.
        constants = layer.config.get("num_constants") or 0
        constants = constants if isinstance(constants, int) and 0 < constants < len(first) else 0
        states = first[1 : len(first) - constants]
        if states:
            kwargs["initial_state"] = states
        if constants:
            kwargs["constants"] = first[len(first) - constants :]
        first = first[0]
    return NodeSpec((first,), kwargs)


def _lists(value: Any) -> Any:
    """``__tuple__`` objects as lists, throughout."""
    if isinstance(value, dict):
        if value.get("class_name") == "__tuple__" and isinstance(value.get("items"), list):
            return [_lists(element) for element in value["items"]]
        return {key: _lists(element) for key, element in value.items()}
    return [_lists(element) for element in value] if isinstance(value, list) else value


# ----------------------------------------------------------------- consistency


def number_calls(spec: ModelSpec, old: bool) -> None:
    """Count calls from 0 everywhere.

    A model carries the call that built it: Keras 1 and 2 count the first outer call of a nested model as
    node 1 (where it was built before; a deferred Sequential as node 0), Keras 3 does so in a model's
    inputs and outputs for Functional models only (keras 3.15 models/functional.py, get_config).
    """
    nested = {layer.name: layer for layer in spec.layers if layer.model is not None}
    if not nested:
        return
    if old:
        highest: dict[str, int] = {}
        trees = [
            spec.inputs,
            spec.outputs,
            *([node.args, node.kwargs] for layer in spec.layers for node in layer.nodes),
        ]
        for reference in _references(trees):
            highest[reference.layer] = max(highest.get(reference.layer, 0), reference.node)
        # Every call of a kept layer is used by something, so the highest index tells where counting starts.
        shifted = {name for name, layer in nested.items() if highest.get(name, 0) >= len(layer.nodes)}
    else:
        shifted = {name for name, layer in nested.items() if layer.class_name == "Functional"}

    def shift(reference: TensorReference) -> TensorReference:
        if reference.layer not in shifted or reference.node == 0:
            return reference
        return TensorReference(reference.layer, reference.node - 1, reference.index)

    spec.inputs = _map_references(spec.inputs, shift)
    spec.outputs = _map_references(spec.outputs, shift)
    if old:
        for layer in spec.layers:
            for node in layer.nodes:
                node.args = _map_references(node.args, shift)
                node.kwargs = _map_references(node.kwargs, shift)


def check_graph(spec: ModelSpec) -> None:
    """Every tensor has its call, and no call needs its own result."""
    part = f"model {printable(spec.name)!r}"
    layers = {layer.name: layer for layer in spec.layers}

    def check(reference: TensorReference, user: str) -> tuple[str, int]:
        layer = layers.get(reference.layer)
        if layer is None:
            raise ModelFileError(
                f"{part}: {user} takes a tensor of {printable(reference.layer)!r}, which is missing"
            )
        calls = 1 if layer.class_name == "InputLayer" else len(layer.nodes)
        if reference.node >= calls:
            raise ModelFileError(
                f"{part}: {user} takes call {reference.node} of {printable(reference.layer)!r}, which has {calls}"
            )
        return reference.layer, reference.node

    for reference in _references([spec.inputs, spec.outputs]):
        check(reference, "an input or output")
    needed: dict[tuple[str, int], set[tuple[str, int]]] = {}
    users: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for layer in spec.layers:
        for number, node in enumerate(layer.nodes):
            call = (layer.name, number)
            user = f"layer {printable(layer.name)!r}"
            needed[call] = {check(reference, user) for reference in _references([node.args, node.kwargs])}
            for source in needed[call]:
                users.setdefault(source, []).append(call)
    ready = [(layer.name, 0) for layer in spec.layers if not layer.nodes]
    ready += [call for call, sources in needed.items() if not sources]
    done = set(ready)
    while ready:
        source = ready.pop()
        for call in users.get(source, ()):
            needed[call].discard(source)
            if not needed[call] and call not in done:
                done.add(call)
                ready.append(call)
    for call in needed:
        if call not in done:
            raise ModelFileError(f"{part}: layer {printable(call[0])!r} needs its own result")
