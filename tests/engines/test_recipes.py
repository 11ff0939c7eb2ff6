# SPDX-License-Identifier: MIT
"""The recipes for polars, DuckDB, Ray and Spark, run as they stand in the docs; each where it is installed."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from tests.engines.conftest import check
from tests.engines.recipes import run

pq = pytest.importorskip("pyarrow.parquet")


def needs(package):
    """Skip without it; it is not imported here, since some warn when they are."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def test_polars_runs_a_model_in_a_lazy_query(work, tmp_path):
    needs("polars")
    run("polars", work, tmp_path)
    table = pq.read_table(tmp_path / "out.parquet")
    check(work, table["id"], table["output"])


def test_duckdb_runs_a_model_in_sql(work, tmp_path):
    needs("duckdb")
    run("duckdb", work, tmp_path)
    table = pq.read_table(tmp_path / "out.parquet")
    check(work, table["id"], table["output"])


def test_ray_runs_a_model_in_actors(work, tmp_path):
    needs("ray")
    # As many processors as two actors and the readers need, however many this machine has.
    run("ray", work, tmp_path, "import ray\nray.init(num_cpus=4, include_dashboard=False)\n")
    table = pq.read_table(tmp_path / "out")
    check(work, table["id"], table["output"])


def test_spark_runs_a_model_on_arrow_batches(work, tmp_path):
    needs("pyspark")
    run("spark", work, tmp_path, PYSPARK_PYTHON=sys.executable, SPARK_LOCAL_IP="127.0.0.1")
    table = pq.read_table(tmp_path / "out")
    check(work, table["id"], table["output"])
