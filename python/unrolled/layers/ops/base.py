# SPDX-License-Identifier: MIT
"""What operations of graphs share: shapes and dtypes of what they give, constants among what they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from unrolled.engine import tree
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.errors import StreamError
from unrolled.layers.base import Layer
from unrolled.layers.naming import automatic_name
from unrolled.layers.symbolic import KerasTensor

Described = tuple[Shape, str]


class Operation(Layer):
    """Base of all operations: what they give follows from the shapes and dtypes of what they take.

    Parameters
    ----------
    name : str, optional
        Keras's automatic name where absent.
    """

    needs_timesteps: ClassVar = True
    is_operation: ClassVar = True
    # Where Keras 3 has the class: keras.src.<module>.
    keras_module: ClassVar[str] = "ops.numpy"
    # Module and class of what computes the same, for operations that Keras 3 does not have.
    written_as: ClassVar[tuple[str, str] | None] = None

    def __init__(self, *, name: str | None = None, **kwargs: Any) -> None:
        cls = type(self).__name__.removesuffix("Operation")
        super().__init__(name=automatic_name(cls) if name is None else name, **kwargs)
        self.built = True

    @property
    def class_name(self) -> str:
        return type(self).__name__.removesuffix("Operation")

    def check_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Nothing to do: ``describe`` names the arguments."""

    @property
    def serialized_as(self) -> tuple[str, str | None]:
        return f"keras.src.{self.keras_module}", self.class_name

    def in_keras_3(self, serialized: dict[str, Any]) -> dict[str, Any]:
        if self.written_as is None:
            return serialized
        module, class_name = self.written_as
        return serialized | {"module": module, "class_name": class_name, "registered_name": class_name}

    def input_shapes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return None

    def ensure_built(self, input_shape: Any) -> None:
        """Nothing to do: operations have no weights."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.describe(KerasTensor(tuple(input_shape)))[0]

    def describe_output(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.describe(*args, **kwargs)

    def describe(self, *args: Any, **kwargs: Any) -> Described:
        """Shape and dtype of the result for KerasTensor or Flow arguments."""
        raise NotImplementedError

    def fail(self, what: str) -> ValueError:
        """The error that names this operation."""
        return ValueError(f"operation {self.name!r} ({self.class_name}): {what}")

    def lower_call(self, plan: Lowering, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        flows = [leaf for leaf in tree.leaves([args, kwargs]) if isinstance(leaf, Flow)]
        if plan.is_streaming and any(flow.is_sequence for flow in flows):
            return self.lower_stream(plan, flows, *args, **kwargs)
        return self.lower(plan, *args, **kwargs)

    def lower_stream(self, plan: Lowering, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> Flow:
        obstacle = self.find_call_obstacle(flows, *args, **kwargs)
        if obstacle is None and not all(flow.is_sequence for flow in flows):
            obstacle = "combines the timesteps of the stream with a value that is not one for each of them"
        if obstacle is not None:
            raise StreamError(f"operation {self.name!r} ({self.class_name}) {obstacle}")
        result: Flow = self.lower(plan, *args, **kwargs)
        return replace(result, is_sequence=True)

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        """Why the timesteps of ``flows`` cannot go through this call one by one; None where they can."""
        return self.stream_obstacle

    def result(self, value: int, *args: Any, **kwargs: Any) -> Flow:
        """``value`` with the shape and dtype of ``describe``."""
        return Flow(value, *self.describe(*args, **kwargs))

    def axis_of(self, axis: int, rank: int) -> int:
        """``axis`` counted from 0.

        Raises
        ------
        ValueError
            It is the batch axis or does not exist.
        """
        resolved = axis + rank if axis < 0 else axis
        if not 0 < resolved < rank:
            raise self.fail(f"axis {axis} is the batch axis or none of a tensor of rank {rank}")
        return resolved

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


def elementwise_obstacle(flows: Sequence[Flow], values: Sequence[Any]) -> str | None:
    """Why a stream cannot go through an operation on single elements, ``values`` broadcast."""
    rank = len(flows[0].shape)
    if any(len(flow.shape) != rank for flow in flows):
        return "broadcasts tensors of different ranks, which takes their time axes apart"
    constants = [np.shape(value) for value in values if not is_tensor(value)]
    if any(len(shape) >= rank - 1 and shape[len(shape) - rank + 1] != 1 for shape in constants):
        return "has a constant for every timestep"
    return None


class Elementwise(Operation):
    """Base of operations on single elements of arguments that broadcast."""

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return elementwise_obstacle(flows, args)


def axis_obstacle(flow: Flow, axes: Sequence[int], *, added: int = 0) -> str | None:
    """Why a stream cannot go through an operation along ``axes``: one is the time axis."""
    rank = len(flow.shape) + added
    return "works along the time axis" if any(axis % rank == 1 for axis in axes) else None


def is_tensor(value: Any) -> bool:
    """Whether ``value`` is a tensor of the graph, not a constant in it."""
    return isinstance(value, KerasTensor | Flow)


def dtype_of(value: Any) -> str:
    """ "float32", "int32" or "bool" of a tensor, number or array."""
    if is_tensor(value):
        return str(value.dtype)
    kind = np.asarray(value).dtype.kind
    return {"b": "bool", "i": "int32", "u": "int32"}.get(kind, "float32")


def shape_of(value: Any) -> Shape:
    """The shape of a tensor, or of a constant."""
    return tuple(value.shape) if is_tensor(value) else np.shape(value)


def common_dtype(values: Sequence[Any]) -> str:
    """The dtype that Keras computes several arguments in."""
    dtypes = {dtype_of(value) for value in values}
    for name in ("float32", "int32"):
        if name in dtypes:
            return name
    return "bool"


def operand(plan: Lowering, value: Any, dtype: str) -> int:
    """The id of a tensor or constant in ``dtype``."""
    if isinstance(value, Flow):
        return value.value if value.dtype == dtype else plan.ops.cast(value.value, dtype)
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"expected a number or an array of numbers, got {value!r}")
    return plan.ops.constant(array.astype(dtype))


def broadcast(operation: Operation, shapes: Sequence[Shape]) -> Shape:
    """The shape of arguments broadcast as NumPy does."""
    rank = max(len(shape) for shape in shapes)
    result: list[int | None] = []
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(sizes - {None}) > 1:
            raise operation.fail(f"shapes {list(shapes)} do not broadcast")
        known = sizes - {None}
        result.append(known.pop() if known else None if sizes else 1)
    return tuple(result)
