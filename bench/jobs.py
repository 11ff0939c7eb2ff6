# SPDX-License-Identifier: MIT
"""Predictions from Parquet to Parquet, by every engine that is installed, beside plain ``predict``.

    python -m bench.jobs [--rows N] [--repeat N] [--engine NAME ...] [--folder FOLDER]

An LSTM of 64 units on 50 timesteps of 4 features, one thread a worker. Rows are counted by processor second, user
and system, of a job's process and all that it started. Every engine runs a job of few rows and one of all
rows, in turns; the difference gives the rate, the job of few rows the fixed cost. The outputs are compared with those of
``predict``, bit by bit. Prints a Markdown table.

``--memory`` measures instead what ``unrolled predict`` takes on one file of ``--rows`` rows: one row group, and
many. Linux and macOS.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TIMESTEPS, FEATURES, UNITS = 50, 4, 64
FILE_ROWS = 250_000
# Enough to start everything once.
FEW_ROWS = 2_000

PLAIN = f"""
import glob, sys, time
import numpy as np, pyarrow.parquet as pq, unrolled
unrolled.set_num_threads(1)
model = unrolled.load_model("model.keras")
seconds = 0.0
for path in sorted(glob.glob(sys.argv[1] + "/*.parquet")):
    table = pq.read_table(path, use_threads=False)
    x = table["x"].combine_chunks().values.to_numpy().reshape(-1, {TIMESTEPS}, {FEATURES})
    model.predict(x[:1])
    started = time.process_time()
    model.predict(x)
    seconds += time.process_time() - started
print(seconds)
"""
COMMAND = """
import sys
import unrolled
from unrolled.cli import main
command = ["predict", "model.keras", sys.argv[1], "-o", sys.argv[2], "--columns", "x", "--keep", "id", *sys.argv[3:]]
if __name__ == "__main__":
    if "--dask" not in command:
        unrolled.set_num_threads(1)
    code = main(command)
    sys.exit(code)
"""
DASK_MAP = """
import sys
import dask, dask.dataframe as dd, distributed
from unrolled.batch import Predictor
if __name__ == "__main__":
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    )
    with cluster, distributed.Client(cluster):
        predict = Predictor("model.keras", columns="x", keep=["id"])
        predict.map(dd.read_parquet(sys.argv[1], dtype_backend="pyarrow")).to_parquet(sys.argv[2])
"""
RAY = """
import os, sys
import ray
from unrolled.batch import Predictor
ray.init(num_cpus=4, include_dashboard=False)
ray.data.read_parquet(sys.argv[1]).map_batches(
    Predictor, fn_constructor_args=(os.path.abspath("model.keras"), "x", ["id"]), batch_format="pyarrow",
    batch_size=8192, compute=ray.data.ActorPoolStrategy(size=2), num_cpus=1,
).write_parquet(sys.argv[2])
"""
SPARK = """
import sys
from pyspark.sql import SparkSession
from unrolled.batch import Predictor
spark = SparkSession.builder.master("local[2]").config("spark.driver.memory", "4g").getOrCreate()
predict = Predictor("model.keras", columns="x", keep=["id"])
rows = spark.read.parquet(sys.argv[1]).select("id", "x")
rows.mapInArrow(predict.batches, "id long, output float").write.parquet(sys.argv[2])
"""
POLARS = """
import os, sys
import polars as pl
from unrolled.batch import Predictor
predict = Predictor("model.keras", columns="x", keep=["id"])
schema = {"id": pl.Int64, "output": pl.Float32}
os.mkdir(sys.argv[2])
rows = pl.scan_parquet(sys.argv[1] + "/*.parquet").map_batches(predict, schema=schema, streamable=True)
rows.sink_parquet(sys.argv[2] + "/out.parquet")
"""
DUCKDB = """
import os, sys
import duckdb
from unrolled.batch import Predictor
predict = Predictor("model.keras")
duckdb.create_function("predict", predict.column, ["FLOAT[]"], "FLOAT", type="arrow")
os.mkdir(sys.argv[2])
duckdb.sql(f"COPY (SELECT id, predict(x) AS output FROM '{sys.argv[1]}/*.parquet') TO '{sys.argv[2]}/out.parquet'")
"""
# Name: (module that must be there, program, further arguments).
ENGINES = {
    "unrolled predict": ("pyarrow", COMMAND, []),
    "unrolled predict --dask local": ("distributed", COMMAND, ["--dask", "local"]),
    "Dask, Predictor.map": ("distributed", DASK_MAP, []),
    "polars map_batches": ("polars", POLARS, []),
    "DuckDB function": ("duckdb", DUCKDB, []),
    "Ray Data map_batches": ("ray", RAY, []),
    "PySpark mapInArrow": ("pyspark", SPARK, []),
}


def write_model(path: Path) -> None:
    import unrolled

    unrolled.utils.set_random_seed(0)
    layers = unrolled.layers
    unrolled.Sequential(
        [unrolled.Input((TIMESTEPS, FEATURES), name="x"), layers.LSTM(UNITS), layers.Dense(1)]
    ).save(path)


def write_data(folder: Path, rows: int, file_rows: int, group_rows: int) -> None:
    """Parquet files of ``id`` and flat lists ``x``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    size = TIMESTEPS * FEATURES
    schema = pa.schema([("id", pa.int64()), ("x", pa.list_(pa.float32()))])
    for number, first in enumerate(range(0, rows, file_rows)):
        count = min(file_rows, rows - first)
        with pq.ParquetWriter(folder / f"{number:05d}.parquet", schema, use_dictionary=False) as writer:
            for start in range(0, count, group_rows):
                some = min(group_rows, count - start)
                numbers = rng.standard_normal(some * size, dtype=np.float32)
                offsets = np.arange(some + 1, dtype=np.int32) * size
                lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(numbers))
                ids = np.arange(first + start, first + start + some)
                writer.write_table(pa.table({"id": ids, "x": lists}, schema), row_group_size=some)


def run(program: str, arguments: list[str], folder: Path) -> tuple[float, float, str]:
    """Processor seconds of the process and all that it waited for, wall seconds, standard output."""
    script = folder / "job.py"
    script.write_text(program)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python"), "PYSPARK_PYTHON": sys.executable}
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, str(script), *arguments], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=(folder / "log.txt").open("w"),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError((folder / "log.txt").read_text()[-3000:])
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - started, text


def check(data: Path, out: Path, folder: Path) -> int:
    """Compare some rows with predict; gives the rows that are there."""
    import pyarrow.parquet as pq

    import unrolled

    table = pq.read_table(out).sort_by("id")
    first = pq.ParquetFile(sorted(data.glob("*.parquet"))[0]).read_row_group(0)
    x = np.array(first["x"].combine_chunks().values.to_numpy()).reshape(-1, TIMESTEPS, FEATURES)[:2000]
    want = unrolled.load_model(folder / "model.keras").predict(x)[:, 0]
    if not np.array_equal(table["output"].to_numpy()[: len(want)], want):
        raise RuntimeError("the outputs are not those of predict")
    return int(table.num_rows)


def installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def measure(options: argparse.Namespace, folder: Path) -> None:
    few, data = folder / "few", folder / f"data{options.rows}"
    for path, rows in ((few, FEW_ROWS), (data, options.rows)):
        if not path.exists():
            write_data(path, rows, min(FILE_ROWS, rows), 50_000)
    plain: list[float] = []
    costs: dict[str, list[tuple[float, float]]] = {}
    for _ in range(options.repeat):
        plain.append(options.rows / float(run(PLAIN, [str(data)], folder)[2]))
        print(f"plain predict: {plain[-1]:,.0f} rows a processor second", file=sys.stderr)
        for name, (module, program, more) in ENGINES.items():
            if not installed(module) or (options.engine and name not in options.engine):
                continue
            seconds = []
            for source, rows in ((few, FEW_ROWS), (data, options.rows)):
                out = folder / "out"
                shutil.rmtree(out, ignore_errors=True)
                seconds.append(run(program, [str(source), str(out), *more], folder)[0])
                found = check(source, out, folder)
                if found != rows:
                    raise RuntimeError(f"{name}: {found} of {rows} rows")
            rate = (options.rows - FEW_ROWS) / (seconds[1] - seconds[0])
            costs.setdefault(name, []).append((rate, seconds[0]))
            print(f"{name}: {rate:,.0f}, fixed {seconds[0]:.1f} s", file=sys.stderr)
    base = statistics.median(plain)
    print(f"{options.rows:,} rows; load average {os.getloadavg()[0]:.1f}\n")
    print("| | rows a processor second | beside plain | fixed, processor seconds |")
    print("|---|---:|---:|---:|")
    print(f"| plain `predict` in memory | {base:,.0f} | 1 | |")
    for name, found in costs.items():
        rate = statistics.median(rate for rate, _ in found)
        ratio = statistics.median(rate / plain[number] for number, (rate, _) in enumerate(found))
        fixed = statistics.median(fixed for _, fixed in found)
        print(f"| {name} | {rate:,.0f} | {ratio:.2f} | {fixed:.1f} |")


def measure_memory(options: argparse.Namespace, folder: Path) -> None:
    program = COMMAND.replace(
        "    sys.exit(code)",
        '    print([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1])',
    )
    print("| one file of | row groups | size | most memory |\n|---|---:|---:|---:|")
    for group_rows in (options.rows, 10_000):
        data = folder / f"one{group_rows}"
        if not data.exists():
            write_data(data, options.rows, options.rows, group_rows)
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        text = run(program, [str(data), str(out)], folder)[2]
        size = sum(path.stat().st_size for path in data.iterdir())
        groups = -(-options.rows // group_rows)
        print(
            f"| {options.rows:,} rows | {groups} | {size / 1e6:,.0f} MB | {int(text.split()[-1]) / 1024:,.0f} MB |"
        )
        shutil.rmtree(data)


def main() -> None:
    parser = argparse.ArgumentParser(description="Predictions from Parquet to Parquet, engine by engine.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--engine", action="append", choices=list(ENGINES), help="only this one; repeatable")
    parser.add_argument("--memory", action="store_true", help="measure memory on one file instead")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench" / "jobs")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    folder = options.folder.resolve()
    write_model(folder / "model.keras")
    (measure_memory if options.memory else measure)(options, folder)


if __name__ == "__main__":
    main()
