# SPDX-License-Identifier: MIT
"""Weights of layers, and the plans that were packed from them."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Hashable, Sequence
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
        array = np.array(value, dtype=np.float32, order="C")
        array.flags.writeable = False
        self.name = name
        self.trainable = trainable
        self.shape = array.shape
        self._value: NDArray[np.float32] | None = array
        self._initializer: Callable[[tuple[int, ...]], ArrayLike] | None = None
        self._caches: weakref.WeakSet[PlanCache] = weakref.WeakSet()

    @classmethod
    def initialized(
        cls,
        initializer: Callable[[tuple[int, ...]], ArrayLike],
        shape: Sequence[int],
        name: str,
        *,
        trainable: bool = True,
    ) -> Variable:
        """A variable whose initial value is computed when it is first read.

        Weights of a file replace the initial values before anyone reads them: loading a model neither
        draws random numbers nor allocates what the file claims but does not hold.

        Parameters
        ----------
        initializer : callable
            Gives the value for the shape.
        shape : sequence of int
            Shape of the value.
        name : str
            Keras's name.
        trainable : bool
            Whether Keras counts it as trainable.
        """
        variable = cls(0.0, name, trainable=trainable)
        variable.shape = tuple(int(size) for size in shape)
        variable._value = None
        variable._initializer = initializer
        return variable

    @property
    def dtype(self) -> str:
        return "float32"

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def numpy(self) -> NDArray[np.float32]:
        """The value, read-only."""
        value = self._value
        if value is None:
            assert self._initializer is not None
            value = np.asarray(self._initializer(self.shape), np.float32, order="C")
            if value.shape != self.shape:
                raise ValueError(
                    f"variable {self.name!r}: the initializer gave shape {value.shape}, expected {self.shape}"
                )
            value.flags.writeable = False
            self._value = value
        return value

    def start_with_zeros(self) -> None:
        """Have zeros as the initial value, which cost nothing, where the value has not been read yet."""
        if self._value is None:
            self._initializer = np.zeros

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
        value = self.numpy()
        if copy or (dtype is not None and np.dtype(dtype) != value.dtype):
            return np.array(value, dtype=dtype)
        return value

    def __repr__(self) -> str:
        return f"<Variable {self.name}, shape={self.shape}, dtype={self.dtype}>"
