# SPDX-License-Identifier: MIT
"""Outputs in float64, for the check of every peer before it is timed."""

from __future__ import annotations

import numpy as np

from bench.workloads import Workload
from tests.reference.model import Chain

# Rows of a batch that are checked: the first ones and the last ones, so that every block of rows and every
# thread's share has some. The float64 loop would take minutes for all rows of the largest batches.
CHECKED_ROWS = 12
# Float32 peers differ from float64 by about 1e-6 here, bfloat16 by 1e-3 to 1e-2; a wrong gate by more.
TOLERANCE = 1e-4


def checked_rows(batch: int) -> np.ndarray:
    rows = np.arange(batch)
    half = CHECKED_ROWS // 2
    return rows if batch <= CHECKED_ROWS else np.concatenate([rows[:half], rows[-half:]])


def expected_output(workload: Workload, weights: list[np.ndarray], batch: int) -> np.ndarray:
    """The checked rows of the output."""
    x = workload.inputs(batch)[checked_rows(batch)]
    return np.asarray(Chain(workload.layers, weights)(x.astype(np.float64)))


def largest_error(output: np.ndarray, expected: np.ndarray, batch: int) -> float:
    """Over the checked rows; infinite where shape or finiteness is wrong already.

    ``output`` is whole: rows that are not checked must still be finite.
    """
    if output.shape != (batch, *expected.shape[1:]) or not np.isfinite(output).all():
        return float("inf")
    return float(np.abs(output[checked_rows(batch)] - expected).max())
