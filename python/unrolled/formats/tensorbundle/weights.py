# SPDX-License-Identifier: MIT
"""Weights of a checkpoint: found by the graph of objects, or in the order of an exported model.

Names of attributes: tf.keras 2.1 to 2.15 and tf_keras 2.21, engine/functional.py
(``_layer_checkpoint_dependencies``) and the layers' own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unrolled.errors import ModelFileError, printable
from unrolled.formats.tensorbundle.bundle import Bundle
from unrolled.formats.tensorbundle.objects import NOT_WEIGHTS, VALUE, ObjectGraph
from unrolled.formats.weights.source import Array, Assignment, Slot, slots, title
from unrolled.spec import LayerSpec, ModelSpec, VariableLike, WeightedObject

# Class, today's name of a variable, tf.keras's.
_RENAMED = {
    ("DepthwiseConv1D", "kernel"): "depthwise_kernel",
    ("DepthwiseConv2D", "kernel"): "depthwise_kernel",
}


class ObjectWeights:
    """The weights of a checkpoint of objects. See ``WeightSource``.

    Parameters
    ----------
    opener : callable
        Opens the checkpoint.
    spec : ModelSpec, optional
        The model that the same files describe: names its layers.
    """

    def __init__(self, opener: Callable[[], Bundle], spec: ModelSpec | None = None) -> None:
        self._opener = opener
        self.spec = spec

    def load_into(self, model: WeightedObject) -> None:
        """See ``WeightSource.load_into``."""
        bundle = self._opener()
        matching = _Matching(bundle, ObjectGraph(bundle))
        matching.match_model(model, matching.graph.find_model())
        matching.assignment.check_complete(model)
        matching.assignment.apply()

    def arrays_of(self, name: str, class_name: str, number: int) -> list[tuple[str, Array]]:
        """See ``WeightSource.arrays_of``."""
        if self.spec is None:
            return []
        bundle = self._opener()
        graph = ObjectGraph(bundle)
        node = _find(graph, graph.find_model(), self.spec, name)
        return (
            []
            if node is None
            else [
                (key, bundle.tensor(graph.nodes[variable].tensors[VALUE]))
                for key, variable in _all_variables(graph, node)
            ]
        )


class _Matching:
    """A walk over a model and a graph of objects side by side."""

    def __init__(self, bundle: Bundle, graph: ObjectGraph) -> None:
        self.bundle = bundle
        self.graph = graph
        self.assignment = Assignment()
        self._used: set[int] = set()

    def match_model(self, model: WeightedObject, node: int) -> None:
        """The layers with weights of both, in order."""
        layers = [layer for layer in model.tracked["layers"] if any(True for _ in slots(layer))]
        stored = self.graph.weighted_layers(node)
        if len(layers) != len(stored):
            raise ModelFileError(
                f"{self.bundle.title}: has weights for {len(stored)} layers, the model has {len(layers)} layers "
                f"with weights (in the file: {describe(self.graph, self.bundle, stored)})"
            )
        for layer, found in zip(layers, stored, strict=True):
            self._match(layer, found)
            for path, variable in self.graph.variables(found):
                if variable not in self._used:
                    raise ModelFileError(
                        f"{title(layer)}: the file has {printable('/'.join(path))!r} for it, which the layer lacks"
                    )

    def _match(self, found: WeightedObject, node: int) -> None:
        if getattr(found, "takes_any_weights", False):
            self._match_any(found, node)
            return
        values: list[tuple[VariableLike, Array]] = []
        for variable in found.own_variables:
            name = _RENAMED.get((found.class_name, variable.name), variable.name)
            child = self.graph.child(node, name)
            if child is None or VALUE not in self.graph.nodes[child].tensors:
                raise ModelFileError(
                    f"{title(found)}, {variable.name}: the file has no value for it (it has "
                    f"{describe(self.graph, self.bundle, [node])})"
                )
            self._used.add(child)
            values.append((variable, self.bundle.tensor(self.graph.nodes[child].tensors[VALUE])))
        self.assignment.add_owner(found, values, self.bundle.title)
        for attribute, value in found.tracked.items():
            if value is None or not _has_slots(value):
                continue
            if attribute == "layers" and isinstance(value, list | tuple):
                self.match_model(found, node)
            elif isinstance(value, list | tuple):
                container = self._child(found, node, attribute)
                for number, part in enumerate(value):
                    if _has_slots(part):
                        self._match(part, self._child(found, container, str(number)))
            else:
                self._match(value, self._child(found, node, attribute))

    def _child(self, found: WeightedObject, node: int, attribute: str) -> int:
        for name in (attribute, f"_{attribute}"):
            child = self.graph.child(node, name)
            if child is not None:
                return child
        if attribute == "cell" and self.graph.child(node, "kernel") is not None:
            return node  # CuDNNLSTM and CuDNNGRU have no cell
        raise ModelFileError(
            f"{title(found)}: the file has no {attribute!r} for it (it has "
            f"{describe(self.graph, self.bundle, [node])})"
        )

    def _match_any(self, found: WeightedObject, node: int) -> None:
        """All variables of a layer whose insides only the user knows, in their order."""
        stored = [variable for _, variable in _all_variables(self.graph, node)]
        if len(stored) != len(found.own_variables):
            raise ModelFileError(
                f"{title(found)}: expected {len(found.own_variables)} arrays, the file has {len(stored)}"
            )
        self._used.update(stored)
        for variable, place in zip(found.own_variables, stored, strict=True):
            values = self.bundle.tensor(self.graph.nodes[place].tensors[VALUE])
            self.assignment.add(found, variable, values, self.bundle.title)


def _has_slots(value: Any) -> bool:
    parts = value if isinstance(value, list | tuple) else [value]
    return any(any(True for _ in slots(part)) for part in parts)


def _all_variables(graph: ObjectGraph, node: int) -> list[tuple[str, int]]:
    """The variables of a layer with names: in the layer's own order where it is stored (SavedModel)."""
    named = {variable: path[-1] if path else "" for path, variable in graph.variables(node)}
    listed = graph.child(node, "variables")
    order = [] if listed is None else [child for child in graph.numbered(listed, "") if child in named]
    order += [variable for variable in named if variable not in set(order)]
    return [(named[variable], variable) for variable in order]


def _find(graph: ObjectGraph, node: int, spec: ModelSpec, name: str) -> int | None:
    """The node of the layer called ``name``, in nested models too."""
    layers = [layer for layer in spec.layers if spec.kind != "Sequential" or layer.class_name != "InputLayer"]
    stored = graph.numbered(node, "layer-")
    pairs: list[tuple[LayerSpec, int]] = list(zip(layers, stored, strict=False))
    for layer, found in pairs:
        if layer.name == name:
            return found
    for layer, found in pairs:
        if layer.model is not None:
            inner = _find(graph, found, layer.model, name)
            if inner is not None:
                return inner
    return None


def describe(graph: ObjectGraph, bundle: Bundle, nodes: list[int]) -> str:
    """Layers for error messages: names and shapes of their variables."""
    parts = []
    for node in nodes[:20]:
        variables = list(graph.variables(node))[:8]
        described = [
            f"{printable('/'.join(path) or 'value', 60)} {bundle.entry(graph.nodes[variable].tensors[VALUE]).shape}"
            for path, variable in variables
        ]
        full = next(
            (graph.nodes[variable].title for _, variable in variables if graph.nodes[variable].title), ""
        )
        layer = printable(full.split("/")[0], 60) + ": " if "/" in full else ""
        parts.append(layer + ", ".join(described))
    return ("; ".join(parts) + ("; ..." if len(nodes) > 20 else "")) or "no variables"


def describe_all(graph: ObjectGraph, bundle: Bundle) -> str:
    """The layers of a whole checkpoint for error messages, subclassed models too."""
    node = 0
    while not graph.numbered(node, "layer-"):
        children = [
            child
            for name, child in graph.nodes[node].children.items()
            if name not in NOT_WEIGHTS and graph.has_variables(child)
        ]
        inner = [child for child in children if graph.numbered(child, "layer-")]
        if len(inner) != 1:
            return describe(graph, bundle, children)
        node = inner[0]
    return describe(graph, bundle, graph.weighted_layers(node))


class OrderedWeights:
    """The variables of an exported model, which has no layers, in order. See ``WeightSource``.

    Parameters
    ----------
    opener : callable
        Opens the checkpoint.
    """

    def __init__(self, opener: Callable[[], Bundle]) -> None:
        self._opener = opener

    def load_into(self, model: WeightedObject) -> None:
        """See ``WeightSource.load_into``. States of random generators, which are integers, are passed over."""
        bundle = self._opener()
        graph = ObjectGraph(bundle)
        stored = exported_variables(graph, bundle)
        found = list(slots(model))
        if len(found) != len(stored):
            raise ModelFileError(
                f"{bundle.title}: an exported model of {len(stored)} arrays, the model has {len(found)}"
            )
        # Each layer's trainable ones come first, as in Keras's model.weights.
        order: list[Slot] = []
        for layer in model.tracked["layers"]:
            own = [
                slot for slot in slots(layer) if all(slot.variable is not known.variable for known in order)
            ]
            order += sorted(own, key=lambda slot: not slot.variable.trainable)
        assignment = Assignment()
        for slot, node in zip(order, stored, strict=True):
            name = graph.nodes[node].title.split("/")[-1].split(":")[0]
            source = f"{bundle.title}, {printable(graph.nodes[node].title)!r}"
            if name and not name.startswith(slot.variable.name):
                raise ModelFileError(f"{title(slot.owner)}, {slot.variable.name}: in its place is {source}")
            values = bundle.tensor(graph.nodes[node].tensors[VALUE])
            assignment.add(slot.owner, slot.variable, values, source)
        assignment.check_complete(model)
        assignment.apply()

    def arrays_of(self, name: str, class_name: str, number: int) -> list[tuple[str, Array]]:
        """See ``WeightSource.arrays_of``: the file says nothing of layers."""
        return []


def exported_variables(graph: ObjectGraph, bundle: Bundle) -> list[int]:
    """The floating-point variables of an exported model, in the order of Keras's ``model.weights``."""
    listed = graph.child(0, "variables")
    nodes = [] if listed is None else graph.numbered(listed, "")
    return [
        node
        for node in nodes
        if VALUE in graph.nodes[node].tensors and bundle.entry(graph.nodes[node].tensors[VALUE]).is_floating
    ]
