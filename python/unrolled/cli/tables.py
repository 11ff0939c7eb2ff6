# SPDX-License-Identifier: MIT
"""``unrolled predict`` on tables: Parquet, Arrow and CSV with named columns, files and folders of any size."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from unrolled.cli.common import OK, UsageError, load_with_weights, say
from unrolled.data.csv_rows import CSVError
from unrolled.data.sources import kind_of
from unrolled.data.values import TableError
from unrolled.errors import printable

if TYPE_CHECKING:
    from unrolled.data.job import Job, Progress

LAYOUTS = """\
tables (need the extra "arrow"): .parquet .pq .arrow .feather .ipc .csv .csv.gz .tsv, a folder of them, a quoted glob
  A row is a sample. An input is filled by the column of its name, or by --columns: one column of lists, flat
  (timestep by timestep) or nested; columns of numbers, which together are a row; or columns of lists, each a
  feature over the timesteps. A model with one input takes all columns but those of --keep where none is named
  as it. Columns of CSV without names are 1, 2, ...; a .csv is a table where --columns, --keep, --resume or
  --dask is given, or OUT is .parquet, .arrow or a folder.
  OUT is .parquet, .arrow, .feather, .csv or .csv.gz: the kept columns, then the outputs (named as in .npz); or
  a folder, which gets part-00000.parquet, ... and which --resume completes after a kill. Without -o, CSV goes to
  the standard output. Memory stays bounded whatever the size of the files.
"""


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options that only tables have."""
    command.add_argument(
        "--columns", action="append", metavar="[INPUT=]A,B", help="the columns of a table that fill the input; once for each input"
    )  # fmt: skip
    command.add_argument("--keep", metavar="A,B", help="columns of a table to carry along to OUT")
    command.add_argument(
        "--resume", action="store_true", help="complete the folder OUT of a job that was killed"
    )
    command.add_argument(
        "--dask", metavar="ADDRESS", help="predict on this Dask cluster, which sees the same files; local: on new processes here"
    )  # fmt: skip


def is_table(options: argparse.Namespace) -> bool:
    """Whether the command line is about tables, not arrays."""
    if options.columns or options.keep or options.resume or options.dask:
        return True
    source, target = options.input, options.output
    if os.path.isdir(source) or (any(sign in source for sign in "*?[") and not os.path.exists(source)):
        return True
    kind = kind_of(source)
    if kind != "csv":
        return kind is not None
    if not source.lower().endswith(".csv") or target is None:
        return not source.lower().endswith(".csv")
    is_folder = target.endswith(("/", os.sep)) or os.path.isdir(target)
    return is_folder or kind_of(target) in ("parquet", "ipc") or target.lower().endswith(".gz")


def run(options: argparse.Namespace) -> int:
    """Predict a table."""
    if options.timesteps is not None:
        raise UsageError(
            "--timesteps: a row of a table is a sample; its columns say how many timesteps it has"
        )
    if kind_of(options.input) is None and not os.path.isdir(options.input) and os.path.exists(options.input):
        raise UsageError(
            f"{options.input}: --columns, --keep, --resume and --dask go with tables: .parquet, .arrow, .csv, ..."
        )
    try:
        return _run(options)
    except (TableError, CSVError, ImportError) as error:
        raise UsageError(str(error)) from error


def _run(options: argparse.Namespace) -> int:
    from unrolled.batch import Predictor
    from unrolled.batch import files as jobs
    from unrolled.data.job import write_to

    model = load_with_weights(options)
    predictor = Predictor(
        model,
        _columns(options.columns),
        _names(options.keep),
        options.batch_size,
        threads=1 if options.dask else None,
    )
    target = "-.csv" if options.output is None else options.output
    job = jobs.plan(predictor, options.input, target, _separator(options))
    if options.output is None:
        if options.resume or options.dask:
            raise UsageError("--resume, --dask: -o names the folder to write to")
        write_to(job, predictor.tables, sys.stdout.buffer, "csv")
        return OK
    started = time.perf_counter()
    pending = len(job.pending()) if job.is_folder and options.resume else len(job.parts)
    with _client(options.dask, job) as client, _progress(job) as progress:
        rows = jobs.run(predictor, job, options.resume, client, progress)
    seconds = time.perf_counter() - started
    speed = f"{rows:,} rows in {seconds:.1f} s ({rows / max(seconds, 1e-9):,.0f} a second)"
    parts = f", {pending} of {len(job.parts)} parts" if job.is_folder else ""
    say(f"{options.output}: {speed}{parts}, from {printable(model.name)!r}")
    return OK


def _names(text: str | None) -> list[str]:
    return [] if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _columns(given: list[str] | None) -> Any:
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return _names(given[0])
    columns = {}
    for text in given:
        name, equals, of_input = text.partition("=")
        if not equals or name.strip() in columns:
            raise UsageError(f"--columns {text}: with several inputs say INPUT=A,B once for each")
        columns[name.strip()] = _names(of_input)
    return columns


def _separator(options: argparse.Namespace) -> str:
    if options.separator is not None:
        return str(options.separator)
    return "\t" if ".tsv" in os.path.basename(options.input).lower() else ","


@contextmanager
def _client(address: str | None, job: Job) -> Iterator[Any]:
    if address is None:
        yield None
        return
    from unrolled.batch.dask import connect

    if not job.is_folder:
        raise UsageError(f"{job.target}: workers of a cluster write parts: name a folder, such as -o out/")
    with connect(address) as client:
        print(f"unrolled: dashboard of the cluster: {client.dashboard_link}", file=sys.stderr)
        try:
            yield client
        finally:
            if client.cluster is not None:
                client.cluster.close()


@contextmanager
def _progress(job: Job) -> Iterator[Progress | None]:
    """A bar on a terminal, where rich is installed."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield None
        return
    columns = (
        TextColumn("predict"),
        BarColumn(),
        TextColumn(
            "{task.percentage:>3.0f}%  {task.fields[rows]:,} rows, {task.fields[speed]:,.0f} a second"
        ),
        TimeRemainingColumn(),
    )
    sizes = [part.size if part.rows < 0 else part.rows for part in job.parts]
    there = set(job.pending()) if job.is_folder else set(range(len(job.parts)))
    total = sum(size for index, size in enumerate(sizes) if index in there)
    size_of = dict(zip(job.parts, sizes, strict=True))
    done: dict[Any, float] = {}
    rows, started = 0, time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("predict", total=max(total, 1), rows=0, speed=0.0)

        def advance(part: Any, more: int, share: float) -> None:
            nonlocal rows
            rows += more
            done[part] = size_of[part] * share
            speed = rows / max(time.perf_counter() - started, 1e-9)
            bar.update(task, completed=sum(done.values()), rows=rows, speed=speed)

        yield advance
