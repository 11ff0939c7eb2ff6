# SPDX-License-Identifier: MIT
"""Depthwise and separable convolutions."""

from __future__ import annotations

from typing import Any, ClassVar

from unrolled import activations, initializers
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.engine.variables import Variable
from unrolled.layers.config_values import positive_int
from unrolled.layers.convolution.base import WindowedKernel
from unrolled.layers.registry import register


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
        kernel_size: object,
        strides: object = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: object = 1,
        activation: object = None,
        use_bias: bool = True,
        depthwise_initializer: object = "glorot_uniform",
        bias_initializer: object = "zeros",
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
        self.kernel: Variable | None = None

    @property
    def output_channels(self) -> int:
        return self.channels * self.depth_multiplier

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if not self.channels:
            self.channels = self.input_channels(input_shape)
        return super().compute_output_shape(input_shape)

    def build_weights(self, input_shape: Shape) -> None:
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
        kernel_size: object,
        strides: object = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: object = 1,
        depth_multiplier: int = 1,
        activation: object = None,
        use_bias: bool = True,
        depthwise_initializer: object = "glorot_uniform",
        pointwise_initializer: object = "glorot_uniform",
        bias_initializer: object = "zeros",
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
        self.depthwise_kernel: Variable | None = None
        self.pointwise_kernel: Variable | None = None

    @property
    def output_channels(self) -> int:
        return self.filters

    def build_weights(self, input_shape: Shape) -> None:
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
