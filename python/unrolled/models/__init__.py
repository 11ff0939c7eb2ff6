# SPDX-License-Identifier: MIT
"""Models: Sequential, functional graphs, and loading them from files."""

from __future__ import annotations

from unrolled.models.loading import clone_model, load_model, model_from_json
from unrolled.models.model import Model
from unrolled.models.sequential import Sequential

__all__ = ["Model", "Sequential", "clone_model", "load_model", "model_from_json"]
