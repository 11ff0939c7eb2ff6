# SPDX-License-Identifier: MIT
"""Every causal model among the real files and the fixtures steps to the bytes of predict; the others are refused.

The real files are no part of the repository; see ``tests/test_shared_models.py``.
"""

from __future__ import annotations

TIMESTEPS = 7
