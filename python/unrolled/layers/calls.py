# SPDX-License-Identifier: MIT
"""The arguments of a layer called on arrays: found in their structure, converted, given their masks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.engine import tree
from unrolled.engine.lowering import Flow, Lowering
from unrolled.engine.variables import Variable
from unrolled.layers.symbolic import KerasTensor

if TYPE_CHECKING:
    from unrolled.layers.base import Layer


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


def check_call(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """See ``Layer.check_call``."""
    where = f"layer {layer.name!r} ({layer.class_name})"
    most, names = _parameters(type(layer).lower)
    given = {key: value for key, value in kwargs.items() if value is not None}
    if unknown := sorted(set(given) - {"mask", "training", *names, *layer.call_arguments}):
        raise TypeError(f"{where}: unknown arguments {unknown}")
    if most is not None and len(args) > most:
        raise TypeError(f"{where}: takes at most {most} inputs, got {len(args)}")
    tensors = {f"input {number}": value for number, value in enumerate(args)}
    tensors |= {
        key: value for key, value in given.items() if key.endswith(("mask", "state")) and "causal" not in key
    }
    for what, value in tensors.items():
        for leaf in _flat(value):
            if not (leaf is None or isinstance(leaf, KerasTensor | Flow) or is_array(leaf)):
                raise TypeError(f"{where}, {what}: expected a tensor, got {type(leaf).__name__}")


@functools.cache
def _parameters(lower: Callable[..., Any]) -> tuple[int | None, frozenset[str]]:
    """How many inputs a lowering takes, None for any number, and the names of its parameters."""
    _, _, *parameters = inspect.signature(lower).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    names = {p.name for p in parameters[1:] if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    return None if several else len(positional), frozenset(names)


def _flat(value: Any) -> list[Any]:
    """The leaves of lists; a dict is one, which no layer takes."""
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _flat(item)]
    return [value]


def nested_numbers_to_array(value: Any) -> Any:
    """Lists of numbers are arrays; lists of arrays or tensors, and of rows of different lengths, stay lists."""
    if isinstance(value, list | tuple):
        flat = list(tree.leaves(value))
        if flat and all(isinstance(leaf, int | float) for leaf in flat):
            dtype = np.float32 if any(isinstance(leaf, float) for leaf in flat) else None
            with suppress(ValueError):
                return np.asarray(value, dtype=dtype)
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
    """``inputs`` with ``masks``, of the same structure, as their only ones."""
    if isinstance(inputs, Flow) and masks is None:
        return inputs.with_mask(None)
    if isinstance(inputs, Flow) and isinstance(masks, Flow):
        return inputs.with_mask(masks.value, len(masks.shape))
    if isinstance(inputs, list | tuple) and isinstance(masks, Flow):
        return type(inputs)([inputs[0].with_mask(masks.value, len(masks.shape)), *inputs[1:]])
    if isinstance(inputs, list | tuple) and isinstance(masks, list | tuple):
        return type(inputs)([attach_masks(x, mask) for x, mask in zip(inputs, masks, strict=False)])
    raise ValueError("the structure of mask does not match the inputs")
