# SPDX-License-Identifier: MIT
"""Small models for the tests of tables, with weights of their own, as files and in memory."""

from __future__ import annotations

import numpy as np

import unrolled
from tests.recipes import randomize_weights
from unrolled import layers


def forecaster(timesteps=5, features=3, units=1, *, sequences=False):
    """``(timesteps, features)`` in, ``(units,)`` or ``(timesteps, units)`` out."""
    unrolled.utils.clear_session()
    model = unrolled.Sequential(
        [
            unrolled.Input((timesteps, features), name="x"),
            layers.LSTM(6, return_sequences=sequences),
            layers.Dense(units),
        ]
    )
    randomize_weights(model, np.random.default_rng(3))
    return model


def two_inputs():
    """Inputs "series" (5, 3) and "code" (2,); a list of two outputs."""
    unrolled.utils.clear_session()
    series = unrolled.Input((5, 3), name="series")
    code = unrolled.Input((2,), name="code")
    state = layers.GRU(4)(series)
    both = layers.Concatenate()([state, code])
    model = unrolled.Model([series, code], [layers.Dense(2)(both), layers.Dense(1)(state)])
    randomize_weights(model, np.random.default_rng(4))
    return model


def series(rows, timesteps=5, features=3, seed=0):
    """Random float32 ``(rows, timesteps, features)``."""
    return np.random.default_rng(seed).normal(size=(rows, timesteps, features)).astype(np.float32)
