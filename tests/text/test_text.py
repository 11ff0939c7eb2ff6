# SPDX-License-Identifier: MIT
"""Models and layers that read text give what Keras gives, and say what is wrong with an input or a file."""

from __future__ import annotations

import copy
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from tests.text import recipes
from unrolled import Input, Model, Sequential, UnsupportedModelError, layers

DATA = Path(__file__).parent / "data"
KERAS = ["keras", "tf_keras"]
TEXT = np.array(recipes.STRINGS, dtype=object)
NUMBERS = np.array((recipes.NUMBERS * 4)[: len(recipes.STRINGS)])


def expected_of(package: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f"expected_{package}.npz") as file:
        return {key: file[key] for key in file.files if key != "version"}


CASES = [
    (kind, number, options)
    for kind, cases in (
        ("TextVectorization", recipes.VECTORIZATIONS),
        ("StringLookup", recipes.LOOKUPS),
        ("IntegerLookup", recipes.INTEGERS),
        ("Hashed", recipes.HASHED),
        ("Salted", recipes.SALTED),
    )
    for number, options in enumerate(cases)
]
CLASSES = {"Hashed": "IntegerLookup", "Salted": "StringLookup"}


@pytest.mark.parametrize("package", KERAS)
@pytest.mark.parametrize(("kind", "number", "options"), CASES)
def test_a_layer_gives_what_keras_gave(kind: str, number: int, options: dict[str, Any], package: str) -> None:
    expected = expected_of(package).get(f"{kind}/{number}")
    if expected is None:
        assert package == "tf_keras"
        assert kind in ("Hashed", "Salted")
        return
    name = CLASSES.get(kind, kind)
    given = {
        "TextVectorization": TEXT[:, None],
        "StringLookup": recipes.TOKENS,
        "IntegerLookup": recipes.NUMBERS,
    }[name]
    layer = getattr(layers, name)(**options)
    np.testing.assert_array_equal(layer(given if name != "IntegerLookup" else np.array(given)), expected)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("package", KERAS)
def test_a_sentiment_model_gives_what_keras_gave(package: str) -> None:
    model = unrolled.load_model(DATA / f"sentiment_{package}.keras")
    expected = expected_of(package)["sentiment/0"]
    for text in (recipes.STRINGS, TEXT, TEXT[:, None], np.array(recipes.STRINGS), [s.encode() for s in TEXT]):
        np.testing.assert_allclose(model.predict(text), expected, rtol=0, atol=1e-6)
    got = model.predict(TEXT)
    for same in (model(TEXT), model.predict(TEXT, batch_size=2), model.predict(TEXT, verbose=0)):
        np.testing.assert_array_equal(same, got)
    np.testing.assert_array_equal(model.predict(TEXT[:1]), got[:1])
    assert model.predict(TEXT[:0]).shape == (0, 1)


@pytest.mark.parametrize("package", KERAS)
def test_a_graph_of_lookups_gives_what_keras_gave(package: str) -> None:
    model = unrolled.load_model(DATA / f"branches_{package}.keras")
    expected = expected_of(package)
    for index, got in enumerate(model.predict([TEXT, NUMBERS])):
        np.testing.assert_allclose(got, expected[f"branches/{index}"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("package", KERAS)
def test_copies_and_pickles_of_a_text_model_give_the_same(package: str) -> None:
    model = unrolled.load_model(DATA / f"sentiment_{package}.keras")
    want = model.predict(TEXT)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(TEXT), want)


@pytest.mark.parametrize("package", KERAS)
def test_a_saved_text_model_gives_the_same(package: str, tmp_path: Path) -> None:
    model = unrolled.load_model(DATA / f"sentiment_{package}.keras")
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        unrolled.load_model(tmp_path / "model.keras").predict(TEXT), model.predict(TEXT)
    )


def test_weights_of_tokens_are_not_saved(tmp_path: Path) -> None:
    model = unrolled.load_model(DATA / "branches_keras.keras")
    with pytest.raises(UnsupportedModelError, match="tf_idf"):
        model.save(tmp_path / "model.keras")


def test_ids_become_strings_again() -> None:
    x = Input((2,), dtype="int32")
    model = Model(x, layers.StringLookup(vocabulary=["да", "nein"], mask_token="", invert=True)(x))
    assert model.predict([[0, 1], [2, 3], [4, -1]]).tolist() == [
        ["", "[UNK]"],
        ["да", "nein"],
        ["[UNK]", "[UNK]"],
    ]


def text_model(**options: Any) -> Model:
    first = layers.TextVectorization(vocabulary=["a", "b"], name="words", **options)
    return Sequential([Input((1,), dtype="string"), first, layers.Embedding(4, 3), layers.LSTM(2)])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "expected strings"),
        (np.zeros((2, 1)), "expected strings"),
        (["a", None], "NoneType"),
        ([["a", "b"]], "expected strings of shape"),
        (["\ud800"], "surrogate"),
    ],
)
def test_an_input_that_is_no_text_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text_model().predict(value)


def test_text_for_other_layers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'bad' \(Dense\): expected numbers, got text"):
        layers.Dense(2, name="bad")(Input((1,), dtype="string"))
    with pytest.raises(ValueError, match=r"'bad' \(TextVectorization\): expected text"):
        layers.TextVectorization(vocabulary=["a"], name="bad")(Input((1,)))
    x = Input((1,), dtype="string")
    with pytest.raises(ValueError, match="input of text"):
        Model(x, x).predict(["a"])
    with pytest.raises(ValueError, match="expected numbers"):
        Sequential([Input((1,)), layers.Dense(2)]).predict([["a"]])


def test_streams_refuse_text_and_say_why() -> None:
    with pytest.raises(unrolled.StreamError, match="reads text"):
        text_model().stream()
    x = Input((None,), dtype="int32")
    model = Model(x, layers.IntegerLookup(vocabulary=[1], num_oov_indices=2)(x))
    with pytest.raises(unrolled.StreamError, match="looks words up in Python"):
        model.stream()


def test_a_word_without_an_index_is_refused() -> None:
    with pytest.raises(ValueError, match="not in the vocabulary"):
        layers.StringLookup(vocabulary=["a"], num_oov_indices=0)([["b"]])


def test_a_sequential_without_input_reads_text() -> None:
    model = Sequential([layers.TextVectorization(vocabulary=["a", "b"], output_mode="count")])
    assert model.predict(["a b a", "c"]).tolist() == [[0, 2, 1], [1, 0, 0]]


def changed(member: str, content: bytes | None) -> bytes:
    """The sentiment model with another member, or without it."""
    target = io.BytesIO()
    with zipfile.ZipFile(DATA / "sentiment_keras.keras") as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if name != member:
                new.writestr(name, old.read(name))
        if content is not None:
            new.writestr(member, content)
    return target.getvalue()


def test_a_file_without_its_vocabulary_says_what_to_do() -> None:
    member = "assets/layers/text_vectorization/vocabulary.txt"
    with pytest.raises(UnsupportedModelError, match=r"vocabulary.*feed it ids"):
        unrolled.load_model(changed(member, None))
    with pytest.raises(unrolled.ModelFileError, match="UTF-8"):
        unrolled.load_model(changed(member, b"\n[UNK]\n\xff"))
    windows = changed(
        member, zipfile.ZipFile(DATA / "sentiment_keras.keras").read(member).replace(b"\n", b"\r\n")
    )
    np.testing.assert_allclose(
        unrolled.load_model(windows).predict(TEXT), expected_of("keras")["sentiment/0"], rtol=0, atol=1e-6
    )
