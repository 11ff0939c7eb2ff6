# SPDX-License-Identifier: MIT
"""Sequences of any lengths, each with the bytes of predict on it alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import unrolled
from tests.streaming.causal_models import FEATURES, MODELS, make, sequences, several_inputs_and_outputs
from tests.streaming.schedules import same_bytes
from unrolled import Input, Model, Sequential, layers


def chain(*stack):
    return Sequential([Input((None, FEATURES)), *stack])


def attention():
    x = Input((None, FEATURES))
    return Model(x, layers.GlobalAveragePooling1D()(layers.Attention()([x, x])))


WHOLE = {
    "bidirectional": lambda: chain(
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)), layers.Bidirectional(layers.GRU(3))
    ),
    "masked_bidirectional": lambda: chain(
        layers.Masking(), layers.Bidirectional(layers.LSTM(4, return_sequences=True)), layers.Dense(2)
    ),
    "go_backwards": lambda: chain(layers.GRU(4, go_backwards=True, return_sequences=True)),
    "same_convolution": lambda: chain(layers.Conv1D(4, 3, padding="same"), layers.GlobalMaxPooling1D()),
    "softmax_over_time": lambda: chain(layers.Softmax(axis=1)),
    "layer_over_time": lambda: chain(layers.UpSampling1D(2), layers.AveragePooling1D(2, padding="same")),
    "attention": attention,
}
STATELESS = sorted(set(MODELS) - {"stateful"})


def check(model, x, **options):
    alone = [model.predict(item[np.newaxis], verbose=0)[0] for item in x]
    together = model.predict_sequences(x, **options)
    assert len(together) == len(alone)
    assert all(same_bytes(y, w) for y, w in zip(together, alone, strict=True))


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(STATELESS),
    lengths=st.lists(st.integers(1, 12), max_size=60),
    batch_size=st.sampled_from([None, 1, 3, 100]),
)
def test_causal_models(name, lengths, batch_size):
    model = make(name)
    x = [sequences(model, 1, length, seed=i)[0] for i, length in enumerate(lengths)]
    check(model, x, batch_size=batch_size)


@pytest.mark.parametrize("name", WHOLE)
def test_models_that_need_the_whole_sequence(name):
    model = WHOLE[name]()
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((length, FEATURES), np.float32) for length in rng.integers(1, 20, 40)]
    x[3][1:] = 0
    check(model, x)
    check(model, x, batch_size=2)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_many_sequences_over_threads(threads):
    before = unrolled.get_num_threads()
    unrolled.set_num_threads(threads)
    try:
        model = make("masked_gru_sequences")
        rng = np.random.default_rng(0)
        lengths = np.minimum(rng.lognormal(2.5, 1.0, 300).astype(int) + 1, 200)
        check(model, [sequences(model, 1, int(length), seed=i)[0] for i, length in enumerate(lengths)])
    finally:
        unrolled.set_num_threads(before)


def test_lengths_of_a_padded_array():
    model = make("masked_lstm")
    x = sequences(model, 20, 9)
    lengths = np.random.default_rng(0).integers(1, 10, 20)
    for row, length in enumerate(lengths):
        x[row, length:] = np.nan
    check_rows = model.predict_sequences(x, lengths=lengths)
    for row, length in enumerate(lengths):
        assert same_bytes(check_rows[row], model.predict(x[row : row + 1, :length])[0])


def test_several_inputs_and_outputs():
    model = several_inputs_and_outputs()
    rng = np.random.default_rng(0)
    x = [
        [rng.standard_normal((n, 3), np.float32), rng.standard_normal((n, 2), np.float32)]
        for n in (4, 7, 4, 1)
    ]
    for item, outputs in zip(x, model.predict_sequences(x), strict=True):
        alone = model.predict([array[np.newaxis] for array in item])
        assert all(same_bytes(y, w[0]) for y, w in zip(outputs, alone, strict=True))


def test_no_sequences_at_all():
    assert make("lstm").predict_sequences([]) == []


@pytest.mark.parametrize(
    ("sequences", "options", "message"),
    [
        ([np.zeros((3, FEATURES)), np.zeros((3, FEATURES + 1))], {}, "sequence 1: .*expected shape"),
        ([np.zeros((3, FEATURES)), np.zeros((0, FEATURES))], {}, "sequence 1: .*at least one timestep"),
        ([np.zeros(FEATURES)], {}, "sequence 0"),
        ("abc", {}, "list of arrays"),
        (3, {}, "list of arrays"),
        ([np.zeros((3, FEATURES))], {"batch_size": 0}, "batch_size"),
        (np.zeros((2, 4, FEATURES)), {"lengths": [1]}, "expected 2 integers"),
        (np.zeros((2, 4, FEATURES)), {"lengths": [1, 5]}, "from 1 to 4"),
        (np.zeros((2, 4, FEATURES)), {"lengths": [0, 2]}, "from 1 to 4"),
        (np.zeros((2, 4, FEATURES)), {"lengths": [1.0, 2.0]}, "integers"),
    ],
)
def test_what_does_not_fit_is_refused(sequences, options, message):
    with pytest.raises(ValueError, match=message):
        make("lstm").predict_sequences(sequences, **options)


def test_a_stateful_model_is_refused():
    with pytest.raises(ValueError, match="stateful"):
        make("stateful").predict_sequences([np.zeros((3, FEATURES))])
