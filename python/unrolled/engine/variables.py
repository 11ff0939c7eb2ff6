# SPDX-License-Identifier: MIT
"""Weights of layers, and the plans that were packed from them."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from unrolled.engine.locks import ForkSafeLock

MAX_CACHED_PLANS = 8

Compiled = TypeVar("Compiled")


# Held for moments, while values and the plans made of them change together.
_exchange = ForkSafeLock()


class PlanCache:
    """The plans that one layer or model has built; emptied when what they were made of changes.

    Calls that find their plan take no lock. A plan that is not there yet is compiled by one thread while
    others wait for it, and kept only if nothing changed meanwhile.
    """

    def __init__(self) -> None:
        self._plans: dict[Hashable, Any] = {}
        # Counts changes of weights, options and layers; the second those of options and layers alone.
        self.generation = 0
        self.option_changes = 0
        # Held while a layer or model is built, and while one of its plans is compiled.
        self.compiling = ForkSafeLock()

    def get(self, key: Hashable) -> Any | None:
        return self._plans.get(key)

    def get_or_compile(self, key: Hashable, compile_plan: Callable[[], Compiled]) -> Compiled:
        """The plan of ``key``, compiled where there is none."""
        found: Compiled | None = self._plans.get(key)
        if found is None:
            with self.compiling:
                found = self._plans.get(key)
                if found is None:
                    generation = self.generation
                    found = compile_plan()
                    self.put(key, found, generation)
        return found

    def put(self, key: Hashable, plan: Any, generation: int) -> None:
        """Keep a plan that was made in ``generation``, unless that is over."""
        with _exchange:
            if generation != self.generation:
                return
            if key not in self._plans and len(self._plans) >= MAX_CACHED_PLANS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = plan

    def invalidate(self, *, options: bool) -> None:
        """Drop all plans: options or layers have changed, or only weights."""
        with _exchange:
            self.generation += 1
            self.option_changes += options
            self._plans = {}


class Holders:
    """The caches whose plans were made of something: a weight, or the options of a layer."""

    __slots__ = ("_caches",)

    def __init__(self) -> None:
        self._caches: weakref.WeakSet[PlanCache] | None = None

    def add(self, cache: PlanCache) -> None:
        """Remember a cache; inside ``_exchange``."""
        if self._caches is None:
            self._caches = weakref.WeakSet()
        self._caches.add(cache)

    def invalidate(self, *, options: bool) -> None:
        """Drop the plans of all of them; see ``PlanCache.invalidate``."""
        with _exchange:
            for cache in self._caches or ():
                cache.invalidate(options=options)


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
        self._holders = Holders()

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
        check_shape = getattr(initializer, "check_shape", None)
        if check_shape is not None:
            check_shape(shape)
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
            initializer = self._initializer
            if initializer is not None:
                drawn = np.asarray(initializer(self.shape), np.float32, order="C")
                if drawn.shape != self.shape:
                    raise ValueError(
                        f"variable {self.name!r}: the initializer gave shape {drawn.shape}, expected {self.shape}"
                    )
                drawn.flags.writeable = False
                with _exchange:
                    if self._value is None:  # not assigned meanwhile
                        self._value, self._initializer = drawn, None
            value = self._value
            assert value is not None
        return value

    def start_with_zeros(self) -> None:
        """Have zeros as the initial value, which cost nothing, where the value has not been read yet."""
        if self._value is None:
            self._initializer = np.zeros

    def checked(self, value: ArrayLike) -> NDArray[np.float32]:
        """A read-only copy of ``value`` that may be assigned.

        Raises
        ------
        ValueError
            ``value`` has another shape.
        """
        array = np.array(value, dtype=np.float32, order="C")
        if array.shape != self.shape:
            raise ValueError(f"variable {self.name!r}: expected shape {self.shape}, got {array.shape}")
        array.flags.writeable = False
        return array

    def assign(self, value: ArrayLike) -> None:
        """Replace the value by one of the same shape.

        Raises
        ------
        ValueError
            ``value`` has another shape.
        """
        assign_together([(self, value)])

    @staticmethod
    def assign_together(pairs: Sequence[tuple[Variable, ArrayLike]]) -> None:
        """See ``assign_together``, for those who may not import this module."""
        assign_together(pairs)

    # -------------------------------------------------------------------- copies

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the plans; a value that nobody has read is drawn, so that copies have the same."""
        value = self.numpy()
        return {"name": self.name, "trainable": self.trainable, "value": value}

    def __setstate__(self, state: dict[str, Any]) -> None:
        value: NDArray[np.float32] = state["value"]
        value.flags.writeable = False
        self.name, self.trainable, self.shape = state["name"], state["trainable"], value.shape
        self._value, self._initializer = value, None
        self._holders = Holders()

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        # Arrays are never written to: the copies share them until one is assigned.
        return copy.copy(self)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        value = self.numpy()
        if copy or (dtype is not None and np.dtype(dtype) != value.dtype):
            return np.array(value, dtype=dtype)
        return value

    def __repr__(self) -> str:
        return f"<Variable {self.name}, shape={self.shape}, dtype={self.dtype}>"


def assign_together(pairs: Sequence[tuple[Variable, ArrayLike]]) -> None:
    """Replace several values at once: no plan is ever made of some old and some new ones.

    Raises
    ------
    ValueError
        A value has another shape; nothing is changed then.
    """
    checked = [(variable, variable.checked(value)) for variable, value in pairs]
    with _exchange:
        for variable, array in checked:
            variable._value, variable._initializer = array, None
        for variable, _ in checked:
            variable._holders.invalidate(options=False)


class Snapshot:
    """The values that variables have at one moment, for pickles and copies, which read them one by one.

    Parameters
    ----------
    variables : sequence of Variable
        Whose values are kept.
    """

    def __init__(self, variables: Sequence[Variable]) -> None:
        found = values_together(variables)
        self._pairs = [(variable, found[id(variable)]) for variable in variables]

    def __deepcopy__(self, memo: dict[int, Any]) -> Snapshot:
        other: Snapshot = object.__new__(Snapshot)
        other._pairs = [(copy.deepcopy(variable, memo), value) for variable, value in self._pairs]
        return other

    def restore(self) -> None:
        """Give the variables, which no call has seen yet, the values back."""
        for variable, value in self._pairs:
            value.flags.writeable = False
            variable._value = value


def values_together(
    variables: Sequence[Variable], cache: PlanCache | None = None, options: Sequence[Holders] = ()
) -> dict[int, NDArray[np.float32]]:
    """By id, the values that all variables have at one moment.

    Parameters
    ----------
    variables : sequence of Variable
        Whose values are read.
    cache : PlanCache, optional
        Where a plan made of them will be kept: emptied when one of them, or of the layers whose holders are
        in ``options``, changes from now on.
    options : sequence of Holders
        See ``cache``.
    """
    for variable in variables:
        variable.numpy()  # drawn outside of the lock
    with _exchange:
        if cache is not None:
            for holders in (*options, *(variable._holders for variable in variables)):
                holders.add(cache)
        return {id(variable): variable.numpy() for variable in variables}
