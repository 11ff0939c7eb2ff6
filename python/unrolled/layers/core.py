# SPDX-License-Identifier: MIT
"""InputLayer, Dense, Embedding, Masking, Activation and Identity."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from unrolled import activations, initializers
from unrolled.engine import tree
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.engine.variables import Variable
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import TRAINING_ONLY, flag, number, positive_int
from unrolled.layers.quantization import int8_dense, take_int8
from unrolled.layers.registry import register

# Options of layers with a kernel that cannot change what the saved kernel computes.
LORA_IGNORED = {
    "lora_rank": "the low-rank update is merged into the kernel when Keras saves",
    "lora_alpha": "the low-rank update is merged into the kernel when Keras saves",
}

_INTEGER_DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_FLOAT_DTYPES = ("float16", "bfloat16", "float32", "float64")


def tensor_dtype(key: str, dtype: object) -> str:
    """The dtype in which a tensor of Keras's ``dtype`` is computed: float32, int32 or bool."""
    name = "float32" if dtype is None else getattr(dtype, "name", dtype)
    if name in _FLOAT_DTYPES:
        return "float32"
    if name in _INTEGER_DTYPES:
        return "int32"
    if name in ("bool", "float", "int"):
        return {"bool": "bool", "float": "float32", "int": "int32"}[name]
    raise ConfigError(key, dtype, "expected a float, integer or bool dtype; text is for Input alone")


def int8_config(layer: Any) -> dict[str, Any]:
    """The config keys of a layer quantised to int8; none for others."""
    if not layer.is_int8:
        return {}
    return {"dtype": f"int8_from_{layer.dtype}", "quantization_config": layer.quantization_config}


def refuse_quantization(value: Any) -> None:
    """Raise ``ConfigError`` where a layer is quantised."""
    if value is not None:
        raise ConfigError(
            "quantization_config",
            value,
            "quantised layers are not supported; save the model before quantize()",
        )


@register
class Dense(Layer):
    """activation(x kernel + bias) along the last axis.

    Source: keras 3.15 ``layers/core/dense.py``. Input ``(batch, ..., features)``, output
    ``(batch, ..., units)``; the mask passes through.

    Parameters
    ----------
    units : int
        Size of the output's last axis.
    activation : str, optional
        None is linear.
    use_bias : bool
        Whether there is a bias.
    kernel_initializer, bias_initializer
        Where fresh weights start.
    quantization_config : mapping, optional
        Of a layer that Keras 3 quantised to int8 (its dtype is "int8_from_float32").
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Dense(4, activation="relu")(np.zeros((2, 7, 3), np.float32)).shape
    (2, 7, 4)
    """

    has_int8: ClassVar = True
    ignored_config: ClassVar = TRAINING_ONLY | LORA_IGNORED
    min_rank: ClassVar = 2

    def __init__(
        self,
        units: int,
        activation: object = None,
        use_bias: bool = True,
        kernel_initializer: object = "glorot_uniform",
        bias_initializer: object = "zeros",
        quantization_config: object = None,
        **kwargs: Any,
    ) -> None:
        self.is_int8, self.quantizes_inputs = take_int8(kwargs, quantization_config)
        super().__init__(**kwargs)
        self.units = positive_int("units", units)
        self.activation = activations.get(activation)
        self.use_bias = flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self.quantization_config = quantization_config
        self.kernel_scale: Variable | None = None
        self.kernel: Variable | None = None
        self.bias: Variable | None = None

    def build_weights(self, input_shape: Shape) -> None:
        features = self.expect_size(input_shape, -1)
        self.kernel = self.add_weight(
            "kernel", (features, self.units), self.kernel_initializer, trainable=not self.is_int8
        )
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.units,), self.bias_initializer)
        if self.is_int8:
            self.kernel_scale = self.add_weight(
                "kernel_scale", (self.units,), initializers.Ones(), trainable=False
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return activations.output_shape((*input_shape[:-1], self.units), self.activation)

    def find_stream_obstacle(self, x: Flow) -> str | None:
        return activations.stream_obstacle(x.shape, self.activation)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        x = plan.as_float(x)
        if self.is_int8:
            value = int8_dense(
                plan,
                x,
                plan.packed(self.kernel),
                plan.packed(self.kernel_scale),
                plan.weights(self.bias),
                quantize_inputs=self.quantizes_inputs,
            )
            return activations.lower(plan, x.derive(value, (*x.shape[:-1], self.units)), self.activation)
        fused = self.activation if self.activation.is_elementwise else activations.linear
        value = plan.ops.dense(x.value, plan.packed(self.kernel), plan.weights(self.bias), fused.core())
        result = x.derive(value, (*x.shape[:-1], self.units))
        return result if fused is self.activation else activations.lower(plan, result, self.activation)

    def get_config(self) -> dict[str, Any]:
        return (
            super().get_config()
            | int8_config(self)
            | {
                "units": self.units,
                "activation": self.activation.serialize(),
                "use_bias": self.use_bias,
                "kernel_initializer": initializers.serialize(self.kernel_initializer),
                "bias_initializer": initializers.serialize(self.bias_initializer),
            }
        )


@register
class Masking(Layer):
    """Masks timesteps whose features all equal a value, and zeroes them.

    Source: keras 3.15 ``layers/core/masking.py``. The shape stays; the mask is ``any(x != mask_value)``
    over the last axis.

    Parameters
    ----------
    mask_value : float
        The value of padding.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layer = layers.Masking(mask_value=-1.0)
    >>> x = np.array([[[1.0, 2.0], [-1.0, -1.0]]], np.float32)
    >>> layer(x).tolist(), layer.compute_mask(x).tolist()
    ([[[1.0, 2.0], [0.0, 0.0]]], [[True, False]])
    """

    mask_rule: ClassVar = "made: any feature differs from `mask_value`; masked steps are zeroed"
    min_rank: ClassVar = 2
    stream_obstacle: ClassVar = None

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = number("mask_value", mask_value)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        x = plan.as_float(x)
        rank = len(x.shape)
        value = plan.ops.constant(np.asarray(self.mask_value, np.float32))
        mask = plan.ops.reduce(plan.ops.binary("not_equal", x.value, value), kind="any", axes=(rank - 1,))
        return Flow(plan.ops.apply_mask(x.value, mask), x.shape).with_mask(mask, rank - 1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"mask_value": self.mask_value}


@register
class Activation(Layer):
    """An activation as a layer.

    Source: keras 3.15 ``layers/activations/activation.py``. The shape stays (glu halves the last axis);
    the mask passes through.

    Parameters
    ----------
    activation : str
        See ``unrolled.activations``.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Activation("relu")(np.array([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """

    ignored_config: ClassVar = {"activity_regularizer": TRAINING_ONLY["activity_regularizer"]}

    def __init__(self, activation: object, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def as_activation(self) -> activations.Activation:
        """The activation, for a layer that is given this one as its activation."""
        return self.activation

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return activations.output_shape(input_shape, self.activation)

    def find_stream_obstacle(self, x: Flow) -> str | None:
        return activations.stream_obstacle(x.shape, self.activation)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        return activations.lower(plan, plan.as_float(x), self.activation)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"activation": self.activation.serialize()}


@register
class Identity(Layer):
    """Gives what it gets, mask included.

    Source: keras 3.15 ``layers/core/identity.py``.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Identity()(np.array([[1.0]])).tolist()
    [[1.0]]
    """

    mask_rule: ClassVar = "Keras 3: passes; before: ends"
    old_mask_rule: ClassVar = "drops the mask; Keras 3 passes it on"
    keras_versions: ClassVar = "2, 3"
    stream_obstacle: ClassVar = None
    takes_id_sequences: ClassVar = True

    def output_dtype(self, input_dtype: str) -> str:
        return input_dtype

    def lower(self, plan: Lowering, x: Any, **kwargs: Any) -> Any:
        if plan.semantics_of(self).rescaling_keeps_mask:
            return x
        return tree.map_leaves(lambda flow: flow.with_mask(None), x)
