# SPDX-License-Identifier: MIT
"""Products of two inputs along axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.errors import ConfigError
from unrolled.layers.config_values import flag, positive_int
from unrolled.layers.merging import Merging, batch_size
from unrolled.layers.registry import register
from unrolled.layers.unit_normalization import unit_length


@register
class Dot(Merging):
    """Products of two inputs summed over an axis of each.

    Source: keras 3.15 ``layers/merging/dot.py``. Output: the other axes of the first input, then those of
    the second without its batch; ``(batch, 1)`` where none is left. There is no mask.

    Parameters
    ----------
    axes : int or pair of int
        The axis of each input; not the batch axis.
    normalize : bool
        Bring the vectors along these axes to unit length before: the cosine of the angle.
    **kwargs
        ``name`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Dot(axes=1)([np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])]).tolist()
    [[11.0]]
    """

    mask_rule: ClassVar = "ends"
    input_count: ClassVar = 2
    needs_timesteps: ClassVar = True

    def __init__(self, axes: object, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        pair = list(axes) if isinstance(axes, list | tuple) else [axes, axes]
        if len(pair) != 2:
            raise ConfigError("axes", axes, "expected an integer or two")
        first, second = (positive_int("axes", axis, minimum=-7, maximum=7) for axis in pair)
        if first == 0 or second == 0:
            raise ConfigError("axes", axes, "the batch axis cannot be summed over")
        self.axes = (first, second)
        self._axes_config = axes
        self.normalize = flag("normalize", normalize)

    def _resolved(self, shapes: Sequence[Shape]) -> tuple[int, int]:
        first, second = (
            axis + len(shape) if axis < 0 else axis for axis, shape in zip(self.axes, shapes, strict=True)
        )
        fits = 0 < first < len(shapes[0]) and 0 < second < len(shapes[1])
        if fits:
            sizes = {shapes[0][first], shapes[1][second]} - {None}
            fits = len(sizes) <= 1
        if not fits:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): inputs of shapes {shapes[0]} and {shapes[1]} have "
                f"no common size on axes {self.axes}"
            )
        return first, second

    def compute_output_shape(self, input_shape: Any) -> Any:
        shapes = [tuple(shape) for shape in input_shape]
        first, second = self._resolved(shapes)
        left = [size for axis, size in enumerate(shapes[0]) if axis not in (0, first)]
        right = [size for axis, size in enumerate(shapes[1]) if axis not in (0, second)]
        return (batch_size(shapes), *(left + right or [1]))

    def lower(self, plan: Lowering, x: Any, **kwargs: Any) -> Flow:
        a, b = (plan.as_float(flow) for flow in x)
        shape = self.compute_output_shape([a.shape, b.shape])
        first, second = self._resolved([a.shape, b.shape])
        if self.normalize:
            a = Flow(unit_length(plan, a, [first], self), a.shape)
            b = Flow(unit_length(plan, b, [second], self), b.shape)
        # Rows of the summed axis: [batch, left, summed] . [batch, right, summed]^T
        value = plan.ops.matmul(
            self._as_rows(plan, a, first), self._as_rows(plan, b, second), transpose_b=True
        )
        return Flow(self._unmerge(plan, value, a, b, first, second), shape)

    def _as_rows(self, plan: Lowering, x: Flow, summed: int) -> int:
        """``x`` as ``[batch, others, summed]``."""
        rank = len(x.shape)
        others = [axis for axis in range(1, rank) if axis != summed]
        value = x.value
        if summed != rank - 1:
            value = plan.ops.transpose(value, (0, *others, summed))
        if not others:
            return plan.ops.expand_dims(value, 1)
        if len(others) == 1:
            return value
        size = x.shape[summed]
        if size is None:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): the size of axis {summed} must be known, "
                f"got shape {x.shape}"
            )
        return plan.ops.reshape(value, (-1, size))

    def _unmerge(self, plan: Lowering, value: int, a: Flow, b: Flow, first: int, second: int) -> int:
        """``[batch, left, right]`` with the axes that were merged, or without those that were put in."""
        left = [size for axis, size in enumerate(a.shape) if axis not in (0, first)]
        right = [size for axis, size in enumerate(b.shape) if axis not in (0, second)]
        if len(left) > 1 or len(right) > 1:
            target = left + right
            if target.count(None) > 1:
                raise ValueError(
                    f"layer {self.name!r} ({self.class_name}): at most one axis of the output may be of "
                    f"unknown size, got inputs of shapes {a.shape} and {b.shape}"
                )
            return plan.ops.reshape(value, [-1 if size is None else size for size in target])
        if not left:
            return plan.ops.squeeze(value, 1)
        return value if right else plan.ops.squeeze(value, 2)

    def get_config(self) -> dict[str, Any]:
        axes = self.axes[0] if isinstance(self._axes_config, int) else list(self.axes)
        return super().get_config() | {"axes": axes, "normalize": self.normalize}
