# SPDX-License-Identifier: MIT
"""Attention where query, value and key have features of different sizes, as Keras broadcasts them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from unrolled import layers
from unrolled.layers import registry
from unrolled.semantics import KERAS_3

RANDOM = np.random.default_rng(0)


def array(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


def attended(scores: Any, value: Any) -> Any:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value


@pytest.mark.parametrize(("query_size", "key_size"), [(1, 3), (3, 1), (3, 3)])
@pytest.mark.parametrize("which", ["query", "value"])
def test_additive_attention_broadcasts_features_of_size_one(
    query_size: int, key_size: int, which: str
) -> None:
    query, value, key = array(2, 4, query_size), array(2, 5, 3), array(2, 5, key_size)
    layer = layers.AdditiveAttention()
    registry.set_semantics(layer, replace(KERAS_3, additive_attention_scales=which))
    layer.build([query.shape, value.shape, key.shape])
    assert layer.scale.shape == (query_size if which == "query" else 3,)
    scale = array(*layer.scale.shape)
    layer.set_weights([scale])
    scores = (scale * np.tanh(query[:, :, None] + key[:, None])).sum(-1)
    np.testing.assert_allclose(layer([query, value, key]), attended(scores, value), atol=1e-6)


def test_attention_by_sums_broadcasts_features_of_size_one() -> None:
    query, value = array(2, 4, 1), array(2, 5, 3)
    scores = np.tanh(query[:, :, None] + value[:, None]).sum(-1)
    np.testing.assert_allclose(
        layers.Attention(score_mode="concat")([query, value]), attended(scores, value), atol=1e-6
    )
