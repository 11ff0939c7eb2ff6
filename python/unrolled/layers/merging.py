# SPDX-License-Identifier: MIT
"""Layers of several inputs combined element by element: Add, Subtract, Multiply, Average, Maximum, Minimum.

The rules for masks changed in Keras 3.4 (keras-team/keras#19685), and with them the values that Multiply,
Maximum and Minimum give at masked timesteps; ``Semantics.merge_masks`` says which rules a model follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from unrolled.engine import tree
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.layers.base import Layer
from unrolled.layers.config_values import is_shape
from unrolled.layers.registry import register
from unrolled.layers.symbolic import KerasTensor


class Merging(Layer):
    """Base: takes a list of inputs."""

    keras_versions: ClassVar = "2, 3"
    stream_obstacle: ClassVar = "compares every timestep with every other"

    input_count: ClassVar[int | None] = None

    def check_input_shape(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list | tuple) or is_shape(input_shape) or not input_shape:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected a list of inputs, got {input_shape!r}"
            )
        if self.input_count is not None and len(input_shape) != self.input_count:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected {self.input_count} inputs, "
                f"got {len(input_shape)}"
            )
        if any(shape is None or len(shape) == 0 for shape in input_shape):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected tensors with a batch axis, "
                f"got shapes {input_shape!r}"
            )
        self.compute_output_shape(input_shape)

    def describe_output(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensors = [leaf for leaf in tree.leaves(args[0]) if isinstance(leaf, KerasTensor)]
        shape = self.compute_output_shape([tensor.shape for tensor in tensors])
        return shape, self.merged_dtype([tensor.dtype for tensor in tensors])

    def merged_dtype(self, dtypes: Sequence[str]) -> str:
        """The dtype of the output."""
        return "float32"


def batch_size(shapes: Sequence[Shape]) -> int | None:
    """The batch size of merged inputs: known where one is."""
    known = {shape[0] for shape in shapes} - {None}
    return known.pop() if len(known) == 1 else None


def broadcast_shape(layer: Layer, shapes: Sequence[Shape]) -> Shape:
    """The shape of inputs broadcast as Keras does: axes of size 1 put in after the batch axis.

    A size that one input knows is known, as in tf.keras; Keras 3 then cannot build layers that need it.

    Raises
    ------
    ValueError
        They do not broadcast.
    """
    rank = max(len(shape) for shape in shapes)
    expanded = [(*shape[:1], *(1,) * (rank - len(shape)), *shape[1:]) for shape in shapes]
    result: list[int | None] = [batch_size(shapes)]
    for axis in range(1, rank):
        sizes = {shape[axis] for shape in expanded} - {1}
        if len(sizes - {None}) > 1:
            raise ValueError(
                f"layer {layer.name!r} ({layer.class_name}): inputs of shapes {[tuple(s) for s in shapes]} do "
                "not broadcast"
            )
        known = sizes - {None}
        result.append(known.pop() if known else None if sizes else 1)
    return tuple(result)


class Elementwise(Merging):
    """Inputs combined element by element, broadcasting; inputs of lower rank get axes after the batch axis.

    Source: keras 3.15 ``layers/merging/base_merge.py``, rules before 3.4 from keras 3.3 and tf_keras 2.21.
    Masks: from Keras 3.4 on an element is kept where any input keeps it, and one input without a mask means
    no mask; before, where all inputs that have a mask keep it.

    Parameters
    ----------
    **kwargs
        ``name`` and the like.
    """

    mask_rule: ClassVar = "Keras 3.4 on: OR, and none where an input has none; before: AND of those there are"
    old_mask_rule: ClassVar = "masks that meet are combined by AND, or end here; Keras 3.4 and later: OR"
    kind: ClassVar[str]

    def find_stream_obstacle(self, x: Any) -> str | None:
        if len({len(flow.shape) for flow in x}) > 1:
            return "broadcasts inputs of different ranks, which takes their time axes apart"
        return None

    def compute_output_shape(self, input_shape: Any) -> Any:
        return broadcast_shape(self, [tuple(shape) for shape in input_shape])

    def lower(self, plan: Lowering, x: Any, **kwargs: Any) -> Flow:
        flows = [plan.as_float(flow) for flow in x]
        shape = self.compute_output_shape([flow.shape for flow in flows])
        rank = len(shape)
        expanded = []
        for flow in flows:
            value = flow.value
            for _ in range(rank - len(flow.shape)):
                value = plan.ops.expand_dims(value, 1)
            # Keras loses the mask of an input that it expands, in the values though not in the mask.
            expanded.append(flow if len(flow.shape) == rank else Flow(value, (*flow.shape[:1],)))
        value = self.merge(plan, expanded, rank)
        return Flow(value, shape).with_mask(*merged_mask(self, plan, flows))

    def merge(self, plan: Lowering, flows: Sequence[Flow], rank: int) -> int:
        """The values combined, all of one rank."""
        value = flows[0].value
        for flow in flows[1:]:
            value = plan.ops.binary(self.kind, value, flow.value)
        return value


def merged_mask(layer: Layer, plan: Lowering, flows: Sequence[Flow]) -> tuple[int | None, int]:
    """The mask of elementwise merges, and its rank."""
    masked = [flow for flow in flows if flow.mask is not None]
    any_rule = plan.semantics_of(layer).merge_masks == "any"
    if not masked or (any_rule and len(masked) < len(flows)):
        return None, 2
    if len({flow.mask_rank for flow in masked}) > 1:
        raise ValueError(f"layer {layer.name!r} ({layer.class_name}): the inputs' masks have different ranks")
    mask = masked[0].mask
    for flow in masked[1:]:
        assert mask is not None
        assert flow.mask is not None
        if flow.mask != mask:
            mask = plan.ops.binary("or" if any_rule else "and", mask, flow.mask)
    return mask, masked[0].mask_rank


def expand_mask(layer: Layer, plan: Lowering, flow: Flow, rank: int) -> int | None:
    """A mask as ``(batch, timesteps, 1)`` to broadcast to its tensor."""
    if flow.mask is None:
        return None
    if flow.mask_rank != rank - 1:
        raise ValueError(
            f"layer {layer.name!r} ({layer.class_name}): expected masks of rank {rank - 1}, "
            f"got rank {flow.mask_rank}"
        )
    return plan.ops.expand_dims(flow.mask, rank - 1)


@register
class Add(Elementwise):
    """The sum of its inputs. See ``Elementwise``, also for masks.

    Source: keras 3.15 ``layers/merging/add.py``.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Add()([np.ones((1, 2)), np.ones((1, 2))]).tolist()
    [[2.0, 2.0]]
    """

    kind: ClassVar = "add"


@register
class Subtract(Elementwise):
    """The first of two inputs less the second. See ``Elementwise``, also for masks.

    Source: keras 3.15 ``layers/merging/subtract.py``.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Subtract()([np.ones((1, 2)), np.ones((1, 2))]).tolist()
    [[0.0, 0.0]]
    """

    kind: ClassVar = "subtract"
    input_count: ClassVar = 2


@register
class Average(Elementwise):
    """The mean of its inputs. See ``Elementwise``, also for masks.

    Source: keras 3.15 ``layers/merging/average.py``.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Average()([np.ones((1, 2)), np.zeros((1, 2))]).tolist()
    [[0.5, 0.5]]
    """

    kind: ClassVar = "add"

    def merge(self, plan: Lowering, flows: Sequence[Flow], rank: int) -> int:
        total = super().merge(plan, flows, rank)
        return plan.ops.binary("divide", total, plan.ops.constant(np.asarray(len(flows), np.float32)))


@register
class Multiply(Elementwise):
    """The product of its inputs. See ``Elementwise``, also for masks.

    Source: keras 3.15 ``layers/merging/multiply.py``. From Keras 3.4 on a masked timestep counts as 1, and
    the result is 0 where all inputs are masked.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Multiply()([np.full((1, 2), 3.0), np.full((1, 2), 2.0)]).tolist()
    [[6.0, 6.0]]
    """

    kind: ClassVar = "multiply"

    def merge(self, plan: Lowering, flows: Sequence[Flow], rank: int) -> int:
        if plan.semantics_of(self).merge_masks != "any" or all(flow.mask is None for flow in flows):
            return super().merge(plan, flows, rank)
        ops = plan.ops
        one = ops.constant(np.ones((), np.float32))
        value, total_mask = None, None
        all_masked = all(flow.mask is not None for flow in flows)
        for flow in flows:
            mask = expand_mask(self, plan, flow, rank)
            factor = flow.value if mask is None else ops.select(mask, flow.value, one)
            value = factor if value is None else ops.binary("multiply", value, factor)
            if mask is not None:
                total_mask = mask if total_mask is None else ops.binary("or", total_mask, mask)
        assert value is not None
        if all_masked and total_mask is not None:
            value = ops.select(total_mask, value, ops.constant(np.zeros((), np.float32)))
        return value


class Extremum(Elementwise):
    """Base of Maximum and Minimum: from Keras 3.4 on, masked timesteps of an input do not take part."""

    def merge(self, plan: Lowering, flows: Sequence[Flow], rank: int) -> int:
        if plan.semantics_of(self).merge_masks != "any" or all(flow.mask is None for flow in flows):
            return super().merge(plan, flows, rank)
        ops = plan.ops
        value = flows[0].value
        output_mask = expand_mask(self, plan, flows[0], rank)
        for flow in flows[1:]:
            mask = expand_mask(self, plan, flow, rank)
            other = flow.value if mask is None else ops.select(mask, flow.value, value)
            if output_mask is not None:
                value = ops.select(output_mask, value, other)
            if mask is not None and output_mask is not None:
                output_mask = ops.binary("or", output_mask, mask)
            else:
                output_mask = None
            value = ops.binary(self.kind, value, other)
        return value


@register
class Maximum(Extremum):
    """The largest of its inputs. See ``Elementwise``, also for masks, and ``Extremum``.

    Source: keras 3.15 ``layers/merging/maximum.py``.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Maximum()([np.ones((1, 2)), np.zeros((1, 2))]).tolist()
    [[1.0, 1.0]]
    """

    kind: ClassVar = "maximum"


@register
class Minimum(Extremum):
    """The smallest of its inputs. See ``Elementwise``, also for masks, and ``Extremum``.

    Source: keras 3.15 ``layers/merging/minimum.py``.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.Minimum()([np.ones((1, 2)), np.zeros((1, 2))]).tolist()
    [[0.0, 0.0]]
    """

    kind: ClassVar = "minimum"
