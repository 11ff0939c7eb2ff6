# SPDX-License-Identifier: MIT
"""Spatial axes cut, padded and repeated. Masks end here."""

from __future__ import annotations

from typing import Any, ClassVar

from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.layers.config_values import choice
from unrolled.layers.convolution.spatial import (
    channels_last,
    checked_output,
    first_spatial_axis,
    format_name,
    map_spatial,
    pairs,
    restore_format,
    sizes,
)
from unrolled.layers.registry import register
from unrolled.layers.reshaping import Moving, interpolation_matrix, pairs_config


class Cropping(Moving):
    """Elements cut off at both ends of the spatial axes.

    Source: keras 3.15 ``layers/reshaping/cropping*.py``. There is no mask.

    Parameters
    ----------
    cropping : int, or sequence
        For one axis a pair; for several axes one int or pair for each.
    data_format : {"channels_last", "channels_first"}
        Where the channels axis is.
    **kwargs
        ``input_shape`` and the like.
    """

    spatial_rank: ClassVar[int]

    def __init__(self, cropping: object = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cropping = pairs("cropping", cropping, self.spatial_rank)
        self.data_format = format_name(data_format)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = map_spatial(input_shape, self.data_format, lambda axis, size: size - sum(self.cropping[axis]))
        return checked_output(self, shape, input_shape)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        value = x.value
        for axis, (before, after) in enumerate(self.cropping, first_spatial_axis(self.data_format)):
            if before or after:
                value = plan.ops.slice(value, axis=axis, start=before, stop=-after if after else None)
        return Flow(value, self.compute_output_shape(x.shape), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "cropping": pairs_config(self.cropping),
            "data_format": self.data_format,
        }


@register
class Cropping1D(Cropping):
    """Timesteps cut off at both ends. See ``Cropping``.

    Source: keras 3.15 ``layers/reshaping/cropping1d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Cropping1D((1, 2))(np.zeros((5, 7, 2), np.float32)).shape
    (5, 4, 2)
    """

    spatial_rank: ClassVar = 1
    input_ranks: ClassVar = (3,)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["data_format"]  # Keras has no such option for timesteps
        return config


@register
class Cropping2D(Cropping):
    """Rows and columns cut off. See ``Cropping``.

    Source: keras 3.15 ``layers/reshaping/cropping2d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Cropping2D(((1, 2), (0, 1)))(np.zeros((5, 7, 6, 2), np.float32)).shape
    (5, 4, 5, 2)
    """

    spatial_rank: ClassVar = 2
    input_ranks: ClassVar = (4,)


@register
class Cropping3D(Cropping):
    """A volume cut at its sides. See ``Cropping``.

    Source: keras 3.15 ``layers/reshaping/cropping3d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Cropping3D(1)(np.zeros((5, 7, 6, 5, 2), np.float32)).shape
    (5, 5, 4, 3, 2)
    """

    keras_versions: ClassVar = "2, 3"
    spatial_rank: ClassVar = 3
    input_ranks: ClassVar = (5,)


class ZeroPadding(Moving):
    """Zeros added at both ends of the spatial axes.

    Source: keras 3.15 ``layers/reshaping/zero_padding*.py``. There is no mask.

    Parameters
    ----------
    padding : int, or sequence
        For one axis a pair; for several axes one int or pair for each.
    data_format : {"channels_last", "channels_first"}
        Where the channels axis is.
    **kwargs
        ``input_shape`` and the like.
    """

    spatial_rank: ClassVar[int]

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.padding = pairs("padding", padding, self.spatial_rank)
        self.data_format = format_name(data_format)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = map_spatial(input_shape, self.data_format, lambda axis, size: size + sum(self.padding[axis]))
        return checked_output(self, shape, input_shape)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        value = x.value
        for axis, (before, after) in enumerate(self.padding, first_spatial_axis(self.data_format)):
            if before or after:
                value = plan.ops.pad(value, axis=axis, before=before, after=after)
        return Flow(value, self.compute_output_shape(x.shape), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "padding": pairs_config(self.padding),
            "data_format": self.data_format,
        }


@register
class ZeroPadding1D(ZeroPadding):
    """Timesteps of zeros added at both ends. See ``ZeroPadding``.

    Source: keras 3.15 ``layers/reshaping/zero_padding1d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.ZeroPadding1D((1, 2))(np.zeros((5, 7, 2), np.float32)).shape
    (5, 10, 2)
    """

    spatial_rank: ClassVar = 1
    input_ranks: ClassVar = (3,)


@register
class ZeroPadding2D(ZeroPadding):
    """Rows and columns of zeros added. See ``ZeroPadding``.

    Source: keras 3.15 ``layers/reshaping/zero_padding2d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.ZeroPadding2D((1, 2))(np.zeros((5, 7, 6, 2), np.float32)).shape
    (5, 9, 10, 2)
    """

    spatial_rank: ClassVar = 2
    input_ranks: ClassVar = (4,)


@register
class ZeroPadding3D(ZeroPadding):
    """A volume padded by zeros. See ``ZeroPadding``.

    Source: keras 3.15 ``layers/reshaping/zero_padding3d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.ZeroPadding3D(1)(np.zeros((5, 2, 2, 2, 1), np.float32)).shape
    (5, 4, 4, 4, 1)
    """

    keras_versions: ClassVar = "2, 3"
    spatial_rank: ClassVar = 3
    input_ranks: ClassVar = (5,)


class UpSampling(Moving):
    """Every element of the spatial axes repeated.

    Source: keras 3.15 ``layers/reshaping/up_sampling*.py``. There is no mask.

    Parameters
    ----------
    size : int or sequence of int
        How often, for each axis.
    data_format : {"channels_last", "channels_first"}
        Where the channels axis is.
    **kwargs
        ``input_shape`` and the like.
    """

    spatial_rank: ClassVar[int]

    def __init__(self, size: object = 2, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = sizes("size", size, self.spatial_rank)
        self.data_format = format_name(data_format)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = map_spatial(input_shape, self.data_format, lambda axis, size: size * self.size[axis])
        return checked_output(self, shape, input_shape)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        value = x.value
        for axis, count in enumerate(self.size, first_spatial_axis(self.data_format)):
            if count > 1:
                value = plan.ops.repeat(value, axis=axis, count=count)
        return Flow(value, self.compute_output_shape(x.shape), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"size": self.size, "data_format": self.data_format}


@register
class UpSampling1D(UpSampling):
    """Every timestep repeated. See ``UpSampling``.

    Source: keras 3.15 ``layers/reshaping/up_sampling1d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.UpSampling1D(3)(np.zeros((5, 7, 2), np.float32)).shape
    (5, 21, 2)
    """

    spatial_rank: ClassVar = 1
    input_ranks: ClassVar = (3,)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {"size": self.size[0]}
        del config["data_format"]  # Keras has no such option for timesteps
        return config


@register
class UpSampling2D(UpSampling):
    """Every pixel repeated, or interpolated between. See ``UpSampling``.

    Source: keras 3.15 ``layers/reshaping/up_sampling2d.py``. There is no mask. Bilinear interpolation is
    that of ``tf.image.resize`` (half-pixel centres, no antialiasing) and needs a known height and width.

    Parameters
    ----------
    size : int or pair of int
        How often rows and columns are repeated.
    data_format : {"channels_last", "channels_first"}
        Where the channels axis is.
    interpolation : {"nearest", "bilinear"}
        How.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.UpSampling2D((2, 1))(np.zeros((5, 7, 6, 2), np.float32)).shape
    (5, 14, 6, 2)
    """

    needs_timesteps: ClassVar = True
    spatial_rank: ClassVar = 2
    input_ranks: ClassVar = (4,)

    def __init__(
        self, size: object = 2, data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(size, data_format, **kwargs)
        lowered = interpolation.lower() if isinstance(interpolation, str) else interpolation
        self.interpolation = choice("interpolation", lowered, ["nearest", "bilinear"])

    def output_dtype(self, input_dtype: str) -> str:
        return input_dtype if self.interpolation == "nearest" else "float32"

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        if self.interpolation == "nearest":
            return super().lower(plan, x)
        last = channels_last(plan, plan.as_float(x), self.data_format)
        value = last.value
        for axis in (1, 2):
            size = last.shape[axis]
            if size is None:
                raise ValueError(
                    f"layer {self.name!r} ({self.class_name}): bilinear interpolation needs a known height "
                    f"and width, got shape {x.shape}"
                )
            # The axis last, a product with the weights of its neighbours, the axis back.
            swap = (0, 3, 2, 1) if axis == 1 else (0, 1, 3, 2)
            kernel = interpolation_matrix(size, self.size[axis - 1])
            value = plan.ops.matmul(plan.ops.transpose(value, swap), plan.ops.constant(kernel))
            value = plan.ops.transpose(value, swap)
        shape = (last.shape[0], *(int(last.shape[i] or 0) * self.size[i - 1] for i in (1, 2)), last.shape[3])
        return restore_format(plan, Flow(value, shape), self.data_format)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"interpolation": self.interpolation}


@register
class UpSampling3D(UpSampling):
    """Every voxel repeated. See ``UpSampling``.

    Source: keras 3.15 ``layers/reshaping/up_sampling3d.py``. There is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.UpSampling3D(2)(np.zeros((5, 2, 2, 2, 1), np.float32)).shape
    (5, 4, 4, 4, 1)
    """

    keras_versions: ClassVar = "2, 3"
    spatial_rank: ClassVar = 3
    input_ranks: ClassVar = (5,)
