# SPDX-License-Identifier: MIT
"""Operations that Keras 3 graphs call on tensors, as ``x * 2`` or ``keras.ops.any(x)`` leave them in a file.

Each is a ``Layer`` whose class name is Keras's, in ``keras.src.ops``; readers of tf.keras files map
TFOpLambda onto them. Arguments are tensors, numbers and arrays as in ``keras.ops``. The batch axis stays
first and is never reduced, joined or indexed. Masks end at operations.

>>> import numpy as np
>>> from unrolled.layers import operations
>>> operations.MultiplyOperation()(np.array([[1.0, 2.0]]), 2.0).tolist()
[[2.0, 4.0]]
"""

from __future__ import annotations

from unrolled.layers.base import Layer
from unrolled.layers.ops import activation, binary, joining, movement, reductions, unary
from unrolled.layers.registry import operation_classes

__all__ = ["activation", "binary", "joining", "movement", "reductions", "unary"]


def __getattr__(name: str) -> type[Layer]:
    """The class of an operation: ``MultiplyOperation`` for Keras's Multiply."""
    found = operation_classes().get(name.removesuffix("Operation")) if name.endswith("Operation") else None
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
