# SPDX-License-Identifier: MIT
"""Operations of graphs that join tensors, or one tensor with itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import ConfigError
from unrolled.layers.config_values import positive_int
from unrolled.layers.convolution.spatial import MAX_EXTENT
from unrolled.layers.ops.base import (
    Described,
    Operation,
    axis_obstacle,
    broadcast,
    common_dtype,
    dtype_of,
    is_tensor,
    operand,
    shape_of,
)
from unrolled.layers.registry import register_operation

# A tile is one value joined with itself so often.
MAX_TILES = 2**12


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
class TileOperation(Operation):
    """``keras.ops.tile``; the batch axis once."""

    def __init__(self, repeats: object, **kwargs: Any) -> None:
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

    def __init__(self, repeats: object, axis: int | None = None, **kwargs: Any) -> None:
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
