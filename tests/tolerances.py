# SPDX-License-Identifier: MIT
"""All tolerances of the numeric tests, each with its reason."""

from __future__ import annotations

import numpy as np

import unrolled

# (absolute, relative), by tolerance class.
TOLERANCES = {
    # Keras's float32 against ours: both round, in different orders of summation, over a few timesteps.
    "default": (1e-6, 1e-5),
    # The same over tens to hundreds of timesteps and units up to 1024: files of other people.
    "shared_models": (1e-5, 1e-4),
    # Keras computed in float16 or bfloat16: eight to eleven bits of precision.
    "sixteen_bits": (2e-2, 2e-2),
    # Keras's float32 against the float64 reference: one side rounds.
    "reference": (1e-6, 1e-5),
    # Random chains of up to five layers: exponential and relu layers amplify what came before.
    "oracle": (4e-6, 4e-5),
    # The same models, Keras's float32 against float64: this only has to show that the two mean the same.
    "oracle_reference": (1e-4, 1e-3),
}

# Without fused multiply-add every product rounds as every sum does.
ROUNDINGS = 2 if unrolled.isa() == "baseline" else 1


def assert_close(got, expected, tolerance="default", what=""):
    """Equal shapes, and numbers equal within the tolerance class; NaN equals NaN."""
    absolute, relative = (ROUNDINGS * bound for bound in TOLERANCES[tolerance])
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    np.testing.assert_allclose(got, expected, rtol=relative, atol=absolute, equal_nan=True, err_msg=what)
