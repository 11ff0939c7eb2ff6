# SPDX-License-Identifier: MIT
"""How many threads the calls of a worker take: a setting of the process, held while any of them runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import unrolled

_holders = 0
_before = 0
_threads_lock = threading.Lock()


@contextmanager
def threads_held(threads: int | None) -> Iterator[None]:
    """Compute with so many threads inside; what was set before is set again when the last one leaves."""
    global _holders, _before
    if threads is None:
        yield
        return
    with _threads_lock:
        if _holders == 0:
            _before = unrolled.get_num_threads()
            unrolled.set_num_threads(threads)
        _holders += 1
    try:
        yield
    finally:
        with _threads_lock:
            _holders -= 1
            if _holders == 0:
                unrolled.set_num_threads(_before)
