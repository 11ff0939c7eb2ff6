# SPDX-License-Identifier: MIT
"""Inputs joined along an axis, and what becomes of their masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import positive_int
from unrolled.layers.merging import Merging, batch_size, expand_mask
from unrolled.layers.registry import register


@register
class Concatenate(Merging):
    """Its inputs one after the other along an axis.

    Source: keras 3.15 ``layers/merging/concatenate.py``. Masks, where an input has one: along the timesteps
    they are concatenated, inputs without a mask counting as true; along the features a timestep is kept
    where any input keeps it (Keras 3.4 on; an input without a mask keeps all), or where all do (before).

    Parameters
    ----------
    axis : int
        Not the batch axis.
    **kwargs
        ``name`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Concatenate()([np.ones((1, 2)), np.zeros((1, 1))]).tolist()
    [[1.0, 1.0, 0.0]]
    """

    mask_rule: ClassVar = "Keras 3.4 on: any() of the inputs'; before: all(); along time: joined"
    old_mask_rule: ClassVar = "masks that meet are reduced by all(), or end here; Keras 3.4 and later: any()"

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = positive_int("axis", axis, minimum=-7, maximum=7)
        if self.axis == 0:
            raise ConfigError("axis", axis, "rows of a batch are never joined")

    def find_stream_obstacle(self, x: Any) -> str | None:
        over_time = self.axis % len(x[0].shape) == 1
        return "puts one sequence after another along the time axis" if over_time else None

    def merged_dtype(self, dtypes: Sequence[str]) -> str:
        return dtypes[0] if len(set(dtypes)) == 1 else "float32"

    def compute_output_shape(self, input_shape: Any) -> Any:
        shapes = [tuple(shape) for shape in input_shape]
        rank = len(shapes[0])
        axis = self.axis % rank if -rank < self.axis < rank else 0
        fits = axis > 0 and all(len(shape) == rank for shape in shapes)
        result: list[int | None] = [batch_size(shapes)]
        for other in range(1, rank if fits else 1):
            sizes = [shape[other] for shape in shapes]
            if other == axis:
                result.append(None if None in sizes else sum(size for size in sizes if size is not None))
            else:
                known = set(sizes) - {None}
                fits = fits and len(known) <= 1
                result.append(known.pop() if known else None)
        if not fits:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): inputs of shapes {shapes} do not fit together "
                f"along axis {self.axis}"
            )
        return tuple(result)

    def lower(self, plan: Lowering, x: Any, **kwargs: Any) -> Flow:
        flows: list[Flow] = list(x)
        dtype = self.merged_dtype([flow.dtype for flow in flows])
        if dtype == "float32":
            flows = [plan.as_float(flow) for flow in flows]
        shape = self.compute_output_shape([flow.shape for flow in flows])
        axis = self.axis % len(shape)
        value = plan.ops.concatenate([flow.value for flow in flows], axis=axis)
        return Flow(value, shape, dtype).with_mask(*self._merged_mask(plan, flows, axis))

    def _merged_mask(self, plan: Lowering, flows: Sequence[Flow], axis: int) -> tuple[int | None, int]:
        masked = [flow for flow in flows if flow.mask is not None]
        if not masked:
            return None, 2
        rank = len(flows[0].shape)
        ops = plan.ops
        if any(flow.mask_rank == rank for flow in masked):
            # Masks of single elements, as attention's scores have them.
            joined = ops.concatenate([_of_elements(self, plan, flow) for flow in flows], axis=axis)
            kind = plan.semantics_of(self).concatenate_masks
            return ops.reduce(joined, kind=kind, axes=(rank - 1,)), rank - 1
        if any(flow.mask_rank != rank - 1 for flow in masked):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected masks of rank {rank - 1} for inputs of "
                f"rank {rank}, got {[flow.mask_rank for flow in masked]}"
            )
        if axis < rank - 1:
            masks = [flow.mask if flow.mask is not None else _all_true(plan, flow) for flow in flows]
            return ops.concatenate(masks, axis=axis), rank - 1
        any_rule = plan.semantics_of(self).concatenate_masks == "any"
        mask = masked[0].mask
        assert mask is not None
        if any_rule and len(masked) < len(flows):
            return ops.ones_like(mask, "bool"), rank - 1
        for flow in masked[1:]:
            assert flow.mask is not None
            if flow.mask != mask:
                mask = ops.binary("or" if any_rule else "and", mask, flow.mask)
        return mask, rank - 1

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": self.axis}


def _of_elements(layer: Layer, plan: Lowering, flow: Flow) -> int:
    """A mask of the rank of ``flow``."""
    rank = len(flow.shape)
    every = plan.ops.ones_like(flow.value, "bool")
    if flow.mask is None:
        return every
    if flow.mask_rank == rank:
        return flow.mask
    expanded = expand_mask(layer, plan, flow, rank)
    assert expanded is not None
    return plan.ops.binary("and", every, expanded)


def _all_true(plan: Lowering, flow: Flow) -> int:
    """A mask of all timesteps of ``flow``."""
    last = len(flow.shape) - 1
    first_feature = plan.ops.slice(flow.value, axis=last, start=0, stop=1)
    return plan.ops.ones_like(plan.ops.squeeze(first_feature, last), "bool")
