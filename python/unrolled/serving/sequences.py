# SPDX-License-Identifier: MIT
"""Sequences: each client's own state on one pool, stepped together.

Everything that touches the pool runs in the thread of its rounds, in the order of arrival: a request either
moves its sequence wholly or leaves it as it was.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.engine import tree
from unrolled.serving.batching import Job, as_serving_error
from unrolled.serving.metrics import Metrics
from unrolled.serving.options import Options
from unrolled.serving.protocol import Arrays, SequenceControl, ServingError
from unrolled.serving.served import ServedModel

State = dict[str, list[NDArray[Any]]]


class Step(Job):
    """One timestep or several of a sequence."""

    __slots__ = ("arrays", "control", "has_time")

    def __init__(self, control: SequenceControl, arrays: list[NDArray[Any]], has_time: bool) -> None:
        super().__init__()
        self.control = control
        self.arrays = arrays
        self.has_time = has_time


class Exported(Job):
    """A copy of a sequence's state."""

    __slots__ = ("id",)

    def __init__(self, id: str) -> None:
        super().__init__()
        self.id = id


class Imported(Job):
    """A sequence that goes on from a state."""

    __slots__ = ("id", "state")

    def __init__(self, id: str, state: State) -> None:
        super().__init__()
        self.id = id
        self.state = state


class Closed(Job):
    """The end of a sequence, without a timestep; no id: of those that have been idle for long."""

    __slots__ = ("id",)

    def __init__(self, id: str | None) -> None:
        super().__init__()
        self.id = id


AnyJob = Step | Exported | Imported | Closed


class _Entry:
    __slots__ = ("client", "last_used")

    def __init__(self, client: int) -> None:
        self.client = client
        self.last_used = time.monotonic()


class Sequences:
    """The sequences of one model in one worker.

    Parameters
    ----------
    served : ServedModel
        A causal model.
    options : Options
        How many there may be, and how long one may be idle.
    metrics : Metrics
        Learns of the batches.
    """

    def __init__(self, served: ServedModel, options: Options, metrics: Metrics) -> None:
        self._served = served
        self._most = options.max_sequences
        self._idle = options.sequence_idle
        self._metrics = metrics
        self._pool = served.model.stream_pool(min(64, options.max_sequences))
        self._scratch: Any = None
        self._open: OrderedDict[str, _Entry] = OrderedDict()  # the longest idle one first
        self._starting = 0  # clients of the pool whose first step is not done

    def __len__(self) -> int:
        return len(self._open)

    # ------------------------------------------------------------------- rounds

    def pick(self, waiting: list[AnyJob]) -> tuple[list[AnyJob], list[AnyJob]]:
        """The first job of each sequence: its later ones need what it leaves behind."""
        now: list[AnyJob] = []
        later: list[AnyJob] = []
        seen: set[str | None] = set()
        for job in waiting:
            key = job.control.id if isinstance(job, Step) else job.id
            if key in seen:
                later.append(job)
            else:
                seen.add(key)
                now.append(job)
        return now, later

    def run(self, jobs: list[AnyJob]) -> None:
        """Each job's result or error."""
        steps: list[tuple[Step, int]] = []
        for job in jobs:
            try:
                if isinstance(job, Step):
                    client = self._client(job.control)
                    if job.arrays[0].shape[1] == 1:
                        steps.append((job, client))
                    else:
                        self._run_block(job, client)
                elif isinstance(job, Exported):
                    job.result = self._pool.state(self._find(job.id).client)
                elif isinstance(job, Imported):
                    self._import(job.id, job.state)
                    job.result = True
                else:
                    job.result = self._close_idle() if job.id is None else self._close(job.id)
            except Exception as error:
                job.error = as_serving_error(error)
        groups: dict[Any, list[tuple[Step, int]]] = {}
        for step, client in steps:
            groups.setdefault(tuple(array.dtype.char for array in step.arrays), []).append((step, client))
        for group in groups.values():
            self._together(group)

    def _together(self, group: list[tuple[Step, int]]) -> None:
        """One timestep of several sequences."""
        jobs = [job for job, _ in group]
        x = [np.concatenate([job.arrays[i][:, 0] for job in jobs]) for i in range(len(jobs[0].arrays))]
        started = time.perf_counter()
        try:
            outputs = self._pool.step([client for _, client in group], self._served.structured(x))
        except Exception as error:
            if len(group) > 1:  # nobody has moved: each alone, so that only who is at fault gets the error
                for one in group:
                    self._together([one])
            else:
                self._fail(jobs[0], group[0][1], error)
            return
        self._metrics.batch(self._served.name, len(group), time.perf_counter() - started)
        flat = list(tree.leaves(outputs))
        for row, (job, client) in enumerate(group):
            own = [array[row : row + 1] for array in flat]
            self._succeed(job, client, self._served.with_time(own) if job.has_time else own)

    def _run_block(self, job: Step, client: int) -> None:
        """Several timesteps of one sequence, on a stream beside the pool: whole or not at all."""
        started = time.perf_counter()
        try:
            if self._scratch is None:
                self._scratch = self._served.model.stream()
            self._scratch.set_state(self._pool.state(client))
            outputs = self._scratch.run(self._served.structured(job.arrays))
            self._pool.set_state(client, self._scratch.get_state())
        except Exception as error:
            self._fail(job, client, error)
            return
        self._metrics.batch(self._served.name, 1, time.perf_counter() - started)
        self._succeed(job, client, list(tree.leaves(outputs)))

    # -------------------------------------------------------------- the sequences

    def _client(self, control: SequenceControl) -> int:
        """The pool's client for a request; a new one where the sequence starts, which nobody else sees yet."""
        if not control.start:
            entry = self._find(control.id)
            self._touch(control.id)  # now, so that nothing in this round takes it for idle
            return entry.client
        if control.id not in self._open:
            self._make_room()
        self._starting += 1
        return self._pool.open()

    def _succeed(self, job: Step, client: int, outputs: list[NDArray[Any]]) -> None:
        control = job.control
        self._starting -= control.start
        if control.end:
            self._pool.close(client)
            old = self._open.pop(control.id, None)
            if old is not None and old.client != client:
                self._pool.close(old.client)
        elif control.start:
            self._enter(control.id, client)
        job.result = outputs

    def _fail(self, job: Step, client: int, error: Exception) -> None:
        if job.control.start:
            self._starting -= 1
            self._pool.close(client)
        job.error = as_serving_error(error)

    def _find(self, id: str) -> _Entry:
        entry = self._open.get(id)
        if entry is None:
            raise ServingError(
                404, f"model {self._served.name!r} has no sequence {id!r}: begin it with sequence_start"
            )
        return entry

    def _touch(self, id: str) -> None:
        self._open[id].last_used = time.monotonic()
        self._open.move_to_end(id)

    def _enter(self, id: str, client: int) -> None:
        old = self._open.pop(id, None)
        if old is not None:
            self._pool.close(old.client)
        self._open[id] = _Entry(client)

    def _import(self, id: str, state: State) -> None:
        if id not in self._open:
            self._make_room()
        self._enter(id, self._pool.open(state))

    def _close(self, id: str) -> bool:
        self._pool.close(self._find(id).client)
        del self._open[id]
        return True

    def _make_room(self) -> None:
        if len(self._open) + self._starting >= self._most:
            self._close_idle()
        if len(self._open) + self._starting >= self._most:
            raise ServingError(503, f"model {self._served.name!r}: all {self._most} sequences are taken")

    def _close_idle(self) -> int:
        """Forget the sequences that nobody has used for long; how many."""
        oldest = time.monotonic() - self._idle
        count = 0
        while self._open:
            id, entry = next(iter(self._open.items()))
            if entry.last_used > oldest:
                break
            self._close(id)
            count += 1
        self._metrics.expired(self._served.name, count)
        return count


def state_to_arrays(state: State) -> Arrays:
    """A state as named arrays: "layer/0", "layer/1", ..."""
    return {
        f"{layer}/{index}": array for layer, arrays in state.items() for index, array in enumerate(arrays)
    }


def arrays_to_state(arrays: Arrays) -> State:
    """The state that ``state_to_arrays`` gave these names.

    Raises
    ------
    ServingError
        A name is not of that form.
    """
    state: State = {}
    for name, array in arrays.items():
        layer, _, index = name.rpartition("/")
        found = state.setdefault(layer, [])
        if not layer or index != str(len(found)):
            raise ServingError(400, f"state: expected tensors named LAYER/0, LAYER/1, ..., got {name!r:.60}")
        found.append(array)
    return state
