# SPDX-License-Identifier: MIT
"""Dask: a cluster of two processes, one of which is killed; partitions, parts, resuming, the command line."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

import unrolled
from tests.engines.conftest import FILES, ROWS, check
from unrolled.batch import Predictor, predict_files
from unrolled.cli import main

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
dd = pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")

# Sockets and loops of a cluster that is closed are collected later; a killed worker leaves some for good.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def client(work):
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def read_parts(folder):
    return pa.concat_tables([pq.read_table(part) for part in sorted(folder.glob("part-*.parquet"))])


def test_a_folder_is_predicted_by_all_workers(work, client, tmp_path):
    done = []
    rows = predict_files(
        Predictor(work.model, columns="x", keep=["id"]), work.data, tmp_path / "out", client=client,
        progress=lambda part, rows, share: done.append(rows),
    )  # fmt: skip
    assert rows == FILES * ROWS == sum(done)
    table = read_parts(tmp_path / "out")
    np.testing.assert_array_equal(table["id"].to_numpy(), np.arange(FILES * ROWS))
    np.testing.assert_array_equal(table["output"].to_numpy(), work.expected)
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_a_model_goes_to_workers_that_do_not_see_its_file(work, client, tmp_path):
    predictor = Predictor(unrolled.load_model(work.model), columns="x", keep=["id"])
    predict_files(predictor, work.data, tmp_path / "out", client=client)
    table = read_parts(tmp_path / "out")
    check(work, table["id"], table["output"])


def test_parts_that_are_there_are_not_done_again(work, client, tmp_path):
    predictor = Predictor(work.model, columns="x", keep=["id"])
    predict_files(predictor, work.data, tmp_path / "out", client=client)
    (tmp_path / "out" / "part-00002.parquet").unlink()
    with pytest.raises(ValueError, match="resume it"):
        predict_files(predictor, work.data, tmp_path / "out", client=client)
    assert predict_files(predictor, work.data, tmp_path / "out", client=client, resume=True) == ROWS
    check(work, *(read_parts(tmp_path / "out")[name] for name in ("id", "output")))


def test_a_row_that_does_not_fit_stops_the_job_with_its_name(work, client, tmp_path):
    rows = pa.array([[1.0] * 80, None], pa.list_(pa.float32()))
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"id": [1, 2], "x": rows}), tmp_path / "data" / "bad.parquet")
    with pytest.raises(ValueError, match=r"bad\.parquet: column 'x', row 1: the value is missing"):
        predict_files(Predictor(work.model, columns="x"), tmp_path / "data", tmp_path / "out", client=client)
    with pytest.raises(ValueError, match="workers of a cluster write parts"):
        predict_files(Predictor(work.model, columns="x"), work.data, tmp_path / "o.parquet", client=client)


@pytest.mark.parametrize("backend", ["pyarrow", None])
@pytest.mark.parametrize("give_model", [False, True])
def test_a_dask_dataframe_is_mapped_lazily(work, client, tmp_path, backend, give_model):
    predictor = Predictor(
        unrolled.load_model(work.model) if give_model else work.model, columns="x", keep=["id"]
    )
    options = {} if backend is None else {"dtype_backend": backend}
    frame = predictor.map(dd.read_parquet(work.data, **options))
    assert list(frame.columns) == ["id", "output"]
    assert frame.npartitions >= 1
    result = frame.compute()
    assert result["output"].dtype == np.float32
    check(work, result["id"].to_numpy(int), result["output"])
    frame.to_parquet(tmp_path / "out")
    table = pq.read_table(tmp_path / "out")
    check(work, table["id"], table["output"])
    with pytest.raises(ValueError, match=r"Predictor\(model\)\.map\(frame\)"):
        predictor.model.predict(frame)
    with pytest.raises(ValueError, match="expected a Dask DataFrame, got dict"):
        predictor.map({})


def test_a_worker_computes_with_one_thread(work, client):
    predictor = Predictor(work.model, columns="x")
    predictor({"x": work.x[:2]})
    before = client.run(unrolled.get_num_threads)
    dd.read_parquet(work.data, dtype_backend="pyarrow").map_partitions(len).compute()
    assert client.run(unrolled.get_num_threads) == before


class Slow(Predictor):
    """Takes a while, so that a worker can be killed in the middle."""

    @property
    def tables(self):
        time.sleep(0.3)
        return super().tables


def test_a_worker_killed_midway_loses_no_row_and_doubles_none(work, tmp_path):
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        killed = []

        def kill(part, rows, share):
            if not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        predict_files(Slow(work.model, columns="x", keep=["id"]), work.data, tmp_path / "out",
                      client=client, progress=kill)  # fmt: skip
        assert killed
    table = read_parts(tmp_path / "out")
    np.testing.assert_array_equal(table["id"].to_numpy(), np.arange(FILES * ROWS))
    np.testing.assert_array_equal(table["output"].to_numpy(), work.expected)
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name[0] in "._") == [
        "_SUCCESS", "_job.json",
    ]  # fmt: skip


def test_the_command_line_starts_a_cluster_or_joins_one(work, client, tmp_path, capfd):
    command = ["predict", work.model, work.data, "--columns", "x", "--keep", "id", "-o"]
    for name, address in (("a", "local"), ("b", client.scheduler.address)):
        assert main([*command, str(tmp_path / name), "--dask", address]) == 0
        table = read_parts(tmp_path / name)
        check(work, table["id"], table["output"])
    assert "3,000 rows" in capfd.readouterr().out
    assert main([*command, str(tmp_path / "c"), "--dask", "tcp://127.0.0.1:1"]) == 2
    assert "127.0.0.1:1" in capfd.readouterr().err
