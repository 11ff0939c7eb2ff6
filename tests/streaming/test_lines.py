# SPDX-License-Identifier: MIT
"""``unrolled stream``: lines and frames in, outputs out as they come."""

from __future__ import annotations

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
        ("1,2,3,4,5\nx,2,3,4,5\n", "line 2: expected numbers"),
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
        assert process.communicate(b"123")[1].startswith(b"unrolled: the input ends 3 bytes into a frame")
        assert process.returncode == 2


def test_a_model_that_cannot_be_streamed_exits_with_1(monkeypatch, capsys):
    from unrolled import cli

    model = Sequential([unrolled.Input((None, 2)), layers.Bidirectional(layers.GRU(2))])
    monkeypatch.setattr(cli, "_load", lambda options: model)
    assert cli.main(["stream", "model.keras"]) == 1
    assert "Bidirectional" in capsys.readouterr().err
