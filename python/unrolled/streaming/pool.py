# SPDX-License-Identifier: MIT
"""StreamPool: the streams of many clients that come and go, stepped together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled import _core, tree
from unrolled.streaming.compiled import CompiledStream, State

if TYPE_CHECKING:
    from unrolled.models import Model


class StreamPool:
    """One stream for each client of a server; any number of them advance together as one batch.

    Made by ``Model.stream_pool``. A client's outputs have the same bits as those of ``predict`` on its own
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
        self._compiled = CompiledStream.of(model)
        self._core = _core.StreamPool(self._compiled.plan, int(capacity), **self._compiled.core_arguments)
        self._is_plain = self._compiled.is_plain

    @property
    def capacity(self) -> int:
        """Clients that there is room for without growing."""
        return self._core.capacity()

    def __len__(self) -> int:
        """How many clients are open."""
        return self._core.size()

    def open(self, state: State | None = None) -> int:
        """A new client's id; it starts anew, or from a state that ``state`` or ``Stream.get_state`` gave."""
        if state is None:
            return self._core.open()
        checked = self._compiled.from_state(state, 1)
        client = self._core.open()
        self._core.set_state(client, checked[0], checked[1][0])
        return client

    def close(self, id: int) -> None:
        """Forget a client. Its id is never given to another.

        Raises
        ------
        ValueError
            There is no such client, or it is closed already.
        """
        self._core.close(id)

    def reset(self, id: int) -> None:
        """Start a client's stream anew. Raises as ``close``."""
        self._core.reset(id)

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
        arrays, seen = self._core.state(id)
        return self._compiled.to_state(arrays, [seen])

    def set_state(self, id: int, state: State) -> None:
        """Have a client go on from a state of one row. Raises as ``close``, and where it does not fit."""
        arrays, seen = self._compiled.from_state(state, 1)
        self._core.set_state(id, arrays, seen[0])

    def __repr__(self) -> str:
        return f"<StreamPool of {self._compiled.model_name!r}, {len(self)} clients, capacity={self.capacity}>"
