# SPDX-License-Identifier: MIT
"""Rounds: what waits while a thread computes is computed together next. There is no timer.

A request that comes while nothing runs starts at once, alone; under load the batches grow by themselves to
what has arrived meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from unrolled.serving.metrics import Metrics
from unrolled.serving.protocol import ServingError
from unrolled.serving.served import ServedModel

_log = logging.getLogger("unrolled.serving")

# Rows that one call of predict takes at most: a longer one would keep the next round waiting.
MOST_ROWS_TOGETHER = 8192


class Job:
    """Something to compute, and what came of it."""

    __slots__ = ("error", "future", "result")

    def __init__(self) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.result: Any = None
        self.error: ServingError | None = None


J = TypeVar("J", bound=Job)


class Runner(Protocol[J]):
    """What computes the jobs of a round, in the thread of its rounds."""

    def pick(self, waiting: list[J]) -> tuple[list[J], list[J]]:
        """Those that run now, and those that go on waiting, in order."""

    def run(self, jobs: list[J]) -> None:
        """Give each job its result or its error."""


class Rounds(Generic[J]):
    """Jobs that wait while a thread computes go together.

    Parameters
    ----------
    runner : Runner
        Computes a round.
    name : str
        Of the thread.
    most_waiting : int
        More jobs than this are refused: the service is overloaded.
    """

    def __init__(self, runner: Runner[J], name: str, most_waiting: int) -> None:
        self._runner = runner
        self._most_waiting = most_waiting
        self._waiting: list[J] = []
        self._is_running = False
        # NaN among ids is refused by its value; NumPy's warning about it would only fill the log.
        self._thread = ThreadPoolExecutor(1, name, initializer=lambda: np.seterr(all="ignore"))

    @property
    def waiting(self) -> int:
        """Jobs that wait for the next round."""
        return len(self._waiting)

    async def result(self, job: J) -> Any:
        """Run a job with others; its result.

        Raises
        ------
        ServingError
            The job's own error, or too many wait.
        """
        if len(self._waiting) >= self._most_waiting:
            raise ServingError(503, f"{len(self._waiting)} requests are waiting already; try again later")
        self._waiting.append(job)
        if not self._is_running:
            self._start()
        return await job.future

    def _start(self) -> None:
        jobs, self._waiting = self._runner.pick(self._waiting)
        self._is_running = bool(jobs)
        if jobs:
            self._thread.submit(self._round, jobs, asyncio.get_running_loop())

    def _round(self, jobs: list[J], loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._runner.run(jobs)
        except BaseException:
            _log.exception("a round of %d requests failed", len(jobs))
            for job in jobs:
                if job.result is None and job.error is None:
                    job.error = ServingError(500, "internal error")
        loop.call_soon_threadsafe(self._finish, jobs)

    def _finish(self, jobs: list[J]) -> None:
        self._start()
        for job in jobs:
            if job.future.done():  # its client has gone
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=True)


class Prediction(Job):
    """Rows to predict."""

    __slots__ = ("arrays", "rows")

    def __init__(self, arrays: list[NDArray[Any]]) -> None:
        super().__init__()
        self.arrays = arrays
        self.rows = arrays[0].shape[0]


class Predictions:
    """Rounds of ``predict``: requests of one shape become one batch, which never changes a bit of a row."""

    def __init__(self, served: ServedModel, metrics: Metrics) -> None:
        self._served = served
        self._metrics = metrics

    def pick(self, waiting: list[Prediction]) -> tuple[list[Prediction], list[Prediction]]:
        """As many as make a batch."""
        rows = 0
        for count, job in enumerate(waiting):
            rows += job.rows
            if count and rows > MOST_ROWS_TOGETHER:
                return waiting[:count], waiting[count:]
        return waiting, []

    def run(self, jobs: list[Prediction]) -> None:
        """Predict, each group of one shape together."""
        groups: dict[Any, list[Prediction]] = {}
        for job in jobs:
            key = tuple((array.shape[1:], array.dtype.char) for array in job.arrays)
            groups.setdefault(key, []).append(job)
        for group in groups.values():
            self._together(group)

    def _together(self, group: list[Prediction]) -> None:
        if len(group) > 1:
            arrays = [np.concatenate(parts) for parts in zip(*(job.arrays for job in group), strict=True)]
        else:
            arrays = group[0].arrays
        started = time.perf_counter()
        try:
            outputs = self._served.predict(arrays)
        except Exception as error:
            if len(group) > 1:  # one of them is at fault: each alone, so that only that one gets the error
                for job in group:
                    self._together([job])
            else:
                group[0].error = as_serving_error(error)
            return
        self._metrics.batch(self._served.name, arrays[0].shape[0], time.perf_counter() - started)
        start = 0
        for job in group:
            end = start + job.rows
            job.result = [array[start:end] for array in outputs] if len(group) > 1 else outputs
            start = end


def as_serving_error(error: Exception) -> ServingError:
    """What a client is told of an error of the model."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, ValueError | TypeError):  # the model's own words about an input that does not fit
        return ServingError(400, str(error)[:1000])
    if isinstance(error, MemoryError):
        return ServingError(413, "the request needs more memory than there is")
    _log.error("the model failed", exc_info=error)
    return ServingError(500, "internal error")
