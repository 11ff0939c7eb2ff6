# SPDX-License-Identifier: MIT
"""The graph of objects in a checkpoint, which leads from a model by names of attributes to its tensors.

Format: tensorflow/core/protobuf/trackable_object_graph.proto. Keys of tensors are never guessed: a key is the
first path that TensorFlow happened to find, so of one layer it may say `layer_with_weights-0/cell/kernel` or
`variables/0`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from unrolled.errors import ModelFileError
from unrolled.formats.checks import OBJECTS, BrokenError, converted
from unrolled.formats.tensorbundle.bundle import GRAPH_KEY, Bundle
from unrolled.formats.tensorbundle.wire import Budget, fields, message, number, text

VALUE = "VARIABLE_VALUE"
CONFIG = "OBJECT_CONFIG_JSON"
# Children that hold no weights of a layer: what trains it, other views of the same variables, states of
# stateful layers and of random generators.
NOT_WEIGHTS = frozenset(
    {
        "_generator", "_metrics", "_optimizer", "_random_generator", "input_spec", "keras_api", "losses",
        "metrics", "non_trainable_variables", "optimizer", "regularization_losses", "save_counter",
        "signatures", "state_spec", "states", "step", "trainable_variables", "variables",
    }
)  # fmt: skip


@dataclass
class Node:
    """An object: its children by the names of attributes, and its tensors.

    Parameters
    ----------
    children : dict
        Name to number of a node.
    tensors : dict
        Name of a tensor ("VARIABLE_VALUE") to its key.
    title : str
        The variable's full name, where it has one: "lstm_5/lstm_cell_5/kernel".
    """

    children: dict[str, int] = field(default_factory=dict)
    tensors: dict[str, str] = field(default_factory=dict)
    title: str = ""


class ObjectGraph:
    """The objects of a checkpoint; 0 is the root.

    Raises
    ------
    ModelFileError
        It has none (TensorFlow 1 stores variables by name), or they are damaged.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.title = bundle.title
        if GRAPH_KEY not in bundle:
            raise ModelFileError(
                f"{bundle.title}: a checkpoint of variables by name, without objects (tf.train.Saver of TensorFlow "
                "1), which no Keras layer can be found in"
            )
        data = bundle.text(GRAPH_KEY)
        with converted(f"{bundle.title}: broken graph of objects"):
            self.nodes = _nodes(data)

    def child(self, node: int, name: str) -> int | None:
        """The number of a child, or None."""
        return self.nodes[node].children.get(name)

    def numbered(self, node: int, prefix: str) -> list[int]:
        """The children named ``prefix`` and 0, 1, 2, ..."""
        children = self.nodes[node].children
        found: list[int] = []
        while (child := children.get(f"{prefix}{len(found)}")) is not None:
            found.append(child)
        return found

    def variables(self, node: int) -> Iterator[tuple[tuple[str, ...], int]]:
        """The variables at and below a node, each once, with the names that lead there."""
        seen: set[int] = set()
        waiting: list[tuple[tuple[str, ...], int]] = [((), node)]
        while waiting:
            path, here = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            if VALUE in self.nodes[here].tensors:
                yield path, here
            children = self.nodes[here].children.items()
            waiting += [
                ((*path, name), child) for name, child in reversed(children) if name not in NOT_WEIGHTS
            ]

    def has_variables(self, node: int) -> bool:
        """Whether there are variables at or below a node."""
        return next(self.variables(node), None) is not None

    def find_model(self) -> int:
        """The node of the model: the root, or what `tf.train.Checkpoint(model=...)` holds.

        Raises
        ------
        ModelFileError
            No node or several nodes look like a Sequential or functional model.
        """
        if self._is_model(0):
            return 0
        children = self.nodes[0].children.items()
        inner = {child: name for name, child in children if name not in NOT_WEIGHTS and self._is_model(child)}
        if len(inner) == 1:
            return next(iter(inner))
        if inner:
            raise ModelFileError(
                f"{self.title}: holds {len(inner)} models ({', '.join(sorted(inner.values()))})"
            )
        raise ModelFileError(
            f"{self.title}: the model is a class of its author's (subclassed): its layers are known by the names of "
            "attributes only, so that no Sequential or functional architecture fits"
        )

    def _is_model(self, node: int) -> bool:
        return "layer-0" in self.nodes[node].children or "layer_with_weights-0" in self.nodes[node].children

    def layers(self, node: int) -> list[int]:
        """The layers of a model in order, each once.

        Raises
        ------
        ModelFileError
            The two numberings that Keras writes contradict each other.
        """
        every = list(dict.fromkeys(self.numbered(node, "layer-")))
        weighted = list(dict.fromkeys(self.numbered(node, "layer_with_weights-")))
        if not every:
            return weighted
        place = {layer: number for number, layer in enumerate(every)}
        order = [place.get(layer, -1) for layer in weighted]
        missing = weighted and any(self.has_variables(layer) for layer in every if layer not in set(weighted))
        if -1 in order or order != sorted(order) or missing:
            raise ModelFileError(f"{self.title}: 'layer-*' and 'layer_with_weights-*' name different layers")
        return every

    def weighted_layers(self, node: int) -> list[int]:
        """The layers of a model that have variables, in order."""
        return [layer for layer in self.layers(node) if self.has_variables(layer)]


def _nodes(data: bytes) -> list[Node]:
    """TrackableObjectGraph."""
    budget = Budget()
    nodes = [_node(message(value), budget) for key, value in fields(data, budget) if key == 1]
    if not nodes:
        raise BrokenError("it is empty")
    if len(nodes) > OBJECTS:
        raise BrokenError(f"{len(nodes)} objects (at most {OBJECTS})")
    for node in nodes:
        for child in node.children.values():
            if child >= len(nodes):
                raise BrokenError(f"an object refers to object {child} of {len(nodes)}")
    return nodes


def _node(data: bytes | memoryview, budget: Budget) -> Node:
    """TrackableObject: its children and attributes; slots of optimisers are passed over."""
    node = Node()
    for key, value in fields(data, budget):
        if key == 1:
            target, name = 0, ""
            for inner, found in fields(message(value), budget):
                if inner == 1:
                    target = number(found)
                elif inner == 2:
                    name = text(found)
            if name in node.children:
                raise BrokenError(f"an object with two children of the name {name[:60]!r}")
            node.children[name] = target
        elif key == 2:
            parts = {1: "", 2: "", 3: ""}
            for inner, found in fields(message(value), budget):
                if inner in parts:
                    parts[inner] = text(found)
            if parts[1] in node.tensors:
                raise BrokenError(f"an object with two tensors of the name {parts[1][:60]!r}")
            node.tensors[parts[1]] = parts[3]
            node.title = parts[2] or node.title
    return node
