# SPDX-License-Identifier: MIT
"""Files of tables as record batches: which files a path means, their parts, and reading within bounds."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.data.arrow import import_pyarrow
from unrolled.data.csv_tables import CSVTable
from unrolled.data.values import TableError

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = {
    ".parquet": "parquet", ".pq": "parquet",
    ".arrow": "ipc", ".feather": "ipc", ".ipc": "ipc",
    ".csv": "csv", ".csv.gz": "csv", ".tsv": "csv", ".tsv.gz": "csv",
}  # fmt: skip
# What a part reads at least, where the file can be cut there: a kill costs at most the part that was running.
PART_BYTES = 128 << 20
# What is read of a file at once. Parquet's own default reads a whole row group.
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Part:
    """A stretch of a file that is predicted by itself.

    Attributes
    ----------
    path : str
    kind : str
        "parquet", "ipc" or "csv".
    start, stop : int
        Row groups of Parquet, record batches of IPC, bytes of CSV; ``stop`` is -1 where only reading tells.
    rows : int
        -1 where only reading tells.
    size : int
        About how many bytes it has, for progress.
    """

    path: str
    kind: str
    start: int
    stop: int
    rows: int
    size: int


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """Which kind of table a file's name says, or None."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    return KINDS.get("".join(suffixes[-2:])) or KINDS.get("".join(suffixes[-1:]))


def find_files(source: str | os.PathLike[str]) -> list[str]:
    """The files that a path means: itself, those in a folder and its subfolders, or those that a glob matches.

    Names that begin with "_" or "." are bookkeeping and left out.

    Returns
    -------
    list of str
        Sorted.

    Raises
    ------
    FileNotFoundError
        There is no such file, or nothing in the folder.
    TableError
        A file is no table, or there are different kinds.
    """
    path = os.fspath(source)
    if os.path.isdir(path):
        files = [
            os.path.join(folder, name)
            for folder, names, inside in os.walk(path)
            for name in _without_bookkeeping(names, inside)
        ]
    elif os.path.exists(path) or not glob.has_magic(path):
        os.stat(path)  # raises where there is none
        files = [path]
    else:
        files = [found for found in glob.glob(path, recursive=True) if os.path.isfile(found)]
    if not files:
        raise FileNotFoundError(2, "no table there", path)
    for file in files:
        if kind_of(file) is None:
            raise TableError(f"{file}: expected a name that ends in {', '.join(sorted(KINDS))}")
    kinds = {kind_of(file) for file in files}
    if len(kinds) > 1:
        raise TableError(f"{path}: expected files of one kind, found {', '.join(sorted(map(str, kinds)))}")
    return sorted(files)


def _without_bookkeeping(folders: list[str], names: list[str]) -> list[str]:
    folders[:] = [name for name in folders if not name.startswith(("_", "."))]
    return [name for name in names if not name.startswith(("_", "."))]


class TableFile:
    """A file of a table: its columns, its parts and their rows.

    Parameters
    ----------
    path : str
    separator : str
        Between the fields of CSV.

    Attributes
    ----------
    schema : pyarrow.Schema
        CSV: every column as text, which those that are carried along stay.

    Raises
    ------
    TableError
        The file is broken or empty; the message names it.
    """

    def __init__(self, path: str, separator: str = ",") -> None:
        self.path = path
        self.kind = kind_of(path)
        pa = import_pyarrow()
        self._csv: CSVTable | None = None
        if self.kind == "csv":
            self._csv = CSVTable(path, separator)
            self.schema = pa.schema([(name, pa.string()) for name in self._csv.names])
            return
        try:
            if self.kind == "parquet":
                with _parquet(path) as file:
                    self.schema = file.schema_arrow
            else:
                with _ipc(pa, path) as file:
                    self.schema = file.schema
        except pa.ArrowInvalid as error:
            raise TableError(f"{path}: {error}") from error

    def parts(self) -> list[Part]:
        """The file in parts, each of ``PART_BYTES`` where it can be cut."""
        size = os.path.getsize(self.path)
        if self._csv is not None:
            start = self._csv.start
            if self._csv.is_compressed:
                return [Part(self.path, "csv", start, -1, -1, size)]
            cuts = [start, *range(start + PART_BYTES, size, PART_BYTES)]
            return [
                Part(self.path, "csv", begin, end, -1, end - begin)
                for begin, end in zip(cuts, [*cuts[1:], max(size, start)], strict=True)
            ]
        if self.kind == "parquet":
            with _parquet(self.path) as file:
                groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
                rows = [group.num_rows for group in groups]
                sizes = [group.total_byte_size for group in groups]
            return self._cut(rows, sizes)
        with _ipc(import_pyarrow(), self.path) as file:
            batches = getattr(file, "num_record_batches", -1)
        if batches < 0:  # a stream: only reading tells
            return [Part(self.path, "ipc", 0, -1, -1, size)]
        return self._cut([-1] * batches, [size // max(batches, 1)] * batches)

    def _cut(self, rows: Sequence[int], sizes: Sequence[int]) -> list[Part]:
        parts, start = [], 0
        for stop in range(1, len(rows) + 1):
            size = sum(sizes[start:stop])
            if stop == len(rows) or size >= PART_BYTES:
                count = -1 if -1 in rows else sum(rows[start:stop])
                parts.append(Part(self.path, str(self.kind), start, stop, count, size))
                start = stop
        return parts or [Part(self.path, str(self.kind), 0, 0, 0, 0)]

    def batches(
        self, part: Part, numbers: Sequence[str], keep: Sequence[str], rows: int
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a part, at most ``rows`` at once.

        Parameters
        ----------
        part : Part
            Of this file.
        numbers, keep : sequence of str
            Columns to read: those that the model takes, and those that are carried along.
        rows : int

        Yields
        ------
        pyarrow.RecordBatch
            Columns may come in any order.

        Raises
        ------
        TableError
            The file is broken, or a field of CSV is no number.
        """
        pa = import_pyarrow()
        names = list(dict.fromkeys([*numbers, *keep]))
        try:
            if self._csv is not None:
                yield from _csv_batches(pa, self._csv, part, numbers, keep, rows)
            elif self.kind == "parquet":
                with _parquet(self.path) as file:
                    yield from file.iter_batches(
                        rows, row_groups=list(range(part.start, part.stop)), columns=names, use_threads=False
                    )
            else:
                with _ipc(pa, self.path) as file:
                    every = file if part.stop < 0 else map(file.get_batch, range(part.start, part.stop))
                    for batch in every:
                        chosen = batch.select(names)
                        for start in range(0, chosen.num_rows, rows):
                            yield chosen.slice(start, rows)
        except (pa.ArrowInvalid, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise TableError(f"{self.path}: {error}") from error

    def first_row(self, part: Part) -> int:
        """The number of a part's first row in its file; 0 where only reading tells."""
        if self.kind != "parquet":
            return 0
        with _parquet(self.path) as file:
            return sum(int(file.metadata.row_group(index).num_rows) for index in range(part.start))

    def share_read(self, part: Part, rows: int) -> float:
        """How much of a part has been read when so many rows of it have, from 0 to 1."""
        if part.rows >= 0:
            return min(1.0, rows / max(part.rows, 1))
        if self._csv is not None:
            return min(1.0, self._csv.bytes_read / max(part.size, 1))
        return 0.0

    def row_bytes(self, names: Sequence[str]) -> int | None:
        """About how much memory a row of some columns takes; None where only reading tells."""
        if self.kind != "parquet":
            return None
        with _parquet(self.path) as file:
            total, rows = 0, int(file.metadata.num_rows)
            for index in range(file.num_row_groups):
                group = file.metadata.row_group(index)
                for number in range(group.num_columns):
                    chunk = group.column(number)
                    if chunk.path_in_schema.split(".")[0] in {name.split(".")[0] for name in names}:
                        width = 8 if chunk.physical_type != "BYTE_ARRAY" else 16
                        total += max(chunk.num_values * width, chunk.total_uncompressed_size)
            return total // max(rows, 1)


def _parquet(path: str) -> Any:
    import pyarrow.parquet as pq

    # pre_buffer would hold whole row groups.
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES)


def _ipc(pa: Any, path: str) -> Any:
    with open(path, "rb") as file:
        is_file = file.read(6) == b"ARROW1"
    source = pa.memory_map(path)
    return pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)


def _csv_batches(
    pa: Any, table: CSVTable, part: Part, numbers: Sequence[str], keep: Sequence[str], rows: int
) -> Iterator[Any]:
    used = [table.names.index(name) for name in numbers]
    kept = [name for name in keep if name not in numbers]
    carried = [table.names.index(name) for name in kept]
    both = [name for name in keep if name in numbers]
    if both:
        raise TableError(f"{table.path}: column {both[0]!r} is both an input and kept, which CSV cannot be")
    names = [*numbers, *kept]
    for lines in table.blocks(part.start, None if part.stop < 0 else part.stop):
        for first in range(0, len(lines), rows):
            some = lines[first : first + rows]
            values = table.numbers(some, used)
            columns = [pa.array(values[:, index]) for index in range(len(used))]
            columns += (
                [pa.array(column, pa.string()) for column in table.texts(some, carried)] if kept else []
            )
            yield pa.RecordBatch.from_arrays(columns, names=names)
