# SPDX-License-Identifier: MIT
"""Attention where query, value and key have features of different sizes, as Keras broadcasts them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from unrolled import layers
from unrolled.formats.config.versions import parse_version
from unrolled.layers import options
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
    options.set_semantics(layer, replace(KERAS_3, additive_attention_scales=which))
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


@pytest.mark.parametrize("policy", ["float32", "float64"])
@pytest.mark.parametrize("name", ["Attention", "AdditiveAttention"])
def test_rows_without_anything_allowed_follow_their_scores_in_float64_only(policy: str, name: str) -> None:
    """Keras subtracts 1e9 from every score of such a row, which float64 survives and float32 does not."""
    x = array(2, 4, 3)
    mask = np.array([[False, False, True, True], [True] * 4])  # padded left: two causal rows see nothing
    layer = getattr(layers, name)(use_scale=False, dtype=policy)
    got = layer([x, x], mask=[None, mask], use_causal_mask=True)
    scores = x @ x.transpose(0, 2, 1) if name == "Attention" else np.tanh(x[:, :, None] + x[:, None]).sum(-1)
    allowed = np.tril(np.ones((4, 4), bool)) & mask[:, None]
    nothing = ~allowed.any(-1, keepdims=True)
    assert nothing.sum() == 2
    scores = np.where(allowed, scores, np.where(nothing, scores if policy == "float64" else 0.0, -1e9))
    np.testing.assert_allclose(got, attended(scores, x), atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "float64"])
def test_a_softmax_before_keras_3_10_follows_the_scores_of_rows_without_anything_allowed_in_float64_only(
    policy: str,
) -> None:
    x = array(2, 3, 4)
    mask = np.array([[False] * 4, [True, False, True, False], [True] * 4])
    layer = layers.Softmax(dtype=policy)
    options.set_semantics(layer, replace(KERAS_3, softmax_zeroes_masked_rows=False))
    got = layer(x, mask=np.broadcast_to(mask, x.shape))
    row = x[:, :1] if policy == "float64" else np.zeros((2, 1, 4))
    scores = np.concatenate([row, np.where(mask, x, -1e9)[:, 1:]], 1)
    np.testing.assert_allclose(got, attended(scores, np.eye(4)), atol=1e-6)


def test_multi_head_attention_of_old_files_follows_the_scores_of_rows_without_anything_allowed_in_float64() -> (
    None
):
    x = np.array([[[1.0], [0.5]]], np.float32)
    nothing = np.zeros((1, 2, 2), bool)
    for policy, weight in (("float64", np.exp(1.0) / (np.exp(1.0) + np.exp(0.5))), ("float32", 0.5)):
        layer = layers.MultiHeadAttention(1, 1, use_bias=False, dtype=policy)
        options.set_semantics(layer, parse_version("3.6.0").semantics)
        layer.build([x.shape, x.shape])
        layer.set_weights([np.ones(w.shape) for w in layer.weights])
        got = layer(x, x, attention_mask=nothing)[0, 0, 0]
        np.testing.assert_allclose(got, weight + (1 - weight) * 0.5, atol=1e-6)
