# SPDX-License-Identifier: MIT
"""The cell of ConvLSTM: convolutions in place of products."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from unrolled import _core, activations, initializers
from unrolled.engine.lowering import Flow, Lowering
from unrolled.engine.variables import Variable
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import flag, positive_int
from unrolled.layers.convolution.spatial import (
    checked_output,
    format_name,
    padding_name,
    sizes,
    to_last,
    window_output,
)
from unrolled.layers.rnn.cells import CELL_IGNORED, cell_activation
from unrolled.spec import LayerFacts, set_facts

LINEAR = _core.Activation("linear")


class ConvLSTMCell(Layer):
    """The weights and options of one timestep of a ConvLSTM.

    Source: keras 3.15 ``layers/rnn/conv_lstm.py``. Parameters as in ``ConvLSTM``, and:

    Parameters
    ----------
    rank : int
        How many spatial axes there are.
    """

    ignored_config: ClassVar = CELL_IGNORED

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: object,
        strides: object = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: object = 1,
        activation: object = "tanh",
        recurrent_activation: object = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: object = "glorot_uniform",
        recurrent_initializer: object = "orthogonal",
        bias_initializer: object = "zeros",
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rank = rank
        self.filters = positive_int("filters", filters)
        self.kernel_size = sizes("kernel_size", kernel_size, rank)
        self.strides = sizes("strides", strides, rank)
        self.padding = padding_name(padding)
        self.data_format = format_name(data_format)
        self.dilation_rate = sizes("dilation_rate", dilation_rate, rank)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ConfigError("dilation_rate", dilation_rate, "Keras has no dilation together with strides")
        self.activation = cell_activation("activation", activation)
        self.recurrent_activation = cell_activation("recurrent_activation", recurrent_activation)
        if self.data_format == "channels_first":
            for key in ("activation", "recurrent_activation"):
                if not getattr(self, key).is_elementwise:
                    raise ConfigError(
                        key, getattr(self, key).name, "only elementwise ones work on channels_first"
                    )
        self.use_bias = flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.recurrent_initializer = initializers.get(recurrent_initializer, "recurrent_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self.unit_forget_bias = flag("unit_forget_bias", unit_forget_bias)
        self.kernel: Variable | None = None
        self.recurrent_kernel: Variable | None = None
        self.bias: Variable | None = None
        # Of the states, channels last; known once built, as Keras takes fixed spatial sizes only.
        self.state_sizes: tuple[int, ...] = ()

    def _initial_bias(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        bias = np.array(self.bias_initializer(shape))
        if self.unit_forget_bias:
            bias[self.filters : 2 * self.filters] = 1.0
        return bias

    def build_weights(self, input_shape: Any) -> None:
        self.state_sizes = self.output_sizes(input_shape)
        channels = to_last(input_shape, self.data_format)[-1]
        assert channels is not None  # output_sizes checked
        columns = 4 * self.filters
        self.kernel = self.add_weight(
            "kernel", (*self.kernel_size, channels, columns), self.kernel_initializer
        )
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel", (*self.kernel_size, self.filters, columns), self.recurrent_initializer
        )
        if self.use_bias:
            self.bias_initializer.check_shape((columns,))
            self.bias = self.add_weight("bias", (columns,), self._initial_bias)

    def output_sizes(self, input_shape: Any) -> tuple[int, ...]:
        """The shape of the states for ``(batch, ...)`` of one timestep: channels last, without the batch.

        Raises
        ------
        ValueError
            A size is not known, or the kernel does not fit the input.
        """
        last = to_last(input_shape, self.data_format)
        if any(size is None for size in last[1:]):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): the spatial sizes and the channels of the input "
                f"must be known, got shape {tuple(input_shape)}"
            )
        spatial = [
            window_output(size, window, stride, self.padding, dilation)
            for size, window, stride, dilation in zip(
                last[1:-1], self.kernel_size, self.strides, self.dilation_rate, strict=True
            )
        ]
        shape = checked_output(self, (last[0], *spatial, 4 * self.filters), input_shape)
        return (*(int(size) for size in shape[1:-1] if size is not None), self.filters)

    def convolve_input(self, plan: Lowering, x: Flow) -> int:
        """The input's part of all gates, ``(batch, ..., 4 filters)``; ``x`` is channels last."""
        return plan.ops.convolution(
            x.value,
            plan.packed(self.kernel),
            plan.weights(self.bias),
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation_rate,
            groups=1,
            activation=LINEAR,
        )

    def lower_step(self, plan: Lowering) -> _core.Plan:
        """A plan from the input's part of the gates, h and c to h', h' and c', all channels last."""
        step = plan.nested()
        ops = step.ops
        rank = self.rank + 2
        x, hidden, carry = (ops.input("float32", rank) for _ in range(3))
        recurrent = ops.convolution(
            hidden,
            step.packed(self.recurrent_kernel),
            None,
            strides=[1] * self.rank,
            padding="same",
            dilation=[1] * self.rank,
            groups=1,
            activation=LINEAR,
        )
        total = ops.binary("add", x, recurrent)

        def gate(index: int, activation: activations.Activation) -> int:
            start = index * self.filters
            block = ops.slice(total, axis=rank - 1, start=start, stop=start + self.filters)
            return activate(block, activation)

        def activate(value: int, activation: activations.Activation) -> int:
            return activations.lower(step, Flow(value, (None, *self.state_sizes)), activation).value

        # Gate blocks i, f, c, o.
        i = gate(0, self.recurrent_activation)
        f = gate(1, self.recurrent_activation)
        candidate = gate(2, self.activation)
        o = gate(3, self.recurrent_activation)
        carry = ops.binary("add", ops.binary("multiply", f, carry), ops.binary("multiply", i, candidate))
        hidden = ops.binary("multiply", o, activate(carry, self.activation))
        return ops.finish([hidden, hidden, carry])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "activation": self.activation.serialize(),
            "recurrent_activation": self.recurrent_activation.serialize(),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "unit_forget_bias": self.unit_forget_bias,
        }


# Files name the layers that hold the cell, never the cell.
set_facts("ConvLSTMCell", LayerFacts(gates=4, theano_flips=2))
