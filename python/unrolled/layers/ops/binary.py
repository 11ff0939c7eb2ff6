# SPDX-License-Identifier: MIT
"""Operations of graphs on two or three arguments that broadcast, and products of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from unrolled import activations
from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import Problem, UnsupportedModelError
from unrolled.layers.config_values import flag
from unrolled.layers.ops.base import (
    Described,
    Elementwise,
    Operation,
    broadcast,
    common_dtype,
    is_tensor,
    operand,
    shape_of,
)
from unrolled.layers.registry import register_operation


class Binary(Elementwise):
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
class PowerOperation(Elementwise):
    """``keras.ops.power`` with a whole exponent, by products."""

    exponents: ClassVar = range(1, 9)

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
class WhereOperation(Elementwise):
    """``keras.ops.where(condition, x1, x2)``."""

    def describe(self, condition: Any, x1: Any, x2: Any) -> Described:
        shape = broadcast(self, [shape_of(condition), shape_of(x1), shape_of(x2)])
        return shape, common_dtype([x1, x2])

    def lower(self, plan: Lowering, condition: Any, x1: Any, x2: Any) -> Flow:  # type: ignore[override]
        dtype = common_dtype([x1, x2])
        value = plan.ops.select(
            operand(plan, condition, "bool"), operand(plan, x1, dtype), operand(plan, x2, dtype)
        )
        return self.result(value, condition, x1, x2)
