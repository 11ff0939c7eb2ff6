# SPDX-License-Identifier: MIT
"""Models as a user of Keras knows them: building scripts, predict on anything array-like, weights, errors."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

import unrolled
from tests import fixtures
from tests.recipes import build_model
from tests.tolerances import assert_close
from unrolled import layers

RNG = np.random.default_rng(21)


def small_model():
    unrolled.utils.set_random_seed(5)
    return unrolled.Sequential(
        [unrolled.Input((6, 3)), layers.LSTM(5, return_sequences=True), layers.GRU(4), layers.Dense(2)]
    )


X = RNG.standard_normal((9, 6, 3)).astype(np.float32)


# ------------------------------------------------------------------------- scripts of Keras, run unchanged

SCRIPTS = {
    "deep_lstm": """
model = keras.models.Sequential([
    keras.layers.Input(shape=(60, 13)),
    keras.layers.LSTM(1024, return_sequences=True, name='LSTM_0'),
    keras.layers.LSTM(512, return_sequences=True, name='LSTM_1'),
    keras.layers.LSTM(256, return_sequences=True, name='LSTM_2'),
    keras.layers.LSTM(128, return_sequences=True, name='LSTM_3'),
    keras.layers.Flatten(),
    keras.layers.Dense(64, activation="swish"),
    keras.layers.Dense(1, activation="sigmoid"),
])
""",
    "simple_rnn_by_input_shape": """
model = keras.models.Sequential()
model.add(keras.layers.SimpleRNN(3, input_shape=(2, 10)))
""",
    "simple_rnn_by_input_length": """
from keras.models import Sequential
from keras.layers import SimpleRNN
model = Sequential()
model.add(SimpleRNN(3, input_length=2, input_dim=10))
""",
    "deep_simple_rnn": """
from keras.models import Sequential
from keras.layers import SimpleRNN, Dense
model = Sequential()
model.add(SimpleRNN(5, return_sequences=True, input_shape=(None, 4)))
model.add(SimpleRNN(4, return_sequences=True))
model.add(SimpleRNN(3))
model.add(Dense(1))
""",
    "bidirectional": """
from keras.models import Sequential
from keras.layers import Bidirectional, SimpleRNN
model = Sequential()
model.add(Bidirectional(SimpleRNN(8, return_sequences=True), input_shape=(10, 5)))
""",
    "batch_input_shape": """
model = keras.Sequential()
model.add(keras.layers.LSTM(3, stateful=True, batch_input_shape=(4, 5, 2)))
""",
    "functional": """
inputs = keras.Input(shape=(None,), dtype="int32")
x = keras.layers.Embedding(50, 8, mask_zero=True)(inputs)
x = keras.layers.Bidirectional(keras.layers.LSTM(6))(x)
model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
""",
}
PARAMETERS = {
    "deep_lstm": 4 * (1024 * 1038 + 512 * 1537 + 256 * 769 + 128 * 385) + 64 * (60 * 128 + 1) + 65,
    "simple_rnn_by_input_shape": 42,
    "simple_rnn_by_input_length": 42,
    "deep_simple_rnn": 5 * 10 + 4 * 10 + 3 * 8 + 4,
    "bidirectional": 2 * 8 * 14,
    "batch_input_shape": 4 * 3 * 6,
    "functional": 400 + 2 * 4 * 6 * 15 + 39,
}
OUTPUT_SHAPES = {
    "deep_lstm": (None, 1),
    "simple_rnn_by_input_shape": (None, 3),
    "simple_rnn_by_input_length": (None, 3),
    "deep_simple_rnn": (None, 1),
    "bidirectional": (None, 10, 16),
    "batch_input_shape": (4, 3),
    "functional": (None, 3),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_written_for_keras_runs_with_unrolled_in_its_place(name, monkeypatch):
    for module in ("", ".models", ".layers"):
        monkeypatch.setitem(sys.modules, f"keras{module}", sys.modules[f"unrolled{module}"])
    scope = types.SimpleNamespace(keras=unrolled).__dict__
    exec(SCRIPTS[name], scope)
    model = scope["model"]
    assert model.count_params() == PARAMETERS[name]
    assert tuple(model.output_shape) == OUTPUT_SHAPES[name]
    if name != "deep_lstm":
        shape = [n or 4 for n in model.input_shape]
        y = model.predict(np.ones(shape, model.inputs[0].dtype), verbose=0)
        assert y.shape == (shape[0], *OUTPUT_SHAPES[name][1:])
        assert np.isfinite(y).all()


@pytest.mark.parametrize(
    "fixture",
    [
        fixtures.fixture("keras3", name)
        for name in (
            "tutorial_simple_rnn_of_42_parameters",
            "tutorial_deep_simple_rnn",
            "tutorial_bidirectional_simple_rnn",
            "deep_lstm_with_flatten_and_dense",
            "functional_chain",
            "conv_pool_lstm_classifier",
            "sequence_autoencoder",
            "bidirectional_custom_backward_layer_masked_sum",
            "time_distributed_lstm_below_a_mask_of_three_axes",
            "lstm_stack_carries_the_mask",
            "gru_reset_before_stack_carries_the_mask",
        )
    ],
    ids=str,
)
def test_a_model_built_in_code_with_the_weights_of_keras_gives_the_numbers_of_keras(fixture):
    model = build_model(unrolled, fixture.recipe)
    model.set_weights(fixture.weights())
    x, (expected,) = fixture.calls()[0]
    assert_close(model.predict(x, verbose=0), expected)


def test_layers_may_be_added_one_by_one_and_taken_away():
    model = unrolled.Sequential()
    model.add(layers.SimpleRNN(4, return_sequences=True, input_shape=(6, 3)))
    model.add(layers.SimpleRNN(2))
    assert model.predict(X, verbose=0).shape == (9, 2)
    model.add(layers.Dense(7))
    assert model.predict(X, verbose=0).shape == (9, 7)
    model.pop()
    assert model.predict(X, verbose=0).shape == (9, 2)


def test_a_model_without_input_shape_is_built_by_its_first_input():
    for run in (lambda model: model(X), lambda model: model.predict(X, verbose=0)):
        model = unrolled.Sequential([layers.LSTM(4), layers.Dense(2)])
        with pytest.raises(ValueError, match="built"):
            model.load_weights("any.weights.h5")
        assert run(model).shape == (9, 2)
        assert model.count_params() == 4 * 4 * 8 + 10


def test_layers_are_found_by_name_and_index():
    model = unrolled.Sequential(
        [unrolled.Input((6, 3)), layers.LSTM(5, name="first"), layers.Dense(2, name="last")]
    )
    assert model.get_layer("last") is model.layers[1]
    assert model.get_layer(index=0).name == "first"
    with pytest.raises(ValueError, match="first"):
        model.get_layer("middle")


def test_what_does_not_fit_a_chain_is_an_error_when_it_is_added():
    model = unrolled.Sequential([unrolled.Input((6, 3)), layers.LSTM(5)])
    with pytest.raises(ValueError, match=r"rank 3.*\(None, 5\)"):
        model.add(layers.LSTM(4))
    with pytest.raises(TypeError):
        model.add("LSTM")


# --------------------------------------------------------------------------------------------- predict


@pytest.mark.parametrize(
    "convert",
    [
        np.ndarray.tolist,
        np.float64,
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x[:, :, ::-1].copy()[:, :, ::-1],
        lambda x: list(x),
        lambda x: x.astype(">f4"),
        lambda x: np.frombuffer(b"0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
    ],
    ids=[
        "nested lists",
        "float64",
        "fortran order",
        "strided",
        "reversed",
        "list of rows",
        "big endian",
        "unaligned",
    ],
)
def test_predict_takes_anything_array_like(convert):
    model = small_model()
    np.testing.assert_array_equal(model.predict(convert(X), verbose=0), model.predict(X, verbose=0))
    np.testing.assert_array_equal(model(convert(X)), model.predict(X, verbose=0))


def test_predict_takes_integers_and_bools():
    model = small_model()
    whole = RNG.integers(-3, 4, X.shape)
    np.testing.assert_array_equal(
        model.predict(whole, verbose=0), model.predict(np.float32(whole), verbose=0)
    )
    flags = whole > 0
    np.testing.assert_array_equal(
        model.predict(flags, verbose=0), model.predict(np.float32(flags), verbose=0)
    )


def test_ids_may_have_any_integer_dtype():
    model = unrolled.Sequential(
        [unrolled.Input((5,), dtype="int32"), layers.Embedding(100, 3), layers.LSTM(2)]
    )
    ids = RNG.integers(0, 100, (4, 5))
    expected = model.predict(ids.astype(np.int32), verbose=0)
    for dtype in (np.int8, np.uint8, np.int16, np.uint32, np.int64, np.float32):
        np.testing.assert_array_equal(model.predict(ids.astype(dtype), verbose=0), expected)


def test_predict_gives_a_fresh_array_every_time():
    model = small_model()
    first = model.predict(X, verbose=0)
    kept = first.copy()
    first[...] = 0
    np.testing.assert_array_equal(model.predict(X, verbose=0), kept)
    assert model.predict(X, verbose=0).flags.c_contiguous


def test_no_rows_give_no_rows():
    model = small_model()
    assert model.predict(X[:0], verbose=0).shape == (0, 2)
    assert model(X[:0]).shape == (0, 2)


def test_predict_does_not_write_to_its_input():
    model = small_model()
    x = X.copy()
    x.flags.writeable = False
    model.predict(x, verbose=0)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize(
    "bad",
    [
        X[0],
        X[:, :5],
        X[:, :, :2],
        X[..., None],
        np.zeros((2, 6, 3), "U3"),
        np.zeros((2, 6, 3), complex),
        None,
        "x",
    ],
    ids=["rank", "timesteps", "features", "more axes", "text", "complex", "None", "a word"],
)
def test_a_wrong_input_is_an_error_that_says_what_is_expected(bad):
    with pytest.raises((ValueError, TypeError), match=r"\(None, 6, 3\)|\(6, 3\)"):
        small_model().predict(bad, verbose=0)


def test_rows_of_different_lengths_are_an_error():
    with pytest.raises(ValueError, match=r"shape|inhomogeneous"):
        small_model().predict([[[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]], verbose=0)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5])
def test_a_batch_size_below_one_is_an_error(batch_size):
    with pytest.raises(ValueError, match="batch_size"):
        small_model().predict(X, batch_size=batch_size, verbose=0)


def test_not_a_number_and_infinity_go_through_as_in_numpy_without_touching_other_rows():
    model = small_model()
    x = X.copy()
    x[2, 3, 1] = np.nan
    x[4, 0, 0] = np.inf
    y, clean = model.predict(x, verbose=0), model.predict(X, verbose=0)
    assert np.isnan(y[2]).all()
    others = [0, 1, 3, 5, 6, 7, 8]
    np.testing.assert_array_equal(y[others], clean[others])


def test_any_length_means_any_length():
    model = unrolled.Sequential([unrolled.Input((None, 3)), layers.LSTM(5), layers.Dense(2)])
    for length in (1, 2, 17, 300):
        assert model.predict(np.zeros((2, length, 3)), verbose=0).shape == (2, 2)


def test_a_stateful_model_takes_batches_one_after_the_other():
    model = unrolled.Sequential([unrolled.Input((6, 3), batch_size=3), layers.LSTM(4, stateful=True)])
    x = X[:3]
    first, second = model.predict(x, verbose=0), model.predict(x, verbose=0)
    assert np.abs(first - second).max() > 1e-4
    model.reset_state()
    both = model.predict(np.concatenate([x, x]), batch_size=3, verbose=0)
    np.testing.assert_array_equal(both, np.concatenate([first, second]))


# --------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize(
    "name", ["format_h5_sequential", "format_keras_sequential", "format_json_sharded_sequential"]
)
def test_weights_of_any_kind_of_file_load_into_a_model_built_in_code(name):
    fixture = fixtures.fixture("keras3", name)
    model = build_model(unrolled, fixture.recipe)
    model.load_weights(fixture.weights_path or fixture.path)
    x, (expected,) = fixture.calls()[0]
    assert_close(model.predict(x, verbose=0), expected)


def test_weights_of_another_model_are_refused_and_change_nothing():
    fixture = fixtures.fixture("keras3", "format_keras_sequential")
    model = small_model()
    before = model.predict(X, verbose=0)
    with pytest.raises(unrolled.ModelFileError):
        model.load_weights(fixture.path)
    np.testing.assert_array_equal(model.predict(X, verbose=0), before)


def test_set_weights_of_a_model_refuses_what_does_not_fit_and_changes_nothing():
    model = small_model()
    before = model.get_weights()
    with pytest.raises(ValueError, match="8"):
        model.set_weights(before[:-1])
    with pytest.raises(ValueError, match=r"\(2,\)"):
        model.set_weights([*(w + 1 for w in before[:-1]), np.zeros(3)])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        unrolled.load_model(tmp_path / "none.keras")


def test_several_outputs_come_as_a_list_in_the_order_of_keras():
    fixture = fixtures.fixture("keras3", "lstm_return_sequences_and_state")
    model = unrolled.load_model(fixture.path)
    y = model.predict(fixture.calls()[0][0], verbose=0)
    assert isinstance(y, list)
    assert [array.ndim for array in y] == [3, 2, 2]
    np.testing.assert_array_equal(y[0][:, -1], y[1])


def test_initial_states_may_be_inputs_of_a_functional_model():
    entry = unrolled.Input((6, 3))
    states = [unrolled.Input((4,)), unrolled.Input((4,))]
    layer = layers.LSTM(4, return_state=True)
    model = unrolled.Model([entry, *states], layer(entry, initial_state=states))
    values = [RNG.standard_normal((9, 4)).astype(np.float32) for _ in range(2)]
    for a, b in zip(model.predict([X, *values], verbose=0), layer(X, initial_state=values), strict=True):
        np.testing.assert_array_equal(a, b)
