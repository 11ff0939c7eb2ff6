# SPDX-License-Identifier: MIT
"""``unrolled predict`` on tables: options, what it prints and writes, exit codes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tables.models import forecaster, series, two_inputs
from unrolled.cli import main

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

X = series(6)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forecaster(units=2).save("model.keras")
    forecaster(1, 3).save("small.keras")
    flat = pa.array([row.ravel().tolist() for row in X], pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": list("abcdef"), "series": flat}), "data.parquet")
    return tmp_path


def run(capsysbinary, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsysbinary.readouterr()
    assert b"Traceback" not in out + err
    return code, out.decode(), err.decode()


def test_columns_are_chosen_and_kept(here, capsysbinary):
    expected = forecaster(units=2).predict(X)
    code, out, err = run(
        capsysbinary, "predict", "model.keras", "data.parquet", "-o", "out.parquet", "--columns", "series", "--keep", "id"
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert out.startswith("out.parquet: 6 rows in ")
    table = pq.read_table("out.parquet")
    assert table["id"].to_pylist() == list("abcdef")
    np.testing.assert_array_equal(np.array(table["output"].to_pylist(), np.float32), expected)
    code, _, _ = run(capsysbinary, "predict", "model.keras", "data.parquet", "-o", "o.arrow", "--keep", "id")
    assert code == 0  # the one column that is left


def test_several_inputs_name_their_columns(here, capsysbinary):
    two_inputs().save("two.keras")
    table = pq.read_table("data.parquet").append_column("p", [np.ones(6)]).append_column("q", [np.zeros(6)])
    pq.write_table(table, "more.parquet")
    command = ("predict", "two.keras", "more.parquet", "-o", "out.parquet", "--columns")
    code, _, err = run(capsysbinary, *command, "series=series", "--columns", "code=p,q")
    assert (code, err) == (0, "")
    want = two_inputs().predict([X, np.tile([1.0, 0.0], (6, 1))])
    np.testing.assert_array_equal(pq.read_table("out.parquet")["output_1"].to_numpy(), want[1][:, 0])
    for columns in (["p,q"], ["series=series", "--columns", "p"], ["other=p"]):
        code, _, err = run(capsysbinary, *command, *columns)
        assert code == 2
        assert "columns" in err


def test_without_a_target_csv_goes_to_the_standard_output(here, capsysbinary):
    code, out, _ = run(capsysbinary, "predict", "model.keras", "data.parquet", "--keep", "id")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].replace('"', "") == "id,output_0,output_1"
    assert len(lines) == 7
    assert lines[1].startswith('"a",')


@pytest.mark.parametrize(
    ("name", "separator"), [("t.csv", ";"), ("t.csv", "\\t"), ("t.tsv", None), ("t.csv.gz", "|")]
)
def test_csv_with_names_and_any_separator(here, capsysbinary, name, separator):
    import gzip

    sign = {"\\t": "\t", None: "\t"}.get(separator, separator)
    x = X[:, 0]
    lines = [sign.join(["id", "a", "b", "c"])]
    lines += [sign.join([f"r{i}", *(f"{value:.9g}" for value in row)]) for i, row in enumerate(x)]
    text = "\n".join(lines).encode()
    (here / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    chosen = [] if separator is None else ["--separator", separator]
    code, _, err = run(
        capsysbinary, "predict", "small.keras", name, "-o", "out.parquet", "--keep", "id", *chosen
    )
    assert (code, err) == (0, "")
    table = pq.read_table("out.parquet")
    assert table["id"].to_pylist() == [f"r{i}" for i in range(6)]
    np.testing.assert_array_equal(table["output"].to_numpy(), forecaster(1, 3).predict(x[:, None])[:, 0])


def test_rows_as_timesteps_take_a_separator_too(here, capsysbinary):
    forecaster(None, 3).save("any.keras")
    text = "a;b;c\n" + "\n".join(";".join(f"{value:.9g}" for value in row) for row in X[0])
    (here / "t.csv").write_text(text)
    code, out, err = run(capsysbinary, "predict", "any.keras", "t.csv", "--separator", ";")
    assert (code, err) == (0, "")
    assert np.float32(out) == forecaster(None, 3).predict(X[:1])[0, 0]
    code, _, err = run(capsysbinary, "predict", "any.keras", "t.csv")
    assert code == 2
    assert "--separator" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.parquet", "-o", "out.npy"], "expected a name that ends in .parquet"),
        (["data.parquet", "-o", "out.parquet", "--columns", "x"], "column 'x': the table has no such column"),
        (
            ["data.parquet", "-o", "out.parquet"],
            "column 'id': expected numbers or lists of numbers, got string",
        ),
        (["data.parquet", "-o", "o.parquet", "--columns", "id"], "column 'id': expected numbers"),
        (["data.parquet", "-o", "o.parquet", "--keep", "id", "--timesteps", "5"], "--timesteps"),
        (["data.parquet", "--keep", "id", "--resume"], "-o names the folder"),
        (
            ["data.parquet", "-o", "o.parquet", "--keep", "id", "--resume"],
            "only a folder keeps finished parts",
        ),
        (["data.parquet", "-o", "o.parquet", "--keep", "id", "--dask", "local"], "name a folder"),
        (["data.parquet", "-o", "o.parquet", "--keep", "id", "--separator", "ab"], "--separator"),
        (["no*.parquet", "-o", "o.parquet"], "no*.parquet"),
        (["model.keras", "-o", "o.parquet", "--keep", "id"], "go with tables"),
        (["data.parquet", "-o", "no/o.parquet", "--keep", "id"], "no/o.parquet: No such file"),
    ],
)
def test_wrong_usage_exits_with_2_and_writes_nothing(here, capsysbinary, arguments, message):
    before = sorted(path.name for path in here.iterdir())
    code, out, err = run(capsysbinary, "predict", "model.keras", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert sorted(path.name for path in here.iterdir()) == before


def test_a_folder_is_resumed_by_the_option_alone(here, capsysbinary):
    command = ("predict", "model.keras", "data.parquet", "-o", "out/", "--keep", "id")
    assert run(capsysbinary, *command)[0] == 0
    code, _, err = run(capsysbinary, *command)
    assert code == 2
    assert "--resume" in err
    code, out, _ = run(capsysbinary, *command, "--resume")
    assert code == 0
    assert "0 of 1 parts" in out
