# SPDX-License-Identifier: MIT
"""The arguments of a layer called on arrays: found in their structure, converted, given their masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import tree
from unrolled.lowering import Flow, Lowering
from unrolled.variable import Variable


def as_input(value: Any) -> NDArray[Any]:
    """An array in one of the dtypes that a plan takes: bool, int32 or float32."""
    array = np.asarray(value)
    if array.dtype == np.bool_:
        return np.ascontiguousarray(array)
    if array.dtype.kind in "iu":
        return np.ascontiguousarray(array, dtype=np.int32)
    if array.dtype.kind != "f":
        raise TypeError(f"expected an array of numbers, got dtype {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.float32)


def nested_numbers_to_array(value: Any) -> Any:
    """Lists of numbers are arrays; lists of arrays or tensors stay lists."""
    if isinstance(value, list | tuple):
        flat = list(tree.leaves(value))
        if flat and all(isinstance(leaf, int | float) for leaf in flat):
            return np.asarray(
                value, dtype=np.float32 if any(isinstance(leaf, float) for leaf in flat) else None
            )
    return value


def is_array(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | np.generic | Variable) or hasattr(leaf, "__array_interface__")


def shape_of(leaf: Any) -> Any:
    shape = getattr(leaf, "shape", None)
    return None if shape is None else tuple(shape)


def describe_leaf(leaf: Any) -> Any:
    """What of a call's leaf decides the plan: an array's dtype, rank and sizes but batch and timesteps."""
    if isinstance(leaf, np.ndarray):
        return (str(leaf.dtype), leaf.ndim, leaf.shape[2 if leaf.ndim > 2 else 1 :])
    return leaf


def sorted_dicts(value: Any) -> Any:
    """Dicts in key order, so that mapping visits leaves in the order of ``tree.leaves``."""
    if isinstance(value, list | tuple):
        return type(value)([sorted_dicts(item) for item in value])
    if isinstance(value, dict):
        return {key: sorted_dicts(value[key]) for key in sorted(value)}
    return value


def as_mask(plan: Lowering, leaf: Any) -> Any:
    """A mask of numbers as bool, as Keras casts it: what is not 0 is valid."""
    if not isinstance(leaf, Flow) or leaf.dtype == "bool":
        return leaf
    return Flow(plan.ops.cast(leaf.value, "bool"), leaf.shape, "bool")


def attach_masks(inputs: Any, masks: Any) -> Any:
    if isinstance(inputs, Flow):
        return inputs if masks is None else inputs.with_mask(masks.value, len(masks.shape))
    if isinstance(inputs, list | tuple) and isinstance(masks, Flow):
        return type(inputs)([inputs[0].with_mask(masks.value, len(masks.shape)), *inputs[1:]])
    if isinstance(inputs, list | tuple) and isinstance(masks, list | tuple):
        return type(inputs)([attach_masks(x, mask) for x, mask in zip(inputs, masks, strict=False)])
    raise ValueError("the structure of mask does not match the inputs")
