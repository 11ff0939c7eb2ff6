# SPDX-License-Identifier: MIT
"""Softmax and the like inside a cell: no kernel fuses them, the steps run as operations."""

from __future__ import annotations

import numpy as np
import pytest

from tests.reference import activations as reference_activations
from tests.reference import recurrent as reference
from unrolled import layers

CELLS = {
    "SimpleRNN": (1, reference.simple_rnn_cell, 1),
    "LSTM": (4, reference.lstm_cell, 2),
    "GRU": (3, reference.gru_cell_reset_after, 1),
    "GRU before": (3, reference.gru_cell_reset_before, 1),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("activation", ["softmax", "log_softmax", "sparsemax"])
@pytest.mark.parametrize("masked", [False, True])
def test_cell_with_activation_along_its_units_matches_the_float64_reference(name, activation, masked):
    gates, step, state_count = CELLS[name]
    rng = np.random.default_rng(7)
    units, features = 5, 3
    bias_shape = (2, gates * units) if name == "GRU" else (gates * units,)
    shapes = ((features, gates * units), (units, gates * units), bias_shape)
    weights = [rng.normal(scale=0.5, size=shape).astype(np.float32) for shape in shapes]
    x = rng.normal(size=(4, 6, features)).astype(np.float32)
    mask = np.array([[1] * 6, [0, 0, 1, 1, 0, 1], [1, 1, 0, 0, 0, 0], [0] * 6], bool) if masked else None
    options = {} if "GRU" not in name else {"reset_after": name == "GRU"}
    layer = getattr(layers, name.split()[0])(units, activation=activation, return_sequences=True, **options)
    layer.build(x.shape)
    layer.set_weights(weights)
    got = layer(x, mask=mask)
    function = getattr(reference_activations, activation)
    expected, _ = reference.loop(
        lambda x_t, states: step(x_t, states, [w.astype(np.float64) for w in weights], activation=function),
        x.astype(np.float64),
        [np.zeros((4, units))] * state_count,
        mask=mask,
        return_sequences=True,
    )
    # log_softmax feeds back unbounded values: relative to them.
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)


def test_cell_with_activation_along_its_units_gives_the_same_bytes_row_by_row():
    x = np.random.default_rng(3).normal(size=(9, 7, 4)).astype(np.float32)
    layer = layers.LSTM(3, activation="softmax", recurrent_activation="softmax")
    whole = layer(x)
    alone = np.concatenate([layer(x[i : i + 1]) for i in range(9)])
    assert whole.tobytes() == alone.tobytes()


def test_cell_refuses_glu_which_halves_its_units():
    with pytest.raises(ValueError, match="glu halves the units"):
        layers.LSTM(4, activation="glu")
