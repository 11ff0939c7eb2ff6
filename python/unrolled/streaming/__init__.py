# SPDX-License-Identifier: MIT
"""Live streams: models stepped one timestep at a time, for one client or for thousands."""

from __future__ import annotations

from unrolled.errors import StreamError
from unrolled.streaming.pool import StreamPool
from unrolled.streaming.stream import Stream

__all__ = ["Stream", "StreamError", "StreamPool"]
