# SPDX-License-Identifier: MIT
"""Columns of Arrow, pandas and polars as a model's inputs: every way to write them gives the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tables.models import forecaster, series, two_inputs
from unrolled.batch import Predictor
from unrolled.data.arrow import column_values, to_arrow

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

ROWS = 7
X = series(ROWS)
WAYS = {
    "a flat list": lambda: {"x": pa.array(X.reshape(ROWS, 15).tolist(), pa.list_(pa.float32()))},
    "a large list": lambda: {"x": pa.array(X.reshape(ROWS, 15).tolist(), pa.large_list(pa.float32()))},
    "a fixed-size list": lambda: {"x": pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 15)},
    "lists of lists": lambda: {"x": pa.array(X.tolist(), pa.list_(pa.list_(pa.float32())))},
    "fixed lists of fixed lists": lambda: {
        "x": pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 3), 5)
    },
    "a tensor column": lambda: {"x": pa.FixedShapeTensorArray.from_numpy_ndarray(X)},
    "a column of lists for each feature": lambda: {
        name: pa.array(X[:, :, index].tolist(), pa.list_(pa.float32())) for index, name in enumerate("abc")
    },
    "a column of numbers for each value": lambda: {
        f"v{index}": pa.array(X.reshape(ROWS, 15)[:, index]) for index in range(15)
    },
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("first", [0, 2])
def test_every_way_to_write_a_column_gives_the_bits_of_predict(way, first):
    model = forecaster()
    expected = model.predict(X)[first:]
    table = pa.table(WAYS[way]())
    sliced = table.slice(first)
    frames = [sliced, sliced.to_batches()[0], pa.concat_tables([sliced.slice(0, 1), sliced.slice(1)])]
    if way != "a tensor column":
        frames += [pl.from_arrow(sliced), sliced.to_pandas(types_mapper=pd.ArrowDtype), sliced.to_pandas()]
    for frame in frames:
        np.testing.assert_array_equal(model.predict(frame), expected)


def test_numbers_of_any_kind_are_converted_as_predict_converts_arrays():
    model = forecaster(1, 2)
    x = np.array([[1, 2], [3, 4]])
    expected = model.predict(x[:, None, :])
    for kind in (pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.decimal128(30, 2)):
        table = pa.table(
            {name: pa.array(x[:, i].tolist(), pa.int64()).cast(kind) for i, name in enumerate("ab")}
        )
        np.testing.assert_array_equal(model.predict(table), expected)
    encoded = pa.table({name: pa.array(x[:, i]).dictionary_encode() for i, name in enumerate("ab")})
    np.testing.assert_array_equal(model.predict(encoded), expected)
    frame = pd.DataFrame(x, columns=["a", "b"])
    for kind in ("int32", "float64", "Int64", "Float32", "int64[pyarrow]", "category"):
        np.testing.assert_array_equal(model.predict(frame.astype(kind)), expected)


def test_several_inputs_take_the_columns_of_their_names():
    model = two_inputs()
    code = np.random.default_rng(1).normal(size=(ROWS, 2)).astype(np.float32)
    expected = model.predict([X, code])
    table = pa.table(
        {
            "id": np.arange(ROWS),
            "code": pa.array(code.tolist()),
            "series": pa.array(X.reshape(ROWS, -1).tolist()),
        }
    )
    for frame in (table, pl.from_arrow(table), table.to_pandas()):
        for got, want in zip(model.predict(frame), expected, strict=True):
            np.testing.assert_array_equal(got, want)
    named = pa.table({"a": code[:, 0], "b": code[:, 1], "s": table["series"], "id": table["id"]})
    out = Predictor(model, {"series": "s", "code": ["a", "b"]}, keep=["id"])(named)
    assert out.column_names == ["id", "output_0", "output_1"]
    np.testing.assert_array_equal(np.array(out["output_0"].to_pylist(), np.float32), expected[0])
    np.testing.assert_array_equal(out["output_1"].to_numpy(), expected[1][:, 0])


def test_lists_of_different_lengths_are_predicted_each_as_if_alone():
    model = forecaster(None, 3, 2)
    rows = [X[index, : 1 + index % 5] for index in range(ROWS)]
    expected = np.stack([model.predict(row[None])[0] for row in rows])
    nested = pa.table({"x": pa.array([row.tolist() for row in rows], pa.list_(pa.list_(pa.float32())))})
    flat = pa.table({"x": pa.array([row.ravel().tolist() for row in rows], pa.list_(pa.float32()))})
    for_each = pa.table({name: pa.array([row[:, i].tolist() for row in rows], pa.list_(pa.float32()))
                         for i, name in enumerate("abc")})  # fmt: skip
    for table in (nested, flat, for_each):
        for frame in (table, table.slice(0), pl.from_arrow(table), table.to_pandas()):
            np.testing.assert_array_equal(model.predict(frame), expected)


def test_outputs_of_different_lengths_come_as_lists():
    model = forecaster(None, 3, 2, sequences=True)
    rows = [X[index, : 1 + index % 5] for index in range(ROWS)]
    table = pa.table({"x": pa.array([row.tolist() for row in rows], pa.list_(pa.list_(pa.float32())))})
    expected = [model.predict(row[None])[0] for row in rows]
    for got, want in zip(model.predict(table), expected, strict=True):
        np.testing.assert_array_equal(got, want)
    column = Predictor(model)(table)["output"]
    assert column.type == pa.list_(pa.list_(pa.float32()))
    for got, want in zip(column.to_pylist(), expected, strict=True):
        np.testing.assert_array_equal(np.array(got, np.float32), want)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3), (4, 2, 3), (4, 2, 1), (0, 3), (1, 1, 1)])
def test_arrays_come_back_from_arrow_as_they_went(shape):
    values = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    column = to_arrow(values)
    assert len(column) == shape[0]
    if shape[0]:
        back = column_values(column, "x")
        np.testing.assert_array_equal(back.reshape(shape), values)


def test_a_table_without_rows_gives_none():
    model = forecaster()
    table = pa.table({"x": pa.array([], pa.list_(pa.float32()))})
    assert model.predict(table).shape == (0, 1)
    assert model.predict(table.to_pandas()).shape == (0, 1)
    assert Predictor(model)(table).num_rows == 0
    assert Predictor(model)(pa.table({f"v{i}": pa.array([], pa.float32()) for i in range(15)})).num_rows == 0


def null_within():
    rows = X.reshape(ROWS, 15).tolist()
    rows[4][3] = None
    return rows


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": pa.array([*X.reshape(ROWS, 15).tolist()[:3], None])}, "column 'x', row 3: the value is missing"),
        ({"x": pa.array(null_within())}, "column 'x', row 4: the value is missing"),
        ({"x": pa.array(["a", "b"])}, "column 'x': expected numbers or lists of numbers, got string"),
        ({"x": pa.array([["a"], ["b"]])}, "column 'x': expected numbers .* got string"),
        ({"x": pa.array([1, 2], pa.timestamp("s"))}, r"column 'x': expected numbers .* timestamp\[s\]"),
        ({"x": pa.array([{"a": 1.0}])}, "column 'x': expected numbers .* struct"),
        ({"x": pa.array([[1.0] * 14] * 2)}, r"column 'x': a row has 14 numbers, input 'x' takes \(5, 3\), 15"),
        ({"x": pa.array([[1.0] * 15, [1.0] * 14])}, "column 'x', row 1: a row has 14 numbers"),
        ({"x": pa.array([[[1.0] * 3] * 4])}, r"column 'x': a row has a list of shape \(4, 3\)"),
        ({"x": pa.array([[[1.0] * 5] * 3])}, r"column 'x': a row has a list of shape \(3, 5\)"),
        ({"x": pa.array([[[1.0] * 3] * 5, [[1.0] * 3] * 4 + [[1.0]]])}, "column 'x', row 1: its lists of features"),
        ({"a": pa.array([1.0]), "b": pa.array([[1.0]])}, "columns 'a' and 'b' do not go together"),
        ({"a": pa.array([[1.0]]), "b": pa.array([[1.0, 2.0]])}, "columns 'a' and 'b' do not go together"),
        ({"a": pa.array([1.0]), "b": pa.array([1.0])}, "2 columns 'a' to 'b': a row has 2 numbers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_columns_name(columns, message):
    model = forecaster()
    table = pa.table(columns)
    with pytest.raises(ValueError, match=message):
        model.predict(table)
    with pytest.raises(ValueError, match=message):
        Predictor(model)(table)


def test_objects_of_pandas_that_do_not_fit_are_refused_with_column_and_row():
    model = forecaster()
    good = list(X)
    for bad, message in [
        (None, "column 'x', row 2: the value is missing"),
        (pd.NA, "column 'x', row 2: the value is missing"),
        ("text", "column 'x': expected numbers .* got str 'text' in row 2"),
        ([[1.0, 2.0], [3.0]], "column 'x', row 2: its lists have different lengths"),
        (X[0, 0], r"column 'x': row 0 has shape \(5, 3\), row 2 \(3,\)"),
    ]:
        column = pd.Series([*good[:2], bad, *good[3:]], dtype=object)
        with pytest.raises(ValueError, match=message):
            model.predict(pd.DataFrame({"x": column}))
    with pytest.raises(ValueError, match="column 'x', row 1: the value is missing"):
        model.predict(pd.DataFrame({"x": pd.array([1.0, None], dtype="Float64")}))


def test_columns_that_are_not_there_are_named_with_those_that_are():
    table = pa.table({"a": [1.0], "b": [2.0]})
    for columns, keep, message in [
        ("x", (), "column 'x': the table has no such column, only 'a', 'b'"),
        (None, ["id"], "keep: column 'id': the table has no such column, only 'a', 'b'"),
        ({"y": "a"}, (), r"columns: the model has no input 'y', only \['x'\]"),
        (None, ["a", "b"], "input 'x': no column is left for it"),
    ]:
        with pytest.raises(ValueError, match=message):
            Predictor(forecaster(), columns, keep)(table)
    with pytest.raises(ValueError, match="several inputs: say the columns of each"):
        Predictor(two_inputs(), ["a"])(table)
    with pytest.raises(ValueError, match="column 'series': the table has no such column"):
        two_inputs().predict(table)
    with pytest.raises(ValueError, match="several columns 'a'"):
        forecaster().predict(pa.table([[1.0], [2.0]], names=["a", "a"]))


def test_lazy_frames_and_single_columns_are_refused_with_what_to_do():
    model = forecaster()
    frame = pl.DataFrame({"x": X.reshape(ROWS, 15)})
    with pytest.raises(ValueError, match=r"got a LazyFrame: collect\(\) it first"):
        model.predict(frame.lazy())
    with pytest.raises(ValueError, match="expected a DataFrame, got Series"):
        model.predict(pd.Series([1.0]))
    with pytest.raises(ValueError, match="expected a table of named columns"):
        model.predict(frame["x"])
