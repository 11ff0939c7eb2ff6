# SPDX-License-Identifier: MIT
"""Activations as operations of graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from unrolled import activations
from unrolled.engine.lowering import Flow, Lowering
from unrolled.layers.config_values import flag, number, positive_int
from unrolled.layers.ops.base import (
    Described,
    axis_obstacle,
    shape_of,
)
from unrolled.layers.ops.unary import Unary
from unrolled.layers.registry import register_operation


class ActivationOperation(Unary):
    """Base of activations as operations."""

    keras_module: ClassVar = "ops.nn"
    activation: activations.Activation

    def apply(self, plan: Lowering, x: Flow) -> int:
        return activations.lower(plan, x, self.activation).value


def _activation(name: str, activation: activations.Activation, **attributes: Any) -> None:
    attributes |= {
        "activation": activation,
        "__doc__": f"``keras.ops``: {activation.name} of every element.",
        "__module__": __name__,
    }
    # A name of this module, as pickles look the class up.
    made = register_operation(type(f"{name}Operation", (ActivationOperation,), attributes))
    globals()[made.__name__] = made


for _name, _function in {
    "HardSigmoid": activations.hard_sigmoid,
    "HardSilu": activations.hard_silu,
    "HardTanh": activations.hard_tanh,
    "LogSigmoid": activations.log_sigmoid,
    "Relu": activations.relu,
    "Relu6": activations.relu6,
    "Selu": activations.selu,
    "Sigmoid": activations.sigmoid,
    "Silu": activations.silu,
    "Softplus": activations.softplus,
    "Softsign": activations.softsign,
    "SparsePlus": activations.sparse_plus,
    "SparseSigmoid": activations.sparse_sigmoid,
    "TanhShrink": activations.tanh_shrink,
}.items():
    _activation(_name, _function)
_activation("Exp", activations.exponential, keras_module="ops.numpy")
_activation("Tanh", activations.tanh, keras_module="ops.numpy")
_activation("Mish", activations.mish, keras_module="activations.activations")
_activation("ReLU6", activations.relu6, written_as=("keras.src.ops.nn", "Relu6"))


class ParameterActivation(ActivationOperation):
    """Base of activations with one number."""

    kind: ClassVar[str]
    key: ClassVar[str] = "alpha"

    def _set(self, value: float) -> None:
        self._parameter = number(self.key, value)
        self.activation = activations.Activation(self.kind, self.kind, self._parameter)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {self.key: self._parameter}


@register_operation
class EluOperation(ParameterActivation):
    """``keras.ops.elu``."""

    kind: ClassVar = "elu"

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(alpha)


@register_operation
class CeluOperation(ParameterActivation):
    """``keras.ops.celu``."""

    kind: ClassVar = "celu"

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(alpha)


@register_operation
class SoftShrinkOperation(ParameterActivation):
    """``keras.ops.soft_shrink``."""

    kind: ClassVar = "soft_shrink"
    key: ClassVar = "threshold"

    def __init__(self, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(threshold)


@register_operation
class HardShrinkOperation(ParameterActivation):
    """``keras.ops.hard_shrink``."""

    kind: ClassVar = "hard_shrink"
    key: ClassVar = "threshold"

    def __init__(self, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(threshold)


@register_operation
class SquareplusOperation(ParameterActivation):
    """``keras.ops.squareplus``."""

    kind: ClassVar = "squareplus"
    key: ClassVar = "b"

    def __init__(self, b: float = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(b)


@register_operation
class LeakyReluOperation(ActivationOperation):
    """``keras.ops.leaky_relu``."""

    def __init__(self, negative_slope: float = 0.2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.negative_slope = number("negative_slope", negative_slope)
        self.activation = activations.relu_kernel(negative_slope=self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"negative_slope": self.negative_slope}


@register_operation
class ThresholdOperation(ActivationOperation):
    """``keras.ops.threshold``: ``default_value`` where x is not above ``threshold``."""

    def __init__(self, threshold: float, default_value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = number("threshold", threshold)
        self.default_value = number("default_value", default_value)
        self.activation = activations.Activation("threshold", "threshold", self.threshold, self.default_value)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"threshold": self.threshold, "default_value": self.default_value}


@register_operation
class ReLUOperation(ActivationOperation):
    """``keras.activations.relu``, which leaves this name in a graph where it has arguments."""

    keras_module: ClassVar = "activations.activations"

    def __init__(
        self,
        negative_slope: float = 0.0,
        max_value: float | None = None,
        threshold: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.negative_slope = number("negative_slope", negative_slope)
        self.max_value = None if max_value is None else number("max_value", max_value)
        self.threshold = number("threshold", threshold)
        self.activation = activations.relu_kernel(self.max_value, self.negative_slope, self.threshold)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "negative_slope": self.negative_slope,
            "max_value": self.max_value,
            "threshold": self.threshold,
        }


@register_operation
class GeluOperation(ActivationOperation):
    """``keras.ops.gelu``, by its tanh approximation unless told otherwise."""

    def __init__(self, approximate: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.approximate = flag("approximate", approximate)
        self.activation = activations.gelu_tanh if self.approximate else activations.gelu

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"approximate": self.approximate}


class AxisActivation(ActivationOperation):
    """Base of activations along an axis."""

    function: ClassVar[str]

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = positive_int("axis", axis, minimum=-8, maximum=7)
        self.activation = activations.Activation(self.function, axis=self.axis)

    def find_call_obstacle(self, flows: Sequence[Flow], *args: Any, **kwargs: Any) -> str | None:
        return axis_obstacle(flows[0], [self.axis])

    def describe(self, x: Any) -> Described:
        self.axis_of(self.axis, len(shape_of(x)))
        return activations.output_shape(shape_of(x), self.activation), "float32"

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": self.axis}


for _name, _kind in {
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Sparsemax": "sparsemax",
    "Glu": "glu",
}.items():
    _made = register_operation(
        type(
            f"{_name}Operation",
            (AxisActivation,),
            {"function": _kind, "__doc__": f"``keras.ops.{_kind}``.", "__module__": __name__},
        )
    )
    globals()[_made.__name__] = _made
