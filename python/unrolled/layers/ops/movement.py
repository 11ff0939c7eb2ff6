# SPDX-License-Identifier: MIT
"""Operations of graphs that move elements: axes added, taken away, exchanged and turned, sizes split, parts taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import ConfigError
from unrolled.layers.config_values import positive_int
from unrolled.layers.ops.base import (
    Described,
    Operation,
    axis_obstacle,
    dtype_of,
    shape_of,
)
from unrolled.layers.registry import register_operation


@register_operation
class ExpandDimsOperation(Operation):
    """``keras.ops.expand_dims``; the new axis may not come before the batch axis."""

    def __init__(self, axis: object, **kwargs: Any) -> None:
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

    def __init__(self, axis: object = None, **kwargs: Any) -> None:
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


@register_operation
class ReshapeOperation(Operation):
    """``keras.ops.reshape`` of rows: the first size must be the batch's, or -1 where it comes out as such."""

    def __init__(self, newshape: object, **kwargs: Any) -> None:
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

    def in_keras_3(self, serialized: dict[str, Any]) -> dict[str, Any]:
        """Without None, which stands for one size that Keras 3 wants said."""
        rows = {node.outputs.shape[1:] for node in self.nodes}
        if None in self.newshape and len(rows) == 1 and None not in (row := rows.pop()):
            return serialized | {"config": serialized["config"] | {"newshape": (-1, *row)}}
        return serialized

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"newshape": self.newshape}


class Permutation(Operation):
    """Base of operations that exchange axes other than the batch axis."""

    def order(self, rank: int) -> list[int]:
        """The axes of a tensor of ``rank`` in their new order."""
        raise NotImplementedError

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        keeps_time = self.order(len(flows[0].shape))[1:2] == [1]
        return None if keeps_time else "moves the time axis"

    def describe(self, x: Any) -> Described:
        shape = shape_of(x)
        return tuple(shape[axis] for axis in self.order(len(shape))), dtype_of(x)

    def lower(self, plan: Lowering, x: Any) -> Flow:  # type: ignore[override]
        return self.result(plan.ops.transpose(x.value, self.order(len(x.shape))), x)


@register_operation
class TransposeOperation(Permutation):
    """``keras.ops.transpose`` with ``axes`` that start with the batch axis."""

    def __init__(self, axes: object = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        items = axes if isinstance(axes, list | tuple) else []
        self.axes = [positive_int("axes", axis, minimum=-8, maximum=7) for axis in items]
        if not self.axes or self.axes[0] != 0:
            raise ConfigError("axes", axes, "expected all axes, the batch axis first")

    def order(self, rank: int) -> list[int]:
        axes = [axis + rank if axis < 0 else axis for axis in self.axes]
        if sorted(axes) != list(range(rank)):
            raise self.fail(f"axes {self.axes} are not those of a tensor of rank {rank}")
        return axes

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axes": self.axes}


@register_operation
class SwapaxesOperation(Permutation):
    """``keras.ops.swapaxes`` of axes other than the batch axis."""

    def __init__(self, axis1: int, axis2: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis1 = positive_int("axis1", axis1, minimum=-8, maximum=7)
        self.axis2 = positive_int("axis2", axis2, minimum=-8, maximum=7)

    def order(self, rank: int) -> list[int]:
        first, second = self.axis_of(self.axis1, rank), self.axis_of(self.axis2, rank)
        swapped = {first: second, second: first}
        return [swapped.get(axis, axis) for axis in range(rank)]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis1": self.axis1, "axis2": self.axis2}


@register_operation
class FlipOperation(Operation):
    """``keras.ops.flip`` along axes other than the batch axis."""

    def __init__(self, axis: object = None, **kwargs: Any) -> None:
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
