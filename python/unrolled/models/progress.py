# SPDX-License-Identifier: MIT
"""A long prediction in pieces, with a progress bar where it is shown on a terminal or asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.engine.lowering import CompiledPlan

# A prediction that would last longer than this shows a progress bar on a terminal (verbose="auto").
PROGRESS_AFTER_SECONDS = 2.0
# How long one step of the progress bar should last.
PROGRESS_STEP_SECONDS = 0.25


def on_terminal() -> bool:
    """Whether the bar would be seen."""
    return sys.stderr is not None and sys.stderr.isatty()


def concatenate(parts: list[list[NDArray[Any]]]) -> list[NDArray[Any]]:
    """The outputs of the pieces, each joined."""
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def run_with_progress(
    compiled: CompiledPlan, arrays: list[NDArray[Any]], max_rows: int, *, always: bool
) -> list[NDArray[Any]]:
    """Run in pieces, with a bar once it is clear that the rest will last."""
    rows = arrays[0].shape[0]
    piece = min(rows, max(max_rows, 64))
    started = time.perf_counter()
    parts = [compiled.run([array[:piece] for array in arrays], max_rows)]
    seconds_per_row = (time.perf_counter() - started) / max(piece, 1)
    remaining = (rows - piece) * seconds_per_row
    if rows <= piece:
        return parts[0]
    if not always and remaining < PROGRESS_AFTER_SECONDS:
        parts.append(compiled.run([array[piece:] for array in arrays], max_rows))
        return concatenate(parts)
    step = max(piece, int(PROGRESS_STEP_SECONDS / max(seconds_per_row, 1e-9)))
    for start in _progress(range(piece, rows, step), rows, step):
        parts.append(compiled.run([array[start : start + step] for array in arrays], max_rows))
    return concatenate(parts)


def _progress(starts: range, rows: int, step: int) -> Iterator[int]:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
    except ImportError:
        yield from starts
        return
    columns = ("predict", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("predict", total=rows, completed=starts.start)
        for start in starts:
            yield start
            progress.update(task, completed=min(start + step, rows))
