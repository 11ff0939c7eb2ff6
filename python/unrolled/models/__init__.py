# SPDX-License-Identifier: MIT
"""Models: Sequential, functional graphs, and loading them from files."""

from __future__ import annotations

from unrolled.models.base import Model
from unrolled.models.loading import load_model
from unrolled.models.sequential import Sequential

__all__ = ["Model", "Sequential", "load_model"]
