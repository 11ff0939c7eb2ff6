# SPDX-License-Identifier: MIT
"""Operations of graphs on one argument that keep its shape: signs, squares, dtypes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from unrolled.engine.lowering import Flow, Lowering
from unrolled.layers.config_values import number
from unrolled.layers.core import tensor_dtype
from unrolled.layers.ops.base import (
    Described,
    Elementwise,
    dtype_of,
    operand,
    shape_of,
)
from unrolled.layers.registry import register_operation


class Unary(Elementwise):
    """Base of operations of one argument that keep its shape."""

    # The dtype of the computation and the result; None: the argument's.
    computes: ClassVar[str | None] = "float32"

    def describe(self, x: Any) -> Described:
        return shape_of(x), self.computes or dtype_of(x)

    def apply(self, plan: Lowering, x: Flow) -> int:
        """The result of ``x``, which has the dtype of the computation."""
        raise NotImplementedError

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        dtype = self.computes or dtype_of(x)
        return self.result(self.apply(plan, Flow(operand(plan, x, dtype), shape_of(x), dtype)), x)


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

    keras_module: ClassVar = "ops.core"
    computes: ClassVar = None

    def apply(self, plan: Lowering, x: Flow) -> int:
        return x.value


@register_operation
class IdentityOperation(StopGradientOperation):
    """``tf.identity``, which Keras 3 does not have."""

    written_as: ClassVar = ("keras.src.ops.core", "ConvertToTensor")


class Typed(Elementwise):
    """Base of operations with a ``dtype`` option, that of the argument where absent."""

    def __init__(self, dtype: object = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._given_dtype = None if dtype is None else str(getattr(dtype, "name", dtype))
        self._target = None if dtype is None else tensor_dtype("dtype", dtype)

    def describe(self, x: Any, dtype: object = None) -> Described:
        target = self._target if dtype is None else tensor_dtype("dtype", dtype)
        return shape_of(x), target or dtype_of(x)

    def lower(self, plan: Lowering, x: Any, dtype: object = None) -> Flow:  # type: ignore[override]
        return self.result(operand(plan, x, self.describe(x, dtype)[1]), x, dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"dtype": self._given_dtype}


@register_operation
class CastOperation(Typed):
    """``keras.ops.cast``; floats are float32, integers int32."""

    keras_module: ClassVar = "ops.core"

    def __init__(self, dtype: object, **kwargs: Any) -> None:
        super().__init__(dtype, **kwargs)


@register_operation
class ConvertToTensorOperation(Typed):
    """``keras.ops.convert_to_tensor``, which Keras leaves in graphs where it computes masks."""

    keras_module: ClassVar = "ops.core"
    ignored_config: ClassVar = {
        "sparse": "inputs here are dense",
        "ragged": "inputs here are dense",
    }


@register_operation
class OnesLikeOperation(Typed):
    """``keras.ops.ones_like``."""

    def lower(self, plan: Lowering, x: Any, dtype: object = None) -> Flow:  # type: ignore[override]
        return self.result(plan.ops.ones_like(x.value, self.describe(x, dtype)[1]), x, dtype)


@register_operation
class ZerosLikeOperation(Typed):
    """``keras.ops.zeros_like``."""

    def lower(self, plan: Lowering, x: Any, dtype: object = None) -> Flow:  # type: ignore[override]
        # Not 0 * x, which is NaN where x is not finite.
        ones = plan.ops.ones_like(x.value, "bool")
        return self.result(plan.ops.cast(plan.ops.logical_not(ones), self.describe(x, dtype)[1]), x, dtype)
