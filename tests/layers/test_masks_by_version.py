# SPDX-License-Identifier: MIT
"""Rules for masks that changed between versions of Keras (``Semantics``), and what must not depend on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from unrolled import Input, Model, layers
from unrolled.formats.config.versions import parse_version
from unrolled.layers.options import set_semantics
from unrolled.semantics import KERAS_3

KERAS_2 = replace(
    KERAS_3,
    merge_masks="all",
    concatenate_masks="all",
    rescaling_keeps_mask=False,
    softmax_zeroes_masked_rows=False,
)
RANDOM = np.random.default_rng(0)
A, B = (RANDOM.normal(size=(5, 4, 3)).astype(np.float32) for _ in range(2))
MASK_A, MASK_B = (RANDOM.random((5, 4)) < 0.5 for _ in range(2))
ELEMENTWISE = {
    "Add": np.add, "Multiply": np.multiply, "Maximum": np.maximum, "Minimum": np.minimum,
    "Subtract": np.subtract, "Average": lambda a, b: (a + b) / 2,
}  # fmt: skip


def old(layer: Any) -> Any:
    set_semantics(layer, KERAS_2)
    return layer


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_old_merges_ignore_masks_in_values_and_combine_them_by_and(name: str) -> None:
    layer = old(getattr(layers, name)())
    np.testing.assert_allclose(layer([A, B], mask=[MASK_A, MASK_B]), ELEMENTWISE[name](A, B), rtol=1e-6)
    np.testing.assert_array_equal(layer.compute_mask([A, B], [MASK_A, MASK_B]), MASK_A & MASK_B)
    np.testing.assert_array_equal(layer.compute_mask([A, B], [MASK_A, None]), MASK_A)
    assert layer.compute_mask([A, B]) is None


def test_new_merges_combine_masks_by_or_and_lose_them_beside_an_unmasked_input() -> None:
    np.testing.assert_array_equal(layers.Add().compute_mask([A, B], [MASK_A, MASK_B]), MASK_A | MASK_B)
    assert layers.Add().compute_mask([A, B], [MASK_A, None]) is None


def test_concatenate_of_masked_and_unmasked_keeps_the_mask_in_keras_2_only() -> None:
    assert layers.Concatenate().compute_mask([A, B], [MASK_A, None]).all()
    np.testing.assert_array_equal(old(layers.Concatenate()).compute_mask([A, B], [MASK_A, None]), MASK_A)
    both = old(layers.Concatenate()).compute_mask([A, B], [MASK_A, MASK_B])
    np.testing.assert_array_equal(both, MASK_A & MASK_B)


def test_rescaling_and_normalization_keep_the_mask_in_keras_3_only() -> None:
    for layer in (layers.Rescaling(2.0), layers.Normalization(mean=1.0, variance=1.0)):
        np.testing.assert_array_equal(layer.compute_mask(A, MASK_A), MASK_A)
    for layer in (layers.Rescaling(2.0), layers.Normalization(mean=1.0, variance=1.0)):
        assert old(layer).compute_mask(A, MASK_A) is None


def test_a_fully_masked_row_of_attention_scores_is_zero_since_keras_3_10() -> None:
    allowed = np.ones((5, 4, 4), bool)
    allowed[1] = False
    for semantics, expected in ((KERAS_3, 0.0), (KERAS_2, 0.25)):
        layer = layers.MultiHeadAttention(2, 3)
        set_semantics(layer, semantics)
        _, scores = layer(A, A, attention_mask=allowed, return_attention_scores=True)
        np.testing.assert_allclose(scores[1], expected, atol=1e-6)
        np.testing.assert_allclose(scores[0].sum(-1), 1.0, atol=1e-6)


def test_large_scores_of_a_fully_masked_row_are_told_apart_by_the_softmax_of_old_versions() -> None:
    # -1e9 is added to the scores, and floats there are 64 apart; set, it hides them.
    x = np.array([[[1.0], [200.0]]], np.float32)
    nothing = np.zeros((1, 2, 2), bool)
    by_sum, equal = [0.0, 1.0], [0.5, 0.5]
    for options, version, expected in (
        ({}, "2.15.0", by_sum),
        ({"softmax_robust_masking": True}, "2.15.0", equal),
        ({}, "3.6.0", by_sum),
        ({}, "3.7.0", equal),
        ({"dropout": 0.5}, "3.7.0", by_sum),
        ({"dropout": 0.5}, "3.10.0", [0.0, 0.0]),
    ):
        layer = layers.MultiHeadAttention(1, 1, use_bias=False, **options)
        set_semantics(layer, parse_version(version).semantics)
        layer.build([x.shape, x.shape])
        layer.set_weights([np.ones(weight.shape) for weight in layer.weights])
        np.testing.assert_allclose(
            layer(x, x, attention_mask=nothing)[0, 1], np.array(expected) @ x[0], atol=1e-4
        )


@pytest.mark.parametrize("carries", [True, False])
def test_scores_of_attention_carry_their_mask_to_a_softmax_where_explicit_masks_pass_on(
    carries: bool,
) -> None:
    x = Input((2, 1))
    layer = layers.MultiHeadAttention(2, 1)
    masked = layers.Masking()(x)
    _, scores = layer(masked, masked, return_attention_scores=True)
    again = layers.Softmax()(scores)
    set_semantics(layer, replace(KERAS_3, explicit_mask_passes_on=carries))
    # One of two steps is masked: its score is 0, beside 1 for the other.
    e = np.exp(1.0)
    expected = [1.0, 0.0] if carries else [e / (1 + e), 1 / (1 + e)]
    got = Model(x, again).predict(np.array([[[2.0], [0.0]]]), verbose=0)
    np.testing.assert_allclose(got[0, :, 0], [expected] * 2, rtol=1e-6)


MASK_RULES = {
    "passes": [
        layers.Dense(2), layers.Activation("tanh"), layers.ReLU(), layers.LeakyReLU(), layers.ELU(),
        layers.PReLU(shared_axes=[1]), layers.ThresholdedReLU(), layers.Dropout(0.5), layers.SpatialDropout1D(0.5),
        layers.GaussianNoise(0.5), layers.GaussianDropout(0.5), layers.AlphaDropout(0.5),
        layers.ActivityRegularization(), layers.BatchNormalization(), layers.LayerNormalization(),
        layers.GroupNormalization(1), layers.UnitNormalization(), layers.Identity(),
    ],
    "ends": [
        layers.Conv1D(2, 2), layers.MaxPooling1D(), layers.AveragePooling1D(), layers.Flatten(),
        layers.Permute([2, 1]), layers.Reshape([-1]), layers.UpSampling1D(), layers.ZeroPadding1D(),
        layers.Cropping1D(1), layers.GlobalMaxPooling1D(), layers.GlobalAveragePooling1D(),
        layers.EinsumDense("abc,cd->abd", [None, 2]), layers.RMSNormalization(),
    ],
}  # fmt: skip


@pytest.mark.parametrize("layer", MASK_RULES["passes"], ids=lambda layer: layer.class_name)
def test_a_mask_passes(layer: Any) -> None:
    np.testing.assert_array_equal(layer.compute_mask(A, MASK_A), MASK_A)


@pytest.mark.parametrize("layer", MASK_RULES["ends"], ids=lambda layer: layer.class_name)
def test_a_mask_ends(layer: Any) -> None:
    assert layer.compute_mask(A, MASK_A) is None


def test_attention_works_on_any_number_of_timesteps_of_one_model() -> None:
    query, value = Input((None, 3)), Input((None, 3))
    attended = layers.Attention()([query, value], use_causal_mask=True)
    multi = layers.MultiHeadAttention(2, 4)(query, value, use_causal_mask=True)
    merged = layers.Concatenate()([attended, layers.Add()([multi, query])])
    model = Model([query, value], merged)
    assert model.output_shape == (None, None, 6)
    whole = model.predict([A, B])
    # Causal: what comes later changes nothing before.
    np.testing.assert_array_equal(model.predict([A[:, :2], B[:, :2]]), whole[:, :2])


def test_masks_of_embeddings_reach_attention_and_merges_in_a_graph() -> None:
    ids = Input((None,), dtype="int32")
    x = layers.Embedding(6, 4, mask_zero=True)(ids)
    attended = layers.Attention()([x, x])
    model = Model(ids, layers.GlobalAveragePooling1D()(layers.Add()([attended, x])))
    rows = np.array([[1, 2, 3, 0], [4, 5, 0, 0]])
    padded = model.predict(np.pad(rows, ((0, 0), (0, 3))))
    np.testing.assert_allclose(model.predict(rows), padded, atol=1e-6)


def test_rows_do_not_depend_on_their_batch() -> None:
    layer = layers.MultiHeadAttention(2, 3)
    whole = layer(A, B)
    for row in range(5):
        np.testing.assert_array_equal(layer(A[row : row + 1], B[row : row + 1]), whole[row : row + 1])


ADDING = {
    "activation": "linear",
    "use_bias": False,
    "kernel_initializer": "ones",
    "recurrent_initializer": "ones",
}
STEPS = np.array([[[1.0], [0.0], [3.0]]], np.float32)
START = np.array([[10.0]], np.float32)


def adding(name: str, **options: Any) -> Any:
    """A layer that adds up what it reads."""
    return layers.SimpleRNN(1, **ADDING, name=name, **options)


@pytest.mark.parametrize("wrap", [lambda rnn: rnn, lambda rnn: layers.Bidirectional(rnn, merge_mode="sum")])
@pytest.mark.parametrize("semantics", [KERAS_3, replace(KERAS_2, states_hide_mask=False)])
def test_a_recurrent_layer_given_states_sees_no_mask_in_keras_3(wrap: Any, semantics: Any) -> None:
    x, state = Input((3, 1)), Input((1,))
    masked = layers.Masking(3.0)(x)
    layer = wrap(adding("rnn", return_sequences=True))
    both = isinstance(layer, layers.Bidirectional)
    output = layer(masked, initial_state=[state] * (2 if both else 1))
    mean = layers.GlobalAveragePooling1D()
    model = Model([x, state], [output, mean(output)])
    set_semantics(layer, semantics)
    y, average = model.predict([STEPS, START], verbose=0)
    # Masking makes the last step 0, so that a step more does not show in sums, but a zeroed output does.
    hidden = semantics.states_hide_mask
    forward = np.array([11, 11, 11 if hidden or not both else 0.0])
    backward = np.array([11, 10, 10 if hidden else 0.0])
    np.testing.assert_allclose(y[0, :, 0], forward + backward if both else forward)
    # The mask passes on all the same: the mean is over two steps.
    np.testing.assert_allclose(average[0, 0], y[0, :2, 0].mean())


def test_a_mask_given_beside_states_counts_in_keras_3() -> None:
    mask = np.array([[True, False, True]])
    y = adding("rnn", return_sequences=True)(np.ones_like(STEPS), mask=mask, initial_state=START)
    np.testing.assert_allclose(y[0, :, 0], [11, 11, 12])


@pytest.mark.parametrize(("takes_away", "steps"), [(True, 3), (False, 2)])
def test_multi_head_attention_takes_the_masks_of_its_inputs_away_since_keras_3_8(
    takes_away: bool, steps: int
) -> None:
    x = Input((3, 1))
    masked = layers.Dropout(0.5)(layers.Masking(3.0)(x))  # at inference what Dropout gives is what it takes
    attention = layers.MultiHeadAttention(1, 1)
    attended = attention(masked, masked)
    # Runs after the attention, for it is as deep and comes later.
    mean = layers.GlobalAveragePooling1D()(layers.Add()([masked, layers.Rescaling(0.0)(attended)]))
    model = Model(x, [attended, mean])
    set_semantics(attention, replace(KERAS_3, attention_takes_masks_away=takes_away))
    _, average = model.predict(STEPS, verbose=0)
    np.testing.assert_allclose(average, [[1 / steps]])


@pytest.mark.parametrize(("passes_on", "average"), [(True, 1 / 2), (False, 4 / 3)])
def test_an_explicit_mask_passes_on_since_keras_3_11(passes_on: bool, average: float) -> None:
    x, mask = Input((3, 1)), Input((3,), dtype="bool")
    layer = layers.Activation("linear")
    mean = layers.GlobalAveragePooling1D()(layer(x, mask=mask))
    model = Model([x, mask], mean)
    set_semantics(layer, replace(KERAS_3, explicit_mask_passes_on=passes_on))
    got = model.predict([STEPS, np.array([[True, True, False]])], verbose=0)
    np.testing.assert_allclose(got, [[average]])


def test_layers_called_on_lists_give_no_mask_in_keras_3_0_to_3_3() -> None:
    x = Input((3, 1))
    masked = layers.Masking(3.0)(x)
    layer = layers.Add()
    model = Model(x, layers.GlobalAveragePooling1D()(layer([masked, masked])))
    np.testing.assert_allclose(model.predict(STEPS, verbose=0), [[2 / 2]])
    set_semantics(layer, replace(KERAS_3, lists_carry_masks=False))
    fresh = Model(model.inputs[0], model.outputs[0])
    np.testing.assert_allclose(fresh.predict(STEPS, verbose=0), [[2 / 3]], rtol=1e-6)


def test_an_explicit_mask_may_have_three_axes() -> None:
    x, mask = Input((2, 3, 1)), Input((2, 3), dtype="bool")
    passed = layers.TimeDistributed(layers.Activation("linear"))(x, mask=mask)
    joined = layers.Concatenate()([passed, passed])
    model = Model([x, mask], layers.TimeDistributed(layers.GlobalAveragePooling1D())(joined))
    values = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)
    kept = np.array([[[True, True, False], [False, True, True]]])
    np.testing.assert_allclose(model.predict([values, kept], verbose=0)[0, :, 0], [0.5, 4.5])


@pytest.mark.parametrize("recurrent", [layers.GRU(2), layers.Bidirectional(layers.GRU(2))])
def test_a_mask_of_further_axes_is_refused_by_name_at_recurrent_layers(recurrent: Any) -> None:
    x = Input((3, 2, 1))
    pooled = layers.TimeDistributed(layers.GlobalAveragePooling1D())(layers.Masking()(x))
    model = Model(x, recurrent(pooled))
    with pytest.raises(
        ValueError, match=rf"'{recurrent.name}'.*expected a mask \(batch, timesteps\).*rank 3"
    ):
        model.predict(np.ones((1, 3, 2, 1)), verbose=0)


def test_a_softmax_inside_time_distributed_refuses_the_mask_of_its_timestep() -> None:
    x = Input((3, 2))
    model = Model(x, layers.TimeDistributed(layers.Softmax(name="inner"))(layers.Masking()(x)))
    with pytest.raises(ValueError, match=r"'inner'.*rank 1 does not broadcast.*Keras fails here too"):
        model.predict(np.ones((1, 3, 2)), verbose=0)


def test_time_distributed_refuses_a_stateful_layer_inside_by_name() -> None:
    x = Input((3, 2, 1), batch_size=2)
    model = Model(x, layers.TimeDistributed(layers.LSTM(2, stateful=True), name="outer")(x))
    with pytest.raises(ValueError, match=r"'outer'.*stateful"):
        model(np.ones((2, 3, 2, 1)))


def test_stored_states_win_over_given_ones_in_tf_keras() -> None:
    for wins, second in ((False, 14), (True, 18)):
        x, state = Input((3, 1), batch_size=1), Input((1,), batch_size=1)
        layer = adding("rnn", stateful=True)
        model = Model([x, state], layer(x, initial_state=state))
        set_semantics(layer, replace(KERAS_3, stored_states_win=wins))
        assert model([STEPS, START]) == 14
        assert model([STEPS, START]) == second
        model.reset_state()
        assert model([STEPS, START]) == 14


def test_a_stateful_layer_called_twice_in_a_graph_goes_on_from_its_first_call() -> None:
    x = Input((3, 1), batch_size=1)
    layer = adding("rnn", stateful=True, return_sequences=True)
    model = Model(x, layer(layer(x)))
    # First 1, 1, 4; then these are added to 4. The call after starts from 10 and gives 11, 11, 14.
    np.testing.assert_allclose(model(STEPS)[0, :, 0], [5, 6, 10])
    np.testing.assert_allclose(model(STEPS)[0, 0, 0], 14 + 11)


def test_group_normalization_refuses_a_mask_where_tf_keras_fails_on_it() -> None:
    assert layers.GroupNormalization(1)(A, mask=MASK_A).shape == A.shape
    layer = layers.GroupNormalization(1)
    set_semantics(layer, replace(KERAS_3, group_normalization_takes_mask=True))
    assert layer(A).shape == A.shape
    with pytest.raises(ValueError, match="Keras fails"):
        layer(B, mask=MASK_B)
