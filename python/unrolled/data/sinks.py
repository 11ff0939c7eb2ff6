# SPDX-License-Identifier: MIT
"""Files of predictions, written as they come: Parquet, Arrow IPC, CSV."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from unrolled.data.arrow import import_pyarrow
from unrolled.data.predicting import Output
from unrolled.data.values import TableError

if TYPE_CHECKING:
    import pyarrow as pa

# Row groups and record batches of what is written: so much is kept until it is written.
GROUP_BYTES = 16 << 20
GROUP_ROWS = 1 << 20


class Sink:
    """Takes record batches, and hands them on in groups of about ``GROUP_BYTES``.

    Parameters
    ----------
    writer : object
        Has ``write_table`` and ``close``: a writer of pyarrow.
    schema : pyarrow.Schema
    """

    def __init__(self, writer: Any, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = self._rows = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Take the next rows."""
        self.rows += batch.num_rows
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        self._rows += batch.num_rows
        if self._bytes >= GROUP_BYTES or self._rows >= GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Hand on what waits."""
        if self._waiting:
            table = import_pyarrow().Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(table.combine_chunks())
        self._waiting.clear()
        self._bytes = self._rows = 0


@contextmanager
def open_sink(
    file: IO[bytes], kind: str, schema: pa.Schema, outputs: list[Output], *, compressed: bool = False
) -> Iterator[Sink]:
    """Write tables of ``schema`` to an open file; the file is whole when the block has ended.

    Parameters
    ----------
    file : binary file
    kind : str
        "parquet", "ipc" or "csv".
    schema : pyarrow.Schema
    outputs : list of Output
        CSV: their numbers become columns.
    compressed : bool
        CSV: whether the file is gzip.

    Raises
    ------
    TableError
        CSV cannot hold a column.
    """
    pa = import_pyarrow()
    if kind == "csv":
        writer: Any = _CSVWriter(file, schema, outputs, compressed)
    elif kind == "ipc":
        writer = pa.ipc.new_file(file, schema)
    else:
        import pyarrow.parquet as pq

        # Predictions hardly repeat: a dictionary would only be tried and given up.
        texts = [field.name for field in schema if not _is_output(field.name, outputs)]
        writer = pq.ParquetWriter(file, schema, use_dictionary=texts)
    sink = Sink(writer, schema)
    try:
        yield sink
        sink.flush()
    except BaseException:
        with suppress(
            Exception
        ):  # the file is given up; closed now, the writer is silent when it is collected
            writer.close()
        raise
    writer.close()


def _is_output(name: str, outputs: list[Output]) -> bool:
    return any(output.name == name for output in outputs)


class _CSVWriter:
    """Tables as CSV; an output of several numbers is as many columns: NAME_0, NAME_1, ..."""

    def __init__(self, file: IO[bytes], schema: Any, outputs: list[Output], compressed: bool) -> None:
        pa = import_pyarrow()
        import pyarrow.csv

        self._pa = pa
        self._sizes: dict[str, int] = {}
        fields = []
        for field in schema:
            if pa.types.is_nested(field.type):
                output = next((output for output in outputs if output.name == field.name), None)
                if output is None or None in output.shape:
                    raise TableError(
                        f"column {field.name!r} has lists of any length, which CSV cannot hold: write .parquet"
                    )
                size = int(np.prod([size or 0 for size in output.shape]))
                self._sizes[field.name] = size
                kind = field.type
                while pa.types.is_nested(kind):
                    kind = kind.value_type
                fields += [pa.field(f"{field.name}_{index}", kind) for index in range(size)]
            else:
                fields.append(field)
        self._schema = pa.schema(fields)
        self._gzip = gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) if compressed else None
        options = pyarrow.csv.WriteOptions(quoting_style="needed", quoting_header="needed")
        self._writer = pyarrow.csv.CSVWriter(self._gzip or file, self._schema, write_options=options)

    def write_table(self, table: Any) -> None:
        columns = []
        for field in table.schema:
            column = table.column(field.name)
            size = self._sizes.get(field.name)
            if size is None:
                columns.append(column)
                continue
            flat = column.combine_chunks()
            while self._pa.types.is_nested(flat.type):
                flat = flat.flatten()
            numbers = flat.to_numpy(zero_copy_only=False).reshape(-1, size)
            columns += [self._pa.array(np.ascontiguousarray(numbers[:, index])) for index in range(size)]
        self._writer.write_table(self._pa.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
        if self._gzip is not None:
            self._gzip.close()
