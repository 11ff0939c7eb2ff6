# SPDX-License-Identifier: MIT
"""A long job: files of tables in, a file or a folder of parts out, written so that a kill loses little.

A folder has one file ``part-00000.parquet`` for each part of the input, in the input's order. Each is written
under another name and renamed when it is whole, so that what is there is finished; ``--resume`` does the rest.
``_job.json`` says what the folder holds, ``_SUCCESS`` that everything is there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.data.ahead import read_ahead
from unrolled.data.arrow import import_pyarrow
from unrolled.data.predicting import TablePredictor, as_mapping
from unrolled.data.sinks import Sink, open_sink
from unrolled.data.sources import Part, TableFile, find_files, kind_of
from unrolled.data.values import TableError
from unrolled.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

JOB_FILE, SUCCESS_FILE = "_job.json", "_SUCCESS"
# Called after every batch with its part, its rows, and how much of the part is done, from 0 to 1.
Progress = Callable[[Part, int, float], None]


@dataclass(frozen=True)
class Job:
    """What is to be done, as plain data that goes to any process.

    Attributes
    ----------
    source, target : str
    is_folder : bool
        Whether the target is a folder of parts.
    parts : tuple of Part
    separator : str
        Of CSV.
    identity : dict
        What decides the result besides the parts: the model's digest, columns.
    """

    source: str
    target: str
    is_folder: bool
    parts: tuple[Part, ...]
    separator: str
    identity: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int | None:
        """All rows; None where only reading tells."""
        rows = [part.rows for part in self.parts]
        return None if -1 in rows else sum(rows)

    def path_of(self, index: int) -> Path:
        """The file of a part."""
        return Path(self.target) / f"part-{index:05d}.parquet"

    def pending(self) -> list[int]:
        """The parts that are not there yet."""
        return [index for index in range(len(self.parts)) if not self.path_of(index).exists()]


def plan_job(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    predictor: TablePredictor,
    digest: str,
    separator: str = ",",
) -> Job:
    """Look at all files; nothing is written.

    Parameters
    ----------
    source : path-like
        A file, a folder or a glob.
    target : path-like
        A file to write; a folder, if it is one or its name has no suffix or ends in a slash.
    predictor : TablePredictor
    digest : str
        Of the model.
    separator : str
        Of CSV.

    Raises
    ------
    TableError
        A file lacks a column or has other types than the first, or the target is no table.
    FileNotFoundError
        There is no such source.
    """
    shown = os.fspath(target)
    is_folder = shown.endswith(("/", os.sep)) or os.path.isdir(shown) or not Path(shown).suffixes
    if not is_folder and kind_of(shown) is None:
        raise TableError(
            f"{shown}: expected a name that ends in .parquet, .arrow, .feather, .csv or .csv.gz, or a folder"
        )
    parts: list[Part] = []
    files = find_files(source)
    first: pa.Schema | None = None
    for path in files:
        if not is_folder and os.path.exists(shown) and os.path.samefile(path, shown):
            raise TableError(f"{path}: would be read and written at once")
        table = TableFile(path, separator)
        try:
            chosen = predictor.chosen(table.schema.names)
        except TableError as error:
            raise TableError(f"{path}: {error}") from None
        schema = predictor.schema(table.schema)
        if first is None:
            first, first_chosen = schema, chosen
        elif schema != first or chosen != first_chosen:
            raise TableError(
                f"{path}: expected the columns of {files[0]}, {_described(first, first_chosen)}; "
                f"got {_described(schema, chosen)}"
            )
        parts += table.parts()
    if is_folder and _inside(files[0], shown):
        raise TableError(f"{shown}: the folder of the input cannot be that of the output")
    if os.path.isdir(source) and _inside(shown, os.fspath(source)):
        raise TableError(f"{shown}: lies in the folder of the input, {os.fspath(source)}; name another place")
    identity = {
        "model": digest,
        "columns": as_mapping(predictor.columns),
        "keep": predictor.keep,
        "separator": separator,
        "parts": [[*asdict(part).values(), *_stamp(part.path)] for part in parts],
    }
    return Job(os.fspath(source), shown, is_folder, tuple(parts), separator, identity)


def _described(schema: pa.Schema, chosen: dict[str, list[str]]) -> str:
    names = [name for of_input in chosen.values() for name in of_input]
    return ", ".join([*map(repr, names[:10]), *(f"{field.name!r} ({field.type})" for field in schema)])


def _inside(file: str, folder: str) -> bool:
    return Path(file).resolve().is_relative_to(Path(folder).resolve())


def _stamp(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def begin_folder(job: Job, *, resume: bool) -> None:
    """Make the folder, or make sure that what is in it belongs to this job.

    Raises
    ------
    TableError
        The folder has parts and ``resume`` is not set, or they are of another job; nothing is changed.
    """
    folder = Path(job.target)
    record = folder / JOB_FILE
    if folder.is_dir() and any(not path.name.startswith(".unrolled-") for path in folder.iterdir()):
        if not record.exists():
            raise TableError(f"{folder}: is not empty, and holds no job of unrolled; name a new folder")
        if not resume:
            raise TableError(
                f"{folder}: holds the parts of a job; resume it (resume=True, --resume), or name a new folder"
            )
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except ValueError as error:
            raise TableError(f"{record}: {error}") from error
        wanted = json.loads(json.dumps(job.identity))
        for key, value in wanted.items():
            if not isinstance(found, dict) or found.get(key) != value:
                what = "input files are" if key == "parts" else f"{key} is"
                raise TableError(
                    f"{folder}: holds the parts of another job, whose {what} different; name a new folder"
                )
        return
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(record) as file:
        file.write(json.dumps(job.identity).encode())


def end_folder(job: Job) -> None:
    """Say that everything is there, and remove what killed processes left."""
    folder = Path(job.target)
    for left in folder.glob(".unrolled-*"):
        left.unlink(missing_ok=True)
    with replacing(folder / SUCCESS_FILE):
        pass


def run_part(
    job: Job,
    index: int,
    predictor: TablePredictor,
    progress: Progress | None = None,
    part: Part | None = None,
) -> int:
    """Predict a part into its file; gives its rows. Whoever does it twice writes the same file twice.

    ``part`` is given where ``job`` does not list its parts.

    Raises
    ------
    TableError
        The rows do not fit the model; the message names file, column and row.
    """
    with replacing(job.path_of(index)) as file:
        return _write(job, [part or job.parts[index]], predictor, file, "parquet", progress)


def run_job(
    job: Job, predictor: TablePredictor, *, resume: bool = False, progress: Progress | None = None
) -> int:
    """Do all of a job in this process; gives the rows that were predicted now.

    Raises
    ------
    TableError
        See ``begin_folder`` and ``run_part``.
    """
    if not job.is_folder:
        if resume:
            raise TableError(
                f"{job.target}: only a folder keeps finished parts to resume from; name a folder to write to"
            )
        kind = kind_of(job.target) or "parquet"
        with replacing(job.target) as file:
            return _write(job, job.parts, predictor, file, kind, progress)
    begin_folder(job, resume=resume)
    rows = sum(run_part(job, index, predictor, progress) for index in job.pending())
    end_folder(job)
    return rows


def write_to(job: Job, predictor: TablePredictor, file: Any, kind: str) -> int:
    """All of a job to an open file, such as the standard output."""
    return _write(job, job.parts, predictor, file, kind, None)


def _write(
    job: Job,
    parts: Sequence[Part],
    predictor: TablePredictor,
    file: Any,
    kind: str,
    progress: Progress | None,
) -> int:
    schema = predictor.schema(TableFile(parts[0].path, job.separator).schema)
    is_compressed = job.target.lower().endswith(".gz")
    # Written from memory that pyarrow owns: a file of Python, which `replacing` renames.
    sink_file = import_pyarrow().PythonFile(file, mode="w") if kind != "csv" else file
    with open_sink(sink_file, kind, schema, predictor.outputs, compressed=is_compressed) as sink:
        for part in parts:
            _predict_part(job, part, predictor, sink, progress)
        return sink.rows


def _predict_part(
    job: Job, part: Part, predictor: TablePredictor, sink: Sink, progress: Progress | None
) -> None:
    table = TableFile(part.path, job.separator)
    numbers = predictor.numbers(table.schema.names)
    rows = predictor.rows_at_once(table.row_bytes([*numbers, *predictor.keep]))
    first_row, read = table.first_row(part), 0
    batches = table.batches(part, numbers, predictor.keep, rows)
    for batch in read_ahead(_split(batches, rows)):
        try:
            sink.write(predictor.predict_batch(batch, first_row))
        except TableError as error:
            counted = "" if part.kind != "ipc" or part.start <= 0 else f", from record batch {part.start} on"
            raise TableError(f"{part.path}{counted}: {error}") from None
        first_row += batch.num_rows
        read += batch.num_rows
        if progress is not None:
            progress(part, batch.num_rows, table.share_read(part, read))


def _split(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)
