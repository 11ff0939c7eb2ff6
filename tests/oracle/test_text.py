# SPDX-License-Identifier: MIT
"""Random strings through layers that read text, against live Keras; saved models of them in Keras."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from tests.text import recipes
from unrolled import layers
from unrolled.layers.text.hashing import farmhash64, siphash
from unrolled.layers.text.words import split_words

tf = pytest.importorskip("tensorflow")

MODES: list[dict[str, Any]] = [
    {},
    {"split": "character"},
    {"standardize": None, "output_sequence_length": 6},
    {"ngrams": 3},
    {"output_mode": "count", "ngrams": (2,)},
    {"output_mode": "multi_hot", "split": "character", "standardize": "lower"},
]


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
@pytest.mark.parametrize("options", MODES, ids=str)
def test_random_strings_give_the_ids_of_keras(options: dict[str, Any], package: str) -> None:
    keras = pytest.importorskip(package)
    strings = recipes.random_strings(3, 200)
    adapted = keras.layers.TextVectorization(**options)
    adapted.adapt(strings[:100])
    layer = layers.TextVectorization(vocabulary=adapted.get_vocabulary(), **options)
    assert layer.get_vocabulary() == list(adapted.get_vocabulary())
    np.testing.assert_array_equal(layer(strings), np.asarray(adapted(tf.constant(strings)[:, None])))


def test_random_bytes_split_and_hash_as_in_tensorflow() -> None:
    draw = np.random.default_rng(5)
    texts = [draw.bytes(size) for size in range(200)]
    buckets = tf.strings.to_hash_bucket_fast(texts, 2**62).numpy().tolist()
    assert [farmhash64(text) % 2**62 for text in texts] == buckets
    salted = tf.strings.to_hash_bucket_strong(texts, 2**62, key=[2**63 - 1, 7]).numpy().tolist()
    assert [siphash(text, (2**63 - 1, 7)) % 2**62 for text in texts] == salted
    assert [split_words(text, "whitespace") for text in texts] == tf.strings.split(texts).to_list()
    assert [split_words(text, "character") for text in texts] == tf.strings.unicode_split(
        texts, "UTF-8"
    ).to_list()


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_keras_loads_a_text_model_that_was_saved(package: str, tmp_path: Path) -> None:
    keras = importlib.import_module("keras")
    data = Path(__file__).parents[1] / "text" / "data"
    model = unrolled.load_model(data / f"sentiment_{package}.keras")
    model.save(tmp_path / "model.keras")
    strings = recipes.random_strings(4, 20)
    expected = keras.models.load_model(tmp_path / "model.keras")(tf.constant(strings)[:, None])
    np.testing.assert_allclose(model.predict(strings), np.asarray(expected), rtol=0, atol=1e-6)
