# SPDX-License-Identifier: MIT
"""A lock that a forked child finds free, whatever thread of its parent held it."""

from __future__ import annotations

import os
from threading import RLock
from types import TracebackType
from weakref import WeakSet

_locks: WeakSet[ForkSafeLock] = WeakSet()


class ForkSafeLock:
    """``threading.RLock`` as a context manager, new in every forked child.

    >>> lock = ForkSafeLock()
    >>> with lock:
    ...     pass
    """

    def __init__(self) -> None:
        self._lock = RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Forget who holds it; for a child, right after the fork. Its one thread keeps what it holds itself."""
        if not self._lock._is_owned():  # type: ignore[attr-defined]
            self._lock = RLock()


def _renew_all() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_renew_all)
