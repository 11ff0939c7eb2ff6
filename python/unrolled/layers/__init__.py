# SPDX-License-Identifier: MIT
"""Keras's layers, for inference. One file a family; see ``registry`` for what files may name."""

from __future__ import annotations

from unrolled.layers.base import KerasTensor, Layer

__all__ = ["KerasTensor", "Layer"]
