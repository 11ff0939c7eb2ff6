# SPDX-License-Identifier: MIT
"""Convolutions over sequences, images and volumes. Masks end here: the timesteps are others afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from unrolled import activations, initializers
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import TRAINING_ONLY, flag, positive_int
from unrolled.layers.convolution.spatial import (
    MAX_EXTENT,
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
from unrolled.layers.core import LORA_IGNORED, refuse_quantization
from unrolled.layers.registry import register
from unrolled.spec import LayerFacts


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
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        bias_initializer: Any = "zeros",
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
        self.bias: Any = None

    @property
    def output_channels(self) -> int:
        """Size of the output's channels axis."""
        raise NotImplementedError

    def check_input_shape(self, input_shape: Any) -> None:
        if len(input_shape) != self.spatial_rank + 2:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected an input of rank {self.spatial_rank + 2} "
                f"(batch axis counted), got shape {tuple(input_shape)}"
            )
        super().check_input_shape(input_shape)
        if self.built:
            self.compute_output_shape(input_shape)

    def input_channels(self, input_shape: Any) -> int:
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

    def compute_output_shape(self, input_shape: Any) -> Any:
        last = to_last(input_shape, self.data_format)
        shape = (last[0], *self.output_sizes(last[1:-1]), self.output_channels)
        shape = activations.output_shape(shape, self.activation)
        return checked_output(self, from_last(shape, self.data_format), input_shape)

    def add_bias(self) -> None:
        """Create the bias."""
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.output_channels,), self.bias_initializer)

    def find_stream_obstacle(self, x: Any) -> str | None:
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


class Convolution(WindowedKernel):
    """activation(x convolved with kernel + bias).

    Source: keras 3.15 ``layers/convolutional/base_conv.py``. Input ``(batch, spatial..., channels)``, kernel
    ``(window..., channels / groups, filters)``, output ``(batch, windows..., filters)``; there is no mask.

    Parameters
    ----------
    filters : int
        Channels of the output.
    kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer
        See ``WindowedKernel``.
    groups : int
        Channels and filters are split into so many convolutions.
    kernel_initializer
        Where a fresh kernel starts.
    quantization_config : None
        Quantised layers are refused.
    **kwargs
        ``input_shape`` and the like.
    """

    facts: ClassVar = LayerFacts(theano_flips=1, theano_orders=True)
    ignored_config: ClassVar = LORA_IGNORED

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            **kwargs,
        )  # fmt: skip
        self.filters = positive_int("filters", filters)
        self.groups = positive_int("groups", groups)
        if self.filters % self.groups:
            raise ConfigError("groups", groups, f"{self.filters} filters do not form so many groups")
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        refuse_quantization(quantization_config)
        self.kernel: Any = None

    @property
    def output_channels(self) -> int:
        return self.filters

    def build_weights(self, input_shape: Any) -> None:
        channels = self.input_channels(input_shape)
        if channels % self.groups:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): {channels} channels do not form {self.groups} groups"
            )
        self.compute_output_shape(input_shape)
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.add_weight("kernel", shape, self.kernel_initializer)
        self.add_bias()

    def lower_window(self, plan: Lowering, x: Flow, activation: activations.Activation, padding: str) -> int:
        return plan.ops.convolution(
            x.value,
            plan.packed(self.kernel),
            plan.weights(self.bias),
            strides=self.strides,
            padding=padding,
            dilation=self.dilation_rate,
            groups=self.groups,
            activation=activation.core(),
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "filters": self.filters,
            "groups": self.groups,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
        }


@register
class Conv1D(Convolution):
    """A convolution over timesteps, ``(batch, timesteps, channels)``. See ``Convolution``.

    Source: keras 3.15 ``layers/convolutional/conv1d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Conv1D(4, 3, padding="causal")(np.zeros((2, 9, 5), np.float32)).shape
    (2, 9, 4)
    """

    spatial_rank: ClassVar = 1


@register
class Conv2D(Convolution):
    """A convolution over images, ``(batch, height, width, channels)``. See ``Convolution``.

    Source: keras 3.15 ``layers/convolutional/conv2d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Conv2D(4, 3, strides=2)(np.zeros((2, 9, 8, 5), np.float32)).shape
    (2, 4, 3, 4)
    """

    spatial_rank: ClassVar = 2


@register
class Conv3D(Convolution):
    """A convolution over volumes, ``(batch, a, b, c, channels)``. See ``Convolution``.

    Source: keras 3.15 ``layers/convolutional/conv3d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Conv3D(4, 3)(np.zeros((2, 5, 5, 5, 2), np.float32)).shape
    (2, 3, 3, 3, 4)
    """

    spatial_rank: ClassVar = 3


class TwoKernels(WindowedKernel):
    """Base of convolutions with a depthwise and perhaps a pointwise kernel."""

    def in_keras_3(self, serialized: dict[str, Any]) -> dict[str, Any]:
        """Without the options of one kernel, which tf.keras writes for these, too."""
        config = {
            key: value
            for key, value in serialized["config"].items()
            if not key.startswith("kernel_") or key == "kernel_size"
        }
        return serialized | {"config": config}


class DepthwiseConvolution(TwoKernels):
    """Every channel convolved with kernels of its own.

    Source: keras 3.15 ``layers/convolutional/base_depthwise_conv.py``. Kernel
    ``(window..., channels, depth_multiplier)``; output channel c depth_multiplier + m is channel c under
    kernel m. There is no mask.

    Parameters
    ----------
    kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer
        See ``WindowedKernel``.
    depth_multiplier : int
        Kernels for each channel.
    depthwise_initializer
        Where a fresh kernel starts.
    groups : int
        Keras 2 writes it, always 1.
    **kwargs
        ``input_shape`` and the like.
    """

    keras_versions: ClassVar = "2, 3"
    ignored_config: ClassVar = {
        "depthwise_regularizer": "adds to the training loss only",
        "depthwise_constraint": "applied after a training step only",
    }
    takes_causal: ClassVar = False

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            **kwargs,
        )  # fmt: skip
        self.depth_multiplier = positive_int("depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer, "depthwise_initializer")
        positive_int("groups", groups, maximum=1)
        self.channels = 0
        self.kernel: Any = None

    @property
    def output_channels(self) -> int:
        return self.channels * self.depth_multiplier

    def compute_output_shape(self, input_shape: Any) -> Any:
        if not self.channels:
            self.channels = self.input_channels(input_shape)
        return super().compute_output_shape(input_shape)

    def build_weights(self, input_shape: Any) -> None:
        self.channels = self.input_channels(input_shape)
        self.compute_output_shape(input_shape)
        shape = (*self.kernel_size, self.channels, self.depth_multiplier)
        self.kernel = self.add_weight("kernel", shape, self.depthwise_initializer)
        self.add_bias()

    def lower_window(self, plan: Lowering, x: Flow, activation: activations.Activation, padding: str) -> int:
        kernel = plan.packed(self.kernel)
        return plan.ops.convolution(
            x.value,
            kernel.reshape(*self.kernel_size, 1, self.output_channels),
            plan.weights(self.bias),
            strides=self.strides,
            padding=padding,
            dilation=self.dilation_rate,
            groups=self.channels,
            activation=activation.core(),
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "depth_multiplier": self.depth_multiplier,
            "depthwise_initializer": initializers.serialize(self.depthwise_initializer),
        }


@register
class DepthwiseConv1D(DepthwiseConvolution):
    """A depthwise convolution over timesteps. See ``DepthwiseConvolution``.

    Source: keras 3.15 ``layers/convolutional/depthwise_conv1d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.DepthwiseConv1D(3, depth_multiplier=2)(np.zeros((2, 9, 5), np.float32)).shape
    (2, 7, 10)
    """

    spatial_rank: ClassVar = 1


@register
class DepthwiseConv2D(DepthwiseConvolution):
    """A depthwise convolution over images. See ``DepthwiseConvolution``.

    Source: keras 3.15 ``layers/convolutional/depthwise_conv2d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.DepthwiseConv2D(3)(np.zeros((2, 9, 8, 5), np.float32)).shape
    (2, 7, 6, 5)
    """

    spatial_rank: ClassVar = 2


class SeparableConvolution(TwoKernels):
    """A depthwise convolution, then a mixture of its channels at every position.

    Source: keras 3.15 ``layers/convolutional/base_separable_conv.py``. Depthwise kernel
    ``(window..., channels, depth_multiplier)``, pointwise kernel
    ``(1..., channels * depth_multiplier, filters)``. There is no mask.

    Parameters
    ----------
    filters : int
        Channels of the output.
    kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer
        See ``WindowedKernel``.
    depth_multiplier : int
        Kernels for each channel.
    depthwise_initializer, pointwise_initializer
        Where fresh kernels start.
    groups : int
        Keras 2 writes it, always 1.
    **kwargs
        ``input_shape`` and the like.
    """

    ignored_config: ClassVar = {
        "depthwise_regularizer": "adds to the training loss only",
        "depthwise_constraint": "applied after a training step only",
        "pointwise_regularizer": "adds to the training loss only",
        "pointwise_constraint": "applied after a training step only",
        "kernel_initializer": "Keras 2 writes it, but the layer has no such kernel",
    }

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            **kwargs,
        )  # fmt: skip
        self.filters = positive_int("filters", filters)
        self.depth_multiplier = positive_int("depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer, "depthwise_initializer")
        self.pointwise_initializer = initializers.get(pointwise_initializer, "pointwise_initializer")
        positive_int("groups", groups, maximum=1)
        self.depthwise_kernel: Any = None
        self.pointwise_kernel: Any = None

    @property
    def output_channels(self) -> int:
        return self.filters

    def build_weights(self, input_shape: Any) -> None:
        channels = self.input_channels(input_shape)
        self.compute_output_shape(input_shape)
        self.depthwise_kernel = self.add_weight(
            "depthwise_kernel",
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
        )
        self.pointwise_kernel = self.add_weight(
            "pointwise_kernel",
            (*(1,) * self.spatial_rank, channels * self.depth_multiplier, self.filters),
            self.pointwise_initializer,
        )
        self.add_bias()

    def lower_window(self, plan: Lowering, x: Flow, activation: activations.Activation, padding: str) -> int:
        depthwise = plan.packed(self.depthwise_kernel)
        channels = depthwise.shape[-2]
        mixed = channels * self.depth_multiplier
        value = plan.ops.convolution(
            x.value,
            depthwise.reshape(*self.kernel_size, 1, mixed),
            None,
            strides=self.strides,
            padding=padding,
            dilation=self.dilation_rate,
            groups=channels,
            activation=activations.linear.core(),
        )
        pointwise = plan.packed(self.pointwise_kernel).reshape(mixed, self.filters)
        return plan.ops.dense(value, pointwise, plan.weights(self.bias), activation.core())

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "filters": self.filters,
            "depth_multiplier": self.depth_multiplier,
            "depthwise_initializer": initializers.serialize(self.depthwise_initializer),
            "pointwise_initializer": initializers.serialize(self.pointwise_initializer),
        }


@register
class SeparableConv1D(SeparableConvolution):
    """A separable convolution over timesteps. See ``SeparableConvolution``.

    Source: keras 3.15 ``layers/convolutional/separable_conv1d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.SeparableConv1D(4, 3)(np.zeros((2, 9, 5), np.float32)).shape
    (2, 7, 4)
    """

    keras_versions: ClassVar = "2, 3"
    spatial_rank: ClassVar = 1


@register
class SeparableConv2D(SeparableConvolution):
    """A separable convolution over images. See ``SeparableConvolution``.

    Source: keras 3.15 ``layers/convolutional/separable_conv2d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.SeparableConv2D(4, 3)(np.zeros((2, 9, 8, 5), np.float32)).shape
    (2, 7, 6, 4)
    """

    spatial_rank: ClassVar = 2


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

    def find_stream_obstacle(self, x: Any) -> str | None:
        return self.stream_obstacle

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
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
        self.kernel: Any = None

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

    def build_weights(self, input_shape: Any) -> None:
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


Convolution1D = Conv1D
Convolution2D = Conv2D
Convolution3D = Conv3D
