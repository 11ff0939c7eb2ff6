# SPDX-License-Identifier: MIT
"""Which columns of a table are which input of a model, and how their values fill the input's shape."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unrolled.data.values import TableError, Values

if TYPE_CHECKING:
    from unrolled.models import Model

# What users give: the columns of the one input in order, or for each input its column or columns.
Columns: TypeAlias = "str | Sequence[str] | Mapping[str, str | Sequence[str]] | None"


@dataclass(frozen=True)
class InputPort:
    """An input of a model.

    Attributes
    ----------
    name : str
    shape : tuple
        Without the batch axis; None where any size goes.
    """

    name: str
    shape: tuple[int | None, ...]


def ports_of(model: Model) -> list[InputPort]:
    """The inputs of a model in order.

    Raises
    ------
    ValueError
        The model has not been built.
    """
    model.check_built()
    return [InputPort(tensor.name, tuple(tensor.shape[1:])) for tensor in model.inputs]


def choose_columns(
    ports: Sequence[InputPort], names: Sequence[str], columns: Columns = None, keep: Sequence[str] = ()
) -> dict[str, list[str]]:
    """For each input the columns that fill it.

    Parameters
    ----------
    ports : sequence of InputPort
    names : sequence of str
        The table's columns.
    columns : str, sequence or mapping, optional
        What the user chose. Without it: the columns named as the inputs; for one input, where there is none
        of its name, all columns but those of ``keep``, in order.
    keep : sequence of str
        Columns that are carried along.

    Raises
    ------
    TableError
        A column is missing or there twice; several inputs and no choice.
    """
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise TableError(f"the table has several columns {doubled[0]!r}: rename them")
    if isinstance(columns, Mapping):
        unknown = sorted(set(columns) - {port.name for port in ports})
        if unknown:
            raise TableError(f"columns: the model has no input {unknown[0]!r}, only {_names(ports)}")
        chosen = {port.name: _listed(columns.get(port.name, port.name)) for port in ports}
    elif columns is not None:
        if len(ports) != 1:
            raise TableError(
                f"columns: the model has several inputs: say the columns of each of {_names(ports)}"
            )
        chosen = {ports[0].name: _listed(columns)}
    elif all(port.name in names for port in ports):
        chosen = {port.name: [port.name] for port in ports}
    elif len(ports) == 1:
        chosen = {ports[0].name: [name for name in names if name not in keep]}
    else:
        chosen = {port.name: [port.name] for port in ports}
    _check_there(names, [name for of_input in chosen.values() for name in of_input], "column")
    _check_there(names, keep, "keep: column")
    for port in ports:
        if not chosen[port.name]:
            raise TableError(f"input {port.name!r}: no column is left for it")
    return chosen


def _listed(columns: str | Sequence[str]) -> list[str]:
    return [columns] if isinstance(columns, str) else list(columns)


def _names(ports: Sequence[InputPort]) -> list[str]:
    return [port.name for port in ports]


def _check_there(names: Sequence[str], wanted: Sequence[str], what: str) -> None:
    there = set(names)
    for name in wanted:
        if name not in there:
            shown = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
            raise TableError(f"{what} {name!r}: the table has no such column, only {shown}")


def arranged(port: InputPort, columns: Sequence[tuple[str, Values]], first_row: int = 0) -> Values:
    """The values of an input's columns in the input's shape.

    Parameters
    ----------
    port : InputPort
    columns : sequence of (name, Values)
        One column of numbers, lists or lists of lists; or several columns of numbers, which together are a
        row; or several columns of lists, each a feature over the timesteps.
    first_row : int
        The number of the first row, for messages.

    Returns
    -------
    Values
        ``(rows, *shape)``. An array a row where their lengths differ and the input's first axis is open.

    Raises
    ------
    TableError
        The values do not fit.
    """
    if len(columns) == 1:
        values = columns[0][1]
        where = f"column {columns[0][0]!r}"
    else:
        values = _together(columns)
        where = f"{len(columns)} columns {columns[0][0]!r} to {columns[-1][0]!r}"
    if isinstance(values, list):
        return [
            _fitted(port, row, where if len(columns) > 1 else f"{where}, row {number}")
            for number, row in enumerate(values, first_row)
        ]
    if len(values) == 0:
        return np.zeros((0, *(1 if size is None else size for size in port.shape)), values.dtype)
    first = _fitted(port, values[0], where)
    return values.reshape(len(values), *first.shape)


def _together(columns: Sequence[tuple[str, Values]]) -> Values:
    """Columns of numbers ``(rows,)`` or lists ``(rows, timesteps)``, stacked on a last axis."""
    (first_name, first), *others = columns
    for name, values in others:
        if isinstance(first, list) or isinstance(values, list):
            same = [len(row) for row in values] == [len(row) for row in first]
        else:
            same = values.shape == first.shape
        if not same:
            raise TableError(
                f"columns {first_name!r} and {name!r} do not go together: one has {_shown(first)}, "
                f"the other {_shown(values)}; choose the input's columns (columns=, --columns), or carry one "
                "along (keep=, --keep)"
            )
    if (first[0].ndim if isinstance(first, list) and first else np.ndim(first) - 1) > 1:
        raise TableError(f"column {first_name!r}: lists of lists fill an input alone; give one column")
    if isinstance(first, list):
        return [np.stack(row, axis=-1) for row in zip(*(values for _, values in columns), strict=True)]
    return np.stack([np.asarray(values) for _, values in columns], axis=-1)


def _shown(values: Values) -> str:
    if isinstance(values, list):
        return "lists of different lengths"
    return "one number a row" if values.ndim == 1 else f"lists of shape {values.shape[1:]}"


def _fitted(port: InputPort, row: NDArray[Any], where: str) -> NDArray[Any]:
    """A row in the input's shape; a flat row fills it from its first timestep to its last."""
    shape = port.shape
    same_axes = row.ndim == len(shape)
    if same_axes and all(want in (None, got) for want, got in zip(shape, row.shape, strict=True)):
        return row
    if row.ndim <= 1:
        known = math.prod(size for size in shape if size is not None)
        open_axes = sum(size is None for size in shape)
        if open_axes == 0 and row.size == known:
            return row.reshape([size or 0 for size in shape])
        if open_axes == 1 and known and row.size % known == 0 and row.size:
            return row.reshape([-1 if size is None else size for size in shape])
    elif shape[-1:] == (1,) and row.ndim == len(shape) - 1:
        return _fitted(port, row[..., np.newaxis], where)
    got = f"{row.size} numbers" if row.ndim <= 1 else f"a list of shape {row.shape}"
    raise TableError(
        f"{where}: a row has {got}, input {port.name!r} takes {_wanted(shape)}; choose the input's "
        "columns (columns=, --columns), or carry some along (keep=, --keep)"
    )


def _wanted(shape: tuple[int | None, ...]) -> str:
    text = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
    if None in shape or len(shape) < 2:
        return text
    return f"{text}, {math.prod(size or 0 for size in shape)} numbers"
