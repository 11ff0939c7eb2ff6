# SPDX-License-Identifier: MIT
"""Files of tables in, files of predictions out: on this machine, or on a Dask cluster that sees the same files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from unrolled.batch.predictor import Predictor
from unrolled.batch.threads import threads_held
from unrolled.data.job import Job, Progress, plan_job, run_job

if TYPE_CHECKING:
    from unrolled.models import Model


def predict_files(
    model: Predictor | Model | str | os.PathLike[str],
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    separator: str = ",",
    resume: bool = False,
    client: Any = None,
    progress: Progress | None = None,
) -> int:
    """Predict a file, a folder or a glob of files into a file or a folder of parts.

    Memory stays bounded whatever the size of the files. What is written is renamed to its name when it is
    whole, so that a kill leaves no half-written file.

    Parameters
    ----------
    model : Predictor, or what it takes
        A Predictor says the columns; by default it computes with one thread.
    source : path-like
        Parquet, Arrow IPC, CSV or CSV.gz: a file, a folder, or a glob such as ``data/2024-*.parquet``.
    target : path-like
        ``.parquet``, ``.arrow``, ``.csv`` or ``.csv.gz``; or a folder, which gets ``part-00000.parquet``, ...
    separator : str
        Between the fields of CSV.
    resume : bool
        Go on in a folder where a killed job has left finished parts.
    client : dask.distributed.Client, optional
        Predict on its workers, which must see source and target under the same paths; target is a folder.
    progress : callable, optional
        Called with a part and a number of rows after every batch, or, with ``client``, after every part.

    Returns
    -------
    int
        The rows that were predicted now.

    Raises
    ------
    ValueError
        The tables do not fit the model, or the folder holds the parts of another job.
    FileNotFoundError
        There is no such source.
    """
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    return run(predictor, plan(predictor, source, target, separator), resume, client, progress)


def plan(
    predictor: Predictor, source: str | os.PathLike[str], target: str | os.PathLike[str], separator: str
) -> Job:
    """What ``predict_files`` would do; nothing is written."""
    return plan_job(source, target, predictor.tables, predictor.digest, separator)


def run(predictor: Predictor, job: Job, resume: bool, client: Any, progress: Progress | None) -> int:
    """Do it; see ``predict_files``."""
    if client is not None:
        from unrolled.batch.dask import run_on_cluster

        return run_on_cluster(client, predictor, job, resume=resume, progress=progress)
    with threads_held(predictor.threads):
        return run_job(job, predictor.tables, resume=resume, progress=progress)
