# SPDX-License-Identifier: MIT
"""The input gate: what ``predict`` and calls are given becomes arrays that fit the model, or an error that says
what came and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.engine import tree
from unrolled.errors import printable
from unrolled.layers.symbolic import KerasTensor
from unrolled.layers.text.words import text_input

if TYPE_CHECKING:
    from unrolled.models.base import BaseModel


def as_numbers(value: Any, expected: str) -> NDArray[Any]:
    """``value`` as an array of numbers.

    Raises
    ------
    ValueError
        It is no array of numbers: the message begins with ``expected``, names the type and says what to do.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(
            f"{expected}, got a masked array, whose mask would be lost: fill it, x.filled(0), and give the mask "
            "to a Masking layer by that value, or call model(x, mask=...)"
        )
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{expected}, got {_described(value)}") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{expected}, got {_described(value)}")
    return array


def refuse_callbacks(callbacks: Any) -> None:
    """Raise ``ValueError`` where there are callbacks."""
    if callbacks is not None and (not isinstance(callbacks, list | tuple) or callbacks):
        raise ValueError(
            "callbacks: a prediction is one call into compiled code, which calls nothing back; predict batches "
            "in a loop of your own to do something in between"
        )


def _described(value: Any) -> str:
    """What came, and what to do about it."""
    if value is None:
        return "None"
    if isinstance(value, str | bytes) or (isinstance(value, np.ndarray) and value.dtype.kind in "US"):
        return f"text ({type(value).__name__}): look its numbers up first, as in training"
    if hasattr(value, "__next__"):
        return f"a {type(value).__name__}: predict(x) takes its batches one by one"
    if isinstance(value, np.ndarray) and value.dtype.kind == "c":
        return f"complex numbers ({value.dtype}): give real and imaginary parts as features"
    if isinstance(value, np.ndarray) and value.dtype.kind in "mM":
        return f'times ({value.dtype}): make them numbers first, x.astype("int64")'
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        leaf = next(
            (leaf for leaf in tree.leaves(list(value)) if leaf is None or isinstance(leaf, str | bytes)), 0
        )
        if leaf is None or isinstance(leaf, str | bytes):
            return f"a {type(value).__name__} with {_described(leaf)}"
        return (
            f"a {type(value).__name__} of rows of different lengths: use predict_sequences for sequences of "
            "different lengths, or pad them, unrolled.utils.pad_sequences"
        )
    if isinstance(value, dict):
        return f"a dict with keys {list(value)}"
    return f"{type(value).__module__}.{type(value).__qualname__}: make it a NumPy array first"


def convert_input(array: NDArray[Any], dtype: str, name: str) -> NDArray[Any]:
    """``array`` as C-contiguous ``dtype``; floats become integers only where nothing is lost.

    Raises
    ------
    ValueError
        A float that is no integer, or an integer out of range, for an integer input.
    """
    if str(array.dtype) == dtype:
        return np.ascontiguousarray(array)
    if dtype == "int32":
        converted = array.astype(np.int32)
        if not np.array_equal(converted, array):
            raise ValueError(f"input {name!r}: expected int32 values, got {array.dtype} values that are none")
        return converted
    if dtype == "bool" and array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
        raise ValueError(f"input {name!r}: expected bool values, got {array.dtype} values other than 0 and 1")
    return np.ascontiguousarray(array, dtype=dtype)


def check_inputs(model: BaseModel, x: Any) -> list[NDArray[Any]]:
    """The inputs in flattened order, checked against the model and in the dtypes that its plan takes."""
    expected = model.inputs
    if len(expected) == 1 and not isinstance(x, dict):
        values = [
            x[0] if isinstance(x, list | tuple) and len(x) == 1 and np.ndim(x[0]) == expected[0].ndim else x
        ]
    else:
        values = _match_structure(model, x)
    arrays = [_as_input(model, tensor, value) for tensor, value in zip(expected, values, strict=True)]
    if len({array.shape[0] for array in arrays}) > 1:
        raise ValueError(
            f"model {model.name!r}: inputs have different batch sizes {[array.shape[0] for array in arrays]}"
        )
    return arrays


def _match_structure(model: BaseModel, x: Any) -> list[Any]:
    expected = model.inputs
    structure = model.input
    names = [tensor.name for tensor in expected]
    if isinstance(x, dict):
        keys = sorted(structure) if isinstance(structure, dict) else names
        missing = [key for key in keys if key not in x]
        if missing or len(x) != len(keys):
            raise ValueError(f"model {model.name!r}: expected a dict with keys {keys}, got {list(x)}")
        return [x[key] for key in keys]
    if not isinstance(x, list | tuple):
        raise ValueError(
            f"model {model.name!r}: expected {len(expected)} inputs {names} as a list or dict, "
            f"got {type(x).__name__}"
        )
    flat = list(tree.leaves(x)) if all(hasattr(leaf, "shape") for leaf in tree.leaves(x)) else list(x)
    if len(flat) != len(expected):
        raise ValueError(f"model {model.name!r}: expected {len(expected)} inputs {names}, got {len(flat)}")
    return flat


def _as_input(model: BaseModel, tensor: KerasTensor, value: Any) -> NDArray[Any]:
    where = f"model {printable(model.name)!r}, input {printable(tensor.name)!r}"
    if tensor.dtype == "string":
        return text_input(value, tensor, model.name)
    array = as_numbers(value, f"{where}: expected numbers of shape {tensor.shape}")
    fits = array.ndim == tensor.ndim and all(
        want is None or want == got for want, got in zip(tensor.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"model {model.name!r}, input {tensor.name!r}: expected shape {tensor.shape}, got {array.shape}"
        )
    return convert_input(array, model.input_dtype(tensor, array), tensor.name)
