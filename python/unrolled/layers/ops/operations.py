# SPDX-License-Identifier: MIT
"""Operations that Keras 3 graphs call on tensors, as ``x * 2`` or ``keras.ops.any(x)`` leave them in a file.

Each is a ``Layer`` whose class name is Keras's, in ``keras.src.ops``; readers of tf.keras files map
TFOpLambda onto them. Arguments are tensors, numbers and arrays as in ``keras.ops``. The batch axis stays
first and is never reduced, joined or indexed. Masks end at operations.

>>> import numpy as np
>>> from unrolled.layers import operations
>>> operations.MultiplyOperation()(np.array([[1.0, 2.0]]), 2.0).tolist()
[[2.0, 4.0]]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from unrolled import activations
from unrolled.engine import tree
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.errors import ConfigError, Problem, StreamError, UnsupportedModelError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import flag, number, positive_int
from unrolled.layers.convolution.spatial import MAX_EXTENT
from unrolled.layers.core import tensor_dtype
from unrolled.layers.naming import automatic_name
from unrolled.layers.registry import register_operation
from unrolled.layers.symbolic import KerasTensor

Described = tuple[Shape, str]

# A tile is one value joined with itself so often.
MAX_TILES = 2**12


# Where Keras 3 has the classes of operations (keras.src.<module>); the others are in ops.numpy.
_MODULES = {
    "ops.nn": {
        "Relu", "Relu6", "Sigmoid", "Softplus", "Softsign", "Silu", "LogSigmoid", "LeakyRelu", "HardSigmoid",
        "HardSilu", "Elu", "Selu", "Gelu", "Celu", "Glu", "TanhShrink", "HardTanh", "HardShrink", "SoftShrink",
        "Threshold", "Squareplus", "SparsePlus", "SparseSigmoid", "Sparsemax", "Softmax", "LogSoftmax",
    },
    "ops.core": {"Cast", "ConvertToTensor", "StopGradient"},
    "activations.activations": {"ReLU", "Mish"},
}  # fmt: skip


class Operation(Layer):
    """Base of all operations: what they give follows from the shapes and dtypes of what they take.

    Parameters
    ----------
    name : str, optional
        Keras's automatic name where absent.
    """

    needs_timesteps: ClassVar = True
    is_operation: ClassVar = True

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
        found = (name for name, classes in _MODULES.items() if self.class_name in classes)
        return f"keras.src.{next(found, 'ops.numpy')}", self.class_name

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
        raise TypeError(f"expected a number or an array of numbers, got {value!r}")
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


# --------------------------------------------------------------------------- two arguments


class Binary(Operation):
    """Base of operations of two broadcasting arguments, of which one may be a constant."""

    kind: ClassVar[str]
    # The dtype of the result; None: that of the arguments.
    gives: ClassVar[str | None] = None
    # The dtype of the computation; None: that of the arguments, at least int32 for arithmetic.
    computes: ClassVar[str | None] = None

    def computed_dtype(self, x1: Any, x2: Any) -> str:
        """The dtype in which the arguments meet."""
        if self.computes is not None:
            return self.computes
        common = common_dtype([x1, x2])
        return "int32" if common == "bool" else common

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return elementwise_obstacle(flows, args)

    def describe(self, x1: Any, x2: Any) -> Described:
        shape = broadcast(self, [shape_of(x1), shape_of(x2)])
        return shape, self.gives or self.computed_dtype(x1, x2)

    def lower(self, plan: Lowering, x1: Any, x2: Any) -> Flow:  # type: ignore[override]
        dtype = self.computed_dtype(x1, x2)
        value = plan.ops.binary(self.kind, operand(plan, x1, dtype), operand(plan, x2, dtype))
        return self.result(value, x1, x2)


def _binary(name: str, kind: str, *, gives: str | None = None, computes: str | None = None) -> type[Binary]:
    attributes = {
        "kind": kind,
        "gives": gives,
        "computes": computes,
        "__doc__": f"``keras.ops``: {kind.replace('_', ' ')} of two broadcasting arguments.",
        "__module__": __name__,
    }
    return register_operation(type(f"{name}Operation", (Binary,), attributes))


AddOperation = _binary("Add", "add")
SubtractOperation = _binary("Subtract", "subtract")
MultiplyOperation = _binary("Multiply", "multiply")
MaximumOperation = _binary("Maximum", "maximum")
MinimumOperation = _binary("Minimum", "minimum")
DivideOperation = _binary("Divide", "divide", gives="float32", computes="float32")
TrueDivideOperation = _binary("TrueDivide", "divide", gives="float32", computes="float32")
EqualOperation = _binary("Equal", "equal", gives="bool")
NotEqualOperation = _binary("NotEqual", "not_equal", gives="bool")
GreaterOperation = _binary("Greater", "greater", gives="bool")
GreaterEqualOperation = _binary("GreaterEqual", "greater_equal", gives="bool")
LessOperation = _binary("Less", "less", gives="bool")
LessEqualOperation = _binary("LessEqual", "less_equal", gives="bool")
LogicalAndOperation = _binary("LogicalAnd", "and", gives="bool", computes="bool")
LogicalOrOperation = _binary("LogicalOr", "or", gives="bool", computes="bool")


@register_operation
class PowerOperation(Operation):
    """``keras.ops.power`` with a whole exponent, by products."""

    exponents: ClassVar = range(1, 9)

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return elementwise_obstacle(flows, args)

    def describe(self, x1: Any, x2: Any) -> Described:
        if is_tensor(x2) or not is_tensor(x1) or np.ndim(x2) or x2 not in self.exponents:
            found = "a tensor as exponent" if is_tensor(x2) else f"the exponent {x2}"
            supported = f"whole exponents from {self.exponents[0]} to {self.exponents[-1]} are supported"
            raise UnsupportedModelError([Problem(self.name, self.class_name, "", found, supported)])
        common = common_dtype([x1, x2])
        return shape_of(x1), "int32" if common == "bool" else common

    def lower(self, plan: Lowering, x1: Any, x2: Any) -> Flow:  # type: ignore[override]
        _, dtype = self.describe(x1, x2)
        base = operand(plan, x1, dtype)
        value = base
        for _ in range(int(x2) - 1):
            value = plan.ops.binary("multiply", value, base)
        return self.result(value, x1, x2)


@register_operation
class MatmulOperation(Operation):
    """``keras.ops.matmul`` of two tensors of rank 3 or more with the same leading axes.

    Parameters
    ----------
    transpose_b : bool
        ``tf.matmul``: the last two axes of the second are swapped. Keras 3 has no such option.
    **kwargs
        ``name``.
    """

    def __init__(self, transpose_b: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.transpose_b = flag("transpose_b", transpose_b)

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        by_timestep = len(flows) == 1 and len(flows[0].shape) > 2
        return None if by_timestep else "compares every timestep with every other"

    def describe(self, x1: Any, x2: Any) -> Described:
        a, b = shape_of(x1), shape_of(x2)
        if self.transpose_b and len(b) > 1:
            b = (*b[:-2], b[-1], b[-2])
        if len(a) < 2 or len(b) < 2 or (None not in (a[-1], b[-2]) and a[-1] != b[-2]):
            raise self.fail(f"shapes {a} and {b} do not fit")
        if is_tensor(x2) and (len(a) != len(b) or len(a) < 3):
            raise self.fail(f"expected tensors of the same rank from 3 on, got shapes {a} and {b}")
        if not is_tensor(x1) or (not is_tensor(x2) and len(b) != 2):
            raise self.fail("a constant may only be the second argument, of rank 2")
        leading = broadcast(self, [a[:-2], b[:-2]]) if is_tensor(x2) else a[:-2]
        return (*leading, a[-2], b[-1]), "float32"

    def lower(self, plan: Lowering, x1: Any, x2: Any) -> Flow:  # type: ignore[override]
        self.describe(x1, x2)
        a = operand(plan, x1, "float32")
        if is_tensor(x2):
            b = operand(plan, x2, "float32")
            return self.result(plan.ops.matmul(a, b, transpose_b=self.transpose_b), x1, x2)
        kernel = np.asarray(x2, np.float32)
        kernel = np.ascontiguousarray(kernel.T if self.transpose_b else kernel)
        return self.result(plan.ops.dense(a, kernel, None, activations.linear.core()), x1, x2)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | ({"transpose_b": True} if self.transpose_b else {})


@register_operation
class WhereOperation(Operation):
    """``keras.ops.where(condition, x1, x2)``."""

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return elementwise_obstacle(flows, args)

    def describe(self, condition: Any, x1: Any, x2: Any) -> Described:
        shape = broadcast(self, [shape_of(condition), shape_of(x1), shape_of(x2)])
        return shape, common_dtype([x1, x2])

    def lower(self, plan: Lowering, condition: Any, x1: Any, x2: Any) -> Flow:  # type: ignore[override]
        dtype = common_dtype([x1, x2])
        value = plan.ops.select(
            operand(plan, condition, "bool"), operand(plan, x1, dtype), operand(plan, x2, dtype)
        )
        return self.result(value, condition, x1, x2)


# ---------------------------------------------------------------------------- one argument


class Unary(Operation):
    """Base of operations of one argument that keep its shape."""

    # The dtype of the computation and the result; None: the argument's.
    computes: ClassVar[str | None] = "float32"

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return elementwise_obstacle(flows, args)

    def describe(self, x: Any) -> Described:
        return shape_of(x), self.computes or dtype_of(x)

    def apply(self, plan: Lowering, x: Flow) -> int:
        """The result of ``x``, which has the dtype of the computation."""
        raise NotImplementedError

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        dtype = self.computes or dtype_of(x)
        return self.result(self.apply(plan, Flow(operand(plan, x, dtype), shape_of(x), dtype)), x)


class ActivationOperation(Unary):
    """Base of activations as operations."""

    activation: activations.Activation

    def apply(self, plan: Lowering, x: Flow) -> int:
        return activations.lower(plan, x, self.activation).value


def _activation(name: str, activation: activations.Activation) -> type[ActivationOperation]:
    attributes = {
        "activation": activation,
        "__doc__": f"``keras.ops``: {activation.name} of every element.",
        "__module__": __name__,
    }
    return register_operation(type(f"{name}Operation", (ActivationOperation,), attributes))


for _name, _function in {
    "Exp": activations.exponential,
    "HardSigmoid": activations.hard_sigmoid,
    "HardSilu": activations.hard_silu,
    "HardTanh": activations.hard_tanh,
    "LogSigmoid": activations.log_sigmoid,
    "Mish": activations.mish,
    "ReLU6": activations.relu6,
    "Relu": activations.relu,
    "Relu6": activations.relu6,
    "Selu": activations.selu,
    "Sigmoid": activations.sigmoid,
    "Silu": activations.silu,
    "Softplus": activations.softplus,
    "Softsign": activations.softsign,
    "SparsePlus": activations.sparse_plus,
    "SparseSigmoid": activations.sparse_sigmoid,
    "Tanh": activations.tanh,
    "TanhShrink": activations.tanh_shrink,
}.items():
    _activation(_name, _function)


class ParameterActivation(ActivationOperation):
    """Base of activations with one number."""

    kind: ClassVar[str]
    key: ClassVar[str] = "alpha"

    def _set(self, value: float) -> None:
        self._parameter = number(self.key, value)
        self.activation = activations.Activation(self.kind, self.kind, self._parameter)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {self.key: self._parameter}


@register_operation
class EluOperation(ParameterActivation):
    """``keras.ops.elu``."""

    kind: ClassVar = "elu"

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(alpha)


@register_operation
class CeluOperation(ParameterActivation):
    """``keras.ops.celu``."""

    kind: ClassVar = "celu"

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(alpha)


@register_operation
class SoftShrinkOperation(ParameterActivation):
    """``keras.ops.soft_shrink``."""

    kind: ClassVar = "soft_shrink"
    key: ClassVar = "threshold"

    def __init__(self, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(threshold)


@register_operation
class HardShrinkOperation(ParameterActivation):
    """``keras.ops.hard_shrink``."""

    kind: ClassVar = "hard_shrink"
    key: ClassVar = "threshold"

    def __init__(self, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(threshold)


@register_operation
class SquareplusOperation(ParameterActivation):
    """``keras.ops.squareplus``."""

    kind: ClassVar = "squareplus"
    key: ClassVar = "b"

    def __init__(self, b: float = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(b)


@register_operation
class LeakyReluOperation(ActivationOperation):
    """``keras.ops.leaky_relu``."""

    def __init__(self, negative_slope: float = 0.2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.negative_slope = number("negative_slope", negative_slope)
        self.activation = activations.relu_kernel(negative_slope=self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"negative_slope": self.negative_slope}


@register_operation
class ThresholdOperation(ActivationOperation):
    """``keras.ops.threshold``: ``default_value`` where x is not above ``threshold``."""

    def __init__(self, threshold: float, default_value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = number("threshold", threshold)
        self.default_value = number("default_value", default_value)
        self.activation = activations.Activation("threshold", "threshold", self.threshold, self.default_value)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"threshold": self.threshold, "default_value": self.default_value}


@register_operation
class ReLUOperation(ActivationOperation):
    """``keras.activations.relu``, which leaves this name in a graph where it has arguments."""

    def __init__(
        self,
        negative_slope: float = 0.0,
        max_value: float | None = None,
        threshold: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.negative_slope = number("negative_slope", negative_slope)
        self.max_value = None if max_value is None else number("max_value", max_value)
        self.threshold = number("threshold", threshold)
        self.activation = activations.relu_kernel(self.max_value, self.negative_slope, self.threshold)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "negative_slope": self.negative_slope,
            "max_value": self.max_value,
            "threshold": self.threshold,
        }


@register_operation
class GeluOperation(ActivationOperation):
    """``keras.ops.gelu``, by its tanh approximation unless told otherwise."""

    def __init__(self, approximate: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.approximate = flag("approximate", approximate)
        self.activation = activations.gelu_tanh if self.approximate else activations.gelu

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"approximate": self.approximate}


class AxisActivation(ActivationOperation):
    """Base of activations along an axis."""

    function: ClassVar[str]

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = positive_int("axis", axis, minimum=-8, maximum=7)
        self.activation = activations.Activation(self.function, axis=self.axis)

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return axis_obstacle(flows[0], [self.axis])

    def describe(self, x: Any) -> Described:
        self.axis_of(self.axis, len(shape_of(x)))
        return activations.output_shape(shape_of(x), self.activation), "float32"

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": self.axis}


@register_operation
class SoftmaxOperation(AxisActivation):
    """``keras.ops.softmax``."""

    function: ClassVar = "softmax"


@register_operation
class LogSoftmaxOperation(AxisActivation):
    """``keras.ops.log_softmax``."""

    function: ClassVar = "log_softmax"


@register_operation
class SparsemaxOperation(AxisActivation):
    """``keras.ops.sparsemax``."""

    function: ClassVar = "sparsemax"


@register_operation
class GluOperation(AxisActivation):
    """``keras.ops.glu``."""

    function: ClassVar = "glu"


@register_operation
class LogicalNotOperation(Unary):
    """``keras.ops.logical_not``."""

    computes: ClassVar = "bool"

    def apply(self, plan: Lowering, x: Flow) -> int:
        return plan.ops.logical_not(x.value)


class Arithmetic(Unary):
    """Base of arithmetic that keeps integers."""

    def describe(self, x: Any) -> Described:
        return shape_of(x), self._dtype(x)

    def _dtype(self, x: Any) -> str:
        return "float32" if dtype_of(x) == "float32" else "int32"

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        dtype = self._dtype(x)
        return self.result(self.apply(plan, Flow(operand(plan, x, dtype), shape_of(x), dtype)), x)


@register_operation
class NegativeOperation(Arithmetic):
    """``keras.ops.negative``."""

    def apply(self, plan: Lowering, x: Flow) -> int:
        return plan.ops.binary("multiply", x.value, plan.ops.constant(np.asarray(-1, x.dtype)))


@register_operation
class AbsoluteOperation(Arithmetic):
    """``keras.ops.absolute``."""

    def apply(self, plan: Lowering, x: Flow) -> int:
        negative = plan.ops.binary("multiply", x.value, plan.ops.constant(np.asarray(-1, x.dtype)))
        return plan.ops.binary("maximum", x.value, negative)


@register_operation
class AbsOperation(AbsoluteOperation):
    """``keras.ops.abs``."""


@register_operation
class SquareOperation(Arithmetic):
    """``keras.ops.square``."""

    def apply(self, plan: Lowering, x: Flow) -> int:
        return plan.ops.binary("multiply", x.value, x.value)


@register_operation
class ClipOperation(Arithmetic):
    """``keras.ops.clip``."""

    def __init__(self, x_min: float, x_max: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.x_min = number("x_min", x_min)
        self.x_max = number("x_max", x_max)

    def apply(self, plan: Lowering, x: Flow) -> int:
        ops = plan.ops
        raised = ops.binary("maximum", x.value, ops.constant(np.asarray(self.x_min).astype(x.dtype)))
        return ops.binary("minimum", raised, ops.constant(np.asarray(self.x_max).astype(x.dtype)))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"x_min": self.x_min, "x_max": self.x_max}


@register_operation
class StopGradientOperation(Unary):
    """``keras.ops.stop_gradient``: nothing at inference."""

    computes: ClassVar = None

    def apply(self, plan: Lowering, x: Flow) -> int:
        return x.value


@register_operation
class IdentityOperation(StopGradientOperation):
    """What leaves a tensor as it is."""


class Typed(Operation):
    """Base of operations with a ``dtype`` option, that of the argument where absent."""

    def __init__(self, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._given_dtype = None if dtype is None else str(getattr(dtype, "name", dtype))
        self._target = None if dtype is None else tensor_dtype("dtype", dtype)

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return elementwise_obstacle(flows, args)

    def describe(self, x: Any, dtype: Any = None) -> Described:
        target = self._target if dtype is None else tensor_dtype("dtype", dtype)
        return shape_of(x), target or dtype_of(x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"dtype": self._given_dtype}


@register_operation
class CastOperation(Typed):
    """``keras.ops.cast``; floats are float32, integers int32."""

    def __init__(self, dtype: Any, **kwargs: Any) -> None:
        super().__init__(dtype, **kwargs)

    def lower(self, plan: Lowering, x: Any, dtype: Any = None) -> Flow:  # type: ignore[override]
        return self.result(operand(plan, x, self.describe(x, dtype)[1]), x, dtype)


@register_operation
class ConvertToTensorOperation(Typed):
    """``keras.ops.convert_to_tensor``, which Keras leaves in graphs where it computes masks."""

    ignored_config: ClassVar = {
        "sparse": "inputs here are dense",
        "ragged": "inputs here are dense",
    }

    def lower(self, plan: Lowering, x: Any, dtype: Any = None) -> Flow:  # type: ignore[override]
        return self.result(operand(plan, x, self.describe(x, dtype)[1]), x, dtype)


@register_operation
class OnesLikeOperation(Typed):
    """``keras.ops.ones_like``."""

    def lower(self, plan: Lowering, x: Any, dtype: Any = None) -> Flow:  # type: ignore[override]
        return self.result(plan.ops.ones_like(x.value, self.describe(x, dtype)[1]), x, dtype)


@register_operation
class ZerosLikeOperation(Typed):
    """``keras.ops.zeros_like``."""

    def lower(self, plan: Lowering, x: Any, dtype: Any = None) -> Flow:  # type: ignore[override]
        # Not 0 * x, which is NaN where x is not finite.
        ones = plan.ops.ones_like(x.value, "bool")
        return self.result(plan.ops.cast(plan.ops.logical_not(ones), self.describe(x, dtype)[1]), x, dtype)


# ------------------------------------------------------------------------------ reductions


class Reduction(Operation):
    """Base of reductions over axes other than the batch axis."""

    kind: ClassVar[str]
    computes: ClassVar[str | None] = None

    def __init__(self, axis: Any = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if axis is None:
            raise ConfigError("axis", axis, "a reduction over the batch is not supported; name the axes")
        items = axis if isinstance(axis, list | tuple) else [axis]
        self.axis = [positive_int("axis", item, minimum=-8, maximum=7) for item in items]
        if not self.axis or len(self.axis) > 7 or 0 in self.axis:
            raise ConfigError("axis", axis, "expected axes other than the batch axis")
        self.keepdims = flag("keepdims", keepdims)

    def _axes(self, x: Any) -> list[int]:
        rank = len(shape_of(x))
        axes = sorted({self.axis_of(axis, rank) for axis in self.axis})
        if len(axes) != len(self.axis):
            raise self.fail(f"axes {self.axis} are not different")
        return axes

    def computed_dtype(self, x: Any) -> str:
        """The dtype of the computation and the result."""
        if self.computes is not None:
            return self.computes
        return "float32" if dtype_of(x) == "float32" else "int32"

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return axis_obstacle(flows[0], self._axes(flows[0]))

    def describe(self, x: Any) -> Described:
        axes, shape = self._axes(x), shape_of(x)
        if self.keepdims:
            kept: Shape = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
        else:
            kept = tuple(size for axis, size in enumerate(shape) if axis not in axes)
        return kept, self.computed_dtype(x)

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        source = operand(plan, x, self.computed_dtype(x))
        value = plan.ops.reduce(source, kind=self.kind, axes=self._axes(x), keepdims=self.keepdims)
        return self.result(value, x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": self.axis, "keepdims": self.keepdims}


@register_operation
class AnyOperation(Reduction):
    """``keras.ops.any``."""

    kind: ClassVar = "any"
    computes: ClassVar = "bool"


@register_operation
class AllOperation(Reduction):
    """``keras.ops.all``."""

    kind: ClassVar = "all"
    computes: ClassVar = "bool"


@register_operation
class MeanOperation(Reduction):
    """``keras.ops.mean``."""

    kind: ClassVar = "mean"
    computes: ClassVar = "float32"


@register_operation
class SumOperation(Reduction):
    """``keras.ops.sum``."""

    kind: ClassVar = "sum"


class Extreme(Reduction):
    """Base of max and min, with Keras's option ``initial``."""

    combine: ClassVar[str]

    def __init__(
        self, axis: Any = None, keepdims: bool = False, initial: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(axis, keepdims, **kwargs)
        self.initial = None if initial is None else number("initial", initial)

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        found = super().lower(plan, x)
        if self.initial is None:
            return found
        start = plan.ops.constant(np.asarray(self.initial).astype(found.dtype))
        return found.derive(plan.ops.binary(self.combine, found.value, start), found.shape, found.dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"initial": self.initial}


@register_operation
class MaxOperation(Extreme):
    """``keras.ops.max``."""

    kind: ClassVar = "max"
    combine: ClassVar = "maximum"


@register_operation
class MinOperation(Extreme):
    """``keras.ops.min``."""

    kind: ClassVar = "min"
    combine: ClassVar = "minimum"


@register_operation
class AmaxOperation(Reduction):
    """``keras.ops.amax``."""

    kind: ClassVar = "max"


@register_operation
class AminOperation(Reduction):
    """``keras.ops.amin``."""

    kind: ClassVar = "min"


# -------------------------------------------------------------------------------- movement


@register_operation
class ExpandDimsOperation(Operation):
    """``keras.ops.expand_dims``; the new axis may not come before the batch axis."""

    def __init__(self, axis: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        items = axis if isinstance(axis, list | tuple) else [axis]
        if len(items) != 1:
            raise ConfigError("axis", axis, "one axis is supported")
        self.axis = positive_int("axis", items[0], minimum=-8, maximum=7)

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return axis_obstacle(flows[0], [self.axis], added=1)

    def describe(self, x: Any) -> Described:
        shape = shape_of(x)
        axis = self.axis_of(self.axis, len(shape) + 1)
        return (*shape[:axis], 1, *shape[axis:]), dtype_of(x)

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        return self.result(plan.ops.expand_dims(x.value, self.axis_of(self.axis, len(x.shape) + 1)), x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": self.axis}


@register_operation
class SqueezeOperation(Operation):
    """``keras.ops.squeeze``; without ``axis`` all axes of size 1 but the batch axis."""

    def __init__(self, axis: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        items = [] if axis is None else axis if isinstance(axis, list | tuple) else [axis]
        self.axis = [positive_int("axis", item, minimum=-8, maximum=7) for item in items]

    def _axes(self, x: Any) -> list[int]:
        shape = shape_of(x)
        if not self.axis:
            return [axis for axis, size in enumerate(shape) if axis and size == 1]
        axes = sorted({self.axis_of(axis, len(shape)) for axis in self.axis})
        if any(shape[axis] not in (1, None) for axis in axes):
            raise self.fail(f"axes {self.axis} of shape {shape} do not all have size 1")
        return axes

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return axis_obstacle(flows[0], self.axis or [1])

    def describe(self, x: Any) -> Described:
        axes = self._axes(x)
        return tuple(size for axis, size in enumerate(shape_of(x)) if axis not in axes), dtype_of(x)

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        value = x.value
        for axis in reversed(self._axes(x)):
            value = plan.ops.squeeze(value, axis)
        return self.result(value, x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": self.axis or None}


class Joining(Operation):
    """Base of operations on a list of tensors."""

    def __init__(self, axis: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = positive_int("axis", axis, minimum=-8, maximum=7)
        if self.axis == 0:
            raise ConfigError("axis", axis, "rows of a batch are never joined")

    def check(self, xs: Any) -> None:
        """Raise ``ValueError`` unless ``xs`` is a list of tensors."""
        if not isinstance(xs, list | tuple) or not xs or not all(is_tensor(x) for x in xs):
            raise self.fail("expected a list of tensors")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": self.axis}


@register_operation
class ConcatenateOperation(Joining):
    """``keras.ops.concatenate``."""

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return axis_obstacle(flows[0], [self.axis])

    def describe(self, xs: Any) -> Described:
        self.check(xs)
        shapes = [shape_of(x) for x in xs]
        rank = len(shapes[0])
        axis = self.axis_of(self.axis, rank)
        result: list[int | None] = []
        for other in range(rank):
            sizes = [shape[other] if len(shape) == rank else -1 for shape in shapes]
            known = set(sizes) - {None}
            if other == axis:
                result.append(None if None in sizes else sum(size for size in sizes if size is not None))
            elif len(known) > 1:
                raise self.fail(f"shapes {shapes} do not fit along axis {self.axis}")
            else:
                result.append(known.pop() if known else None)
        return tuple(result), common_dtype(xs)

    def lower(self, plan: Lowering, xs: Any) -> Flow:  # type: ignore[override]
        self.check(xs)
        dtype = common_dtype(xs)
        axis = self.axis_of(self.axis, len(xs[0].shape))
        return self.result(plan.ops.concatenate([operand(plan, x, dtype) for x in xs], axis=axis), xs)


@register_operation
class StackOperation(Joining):
    """``keras.ops.stack``."""

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return axis_obstacle(flows[0], [self.axis], added=1)

    def describe(self, x: Any) -> Described:
        self.check(x)
        shape = broadcast(self, [shape_of(item) for item in x])
        axis = self.axis_of(self.axis, len(shape) + 1)
        return (*shape[:axis], len(x), *shape[axis:]), common_dtype(x)

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        self.check(x)
        dtype = common_dtype(x)
        axis = self.axis_of(self.axis, len(x[0].shape) + 1)
        values = [plan.ops.expand_dims(operand(plan, item, dtype), axis) for item in x]
        return self.result(plan.ops.concatenate(values, axis=axis), x)


@register_operation
class ReshapeOperation(Operation):
    """``keras.ops.reshape`` of rows: the first size must be the batch's, or -1 where it comes out as such."""

    def __init__(self, newshape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        items = newshape if isinstance(newshape, list | tuple) else [newshape]
        if not 2 <= len(items) <= 8:
            raise ConfigError("newshape", newshape, "expected 2 to 8 sizes, the batch's first")
        self.newshape = tuple(
            None if size is None else positive_int("newshape", size, minimum=-1, maximum=2**28)
            for size in items
        )

    def _row(self, x: Any) -> tuple[int, ...]:
        """The target of a row, at most one -1."""
        shape = shape_of(x)
        first, *rest = self.newshape
        target = [-1 if size is None else size for size in rest]
        elements = None if None in shape[1:] else math.prod(size or 0 for size in shape[1:])
        if first == -1 and (-1 in target or elements is None or math.prod(target) != elements):
            raise self.fail(f"newshape {self.newshape} does not keep the rows of shape {shape} apart")
        if first not in (-1, None, shape[0]) or target.count(-1) > 1:
            raise self.fail(f"newshape {self.newshape} does not keep the batch axis of shape {shape}")
        if elements is not None and -1 in target:
            known = -math.prod(target)
            if not known or elements % known:
                raise self.fail(f"newshape {self.newshape} does not fit shape {shape}")
            target[target.index(-1)] = elements // known
        elif elements is not None and math.prod(target) != elements:
            raise self.fail(f"newshape {self.newshape} does not fit shape {shape}")
        return tuple(target)

    def describe(self, x: Any) -> Described:
        row = self._row(x)
        return (shape_of(x)[0], *(None if size == -1 else size for size in row)), dtype_of(x)

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        return self.result(plan.ops.reshape(x.value, self._row(x)), x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"newshape": self.newshape}


@register_operation
class TransposeOperation(Operation):
    """``keras.ops.transpose`` with ``axes`` that start with the batch axis."""

    def __init__(self, axes: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        items = axes if isinstance(axes, list | tuple) else []
        self.axes = [positive_int("axes", axis, minimum=-8, maximum=7) for axis in items]
        if not self.axes or self.axes[0] != 0:
            raise ConfigError("axes", axes, "expected all axes, the batch axis first")

    def _permutation(self, rank: int) -> list[int]:
        axes = [axis + rank if axis < 0 else axis for axis in self.axes]
        if sorted(axes) != list(range(rank)):
            raise self.fail(f"axes {self.axes} are not those of a tensor of rank {rank}")
        return axes

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        keeps_time = self._permutation(len(flows[0].shape))[1:2] == [1]
        return None if keeps_time else "moves the time axis"

    def describe(self, x: Any) -> Described:
        shape = shape_of(x)
        return tuple(shape[axis] for axis in self._permutation(len(shape))), dtype_of(x)

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        return self.result(plan.ops.transpose(x.value, self._permutation(len(x.shape))), x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axes": self.axes}


@register_operation
class SwapaxesOperation(Operation):
    """``keras.ops.swapaxes`` of axes other than the batch axis."""

    def __init__(self, axis1: int, axis2: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis1 = positive_int("axis1", axis1, minimum=-8, maximum=7)
        self.axis2 = positive_int("axis2", axis2, minimum=-8, maximum=7)

    def _permutation(self, rank: int) -> list[int]:
        first, second = self.axis_of(self.axis1, rank), self.axis_of(self.axis2, rank)
        swapped = {first: second, second: first}
        return [swapped.get(axis, axis) for axis in range(rank)]

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        keeps_time = self._permutation(len(flows[0].shape))[1:2] == [1]
        return None if keeps_time else "moves the time axis"

    def describe(self, x: Any) -> Described:
        shape = shape_of(x)
        return tuple(shape[axis] for axis in self._permutation(len(shape))), dtype_of(x)

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        return self.result(plan.ops.transpose(x.value, self._permutation(len(x.shape))), x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis1": self.axis1, "axis2": self.axis2}


@register_operation
class FlipOperation(Operation):
    """``keras.ops.flip`` along axes other than the batch axis."""

    def __init__(self, axis: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        items = [] if axis is None else axis if isinstance(axis, list | tuple) else [axis]
        self.axis = [positive_int("axis", item, minimum=-8, maximum=7) for item in items]
        if not self.axis or 0 in self.axis:
            raise ConfigError("axis", axis, "expected axes other than the batch axis")

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return axis_obstacle(flows[0], self.axis)

    def describe(self, x: Any) -> Described:
        return shape_of(x), dtype_of(x)

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        value = x.value
        for axis in {self.axis_of(axis, len(x.shape)) for axis in self.axis}:
            value = plan.ops.slice(value, axis=axis, start=None, stop=None, step=-1)
        return self.result(value, x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": self.axis}


@register_operation
class TileOperation(Operation):
    """``keras.ops.tile``; the batch axis once."""

    def __init__(self, repeats: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        items = repeats if isinstance(repeats, list | tuple) else [repeats]
        self.repeats = [positive_int("repeats", item, maximum=MAX_TILES) for item in items]
        if len(self.repeats) > 8:
            raise ConfigError("repeats", repeats, "expected at most 8 integers")

    def _counts(self, rank: int) -> list[int]:
        counts = [1] * (rank - len(self.repeats)) + self.repeats
        if len(counts) != rank or counts[0] != 1:
            raise self.fail(f"repeats {self.repeats} repeat the batch or add axes, which is not supported")
        return counts

    def describe(self, x: Any) -> Described:
        shape = shape_of(x)
        counts = self._counts(len(shape))
        return (
            tuple(None if size is None else size * count for size, count in zip(shape, counts, strict=True)),
            dtype_of(x),
        )

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        value = x.value
        for axis, count in enumerate(self._counts(len(x.shape))):
            if count > 1:
                value = plan.ops.concatenate([value] * count, axis=axis)
        return self.result(value, x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"repeats": self.repeats}


@register_operation
class RepeatOperation(Operation):
    """``keras.ops.repeat`` of every element along an axis other than the batch axis."""

    def __init__(self, repeats: Any, axis: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repeats = positive_int("repeats", repeats, maximum=MAX_EXTENT)
        if axis is None:
            raise ConfigError("axis", axis, "the batch cannot be flattened; name an axis")
        self.axis = positive_int("axis", axis, minimum=-8, maximum=7)

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return axis_obstacle(flows[0], [self.axis])

    def describe(self, x: Any) -> Described:
        shape = shape_of(x)
        axis = self.axis_of(self.axis, len(shape))
        size = shape[axis]
        repeated = None if size is None else size * self.repeats
        return (*shape[:axis], repeated, *shape[axis + 1 :]), dtype_of(x)

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        axis = self.axis_of(self.axis, len(x.shape))
        return self.result(plan.ops.repeat(x.value, axis=axis, count=self.repeats), x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"repeats": self.repeats, "axis": self.axis}


@register_operation
class GetItemOperation(Operation):
    """``x[key]`` with integers, slices, ``...`` and ``None``; the whole batch stays."""

    def _steps(self, x: Any, key: Any) -> list[Any]:
        """The index of every axis of ``x``, and None where an axis is added."""
        if isinstance(key, np.ndarray):
            key = [int(item) for item in key.ravel()] if key.dtype.kind in "iu" else [key]
        items = list(key) if isinstance(key, list | tuple) else [key]
        rank = len(shape_of(x))
        indexed = [item for item in items if item is not None and item is not Ellipsis]
        for item in indexed:
            if isinstance(item, bool) or not isinstance(item, int | np.integer | slice):
                raise self.fail(f"index {item!r} is not supported: expected integers and slices")
        ellipses = sum(item is Ellipsis for item in items)
        if ellipses > 1 or len(indexed) > rank:
            raise self.fail(f"index {key!r} does not fit a tensor of rank {rank}")
        if not ellipses:
            items.append(Ellipsis)
        at = next(index for index, item in enumerate(items) if item is Ellipsis)
        filled = [*items[:at], *[slice(None)] * (rank - len(indexed)), *items[at + 1 :]]
        if filled[0] != slice(None):
            raise self.fail(f"index {key!r} does not keep the batch axis")
        return filled

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        keeps_time = self._steps(*args, **kwargs)[1:2] == [slice(None)]
        return None if keeps_time else "takes some of the timesteps"

    def describe(self, x: Any, key: Any) -> Described:
        result: list[int | None] = []
        sizes = iter(shape_of(x))
        for item in self._steps(x, key):
            if item is None:
                result.append(1)
                continue
            size = next(sizes)
            if isinstance(item, slice):
                result.append(_sliced(size, item))
            elif size is not None and not -size <= item < size:
                raise self.fail(f"index {item} is out of range for size {size}")
        return tuple(result), dtype_of(x)

    def lower(self, plan: Lowering, x: Any, key: Any) -> Flow:  # type: ignore[override]
        value, axis = x.value, 0
        for item in self._steps(x, key):
            if item is None:
                value = plan.ops.expand_dims(value, axis)
            elif isinstance(item, slice):
                if item != slice(None):
                    step = 1 if item.step is None else int(item.step)
                    value = plan.ops.slice(value, axis=axis, start=item.start, stop=item.stop, step=step)
            else:
                index = int(item)
                stop = None if index == -1 else index + 1
                value = plan.ops.squeeze(plan.ops.slice(value, axis=axis, start=index, stop=stop), axis)
                continue
            axis += 1
        return self.result(value, x, key)


def _sliced(size: int | None, item: slice) -> int | None:
    if item == slice(None):
        return size
    return None if size is None else len(range(*item.indices(size)))
