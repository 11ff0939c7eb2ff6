# SPDX-License-Identifier: MIT
"""Sequential: a chain of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from numpy.typing import NDArray

from unrolled.engine import tree
from unrolled.engine.lowering import Lowering
from unrolled.layers.base import Layer
from unrolled.layers.config_values import is_shape
from unrolled.layers.embedding import Embedding
from unrolled.layers.input_layer import Input, InputLayer
from unrolled.layers.registry import serialize_layer
from unrolled.layers.rnn.wrappers import TimeDistributed
from unrolled.layers.symbolic import KerasTensor, Node
from unrolled.models.model import Model


class Sequential(Model):
    """A chain of layers, each fed by the one before.

    Parameters
    ----------
    layers : sequence of Layer, optional
        Added one by one. The first may be ``Input(shape)``, or declare its ``input_shape``.
    name : str, optional
        Keras's automatic name where absent.

    Raises
    ------
    TypeError
        Something that is no layer is added.
    ValueError
        A layer does not fit the shape that reaches it.

    Examples
    --------
    >>> from unrolled import Sequential, layers
    >>> model = Sequential()
    >>> model.add(layers.SimpleRNN(3, input_shape=(2, 10)))
    >>> model.count_params()
    42
    """

    config_class_name: ClassVar[str] = "Sequential"

    def __init__(
        self,
        layers: Sequence[Layer] | None = None,
        *,
        name: str | None = None,
        trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, trainable=trainable, **kwargs)
        self._layers: list[Layer] = []
        self._input: KerasTensor | None = None
        # The calls of the layers, as in a functional model, and what the last one gives.
        self._calls: list[Node] = []
        self._output: Any = None
        taken: set[str] = set()
        for layer in layers or ():
            self._add(layer, taken)

    @property
    def serialized_as(self) -> tuple[str, str | None]:
        return "keras", None

    @property
    def layers(self) -> list[Layer]:
        return list(self._layers)

    def add(self, layer: Layer | KerasTensor) -> None:
        """Append a layer; ``Input(shape)`` or an ``InputLayer`` only as the first."""
        self._add(layer, {other.name for other in self._layers})

    def _add(self, layer: Layer | KerasTensor, taken: set[str]) -> None:
        """Append a layer, whose name joins the names of those before it."""
        if isinstance(layer, KerasTensor) and layer.node is not None:
            layer = layer.node.layer
        if not isinstance(layer, Layer):
            raise TypeError(f"Sequential.add: expected a layer, got {type(layer).__name__}")
        if isinstance(layer, InputLayer):
            if self._layers or self._input is not None:
                raise ValueError(f"Sequential {self.name!r}: an Input can only come first")
            self._input = self._output = layer.nodes[0].outputs
            return
        if layer.name in taken:
            raise ValueError(f"Sequential {self.name!r}: there is already a layer named {layer.name!r}")
        if not self._layers and self._input is None:
            self._declare_input(layer)
        if self._input is not None:
            self._extend(layer)
            self.built = True
        self._layers.append(layer)
        taken.add(layer.name)
        self.holders.invalidate(options=True)

    def pop(self) -> Layer:
        """Remove the last layer and return it."""
        if not self._layers:
            raise TypeError(f"Sequential {self.name!r} has no layers")
        removed = self._layers.pop()
        if self._calls:
            call = self._calls.pop()
            removed.nodes = [node for node in removed.nodes if node is not call]
            self._output = _unwrapped(self._calls[-1].outputs) if self._calls else self._input
        self.holders.invalidate(options=True)
        return removed

    def build(self, input_shape: Any = None) -> None:
        """Fix the input shape ``(batch, ...)`` and create the weights."""
        if self._input is None:
            if not is_shape(input_shape):
                raise ValueError(f"Sequential {self.name!r}: expected one shape, got {input_shape!r}")
            dtype = "string" if self._layers and self._layers[0].reads_text else "float32"
            self._input = self._output = Input(batch_shape=(None, *input_shape[1:]), dtype=dtype)
        self.holders.invalidate(options=True)
        for layer in self._layers[len(self._calls) :]:
            self._extend(layer)
        self.built = True

    def _declare_input(self, first: Layer) -> None:
        if isinstance(first, Model) and first.built:
            shape, dtype = first.inputs[0].shape, first.inputs[0].dtype
        elif first.declared_input_shape is not None:
            shape, dtype = first.declared_input_shape, "string" if first.reads_text else "float32"
        else:
            return
        self._input = self._output = Input(batch_shape=shape, dtype=dtype)

    def _extend(self, layer: Layer) -> None:
        if isinstance(self._output, list | dict):
            raise ValueError(
                f"Sequential {self.name!r}: the layer before {layer.name!r} has several outputs; "
                "only the last layer of a Sequential may"
            )
        self._output = _unwrapped(layer(self._output))
        self._calls.append(layer.nodes[-1])

    def ensure_built(self, input_shape: Any) -> None:
        if not self.built:
            self.build(input_shape)

    @property
    def input(self) -> Any:
        """The symbolic input."""
        self.check_built()
        return self._input

    @property
    def output(self) -> Any:
        """The symbolic output; a list or dict where the last layer has several."""
        self.check_built()
        return self._output

    def describe_output(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        described: Any = (args[0].shape, args[0].dtype)
        for layer in self._layers:
            described = layer.describe_output((KerasTensor(*described),), {})
        return described

    def compute_output_shape(self, input_shape: Any) -> Any:
        described = self.describe_output((KerasTensor(input_shape),), {})
        return [item[0] for item in described] if isinstance(described, list) else described[0]

    def input_dtype(self, tensor: KerasTensor, array: NDArray[Any]) -> str:
        # Integer ids go to an embedding as they are: float32 cannot hold every id above 2**24.
        first = self._layers[0] if self._layers else None
        while isinstance(first, TimeDistributed):
            first = first.layer
        if isinstance(first, Embedding) and array.dtype.kind in "iu":
            return "int32"
        return tensor.dtype

    def lower(self, plan: Lowering, x: Any, **kwargs: Any) -> Any:
        if kwargs:
            raise TypeError(f"Sequential {self.name!r}: unknown arguments {sorted(kwargs)}")
        for layer in self._layers:
            x = layer.lower_call(plan, (x,), {})
        return x

    def get_config(self) -> dict[str, Any]:
        layers = [serialize_layer(layer) for layer in self._layers]
        if self._input is not None and self._input.node is not None:
            layers.insert(0, serialize_layer(self._input.node.layer))
        config = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype, "layers": layers}
        if self._input is not None:
            config["build_input_shape"] = self._input.shape
        return config | self.semantics_config()

    # ------------------------------------------------------------------ copies

    def __getstate__(self) -> dict[str, Any]:
        """The calls as what they give: from tensor to tensor, a pickle would recurse as deep as the chain."""
        state = super().__getstate__()
        del state["_output"]
        state["_calls"] = [tree.map_leaves(KerasTensor.detached, call.outputs) for call in self._calls]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        results = state.pop("_calls")
        super().__setstate__(state)
        self._calls = []
        self._output = self._input
        for layer, outputs in zip(self._layers, results, strict=False):
            self._calls.append(Node.restored(layer, (self._output,), {}, outputs))
            self._output = _unwrapped(outputs)


def _unwrapped(outputs: Any) -> Any:
    return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs
