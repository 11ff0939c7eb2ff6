# SPDX-License-Identifier: MIT
"""The way of a call on one array, of which the overhead counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.engine.lowering import CompiledPlan, Shape

# Key of the thin path among a model's plans, so that assigning a weight drops it with them.
THIN = "thin"


class ThinPath:
    """One array in, one out, no states: what a call on a small model costs is mostly Python."""

    __slots__ = ("_dtype", "_fixed", "_shape", "run")

    def __init__(self, compiled: CompiledPlan, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.run = compiled.plan.run
        self._dtype = dtype
        self._shape = shape
        self._fixed = None if None in shape[1:] else shape[1:]

    def takes(self, x: Any) -> bool:
        """Whether ``x`` is an array that needs no conversion and has the expected shape."""
        if type(x) is not np.ndarray or x.dtype is not self._dtype:
            return False
        if self._fixed is not None:
            return bool(x.shape[1:] == self._fixed)
        shape = x.shape
        return len(shape) == len(self._shape) and all(
            want is None or want == got for want, got in zip(self._shape[1:], shape[1:], strict=True)
        )
