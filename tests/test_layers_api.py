# SPDX-License-Identifier: MIT
"""Layers as a user of Keras knows them: called on arrays, their weights, states, shapes and configs."""

from __future__ import annotations

import numpy as np
import pytest

import unrolled
from tests.reference.model import Chain
from tests.tolerances import assert_close
from unrolled import initializers, layers, utils

RNG = np.random.default_rng(20)
X = RNG.standard_normal((4, 6, 3)).astype(np.float32)


def build_random(layer, shape, seed=0):
    """Build the layer and give it random weights."""
    rng = np.random.default_rng(seed)
    layer.build(shape)
    layer.set_weights([0.5 * rng.standard_normal(w.shape) for w in layer.get_weights()])
    return layer


# ------------------------------------------------------------------ literal numbers, from Keras's own tests


def constant(value):
    return initializers.Constant(value)


def test_simple_rnn_with_constant_weights_gives_the_numbers_in_the_tests_of_keras():
    # keras 3.15 layers/rnn/simple_rnn_test.py, test_correctness
    sequence = np.arange(24).reshape((2, 3, 4)).astype("float32")
    layer = layers.SimpleRNN(
        4,
        kernel_initializer=constant(0.01),
        recurrent_initializer=constant(0.02),
        bias_initializer=constant(0.03),
    )
    expected = [[0.405432] * 4, [0.73605347] * 4]
    np.testing.assert_allclose(layer(sequence), expected, rtol=1e-5)


def test_lstm_with_constant_weights_gives_the_numbers_in_the_tests_of_keras():
    # keras 3.15 layers/rnn/lstm_test.py, test_correctness
    sequence = np.arange(72).reshape((3, 6, 4)).astype("float32")
    layer = layers.LSTM(
        3,
        kernel_initializer=constant(0.01),
        recurrent_initializer=constant(0.02),
        bias_initializer=constant(0.03),
    )
    expected = [[0.6288687] * 3, [0.86899155] * 3, [0.9460773] * 3]
    np.testing.assert_allclose(layer(sequence), expected, rtol=1e-5)


def test_gru_with_constant_weights_gives_the_numbers_in_the_tests_of_keras():
    # keras 3.15 layers/rnn/gru_test.py, test_correctness
    sequence = np.arange(72).reshape((3, 6, 4)).astype("float32")
    layer = layers.GRU(
        3,
        kernel_initializer=constant(0.01),
        recurrent_initializer=constant(0.02),
        bias_initializer=constant(0.03),
    )
    expected = [[0.5217289] * 3, [0.6371659] * 3, [0.39384964] * 3]
    np.testing.assert_allclose(layer(sequence), expected, rtol=1e-5)


# ------------------------------------------------------------------------------------------ calls on arrays


@pytest.mark.parametrize("cell", ["SimpleRNN", "LSTM", "GRU"])
def test_a_recurrent_layer_called_on_arrays_runs_at_once_with_states_and_mask(cell):
    recipe = {"class": cell, "units": 5, "return_sequences": True, "return_state": True}
    layer = build_random(getattr(layers, cell)(5, return_sequences=True, return_state=True), X.shape)
    states = [RNG.standard_normal((4, 5)) for _ in range(2 if cell == "LSTM" else 1)]
    mask = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]], bool)
    got = layer(X, initial_state=states, mask=mask)
    expected = Chain([recipe], layer.get_weights())(X, mask=mask, initial_state=states)
    assert len(got) == len(expected)
    for y, want in zip(got, expected, strict=True):
        assert y.dtype == np.float32
        assert_close(y, want)
    # A fully masked row keeps its states and gives zeros.
    np.testing.assert_array_equal(got[1][3], np.float32(states[0][3]))
    np.testing.assert_array_equal(got[0][3], 0)


def test_a_lone_initial_state_need_not_be_in_a_list():
    layer = build_random(layers.GRU(5), X.shape)
    state = RNG.standard_normal((4, 5)).astype(np.float32)
    np.testing.assert_array_equal(layer(X, initial_state=state), layer(X, initial_state=[state]))


def test_the_mask_may_hold_numbers():
    layer = build_random(layers.LSTM(4), X.shape)
    mask = np.array([[1, 1, 0, 1, 0, 0]] * 4)
    np.testing.assert_array_equal(layer(X, mask=mask), layer(X, mask=mask.astype(bool)))


def test_bidirectional_called_on_arrays_takes_states_of_both_directions():
    inner = {"class": "LSTM", "units": 4, "return_sequences": True, "return_state": True}
    layer = layers.Bidirectional(layers.LSTM(4, return_sequences=True, return_state=True), merge_mode="sum")
    build_random(layer, X.shape)
    states = [RNG.standard_normal((4, 4)) for _ in range(4)]
    got = layer(X, initial_state=states)
    chain = Chain([{"class": "Bidirectional", "layer": inner, "merge_mode": "sum"}], layer.get_weights())
    for y, want in zip(got, chain(X, initial_state=states), strict=True):
        assert_close(y, want)


@pytest.mark.parametrize(
    "convert",
    [np.ndarray.tolist, np.float64, lambda x: np.asfortranarray(x), lambda x: x[:, ::-1][:, ::-1]],
    ids=["list", "float64", "fortran_order", "negative_strides"],
)
def test_a_layer_takes_anything_array_like(convert):
    layer = build_random(layers.SimpleRNN(5), X.shape)
    np.testing.assert_array_equal(layer(convert(X)), layer(X))


def test_a_layer_never_changes_its_inputs_nor_shares_memory_with_its_outputs():
    for layer in (layers.Dropout(0.5), layers.Masking(), layers.Flatten(), layers.Activation("linear")):
        before = X.copy()
        y = layer(X)
        assert not np.shares_memory(y, X)
        y[...] = 7
        np.testing.assert_array_equal(X, before)


def test_training_false_is_what_runs_anyway_and_true_is_refused_where_it_matters():
    dropout = layers.Dropout(0.5)
    np.testing.assert_array_equal(dropout(X, training=False), X)
    with pytest.raises(ValueError, match="training"):
        dropout(X, training=True)


# -------------------------------------------------------------------------------------------- wrong inputs


def test_a_wrong_rank_is_an_error_that_names_layer_and_shape():
    layer = layers.LSTM(4, name="encoder")
    with pytest.raises(ValueError, match=r"encoder.*LSTM.*rank 3.*\(2, 3\)"):
        layer(np.zeros((2, 3), np.float32))


def test_a_wrong_number_of_features_is_an_error_that_names_both_numbers():
    layer = build_random(layers.LSTM(4, name="encoder"), (None, None, 3))
    with pytest.raises(ValueError, match=r"encoder.*3.*\(2, 6, 5\)"):
        layer(np.zeros((2, 6, 5), np.float32))


def test_wrong_initial_states_are_an_error():
    layer = build_random(layers.LSTM(4, name="encoder"), X.shape)
    with pytest.raises(ValueError, match=r"encoder.*2 initial states.*1"):
        layer(X, initial_state=[np.zeros((4, 4), np.float32)])
    with pytest.raises(ValueError, match=r"initial state.*\(4, 4\).*\(4, 5\)"):
        layer(X, initial_state=[np.zeros((4, 5), np.float32)] * 2)
    with pytest.raises(ValueError, match=r"initial state.*\(4, 4\).*\(3, 4\)"):
        layer(X, initial_state=[np.zeros((3, 4), np.float32)] * 2)


def test_several_masks_for_one_input_are_an_error():
    x, mask = np.ones((2, 3, 4), np.float32), np.ones((2, 3), bool)
    with pytest.raises(ValueError, match="the structure of mask does not match the inputs"):
        layers.GRU(2)(x, mask=[mask, mask])


def test_a_mask_of_another_shape_is_an_error():
    layer = build_random(layers.LSTM(4), X.shape)
    with pytest.raises(ValueError, match=r"mask.*\(4, 6\).*\(4, 5\)"):
        layer(X, mask=np.ones((4, 5), bool))


def test_no_timesteps_is_an_error_as_in_keras_and_no_rows_is_not():
    layer = build_random(layers.LSTM(4), X.shape)
    with pytest.raises(ValueError, match="timestep"):
        layer(np.zeros((2, 0, 3), np.float32))
    assert layer(np.zeros((0, 6, 3), np.float32)).shape == (0, 4)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: layers.LSTM(0), "units"),
        (lambda: layers.LSTM(-3), "units"),
        (lambda: layers.LSTM(2.5), "units"),
        (lambda: layers.LSTM(4, activation="tahn"), "tahn"),
        (lambda: layers.Bidirectional(layers.LSTM(4), merge_mode="max"), "merge_mode"),
        (lambda: layers.Bidirectional(layers.Dense(4)), "Dense"),
        (lambda: layers.Conv1D(4, 3, padding="full"), "padding"),
        (lambda: layers.Dense(4, activatoin="relu"), "activatoin"),
        (lambda: layers.Embedding(0, 4), "input_dim"),
    ],
    ids=[
        "no units", "negative units", "fractional units", "misspelt activation", "unknown merge mode",
        "nothing recurrent inside", "unknown padding", "misspelt argument", "no ids",
    ],
)  # fmt: skip
def test_a_wrong_argument_is_an_error_that_names_it(make, word):
    with pytest.raises((ValueError, TypeError), match=word):
        make()


def test_two_directions_of_unequal_options_are_refused():
    with pytest.raises(ValueError, match="go_backwards"):
        layers.Bidirectional(layers.LSTM(4), backward_layer=layers.LSTM(4))
    with pytest.raises(ValueError, match="return_sequences"):
        layers.Bidirectional(
            layers.LSTM(4), backward_layer=layers.LSTM(4, go_backwards=True, return_sequences=True)
        )


@pytest.mark.parametrize("bad", [7, -1, 10**6])
def test_an_id_outside_of_the_table_is_an_error(bad):
    layer = build_random(layers.Embedding(7, 2), (None, None))
    assert layer(np.array([[0, 6]])).shape == (1, 2, 2)
    with pytest.raises(ValueError, match=f"id {bad} .*7 rows"):
        layer(np.array([[0, bad]]))


# ------------------------------------------------------------------------------------------------- weights


def test_weights_have_the_names_and_manners_of_keras():
    dense = layers.Dense(2)
    dense.build((None, 3))
    assert dense.kernel.shape == (3, 2)
    dense.kernel.assign(np.arange(6).reshape(3, 2))
    dense.bias.assign([10, 20])
    np.testing.assert_array_equal(dense.kernel.numpy(), [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(np.asarray(dense.bias), [10, 20])
    np.testing.assert_array_equal(dense(np.ones((1, 3))), [[16, 29]])
    assert layers.Dense(2, use_bias=False).bias is None
    lstm = build_random(layers.LSTM(4), X.shape)
    assert lstm.cell.recurrent_kernel.shape == (4, 16)
    assert lstm.cell.kernel.shape == (3, 16)
    assert lstm.cell.bias.shape == (16,)
    assert build_random(layers.GRU(4), X.shape).cell.bias.shape == (2, 12)
    assert build_random(layers.GRU(4, reset_after=False), X.shape).cell.bias.shape == (12,)
    assert build_random(layers.GRU(4, use_bias=False), X.shape).cell.bias is None


def test_an_assigned_weight_is_used_by_the_next_call_of_layer_and_model():
    model = unrolled.Sequential([unrolled.Input((6, 3)), layers.SimpleRNN(4), layers.Dense(1)])
    before = model.predict(X, verbose=0)
    model.layers[1].bias.assign([100.0])
    np.testing.assert_allclose(model.predict(X, verbose=0), before + 100, rtol=1e-6)
    layer = model.layers[0]
    first = layer(X)
    layer.set_weights([0 * w for w in layer.get_weights()])
    np.testing.assert_array_equal(layer(X), 0 * first)
    np.testing.assert_array_equal(model.predict(X, verbose=0), 0 * before + 100)


def test_get_weights_gives_copies():
    layer = build_random(layers.LSTM(4), X.shape)
    y = layer(X)
    for weight in layer.get_weights():
        weight[...] = 0
    np.testing.assert_array_equal(layer(X), y)


def test_set_weights_refuses_what_does_not_fit_and_changes_nothing():
    layer = build_random(layers.LSTM(4), X.shape)
    before = layer.get_weights()
    with pytest.raises(ValueError, match="3 arrays"):
        layer.set_weights(before[:2])
    with pytest.raises(ValueError, match=r"\(4, 16\)"):
        layer.set_weights([before[0] + 1, before[1][:3], before[2]])
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("layer", "shape", "count"),
    [
        (layers.SimpleRNN(3), (None, 2, 10), 42),
        (layers.LSTM(4), (None, 2, 3), 4 * 4 * (3 + 4 + 1)),
        (layers.GRU(4), (None, 2, 3), 3 * 4 * (3 + 4 + 2)),
        (layers.GRU(4, reset_after=False), (None, 2, 3), 3 * 4 * (3 + 4 + 1)),
        (layers.Bidirectional(layers.LSTM(4)), (None, 2, 3), 2 * 4 * 4 * (3 + 4 + 1)),
        (layers.BatchNormalization(), (None, 2, 3), 12),
        (layers.Conv1D(4, 3), (None, 5, 2), 4 * (3 * 2 + 1)),
    ],
    ids=lambda value: getattr(value, "class_name", None),
)
def test_parameters_are_counted_as_keras_counts_them(layer, shape, count):
    layer.build(shape)
    assert layer.count_params() == count


# ------------------------------------------------------------------------------------------ shapes and masks


def test_output_shapes_are_those_of_keras():
    shape = (None, 6, 3)
    assert layers.LSTM(4).compute_output_shape(shape) == (None, 4)
    assert layers.LSTM(4, return_sequences=True).compute_output_shape(shape) == (None, 6, 4)
    both = layers.LSTM(4, return_state=True).compute_output_shape(shape)
    assert [tuple(s) for s in both] == [(None, 4)] * 3
    wrapped = layers.Bidirectional(layers.GRU(4, return_sequences=True))
    assert wrapped.compute_output_shape(shape) == (None, 6, 8)
    assert layers.Conv1D(5, 3).compute_output_shape(shape) == (None, 4, 5)
    assert layers.Flatten().compute_output_shape(shape) == (None, 18)
    assert layers.TimeDistributed(layers.Dense(2)).compute_output_shape((None, None, 3)) == (None, None, 2)


def test_masks_are_computed_as_keras_computes_them():
    x = np.array([[[0, 0], [1, 0]], [[0, 0], [0, 0]]], np.float32)
    np.testing.assert_array_equal(layers.Masking().compute_mask(x), [[False, True], [False, False]])
    ids = np.array([[0, 3], [2, 0]])
    mask = [[False, True], [True, False]]
    np.testing.assert_array_equal(layers.Embedding(5, 2, mask_zero=True).compute_mask(ids), mask)
    assert layers.Embedding(5, 2).compute_mask(ids) is None
    given = np.array(mask)
    np.testing.assert_array_equal(layers.LSTM(4, return_sequences=True).compute_mask(x, given), mask)
    assert layers.LSTM(4).compute_mask(x, given) is None
    np.testing.assert_array_equal(layers.Dense(4).compute_mask(x, given), mask)
    assert layers.Flatten().compute_mask(x, given) is None


# ------------------------------------------------------------------------------------------------- configs


@pytest.mark.parametrize(
    "layer",
    [
        layers.LSTM(4, activation="relu", return_sequences=True, go_backwards=True, use_bias=False, name="a"),
        layers.GRU(4, reset_after=False, recurrent_activation="hard_sigmoid", unroll=True, name="b"),
        layers.Bidirectional(layers.SimpleRNN(4, return_sequences=True), merge_mode="ave", name="c"),
        layers.Bidirectional(
            layers.LSTM(4), backward_layer=layers.GRU(4, go_backwards=True), merge_mode="mul", name="d"
        ),
        layers.TimeDistributed(layers.Dense(2, activation="swish"), name="e"),
        layers.Conv1D(4, 2, padding="causal", dilation_rate=2, name="f"),
        layers.BatchNormalization(axis=1, epsilon=0.1, scale=False, name="g"),
    ],
    ids=lambda layer: layer.class_name,
)
def test_a_config_makes_the_same_layer_again(layer):
    build_random(layer, X.shape)
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    copy.build(X.shape)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(X), layer(X))


# -------------------------------------------------------------------------------------------- stateful layers


def test_a_stateful_layer_goes_on_where_it_stopped_until_it_is_reset():
    plain = build_random(layers.LSTM(4, return_sequences=True), X.shape)
    stateful = build_random(layers.LSTM(4, return_sequences=True, stateful=True), X.shape)
    whole = plain(X)
    np.testing.assert_array_equal(stateful(X[:, :2]), whole[:, :2])
    np.testing.assert_array_equal(stateful(X[:, 2:]), whole[:, 2:])
    stateful.reset_state()
    np.testing.assert_array_equal(stateful(X), whole)


def test_an_initial_state_overrides_the_stored_one_and_the_final_one_is_stored():
    stateful = build_random(layers.GRU(4, return_state=True, stateful=True), X.shape)
    state = RNG.standard_normal((4, 4)).astype(np.float32)
    stateful(X)
    _, final = stateful(X, initial_state=state)
    plain = build_random(layers.GRU(4, return_state=True), X.shape)
    np.testing.assert_array_equal(final, plain(X, initial_state=state)[1])
    np.testing.assert_array_equal(stateful(X)[1], plain(X, initial_state=final)[1])


def test_another_batch_size_of_a_stateful_layer_is_an_error():
    stateful = build_random(layers.LSTM(4, stateful=True, name="memory"), X.shape)
    stateful(X)
    with pytest.raises(ValueError, match=r"memory.*4 rows.*2"):
        stateful(X[:2])


def test_a_stateful_model_is_reset_as_a_whole():
    model = unrolled.Sequential(
        [
            unrolled.Input((6, 3), batch_size=4),
            layers.LSTM(4, stateful=True, return_sequences=True),
            layers.Bidirectional(layers.GRU(3, stateful=True)),
        ]
    )
    first = model.predict(X, verbose=0)
    assert np.abs(model.predict(X, verbose=0) - first).max() > 1e-4
    model.reset_state()
    np.testing.assert_array_equal(model.predict(X, verbose=0), first)


# --------------------------------------------------------------------------------------------- initializers


def test_fresh_weights_start_as_keras_starts_them():
    utils.set_random_seed(3)
    lstm = layers.LSTM(64)
    lstm.build((None, None, 96))
    kernel, recurrent, bias = lstm.get_weights()
    limit = np.sqrt(6 / (96 + 256))
    assert limit * 0.98 < np.abs(kernel).max() <= limit
    assert abs(kernel.mean()) < 0.01 * limit * 3
    np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.03)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(64), atol=1e-5)
    np.testing.assert_array_equal(bias, np.repeat([0, 1, 0, 0], 64))
    plain = layers.LSTM(4, unit_forget_bias=False)
    plain.build((None, None, 3))
    np.testing.assert_array_equal(plain.get_weights()[2], 0)
    embedding = layers.Embedding(500, 40)
    embedding.build((None, None))
    table = embedding.get_weights()[0]
    assert 0.049 < np.abs(table).max() <= 0.05
    normalization = layers.BatchNormalization()
    normalization.build((None, 3))
    assert [w.tolist() for w in normalization.get_weights()] == [[1] * 3, [0] * 3, [0] * 3, [1] * 3]


def fresh(seed):
    utils.set_random_seed(seed)
    model = unrolled.Sequential([unrolled.Input((6, 3)), layers.GRU(5), layers.Dense(2)])
    return np.concatenate([w.ravel() for w in model.get_weights()])


def test_a_seed_fixes_fresh_weights_and_another_gives_others():
    np.testing.assert_array_equal(fresh(1), fresh(1))
    assert (fresh(1) != fresh(2)).any()


def test_two_layers_do_not_start_with_the_same_weights():
    model = unrolled.Sequential([unrolled.Input((3,)), layers.Dense(3), layers.Dense(3)])
    a, _, b, _ = model.get_weights()
    assert (a != b).all()


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("glorot_uniform", np.sqrt(2 / 700)),
        ("glorot_normal", np.sqrt(2 / 700)),
        ("he_uniform", np.sqrt(2 / 300)),
        ("he_normal", np.sqrt(2 / 300)),
        ("lecun_uniform", np.sqrt(1 / 300)),
        ("lecun_normal", np.sqrt(1 / 300)),
        ("random_normal", 0.05),
        ("random_uniform", 0.05 / np.sqrt(3)),
        ("truncated_normal", 0.05 * 0.8796),
    ],
)
def test_an_initializer_has_the_deviation_of_keras(name, deviation):
    values = initializers.get(name)((300, 400))
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.02 * deviation
    np.testing.assert_allclose(values.std(), deviation, rtol=0.02)


def test_orthogonal_gives_orthonormal_rows_or_columns():
    wide = initializers.get("orthogonal")((10, 40))
    np.testing.assert_allclose(wide @ wide.T, np.eye(10), atol=1e-5)
    tall = initializers.Orthogonal(gain=2.0)((40, 10))
    np.testing.assert_allclose(tall.T @ tall, 4 * np.eye(10), atol=1e-5)
    assert np.linalg.norm(wide - initializers.get("orthogonal")((10, 40))) > 0.1


def test_constant_takes_a_number_or_an_array():
    np.testing.assert_array_equal(initializers.Constant(0.5)((2, 3)), np.full((2, 3), 0.5))
    table = RNG.standard_normal((7, 2))
    embedding = layers.Embedding(7, 2, embeddings_initializer=initializers.Constant(table))
    embedding.build((None, None))
    np.testing.assert_array_equal(embedding.get_weights()[0], np.float32(table))
