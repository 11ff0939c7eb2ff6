# SPDX-License-Identifier: MIT
"""Have Keras write its models that read text, and their numbers, into ``tests/text/data``:

python -m tests.text.make_expected keras
python -m tests.text.make_expected tf_keras
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.text import recipes

DATA = Path(__file__).parent / "data"


def sentiment(keras: Any) -> Any:
    """A bidirectional model over words that adapt() found."""
    layers = keras.layers
    keras.utils.set_random_seed(7)
    words = layers.TextVectorization(max_tokens=60, output_sequence_length=12)
    words.adapt(recipes.STRINGS)
    return keras.Sequential(
        [
            keras.Input((1,), dtype="string"),
            words,
            layers.Embedding(60, 8, mask_zero=True),
            layers.Bidirectional(layers.LSTM(6)),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def branches(keras: Any) -> Any:
    """A functional model with vocabularies in assets: of a nested model, of integers, with weights."""
    layers = keras.layers
    keras.utils.set_random_seed(8)
    text, numbers = (
        keras.Input((), dtype="string", name="text"),
        keras.Input((3,), dtype="int64", name="numbers"),
    )
    weighted = layers.TextVectorization(output_mode="tf_idf", ngrams=2)
    characters = layers.TextVectorization(split="character", output_sequence_length=7)
    single = layers.StringLookup(num_oov_indices=3)
    known = layers.IntegerLookup(num_oov_indices=2)
    weighted.adapt(recipes.STRINGS[:6])
    characters.adapt(recipes.STRINGS[6:8])
    single.adapt(recipes.STRINGS[:2])
    known.adapt([3, 4, 5, 12])
    inner_text = keras.Input((), dtype="string")
    inner = keras.Model(inner_text, layers.GRU(4)(layers.Embedding(80, 5)(characters(inner_text))))
    y = layers.Concatenate()([layers.Dense(3)(weighted(text)), inner(text)])
    return keras.Model([text, numbers], [y, single(text), known(numbers)])


def outputs_of(keras: Any) -> dict[str, Any]:
    """By key, what each layer of the recipes gives."""
    import tensorflow as tf

    layers = keras.layers
    strings = tf.constant(recipes.STRINGS)[:, None]
    kinds: list[tuple[str, Any, list[dict[str, Any]], Any]] = [
        ("TextVectorization", layers.TextVectorization, recipes.VECTORIZATIONS, strings),
        ("StringLookup", layers.StringLookup, recipes.LOOKUPS, tf.constant(recipes.TOKENS)),
        ("IntegerLookup", layers.IntegerLookup, recipes.INTEGERS, tf.constant(recipes.NUMBERS, tf.int64)),
    ]
    if keras.__name__ == "keras":
        kinds += [
            ("Hashed", layers.IntegerLookup, recipes.HASHED, tf.constant(recipes.NUMBERS, tf.int64)),
            ("Salted", layers.StringLookup, recipes.SALTED, tf.constant(recipes.TOKENS)),
        ]
    return {
        f"{name}/{number}": np.asarray(make(**options)(given))
        for name, make, cases, given in kinds
        for number, options in enumerate(cases)
    }


def main(package: str) -> None:
    keras = importlib.import_module(package)
    DATA.mkdir(exist_ok=True)
    found = outputs_of(keras) | {"version": np.array(keras.__version__)}
    for name, make in (("sentiment", sentiment), ("branches", branches)):
        import tensorflow as tf

        model = make(keras)
        text = tf.constant(recipes.STRINGS)
        numbers = tf.constant((recipes.NUMBERS * 4)[: len(recipes.STRINGS)], tf.int64)
        results = model([text, numbers] if name == "branches" else text[:, None])
        with tempfile.TemporaryDirectory() as folder:
            model.save(f"{folder}/model.keras")
            (DATA / f"{name}_{package}.keras").write_bytes(Path(f"{folder}/model.keras").read_bytes())
        for index, result in enumerate(results if isinstance(results, list) else [results]):
            found[f"{name}/{index}"] = np.asarray(result)
    np.savez_compressed(DATA / f"expected_{package}.npz", **found)


if __name__ == "__main__":
    main(sys.argv[1])
