# SPDX-License-Identifier: MIT
"""Transposed convolutions."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from unrolled import activations, initializers
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.engine.variables import Variable
from unrolled.errors import ConfigError
from unrolled.layers.config_values import positive_int
from unrolled.layers.convolution.base import WindowedKernel
from unrolled.layers.convolution.spatial import (
    MAX_EXTENT,
)
from unrolled.layers.registry import register
from unrolled.spec import LayerFacts


class TransposedConvolution(WindowedKernel):
    """The convolution that turns the output's shape of another into its input's.

    Source: keras 3.15 ``layers/convolutional/base_conv_transpose.py``. Kernel
    ``(window..., filters, channels)``. There is no mask. Computed as a convolution of the input with zeros
    between its elements.

    Parameters
    ----------
    filters : int
        Channels of the output.
    kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer
        See ``WindowedKernel``.
    output_padding : int or sequence of int, optional
        Added to the size of the output; chosen by Keras where absent.
    kernel_initializer
        Where a fresh kernel starts.
    groups : int
        Keras 2 writes it, always 1.
    **kwargs
        ``input_shape`` and the like.
    """

    keras_versions: ClassVar = "2, 3"
    needs_timesteps: ClassVar = True
    takes_causal: ClassVar = False
    stream_obstacle: ClassVar = "spreads every timestep over several"

    def find_stream_obstacle(self, x: Flow) -> str | None:
        return self.stream_obstacle

    def __init__(
        self,
        filters: int,
        kernel_size: object,
        strides: object = 1,
        padding: str = "valid",
        output_padding: object = None,
        data_format: str | None = None,
        dilation_rate: object = 1,
        activation: object = None,
        use_bias: bool = True,
        kernel_initializer: object = "glorot_uniform",
        bias_initializer: object = "zeros",
        groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            **kwargs,
        )  # fmt: skip
        rank = self.spatial_rank
        self.filters = positive_int("filters", filters)
        self.output_padding: tuple[int, ...] | None = None
        if output_padding is not None:
            items = output_padding if isinstance(output_padding, list | tuple) else [output_padding] * rank
            if len(items) != rank:
                raise ConfigError("output_padding", output_padding, f"expected {rank} integers")
            self.output_padding = tuple(
                positive_int("output_padding", item, minimum=0, maximum=MAX_EXTENT) for item in items
            )
            if any(extra >= stride for extra, stride in zip(self.output_padding, self.strides, strict=True)):
                raise ConfigError("output_padding", output_padding, f"expected less than {self.strides}")
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        positive_int("groups", groups, maximum=1)
        self.kernel: Variable | None = None

    @property
    def output_channels(self) -> int:
        return self.filters

    def _surplus(self, axis: int) -> int:
        """How much longer the output is than what the windows cover, negative where it is cut."""
        window = (self.kernel_size[axis] - 1) * self.dilation_rate[axis] + 1
        stride = self.strides[axis]
        extra = None if self.output_padding is None else self.output_padding[axis]
        if self.padding == "valid":
            return max(stride - window, 0) if extra is None else extra
        return stride - window if extra is None else window % 2 + extra - window

    def output_sizes(self, spatial: Shape) -> list[int | None]:
        def full(axis: int, size: int) -> int:
            window = (self.kernel_size[axis] - 1) * self.dilation_rate[axis] + 1
            return (size - 1) * self.strides[axis] + window + self._surplus(axis)

        return [None if size is None else full(axis, size) for axis, size in enumerate(spatial)]

    def build_weights(self, input_shape: Shape) -> None:
        channels = self.input_channels(input_shape)
        self.compute_output_shape(input_shape)
        shape = (*self.kernel_size, self.filters, channels)
        self.kernel = self.add_weight("kernel", shape, self.kernel_initializer)
        self.add_bias()

    def lower_window(self, plan: Lowering, x: Flow, activation: activations.Activation, padding: str) -> int:
        value, shape = x.value, x.shape
        for axis in range(self.spatial_rank):
            value, shape = self._spread(plan, value, shape, axis)
        spatial = tuple(range(self.spatial_rank))
        kernel = np.flip(plan.packed(self.kernel), spatial).swapaxes(-1, -2)
        return plan.ops.convolution(
            value,
            np.ascontiguousarray(kernel),
            plan.weights(self.bias),
            strides=(1,) * self.spatial_rank,
            padding="valid",
            dilation=self.dilation_rate,
            groups=1,
            activation=activation.core(),
        )

    def _spread(self, plan: Lowering, value: int, shape: Shape, axis: int) -> tuple[int, Shape]:
        """Zeros between the elements along a spatial axis, and as many around as the windows need."""
        stride, position = self.strides[axis], axis + 1
        size = shape[position]
        if stride > 1:
            others = [other for index, other in enumerate(shape[1:], 1) if index != position]
            if None in others:
                raise ValueError(
                    f"layer {self.name!r} ({self.class_name}): at most one axis may be of unknown size, "
                    f"got shape {shape}"
                )
            value = plan.ops.expand_dims(value, position + 1)
            value = plan.ops.pad(value, axis=position + 1, before=0, after=stride - 1)
            target = [-1 if index == position else int(other or 0) for index, other in enumerate(shape)][1:]
            value = plan.ops.reshape(value, target)
            value = plan.ops.slice(value, axis=position, start=None, stop=1 - stride)
        reach = (self.kernel_size[axis] - 1) * self.dilation_rate[axis]
        surplus = self._surplus(axis)
        # "same" cuts the cover of the windows, the smaller half in front.
        left = max(0, -surplus) // 2
        value = plan.ops.pad(value, axis=position, before=reach - left, after=reach + surplus + left)
        spread = None if size is None else (size - 1) * stride + 1 + 2 * reach + surplus
        return value, (*shape[:position], spread, *shape[position + 1 :])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "filters": self.filters,
            "output_padding": self.output_padding,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
        }


@register
class Conv1DTranspose(TransposedConvolution):
    """A transposed convolution over timesteps. See ``TransposedConvolution``.

    Source: keras 3.15 ``layers/convolutional/conv1d_transpose.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Conv1DTranspose(4, 3, strides=2, padding="same")(np.zeros((2, 9, 5), np.float32)).shape
    (2, 18, 4)
    """

    spatial_rank: ClassVar = 1


@register
class Conv2DTranspose(TransposedConvolution):
    """A transposed convolution over images. See ``TransposedConvolution``.

    Source: keras 3.15 ``layers/convolutional/conv2d_transpose.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import Input, Model, layers
    >>> x = Input((4, 5, 2))
    >>> layers.Conv2DTranspose(3, 3, strides=2)(x).shape
    (None, 9, 11, 3)
    """

    facts: ClassVar = LayerFacts(theano_flips=1)
    spatial_rank: ClassVar = 2
