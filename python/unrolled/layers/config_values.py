# SPDX-License-Identifier: MIT
"""Values of configs, checked: each function gives the value or raises ``ConfigError`` naming the key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.engine.lowering import Shape
from unrolled.errors import ConfigError

# Config keys that occur on layers of several families and cannot change what a trained layer computes.
TRAINING_ONLY: dict[str, str] = {
    "activity_regularizer": "adds to the training loss only",
    "kernel_regularizer": "adds to the training loss only",
    "recurrent_regularizer": "adds to the training loss only",
    "bias_regularizer": "adds to the training loss only",
    "kernel_constraint": "applied after a training step only",
    "recurrent_constraint": "applied after a training step only",
    "bias_constraint": "applied after a training step only",
    "autocast": "inputs are always cast to the compute dtype",
}


# Accepted dtype policies; everything is computed in float32 (docs: dtype policies).
DTYPE_POLICIES = ("float32", "float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")


INPUT_SHAPE_KEYS = (
    "batch_shape", "batch_input_shape", "input_shape", "input_dim", "input_length", "batch_size",
)  # fmt: skip


def pop_input_shape(kwargs: dict[str, Any]) -> Shape | None:
    """The input shape declared by Keras's keywords, ``(batch, ...)``, taken out of ``kwargs``."""
    given = {key: kwargs.pop(key) for key in INPUT_SHAPE_KEYS if key in kwargs}
    for key in ("batch_shape", "batch_input_shape"):
        if given.get(key) is not None:
            return checked_shape(key, given[key])
    batch_size = given.get("batch_size")
    shape = given.get("input_shape")
    if shape is None and given.get("input_dim") is not None:
        shape = (
            (given.get("input_length"), given["input_dim"])
            if "input_length" in given
            else (given["input_dim"],)
        )
    if shape is None:
        return None
    return checked_shape("input_shape", (batch_size, *((shape,) if isinstance(shape, int) else shape)))


def checked_shape(key: str, shape: Any) -> Shape:
    """A tuple of positive ints and None, or a ``ConfigError``."""
    if not isinstance(shape, list | tuple) or len(shape) > 8:
        raise ConfigError(key, shape, "expected a list of at most 8 sizes")
    for size in shape:
        if size is not None and (
            isinstance(size, bool) or not isinstance(size, int | np.integer) or not 0 <= size < 2**31
        ):
            raise ConfigError(key, shape, "every size must be an integer from 0 to 2147483647, or None")
    return tuple(None if size is None else int(size) for size in shape)


def positive_int(key: str, value: object, *, minimum: int = 1, maximum: int = 2**31 - 1) -> int:
    """``value`` as an int in range, or a ``ConfigError``."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not minimum <= value <= maximum:
        raise ConfigError(key, value, f"expected an integer from {minimum} to {maximum}")
    return int(value)


def flag(key: str, value: object) -> bool:
    """``value`` as a bool, or a ``ConfigError``."""
    if value is None:
        return False
    if not isinstance(value, bool | int | np.bool_) or value not in (0, 1):
        raise ConfigError(key, value, "expected true or false")
    return bool(value)


def number(key: str, value: object) -> float:
    """``value`` as a finite float, or a ``ConfigError``."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ConfigError(key, value, "expected a number")
    if not np.isfinite(value):
        raise ConfigError(key, value, "expected a finite number")
    return float(value)


def not_negative(key: str, value: object) -> float:
    """``value`` as a finite float from 0 on, or a ``ConfigError``."""
    result = number(key, value)
    if result < 0:
        raise ConfigError(key, value, "expected a number from 0 on")
    return result


def int_list(key: str, value: object, minimum: int, maximum: int) -> list[int]:
    """``value`` as a list of different ints in range, or a ``ConfigError``."""
    items: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    if len(items) > 8:
        raise ConfigError(key, value, "expected at most 8 integers")
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int | np.integer) or not minimum <= item <= maximum:
            raise ConfigError(key, value, f"expected integers from {minimum} to {maximum}")
    if len(set(items)) != len(items):
        raise ConfigError(key, value, "expected different integers")
    return [int(item) for item in items]


def choice(key: str, value: object, allowed: Sequence[str]) -> str:
    """``value`` as one of ``allowed``, or a ``ConfigError``."""
    if value not in allowed:
        raise ConfigError(key, value, f"expected one of {', '.join(map(repr, allowed))}")
    return str(value)


def dtype_policy(value: object) -> str:
    """The name of a dtype policy, or a ``ConfigError``."""
    if value is None:
        return "float32"
    name = value if isinstance(value, str) else getattr(value, "name", value)
    if name in ("int32", "int64", "uint8", "bool"):
        return str(name)
    return choice("dtype", name, DTYPE_POLICIES)


def is_shape(value: object) -> bool:
    """Whether ``value`` is one shape, not a tree of shapes."""
    return isinstance(value, list | tuple) and all(size is None or isinstance(size, int) for size in value)
