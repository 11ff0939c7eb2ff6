# SPDX-License-Identifier: MIT
"""Lowering: layers write themselves as operations of a C++ plan over values that carry shape and mask."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unrolled import _core
from unrolled.variable import PlanCache, Variable

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Flow:
    """A value on its way through a plan being built.

    Parameters
    ----------
    value : int
        The plan's id of the value.
    shape : tuple
        ``(batch, ...)``; ``None`` where only the input will tell.
    dtype : str
        "float32", "int32" or "bool".
    mask : int, optional
        The plan's id of the bool mask ``(batch, timesteps)`` that Keras would attach to this tensor.
    """

    value: int
    shape: Shape
    dtype: str = "float32"
    mask: int | None = None

    def with_mask(self, mask: int | None) -> Flow:
        return replace(self, mask=mask)


class Lowering:
    """The plan being built, and the weights that went into it.

    ``ops`` is the C++ builder; its methods take and return value ids.
    """

    def __init__(self, cache: PlanCache) -> None:
        self.ops = _core.PlanBuilder()
        self._cache = cache

    def weights(self, variable: Variable | None) -> NDArray[np.float32] | None:
        """The array of ``variable`` for packing; assigning it later rebuilds the plan."""
        if variable is None:
            return None
        variable.packed_by(self._cache)
        return variable.numpy()

    def packed(self, variable: Variable) -> NDArray[np.float32]:
        """As ``weights``, for a variable that exists."""
        variable.packed_by(self._cache)
        return variable.numpy()

    def as_float(self, x: Flow) -> Flow:
        """``x`` in float32, as Keras casts the input of a layer to its compute dtype."""
        if x.dtype == "float32":
            return x
        return replace(x, value=self.ops.cast(x.value, "float32"), dtype="float32")
