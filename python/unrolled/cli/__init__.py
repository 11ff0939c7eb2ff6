# SPDX-License-Identifier: MIT
"""The command ``unrolled``: look at a model file, predict from the shell, time a model."""

from __future__ import annotations

from unrolled.cli.command_line import main

__all__ = ["main"]
