# SPDX-License-Identifier: MIT
"""Shapes of merged inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unrolled import Input, Model, layers
from unrolled.formats.config.versions import parse_version
from unrolled.layers import options


def test_a_size_that_one_merged_input_knows_is_known() -> None:
    a, b = Input((None, 5)), Input((5, None))
    total = layers.Add()([a, b])
    assert total.shape == (None, 5, 5)
    model = Model([a, b], layers.SimpleRNN(2)(total))
    assert model.predict([np.ones((2, 5, 5)), np.ones((2, 5, 5))], verbose=0).shape == (2, 2)
    assert layers.Add()([a, Input((1, 5))]).shape == (None, None, 5)


@pytest.mark.parametrize(("version", "combine"), [("3.15.1", np.any), ("2.15.0", np.all)])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_masks_of_single_elements_are_joined_and_reduced_along_the_features(
    version: str, combine: Any, axis: int
) -> None:
    random = np.random.default_rng(0)
    a, b = (random.normal(size=(2, 3, 4, 5)).astype(np.float32) for _ in range(2))
    elements, steps = random.random(a.shape) < 0.5, random.random((2, 3, 4)) < 0.5
    layer = layers.Concatenate(axis=axis)
    options.set_semantics(layer, parse_version(version).semantics)
    for mask, spread in ((elements, elements), (steps, np.repeat(steps[..., None], 5, -1)), (None, a == a)):
        joined = np.concatenate([elements, spread], axis)
        np.testing.assert_array_equal(layer.compute_mask([a, b], [elements, mask]), combine(joined, axis=-1))
