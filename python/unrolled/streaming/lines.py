# SPDX-License-Identifier: MIT
"""A live stream between two pipes: timesteps in as lines or frames, outputs out as they come."""

from __future__ import annotations

import math
from collections.abc import Callable
from io import BufferedIOBase
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from unrolled.data.csv_rows import RowParser, read_lines
from unrolled.streaming.stream import Stream

if TYPE_CHECKING:
    from unrolled.models.model import Model

# How much of a pipe is taken at once where that much waits in it.
READ_BYTES = 1 << 16
# What messages call the source.
SOURCE = "the standard input"


def run_lines(model: Model, source: BufferedIOBase, sink: IO[bytes]) -> None:
    """Step a model through lines of CSV; see ``unrolled.data.csv_rows.RULE``.

    Parameters
    ----------
    model : Model
        Causal, of one input and one output.
    source, sink : file
        Every row of the source is answered by one line in the sink; a blank line starts a new sequence.

    Raises
    ------
    ValueError
        A line does not follow the rule or does not fit the model; the message gives its number.
    """
    stream, shape = _start(model)
    integers = stream._compiled.dtypes[0] == "int32"
    parser = RowParser(SOURCE, math.prod(shape), integers=integers)
    for line in read_lines(cast(BinaryIO, source), SOURCE):
        row = parser.parse(line)
        if row is None:
            continue
        if not row:
            stream.reset()
            continue
        try:
            y = stream.step(np.array(row).reshape(1, *shape))
        except ValueError as error:
            raise ValueError(f"{SOURCE}, line {parser.line}: {error}") from None
        sink.write((",".join([f"{value:.9g}" for value in y.ravel().tolist()]) + "\n").encode())
        sink.flush()


def run_frames(model: Model, source: BufferedIOBase, sink: IO[bytes]) -> None:
    """Step a model through little-endian frames of float32 (int32 for ids), one for each timestep.

    Parameters
    ----------
    model : Model
        Causal, of one input and one output.
    source, sink : file
        Every frame of the source is answered by one frame of float32 in the sink.

    Raises
    ------
    ValueError
        The source ends within a frame, or an id is out of range.
    """
    stream, shape = _start(model)
    dtype = np.dtype(stream._compiled.dtypes[0]).newbyteorder("<")
    size = math.prod(shape) * dtype.itemsize
    step: Callable[[NDArray[Any]], NDArray[Any]] = (
        stream.run if stream._compiled.sequence_outputs[0] else _each(stream)
    )
    waiting = b""
    while data := source.read1(max(READ_BYTES, size)):
        waiting += data
        count = len(waiting) // size
        if count == 0:
            continue
        block = np.frombuffer(waiting, dtype, count * math.prod(shape)).reshape(1, count, *shape)
        waiting = waiting[count * size :]
        sink.write(np.ascontiguousarray(step(block), "<f4").tobytes())
        sink.flush()
    if waiting:
        raise ValueError(f"{SOURCE} ends {len(waiting)} bytes into a frame of {size} bytes")


def _each(stream: Stream) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Steps one after another, for a model whose output is not a sequence."""
    return lambda block: np.stack([stream.step(block[:, t]) for t in range(block.shape[1])], axis=1)


def _start(model: Model) -> tuple[Stream, tuple[int, ...]]:
    """The stream, and the shape of a timestep."""
    stream = model.stream()
    if not stream._is_plain:
        raise ValueError(f"model {model.name!r}: expected one input and one output")
    return stream, stream._compiled.core_arguments["input_shapes"][0]
