# SPDX-License-Identifier: MIT
"""Weights of layers, and the plans that were packed from them."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

MAX_CACHED_PLANS = 8


class PlanCache:
    """The plans that one layer or model has built; emptied when a weight in them is assigned."""

    def __init__(self) -> None:
        self._plans: dict[Hashable, Any] = {}

    def get(self, key: Hashable) -> Any | None:
        return self._plans.get(key)

    def put(self, key: Hashable, plan: Any) -> None:
        if len(self._plans) >= MAX_CACHED_PLANS:
            self._plans.pop(next(iter(self._plans)))
        self._plans[key] = plan

    def invalidate(self) -> None:
        self._plans = {}


class Variable:
    """One weight array of a layer, float32.

    Parameters
    ----------
    value : array_like
        Its initial value.
    name : str
        Keras's name: "kernel", "recurrent_kernel", "bias", ...
    trainable : bool
        Whether Keras counts it as trainable.
    """

    def __init__(self, value: ArrayLike, name: str, *, trainable: bool = True) -> None:
        self.name = name
        self.trainable = trainable
        self._value = np.ascontiguousarray(value, dtype=np.float32)
        self._value.flags.writeable = False
        self._caches: weakref.WeakSet[PlanCache] = weakref.WeakSet()

    @property
    def shape(self) -> tuple[int, ...]:
        return self._value.shape

    @property
    def dtype(self) -> str:
        return str(self._value.dtype)

    @property
    def size(self) -> int:
        return self._value.size

    def numpy(self) -> NDArray[np.float32]:
        """The value, read-only."""
        return self._value

    def assign(self, value: ArrayLike) -> None:
        """Replace the value by one of the same shape.

        Raises
        ------
        ValueError
            ``value`` has another shape.
        """
        array = np.array(value, dtype=np.float32, order="C")
        if array.shape != self.shape:
            raise ValueError(f"variable {self.name!r}: expected shape {self.shape}, got {array.shape}")
        array.flags.writeable = False
        self._value = array
        for cache in list(self._caches):
            cache.invalidate()

    def packed_by(self, cache: PlanCache) -> None:
        """Remember that plans in ``cache`` hold a copy of this value."""
        self._caches.add(cache)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy or (dtype is not None and np.dtype(dtype) != self._value.dtype):
            return np.array(self._value, dtype=dtype)
        return self._value

    def __repr__(self) -> str:
        return f"<Variable {self.name}, shape={self.shape}, dtype={self.dtype}>"
