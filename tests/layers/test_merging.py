# SPDX-License-Identifier: MIT
"""Shapes of merged inputs."""

from __future__ import annotations

import numpy as np

from unrolled import Input, Model, layers


def test_a_size_that_one_merged_input_knows_is_known() -> None:
    a, b = Input((None, 5)), Input((5, None))
    total = layers.Add()([a, b])
    assert total.shape == (None, 5, 5)
    model = Model([a, b], layers.SimpleRNN(2)(total))
    assert model.predict([np.ones((2, 5, 5)), np.ones((2, 5, 5))], verbose=0).shape == (2, 2)
    assert layers.Add()([a, Input((1, 5))]).shape == (None, None, 5)
