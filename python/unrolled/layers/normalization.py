# SPDX-License-Identifier: MIT
"""Normalisation layers with the statistics and scales that training left. All pass the mask on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unrolled import initializers
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.engine.variables import Variable
from unrolled.errors import ConfigError
from unrolled.layers.base import NORMALISES_BY_THE_BATCH, Layer
from unrolled.layers.config_values import flag, int_list, not_negative, positive_int
from unrolled.layers.registry import register

SCALE_IGNORED = {
    "gamma_regularizer": "adds to the training loss only",
    "beta_regularizer": "adds to the training loss only",
    "gamma_constraint": "applied after a training step only",
    "beta_constraint": "applied after a training step only",
}


class ScaleAndCenter(Layer):
    """Base of those with a learnt scale gamma and offset beta.

    Parameters
    ----------
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there is a beta, a gamma.
    beta_initializer, gamma_initializer
        Where fresh weights start.
    """

    ignored_config: ClassVar = SCALE_IGNORED
    min_rank: ClassVar = 2

    def __init__(
        self,
        *,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: object = "zeros",
        gamma_initializer: object = "ones",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.epsilon = not_negative("epsilon", epsilon)
        self.center = flag("center", center)
        self.scale = flag("scale", scale)
        self.beta_initializer = initializers.get(beta_initializer, "beta_initializer")
        self.gamma_initializer = initializers.get(gamma_initializer, "gamma_initializer")
        self.gamma: Variable | None = None
        self.beta: Variable | None = None

    def add_scale_and_center(self, shape: Sequence[int]) -> None:
        """Create gamma and beta, in this order."""
        if self.scale:
            self.gamma = self.add_weight("gamma", shape, self.gamma_initializer)
        if self.center:
            self.beta = self.add_weight("beta", shape, self.beta_initializer)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
        }


@register
class BatchNormalization(ScaleAndCenter):
    """gamma (x - moving_mean) / sqrt(moving_variance + epsilon) + beta along one axis.

    Source: keras 3.15 ``layers/normalization/batch_normalization.py``. The shape stays; the mask passes
    through. Weights: gamma, beta, moving_mean, moving_variance, each ``(size of axis,)``.

    Parameters
    ----------
    axis : int or list of one int
        The axis of the features.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there is a beta, a gamma.
    beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer
        Where fresh weights start.
    renorm : bool
        Three more variables, which only training uses.
    virtual_batch_size, adjustment : None
        Options of tf.keras that are refused.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.BatchNormalization(epsilon=0.0)(np.array([[1.0, 2.0]])).tolist()
    [[1.0, 2.0]]
    """

    ignored_config: ClassVar = {
        "momentum": "moves the statistics in training only",
        "renorm_clipping": "used in training only",
        "renorm_momentum": "used in training only",
        "synchronized": "gathers statistics in training only",
        "fused": "chooses between equal ways to compute",
        "mode": "Keras 1: modes but 0 are refused by the readers of files",
    }

    def __init__(
        self,
        axis: object = -1,
        *,
        moving_mean_initializer: object = "zeros",
        moving_variance_initializer: object = "ones",
        renorm: bool = False,
        virtual_batch_size: int | None = None,
        adjustment: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        axes = int_list("axis", axis, -8, 7)
        if len(axes) != 1 or axes[0] == 0:
            raise ConfigError("axis", axis, "one axis other than the batch axis is supported")
        self.axis = axes[0]
        self.moving_mean_initializer = initializers.get(moving_mean_initializer, "moving_mean_initializer")
        self.moving_variance_initializer = initializers.get(
            moving_variance_initializer, "moving_variance_initializer"
        )
        self.renorm = flag("renorm", renorm)
        for key, value in (("virtual_batch_size", virtual_batch_size), ("adjustment", adjustment)):
            if value is not None:
                raise ConfigError(key, value, "only null is supported")
        self.moving_mean: Variable | None = None
        self.moving_variance: Variable | None = None

    def build_weights(self, input_shape: Shape) -> None:
        shape = (self.expect_size(input_shape, self.axis),)
        self.add_scale_and_center(shape)
        self.moving_mean = self.add_weight(
            "moving_mean", shape, self.moving_mean_initializer, trainable=False
        )
        self.moving_variance = self.add_weight(
            "moving_variance", shape, self.moving_variance_initializer, trainable=False
        )
        if self.renorm:
            self.add_weight("moving_stddev", shape, initializers.Ones(), trainable=False)
            self.add_weight("renorm_mean", shape, initializers.Zeros(), trainable=False)
            self.add_weight("renorm_stddev", shape, initializers.Ones(), trainable=False)

    @property
    def training_effect(self) -> str | None:
        return NORMALISES_BY_THE_BATCH if self.trainable else None

    def find_stream_obstacle(self, x: Flow) -> str | None:
        return "has statistics for every timestep" if self.axis % len(x.shape) == 1 else None

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        x = plan.as_float(x)
        value = plan.ops.batch_normalization(
            x.value,
            axis=self.axis % len(x.shape),
            mean=plan.packed(self.moving_mean),
            variance=plan.packed(self.moving_variance),
            gamma=plan.weights(self.gamma),
            beta=plan.weights(self.beta),
            epsilon=self.epsilon,
        )
        return x.derive(value, x.shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "axis": self.axis,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
            "renorm": self.renorm,
        }


def feature_axes(key: str, axis: object) -> list[int]:
    """``axis`` of a config as a list of axes other than the batch axis, or a ``ConfigError``."""
    axes = int_list(key, axis, -8, 7)
    if not axes or 0 in axes:
        raise ConfigError(key, axis, "expected at least one axis, and not the batch axis")
    return axes


def resolved_axes(layer: Layer, axes: Sequence[int], shape: Sequence[int | None]) -> list[int]:
    """``axes`` counted from 0, ascending.

    Raises
    ------
    ValueError
        One does not exist in ``shape``, or is named twice.
    """
    rank = len(shape)
    resolved = sorted(axis + rank if axis < 0 else axis for axis in axes)
    if len(set(resolved)) < len(resolved) or not all(0 < axis < rank for axis in resolved):
        raise ValueError(
            f"layer {layer.name!r} ({layer.class_name}): axes {list(axes)} are not different axes of "
            f"shape {tuple(shape)}"
        )
    return resolved


def time_obstacle(axes: Sequence[int], x: Flow) -> str | None:
    """Why a stream cannot be normalised over ``axes`` one timestep after another."""
    over_time = any(axis % len(x.shape) == 1 for axis in axes)
    return "normalises over the time axis" if over_time else None


def axis_config(axes: Sequence[int]) -> Any:
    """Keras's config value of axes: an int where there is one."""
    return axes[0] if len(axes) == 1 else list(axes)


@register
class LayerNormalization(ScaleAndCenter):
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, mean and variance over ``axis`` of every row.

    Source: keras 3.15 ``layers/normalization/layer_normalization.py``. The shape stays; the mask passes
    through. gamma and beta have the shape of the normalised axes.

    Parameters
    ----------
    axis : int or list of int
        The axes that are normalised over.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there is a beta, a gamma.
    rms_scaling : bool
        Deprecated in Keras and refused: it scales by the variance, not by the mean square.
    beta_initializer, gamma_initializer
        Where fresh weights start.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.LayerNormalization(epsilon=0.0)(np.array([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """

    keras_versions: ClassVar = "2, 3"

    def __init__(self, axis: object = -1, *, rms_scaling: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Keras sorts the axes as they stand, negative ones first; the weights have this order.
        self.axis = sorted(feature_axes("axis", axis))
        if flag("rms_scaling", rms_scaling):
            raise ConfigError("rms_scaling", rms_scaling, "use RMSNormalization and export again")

    def find_stream_obstacle(self, x: Flow) -> str | None:
        return time_obstacle(self.axis, x)

    def build_weights(self, input_shape: Shape) -> None:
        resolved_axes(self, self.axis, input_shape)
        self.add_scale_and_center([self.expect_size(input_shape, axis) for axis in self.axis])

    def _packed(self, plan: Lowering, variable: Any, shape: list[int]) -> NDArray[np.float32] | None:
        # Keras reshapes (it does not transpose) a weight whose axes are in another order.
        return None if variable is None else plan.packed(variable).reshape(shape)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        x = plan.as_float(x)
        axes = resolved_axes(self, self.axis, x.shape)
        sizes = {axis % len(x.shape): self._expected_sizes[axis] for axis in self.axis}
        shape = [sizes[axis] for axis in axes]
        value = plan.ops.layer_normalization(
            x.value,
            axes=axes,
            gamma=self._packed(plan, self.gamma, shape),
            beta=self._packed(plan, self.beta, shape),
            epsilon=self.epsilon,
        )
        return x.derive(value, x.shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": axis_config(self.axis)}


@register
class GroupNormalization(ScaleAndCenter):
    """Normalises groups of channels over all axes but the batch.

    Source: keras 3.15 ``layers/normalization/group_normalization.py``. The shape stays; the mask passes
    through. At most one of the other axes may be of unknown size.

    Parameters
    ----------
    groups : int
        How many groups the channels form; -1: every channel its own.
    axis : int
        The axis of the channels.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there is a beta, a gamma.
    beta_initializer, gamma_initializer
        Where fresh weights start.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.GroupNormalization(2, epsilon=0.0)(np.array([[1.0, 3.0, 5.0, 5.5]])).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    keras_versions: ClassVar = "2, 3"
    mask_rule: ClassVar = "Keras 3: passes; before: used, and refused where Keras fails, on nearly every one"
    stream_obstacle: ClassVar = "normalises over the time axis"

    def __init__(self, groups: int = 32, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = groups if groups == -1 else positive_int("groups", groups)
        self.axis = feature_axes("axis", axis)[0]
        if isinstance(axis, list | tuple) and len(axis) != 1:
            raise ConfigError("axis", axis, "one axis is supported")

    def build_weights(self, input_shape: Shape) -> None:
        size = self.expect_size(input_shape, self.axis)
        resolved_axes(self, [self.axis], input_shape)
        if self.groups == -1:
            self.groups = size
        if size % self.groups:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): {size} channels do not form {self.groups} groups"
            )
        self.add_scale_and_center((size,))

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        if x.mask is not None and plan.semantics_of(self).group_normalization_takes_mask:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): its input of shape {x.shape} has a mask, which "
                "tf.keras broadcasts along the wrong axes; Keras fails here too"
            )
        x = plan.as_float(x)
        ops = plan.ops
        rank = len(x.shape)
        (axis,) = resolved_axes(self, [self.axis], x.shape)
        sizes = [None if size is None else int(size) for size in x.shape[1:]]
        if sizes.count(None) > 1:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): at most one axis may be of unknown size, "
                f"got shape {x.shape}"
            )
        target = [-1 if size is None else size for size in sizes]
        channels = target[axis - 1]
        grouped = [*target[: axis - 1], self.groups, channels // self.groups, *target[axis:]]
        value = ops.layer_normalization(
            ops.reshape(x.value, grouped),
            axes=[other for other in range(1, rank + 1) if other != axis],
            gamma=None,
            beta=None,
            epsilon=self.epsilon,
        )
        value = ops.reshape(value, target)
        weight_shape = [channels if other == axis else 1 for other in range(1, rank)]
        if self.gamma is not None:
            gamma = plan.packed(self.gamma).reshape(weight_shape)
            value = ops.binary("multiply", value, ops.constant(gamma))
        if self.beta is not None:
            value = ops.binary("add", value, ops.constant(plan.packed(self.beta).reshape(weight_shape)))
        return x.derive(value, x.shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"groups": self.groups, "axis": self.axis}
