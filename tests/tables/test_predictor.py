# SPDX-License-Identifier: MIT
"""``unrolled.batch.Predictor``: the same kind out, pickles, one model a process, threads."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

import unrolled
from tests.tables.models import forecaster, series
from unrolled.batch import Predictor, cache

ROWS = 9
X = series(ROWS)


@pytest.fixture
def path(tmp_path):
    forecaster(units=2).save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_a_dict_of_arrays_gives_a_dict_of_arrays_without_arrow(path):
    expected = unrolled.load_model(path).predict(X)
    predict = Predictor(path, keep=["id"])
    out = predict({"id": np.arange(ROWS), "x": X})
    assert list(out) == ["id", "output"]
    np.testing.assert_array_equal(out["output"], expected)
    objects = np.empty(ROWS, dtype=object)
    objects[:] = list(X)
    np.testing.assert_array_equal(predict({"id": np.arange(ROWS), "x": objects})["output"], expected)
    code = (
        "import sys, numpy as np\nfrom unrolled.batch import Predictor\n"
        f"Predictor({str(path)!r})({{'x': np.zeros((2, 5, 3))}})\n"
        "assert not {'pyarrow', 'pandas', 'polars', 'dask'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_kind_of_table_gives_its_own_kind(path):
    pa, pd, pl = (pytest.importorskip(name) for name in ("pyarrow", "pandas", "polars"))
    expected = unrolled.load_model(path).predict(X)
    predict = Predictor(path, keep=["id"])
    table = pa.table({"x": pa.array([row.ravel().tolist() for row in X]), "id": list("abcdefghi")})
    for given in (table, table.to_batches()[0], pl.from_arrow(table)):
        out = predict(given)
        assert type(out) is type(given)
        assert (out.columns if hasattr(out, "columns") and isinstance(out, pl.DataFrame) else out.schema.names) == [
            "id", "output",
        ]  # fmt: skip
        np.testing.assert_array_equal(np.array(out["output"].to_pylist() if not isinstance(out, pl.DataFrame)
                                               else out["output"].to_list(), np.float32), expected)  # fmt: skip
    frame = pd.DataFrame({"id": range(ROWS), "x": list(X)}, index=range(50, 50 + ROWS))
    out = predict(frame)
    assert list(out.columns) == ["id", "output"]
    assert list(out.index) == list(frame.index)
    np.testing.assert_array_equal(np.stack(out["output"]), expected)
    assert list(frame.columns) == ["id", "x"]  # as it was


def test_an_output_of_one_number_is_a_plain_column(tmp_path):
    pa, pd = (pytest.importorskip(name) for name in ("pyarrow", "pandas"))
    model = forecaster()
    expected = model.predict(X)[:, 0]
    out = Predictor(model)(pd.DataFrame({"x": list(X)}))
    assert out["output"].dtype == np.float32
    np.testing.assert_array_equal(out["output"], expected)
    assert Predictor(model)(pa.table({"x": pa.array([row.ravel().tolist() for row in X])}))[
        "output"
    ].type == pa.float32()  # fmt: skip


def test_a_column_goes_in_alone_and_comes_out_alone(path):
    pa, pl = (pytest.importorskip(name) for name in ("pyarrow", "polars"))
    expected = unrolled.load_model(path).predict(X)
    column = pa.array([row.ravel().tolist() for row in X])
    predict = Predictor(path)
    np.testing.assert_array_equal(np.array(predict.column(column).to_pylist(), np.float32), expected)
    out = predict.column(pl.from_arrow(column))
    assert isinstance(out, pl.Series)
    np.testing.assert_array_equal(np.array(out.to_list(), np.float32), expected)
    numbers = [pa.array(X.reshape(ROWS, 15)[:, index]) for index in range(15)]
    np.testing.assert_array_equal(np.array(predict.column(*numbers).to_pylist(), np.float32), expected)


def test_it_pickles_before_and_after_it_was_used(path):
    expected = unrolled.load_model(path).predict(X)
    for predictor in (Predictor(path), Predictor(unrolled.load_model(path))):
        for _ in range(2):
            again = pickle.loads(pickle.dumps(predictor))
            np.testing.assert_array_equal(again({"x": X})["output"], expected)
            predictor({"x": X})


def test_a_process_loads_a_model_once_by_its_content(path, tmp_path, monkeypatch):
    loads = []
    load = unrolled.load_model

    def counted(name):
        loads.append(name)
        return load(name)

    monkeypatch.setattr(unrolled, "load_model", counted)
    monkeypatch.setattr(cache, "_models", type(cache._models)())
    shutil.copy(path, tmp_path / "copy.keras")
    for name in (path, tmp_path / "copy.keras", str(path)):
        predictor = Predictor(name)
        again = [pickle.loads(pickle.dumps(predictor)) for _ in range(3)]
        threads = [threading.Thread(target=one, args=({"x": X},)) for one in again]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(loads) == 1
    for units in range(3, 9):
        forecaster(units=units).save(tmp_path / "other.keras")
        Predictor(tmp_path / "other.keras")({"x": X})
    assert len(cache._models) == cache.MOST_MODELS


def test_a_model_that_its_owner_changes_changes_no_other_predictor(path):
    model = unrolled.load_model(path)
    given, by_path = Predictor(model), Predictor(path)
    expected = by_path({"x": X})["output"]
    before = given.digest
    sent = pickle.dumps(given)
    model.set_weights([weight + 1 for weight in model.get_weights()])
    assert given.digest != before
    np.testing.assert_array_equal(given({"x": X})["output"], model.predict(X))
    np.testing.assert_array_equal(by_path({"x": X})["output"], expected)
    np.testing.assert_array_equal(pickle.loads(sent)({"x": X})["output"], expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(given))({"x": X})["output"], model.predict(X))


def test_a_file_that_changed_since_is_refused(path, monkeypatch):
    monkeypatch.setattr(cache, "_models", type(cache._models)())
    predictor = Predictor(path)
    forecaster(units=4).save(path)
    with pytest.raises(ValueError, match="has another content here than where the Predictor was made"):
        predictor({"x": X})
    with pytest.raises(FileNotFoundError):
        Predictor(path.with_name("missing.keras"))


def test_a_call_computes_with_one_thread_and_leaves_the_number_that_was_set(path, monkeypatch):
    before = unrolled.get_num_threads()
    seen = []
    predictor = Predictor(path)
    model = predictor.model
    predict = type(model).predict

    def watched(self, *args, **kwargs):
        seen.append(unrolled.get_num_threads())
        return predict(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "predict", watched)
    predictor({"x": X})
    Predictor(path, threads=None)({"x": X})
    assert seen == [1, before]
    with pytest.raises(ValueError, match="column 'y'"):
        Predictor(path, columns="y")({"x": X})
    assert unrolled.get_num_threads() == before
    for threads in (0, -1, 1.5):
        with pytest.raises(ValueError, match="threads: expected a positive integer or None"):
            Predictor(path, threads=threads)


def test_stateful_models_and_models_without_shape_are_refused():
    unrolled.utils.clear_session()
    stateful = unrolled.Sequential(
        [unrolled.Input((5, 3), batch_size=2), unrolled.layers.LSTM(4, stateful=True)]
    )
    with pytest.raises(ValueError, match="is stateful: rows of a table do not depend on each other"):
        Predictor(stateful)({"x": X})
    with pytest.raises(ValueError, match="has not been built"):
        Predictor(unrolled.Sequential([unrolled.layers.LSTM(4)]))


def test_what_is_no_table_is_refused(path):
    for given in (X, [X], None, "x"):
        with pytest.raises(ValueError, match="expected a table or a dict of arrays, got"):
            Predictor(path)(given)


def test_the_packages_of_tables_are_named_by_the_extra_where_they_are_missing(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'tables need pyarrow: pip install "unrolled\[arrow\]"'):
        Predictor(path).column([])
    monkeypatch.setitem(sys.modules, "distributed", None)
    from unrolled.batch.dask import connect

    with pytest.raises(ImportError, match=r'clusters need Dask: pip install "unrolled\[dask\]"'):
        connect("local")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match=r'unrolled.mlflow needs MLflow: pip install "unrolled\[mlflow\]"'):
        unrolled.mlflow.load_model("models:/m/1")
