# SPDX-License-Identifier: MIT
"""StreamPool: the streams of many clients that come and go, stepped together."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled import _core
from unrolled.engine import tree
from unrolled.engine.locks import ForkSafeLock
from unrolled.streaming.compiled import CompiledStream, State

if TYPE_CHECKING:
    from unrolled.models import Model


class StreamPool:
    """One stream for each client of a server; any number of them advance together as one batch.

    Made by ``Model.stream_pool``. It can be pickled and copied, with its clients under their ids. A client's outputs have the same bits as those of ``predict`` on its own
    timesteps so far, whoever is stepped beside it. Any number of threads may use one pool; calls of
    ``step`` take turns. States are packed in C++; where there is no room for another client, the room
    doubles (its memory is copied once).

    Parameters
    ----------
    model : Model
        Any causal model; its weights are taken as they are now.
    capacity : int
        Clients that there is room for at first.

    Raises
    ------
    StreamError
        A layer needs timesteps that are still to come; the message names it (a ``ValueError``).

    Examples
    --------
    >>> import numpy as np, unrolled
    >>> model = unrolled.Sequential([unrolled.layers.GRU(4, input_shape=(None, 2))])
    >>> pool = model.stream_pool(capacity=2)
    >>> first, second = pool.open(), pool.open()
    >>> pool.step([second, first], np.ones((2, 2), np.float32)).shape
    (2, 4)
    >>> pool.close(first)
    >>> len(pool), pool.capacity
    (1, 2)
    """

    def __init__(self, model: Model, capacity: int = 1024) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int | np.integer) or capacity < 1:
            raise ValueError(f"capacity: expected a positive integer, got {capacity!r}")
        self._model = model
        self._compiled = CompiledStream.of(model)
        self._core = _core.StreamPool(self._compiled.plan, int(capacity), **self._compiled.core_arguments)
        self._is_plain = self._compiled.is_plain
        self._guard = ForkSafeLock()
        # Ids of open clients to those of ``_core``, which are the same unless the pool was pickled before.
        self._clients: dict[int, int] = {}
        self._first_id: int | None = None
        self._largest_id = -1

    @property
    def capacity(self) -> int:
        """Clients that there is room for without growing."""
        return self._core.capacity()

    def __len__(self) -> int:
        """How many clients are open."""
        return self._core.size()

    def open(self, state: State | None = None) -> int:
        """A new client's id; it starts anew, or from a state that ``state`` or ``Stream.get_state`` gave."""
        checked = None if state is None else self._compiled.from_state(state, 1)
        with self._guard:
            client = self._core.open()
            if checked is not None:
                self._core.set_state(client, checked[0], checked[1][0])
            id = client if self._first_id is None else self._first_id + client
            self._clients[id] = client
            self._largest_id = max(self._largest_id, id)
        return id

    def close(self, id: int) -> None:
        """Forget a client. Its id is never given to another.

        Raises
        ------
        ValueError
            There is no such client, or it is closed already.
        """
        with self._guard:
            self._core.close(self._client(id))
            self._clients.pop(id, None)

    def __enter__(self) -> StreamPool:
        return self

    def __exit__(self, *_: object) -> None:
        """Close all clients."""
        for client in list(self._clients):
            self.close(client)

    def reset(self, id: int) -> None:
        """Start a client's stream anew. Raises as ``close``."""
        self._core.reset(self._client(id))

    def step(self, ids: Any, x: Any, out: Any = None) -> Any:
        """Advance some clients by one timestep, together.

        Parameters
        ----------
        ids : sequence of int
            Each client at most once, in any order.
        x : array_like
            ``(len(ids), features)``: row i is the timestep of client ``ids[i]``. A list or dict for several
            inputs.
        out : ndarray, optional
            Where the output goes: float32 in C order and of the right shape.

        Returns
        -------
        ndarray, or a list or dict of them
            ``(len(ids), ...)``: row i is the output of client ``ids[i]``.

        Raises
        ------
        ValueError
            A client is unknown, closed or there twice, or ``x`` does not fit. No client has moved then.
        """
        if self._first_id is not None:
            ids = [self._client(id) for id in ids]
        if self._is_plain:
            try:
                return self._core.step(ids, x, out)
            except ValueError:
                if np.size(ids) or np.size(x):
                    raise
                # Nobody steps: an empty list has no features to count.
                shape = self._compiled.core_arguments["input_shapes"][0]
                return self._core.step(ids, np.zeros((0, *shape), np.float32), out)
        compiled = self._compiled
        given = None if out is None else list(tree.leaves(out))
        if given is not None and len(compiled.sequence_outputs) == 1:
            given = given[0]
        return compiled.unflatten(self._core.step(ids, compiled.flatten(x), given))

    def state(self, id: int) -> State:
        """A copy of a client's state, as ``Stream.get_state`` of a stream of one row. Raises as ``close``."""
        arrays, seen = self._core.state(self._client(id))
        return self._compiled.to_state(arrays, [seen])

    def set_state(self, id: int, state: State) -> None:
        """Have a client go on from a state of one row. Raises as ``close``, and where it does not fit."""
        arrays, seen = self._compiled.from_state(state, 1)
        self._core.set_state(self._client(id), arrays, seen[0])

    def _client(self, id: int) -> int:
        """The id that ``_core`` knows a client by, in a pool that was pickled before."""
        if self._first_id is None:
            return id
        found = self._clients.get(int(id))
        if found is None:
            raise ValueError(f"there is no client {id}, or it is closed")
        return found

    def __reduce__(self) -> Any:
        """The model, with the weights that the pool keeps, and the state of every client by its id."""
        model = self._compiled.model_as_compiled(self._model)
        with self._guard:
            states = {id: self.state(id) for id in self._clients}
            return _go_on, (model, self.capacity, states, self._largest_id)

    def __copy__(self) -> StreamPool:
        return copy.deepcopy(self, {id(self._model): self._model})

    def __repr__(self) -> str:
        return f"<StreamPool of {self._compiled.model_name!r}, {len(self)} clients, capacity={self.capacity}>"


def _go_on(model: Model, capacity: int, states: dict[int, State], largest_id: int) -> StreamPool:
    """A pool of clients in their states, as ``StreamPool.__reduce__`` describes it."""
    pool = StreamPool(model, capacity)
    pool._clients = {id: pool.open(state) for id, state in states.items()}
    pool._first_id, pool._largest_id = largest_id + 1, largest_id
    return pool
