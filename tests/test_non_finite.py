# SPDX-License-Identifier: MIT
"""What docs/precision.md says of NaN, infinities and huge numbers: where Keras 3 on TensorFlow gives something else."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from unrolled import layers

NAN, INF = np.nan, np.inf
HUGE = 1e30
# Layer, its input, what it gives here, what Keras gives.
DIFFERENT: list[tuple[str, dict[str, Any], Any, Any, Any]] = [
    ("Activation", {"activation": "softsign"}, [[INF, -INF]], [[1, -1]], [[NAN, NAN]]),
    ("Activation", {"activation": "gelu"}, [[-INF]], [[0]], [[NAN]]),
    ("Activation", {"activation": "silu"}, [[-INF]], [[0]], [[NAN]]),
    ("Activation", {"activation": "hard_silu"}, [[-INF]], [[0]], [[NAN]]),
    ("Activation", {"activation": "mish"}, [[-INF]], [[0]], [[NAN]]),
    ("Activation", {"activation": "squareplus"}, [[-INF, HUGE]], [[0, HUGE]], [[NAN, INF]]),
    ("Activation", {"activation": "soft_shrink"}, [[NAN]], [[NAN]], [[0]]),
    ("Activation", {"activation": "hard_shrink"}, [[NAN]], [[NAN]], [[0]]),
    ("Activation", {"activation": "softmax"}, [[NAN, 1, 2]], [[NAN] * 3], [[NAN, 0, 0]]),
    ("Activation", {"activation": "softmax"}, [[INF, 1, 2]], [[NAN] * 3], [[NAN, 0, 0]]),
    ("Activation", {"activation": "sparsemax"}, [[NAN, 1, 2]], [[NAN, 0, 1]], [[NAN, INF, INF]]),
    ("MaxPooling1D", {"pool_size": 2}, [[[1], [NAN]]], [[[NAN]]], [[[1]]]),
    ("MaxPooling1D", {"pool_size": 2}, [[[-INF], [-INF]]], [[[-INF]]], [[[-np.finfo(np.float32).max]]]),
    ("LayerNormalization", {}, [[HUGE, -HUGE]], [[1, -1]], [[0, 0]]),
    ("GroupNormalization", {"groups": 1}, [[HUGE, -HUGE]], [[1, -1]], [[0, 0]]),
    ("UnitNormalization", {}, [[HUGE, -HUGE]], [[0.5**0.5, -(0.5**0.5)]], [[0, 0]]),
    ("RMSNormalization", {}, [[HUGE, -HUGE]], [[1, -1]], [[0, 0]]),
]
every_difference = pytest.mark.parametrize(
    ("name", "config", "x", "ours", "theirs"),
    DIFFERENT,
    ids=[f"{row[0]}-{row[1]}-{row[2]}" for row in DIFFERENT],
)


@every_difference
def test_what_the_table_says_of_this_library_holds(
    name: str, config: Any, x: Any, ours: Any, theirs: Any
) -> None:
    got = getattr(layers, name)(**config)(np.array(x, np.float32))
    np.testing.assert_allclose(got, ours, rtol=1e-5, atol=1e-30)


@pytest.mark.filterwarnings("ignore")
@every_difference
def test_what_the_table_says_of_keras_holds(name: str, config: Any, x: Any, ours: Any, theirs: Any) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras = pytest.importorskip("keras")
    pytest.importorskip("tensorflow")
    got = getattr(keras.layers, name)(**config)(np.array(x, np.float32))
    np.testing.assert_allclose(np.asarray(got), theirs, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize(
    "name", ["relu", "elu", "selu", "sigmoid", "tanh", "softplus", "exponential", "log_sigmoid"]
)
def test_activations_that_the_table_does_not_name_give_limits_and_pass_nan_on(name: str) -> None:
    limits = {
        "relu": (0, INF), "elu": (-1, INF), "selu": (-1.0507009873 * 1.6732632423, INF), "sigmoid": (0, 1),
        "tanh": (-1, 1), "softplus": (0, INF), "exponential": (0, INF), "log_sigmoid": (-INF, 0),
    }  # fmt: skip
    got = layers.Activation(name)(np.array([[-INF, INF, NAN]], np.float32))[0]
    np.testing.assert_allclose(got, [*limits[name], NAN], rtol=1e-6, atol=1e-30)
