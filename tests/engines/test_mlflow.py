# SPDX-License-Identifier: MIT
"""MLflow: save, log, load, pyfunc, ``models serve``, Spark; where MLflow is installed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

import unrolled
from tests.tables.models import forecaster, series, two_inputs

mlflow = pytest.importorskip("mlflow")
pd = pytest.importorskip("pandas")

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow and what it imports

X = series(4)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    model = forecaster(5, 3, 2)
    model.save("model.keras")
    return model


@pytest.mark.parametrize("by_path", [True, False])
def test_a_saved_model_gives_the_bits_of_predict(model, by_path):
    unrolled.mlflow.save_model("model.keras" if by_path else model, "saved", input_example={"x": X[:1]})
    np.testing.assert_array_equal(unrolled.mlflow.load_model("saved").predict(X), model.predict(X))
    function = mlflow.pyfunc.load_model("saved")
    for given in ({"x": X}, X, pd.DataFrame({"x": list(X)})):
        np.testing.assert_array_equal(function.predict(given), model.predict(X))
    with pytest.raises(mlflow.exceptions.MlflowException):
        function.predict({"x": X[:, :3]})
    with pytest.raises(mlflow.exceptions.MlflowException):
        unrolled.mlflow.save_model(model, "saved")  # is there already


def test_the_signature_names_inputs_and_outputs(model):
    signature = unrolled.mlflow.signature_of(two_inputs())
    assert [(spec.name, spec.shape, spec.type) for spec in signature.inputs] == [
        ("series", (-1, 5, 3), np.dtype("float32")),
        ("code", (-1, 2), np.dtype("float32")),
    ]
    assert [(spec.name, spec.shape) for spec in signature.outputs] == [
        ("output_0", (-1, 2)),
        ("output_1", (-1, 1)),
    ]
    code = np.ones((4, 2), np.float32)
    unrolled.mlflow.save_model(two_inputs(), "two")
    results = mlflow.pyfunc.load_model("two").predict({"series": X, "code": code})
    for got, want in zip(results, two_inputs().predict([X, code]), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_logged_model_is_loaded_by_its_uri(model):
    with mlflow.start_run():
        info = unrolled.mlflow.log_model("model.keras", name="forecaster", registered_model_name="known")
    for uri in (info.model_uri, "models:/known/1"):
        np.testing.assert_array_equal(unrolled.mlflow.load_model(uri).predict(X), model.predict(X))
        np.testing.assert_array_equal(mlflow.pyfunc.load_model(uri).predict({"x": X}), model.predict(X))


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_models_serve_answers_over_http(model, tmp_path):
    unrolled.mlflow.save_model(model, "saved")
    port = free_port()
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    paths = os.pathsep.join(
        [os.path.dirname(os.path.dirname(unrolled.__file__)), os.environ.get("PYTHONPATH", "")]
    )
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", "-m", "saved", "-p", str(port), "--env-manager", "local"],
            stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": paths, "PATH": path}, start_new_session=True,
        )  # fmt: skip
    try:
        body = json.dumps({"inputs": {"x": X.tolist()}}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        for _ in range(240):
            assert server.poll() is None, (tmp_path / "log").read_text()
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    answer = json.load(response)
                break
            except urllib.error.URLError:
                time.sleep(0.5)
        np.testing.assert_array_equal(np.array(answer["predictions"], np.float32), model.predict(X))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def test_spark_runs_it_as_a_function_of_columns(model, monkeypatch):
    pytest.importorskip("pyspark")
    from pyspark.sql import SparkSession
    from pyspark.sql.functions import struct

    unrolled.mlflow.save_model(model, "saved")
    paths = os.pathsep.join(
        [os.path.dirname(os.path.dirname(unrolled.__file__)), os.environ.get("PYTHONPATH", "")]
    )
    monkeypatch.setenv("PYTHONPATH", paths)
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        function = mlflow.pyfunc.spark_udf(spark, "saved", result_type="array<float>", env_manager="local")
        schema = "id long, x array<float>"  # MLflow shapes flat arrays, not nested ones
        rows = spark.createDataFrame([(index, row.ravel().tolist()) for index, row in enumerate(X)], schema)
        found = rows.select("id", function(struct("x")).alias("y")).orderBy("id").collect()
    finally:
        spark.stop()
    np.testing.assert_array_equal(np.array([row.y for row in found], np.float32), model.predict(X))
