# SPDX-License-Identifier: MIT
"""``unrolled stream``: lines and frames in, outputs out as they come."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unrolled
from tests.streaming.causal_models import make, sequences, several_inputs_and_outputs
from unrolled import Sequential, layers
from unrolled.cli import main
from unrolled.data.csv_rows import RULE
from unrolled.streaming.lines import run_frames, run_lines

MODEL = Path(__file__).resolve().parents[2] / "examples" / "mackey_glass" / "mackey_glass.keras"


def lines(model, text):
    sink = io.BytesIO()
    run_lines(model, io.BytesIO(text.encode()), sink)
    rows = sink.getvalue().decode().splitlines()
    return np.array([[float(field) for field in row.split(",")] for row in rows], np.float32)


def as_text(x):
    return "\n".join(",".join(f"{value:.9g}" for value in row) for row in x) + "\n"


@pytest.mark.parametrize("name", ["gru", "lstm", "masked_gru_sequences"])
def test_a_line_is_a_timestep_and_an_empty_one_starts_anew(name):
    model = make(name)
    x = sequences(model, 2, 6)
    wanted = np.concatenate([[model.stream().run(row[np.newaxis, : t + 1])[0] for t in range(6)] for row in x]
                            if name == "lstm" else [model.predict(row[np.newaxis])[0] for row in x])  # fmt: skip
    got = lines(model, "a,b,c,d,e\n" + as_text(x[0]) + "\n" + as_text(x[1]))
    assert np.array_equal(got, wanted)


def test_ids_by_line():
    model = make("embedding")
    assert np.array_equal(lines(model, "3\n4\n10\n"), model.predict(np.array([[3, 4, 10]]))[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3,4,5\n1,2,3\n", "line 2: expected 5 numbers"),
        ("1,2,3,4,5\nx,2,3,4,5\n", "line 2, column 1: expected a number, got 'x'"),
    ],
)
def test_a_wrong_line_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        lines(make("gru"), text)


def test_an_id_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"line 2: .*11"):
        lines(make("embedding"), "3\n11\n")


class Trickle(io.BytesIO):
    """A pipe that gives a few bytes at a time."""

    def read1(self, size=-1):
        return super().read1(min(size, 7))


@pytest.mark.parametrize("source", [io.BytesIO, Trickle])
@pytest.mark.parametrize("name", ["gru", "lstm", "embedding"])
def test_a_frame_is_a_timestep(name, source):
    model = make(name)
    x = sequences(model, 1, 50)
    sink = io.BytesIO()
    run_frames(model, source(x.tobytes()), sink)
    got = np.frombuffer(sink.getvalue(), "<f4").reshape(50, -1)
    stream = model.stream()
    assert np.array_equal(got, np.concatenate([stream.step(x[:, t]) for t in range(50)]))


def test_half_a_frame_is_an_error():
    with pytest.raises(ValueError, match="3 bytes into a frame of 20 bytes"):
        run_frames(make("gru"), io.BytesIO(b"x" * 23), io.BytesIO())


def test_a_model_of_several_inputs_is_refused():
    with pytest.raises(ValueError, match="one input and one output"):
        run_lines(several_inputs_and_outputs(), io.BytesIO(), io.BytesIO())


def command(*arguments):
    path = str(Path(unrolled.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-m", "unrolled", "stream", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )


def test_the_command_answers_each_line_at_once():
    model = unrolled.load_model(MODEL)
    x = np.linspace(0, 1, 5, dtype=np.float32).reshape(1, 5, 1)
    wanted = model.predict(x)[0].ravel()
    with command(MODEL) as process:
        for value, y in zip(x.ravel(), wanted, strict=True):
            process.stdin.write(f"{value:.9g}\n".encode())
            process.stdin.flush()
            assert np.float32(process.stdout.readline()) == y
        process.stdin.close()
        assert process.wait() == 0


def test_the_exit_codes_of_the_command(tmp_path):
    with command(MODEL, "--binary") as process:
        assert process.communicate(b"123")[1].startswith(
            b"unrolled: the standard input ends 3 bytes into a frame"
        )
        assert process.returncode == 2


def test_a_model_that_cannot_be_streamed_exits_with_1(monkeypatch, capsys):
    from unrolled import cli

    model = Sequential([unrolled.Input((None, 2)), layers.Bidirectional(layers.GRU(2))])
    monkeypatch.setattr("unrolled.cli.common.load", lambda options: model)
    assert cli.main(["stream", "model.keras"]) == 1
    assert "Bidirectional" in capsys.readouterr().err


# ------------------------------------------------------------------------- CSV


def predict_csv(capsys, monkeypatch, tmp_path, model, text):
    """What ``unrolled predict`` makes of a CSV file: the exit code, its rows and its message."""
    monkeypatch.setattr("unrolled.cli.common.load", lambda options: model)
    path = tmp_path / "x.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    code = main(["predict", "model.keras", str(path)])
    out, err = capsys.readouterr()
    rows = [[float(field) for field in row.split(",")] for row in out.splitlines()]
    return code, np.array(rows, np.float32), err.replace(f"unrolled: {path}, ", "").rstrip()


def stream_csv(model, text):
    """The rows that ``unrolled stream`` answers, or its message."""
    sink = io.BytesIO()
    run_lines(model, io.BytesIO(text if isinstance(text, bytes) else text.encode()), sink)
    return np.array([[float(field) for field in row.split(b",")] for row in sink.getvalue().splitlines()],
                    np.float32)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3,4,5\n2,3,4,5,6\n\n3,4,5,6,7\n0,0,0,0,1\n",
        "a,b,c,d,e\r\n1,2,3,4,5\r\n2,3,4,5,6\r\n\r\n \r\n3,4,5,6,7\r\n0,0,0,0,1\r\n\r\n",
        '\n\n"a, in V",b,c,d,e\n1, 2 ,3,4,5\n2,3,4,5,6\n\n3,4,5,6,7\n0,0,0,0,1',
        "\ufeffa,b,c,d,e\n1,2,3,4,5e0\n2,3,4,5,6\n\n3,4,5,6,7\n-0,0.,.0,0,1",
    ],
)
def test_predict_and_stream_read_a_file_by_the_same_rule(capsys, monkeypatch, tmp_path, text):
    model = make("masked_gru_sequences")
    x = np.array([[[1, 2, 3, 4, 5], [2, 3, 4, 5, 6]], [[3, 4, 5, 6, 7], [0, 0, 0, 0, 1]]], np.float32)
    wanted = np.concatenate(list(model.predict(x)))
    code, got, err = predict_csv(capsys, monkeypatch, tmp_path, model, text)
    assert (code, err) == (0, "")
    assert np.array_equal(got, wanted)
    assert np.array_equal(stream_csv(model, text), wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c,d,e\n1,2,3,4\n", "line 2: expected 5 numbers"),
        ("1,2,3,4,5\n1,2,3,4,5,6\n", "line 2: expected 5 numbers"),
        ("1,2,3,4,5,\n", "line 1"),
        ("a,b,c,d,e\n\n1,2,x,4,5\n", "line 3, column 'c': expected a number, got 'x'"),
        ("1,2,3,4,5\n\n1,2,,4,5\n", "line 3, column 3: expected a number, got nothing"),
        ("1,2,3,4,5x\n", "line 1, column 5: expected a number, got '5x'"),  # no column name
        ("1_000,2,3,4,5\n", "line 1, column 1: expected a number, got '1_000'"),
        ("1,2,3,4,5\na,b,c,d,e\n", "line 2, column 1: expected a number, got 'a'"),
        ("t,b,c,d,e\n2024-01-31 12:00,2,3,4,5\n", "line 2, column 't': expected a number, got '2024-01-31 12:00'; "
         "leave out columns of dates and times"),
        ("a,b,c,d,e\n1;2;3;4;5\n", "line 2: expected 5 numbers, as line 1 has names, got 1; the file separates its "
         "columns by semicolons: replace them by commas"),
        ("1,2,3,4,\x1b[2J\n", "line 1, column 5: expected a number, got '\\\\x1b[2J'"),
        (b"\xff\xfe1\x00,\x00", "line 1"),
    ],
)  # fmt: skip
def test_what_breaks_the_rule_is_refused_with_line_and_column_by_both(
    capsys, monkeypatch, tmp_path, text, message
):
    model = make("masked_gru_sequences")
    code, _, err = predict_csv(capsys, monkeypatch, tmp_path, model, text)
    assert code == 2
    assert message in err
    with pytest.raises(ValueError, match="the standard input, line") as caught:
        stream_csv(model, text)
    assert message.split(",")[0].split(":")[0] in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_file_of_another_separator_says_so_at_once(capsys, monkeypatch, tmp_path):
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        text = f"1{separator}2\n3{separator}4\n"
        code, _, err = predict_csv(capsys, monkeypatch, tmp_path, make("gru"), text)
        assert (code, err.split(":")[0]) == (2, "line 1, column 1")
        assert f"the file separates its columns by {name}: replace them by commas" in err
        with pytest.raises(ValueError, match=name):
            stream_csv(make("gru"), text)


def test_blank_lines_separate_sequences_of_one_length(capsys, monkeypatch, tmp_path):
    model = make("masked_gru_sequences")
    code, _, err = predict_csv(capsys, monkeypatch, tmp_path, model, "1,2,3,4,5\n1,2,3,4,5\n\n1,2,3,4,5\n\n")
    assert code == 2
    assert err.startswith(
        "line 4: a sequence of 1 timesteps ends here, the first has 2; give sequences of different"
    )
    fixed = Sequential([unrolled.Input((2, 1)), layers.SimpleRNN(1, return_sequences=True)])
    code, got, _ = predict_csv(capsys, monkeypatch, tmp_path, fixed, "1\n2\n3\n4\n\n5\n6\n")
    assert code == 0
    assert np.array_equal(got, fixed.predict(np.arange(1, 7).reshape(3, 2, 1)).reshape(6, 1))
    code, _, err = predict_csv(capsys, monkeypatch, tmp_path, fixed, "1\n2\n3\n\n4\n")
    assert (code, err) == (2, "line 3: 3 rows are no whole number of sequences of 2 timesteps")


def test_ids_are_integers(capsys, monkeypatch, tmp_path):
    model = make("embedding")
    wanted = model.predict(np.array([[3, 4, 10]]))
    code, got, _ = predict_csv(capsys, monkeypatch, tmp_path, model, "3,4.0,1e1\n")
    assert code == 0
    assert np.array_equal(got, wanted[0])
    assert np.array_equal(stream_csv(model, "3\n4.0\n1e1\n"), wanted[0])
    for wrong in ("1.5", "nan", "inf", "3000000000"):
        code, _, err = predict_csv(capsys, monkeypatch, tmp_path, model, f"a,b\n3,{wrong}\n")
        assert (code, err) == (2, f"line 2, column 'b': expected an integer id, got {wrong}")
        with pytest.raises(ValueError, match=f"line 2, column 'id': expected an integer id, got {wrong}"):
            stream_csv(model, f"id\n{wrong}\n")
    # Above 2**24 float32 has no room for every id.
    large = Sequential([unrolled.Input((None,)), layers.Embedding(2**24 + 4, 1)])
    table = np.zeros((2**24 + 4, 1), np.float32)
    table[2**24 + 1] = 7
    large.set_weights([table])
    code, got, _ = predict_csv(capsys, monkeypatch, tmp_path, large, f"{2**24 + 1}\n")
    assert (code, got.item()) == (0, 7)


def test_the_rule_stands_in_the_help_of_both_commands(capsys):
    for command in ("predict", "stream"):
        assert main([command, "--help"]) == 0
        assert RULE in capsys.readouterr().out


# Memory that the line of a pipe may take, in the process that reads it.
ENDLESS = r"""
import re, sys
from unrolled.cli import main
code = main(["stream", sys.argv[1]])
print(int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) // 1024, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="about the resident memory that Linux reports")
@pytest.mark.parametrize(
    ("piece", "message"),
    [(b"7" * 65536, "line 1: longer than 16 MiB"), (b"1," * 32768, "line 1: longer than 16 MiB")],
)
def test_a_line_without_an_end_takes_little_memory(piece, message):
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(MODEL)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(unrolled.__file__).parents[1])},
    )  # fmt: skip
    with process:
        for _ in range(1 << 12):  # 256 MiB
            try:
                process.stdin.write(piece)
            except BrokenPipeError:
                break
        else:
            pytest.fail("all of it was read")
        err = process.stderr.read().decode()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    assert process.returncode == 2
    first, megabytes = err.splitlines()
    assert first == f"unrolled: the standard input, {message}"
    assert int(megabytes) < 150


@pytest.mark.skipif(sys.platform != "linux", reason="about the resident memory that Linux reports")
def test_a_line_of_too_many_numbers_is_not_taken_apart():
    process = subprocess.run(
        [sys.executable, "-c", ENDLESS, str(MODEL)], input=b"1," * (7 << 20) + b"\n", capture_output=True,
        env=os.environ | {"PYTHONPATH": str(Path(unrolled.__file__).parents[1])}, check=False,
    )  # fmt: skip
    first, megabytes = process.stderr.decode().splitlines()
    assert "line 1: expected 1 numbers, one for each feature, got 7340033" in first
    assert int(megabytes) < 200
