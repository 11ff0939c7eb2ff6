# SPDX-License-Identifier: MIT
"""Normalisation by the size of vectors alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from unrolled import initializers
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.engine.variables import Variable
from unrolled.layers.base import Layer
from unrolled.layers.config_values import not_negative
from unrolled.layers.normalization import axis_config, feature_axes, resolved_axes, time_obstacle
from unrolled.layers.registry import register


@register
class RMSNormalization(Layer):
    """scale x / sqrt(mean(x^2) + epsilon), the mean over ``axis`` of every row.

    Source: keras 3.15 ``layers/normalization/rms_normalization.py``. The shape stays; the mask ends, as
    Keras's layer does not declare that it supports one.

    Parameters
    ----------
    axis : int or list of int
        The axes that are normalised over.
    epsilon : float
        Added to the mean square.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.RMSNormalization(epsilon=0.0)(np.array([[2.0, -2.0]])).tolist()
    [[1.0, -1.0]]
    """

    mask_rule: ClassVar = "ends"
    keras_versions: ClassVar = "3.9 on"
    min_rank: ClassVar = 2

    def __init__(self, axis: object = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = feature_axes("axis", axis)
        self.epsilon = not_negative("epsilon", epsilon)
        self.scale: Variable | None = None

    def find_stream_obstacle(self, x: Flow) -> str | None:
        return time_obstacle(self.axis, x)

    def build_weights(self, input_shape: Shape) -> None:
        resolved_axes(self, self.axis, input_shape)
        shape = [self.expect_size(input_shape, axis) for axis in self.axis]
        self._check_scale(shape, input_shape)
        self.scale = self.add_weight("scale", shape, initializers.Ones())

    def _check_scale(self, scale: Sequence[int], shape: Sequence[int | None]) -> None:
        """Raise ``ValueError`` where Keras's product with the scale as it is does not broadcast."""
        axes = resolved_axes(self, self.axis, shape)
        are_last = axes[0] == len(shape) - len(axes)
        if not are_last and any(
            have not in (1, want) for have, want in zip(scale[::-1], shape[::-1], strict=False)
        ):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): a scale of shape {tuple(scale)} does not broadcast "
                f"to the last axes of {tuple(shape)}; Keras fails here too"
            )

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        x = plan.as_float(x)
        axes = resolved_axes(self, self.axis, x.shape)
        sizes = {axis % len(x.shape): self._expected_sizes[axis] for axis in self.axis}
        scale = plan.packed(self.scale)
        are_last = axes[0] == len(x.shape) - len(axes)
        value = plan.ops.layer_normalization(
            x.value,
            axes=axes,
            gamma=scale.reshape([sizes[axis] for axis in axes]) if are_last else None,
            beta=None,
            epsilon=self.epsilon,
            root_mean_square=True,
        )
        if not are_last:
            # Keras multiplies by the scale as it is, which broadcasts along the last axes instead of its own.
            self._check_scale(scale.shape, x.shape)
            value = plan.ops.binary("multiply", value, plan.ops.constant(scale))
        return Flow(value, x.shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": axis_config(self.axis), "epsilon": self.epsilon}


@register
class UnitNormalization(Layer):
    """x divided by its Euclidean length over ``axis``.

    Source: keras 3.15 ``layers/normalization/unit_normalization.py``. The shape stays; the mask passes
    through.

    Parameters
    ----------
    axis : int or list of int
        The axes whose elements form one vector.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> print(layers.UnitNormalization()(np.array([[3.0, 4.0]])).round(4))
    [[0.6 0.8]]
    """

    keras_versions: ClassVar = "2, 3"
    needs_timesteps: ClassVar = True
    min_rank: ClassVar = 2

    def __init__(self, axis: object = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = feature_axes("axis", axis)

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        resolved_axes(self, self.axis, input_shape)

    def find_stream_obstacle(self, x: Flow) -> str | None:
        return time_obstacle(self.axis, x)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        x = plan.as_float(x)
        axes = resolved_axes(self, self.axis, x.shape)
        return x.derive(unit_length(plan, x, axes, self), x.shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": axis_config(self.axis)}


# Keeps a vector of zeros at zero; vectors shorter than its root are not brought to unit length, as in Keras.
UNIT_EPSILON = 1e-24


def unit_length(plan: Lowering, x: Flow, axes: Sequence[int], layer: Layer) -> int:
    """``x`` divided by its Euclidean length over ``axes``: by the root of the mean square, then of the count."""
    sizes = []
    for axis in axes:
        size = x.shape[axis]
        if size is None:
            raise ValueError(
                f"layer {layer.name!r} ({layer.class_name}): the size of axis {axis} must be known to bring "
                f"vectors to unit length, got shape {x.shape}"
            )
        sizes.append(size)
    count = max(1, math.prod(sizes))
    return plan.ops.layer_normalization(
        x.value,
        axes=list(axes),
        gamma=np.full(sizes, 1.0 / math.sqrt(count), np.float32),
        beta=None,
        epsilon=UNIT_EPSILON / count,
        root_mean_square=True,
    )
