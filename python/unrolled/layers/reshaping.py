# SPDX-License-Identifier: MIT
"""Layers that move elements: reshape, permute, repeat, crop, pad, enlarge. Masks end here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import positive_int
from unrolled.layers.convolution.spatial import (
    MAX_ELEMENTS_A_ROW,
    MAX_EXTENT,
    channels_last,
    checked_output,
    format_name,
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

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        known = [size for size in input_shape[1:] if size is not None]
        return (input_shape[0], math.prod(known) if len(known) == len(input_shape) - 1 else None)

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

    def __init__(self, target_shape: object, **kwargs: Any) -> None:
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

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        rest = [size for size in input_shape[1:] if size is not None]
        if len(rest) < len(input_shape) - 1:
            return (input_shape[0], *(None if size == -1 else size for size in self.target_shape))
        elements = math.prod(rest)
        known = math.prod(size for size in self.target_shape if size != -1)
        if (elements % known if -1 in self.target_shape else elements != known) != 0:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): an input of shape {tuple(input_shape)} does not "
                f"have the elements of target_shape {self.target_shape}"
            )
        return (input_shape[0], *(elements // known if size == -1 else size for size in self.target_shape))

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        self.compute_output_shape(input_shape)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        shape = self.compute_output_shape(x.shape)
        # The sizes that are known, so that only an unknown one is left to the run.
        known = [size for size in shape[1:] if size is not None]
        target = known if len(known) == len(shape) - 1 else self.target_shape
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

    def __init__(self, dims: object, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        items: list[Any] = list(dims) if isinstance(dims, list | tuple) else [dims]
        if (
            not items
            or len(items) > 7
            or sorted(map(repr, items)) != sorted(map(repr, range(1, len(items) + 1)))
        ):
            raise ConfigError("dims", dims, "expected a permutation of 1, 2, ... (at most 7 axes)")
        self.dims = tuple(int(item) for item in items)

    def check_input_shape(self, input_shape: Shape) -> None:
        if len(input_shape) != len(self.dims) + 1:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): dims {self.dims} expect an input of rank "
                f"{len(self.dims) + 1} (batch axis counted), got shape {tuple(input_shape)}"
            )

    def find_stream_obstacle(self, x: Flow) -> str | None:
        return None if self.dims[0] == 1 else self.stream_obstacle

    def compute_output_shape(self, input_shape: Shape) -> Shape:
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

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return checked_output(self, (input_shape[0], self.n, input_shape[1]), input_shape)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        value = plan.ops.repeat(plan.ops.expand_dims(x.value, 1), axis=1, count=self.n)
        return Flow(value, self.compute_output_shape(x.shape), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"n": self.n}


def pairs_config(amounts: tuple[tuple[int, int], ...]) -> Any:
    """Keras's config value: a pair for one axis, pairs for several."""
    return amounts[0] if len(amounts) == 1 else amounts


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
