# SPDX-License-Identifier: MIT
"""What layers over images, volumes and sequences share: window sizes, data formats, output sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import choice, positive_int

# Sizes of windows, paddings and repetitions beyond this are not from a trained model.
MAX_EXTENT = 2**20
# The most elements that one row of a layer's output may have: 1 GiB of float32.
MAX_ELEMENTS_A_ROW = 2**28


def sizes(key: str, value: object, rank: int) -> tuple[int, ...]:
    """``value``, an int or a list of ``rank`` ints, as positive ints, or a ``ConfigError``."""
    items = list(value) if isinstance(value, list | tuple) else [value] * rank
    if len(items) != rank:
        raise ConfigError(key, value, f"expected an integer or {rank} of them")
    return tuple(positive_int(key, item, maximum=MAX_EXTENT) for item in items)


def pairs(key: str, value: object, rank: int) -> tuple[tuple[int, int], ...]:
    """Amounts before and after each spatial axis, or a ``ConfigError``.

    ``value``: an int for all; for one axis a pair; for several a list of ints and pairs.
    """

    def pair(item: Any) -> tuple[int, int]:
        both = list(item) if isinstance(item, list | tuple) else [item, item]
        if len(both) != 2:
            raise ConfigError(key, value, "expected integers or pairs of integers")
        before, after = (positive_int(key, amount, minimum=0, maximum=MAX_EXTENT) for amount in both)
        return before, after

    if not isinstance(value, list | tuple):
        return (pair(value),) * rank
    if rank == 1:
        single = value[0] if len(value) == 1 and isinstance(value[0], list | tuple) else value
        return (pair(single),)
    if len(value) != rank:
        raise ConfigError(key, value, f"expected an integer or {rank} integers or pairs")
    return tuple(pair(item) for item in value)


def format_name(value: object) -> str:
    """ "channels_last" or "channels_first", or a ``ConfigError``."""
    return choice(
        "data_format", "channels_last" if value is None else value, ["channels_last", "channels_first"]
    )


def padding_name(value: object, *, causal: bool = False) -> str:
    """ "valid" or "same" (or "causal") in lower case, or a ``ConfigError``."""
    lowered = value.lower() if isinstance(value, str) else value
    return choice("padding", lowered, ["valid", "same", "causal"] if causal else ["valid", "same"])


def window_output(size: int | None, window: int, stride: int, padding: str, dilation: int = 1) -> int | None:
    """How many windows fit on an axis of ``size``; 0 or less where none does."""
    if size is None:
        return None
    if padding in ("same", "causal"):
        return -(-size // stride)
    return (size - (window - 1) * dilation - 1) // stride + 1


def checked_output(layer: Layer, shape: Sequence[int | None], input_shape: Sequence[Any]) -> Shape:
    """``shape`` as a tuple.

    Raises
    ------
    ValueError
        Nothing is left on an axis, or a row is too large.
    """
    known = [size for size in shape[1:] if size is not None]
    if any(size <= 0 for size in known):
        raise ValueError(
            f"layer {layer.name!r} ({layer.class_name}): nothing is left of an input of shape "
            f"{tuple(input_shape)}: the output would have shape {tuple(shape)}"
        )
    if math.prod(known) > MAX_ELEMENTS_A_ROW:
        raise ValueError(
            f"layer {layer.name!r} ({layer.class_name}): the output would have shape {tuple(shape)}, "
            f"more than {MAX_ELEMENTS_A_ROW} elements a row"
        )
    return tuple(shape)


def to_last(shape: Sequence[int | None], layout: str) -> Shape:
    """A shape with its channels axis moved last."""
    return tuple(shape) if layout == "channels_last" else (shape[0], *shape[2:], shape[1])


def from_last(shape: Sequence[int | None], layout: str) -> Shape:
    """A shape with its last axis moved to where ``layout`` has the channels."""
    return tuple(shape) if layout == "channels_last" else (shape[0], shape[-1], *shape[1:-1])


def channels_last(plan: Lowering, x: Flow, layout: str) -> Flow:
    """``x`` with its channels axis moved last; no mask."""
    if layout == "channels_last":
        return Flow(x.value, x.shape, x.dtype)
    rank = len(x.shape)
    value = plan.ops.transpose(x.value, (0, *range(2, rank), 1))
    return Flow(value, to_last(x.shape, layout), x.dtype)


def restore_format(plan: Lowering, x: Flow, layout: str) -> Flow:
    """``x`` with its last axis moved to where ``layout`` has the channels."""
    if layout == "channels_last":
        return x
    rank = len(x.shape)
    value = plan.ops.transpose(x.value, (0, rank - 1, *range(1, rank - 1)))
    return Flow(value, from_last(x.shape, layout), x.dtype)


def map_spatial(shape: Sequence[int | None], layout: str, change: Callable[[int, int], int]) -> Shape:
    """``shape`` with ``change(axis number from 0, size)`` applied to its known spatial sizes."""
    last = to_last(shape, layout)
    spatial = [None if size is None else change(axis, size) for axis, size in enumerate(last[1:-1])]
    return from_last((last[0], *spatial, last[-1]), layout)


def first_spatial_axis(layout: str) -> int:
    """Where the spatial axes begin."""
    return 1 if layout == "channels_last" else 2
