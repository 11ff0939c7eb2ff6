# SPDX-License-Identifier: MIT
"""``unrolled bench`` and its module. No time is asserted: a test machine is never quiet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import unrolled
from unrolled.cli import main
from unrolled.cli.benchmark import benchmark, random_inputs

MODEL = Path(__file__).resolve().parents[1] / "examples" / "mackey_glass" / "mackey_glass.keras"


def test_the_command_prints_a_row_for_unrolled(capsys):
    code = main(["bench", str(MODEL), "--no-peers", "--seconds", "0.01", "--batch", "3", "--timesteps", "7"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert "(3, 7, 1)" in out
    (row,) = [line for line in out.splitlines() if line.startswith("unrolled ")]
    assert len(row.split()) == 5


def test_a_file_that_is_no_model_is_an_error(capsys, tmp_path):
    (tmp_path / "a.keras").write_bytes(b"nothing")
    assert main(["bench", str(tmp_path / "a.keras")]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_random_inputs_are_valid_indices_for_every_embedding():
    layers = unrolled.layers
    ids, numbers = unrolled.Input((None,), dtype="int32"), unrolled.Input((4, 2))
    joined = layers.Concatenate()([layers.GRU(3)(layers.Embedding(9, 2)(ids)), layers.LSTM(3)(numbers)])
    model = unrolled.Model([ids, numbers], joined)
    first, second = random_inputs(model, batch=50, timesteps=6)
    assert first.shape == (50, 6)
    assert first.dtype == np.int32
    assert 0 <= first.min() <= first.max() <= 8
    assert second.shape == (50, 4, 2)
    assert np.isfinite(model([first, second])).all()


def test_the_result_of_a_model_with_fixed_sizes_has_these_sizes():
    result = benchmark(MODEL, batch=2, timesteps=5, seconds=0.01, peers=False)
    assert result.shapes == [(2, 5, 1)]
    assert result.entries[0].calls > 0
