# SPDX-License-Identifier: MIT
"""Sequences of different lengths, each predicted as if alone, without padding.

Sequences of equal length form batches. A causal model also takes sequences of different lengths together,
sorted, longest first: all run to the end of the shortest, the others go on from their states to the end of
the next, and so on, so that every timestep computed is one that was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled import _core
from unrolled.engine import tree
from unrolled.engine.lowering import CompiledPlan
from unrolled.errors import StreamError
from unrolled.models.inputs import check_inputs
from unrolled.streaming.compiled import CompiledStream

if TYPE_CHECKING:
    from unrolled.models.model import Model

# Sequences of different lengths that one thread takes together: enough to reuse every weight that is read.
ROWS_TOGETHER = 48
# From so many sequences of each length on, batches of equal length are as good.
ROWS_OF_A_LENGTH = 16

Arrays = list[NDArray[Any]]


def predict_sequences(
    model: Model, sequences: Any, lengths: ArrayLike | None = None, batch_size: int | None = None
) -> Any:
    """See ``Model.predict_sequences``."""
    model.check_built()
    if batch_size is not None and (not isinstance(batch_size, int | np.integer) or batch_size < 1):
        raise ValueError(f"batch_size: expected a positive integer, got {batch_size!r}")
    items = _split(model, sequences, lengths)
    if not items:
        return []
    compiled, structure = model.compiled_for([array[np.newaxis] for array in items[0]])
    if compiled.is_stateful:
        raise ValueError(
            f"model {model.name!r} is stateful: its sequences depend on each other; use predict or stream()"
        )
    results: list[Arrays] = [[] for _ in items]
    parts = _parts(model, items, results, compiled, batch_size or 0)
    # One thread for each part; a single part shares its own work.
    if len(parts) == 1 or _core.get_num_threads() == 1:
        for part in parts:
            part(0)
    else:
        with ThreadPoolExecutor(min(len(parts), _core.get_num_threads())) as pool:
            list(pool.map(lambda part: part(1), parts))
    return [tree.unflatten(structure, iter(outputs)) for outputs in results]


def _split(model: Model, sequences: Any, lengths: ArrayLike | None) -> list[Arrays]:
    """Every sequence as the model's flattened inputs, checked."""
    if lengths is not None:
        padded = check_inputs(model, sequences)
        counts = np.asarray(lengths)
        rows, longest = len(padded[0]), min(array.shape[1] if array.ndim > 1 else 0 for array in padded)
        if counts.shape != (rows,) or counts.dtype.kind not in "iu":
            raise ValueError(f"lengths: expected {rows} integers, got {counts.dtype} {counts.shape}")
        if rows and (counts.min() < 1 or counts.max() > longest):
            raise ValueError(
                f"lengths: expected integers from 1 to {longest}, got {counts.min()} to {counts.max()}"
            )
        return [[array[row, :count] for array in padded] for row, count in enumerate(counts.tolist())]
    if isinstance(sequences, str | bytes) or not hasattr(sequences, "__iter__"):
        raise ValueError(f"expected a list of arrays, got {type(sequences).__name__}")
    items = []
    for number, sequence in enumerate(sequences):
        try:
            batch = tree.map_leaves(lambda leaf: np.asarray(leaf)[np.newaxis], sequence)
            items.append([array[0] for array in check_inputs(model, batch)])
        except ValueError as error:
            raise ValueError(f"sequence {number}: {error}") from None
        if any(array.ndim < 1 or len(array) < 1 for array in items[-1]):
            raise ValueError(f"sequence {number}: expected at least one timestep")
        if [array.dtype for array in items[-1]] != [array.dtype for array in items[0]]:
            raise ValueError(f"sequence {number}: expected the dtypes of sequence 0")
    return items


def _parts(
    model: Model, items: list[Arrays], results: list[Arrays], compiled: CompiledPlan, max_rows: int
) -> list[Callable[[int], None]]:
    """The work, cut so that threads may share it; each part takes its number of threads (0: the default)."""
    by_length: dict[tuple[int, ...], list[int]] = {}
    for number, item in enumerate(items):
        by_length.setdefault(tuple(len(array) for array in item), []).append(number)
    stream = None
    if len(items) < ROWS_OF_A_LENGTH * len(by_length):
        stream = _stream_of(model, items)
    if stream is None:
        return [
            _equal_part(items, results, compiled, max_rows, group)
            for group in sorted(by_length.values(), key=lambda group: -len(group) * len(items[group[0]][0]))
        ]
    order = sorted(range(len(items)), key=lambda number: -len(items[number][0]))
    together = min(max_rows or ROWS_TOGETHER, ROWS_TOGETHER)
    return [
        _mixed_part(items, results, stream, order[start : start + together])
        for start in range(0, len(order), together)
    ]


def _stream_of(model: Model, items: list[Arrays]) -> CompiledStream | None:
    """The model compiled for streams, where its sequences may run so."""
    try:
        stream = CompiledStream.of(model)
    except StreamError:
        return None
    dtypes = [str(array.dtype) for array in items[0]]
    one_length = all(len({len(array) for array in item}) == 1 for item in items)
    return stream if one_length and dtypes == stream.dtypes else None


def _equal_part(
    items: list[Arrays], results: list[Arrays], compiled: CompiledPlan, max_rows: int, group: Sequence[int]
) -> Callable[[int], None]:
    def run(threads: int) -> None:
        batch = [np.stack(arrays) for arrays in zip(*(items[number] for number in group), strict=True)]
        outputs = compiled.plan.run(batch, max_rows, threads)
        for row, number in enumerate(group):
            results[number] = [output[row].copy() for output in outputs]

    return run


def _mixed_part(
    items: list[Arrays], results: list[Arrays], stream: CompiledStream, order: Sequence[int]
) -> Callable[[int], None]:
    """Sequences sorted by length, the longest first."""

    def run(threads: int) -> None:
        lengths = np.array([len(items[number][0]) for number in order])
        inputs = []
        for i in range(len(stream.inputs)):
            first = items[order[0]][i]
            padded = np.empty((len(order), *first.shape), first.dtype)
            for row, number in enumerate(order):
                padded[row, : lengths[row]] = items[number][i]
            inputs.append(padded)
        states = stream.initial_states(len(order))
        pieces: list[Arrays] = []  # of every output, its values from stretch to stretch
        ends = sorted(set(lengths.tolist()))
        start = 0
        for end in ends:
            active = int((lengths >= end).sum())
            block = [np.ascontiguousarray(array[:active, start:end]) for array in inputs]
            outputs = stream.plan.run([*block, *(state[:active] for state in states)], 0, threads)
            count = len(stream.sequence_outputs)
            pieces.append(outputs[:count])
            states = outputs[count:]
            start = end
        for row, number in enumerate(order):
            last = ends.index(lengths[row])
            results[number] = [
                np.concatenate([piece[i][row] for piece in pieces[: last + 1]])
                if is_sequence
                else pieces[last][i][row].copy()
                for i, is_sequence in enumerate(stream.sequence_outputs)
            ]

    return run
