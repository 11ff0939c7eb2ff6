# SPDX-License-Identifier: MIT
"""EinsumDense: a dense layer between any axes, and the projections of MultiHeadAttention."""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar

import numpy as np

from unrolled import activations, initializers
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.engine.variables import Variable
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import TRAINING_ONLY, positive_int
from unrolled.layers.core import LORA_IGNORED, int8_config
from unrolled.layers.quantization import int8_dense, take_int8
from unrolled.layers.registry import register

_EQUATION = re.compile(
    r"(\.\.\.)?([a-zA-Z]{1,8})(\.\.\.)?,([a-zA-Z]{1,8})->(\.\.\.)?([a-zA-Z]{1,8})(\.\.\.)?"
)


@register
class EinsumDense(Layer):
    """activation(einsum(equation, x, kernel) + bias).

    Source: keras 3.15 ``layers/core/einsum_dense.py``. The mask does not pass through. An axis that the
    input, the kernel and the output share is not supported.

    Parameters
    ----------
    equation : str
        As "abc,cd->abd": input, kernel, output; "..." may stand for axes that stay, first or last.
    output_shape : int or sequence of int
        Sizes of the output without the batch axis; None where the input decides.
    activation : str, optional
        None is linear.
    bias_axes : str, optional
        Axes of the output that the bias has.
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
    >>> layer = layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de")
    >>> layer(np.zeros((5, 7, 4), np.float32)).shape
    (5, 7, 2, 3)
    """

    mask_rule: ClassVar = "ends"
    has_int8: ClassVar = True
    keras_versions: ClassVar = "2, 3"
    ignored_config: ClassVar = (
        TRAINING_ONLY | LORA_IGNORED | {"gptq_unpacked_column_size": "quantised layers are refused"}
    )
    min_rank: ClassVar = 2

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: object = None,
        bias_axes: str | None = None,
        kernel_initializer: object = "glorot_uniform",
        bias_initializer: object = "zeros",
        quantization_config: object = None,
        **kwargs: Any,
    ) -> None:
        self.is_int8, self.quantizes_inputs = take_int8(kwargs, quantization_config)
        self.quantization_config = quantization_config
        super().__init__(**kwargs)
        match = _EQUATION.fullmatch(equation.replace(" ", "")) if isinstance(equation, str) else None
        if match is None:
            raise ConfigError("equation", equation, 'expected the form "abc,cd->abd"')
        left, self._input, right, self._kernel_axes, left_out, self._output, right_out = match.groups()
        if bool(left) != bool(left_out) or bool(right) != bool(right_out) or (left and right):
            raise ConfigError("equation", equation, '"..." must stand first, or last, on both sides')
        self._elided = "left" if left else "right" if right else ""
        letters = (self._input, self._kernel_axes, self._output)
        if any(len(set(group)) < len(group) for group in letters):
            raise ConfigError("equation", equation, "an axis is named twice")
        if set(self._input) & set(self._kernel_axes) & set(self._output):
            raise ConfigError("equation", equation, "an axis of input, kernel and output is not supported")
        if set(self._output) - set(self._input) - set(self._kernel_axes):
            raise ConfigError("equation", equation, "an axis of the output comes from nowhere")
        if set(self._kernel_axes) - set(self._input) - set(self._output) or (
            set(self._input) - set(self._kernel_axes) - set(self._output)
        ):
            raise ConfigError("equation", equation, "an axis is summed alone, which is not supported")
        if self._elided != "left" and self._input[0] != self._output[0]:
            raise ConfigError("equation", equation, "the batch axis must stay first")
        self.equation = equation
        given = [output_shape] if isinstance(output_shape, int) else output_shape
        if not isinstance(given, list | tuple) or len(given) > 8:
            raise ConfigError("output_shape", output_shape, "expected a list of at most 8 sizes")
        self.partial_output_shape = tuple(
            None if size is None else positive_int("output_shape", size) for size in given
        )
        if bias_axes is not None and (
            not isinstance(bias_axes, str)
            or not bias_axes
            or len(set(bias_axes)) < len(bias_axes)
            or set(bias_axes) - set(self._output)
        ):
            raise ConfigError("bias_axes", bias_axes, f"expected axes of the output {self._output!r}")
        self.bias_axes = bias_axes
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self.kernel: Variable | None = None
        self.bias: Variable | None = None
        self.kernel_scale: Variable | None = None

    def find_stream_obstacle(self, x: Flow) -> str | None:
        before, after = self._letters(len(x.shape))
        if before[1:2] != after[1:2]:
            return f"moves or sums the time axis ({self.equation!r})"
        if self.bias_axes is not None and after[1] in self.bias_axes:
            return "has a bias for every timestep"
        return activations.stream_obstacle(after, self.activation)

    def _letters(self, rank: int) -> tuple[str, str]:
        """Input and output axes with the elided ones named by digits."""
        count = rank - len(self._input)
        if count < 0 or (count > 0 and not self._elided):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): {self.equation!r} does not fit an input of rank {rank}"
            )
        elided = "".join(map(str, range(count)))
        if self._elided == "left":
            return elided + self._input, elided + self._output
        return self._input + elided, self._output + elided

    def _sizes(self, input_shape: Any) -> dict[str, int | None]:
        """The size of every axis."""
        before, after = self._letters(len(input_shape))
        sizes: dict[str, int | None] = dict(zip(before, input_shape, strict=True))
        # As Keras: the batch, the elided axes, then output_shape for the named ones.
        named = [axis for axis in after if not axis.isdigit()]
        if self._elided != "left" or len(after) == len(named):
            named = named[1:]
        if len(self.partial_output_shape) != len(named):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): output_shape {self.partial_output_shape} does not "
                f"fit {self.equation!r} for an input of shape {tuple(input_shape)}"
            )
        for axis, size in zip(named, self.partial_output_shape, strict=True):
            if axis not in sizes:
                sizes[axis] = size
            elif size is not None and sizes[axis] is not None and sizes[axis] != size:
                raise ValueError(
                    f"layer {self.name!r} ({self.class_name}): axis {axis!r} of {self.equation!r} has size "
                    f"{sizes[axis]} in the input and {size} in output_shape"
                )
        return sizes

    def build_weights(self, input_shape: Shape) -> None:
        sizes = self._sizes(input_shape)
        before, _ = self._letters(len(input_shape))
        for axis in self._kernel_axes:
            if axis in before:
                self.expect_size(input_shape, before.index(axis) - len(before))
        shape = [sizes[axis] for axis in self._kernel_axes]
        bias_shape = self._bias_shape(sizes, len(input_shape))
        if None in shape or None in bias_shape:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): sizes of the kernel and the bias must be known; "
                f"{self.equation!r} gives {shape} and {bias_shape}"
            )
        self.kernel = self.add_weight(
            "kernel", [size or 0 for size in shape], self._fan_aware(), trainable=not self.is_int8
        )
        if self.bias_axes is not None:
            self.bias = self.add_weight("bias", [size or 0 for size in bias_shape], self.bias_initializer)
        if self.is_int8:
            # One for every axis of the output, 1 where the kernel has none.
            _, after = self._letters(len(input_shape))
            scale = [int(sizes[axis] or 0) if axis in self._kernel_axes else 1 for axis in after]
            self.kernel_scale = self.add_weight("kernel_scale", scale, initializers.Ones(), trainable=False)

    def _bias_shape(self, sizes: dict[str, int | None], rank: int) -> list[int | None]:
        """From the first axis of the bias to the last of the output, 1 where the bias has none."""
        _, after = self._letters(rank)
        own = self.bias_axes or ""
        first = min((after.index(axis) for axis in own), default=len(after))
        return [sizes[axis] if axis in own else 1 for axis in after[first:]]

    def _fan_aware(self) -> initializers.Initializer:
        """The kernel's initializer, told which axes are inputs and which outputs."""
        initializer = self.kernel_initializer
        if isinstance(initializer, initializers.VarianceScaling) and initializer.input_axes is None:
            axes = list(enumerate(self._kernel_axes))
            initializer = type(initializer).from_config(
                initializer.get_config()
                | {
                    "seed": initializer.drawn_seed,
                    "input_axes": [index for index, axis in axes if axis in self._input],
                    "output_axes": [index for index, axis in axes if axis in self._output],
                }
            )
        return initializer

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes = self._sizes(input_shape)
        _, after = self._letters(len(input_shape))
        return activations.output_shape(tuple(sizes[axis] for axis in after), self.activation)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        x = plan.as_float(x)
        ops = plan.ops
        assert self.kernel is not None
        # Sizes that the kernel knows, though this input does not.
        sizes = self._sizes(x.shape) | dict(zip(self._kernel_axes, self.kernel.shape, strict=True))
        before, after = self._letters(len(x.shape))
        summed = [axis for axis in before if axis in self._kernel_axes]
        kept = [axis for axis in before if axis not in summed]
        made = [axis for axis in after if axis in self._kernel_axes]
        kernel_order = [self._kernel_axes.index(axis) for axis in summed + made]
        rows = math.prod(int(sizes[axis] or 0) for axis in summed)
        columns = math.prod(int(sizes[axis] or 0) for axis in made)
        kernel = plan.packed(self.kernel).transpose(kernel_order).reshape(rows, columns)

        value = self._transposed(plan, x.value, before, kept + summed)
        if len(summed) != 1:
            value = self._reshaped(plan, value, [*(sizes[axis] for axis in kept[1:]), rows])
        fused = self.activation if self.activation.is_elementwise else activations.linear
        bias = plan.weights(self.bias)
        in_dense = bias is not None and [axis for axis in after if axis in (self.bias_axes or "")] == made
        late = bias is not None and not in_dense
        dense_bias = bias.reshape(-1) if bias is not None and in_dense else None
        if self.is_int8:
            fused = activations.linear
            merged = Flow(value, (*(sizes[axis] for axis in kept), rows))
            scale = plan.packed(self.kernel_scale).reshape(-1)
            value = int8_dense(plan, merged, kernel, scale, dense_bias, quantize_inputs=self.quantizes_inputs)
        else:
            last = activations.linear if late else fused
            value = ops.dense(value, np.ascontiguousarray(kernel), dense_bias, last.core())
        if len(made) != 1:
            value = self._reshaped(plan, value, [sizes[axis] for axis in (kept + made)[1:]])
        value = self._transposed(plan, value, "".join(kept + made), list(after))
        result = Flow(value, tuple(sizes[axis] for axis in after))
        if late and bias is not None:
            result = result.derive(ops.binary("add", value, ops.constant(bias)), result.shape)
            return activations.lower(plan, result, self.activation)
        return result if fused is self.activation else activations.lower(plan, result, self.activation)

    def _transposed(self, plan: Lowering, value: int, order: str, wanted: list[str]) -> int:
        if list(order) == wanted:
            return value
        return plan.ops.transpose(value, [order.index(axis) for axis in wanted])

    def _reshaped(self, plan: Lowering, value: int, target: list[int | None]) -> int:
        if target.count(None) > 1:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): at most one axis may be of unknown size, "
                f"got {target} after the batch axis"
            )
        return plan.ops.reshape(value, [-1 if size is None else size for size in target])

    def get_config(self) -> dict[str, Any]:
        return (
            super().get_config()
            | {
                "equation": self.equation,
                "output_shape": self.partial_output_shape,
                "activation": self.activation.serialize(),
                "bias_axes": self.bias_axes,
                "kernel_initializer": initializers.serialize(self.kernel_initializer),
                "bias_initializer": initializers.serialize(self.bias_initializer),
            }
            | int8_config(self)
        )
