# SPDX-License-Identifier: MIT
"""Numbers scaled in the model: Rescaling, Normalization."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unrolled import initializers
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.engine.variables import Variable
from unrolled.errors import ConfigError
from unrolled.initializers import LARGEST_FLOAT
from unrolled.layers.base import Layer
from unrolled.layers.config_values import flag, int_list
from unrolled.layers.normalization import axis_config
from unrolled.layers.registry import register
from unrolled.spec import LayerFacts

MAX_CONFIG_NUMBERS = 2**20


def numbers(key: str, value: Any) -> NDArray[np.float32]:
    """``value``, a number or a nested list of them, as finite float32, or a ``ConfigError``."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(key, value, "expected a number or a list of numbers") from None
    if array.dtype.kind != "f" or array.size > MAX_CONFIG_NUMBERS or array.ndim > 7:
        raise ConfigError(key, value, "expected a number or a list of numbers")
    if not (np.abs(array) <= LARGEST_FLOAT).all():
        raise ConfigError(key, value, "expected finite numbers of float32")
    return array.astype(np.float32)


def numbers_config(array: NDArray[np.float32]) -> Any:
    """A JSON value of ``array``."""
    return array.tolist()


@register
class Rescaling(Layer):
    """``x * scale + offset``.

    Source: keras 3.15 ``layers/preprocessing/rescaling.py``. The shape stays. The mask passes through in
    Keras 3 and ends in Keras 2.

    Parameters
    ----------
    scale, offset : float or list
        A number, or one for each channel (they broadcast to the last axes).
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Rescaling(0.5, offset=1.0)(np.array([[2.0, 4.0]])).tolist()
    [[2.0, 3.0]]
    """

    mask_rule: ClassVar = "Keras 3: passes; before: ends"
    old_mask_rule: ClassVar = "drops the mask; Keras 3 passes it on"
    keras_versions: ClassVar = "2, 3"

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = numbers("scale", scale)
        self.offset = numbers("offset", offset)

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        for key, array in (("scale", self.scale), ("offset", self.offset)):
            trailing = tuple(input_shape)[1:][-array.ndim :] if array.ndim else ()
            fits = len(trailing) == array.ndim and all(
                want in (1, got) or got is None for want, got in zip(array.shape, trailing, strict=True)
            )
            if not fits:
                raise ValueError(
                    f"layer {self.name!r} ({self.class_name}): {key} of shape {array.shape} does not fit "
                    f"an input of shape {tuple(input_shape)}"
                )

    def find_stream_obstacle(self, x: Flow) -> str | None:
        inner = len(x.shape) - 2
        by_time = any(array.ndim > inner and array.shape[0] != 1 for array in (self.scale, self.offset))
        return "has a scale or offset for every timestep" if by_time else None

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        x = plan.as_float(x)
        value = plan.ops.binary("multiply", x.value, plan.ops.constant(self.scale))
        value = plan.ops.binary("add", value, plan.ops.constant(self.offset))
        return _keep_mask(plan, self, x.derive(value, x.shape))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "scale": numbers_config(self.scale),
            "offset": numbers_config(self.offset),
        }


def _keep_mask(plan: Lowering, layer: Layer, x: Flow) -> Flow:
    return x if plan.semantics_of(layer).rescaling_keeps_mask else x.with_mask(None)


@register
class Normalization(Layer):
    """``(x - mean) / max(sqrt(variance), 1e-7)``, or its inverse.

    Source: keras 3.15 ``layers/preprocessing/normalization.py``. The shape stays. The mask passes through
    in Keras 3 and ends in Keras 2. Weights: mean, variance and count, unless the config gives the first two.

    Parameters
    ----------
    axis : int, list of int, or None
        The axes that have a mean of their own for each index; None: one mean for all.
    mean, variance : float or list, optional
        Given both, or neither (then they are weights).
    invert : bool
        Compute ``mean + x * max(sqrt(variance), 1e-7)``.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Normalization(mean=[1.0, 2.0], variance=[4.0, 1.0])(np.array([[3.0, 2.0]])).tolist()
    [[1.0, 0.0]]
    """

    mask_rule: ClassVar = "Keras 3: passes; before: ends"
    old_mask_rule: ClassVar = "drops the mask; Keras 3 passes it on"
    keras_versions: ClassVar = "2, 3"
    facts: ClassVar = LayerFacts(unused_arrays={2: ()})

    def __init__(
        self,
        axis: object = -1,
        mean: object = None,
        variance: object = None,
        invert: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis = [] if axis is None else int_list("axis", axis, -8, 7)
        if (mean is None) != (variance is None):
            raise ConfigError("mean", mean, "mean and variance must both be given, or neither")
        self.input_mean = None if mean is None else numbers("mean", mean)
        self.input_variance = None if variance is None else numbers("variance", variance)
        self.invert = flag("invert", invert)
        if self.input_mean is not None and self.input_variance is not None:
            if self.input_variance.shape != self.input_mean.shape:
                raise ConfigError("variance", variance, "expected the shape of mean")
            if (self.input_variance < 0).any():
                raise ConfigError("variance", variance, "expected numbers from 0 on")
        self._kept: list[int] = []
        self.mean: Variable | None = None
        self.variance: Variable | None = None
        self.count: Variable | None = None

    def build_weights(self, input_shape: Shape) -> None:
        rank = len(input_shape)
        sizes = {
            axis % rank: self.expect_size(input_shape, axis) for axis in self.axis if -rank <= axis < rank
        }
        if len(sizes) != len(self.axis):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): axes {self.axis} are not different axes of "
                f"shape {tuple(input_shape)}"
            )
        self._kept = sorted(sizes)
        shape = [sizes[axis] for axis in self._kept]
        if self.input_mean is None:
            self.mean = self.add_weight("mean", shape, initializers.Zeros(), trainable=False)
            self.variance = self.add_weight("variance", shape, initializers.Ones(), trainable=False)
            self.count = self.add_weight("count", (), initializers.Zeros(), trainable=False)
        else:
            self._broadcast(self.input_mean, rank, sizes)

    def _broadcast(
        self, array: NDArray[np.float32], rank: int, sizes: dict[int, int] | None = None
    ) -> NDArray[np.float32]:
        """``array`` with an axis of its own for every kept axis of the input, others of size 1."""
        shape = [1] * rank
        fits = array.ndim <= len(self._kept)
        for size, axis in zip(array.shape[::-1], self._kept[::-1], strict=False):
            shape[axis] = size
            fits = fits and (sizes is None or size in (1, sizes[axis]))
        if not fits or (rank and shape[0] != 1):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): a mean of shape {array.shape} does not fit "
                f"axes {self._kept} of the input"
            )
        return array.reshape(shape[1:])

    def find_stream_obstacle(self, x: Flow) -> str | None:
        return "has a mean for every timestep" if 1 in self._kept else None

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        x = plan.as_float(x)
        rank = len(x.shape)
        mean = plan.packed(self.mean) if self.input_mean is None else self.input_mean
        variance = plan.packed(self.variance) if self.input_variance is None else self.input_variance
        deviation = np.maximum(np.sqrt(variance), np.float32(1e-7))
        mean_value = plan.ops.constant(self._broadcast(mean, rank))
        deviation_value = plan.ops.constant(self._broadcast(deviation, rank))
        if self.invert:
            value = plan.ops.binary("multiply", x.value, deviation_value)
            value = plan.ops.binary("add", mean_value, value)
        else:
            value = plan.ops.binary("subtract", x.value, mean_value)
            value = plan.ops.binary("divide", value, deviation_value)
        return _keep_mask(plan, self, x.derive(value, x.shape))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "axis": axis_config(self.axis) if self.axis else None,
            "invert": self.invert,
            "mean": None if self.input_mean is None else numbers_config(self.input_mean),
            "variance": None if self.input_variance is None else numbers_config(self.input_variance),
        }
