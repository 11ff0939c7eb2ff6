# SPDX-License-Identifier: MIT
"""Activations that are layers: ReLU, LeakyReLU, PReLU, ELU, ThresholdedReLU, Softmax. All pass the mask on."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from unrolled import activations, initializers
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.engine.variables import Variable
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import TRAINING_ONLY, flag, int_list, not_negative, number
from unrolled.layers.registry import register, serialize_layer


class ActivationLayer(Layer):
    """Base of those that are one activation without weights."""

    ignored_config: ClassVar = {"activity_regularizer": TRAINING_ONLY["activity_regularizer"]}

    def as_activation(self) -> activations.Activation:
        """The activation, for a layer that is given this one as its activation."""
        raise NotImplementedError

    def find_stream_obstacle(self, x: Flow) -> str | None:
        return activations.stream_obstacle(x.shape, self.as_activation())

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        return activations.lower(plan, plan.as_float(x), self.as_activation())


@register
class ReLU(ActivationLayer):
    """``x`` from ``threshold`` up to ``max_value``, ``negative_slope * (x - threshold)`` below.

    Source: keras 3.15 ``layers/activations/relu.py``.

    Parameters
    ----------
    max_value : float, optional
        Not negative.
    negative_slope, threshold : float
        Not negative.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.ReLU(max_value=2.0)(np.array([[-1.0, 1.0, 5.0]])).tolist()
    [[0.0, 1.0, 2.0]]
    """

    keras_versions: ClassVar = "2, 3"

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float | None = 0.0,
        threshold: float | None = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_value = None if max_value is None else not_negative("max_value", max_value)
        self.negative_slope = not_negative("negative_slope", negative_slope or 0.0)
        self.threshold = not_negative("threshold", threshold or 0.0)

    def as_activation(self) -> activations.Activation:
        return activations.relu_kernel(
            self.max_value, self.negative_slope, self.threshold, config=serialize_layer(self)
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }


@register
class LeakyReLU(ActivationLayer):
    """``x`` where positive, ``negative_slope * x`` below.

    Source: keras 3.15 ``layers/activations/leaky_relu.py``.

    Parameters
    ----------
    negative_slope : float
        The slope, 0.3 where absent (the activation named "leaky_relu" has 0.2).
    alpha : float, optional
        Its name before Keras 3.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.LeakyReLU(0.5)(np.array([[-1.0, 1.0]])).tolist()
    [[-0.5, 1.0]]
    """

    def __init__(self, negative_slope: float = 0.3, *, alpha: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if alpha is not None:
            self.negative_slope = number("alpha", alpha)
        else:
            self.negative_slope = number("negative_slope", negative_slope)

    def as_activation(self) -> activations.Activation:
        return activations.relu_kernel(
            negative_slope=self.negative_slope, name="leaky_relu", config=serialize_layer(self)
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"negative_slope": self.negative_slope}


@register
class ELU(ActivationLayer):
    """``x`` where positive, ``alpha (exp(x) - 1)`` below.

    Source: keras 3.15 ``layers/activations/elu.py``.

    Parameters
    ----------
    alpha : float
        The factor.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> print(layers.ELU()(np.array([[-1.0, 1.0]])).round(4))
    [[-0.6321  1.    ]]
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = number("alpha", alpha)

    def as_activation(self) -> activations.Activation:
        return activations.Activation("elu", "elu", self.alpha, config=serialize_layer(self))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"alpha": self.alpha}


@register
class ThresholdedReLU(ActivationLayer):
    """``x`` where it is greater than ``theta``, else 0. Keras 1 and 2 only.

    Source: tf_keras 2.21 ``layers/activation/thresholded_relu.py``.

    Parameters
    ----------
    theta : float
        Not negative.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.ThresholdedReLU(1.0)(np.array([[1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """

    keras_versions: ClassVar = "1, 2"

    def __init__(self, theta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.theta = not_negative("theta", theta)

    def as_activation(self) -> activations.Activation:
        return activations.Activation(
            "thresholded_relu", "thresholded_relu", self.theta, config=serialize_layer(self)
        )

    def in_keras_3(self, serialized: dict[str, Any]) -> dict[str, Any]:
        """As ReLU, which has the option ``threshold``."""
        config = {
            ("threshold" if key == "theta" else key): value for key, value in serialized["config"].items()
        }
        return serialized | {"class_name": "ReLU", "config": config}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"theta": self.theta}


@register
class PReLU(Layer):
    """``x`` where positive, ``alpha x`` below, alpha learnt for every element of a row.

    Source: keras 3.15 ``layers/activations/prelu.py``.

    Parameters
    ----------
    alpha_initializer
        Where fresh slopes start.
    shared_axes : int or list of int, optional
        Axes (batch counted as 0) along which one alpha serves.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.PReLU("ones", shared_axes=[1])(np.full((1, 2, 3), -2.0)).min()
    np.float32(-2.0)
    """

    ignored_config: ClassVar = {
        "activity_regularizer": TRAINING_ONLY["activity_regularizer"],
        "alpha_regularizer": "adds to the training loss only",
        "alpha_constraint": "applied after a training step only",
    }
    min_rank: ClassVar = 2

    def __init__(
        self, alpha_initializer: object = "zeros", shared_axes: object = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer, "alpha_initializer")
        axes = [] if shared_axes is None else shared_axes
        self.shared_axes = int_list("shared_axes", [axes] if isinstance(axes, int) else axes, 1, 7)
        self.alpha: Variable | None = None

    def as_activation(self) -> activations.Activation:
        raise ConfigError("activation", self.class_name, "PReLU has weights: use it as a layer of its own")

    def build_weights(self, input_shape: Shape) -> None:
        rank = len(input_shape)
        if any(axis >= rank for axis in self.shared_axes):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): shared_axes {self.shared_axes} do not all exist "
                f"in shape {tuple(input_shape)}"
            )
        shape = [
            1 if axis in self.shared_axes else self.expect_size(input_shape, axis) for axis in range(1, rank)
        ]
        self.alpha = self.add_weight("alpha", shape, self.alpha_initializer)

    def find_stream_obstacle(self, x: Flow) -> str | None:
        if len(x.shape) > 2 and self.alpha is not None and self.alpha.shape[0] != 1:
            return "has an alpha for every timestep (shared_axes=[1] would do)"
        return None

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        x = plan.as_float(x)
        ops = plan.ops
        zero = ops.constant(np.zeros((), np.float32))
        alpha = ops.constant(plan.packed(self.alpha))
        below = ops.binary("multiply", alpha, ops.binary("minimum", x.value, zero))
        above = ops.activate(x.value, activations.relu.core())
        return x.derive(ops.binary("add", above, below), x.shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "alpha_initializer": initializers.serialize(self.alpha_initializer),
            "shared_axes": self.shared_axes or None,
        }


@register
class Softmax(Layer):
    """Softmax along one or several axes.

    Source: keras 3.15 ``layers/activations/softmax.py``. A mask must broadcast to the input; elements
    where it is false take no part. It passes through.

    Parameters
    ----------
    axis : int or list of int
        The axes that sum to one.
    robust_masking : bool
        tf.keras: see ``masked_scores``.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Softmax()(np.zeros((1, 4))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    keras_versions: ClassVar = "2, 3"
    mask_rule: ClassVar = "used where it broadcasts to the input"
    old_mask_rule: ClassVar = "rows without anything allowed get equal weights; Keras 3.10: zeros"
    ignored_config: ClassVar = {"activity_regularizer": TRAINING_ONLY["activity_regularizer"]}
    min_rank: ClassVar = 2

    def __init__(self, axis: object = -1, robust_masking: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.robust_masking = flag("robust_masking", robust_masking)
        axes = axis if isinstance(axis, list | tuple) else [axis]
        if len(axes) != 1:
            raise ConfigError("axis", axis, "softmax over one axis is supported")
        self.axis = int_list("axis", axes, -8, 7)[0]

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        rank = len(input_shape)
        if not 0 < (self.axis + rank if self.axis < 0 else self.axis) < rank:
            raise ValueError(
                f"layer {self.name!r} (Softmax): axis {self.axis} is the batch axis or none of an input of "
                f"shape {tuple(input_shape)}"
            )

    def as_activation(self) -> activations.Activation:
        config = None if self.axis == -1 else serialize_layer(self)
        return activations.Activation("softmax", axis=self.axis, config=config)

    def find_stream_obstacle(self, x: Flow) -> str | None:
        return activations.stream_obstacle(x.shape, self.as_activation())

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        x = plan.as_float(x)
        activation = self.as_activation()
        if x.mask is None:
            return activations.lower(plan, x, activation)
        if x.mask_rank != len(x.shape):
            raise ValueError(
                f"layer {self.name!r} (Softmax): a mask of rank {x.mask_rank} does not broadcast to its input "
                f"of shape {x.shape}; Keras fails here too"
            )
        lowered = not (plan.semantics_of(self).softmax_zeroes_masked_rows or self.robust_masking)
        axis = self.axis % len(x.shape)
        scores = masked_scores(plan, x.value, x.mask, axis=axis, lowered=lowered, policy=self.dtype)
        masked = x.derive(scores, x.shape)
        result = activations.lower(plan, masked, activation)
        if not plan.semantics_of(self).softmax_zeroes_masked_rows:
            return result
        zero = plan.ops.constant(np.zeros((), np.float32))
        return result.derive(plan.ops.select(x.mask, result.value, zero), result.shape)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {"axis": self.axis}
        return config | ({"robust_masking": True} if self.robust_masking else {})


def masked_scores(plan: Lowering, scores: int, mask: int, *, axis: int, lowered: bool, policy: str) -> int:
    """``scores`` with a large negative number where ``mask`` is false (it broadcasts).

    Where ``lowered``, it is added (Keras before 3.13, where zeros in rows without anything allowed do not hide
    it): such rows then tell scores beyond 32, half of the distance of floats around 1e9, from others. In
    float64, which is Keras's under that ``policy``, they tell all: their scores stay.

    Parameters
    ----------
    plan : Lowering
        The plan being built.
    scores, mask : int
        Ids of the values.
    axis : int
        Along which the softmax goes, counted from 0.
    lowered : bool
        Whether the number is added.
    policy : str
        The layer's dtype policy.
    """
    low = plan.ops.constant(np.asarray(-1e9, np.float32))
    if lowered and policy == "float64":
        low = plan.ops.select(plan.ops.reduce(mask, kind="any", axes=(axis,), keepdims=True), low, scores)
    elif lowered:
        low = plan.ops.binary("add", scores, low)
    return plan.ops.select(mask, scores, low)
