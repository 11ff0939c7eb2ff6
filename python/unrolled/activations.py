# SPDX-License-Identifier: MIT
"""Keras's activations by name, each as an ``Activation`` that layers fuse and that is called on arrays.

>>> import numpy as np
>>> from unrolled import activations
>>> activations.relu6(np.array([-1.0, 3.0, 9.0])).tolist()
[0.0, 3.0, 6.0]
>>> activations.get("swish").name
'silu'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import _core
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.errors import ConfigError

AXIS_ACTIVATIONS = ("softmax", "log_softmax", "sparsemax", "glu")


@dataclass(frozen=True)
class Activation:
    """One activation function.

    Parameters
    ----------
    name : str
        Keras's name: "tanh", "softmax", "leaky_relu", ...
    kind : str, optional
        The kernel that computes it elementwise; None where it works along an axis.
    alpha, beta, gamma : float
        Parameters of the kernel.
    axis : int
        The axis that softmax, log_softmax, sparsemax and glu work along.
    config : mapping, optional
        What stands for it in a config, where a name alone does not.
    function : callable, optional
        The user's, on arrays, which computes it instead of a kernel.

    Notes
    -----
    Formulas: keras 3.15 ``activations/activations.py``; kernels: ``cpp/kernels/activations.h``. "gelu" is
    exact (erf), "leaky_relu" has slope 0.2, and "hard_sigmoid" is clip(x / 6 + 1/2, 0, 1), all as in Keras
    3. "hard_sigmoid_v2" is not Keras's name: the readers of files give it to what Keras up to 2 called
    hard_sigmoid, clip(0.2 x + 0.5, 0, 1).
    """

    name: str
    kind: str | None = None
    alpha: float = 0.0
    beta: float = 0.0
    gamma: float = 0.0
    axis: int = -1
    config: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    function: Callable[[NDArray[Any]], Any] | None = field(default=None, repr=False)

    @property
    def is_elementwise(self) -> bool:
        """Whether it can be fused into the operation before it."""
        return self.kind is not None

    def core(self) -> _core.Activation:
        """The kernel with its parameters, for fusing.

        Raises
        ------
        ConfigError
            It works along an axis, where only an elementwise function will do.
        """
        if self.kind is None:
            raise ConfigError("activation", self.name, "an elementwise activation is needed here")
        return _core.Activation(self.kind, self.alpha, self.beta, self.gamma)

    def serialize(self) -> Any:
        """The config value that ``get`` takes back; of a user's function, this object."""
        if self.function is not None:
            return self
        return self.name if self.config is None else dict(self.config)

    def __call__(self, x: Any) -> Any:
        """The function on an array (float32 out), or a call of an ``Activation`` layer on a symbolic tensor.

        Parameters
        ----------
        x : array_like or KerasTensor
            Of rank 1 or more; along-axis functions take rank 2 or more.

        Returns
        -------
        ndarray of float32, or KerasTensor
        """
        from unrolled.layers.registry import layer_class

        return layer_class("Activation").from_config({"activation": self})(x)


def _elementwise(
    name: str, kind: str, alpha: float = 0.0, beta: float = 0.0, gamma: float = 0.0
) -> Activation:
    return Activation(name, kind, alpha, beta, gamma)


def relu_kernel(
    max_value: float | None = None,
    negative_slope: float = 0.0,
    threshold: float = 0.0,
    *,
    name: str = "relu",
    config: Mapping[str, Any] | None = None,
) -> Activation:
    """The relu family: 0 or a slope below ``threshold``, at most ``max_value`` above."""
    largest = math.inf if max_value is None else max_value
    return Activation(name, "relu", largest, negative_slope, threshold, config=config)


celu = _elementwise("celu", "celu", 1.0)
elu = _elementwise("elu", "elu", 1.0)
exponential = _elementwise("exponential", "exponential")
gelu = _elementwise("gelu", "gelu")
glu = Activation("glu")
hard_shrink = _elementwise("hard_shrink", "hard_shrink", 0.5)
hard_sigmoid = _elementwise("hard_sigmoid", "hard_sigmoid", 1.0 / 6.0, 0.5)
hard_sigmoid_v2 = _elementwise("hard_sigmoid_v2", "hard_sigmoid", 0.2, 0.5)
hard_silu = _elementwise("hard_silu", "hard_silu")
hard_tanh = _elementwise("hard_tanh", "hard_tanh")
leaky_relu = relu_kernel(negative_slope=0.2, name="leaky_relu")
linear = _elementwise("linear", "linear")
log_sigmoid = _elementwise("log_sigmoid", "log_sigmoid")
log_softmax = Activation("log_softmax")
mish = _elementwise("mish", "mish")
relu = relu_kernel()
relu6 = relu_kernel(6.0, name="relu6")
selu = _elementwise("selu", "selu")
sigmoid = _elementwise("sigmoid", "sigmoid")
silu = _elementwise("silu", "silu")
soft_shrink = _elementwise("soft_shrink", "soft_shrink", 0.5)
softmax = Activation("softmax")
softplus = _elementwise("softplus", "softplus")
softsign = _elementwise("softsign", "softsign")
sparse_plus = _elementwise("sparse_plus", "sparse_plus")
sparse_sigmoid = _elementwise("sparse_sigmoid", "sparse_sigmoid")
sparsemax = Activation("sparsemax")
squareplus = _elementwise("squareplus", "squareplus", 4.0)
tanh = _elementwise("tanh", "tanh")
tanh_shrink = _elementwise("tanh_shrink", "tanh_shrink")
hard_swish = hard_silu
swish = silu
# Not among the names: gelu by its tanh approximation, which only an operation can ask for.
gelu_tanh = _elementwise("gelu_tanh", "gelu_tanh")

_BY_NAME: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        celu, elu, exponential, gelu, glu, hard_shrink, hard_sigmoid, hard_sigmoid_v2, hard_silu, hard_tanh,
        leaky_relu, linear, log_sigmoid, log_softmax, mish, relu, relu6, selu, sigmoid, silu, soft_shrink,
        softmax, softplus, softsign, sparse_plus, sparse_sigmoid, sparsemax, squareplus, tanh, tanh_shrink,
    )
}  # fmt: skip
_BY_NAME |= {"swish": silu, "hard_swish": hard_silu}


def custom(name: str, given: Any) -> Activation:
    """An activation of the user's: a function on arrays that keeps the shape, or one of these activations."""
    if isinstance(given, Activation):
        return given
    if not callable(given):
        raise ConfigError("activation", given, "expected a function on arrays")
    return Activation(name, function=given)


def names() -> list[str]:
    """Every name that ``get`` takes."""
    return sorted(_BY_NAME)


def get(identifier: object, key: str = "activation") -> Activation:
    """The activation that a config or a caller names.

    Parameters
    ----------
    identifier : None, str, mapping, Activation or Layer
        None is linear. A mapping is Keras's serialised function or layer. A layer may be ReLU, LeakyReLU,
        ELU, ThresholdedReLU, Softmax or Activation.
    key : str
        The config key, for the error.

    Returns
    -------
    Activation

    Raises
    ------
    ConfigError
        There is no such activation.

    Examples
    --------
    >>> get(None).name
    'linear'
    >>> from unrolled import layers
    >>> get(layers.LeakyReLU(negative_slope=0.1)).beta
    0.1
    """
    if identifier is None:
        return linear
    if isinstance(identifier, Activation):
        return identifier
    if isinstance(identifier, str):
        found = _BY_NAME.get(identifier)
        if found is None:
            raise ConfigError(key, identifier, f"expected one of {', '.join(names())}")
        return found
    if isinstance(identifier, Mapping):
        return _from_mapping(identifier, key)
    convert = getattr(identifier, "as_activation", None)
    if callable(convert):
        result = convert()
        if isinstance(result, Activation):
            return result
    raise ConfigError(key, identifier, "expected the name of an activation, or one of unrolled.activations")


def _from_mapping(identifier: Mapping[str, Any], key: str) -> Activation:
    """Keras's serialised forms: a function by its name, or a layer."""
    config = identifier.get("config")
    if identifier.get("class_name") == "function" and isinstance(config, str):
        return get(config, key)
    if isinstance(config, Mapping):
        from unrolled.layers.registry import deserialize_value

        layer = deserialize_value(dict(identifier))
        if not isinstance(layer, Mapping):
            return get(layer, key)
    raise ConfigError(key, dict(identifier), "expected the name of an activation")


def lower(plan: Lowering, x: Flow, activation: Activation) -> Flow:
    """``activation`` applied to ``x``, under the same mask."""
    if activation.kind == "linear":
        return x
    if activation.kind is not None:
        return x.derive(plan.ops.activate(x.value, activation.core()), x.shape)
    if activation.function is not None:
        return _call_function(plan, x, activation.name, activation.function)
    rank = len(x.shape)
    axis = activation.axis + rank if activation.axis < 0 else activation.axis
    if rank < 2 or not 0 < axis < rank:
        raise ValueError(
            f"{activation.name} works along axis {activation.axis}, which must be an axis other than the "
            f"batch axis of its input; got shape {x.shape}"
        )
    if activation.name == "glu":
        return _lower_glu(plan, x, axis)
    if activation.name == "sparsemax":
        value = plan.ops.sparsemax(x.value, axis=axis)
    else:
        value = plan.ops.softmax(x.value, axis=axis, logarithm=activation.name == "log_softmax")
    return x.derive(value, x.shape)


def _call_function(plan: Lowering, x: Flow, name: str, function: Callable[[NDArray[Any]], Any]) -> Flow:
    def call(array: NDArray[Any]) -> list[NDArray[Any]]:
        result = np.ascontiguousarray(function(array), np.float32)
        if result.shape != array.shape:
            raise ValueError(f"activation {name!r}: gave shape {result.shape} for {array.shape}")
        return [result]

    (value,) = plan.call_python(name, call, [x.value], [("float32", len(x.shape))])
    return x.derive(value, x.shape)


def _lower_glu(plan: Lowering, x: Flow, axis: int) -> Flow:
    """a sigmoid(b), where a and b are the halves of x along ``axis``."""
    size = x.shape[axis]
    if size is None or size % 2:
        raise ValueError(f"glu halves axis {axis}, whose size must be known and even; got shape {x.shape}")
    half = size // 2
    a = plan.ops.slice(x.value, axis=axis, start=0, stop=half)
    b = plan.ops.slice(x.value, axis=axis, start=half, stop=size)
    value = plan.ops.binary("multiply", a, plan.ops.activate(b, sigmoid.core()))
    return x.derive(value, output_shape(x.shape, Activation("glu", axis=axis)))


def output_shape(shape: Shape, activation: Activation) -> Shape:
    """The shape after ``activation``: the same, but that glu halves its axis."""
    sizes = tuple(shape)
    if activation.name != "glu":
        return sizes
    axis = activation.axis + len(sizes) if activation.axis < 0 else activation.axis
    size = sizes[axis]
    return (*sizes[:axis], None if size is None else size // 2, *sizes[axis + 1 :])


def serialize(activation: object) -> Any:
    """The config value of an activation."""
    return get(activation).serialize()


def stream_obstacle(shape: Sequence[object], activation: Activation) -> str | None:
    """Why a stream of ``shape`` cannot go through ``activation`` one timestep after another."""
    if activation.kind is not None or activation.axis % len(shape) != 1:
        return None
    return f"applies {activation.name} along the time axis"
