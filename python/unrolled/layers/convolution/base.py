# SPDX-License-Identifier: MIT
"""What all convolutions share: a kernel slid over the spatial axes. Masks end here: the timesteps are others afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from unrolled import activations, initializers
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.engine.variables import Variable
from unrolled.layers.base import Layer
from unrolled.layers.config_values import TRAINING_ONLY, flag
from unrolled.layers.convolution.spatial import (
    channels_last,
    checked_output,
    format_name,
    from_last,
    padding_name,
    restore_format,
    sizes,
    to_last,
    window_output,
)


class WindowedKernel(Layer):
    """Base of all convolutions: a kernel slid over the spatial axes, a bias, an activation.

    Parameters
    ----------
    kernel_size : int or sequence of int
        The window.
    strides, dilation_rate : int or sequence of int
        Distances between windows, and between the elements of one.
    padding : {"valid", "same", "causal"}
        Which windows there are; "causal" for one spatial axis.
    data_format : {"channels_last", "channels_first"}
        Where the channels axis is.
    activation : str, optional
        None is linear.
    use_bias : bool
        Whether there is a bias.
    bias_initializer
        Where a fresh bias starts.
    """

    mask_rule: ClassVar = "ends"
    ignored_config: ClassVar = TRAINING_ONLY
    spatial_rank: ClassVar[int]
    takes_causal: ClassVar[bool] = True

    def __init__(
        self,
        kernel_size: object,
        strides: object = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: object = 1,
        activation: object = None,
        use_bias: bool = True,
        bias_initializer: object = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        rank = self.spatial_rank
        self.kernel_size = sizes("kernel_size", kernel_size, rank)
        self.strides = sizes("strides", strides, rank)
        self.padding = padding_name(padding, causal=rank == 1 and self.takes_causal)
        self.data_format = format_name(data_format)
        self.dilation_rate = sizes("dilation_rate", dilation_rate, rank)
        self.activation = activations.get(activation)
        self.use_bias = flag("use_bias", use_bias)
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self.bias: Variable | None = None

    @property
    def output_channels(self) -> int:
        """Size of the output's channels axis."""
        raise NotImplementedError

    def check_input_shape(self, input_shape: Shape) -> None:
        if len(input_shape) != self.spatial_rank + 2:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected an input of rank {self.spatial_rank + 2} "
                f"(batch axis counted), got shape {tuple(input_shape)}"
            )
        super().check_input_shape(input_shape)
        if self.built:
            self.compute_output_shape(input_shape)

    def input_channels(self, input_shape: Shape) -> int:
        """Size of the input's channels axis, which the kernel depends on."""
        return self.expect_size(input_shape, -1 if self.data_format == "channels_last" else 1)

    def output_sizes(self, spatial: Shape) -> list[int | None]:
        """Sizes of the spatial axes of the output."""
        return [
            window_output(size, window, stride, self.padding, dilation)
            for size, window, stride, dilation in zip(
                spatial, self.kernel_size, self.strides, self.dilation_rate, strict=True
            )
        ]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        last = to_last(input_shape, self.data_format)
        shape = (last[0], *self.output_sizes(last[1:-1]), self.output_channels)
        shape = activations.output_shape(shape, self.activation)
        return checked_output(self, from_last(shape, self.data_format), input_shape)

    def add_bias(self) -> None:
        """Create the bias."""
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.output_channels,), self.bias_initializer)

    def find_stream_obstacle(self, x: Flow) -> str | None:
        if self.spatial_rank != 1:
            return "slides its window over the time axis too (TimeDistributed around it would not)"
        if self.data_format != "channels_last":
            return 'takes axis 1 as its channels (data_format="channels_first")'
        if self.strides[0] > 1:
            return f"gives fewer timesteps than it gets (strides={self.strides[0]})"
        if self.kernel_size[0] > 1 and self.padding != "causal":
            reason = "looks at later timesteps" if self.padding == "same" else "drops the first timesteps"
            remedy = '; "causal" would do' if self.takes_causal else ""
            return f'{reason} (padding="{self.padding}"{remedy})'
        return activations.stream_obstacle(x.shape, self.activation)

    def lower_stream(self, plan: Lowering, flows: Sequence[Flow], x: Any, *args: Any, **kwargs: Any) -> Flow:
        self.refuse_stream(self.find_stream_obstacle(x), flows)
        x = plan.as_float(x)
        reach = (self.kernel_size[0] - 1) * self.dilation_rate[0]
        if reach > 0:
            # The timesteps that the next windows still cover, zeros at first as the padding is.
            window = plan.carry(self.name, (reach, x.shape[-1]))
            value = plan.ops.concatenate([window.value, x.value], axis=1)
            window.next = plan.ops.slice(value, axis=1, start=-reach, stop=None)
            x = replace(x, value=value)
        return replace(self._lower_padded(plan, x, "valid"), is_sequence=True)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        return self._lower_padded(plan, x, self.padding)

    def _lower_padded(self, plan: Lowering, x: Flow, padding: str) -> Flow:
        last = channels_last(plan, plan.as_float(x), self.data_format)
        fused = self.activation if self.activation.is_elementwise else activations.linear
        shape = (last.shape[0], *self.output_sizes(last.shape[1:-1]), self.output_channels)
        result = Flow(self.lower_window(plan, last, fused, padding), shape)
        if fused is not self.activation:
            # Keras applies it to its own layout: softmax in channels_first runs along the last spatial axis.
            result = restore_format(plan, result, self.data_format)
            return activations.lower(plan, result, self.activation)
        return restore_format(plan, result, self.data_format)

    def lower_window(self, plan: Lowering, x: Flow, activation: activations.Activation, padding: str) -> int:
        """The convolution of ``x``, channels last, with bias and activation."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "activation": self.activation.serialize(),
            "use_bias": self.use_bias,
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }
