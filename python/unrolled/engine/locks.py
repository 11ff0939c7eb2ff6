# SPDX-License-Identifier: MIT
"""A lock that a forked child finds free, whatever thread of its parent held it."""

from __future__ import annotations

import os
from threading import RLock, get_ident
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
        self._owner, self._depth = 0, 0  # changed only by who holds it
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()
        self._owner = get_ident()
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = 0
        self._lock.release()

    def renew(self) -> None:
        """Forget who holds it; for a child, right after the fork. Its one thread keeps what it holds itself."""
        if self._owner != get_ident():
            self._lock, self._owner, self._depth = RLock(), 0, 0


def _renew_all() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_renew_all)
