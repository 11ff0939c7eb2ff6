# SPDX-License-Identifier: MIT
"""Arrow columns to arrays and back; the only place that looks into Arrow's types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.values import TableError, Values, missing, not_numbers

if TYPE_CHECKING:
    import pyarrow as pa


def import_pyarrow() -> Any:
    """The package pyarrow.

    Raises
    ------
    ImportError
        It is not installed; the message says how to install it.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ImportError('tables need pyarrow: pip install "unrolled[arrow]"') from error
    return pa


def column_values(column: pa.Array | pa.ChunkedArray, name: str, first_row: int = 0) -> Values:
    """The numbers of a column.

    Parameters
    ----------
    column : pyarrow.Array or pyarrow.ChunkedArray
        Numbers, or lists (variable, fixed-size, nested) of numbers.
    name : str
        For messages.
    first_row : int
        The number of the first row, for messages.

    Returns
    -------
    Values
        ``(rows, ...)`` where every row has the same lengths; a view of Arrow's memory where it can be.

    Raises
    ------
    TableError
        Nulls, something other than numbers, or lists of features of different lengths.
    """
    pa = import_pyarrow()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # combine_chunks of older versions
            column = pa.concat_arrays(column.chunks)
    return _values(pa, column, name, np.arange(first_row, first_row + len(column)))


def _values(pa: Any, array: Any, name: str, rows: NDArray[Any]) -> Values:
    """Values of an array of which element i belongs to row ``rows[i]`` of the table."""
    types = pa.types
    if isinstance(array, pa.ExtensionArray):
        shape = getattr(array.type, "shape", None)
        values = _values(pa, array.storage, name, rows)
        if shape is None or None in shape or isinstance(values, list):
            return values
        return values.reshape(len(array), *shape)
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.null_count:
        raise missing(name, int(rows[np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0]]))
    kind = array.type
    if types.is_fixed_size_list(kind):
        size = kind.list_size
        child = _values(pa, array.flatten(), name, np.repeat(rows, size))
        return _rows(child, np.full(len(array), size), name, rows)
    if type(kind).__name__ in ("ListViewType", "LargeListViewType"):
        array = array.cast(pa.large_list(kind.value_type))
        kind = array.type
    if types.is_list(kind) or types.is_large_list(kind):
        offsets = array.offsets.to_numpy()
        lengths = np.diff(offsets)
        inner = array.values.slice(offsets[0], offsets[-1] - offsets[0]) if len(array) else array.values[:0]
        return _rows(_values(pa, inner, name, np.repeat(rows, lengths)), lengths, name, rows)
    if types.is_decimal(kind):
        array = array.cast(pa.float64())
    elif not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise not_numbers(name, str(kind))
    numbers: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return numbers


def _rows(child: Values, lengths: NDArray[Any], name: str, rows: NDArray[Any]) -> Values:
    """The elements ``child`` of all lists, as the lists."""
    if isinstance(child, list):
        if child:
            raise TableError(
                f"column {name!r}, row {_first_odd(child, lengths, rows)}: its lists of features have "
                "different lengths"
            )
        child = np.zeros((0,))
    if len(lengths) == 0:
        return np.zeros((0, 0, *child.shape[1:]), child.dtype)
    if (lengths == lengths[0]).all():
        return child.reshape(len(lengths), int(lengths[0]), *child.shape[1:])
    return np.split(child, np.cumsum(lengths)[:-1])


def _first_odd(child: list[NDArray[Any]], lengths: NDArray[Any], rows: NDArray[Any]) -> int:
    odd = next(i for i, inner in enumerate(child) if inner.shape != child[0].shape)
    return int(np.repeat(rows, lengths)[odd])


def to_arrow(values: Values) -> pa.Array:
    """An Arrow column of values.

    Parameters
    ----------
    values : Values
        ``(rows, ...)``, or an array a row.

    Returns
    -------
    pyarrow.Array
        Numbers where a row is one number; else lists, nested by axis. A last axis of one is dropped.
    """
    pa = import_pyarrow()
    if isinstance(values, list):
        lengths = [len(row) for row in values]
        flat = np.concatenate(values) if values else np.zeros((0,), np.float32)
        return _list(pa, _unit_axis_dropped(flat), np.cumsum([0, *lengths]))
    return _to_arrow(pa, _unit_axis_dropped(values))


def _unit_axis_dropped(values: NDArray[Any]) -> NDArray[Any]:
    return values[..., 0] if values.ndim > 1 and values.shape[-1] == 1 else values


def _to_arrow(pa: Any, values: NDArray[Any]) -> Any:
    if values.ndim == 1:
        return pa.array(values)
    count, size = values.shape[:2]
    return _list(pa, values.reshape(count * size, *values.shape[2:]), np.arange(count + 1) * size)


def _list(pa: Any, flat: NDArray[Any], offsets: NDArray[Any]) -> Any:
    if offsets[-1] >= 2**31:
        raise TableError(f"{offsets[-1]} numbers are too many for one column: give fewer rows at once")
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), _to_arrow(pa, flat))


def output_type(shape: tuple[int | None, ...], dtype: str) -> pa.DataType:
    """The type of the column that ``to_arrow`` makes of outputs ``(rows, *shape)``."""
    pa = import_pyarrow()
    kind = pa.bool_() if dtype == "bool" else pa.from_numpy_dtype(np.dtype(dtype))
    axes = len(shape) - (len(shape) > 0 and shape[-1] == 1)
    for _ in range(axes):
        kind = pa.list_(kind)
    return kind


def as_batch(columns: Mapping[str, pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    """The columns as a record batch of ``schema``."""
    pa = import_pyarrow()
    arrays = [
        columns[field.name]
        if columns[field.name].type == field.type
        else columns[field.name].cast(field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
