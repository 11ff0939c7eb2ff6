# SPDX-License-Identifier: MIT
"""Values of one column: one array where every row has the same shape, else an array for each row.

Also how an object column (Python lists, NumPy arrays) becomes such values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# [rows, ...], or one array [length, ...] a row where the lengths differ.
Values: TypeAlias = "NDArray[Any] | list[NDArray[Any]]"


class TableError(ValueError):
    """A table does not fit: the message names the column and the row, and says what to do."""


def row_count(values: Values) -> int:
    """How many rows there are."""
    return len(values)


def stacked(rows: Sequence[NDArray[Any]]) -> Values:
    """One array where all rows have one shape, else the rows."""
    if rows and all(row.shape == rows[0].shape for row in rows):
        return np.stack(rows)
    return list(rows)


def missing(column: str, row: int) -> TableError:
    """The error for a null."""
    return TableError(
        f"column {column!r}, row {row}: the value is missing; fill it, or drop the row, before predicting"
    )


def not_numbers(column: str, found: str) -> TableError:
    """The error for text, dates and the like."""
    return TableError(
        f"column {column!r}: expected numbers or lists of numbers, got {found}; choose other columns "
        "(columns=, --columns), or carry this one along (keep=, --keep)"
    )


def from_objects(items: Sequence[Any], column: str, first_row: int = 0) -> Values:
    """Values of a column of Python objects: numbers, lists or arrays.

    Parameters
    ----------
    items : sequence
        One object a row.
    column : str
        For messages.
    first_row : int
        The number of the first row, for messages.

    Raises
    ------
    TableError
        A row is missing, is no number, or has features of different lengths.
    """
    rows: list[NDArray[Any]] = []
    for number, item in enumerate(items, first_row):
        if item is None or type(item).__name__ in ("NAType", "NaTType"):
            raise missing(column, number)
        try:
            row = np.asarray(item)
            if row.dtype == object and row.ndim:  # lists in a list
                row = np.array([np.asarray(inner) for inner in item])
        except ValueError:
            raise TableError(
                f"column {column!r}, row {number}: its lists have different lengths, so they are no "
                "(timesteps, features)"
            ) from None
        if row.dtype == object:
            inner = next((value for value in np.ravel(row) if not isinstance(value, float | int)), None)
            if inner is None:
                raise missing(column, number)
            raise not_numbers(column, type(inner).__name__)
        if row.dtype.kind not in "fiub":
            raise not_numbers(column, f"{type(item).__name__} {str(item)[:40]!r} in row {number}")
        if rows and (row.ndim, row.shape[1:]) != (rows[0].ndim, rows[0].shape[1:]):
            raise TableError(
                f"column {column!r}: row {first_row} has shape {rows[0].shape}, row {number} {row.shape}"
            )
        rows.append(row)
    return stacked(rows) if rows else np.zeros((0,))
