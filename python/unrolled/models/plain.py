# SPDX-License-Identifier: MIT
"""Configs as JSON values, in Keras's forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from unrolled.layers.symbolic import KerasTensor


def plain(value: Any) -> Any:
    """``value`` as JSON: lists for tuples, numbers for NumPy's."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, slice):
        bounds = {"start": value.start, "stop": value.stop, "step": value.step}
        return {"class_name": "__slice__", "config": plain(bounds)}
    if value is ...:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return {"class_name": "__numpy__", "config": {"value": value.tolist(), "dtype": str(value.dtype)}}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, KerasTensor):
        raise ValueError("a tensor outside of a call")
    return value
