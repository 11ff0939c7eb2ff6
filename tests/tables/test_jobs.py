# SPDX-License-Identifier: MIT
"""Long jobs: files in, files out, bounded memory, kills and resuming."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import unrolled
from tests.tables.models import forecaster, series
from unrolled.batch import Predictor, predict_files
from unrolled.data import sources
from unrolled.data.ahead import read_ahead
from unrolled.data.sources import find_files

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def table_of(x, first=0):
    rows = len(x)
    flat = pa.array([row.ravel().tolist() for row in x], pa.list_(pa.float32()))
    return pa.table(
        {
            "id": np.arange(first, first + rows),
            "x": flat,
            "day": pa.array([f"d{i % 3}" for i in range(rows)], pa.string()),
        }
    )


@pytest.fixture
def model(tmp_path):
    model = forecaster()
    model.save(tmp_path / "model.keras")
    return model


@pytest.fixture
def folder(tmp_path):
    """Four files of 10, 0, 25 and 5 rows, one of them in a subfolder, beside bookkeeping of others."""
    x = series(40)
    data = tmp_path / "data"
    (data / "more").mkdir(parents=True)
    for name, start, stop in [("a", 0, 10), ("b", 10, 10), ("more/c", 10, 35), ("z", 35, 40)]:
        pq.write_table(table_of(x[start:stop], start), data / f"{name}.parquet", row_group_size=8)
    (data / "_SUCCESS").touch()
    (data / ".a.parquet.crc").write_bytes(b"x")
    (data / "_old").mkdir()
    pq.write_table(table_of(x), data / "_old" / "old.parquet")
    return data


def read_parts(path):
    return pa.concat_tables([pq.read_table(part) for part in sorted(path.glob("part-*.parquet"))])


def test_a_path_means_a_file_a_folder_or_what_a_glob_matches(folder, tmp_path):
    names = ["a.parquet", "b.parquet", "more/c.parquet", "z.parquet"]
    assert find_files(folder) == [str(folder / name) for name in names]
    assert find_files(folder / "[ab].parquet") == [str(folder / name) for name in names[:2]]
    assert find_files(folder / "a.parquet") == [str(folder / "a.parquet")]
    for missing in (folder / "no.parquet", folder / "no*.parquet"):
        with pytest.raises(FileNotFoundError):
            find_files(missing)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError):
        find_files(tmp_path / "empty")
    (folder / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"notes.txt: expected a name that ends in \.arrow"):
        find_files(folder)
    (folder / "notes.txt").rename(folder / "notes.csv")
    with pytest.raises(ValueError, match="expected files of one kind, found csv, parquet"):
        find_files(folder)


def test_a_folder_becomes_a_folder_of_parts_in_its_order(folder, model, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PART_BYTES", 1)
    expected = model.predict(series(40))[:, 0]
    predictor = Predictor(tmp_path / "model.keras", keep=["id", "day"], columns="x")
    assert predict_files(predictor, folder, tmp_path / "out") == 40
    table = read_parts(tmp_path / "out")
    assert table.column_names == ["id", "day", "output"]
    np.testing.assert_array_equal(table["id"].to_numpy(), np.arange(40))
    np.testing.assert_array_equal(table["output"].to_numpy(), expected)
    assert (tmp_path / "out" / "_SUCCESS").exists()
    assert len(list((tmp_path / "out").glob("part-*"))) == 2 + 1 + 4 + 1  # groups of 8 rows; an empty file


@pytest.mark.parametrize("target", ["o.parquet", "o.arrow", "o.feather", "o.csv", "o.csv.gz"])
@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream.arrow", "csv", "csv.gz"])
def test_every_kind_of_file_goes_to_every_kind(model, tmp_path, kind, target):

    model = forecaster(1, 3, 2)
    x = series(40, 1)
    table = pa.table({"id": np.arange(40), **{name: x[:, 0, i] for i, name in enumerate("abc")}})
    source = tmp_path / f"data.{kind}"
    if kind == "parquet":
        pq.write_table(table, source)
    elif kind == "arrow":
        options = pa.ipc.IpcWriteOptions(compression="lz4")  # as Feather has it
        with pa.ipc.new_file(source, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=7)
    elif kind == "stream.arrow":
        with pa.ipc.new_stream(source, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    else:
        with (
            pa.CompressedOutputStream(str(source), "gzip")
            if kind.endswith("gz")
            else open(source, "wb") as out
        ):
            pa.csv.write_csv(table, out)
    predict_files(Predictor(model, keep=["id"]), source, tmp_path / target)
    path = str(tmp_path / target)
    if "csv" in target:
        found = pa.csv.read_csv(path)
        outputs = np.stack([found[f"output_{i}"].to_numpy() for i in range(2)], axis=1).astype(np.float32)
    else:
        found = pq.read_table(path) if target == "o.parquet" else pa.ipc.open_file(path).read_all()
        outputs = np.array(found["output"].to_pylist(), np.float32)
    np.testing.assert_array_equal(found["id"].to_numpy(zero_copy_only=False).astype(int), np.arange(40))
    np.testing.assert_array_equal(outputs, model.predict(x))


def test_errors_name_file_column_and_row_and_leave_nothing(folder, model, tmp_path):
    bad = table_of(series(30))
    rows = bad["x"].to_pylist()
    rows[17] = None
    pq.write_table(bad.set_column(1, "x", pa.array(rows, pa.list_(pa.float32()))), folder / "m.parquet")
    with pytest.raises(ValueError, match=r"m\.parquet: column 'x', row 17: the value is missing"):
        predict_files(Predictor(model, columns="x"), folder, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
    assert not list(tmp_path.glob(".unrolled-*"))
    with pytest.raises(ValueError, match=r"m\.parquet: column 'x', row 17"):
        predict_files(Predictor(model, columns="x"), folder, tmp_path / "out")
    assert not list((tmp_path / "out").glob(".unrolled-*"))
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_rows_are_counted_from_the_start_of_a_file_whatever_its_parts(folder, model, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PART_BYTES", 1)
    bad = table_of(series(30))
    rows = bad["x"].to_pylist()
    rows[25] = rows[25][:-1]
    column = pa.array(rows, pa.list_(pa.float32()))
    pq.write_table(bad.set_column(1, "x", column), tmp_path / "bad.parquet", row_group_size=8)
    for target in ("out", "out.parquet"):
        with pytest.raises(ValueError, match=r"bad\.parquet: column 'x', row 25: a row has 14 numbers"):
            predict_files(Predictor(model, columns="x"), tmp_path / "bad.parquet", tmp_path / target)


def test_names_with_dots_and_signs_are_columns_like_others(tmp_path):
    model = forecaster(1, 3)
    x = series(9, 1)
    names = ["a.b", "x y", "é/%"]
    pq.write_table(pa.table({name: x[:, 0, i] for i, name in enumerate(names)}), tmp_path / "t.parquet")
    predict_files(
        Predictor(model, columns=names, keep=["a.b"]), tmp_path / "t.parquet", tmp_path / "o.parquet"
    )
    table = pq.read_table(tmp_path / "o.parquet")
    np.testing.assert_array_equal(table["output"].to_numpy(), model.predict(x)[:, 0])
    np.testing.assert_array_equal(table["a.b"].to_numpy(), x[:, 0, 0])


def test_reading_ahead_hands_over_errors_and_ends_its_thread():
    def failing():
        yield 1
        raise OSError("gone")

    items = read_ahead(failing())
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)
    endless = read_ahead(iter(int, 1))
    assert next(endless) == 0
    endless.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "unrolled-read-ahead"]
    assert list(read_ahead(iter(range(5)))) == [0, 1, 2, 3, 4]


def test_files_with_other_columns_are_found_before_anything_is_written(folder, model, tmp_path):
    table = table_of(series(3))
    pq.write_table(table.drop_columns(["x"]), folder / "m.parquet")
    with pytest.raises(ValueError, match=r"m\.parquet: column 'x': the table has no such column"):
        predict_files(Predictor(model, columns="x"), folder, tmp_path / "out")
    pq.write_table(table.set_column(0, "id", pa.array(["1", "2", "3"])), folder / "m.parquet")
    with pytest.raises(ValueError, match=r"m\.parquet: expected the columns of .*a\.parquet"):
        predict_files(Predictor(model, columns="x", keep="id"), folder, tmp_path / "out")
    (folder / "m.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(ValueError, match=r"m\.parquet: "):
        predict_files(Predictor(model, columns="x"), folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_target_that_cannot_be_is_refused(folder, model, tmp_path):
    predictor = Predictor(model, columns="x")
    with pytest.raises(ValueError, match="expected a name that ends in"):
        predict_files(predictor, folder, tmp_path / "out.npy")
    with pytest.raises(ValueError, match="would be read and written at once"):
        predict_files(predictor, folder / "a.parquet", folder / "a.parquet")
    with pytest.raises(ValueError, match="cannot be that of the output"):
        predict_files(predictor, folder, folder)
    for inside in ("out", "out.parquet"):
        with pytest.raises(ValueError, match="lies in the folder of the input"):
            predict_files(predictor, folder, folder / inside)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").touch()
    with pytest.raises(ValueError, match="is not empty, and holds no job"):
        predict_files(predictor, folder, tmp_path / "mine")
    with pytest.raises(ValueError, match="only a folder keeps finished parts"):
        predict_files(predictor, folder, tmp_path / "out.parquet", resume=True)
    with pytest.raises(ValueError, match="keep: column 'output' has the name of the model's output"):
        Predictor(model, keep=["output"]).tables  # noqa: B018
    assert (folder / "a.parquet").stat().st_size


def test_a_folder_of_another_job_is_not_resumed(folder, model, tmp_path):
    out = tmp_path / "out"
    predict_files(Predictor(model, columns="x"), folder, out)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    with pytest.raises(ValueError, match="holds the parts of a job; resume it"):
        predict_files(Predictor(model, columns="x"), folder, out)
    with pytest.raises(ValueError, match="another job, whose keep is different"):
        predict_files(Predictor(model, columns="x", keep=["id"]), folder, out, resume=True)
    other = forecaster()
    other.set_weights([weight + 1 for weight in other.get_weights()])
    with pytest.raises(ValueError, match="another job, whose model is different"):
        predict_files(Predictor(other, columns="x"), folder, out, resume=True)
    assert predict_files(Predictor(model, columns="x"), folder, out, resume=True) == 0
    pq.write_table(table_of(series(11)), folder / "a.parquet")
    with pytest.raises(ValueError, match="another job, whose input files are different"):
        predict_files(Predictor(model, columns="x"), folder, out, resume=True)
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != "_SUCCESS"}
    assert after == {name: when for name, when in before.items() if name != "_SUCCESS"}


def command(*arguments):
    return [sys.executable, "-m", "unrolled", "predict", *map(str, arguments)]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_job_that_is_killed_is_resumed_and_no_finished_part_is_done_again(tmp_path):
    model = forecaster(50, 4)
    model.save(tmp_path / "model.keras")
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    x = series(12 * 2000, 50, 4)
    for index in range(12):
        pq.write_table(table_of(x[index * 2000 :][:2000], index * 2000), data / f"{index:02d}.parquet")
    # With small batches a part takes long enough to be killed in.
    arguments = (
        tmp_path / "model.keras",
        data,
        "-o",
        out,
        "--columns",
        "x",
        "--keep",
        "id",
        "--batch-size",
        1,
    )
    deaths = 0
    for at_least in (2, 5):
        process = subprocess.Popen(
            command(*arguments, *(["--resume"] if deaths else [])),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        while process.poll() is None and len(list(out.glob("part-*"))) < at_least:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        deaths += process.returncode == -signal.SIGKILL
        assert not (out / "_SUCCESS").exists()
        for part in out.glob("part-*"):
            assert pq.read_table(part).num_rows == 2000  # whole
    assert deaths == 2
    finished = {part.name: part.stat().st_mtime_ns for part in out.glob("part-*")}
    assert 5 <= len(finished) < 12
    done = subprocess.run(command(*arguments, "--resume"), capture_output=True, text=True, check=True)
    assert f"{12 - len(finished)} of 12 parts" in done.stdout
    for name, when in finished.items():
        assert (out / name).stat().st_mtime_ns == when
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith("part-")) == [
        "_SUCCESS", "_job.json",
    ]  # fmt: skip
    table = read_parts(out)
    np.testing.assert_array_equal(table["id"].to_numpy(), np.arange(len(x)))
    np.testing.assert_array_equal(table["output"].to_numpy(), model.predict(x)[:, 0])


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_kill_leaves_what_was_under_the_name_of_a_single_file(tmp_path):
    forecaster(50, 4).save(tmp_path / "model.keras")
    pq.write_table(table_of(series(20000, 50, 4)), tmp_path / "data.parquet")
    (tmp_path / "out.parquet").write_bytes(b"old")
    process = subprocess.Popen(
        command(tmp_path / "model.keras", tmp_path / "data.parquet", "-o", tmp_path / "out.parquet",
                "--columns", "x", "--batch-size", 1),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while process.poll() is None and not list(tmp_path.glob(".unrolled-*")):
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "out.parquet").read_bytes() == b"old"


MEASURED = """
import sys
from unrolled.cli import main
code = main(sys.argv[1:])
# Not ru_maxrss: a process inherits that of whoever started it.
print([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1])
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("groups", [1, 100])
def test_memory_stays_bounded_whatever_the_row_groups(tmp_path, groups):
    forecaster(50, 4).save(tmp_path / "model.keras")
    rows = 400_000 // groups
    rng = np.random.default_rng(0)
    schema = pa.schema([("id", pa.int64()), ("x", pa.list_(pa.float32()))])
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * 200)
    with pq.ParquetWriter(tmp_path / "data.parquet", schema, use_dictionary=False) as writer:
        for _ in range(groups):
            x = pa.ListArray.from_arrays(offsets, pa.array(rng.standard_normal(rows * 200, dtype=np.float32)))
            writer.write_table(pa.table({"id": np.arange(rows), "x": x}, schema), row_group_size=rows)
    arguments = [tmp_path / "model.keras", tmp_path / "data.parquet", "-o", tmp_path / "out.parquet"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "predict", *map(str, arguments), "--columns", "x", "--keep", "id"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    # 320 MB of numbers; Python, NumPy and Arrow alone take 75 MB.
    assert int(done.stdout.split()[-1]) < 250 * 1024
    assert pq.ParquetFile(tmp_path / "out.parquet").metadata.num_rows == rows * groups


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_csv_stays_bounded(tmp_path):
    forecaster(5, 3).save(tmp_path / "model.keras")
    line = ",".join(f"{value:.6f}" for value in series(1).ravel())
    block = ("\n".join([line] * 10_000) + "\n").encode()
    with open(tmp_path / "data.csv", "wb") as file:
        for _ in range(60):
            file.write(block)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "predict", str(tmp_path / "model.keras"), str(tmp_path / "data.csv"),
         "-o", str(tmp_path / "out.parquet")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout.split()[-1]) < 220 * 1024  # the file has 80 MB
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 600_000


def test_predictions_use_as_many_threads_as_were_set_and_leave_that_number(folder, model, tmp_path):
    before = unrolled.get_num_threads()
    predict_files(Predictor(model, columns="x", threads=1), folder, tmp_path / "out.parquet")
    assert unrolled.get_num_threads() == before
