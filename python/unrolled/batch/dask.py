# SPDX-License-Identifier: MIT
"""Predictions on a Dask cluster: the parts of a job, or the partitions of a Dask DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import unrolled
from unrolled.batch.threads import threads_held
from unrolled.data.arrow import import_pyarrow
from unrolled.data.job import Job, Progress, begin_folder, end_folder, run_part
from unrolled.data.values import TableError

if TYPE_CHECKING:
    from unrolled.batch.predictor import Predictor


def import_dask() -> Any:
    """The package dask, with its DataFrame and distributed.

    Raises
    ------
    ImportError
        It is not installed; the message says how to install it.
    """
    try:
        import dask.dataframe
        import distributed
    except ImportError as error:
        raise ImportError('clusters need Dask: pip install "unrolled[dask]"') from error
    return dask, distributed


def run_on_cluster(
    client: Any, predictor: Predictor, job: Job, *, resume: bool = False, progress: Progress | None = None
) -> int:
    """Do a job's parts in the workers of a cluster; gives the rows that were predicted now.

    A worker that dies loses the parts that it was at; others do them again, with the same bits. The first
    error of a part stops the job; finished parts stay.

    Raises
    ------
    TableError
        The target is no folder, or a part's rows do not fit.
    """
    _, distributed = import_dask()
    if not job.is_folder:
        raise TableError(f"{job.target}: workers of a cluster write parts: name a folder, such as out/")
    begin_folder(job, resume=resume)
    # A task of its own, not data that is scattered: what a dead worker held is made again.
    shared = client.submit(_same, predictor, pure=False)
    futures = {
        client.submit(_run_part, shared, job.parts[index], index, _without_parts(job), pure=False): index
        for index in job.pending()
    }
    rows = 0
    try:
        for future in distributed.as_completed(list(futures)):
            done = future.result()
            rows += done
            if progress is not None:
                progress(job.parts[futures[future]], done, 1.0)
    except BaseException:
        client.cancel(list(futures))
        raise
    end_folder(job)
    return rows


def _same(predictor: Predictor) -> Predictor:
    return predictor


def _without_parts(job: Job) -> Job:
    """What a task needs to know besides its part."""
    return Job(job.source, job.target, job.is_folder, (), job.separator)


def _run_part(predictor: Predictor, part: Any, index: int, job: Job) -> int:
    with threads_held(predictor.threads):
        return run_part(job, index, predictor.tables, part=part)


def connect(address: str, processors: int | None = None) -> Any:
    """A client of the cluster at ``address``; "local": a new one, of a process for each processor by default.

    Raises
    ------
    OSError
        Nobody answers there.
    """
    _, distributed = import_dask()
    if address != "local":
        return distributed.Client(address, timeout="10s")
    cluster = distributed.LocalCluster(
        n_workers=processors or unrolled.get_num_threads(),
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )
    return distributed.Client(cluster)


def map_frame(predictor: Predictor, frame: Any) -> Any:
    """See ``Predictor.map``."""
    dask, _ = import_dask()
    if not hasattr(frame, "map_partitions"):
        raise TableError(f"expected a Dask DataFrame, got {type(frame).__name__}")
    meta = _empty_like(predictor, dask.dataframe.dispatch.make_meta(frame))
    # Delayed, the predictor is one task of the graph and not a part of every partition's.
    return frame.map_partitions(_apply, dask.delayed(predictor), meta=meta)


def _apply(frame: Any, predictor: Predictor) -> Any:
    return predictor(frame)


def _empty_like(predictor: Predictor, frame: Any) -> Any:
    """The columns that ``predictor`` gives for a frame of pandas, without rows."""
    pa = import_pyarrow()
    tables = predictor.tables
    result = frame[tables.keep].iloc[:0]
    for output in tables.outputs:
        kind = tables.schema(pa.schema([(name, pa.null()) for name in tables.keep])).field(output.name).type
        result = result.assign(**{output.name: _empty_column(kind)})
    return result


def _empty_column(kind: Any) -> Any:
    pa = import_pyarrow()
    if pa.types.is_nested(kind):
        return np.empty(0, dtype=object)
    return np.empty(0, dtype=kind.to_pandas_dtype())
