# SPDX-License-Identifier: MIT
"""Where things lie: all that a benchmark writes goes under build/bench."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "build" / "bench"
MODELS = OUTPUT / "models"
LOGS = OUTPUT / "logs"
