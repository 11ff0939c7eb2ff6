# SPDX-License-Identifier: MIT
"""A model on tables: columns in, columns out, rows of different lengths among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.arrow import as_batch, column_values, import_pyarrow, output_type, to_arrow
from unrolled.data.columns import Columns, arranged, choose_columns, ports_of
from unrolled.data.values import TableError, Values, stacked
from unrolled.engine import tree

if TYPE_CHECKING:
    import pyarrow as pa

    from unrolled.layers.base import Layer
    from unrolled.models import Model

# What a batch takes of memory, inputs or outputs: enough for full speed, little beside Python itself.
BATCH_BYTES = 8 << 20
MOST_ROWS = 1 << 16
# Rows of a batch where neither the model nor the file says how long they are.
ROWS_UNKNOWN = 256


@dataclass(frozen=True)
class Output:
    """An output of a model as a column: its name, its shape without the batch axis, its dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


def outputs_of(model: Model) -> list[Output]:
    """The outputs in flattened order, with the names that ``unrolled predict`` gives them.

    They are "output", or "output_0", "output_1", ..., or the keys of a dict.
    """
    output = model.output
    tensors = list(tree.leaves(output))
    if isinstance(output, dict) and len(output) == len(tensors):
        names = sorted(output)
    elif isinstance(output, list | tuple | dict):
        names = [f"output_{index}" for index in range(len(tensors))]
    else:
        names = ["output"]
    return [
        Output(name, tuple(tensor.shape[1:]), str(tensor.dtype))
        for name, tensor in zip(names, tensors, strict=True)
    ]


def predict_leaves(
    model: Model, inputs: Sequence[Values], batch_size: int | None = None, verbose: str | int = 0
) -> tuple[list[Values], Any]:
    """Predict inputs that may have rows of different lengths.

    Returns
    -------
    list of Values
        The outputs in flattened order.
    object
        Something in the structure of the model's outputs.
    """
    if not any(isinstance(values, list) for values in inputs):
        x = inputs[0] if len(inputs) == 1 else list(inputs)
        result = model.predict(x, batch_size=batch_size, verbose=verbose)
        return list(tree.leaves(result)), result
    rows = [row[0] if len(row) == 1 else list(row) for row in zip(*inputs, strict=True)]
    results = model.predict_sequences(rows, batch_size=batch_size)
    leaves = zip(*(tree.leaves(result) for result in results), strict=True)
    return [stacked(leaf) for leaf in leaves], results[0]


class TablePredictor:
    """A model with what of a table it takes and gives.

    Parameters
    ----------
    model : Model
    columns : str, sequence or mapping, optional
        See ``choose_columns``.
    keep : sequence of str
        Columns that are carried along.
    batch_size : int, optional
        Rows computed together at most.

    Raises
    ------
    TableError
        The model is stateful, or a kept column has an output's name.
    """

    def __init__(
        self,
        model: Model,
        columns: Columns = None,
        keep: Sequence[str] = (),
        batch_size: int | None = None,
    ) -> None:
        self.ports = ports_of(model)
        if _is_stateful(model):
            raise TableError(
                f"model {model.name!r} is stateful: rows of a table do not depend on each other; "
                "use model.predict or model.stream()"
            )
        self.model = model
        self.columns = columns
        self.keep = [keep] if isinstance(keep, str) else list(keep)
        self.batch_size = batch_size
        self.outputs = outputs_of(model)
        for output in self.outputs:
            if output.name in self.keep:
                raise TableError(
                    f"keep: column {output.name!r} has the name of the model's output; rename it in the table"
                )

    def chosen(self, names: Sequence[str]) -> dict[str, list[str]]:
        """For each input its columns, out of a table's."""
        return choose_columns(self.ports, names, self.columns, self.keep)

    def numbers(self, names: Sequence[str]) -> list[str]:
        """The columns that fill inputs, once each."""
        return list(dict.fromkeys(name for of_input in self.chosen(names).values() for name in of_input))

    def rows_at_once(self, row_bytes: int | None = None) -> int:
        """How many rows a batch should have, by the shapes of the model and the file's rows."""
        shapes = [port.shape for port in self.ports] + [output.shape for output in self.outputs]
        if row_bytes is None and any(None in shape for shape in shapes):
            return ROWS_UNKNOWN
        sizes = [8 * math.prod(size for size in shape if size is not None) for shape in shapes]
        if any(None in output.shape for output in self.outputs):
            sizes.append(8 * (row_bytes or 0) * max(map(_units, self.outputs)))
        rows = BATCH_BYTES // max(row_bytes or 1, sum(sizes), 1)
        return max(1, min(MOST_ROWS, rows))

    def schema(self, table: pa.Schema) -> pa.Schema:
        """The columns that come out for a table of such columns."""
        pa = import_pyarrow()
        fields = [pa.field(name, table.field(name).type) for name in self.keep]
        fields += [pa.field(output.name, output_type(output.shape, output.dtype)) for output in self.outputs]
        return pa.schema(fields)

    def predict(
        self, get: Callable[[str], Values], names: Sequence[str], first_row: int = 0, verbose: str | int = 0
    ) -> dict[str, Values]:
        """The outputs by name, of a table whose columns ``get`` gives."""
        chosen = self.chosen(names)
        inputs = [
            arranged(port, [(name, get(name)) for name in chosen[port.name]], first_row)
            for port in self.ports
        ]
        leaves, _ = predict_leaves(self.model, inputs, self.batch_size, verbose)
        return dict(zip((output.name for output in self.outputs), leaves, strict=True))

    def predict_batch(self, batch: pa.RecordBatch, first_row: int = 0) -> pa.RecordBatch:
        """Kept columns and outputs of a record batch."""
        named = self.predict(
            lambda name: column_values(batch.column(name), name, first_row), batch.schema.names, first_row
        )
        columns: dict[str, Any] = {name: batch.column(name) for name in self.keep}
        columns |= {name: to_arrow(values) for name, values in named.items()}
        return as_batch(columns, self.schema(batch.schema))


def _units(output: Output) -> int:
    return max(1, output.shape[-1] or 1) if output.shape else 1


def _is_stateful(layer: Layer) -> bool:
    return bool(getattr(layer, "stateful", False)) or any(map(_is_stateful, layer.sublayers()))


def concatenated(parts: Sequence[Any]) -> Any:
    """The results of batches after one another, in the structure of one.

    Raises
    ------
    ValueError
        There are none.
    """
    flat: list[Any] = []
    for leaf in zip(*(tree.leaves(part) for part in parts), strict=True):
        arrays: list[NDArray[Any]] = list(leaf)
        flat.append(np.concatenate(arrays))
    return tree.unflatten(parts[0], iter(flat))


def as_mapping(columns: Columns) -> Mapping[str, Sequence[str]] | Sequence[str] | None:
    """Columns as plain data that JSON can hold."""
    if columns is None or isinstance(columns, str):
        return None if columns is None else [columns]
    if isinstance(columns, Mapping):
        return {name: [some] if isinstance(some, str) else list(some) for name, some in columns.items()}
    return list(columns)
