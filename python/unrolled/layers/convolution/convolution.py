# SPDX-License-Identifier: MIT
"""Convolutions over sequences, images and volumes. Masks end here: the timesteps are others afterwards."""

from __future__ import annotations

from typing import Any, ClassVar

from unrolled import activations, initializers
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.engine.variables import Variable
from unrolled.errors import ConfigError
from unrolled.layers.config_values import positive_int
from unrolled.layers.convolution.base import WindowedKernel
from unrolled.layers.core import LORA_IGNORED, refuse_quantization
from unrolled.layers.registry import register
from unrolled.spec import LayerFacts


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
        kernel_size: object,
        strides: object = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: object = 1,
        groups: int = 1,
        activation: object = None,
        use_bias: bool = True,
        kernel_initializer: object = "glorot_uniform",
        bias_initializer: object = "zeros",
        quantization_config: object = None,
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
        self.kernel: Variable | None = None

    @property
    def output_channels(self) -> int:
        return self.filters

    def build_weights(self, input_shape: Shape) -> None:
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


Convolution1D = Conv1D
Convolution2D = Conv2D
Convolution3D = Conv3D
