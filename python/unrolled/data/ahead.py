# SPDX-License-Identifier: MIT
"""Reading ahead: the next batch is read while the last one is computed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_END = object()


def read_ahead(source: Iterator[T]) -> Iterator[T]:
    """The items of ``source``, one of them made ahead by a thread.

    An error of the source is raised where its item would come. The thread ends when the iterator is closed.
    """
    items: queue.Queue[Any] = queue.Queue(maxsize=1)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                items.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for item in source:
                if not put(item):
                    return
            put(_END)
        except BaseException as error:  # handed over to whoever reads
            put(_Failure(error))

    thread = threading.Thread(target=read, name="unrolled-read-ahead", daemon=True)
    thread.start()
    try:
        while (item := items.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join()


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error
