# SPDX-License-Identifier: MIT
"""Pooling over sequences, images and volumes. Masks end here; only global average pooling of 1D uses one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.layers.base import Layer
from unrolled.layers.config_values import flag
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
from unrolled.layers.registry import register

PoolingClass = TypeVar("PoolingClass", bound=Layer)


class Pooling(Layer):
    """The maximum or mean of every window.

    Source: keras 3.15 ``layers/pooling/base_pooling.py``. Input ``(batch, spatial..., channels)``; a mean
    at a padded border divides by the number of real elements. There is no mask.

    Parameters
    ----------
    pool_size : int or sequence of int
        The window.
    strides : int or sequence of int, optional
        Distance between windows; ``pool_size`` where absent.
    padding : {"valid", "same"}
        Which windows there are.
    data_format : {"channels_last", "channels_first"}
        Where the channels axis is.
    **kwargs
        ``input_shape`` and the like.
    """

    mask_rule: ClassVar = "ends"
    stream_obstacle: ClassVar = "gives fewer timesteps than it gets"
    spatial_rank: ClassVar[int]
    kind: ClassVar[str]

    def __init__(
        self,
        pool_size: object = 2,
        strides: object = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = sizes("pool_size", pool_size, self.spatial_rank)
        self.strides = self.pool_size if strides is None else sizes("strides", strides, self.spatial_rank)
        self.padding = padding_name(padding)
        self.data_format = format_name(data_format)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        last = to_last(input_shape, self.data_format)
        spatial = [
            window_output(size, window, stride, self.padding)
            for size, window, stride in zip(last[1:-1], self.pool_size, self.strides, strict=True)
        ]
        return checked_output(self, from_last((last[0], *spatial, last[-1]), self.data_format), input_shape)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        last = channels_last(plan, plan.as_float(x), self.data_format)
        value = plan.ops.pool(
            last.value, kind=self.kind, size=self.pool_size, strides=self.strides, padding=self.padding
        )
        shape = to_last(self.compute_output_shape(x.shape), self.data_format)
        return restore_format(plan, Flow(value, shape), self.data_format)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }


class GlobalPooling(Layer):
    """The maximum or mean over all spatial axes.

    Source: keras 3.15 ``layers/pooling/base_global_pooling.py``. Input ``(batch, spatial..., channels)``,
    output ``(batch, channels)``. There is no mask afterwards.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}
        Where the channels axis is.
    keepdims : bool
        Keep the spatial axes, of size 1.
    **kwargs
        ``input_shape`` and the like.
    """

    mask_rule: ClassVar = "ends"
    spatial_rank: ClassVar[int]
    kind: ClassVar[str]

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = format_name(data_format)
        self.keepdims = flag("keepdims", keepdims)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        last = to_last(input_shape, self.data_format)
        kept = (1,) * self.spatial_rank if self.keepdims else ()
        return from_last((last[0], *kept, last[-1]), self.data_format if self.keepdims else "channels_last")

    def find_stream_obstacle(self, x: Flow) -> str | None:
        if self.spatial_rank != 1:
            return "pools over the time axis too (TimeDistributed around it would not)"
        if self.data_format != "channels_last":
            return 'takes axis 1 as its channels (data_format="channels_first")'
        return None

    def lower_stream(self, plan: Lowering, flows: Sequence[Flow], x: Any, *args: Any, **kwargs: Any) -> Flow:
        self.refuse_stream(self.find_stream_obstacle(x), flows)
        value = self.lower_running(plan, plan.as_float(x))
        return Flow(value, self.compute_output_shape(x.shape))

    def lower_running(self, plan: Lowering, x: Flow) -> int:
        """The result over all timesteps so far, its accumulators carried."""
        raise NotImplementedError

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        x = plan.as_float(x)
        axes = tuple(axis for axis in range(1, len(x.shape)) if axis != self._channels_axis(x))
        value = plan.ops.reduce(x.value, kind=self.kind, axes=axes, keepdims=self.keepdims)
        return Flow(value, self.compute_output_shape(x.shape))

    def _channels_axis(self, x: Flow) -> int:
        return len(x.shape) - 1 if self.data_format == "channels_last" else 1

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"data_format": self.data_format, "keepdims": self.keepdims}


# What has so many spatial axes, and its shape.
_DATA = {
    1: ("timesteps", "(batch, timesteps, channels)"),
    2: ("images", "(batch, height, width, channels)"),
    3: ("volumes", "(batch, a, b, c, channels)"),
}
_EXAMPLES = {1: (2, 6, 3), 2: (2, 6, 4, 3), 3: (2, 6, 4, 2, 3)}
_POOLING_DOC = """The {kind} of windows of {data}, ``{shape}``. See ``Pooling``.

    Source: keras 3.15 ``layers/pooling/{file}_pooling{rank}d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.{name}(2)(np.zeros({example}, np.float32)).shape
    {result}
    """
_GLOBAL_DOC = """The {kind} over all positions of {data}, ``{shape}``. See ``GlobalPooling``.

    Source: keras 3.15 ``layers/pooling/global_{file}_pooling{rank}d.py``. There is no mask afterwards.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.{name}()(np.zeros({example}, np.float32)).shape
    {result}
    """


def _pooling(name: str, rank: int, kind: str) -> type[Pooling]:
    """``MaxPooling1D`` and the like, which differ in nothing else."""
    example = _EXAMPLES[rank]
    halves = (example[0], *(size // 2 for size in example[1:-1]), example[-1])
    return register(_with_doc(_POOLING_DOC, Pooling, name, rank, kind, halves))


def _global_pooling(name: str, rank: int, kind: str) -> type[GlobalPooling]:
    """``GlobalMaxPooling2D`` and the like."""
    example = _EXAMPLES[rank]
    return register(_with_doc(_GLOBAL_DOC, GlobalPooling, name, rank, kind, (example[0], example[-1])))


def _with_doc(
    text: str, base: type[PoolingClass], name: str, rank: int, kind: str, result: tuple[int, ...]
) -> type[PoolingClass]:
    data, shape = _DATA[rank]
    words = {"kind": "maximum" if kind == "max" else "mean", "file": "max" if kind == "max" else "average"}
    doc = text.format(
        name=name, rank=rank, data=data, shape=shape, example=_EXAMPLES[rank], result=result, **words
    )
    attributes = {"spatial_rank": rank, "input_ranks": (rank + 2,), "kind": kind}
    return type(name, (base,), attributes | {"__doc__": doc, "__module__": __name__})


MaxPooling1D = _pooling("MaxPooling1D", 1, "max")
MaxPooling2D = _pooling("MaxPooling2D", 2, "max")
MaxPooling3D = _pooling("MaxPooling3D", 3, "max")
AveragePooling1D = _pooling("AveragePooling1D", 1, "average")
AveragePooling2D = _pooling("AveragePooling2D", 2, "average")
AveragePooling3D = _pooling("AveragePooling3D", 3, "average")
GlobalMaxPooling2D = _global_pooling("GlobalMaxPooling2D", 2, "max")
GlobalMaxPooling3D = _global_pooling("GlobalMaxPooling3D", 3, "max")
GlobalAveragePooling2D = _global_pooling("GlobalAveragePooling2D", 2, "mean")
GlobalAveragePooling3D = _global_pooling("GlobalAveragePooling3D", 3, "mean")


@register
class GlobalMaxPooling1D(GlobalPooling):
    """The maximum over all timesteps, ``(batch, timesteps, channels)``. See ``GlobalPooling``.

    Source: keras 3.15 ``layers/pooling/global_max_pooling1d.py``. There is no mask afterwards.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.GlobalMaxPooling1D()(np.zeros((2, 6, 3), np.float32)).shape
    (2, 3)
    """

    spatial_rank: ClassVar = 1
    input_ranks: ClassVar = (3,)
    kind: ClassVar = "max"

    def lower_running(self, plan: Lowering, x: Flow) -> int:
        largest = plan.carry(self.name, (1, x.shape[-1]), initial=-np.inf)
        value = plan.ops.concatenate([largest.value, x.value], axis=1)
        largest.next = plan.ops.reduce(value, kind="max", axes=(1,), keepdims=True)
        return largest.next if self.keepdims else plan.ops.squeeze(largest.next, axis=1)


@register
class GlobalAveragePooling1D(GlobalPooling):
    """The mean over all timesteps, ``(batch, timesteps, channels)``. See ``GlobalPooling``.

    Source: keras 3.15 ``layers/pooling/global_average_pooling1d.py``. With a mask the mean is over the
    unmasked timesteps, NaN where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.GlobalAveragePooling1D()(np.zeros((2, 6, 3), np.float32)).shape
    (2, 3)
    """

    mask_rule: ClassVar = "used: mean over unmasked steps; ends"
    spatial_rank: ClassVar = 1
    input_ranks: ClassVar = (3,)
    kind: ClassVar = "mean"

    def lower_running(self, plan: Lowering, x: Flow) -> int:
        self._check_mask(x)
        sums = plan.carry(self.name, (x.shape[-1],), "float64")
        count = plan.carry(self.name, (1,), "float64")
        value, sums.next, count.next = plan.ops.running_mean(
            x.value, sums.value, count.value, mask=x.mask, keepdims=self.keepdims
        )
        return value

    def _check_mask(self, x: Flow) -> None:
        if x.mask is not None and x.mask_rank != 2:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected a mask of rank 2, got rank {x.mask_rank}"
            )

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        if x.mask is None:
            return super().lower(plan, x)
        self._check_mask(x)
        last = channels_last(plan, plan.as_float(x), self.data_format)
        value = plan.ops.masked_mean(last.value, x.mask, keepdims=self.keepdims)
        last_shape = to_last(
            self.compute_output_shape(x.shape), self.data_format if self.keepdims else "channels_last"
        )
        result = Flow(value, last_shape)
        return restore_format(plan, result, self.data_format) if self.keepdims else result


MaxPool1D = MaxPooling1D
AvgPool1D = AveragePooling1D
GlobalMaxPool1D = GlobalMaxPooling1D
GlobalAvgPool1D = GlobalAveragePooling1D
MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
MaxPool3D = MaxPooling3D
AvgPool3D = AveragePooling3D
GlobalMaxPool3D = GlobalMaxPooling3D
GlobalAvgPool3D = GlobalAveragePooling3D
