# SPDX-License-Identifier: MIT
"""Functional models: a graph of layer calls between symbolic inputs and outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from unrolled.engine import tree
from unrolled.engine.lowering import Flow, Lowering
from unrolled.layers.base import Layer
from unrolled.layers.embedding import Embedding
from unrolled.layers.input_layer import InputLayer
from unrolled.layers.ops.base import Operation
from unrolled.layers.registry import serialize_layer
from unrolled.layers.rnn.wrappers import TimeDistributed
from unrolled.layers.symbolic import KerasTensor, Node
from unrolled.models.model import Model


class Functional(Model):
    """A graph of layers; make it with ``Model(inputs, outputs)``.

    Parameters
    ----------
    inputs, outputs : KerasTensor, or a list or dict of them
        Where the graph starts and ends.
    name : str, optional
        Keras's automatic name where absent.
    layers : sequence of Layer, optional
        The order of ``layers``, as a file gives it; Keras's order by depth where absent.

    Raises
    ------
    ValueError
        An output does not depend on the inputs alone.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import Input, Model, layers
    >>> x = Input((7, 3))
    >>> y = layers.Concatenate()([layers.LSTM(4)(x), layers.GRU(2)(x)])
    >>> Model(x, y).predict(np.zeros((5, 7, 3))).shape
    (5, 6)
    """

    def __init__(
        self,
        inputs: Any = None,
        outputs: Any = None,
        *,
        name: str | None = None,
        trainable: bool = True,
        layers: Sequence[Layer] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, trainable=trainable, **kwargs)
        for what, structure in (("inputs", inputs), ("outputs", outputs)):
            for leaf in tree.leaves(structure):
                if not isinstance(leaf, KerasTensor):
                    raise ValueError(f"model {self.name!r}: {what} must be symbolic tensors, got {leaf!r}")
        self._input_tree = inputs
        self._output_tensors = outputs
        self._nodes = sort_nodes(inputs, outputs, self.name)
        self._run_order = run_order(self._nodes)
        # Layers and operations; ``layers`` are those without the operations, as in Keras.
        self._operations = list(layers) if layers is not None else _by_depth(self._nodes, self.inputs)
        for layer_name, count in Counter(layer.name for layer in self._operations).items():
            if count > 1:
                raise ValueError(f"model {self.name!r}: two layers are named {layer_name!r}")
        self.built = True

    @property
    def class_name(self) -> str:
        return "Functional"

    @property
    def serialized_as(self) -> tuple[str, str | None]:
        return "keras.src.models.functional", "Functional"

    @property
    def layers(self) -> list[Layer]:
        return [layer for layer in self._operations if not isinstance(layer, Operation)]

    def summary_layers(self) -> list[Layer]:
        return list(self._operations)

    def sublayers(self) -> list[Layer]:
        return list(self._operations)

    @property
    def output(self) -> Any:
        """The symbolic output; a list or dict of several, as given."""
        return self._output_tensors

    def graph_nodes(self) -> list[Node] | None:
        return list(self._nodes)

    @property
    def input(self) -> Any:
        """The symbolic input; a list or dict of several, as given."""
        return self._input_tree

    def input_dtype(self, tensor: KerasTensor, array: NDArray[Any]) -> str:
        # As Sequential.input_dtype: ids that only embeddings read stay integers.
        readers = [node.layer for node in self._nodes if any(parent is tensor for parent in node.parents)]
        while any(isinstance(reader, TimeDistributed) for reader in readers):
            readers = [reader.layer if isinstance(reader, TimeDistributed) else reader for reader in readers]
        if array.dtype.kind in "iu" and readers and all(isinstance(reader, Embedding) for reader in readers):
            return "int32"
        return tensor.dtype

    def build(self, input_shape: Any = None) -> None:
        """Nothing to do: a functional model is built from its inputs."""

    def ensure_built(self, input_shape: Any) -> None:
        """Nothing to do: a functional model is built from its inputs."""

    def lower(self, plan: Lowering, x: Any, **kwargs: Any) -> Any:
        if kwargs:
            raise TypeError(f"model {self.name!r}: unknown arguments {sorted(kwargs)}")
        given = [leaf for leaf in tree.leaves(x) if isinstance(leaf, Flow)]
        if len(given) != len(self.inputs):
            raise ValueError(f"model {self.name!r}: expected {len(self.inputs)} inputs, got {len(given)}")
        for flow in given:
            plan.give_mask_back(flow)
        flows: dict[int, Flow] = {id(tensor): flow for tensor, flow in zip(self.inputs, given, strict=True)}

        def value(leaf: Any) -> Any:
            return plan.with_current_mask(flows[id(leaf)]) if isinstance(leaf, KerasTensor) else leaf

        for node in self._run_order:
            if all(id(tensor) in flows for tensor in tree.leaves(node.outputs)):
                continue  # an input
            args, call_kwargs = tree.map_leaves(value, [list(node.args), node.kwargs])
            result = node.layer.lower_call(plan, tuple(args), call_kwargs)
            for tensor, flow in zip(tree.leaves(node.outputs), tree.leaves(result), strict=True):
                flows[id(tensor)] = flow
        return tree.map_leaves(value, self._output_tensors)

    def get_config(self) -> dict[str, Any]:
        nodes = {
            id(node): number
            for layer in self._operations
            for number, node in enumerate(self._own_nodes(layer))
        }

        def reference(tensor: KerasTensor) -> list[Any]:
            assert tensor.node is not None
            return [tensor.node.layer.name, nodes[id(tensor.node)], tensor.index]

        def argument(leaf: Any) -> Any:
            if isinstance(leaf, KerasTensor):
                config = {"shape": leaf.shape, "dtype": leaf.dtype, "keras_history": reference(leaf)}
                return {"class_name": "__keras_tensor__", "config": config}
            return leaf

        layers = []
        for layer in self._operations:
            calls = [] if isinstance(layer, InputLayer) else self._own_nodes(layer)
            layers.append(
                serialize_layer(layer)
                | {
                    "name": layer.name,
                    "inbound_nodes": [
                        {
                            "args": tree.map_leaves(argument, list(node.args)),
                            "kwargs": tree.map_leaves(argument, node.kwargs),
                        }
                        for node in calls
                    ],
                }
            )
        config = {
            "name": self.name,
            "trainable": self.trainable,
            "layers": layers,
            "input_layers": tree.map_leaves(reference, self._input_tree),
            "output_layers": tree.map_leaves(reference, self._output_tensors),
        }
        _number_nested(self, config)
        return config | self.semantics_config()

    # ------------------------------------------------------------------ copies

    def __getstate__(self) -> dict[str, Any]:
        """The calls as a flat list: from tensor to tensor, a pickle would recurse as deep as the graph."""
        state = super().__getstate__()
        for key in ("_nodes", "_run_order", "_input_tree", "_output_tensors"):
            del state[key]
        tensors = {
            id(tensor): (number, position)
            for number, node in enumerate(self._nodes)
            for position, tensor in enumerate(tree.leaves(node.outputs))
        }

        def flat(leaf: Any) -> Any:
            if not isinstance(leaf, KerasTensor):
                return leaf
            return _TensorAt(*tensors[id(leaf)]) if id(leaf) in tensors else None

        state["_calls"] = [
            node
            if isinstance(node.layer, InputLayer)
            else (
                node.layer,
                tree.map_leaves(flat, list(node.args)),
                tree.map_leaves(flat, node.kwargs),
                tree.map_leaves(KerasTensor.detached, node.outputs),
            )
            for node in self._nodes
        ]
        number = {id(node): index for index, node in enumerate(self._nodes)}
        state["_order"] = [number[id(node)] for node in self._run_order]
        state["_ends"] = tree.map_leaves(flat, [self._input_tree, self._output_tensors])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        calls, order, ends = state.pop("_calls"), state.pop("_order"), state.pop("_ends")
        super().__setstate__(state)
        tensors: list[list[KerasTensor]] = []

        def tensor(leaf: Any) -> Any:
            return tensors[leaf.call][leaf.position] if isinstance(leaf, _TensorAt) else leaf

        self._nodes = []
        for call in calls:
            if isinstance(call, Node):
                node = call
            else:
                layer, args, kwargs, outputs = call
                args, kwargs = tree.map_leaves(tensor, [args, kwargs])
                node = Node.restored(layer, tuple(args), kwargs, outputs)
            self._nodes.append(node)
            tensors.append(list(tree.leaves(node.outputs)))
        self._run_order = [self._nodes[number] for number in order]
        self._input_tree, self._output_tensors = tree.map_leaves(tensor, ends)

    def _own_nodes(self, layer: Layer) -> list[Node]:
        own = {id(node) for node in self._nodes}
        return [node for node in layer.nodes if id(node) in own]


Model.functional_class = Functional


@dataclass(frozen=True)
class _TensorAt:
    """Stands for a tensor while a graph is flat: which of the results of which call."""

    call: int
    position: int


def sort_nodes(inputs: Any, outputs: Any, name: str) -> list[Node]:
    """The calls that ``outputs`` need, every one after those that it depends on.

    Raises
    ------
    ValueError
        An output depends on a tensor that is not among ``inputs``.
    """
    given = {id(tensor) for tensor in tree.leaves(inputs)}
    order: list[Node] = [tensor.node for tensor in tree.leaves(inputs) if tensor.node is not None]
    done = {id(node) for node in order}
    # An explicit stack: a chain of thousands of layers must not exhaust Python's.
    stack: list[tuple[Node | None, bool]] = [(tensor.node, False) for tensor in tree.leaves(outputs)]
    stack.reverse()
    while stack:
        node, ready = stack.pop()
        if node is None or id(node) in done:
            continue
        if ready:
            done.add(id(node))
            order.append(node)
            continue
        if not node.parents:
            raise ValueError(
                f"model {name!r}: an output needs the input {node.layer.name!r}, which is not given"
            )
        stack.append((node, True))
        stack += [(parent.node, False) for parent in reversed(node.parents) if id(parent) not in given]
    return order


def run_order(nodes: Sequence[Node]) -> list[Node]:
    """``nodes`` in the order in which Keras runs them (keras 3.15 ``ops/function.py``, map_graph).

    It shows where a call changes what a later one finds: the masks that MultiHeadAttention takes away, the
    states of a stateful layer called twice.
    """
    depths: dict[int, int] = {}
    layer_depths: dict[int, int] = {}
    by_id = {id(node): node for node in nodes}
    for node in reversed(nodes):
        depth = max(depths.setdefault(id(node), 0), layer_depths.get(id(node.layer), 0))
        depths[id(node)] = layer_depths[id(node.layer)] = depth
        for parent in node.parents:
            if parent.node is not None:
                depths[id(parent.node)] = max(depth + 1, depths.get(id(parent.node), 0))
    # Within a depth: in the order in which the calls were found.
    return [by_id[key] for key in sorted(depths, key=lambda key: -depths[key]) if key in by_id]


def _by_depth(nodes: Sequence[Node], inputs: Sequence[KerasTensor]) -> list[Layer]:
    """Layers from the inputs on by depth, as Keras orders them (keras 3.15 ``ops/function.py``, map_graph)."""
    node_depth: dict[int, int] = {}
    layer_depth: dict[int, int] = {}
    for node in reversed(nodes):
        depth = max(node_depth.get(id(node), 0), layer_depth.get(id(node.layer), 0))
        node_depth[id(node)] = layer_depth[id(node.layer)] = depth
        for parent in node.parents:
            if parent.node is not None:
                key = id(parent.node)
                node_depth[key] = max(node_depth.get(key, 0), depth + 1)
    for tensor in inputs:
        assert tensor.node is not None
        layer_depth[id(tensor.node.layer)] = max(layer_depth.values(), default=0)
    first_seen: dict[int, Layer] = {}
    for node in nodes:
        first_seen.setdefault(id(node.layer), node.layer)
    return sorted(first_seen.values(), key=lambda layer: -layer_depth[id(layer)])


def _number_nested(model: Functional, config: dict[str, Any]) -> None:
    """Outputs of nested Functional models count the call that built them (keras 3.15 models/functional.py)."""
    nested = {layer.name for layer in model.layers if isinstance(layer, Functional)}

    def count(reference: Any) -> Any:
        if isinstance(reference, list) and len(reference) == 3 and isinstance(reference[0], str):
            return [reference[0], reference[1] + (reference[0] in nested), reference[2]]
        if isinstance(reference, dict):
            return {key: count(value) for key, value in reference.items()}
        return [count(value) for value in reference]

    for key in ("input_layers", "output_layers"):
        config[key] = count(config[key])
