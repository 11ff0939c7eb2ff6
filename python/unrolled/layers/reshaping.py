# SPDX-License-Identifier: MIT
"""Layers that move elements: reshape, permute, repeat, crop, pad, enlarge. Masks end here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import choice, positive_int
from unrolled.layers.convolution.spatial import (
    MAX_ELEMENTS_A_ROW,
    MAX_EXTENT,
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


class Moving(Layer):
    """Base of those whose output has the input's elements and dtype."""

    mask_rule: ClassVar = "ends"
    stream_obstacle: ClassVar = "moves elements between timesteps"

    def output_dtype(self, input_dtype: str) -> str:
        return input_dtype


@register
class Flatten(Moving):
    """All axes but the batch in one.

    Source: keras 3.15 ``layers/reshaping/flatten.py``. Output ``(batch, elements)``; there is no mask.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}
        With "channels_first" the channels are moved last before.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Flatten()(np.zeros((2, 3, 4), np.float32)).shape
    (2, 12)
    """

    stream_obstacle: ClassVar = "puts all timesteps into one row"

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = format_name(data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        rest = input_shape[1:]
        return (input_shape[0], None if any(size is None for size in rest) else math.prod(rest))

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        if len(x.shape) > 2:
            x = channels_last(plan, x, self.data_format)
        value = plan.ops.expand_dims(x.value, 1) if len(x.shape) == 1 else plan.ops.reshape(x.value, (-1,))
        return Flow(value, self.compute_output_shape(x.shape), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"data_format": self.data_format}


@register
class Reshape(Moving):
    """Another shape for the same elements.

    Source: keras 3.15 ``layers/reshaping/reshape.py``. There is no mask.

    Parameters
    ----------
    target_shape : sequence of int
        Without the batch axis; one may be -1.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Reshape((-1, 2))(np.zeros((5, 12), np.float32)).shape
    (5, 6, 2)
    """

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        items = [target_shape] if isinstance(target_shape, int) else target_shape
        if not isinstance(items, list | tuple) or len(items) > 7:
            raise ConfigError("target_shape", target_shape, "expected a list of at most 7 integers")
        target = [
            -1 if item in (-1, None) else positive_int("target_shape", item, maximum=MAX_ELEMENTS_A_ROW)
            for item in items
        ]
        if target.count(-1) > 1:
            raise ConfigError("target_shape", target_shape, "only one size may be -1")
        if math.prod(abs(item) for item in target) > MAX_ELEMENTS_A_ROW:
            raise ConfigError("target_shape", target_shape, "too many elements")
        self.target_shape = tuple(target)

    def compute_output_shape(self, input_shape: Any) -> Any:
        rest = input_shape[1:]
        if any(size is None for size in rest):
            return (input_shape[0], *(None if size == -1 else size for size in self.target_shape))
        elements = math.prod(rest)
        known = math.prod(size for size in self.target_shape if size != -1)
        if (elements % known if -1 in self.target_shape else elements != known) != 0:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): an input of shape {tuple(input_shape)} does not "
                f"have the elements of target_shape {self.target_shape}"
            )
        return (input_shape[0], *(elements // known if size == -1 else size for size in self.target_shape))

    def check_input_shape(self, input_shape: Any) -> None:
        super().check_input_shape(input_shape)
        self.compute_output_shape(input_shape)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        shape = self.compute_output_shape(x.shape)
        # The sizes that are known, so that only an unknown one is left to the run.
        known = all(size is not None for size in shape[1:])
        target = shape[1:] if known else self.target_shape
        return Flow(plan.ops.reshape(x.value, target), shape, x.dtype)

    def lower_stream(self, plan: Lowering, flows: Sequence[Flow], x: Any, *args: Any, **kwargs: Any) -> Flow:
        inner, target = x.shape[2:], self.target_shape[1:]
        keeps_time = -1 not in target and None not in inner and math.prod(target) == math.prod(inner)
        self.refuse_stream(None if keeps_time else self.stream_obstacle, flows)
        value = plan.ops.reshape(x.value, (-1, *target))
        return Flow(value, (*x.shape[:2], *target), x.dtype, is_sequence=True)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"target_shape": self.target_shape}


@register
class Permute(Moving):
    """The axes but the batch in another order.

    Source: keras 3.15 ``layers/reshaping/permute.py``. There is no mask.

    Parameters
    ----------
    dims : sequence of int
        Axes counted from 1: ``(2, 1)`` swaps timesteps and features.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Permute((2, 1))(np.zeros((5, 3, 4), np.float32)).shape
    (5, 4, 3)
    """

    def __init__(self, dims: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        items = list(dims) if isinstance(dims, list | tuple) else [dims]
        if (
            not items
            or len(items) > 7
            or sorted(map(repr, items)) != sorted(map(repr, range(1, len(items) + 1)))
        ):
            raise ConfigError("dims", dims, "expected a permutation of 1, 2, ... (at most 7 axes)")
        self.dims = tuple(int(item) for item in items)

    def check_input_shape(self, input_shape: Any) -> None:
        if len(input_shape) != len(self.dims) + 1:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): dims {self.dims} expect an input of rank "
                f"{len(self.dims) + 1} (batch axis counted), got shape {tuple(input_shape)}"
            )

    def find_stream_obstacle(self, x: Any) -> str | None:
        return None if self.dims[0] == 1 else self.stream_obstacle

    def compute_output_shape(self, input_shape: Any) -> Any:
        self.check_input_shape(input_shape)
        return (input_shape[0], *(input_shape[axis] for axis in self.dims))

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        value = plan.ops.transpose(x.value, (0, *self.dims))
        return Flow(value, self.compute_output_shape(x.shape), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"dims": self.dims}


@register
class RepeatVector(Moving):
    """A vector at ``n`` timesteps: ``(batch, features)`` to ``(batch, n, features)``.

    Source: keras 3.15 ``layers/reshaping/repeat_vector.py``. There is no mask.

    Parameters
    ----------
    n : int
        The number of timesteps.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.RepeatVector(3)(np.zeros((5, 2), np.float32)).shape
    (5, 3, 2)
    """

    input_ranks: ClassVar = (2,)

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = positive_int("n", n, maximum=MAX_EXTENT)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return checked_output(self, (input_shape[0], self.n, input_shape[1]), input_shape)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        value = plan.ops.repeat(plan.ops.expand_dims(x.value, 1), axis=1, count=self.n)
        return Flow(value, self.compute_output_shape(x.shape), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"n": self.n}


def pairs_config(amounts: tuple[tuple[int, int], ...]) -> Any:
    """Keras's config value: a pair for one axis, pairs for several."""
    return amounts[0] if len(amounts) == 1 else amounts


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

    def __init__(self, cropping: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cropping = pairs("cropping", cropping, self.spatial_rank)
        self.data_format = format_name(data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
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

    def compute_output_shape(self, input_shape: Any) -> Any:
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

    def __init__(self, size: Any = 2, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = sizes("size", size, self.spatial_rank)
        self.data_format = format_name(data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
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
        self, size: Any = 2, data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
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


def interpolation_matrix(size: int, factor: int) -> NDArray[np.float32]:
    """``[size, size * factor]``: the weights of the old elements in each new one, half-pixel centres."""
    positions = (np.arange(size * factor) + 0.5) / factor - 0.5
    clipped = np.clip(positions, 0, size - 1)
    lower = np.floor(clipped).astype(int)
    upper = np.minimum(lower + 1, size - 1)
    weight = (clipped - lower).astype(np.float32)
    matrix = np.zeros((size, size * factor), np.float32)
    columns = np.arange(size * factor)
    np.add.at(matrix, (lower, columns), 1.0 - weight)
    np.add.at(matrix, (upper, columns), weight)
    return matrix


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
