# SPDX-License-Identifier: MIT
"""Reductions in graphs, over axes other than the batch axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.errors import ConfigError
from unrolled.layers.config_values import flag, number, positive_int
from unrolled.layers.ops.base import (
    Described,
    Operation,
    axis_obstacle,
    dtype_of,
    operand,
    shape_of,
)
from unrolled.layers.registry import register_operation


class Reduction(Operation):
    """Base of reductions over axes other than the batch axis."""

    kind: ClassVar[str]
    computes: ClassVar[str | None] = None

    def __init__(self, axis: object = None, keepdims: bool = False, **kwargs: Any) -> None:
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


class Extreme(Reduction):
    """Base of max and min, with Keras's option ``initial``."""

    combine: ClassVar[str]

    def __init__(
        self, axis: object = None, keepdims: bool = False, initial: float | None = None, **kwargs: Any
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


def _reduction(name: str, base: type[Reduction], kind: str, **attributes: str) -> None:
    attributes |= {"kind": kind, "__doc__": f"``keras.ops.{name.lower()}``.", "__module__": __name__}
    # A name of this module, as pickles look the class up.
    made = register_operation(type(f"{name}Operation", (base,), attributes))
    globals()[made.__name__] = made


_reduction("Any", Reduction, "any", computes="bool")
_reduction("All", Reduction, "all", computes="bool")
_reduction("Mean", Reduction, "mean", computes="float32")
_reduction("Sum", Reduction, "sum")
_reduction("Max", Extreme, "max", combine="maximum")
_reduction("Min", Extreme, "min", combine="minimum")
_reduction("Amax", Reduction, "max")
_reduction("Amin", Reduction, "min")
