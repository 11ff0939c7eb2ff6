# SPDX-License-Identifier: MIT
"""Random models for tests of concurrency: masks, stacked cells, both directions lowered apart, merges, states."""

from __future__ import annotations

import numpy as np

import unrolled
from unrolled import layers

CELLS = (layers.SimpleRNNCell, layers.GRUCell, layers.LSTMCell)
RECURRENT = (layers.SimpleRNN, layers.GRU, layers.LSTM)


def random_model(seed, *, hidden=6):
    """A model of random shape and weights, and an input for it, ``[batch, timesteps, features]``.

    Parameters
    ----------
    seed : int
        Decides on everything.
    hidden : int
        The most units of a layer.
    """
    rng = np.random.default_rng(seed)
    timesteps, features = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    x = rng.standard_normal((int(rng.integers(1, 6)), timesteps, features)).astype(np.float32)
    tensor = entry = unrolled.Input((timesteps, features))
    if rng.random() < 0.7:
        tensor = layers.Masking(0.0)(tensor)
        x[rng.random(x.shape[:2]) < 0.4] = 0.0
    if seed % 2:  # many layers whose directions are lowered apart, where threads most likely meet
        for _ in range(int(rng.integers(2, 6))):
            cells = [cell(int(rng.integers(1, 4))) for cell in rng.choice(CELLS, 3)]
            tensor = layers.Bidirectional(layers.RNN(cells, return_sequences=True), merge_mode="sum")(tensor)
    else:
        for _ in range(int(rng.integers(1, 4))):
            tensor = _recurrent(rng, hidden)(tensor)
    if rng.random() < 0.3:
        tensor = layers.Concatenate()([tensor, layers.TimeDistributed(layers.Dense(2))(tensor)])
    last = layers.Bidirectional(layers.GRU(3)) if rng.random() < 0.5 else layers.LSTM(3)
    outputs = layers.Dense(2, activation="tanh")(last(tensor))
    model = unrolled.Model(entry, outputs if rng.random() < 0.7 else [outputs, tensor])
    model.set_weights(random_weights(model, seed))
    return model, x


def random_weights(model, seed):
    """Weights of order 1, another set for every seed."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(w.shape).astype(np.float32) * 0.5 for w in model.weights]


def _recurrent(rng, hidden):
    units = int(rng.integers(1, hidden + 1))
    kind = rng.integers(0, 6)
    options = {"return_sequences": True, "zero_output_for_mask": bool(rng.random() < 0.5)}
    if kind == 0:
        return rng.choice(RECURRENT)(units, **options)
    if kind == 1:
        return layers.RNN([cell(units) for cell in rng.choice(CELLS, 2)], **options)
    # In both directions: as one sweep, or apart where cells are stacked, unrolled under a mask, or go along
    # the units.
    inner = {
        2: lambda: rng.choice(RECURRENT)(units, **options),
        3: lambda: layers.RNN([cell(units) for cell in rng.choice(CELLS, 2)], **options),
        4: lambda: layers.GRU(units, unroll=True, **options),
        5: lambda: layers.SimpleRNN(units, activation="softmax", **options),
    }[int(kind)]()
    return layers.Bidirectional(inner, merge_mode=str(rng.choice(["concat", "sum", "ave"])))


def as_bytes(y):
    return [part.tobytes() for part in (y if isinstance(y, list) else [y])]
