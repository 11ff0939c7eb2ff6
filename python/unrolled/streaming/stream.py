# SPDX-License-Identifier: MIT
"""Stream: one live stream, or a fixed batch of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled import _core
from unrolled.engine import tree
from unrolled.streaming.compiled import CompiledStream, State

if TYPE_CHECKING:
    from unrolled.models import Model

# A longer block is run in pieces, so that its intermediate values need no more memory than this.
MAX_BLOCK_BYTES = 64 << 20


class Stream:
    """A model stepped through time: timesteps in, outputs out, the states kept in between.

    Made by ``Model.stream``. It can be pickled and copied, and goes on from there. Outputs have the same bits
    as those of ``predict`` on all timesteps so far. One thread at a time may use it; ``StreamPool`` takes
    many threads and clients.

    Parameters
    ----------
    model : Model
        Any causal model, trained stateless or not; its weights are taken as they are now.
    batch_size : int
        Rows that are stepped together.

    Raises
    ------
    StreamError
        A layer needs timesteps that are still to come; the message names it (a ``ValueError``).

    Examples
    --------
    >>> import numpy as np, unrolled
    >>> model = unrolled.Sequential([unrolled.layers.GRU(4, input_shape=(None, 2))])
    >>> x = np.ones((1, 3, 2), np.float32)
    >>> stream = model.stream()
    >>> steps = [stream.step(x[:, t]) for t in range(3)]
    >>> np.array_equal(steps[-1], model.predict(x))
    True
    >>> stream.timesteps_seen
    3
    """

    def __init__(self, model: Model, batch_size: int = 1) -> None:
        self._start(model, CompiledStream.of(model), batch_size)

    def _start(self, model: Model, compiled: CompiledStream, batch_size: int) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ValueError(f"batch_size: expected a positive integer, got {batch_size!r}")
        self._model = model
        self._compiled = compiled
        self._batch_size = int(batch_size)
        self._core = _core.Stream(compiled.plan, self._batch_size, **compiled.core_arguments)
        self._is_plain = compiled.is_plain
        self._longest_piece = max(1, int(MAX_BLOCK_BYTES / max(1.0, self._core.bytes_per_timestep())))

    @property
    def batch_size(self) -> int:
        """Rows that are stepped together."""
        return self._batch_size

    @property
    def timesteps_seen(self) -> int:
        """Timesteps since the stream, or its oldest row, began or was reset."""
        return max(self._core.timesteps_seen())

    def step(self, x: Any, out: Any = None) -> Any:
        """Advance by one timestep.

        Parameters
        ----------
        x : array_like
            ``(batch_size, features)``: the model's input without its time axis. A list or dict for several.
        out : ndarray, optional
            Where the output goes: float32 in C order and of the right shape. Then nothing is allocated.

        Returns
        -------
        ndarray, or a list or dict of them
            ``(batch_size, ...)``: the output of this timestep; ``out`` where given. Of a model that does not
            return sequences, what ``predict`` on all timesteps so far gives.

        Raises
        ------
        ValueError
            ``x`` or ``out`` has another shape, or a value is out of range. The stream is as before then.
        """
        if self._is_plain:
            return self._core.step(x, out)
        compiled = self._compiled
        given = None if out is None else list(tree.leaves(out))
        if given is not None and len(compiled.sequence_outputs) == 1:
            given = given[0]
        return compiled.unflatten(self._core.step(compiled.flatten(x), given))

    def run(self, block: Any) -> Any:
        """Advance by any number of timesteps at once.

        Parameters
        ----------
        block : array_like
            ``(batch_size, timesteps, features)``. A list or dict for several inputs.

        Returns
        -------
        ndarray, or a list or dict of them
            Sequence outputs ``(batch_size, timesteps, ...)`` for these timesteps; others as after the last.

        Raises
        ------
        ValueError
            ``block`` has another shape, a value is out of range, or there are no timesteps and the model has
            an output that is not a sequence. The stream is as before the call then.
        """
        # The usual block needs nothing but the checks in C++: 64 samples of audio take 4 microseconds.
        shape: tuple[int, ...] = getattr(block, "shape", ())
        if self._is_plain and len(shape) > 1 and 0 < shape[1] <= self._longest_piece:
            return self._core.run(block)
        compiled = self._compiled
        arrays = self._as_blocks(compiled.flatten(block))
        timesteps = arrays[0].shape[1]
        if timesteps == 0:
            return compiled.unflatten(self._nothing())
        limit = self._longest_piece
        if timesteps <= limit:
            return compiled.unflatten(self._core.run(arrays if len(arrays) > 1 else arrays[0]))
        pieces = []
        before, seen = self._core.states(), self._core.timesteps_seen()
        try:
            for start in range(0, timesteps, limit):
                part = [array[:, start : start + limit] for array in arrays]
                result = self._core.run(part if len(part) > 1 else part[0])
                pieces.append(result if isinstance(result, list) else [result])
        except BaseException:  # Ctrl-C too
            self._core.set_states(before, seen)
            raise
        joined = [
            np.concatenate(parts, axis=1) if is_sequence else parts[-1]
            for parts, is_sequence in zip(zip(*pieces, strict=True), compiled.sequence_outputs, strict=True)
        ]
        return compiled.unflatten(joined if len(joined) > 1 else joined[0])

    def _as_blocks(self, flat: Any) -> list[NDArray[Any]]:
        compiled = self._compiled
        values = flat if len(compiled.inputs) > 1 else [flat]
        arrays = [compiled.convert(index, value) for index, value in enumerate(values)]
        for array, tensor in zip(arrays, compiled.inputs, strict=True):
            wanted = (self._batch_size, arrays[0].shape[1] if arrays[0].ndim > 1 else None, *tensor.shape[2:])
            if array.shape != wanted:
                shown = ", ".join(str(size) for size in (self._batch_size, "timesteps", *tensor.shape[2:]))
                raise ValueError(f"input {tensor.name!r}: expected shape ({shown}), got {array.shape}")
        return arrays

    def _nothing(self) -> Any:
        compiled = self._compiled
        if not all(compiled.sequence_outputs):
            raise ValueError("expected at least one timestep")
        shapes = compiled.output_shapes(self._batch_size)
        empty = [np.zeros((shape[0], 0, *shape[2:]), np.float32) for shape in shapes]
        return empty if len(empty) > 1 else empty[0]

    def generate(
        self,
        last: Any,
        steps: int,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        from_logits: bool = False,
    ) -> NDArray[Any]:
        """What would follow if the model's output were its next input; the stream itself stays where it is.

        Parameters
        ----------
        last : ndarray
            ``(batch_size, size)``: what the last ``step`` gave.
        steps, temperature, top_k, seed, from_logits
            As in ``Model.generate``.

        Returns
        -------
        ndarray
            ``(batch_size, steps, features)``, or ``(batch_size, steps)`` ids of tokens; begins with what
            follows from ``last``.

        Raises
        ------
        ValueError
            As ``Model.generate``.
        """
        from unrolled.streaming.generation import core_arguments, ends

        model = self._model
        tensor, width = ends(model)
        arguments = core_arguments(
            model, tensor, width, steps, temperature=temperature, top_k=top_k, seed=seed,
            from_logits=from_logits,
        )  # fmt: skip
        return self.copy()._core.generate(np.asarray(last, np.float32), **arguments)

    def reset(self, rows: int | Iterable[int] | None = None) -> None:
        """Start anew: all rows, or only those given.

        Raises
        ------
        ValueError
            There is no such row; nothing is changed then.
        """
        if rows is None:
            self._core.reset()
        else:
            chosen = [rows] if isinstance(rows, int | np.integer) else list(rows)
            self._core.reset([int(row) for row in chosen])

    def get_state(self) -> State:
        """A copy of everything that the stream knows of the timesteps so far.

        Returns
        -------
        dict of str to list of ndarray
            By layer name; every array begins with the batch axis. LSTM has [h, c], GRU and SimpleRNN [h], a
            causal convolution its last inputs, a global pooling its accumulators. ``"timesteps_seen"`` has
            one count for each row. Pickle it, or ``numpy.savez`` its arrays, to go on elsewhere.
        """
        return self._compiled.to_state(self._core.states(), self._core.timesteps_seen())

    def set_state(self, state: State) -> None:
        """Go on from what ``get_state`` gave, here or in another process.

        Raises
        ------
        ValueError
            It is not a state of this model and batch size; nothing is changed then.
        """
        self._core.set_states(*self._compiled.from_state(state, self._batch_size))

    def copy(self) -> Stream:
        """A stream of its own that goes on from here."""
        other = Stream.__new__(Stream)
        other._start(self._model, self._compiled, self._batch_size)
        other._core.set_states(self._core.states(), self._core.timesteps_seen())
        return other

    __copy__ = copy

    def __reduce__(self) -> Any:
        """The model, with the weights that the stream keeps, and the state."""
        model = self._compiled.model_as_compiled(self._model)
        return _go_on, (model, self._batch_size, self.get_state())

    def __repr__(self) -> str:
        return (
            f"<Stream of {self._compiled.model_name!r}, batch_size={self._batch_size}, "
            f"timesteps_seen={self.timesteps_seen}>"
        )


def _go_on(model: Model, batch_size: int, state: State) -> Stream:
    """A stream in a state, as ``Stream.__reduce__`` describes it."""
    stream = Stream(model, batch_size)
    stream.set_state(state)
    return stream
