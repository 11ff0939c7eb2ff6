# SPDX-License-Identifier: MIT
"""Generated timesteps are those of a loop around predict; tokens are drawn as their probabilities say."""

from __future__ import annotations

import numpy as np
import pytest

from tests.streaming.schedules import same_bytes
from unrolled import Input, Model, Sequential, StreamError, layers, utils

TOKENS = 7


def chain(*stack, shape=(None, 3)):
    utils.set_random_seed(0)
    return Sequential([Input(shape), *stack])


FORECASTERS = {
    "last_step": lambda: chain(layers.GRU(4), layers.Dense(3)),
    "sequences": lambda: chain(layers.LSTM(4, return_sequences=True), layers.Dense(3)),
    "convolution": lambda: chain(layers.Conv1D(3, 4, padding="causal", activation="tanh")),
}


def words(*, softmax=True, outputs=TOKENS, sequences=False):
    return chain(
        layers.Embedding(TOKENS, 4),
        layers.LSTM(8, return_sequences=sequences),
        layers.Dense(outputs, activation="softmax" if softmax else None, kernel_initializer="random_normal"),
        shape=(None,),
    )


def loop(model, x, steps, window=None):
    """The same by predict."""
    for _ in range(steps):
        seen = x if window is None else x[:, -window:]
        y = model.predict(seen, verbose=0)
        x = np.concatenate([x, y[:, -1:] if y.ndim == 3 else y[:, np.newaxis]], axis=1)
    return np.ascontiguousarray(x[:, -steps:])


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((3, 6, 3)).astype(np.float32)


@pytest.mark.parametrize("name", FORECASTERS)
@pytest.mark.parametrize("window", [None, 1, 4])
def test_a_forecast_is_a_loop_around_predict(name, window, x):
    model = FORECASTERS[name]()
    assert same_bytes(model.generate(x, 9, window=window), loop(model, x, 9, window))


def test_a_model_of_fixed_length_sees_its_last_timesteps(x):
    model = chain(layers.Bidirectional(layers.GRU(4)), layers.Dense(3), shape=(5, 3))
    assert same_bytes(model.generate(x[:, -5:], 8), loop(model, x, 8, 5))


def test_a_model_that_needs_the_whole_sequence_takes_a_window(x):
    model = chain(layers.Bidirectional(layers.GRU(4)), layers.Dense(3))
    with pytest.raises(StreamError, match="window="):
        model.generate(x, 8)
    assert same_bytes(model.generate(x, 8, window=4), loop(model, x, 8, 4))


def test_a_live_stream_forecasts_and_stays_where_it_is(x):
    model = FORECASTERS["last_step"]()
    stream = model.stream(3)
    last = stream.run(x[:, :4])
    forecast = stream.generate(last, 5)
    assert same_bytes(forecast, model.generate(x[:, :4], 5))
    assert stream.timesteps_seen == 4
    assert same_bytes(stream.run(x[:, 4:]), model.predict(x))


def test_no_steps_at_all(x):
    assert FORECASTERS["last_step"]().generate(x, 0).shape == (3, 0, 3)


def most_likely(model, ids, steps):
    for _ in range(steps):
        y = model.predict(ids, verbose=0)
        y = y[:, -1] if y.ndim == 3 else y
        ids = np.concatenate([ids, y.argmax(axis=1)[:, np.newaxis]], axis=1)
    return ids[:, -steps:].astype(np.int32)


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("window", [None, 3])
def test_the_most_likely_tokens(sequences, window):
    model = words(sequences=sequences)
    ids = np.array([[1, 2, 3, 4], [6, 5, 0, 0]])
    got = model.generate(ids, 10, window=window)
    if window is None:
        assert same_bytes(got, most_likely(model, ids, 10))
    for row in range(2):
        assert same_bytes(got[row : row + 1], model.generate(ids[row : row + 1], 10, window=window))
    assert same_bytes(model.generate(ids, 10, window=window, temperature=0.0), got)


def test_one_hot_vectors_of_tokens():
    model = chain(layers.SimpleRNN(8), layers.Dense(TOKENS, activation="softmax"), shape=(None, TOKENS))
    x = np.eye(TOKENS, dtype=np.float32)[[[1, 4, 2]]]
    got = model.generate(x, 6, temperature=0)
    assert got.dtype == np.int32
    for step in range(6):
        token = model.predict(x).argmax()
        assert got[0, step] == token
        x = np.concatenate([x, np.eye(TOKENS, dtype=np.float32)[token].reshape(1, 1, -1)], axis=1)


def constant_model(probabilities):
    """Whatever it reads, its output is ``probabilities``."""
    model = chain(layers.Embedding(TOKENS, 2), layers.LSTM(2), layers.Dense(TOKENS), shape=(None,))
    kernel, bias = model.layers[-1].kernel, model.layers[-1].bias
    kernel.assign(np.zeros(kernel.shape))
    bias.assign(probabilities)
    return model


PROBABILITIES = np.array([0.4, 0.3, 0.1, 0.1, 0.06, 0.04, 0.0])


def frequencies(**options):
    model = constant_model(options.pop("bias", PROBABILITIES))
    drawn = model.generate(np.zeros((200, 1), int), 500, seed=3, **options)
    return np.bincount(drawn.ravel(), minlength=TOKENS) / drawn.size


def normalised(weights):
    return weights / weights.sum()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 1.0}, PROBABILITIES),
        ({"temperature": 0.5}, normalised(PROBABILITIES**2)),
        ({"temperature": 2.0}, normalised(PROBABILITIES**0.5)),
        ({"top_k": 2}, normalised(PROBABILITIES * [1, 1, 0, 0, 0, 0, 0])),
        # Of equals the first.
        ({"top_k": 3}, normalised(PROBABILITIES * [1, 1, 1, 0, 0, 0, 0])),
        ({"top_k": 100}, PROBABILITIES),
        ({"temperature": 1.0, "from_logits": True, "bias": np.log(PROBABILITIES + 1e-9) + 5}, PROBABILITIES),
    ],
)
def test_tokens_are_drawn_as_their_probabilities_say(options, expected):
    np.testing.assert_allclose(frequencies(**options), expected, atol=0.006)


def test_the_seed_decides_and_rows_do_not_depend_on_each_other():
    model = words()
    ids = np.array([[1, 2], [3, 4], [1, 2]])
    first = model.generate(ids, 30, temperature=1.0, seed=5)
    assert same_bytes(model.generate(ids, 30, temperature=1.0, seed=5), first)
    assert not np.array_equal(model.generate(ids, 30, temperature=1.0, seed=6), first)
    assert not np.array_equal(first[0], first[2])
    assert same_bytes(model.generate(ids[:2], 30, temperature=1.0, seed=5), first[:2])
    unseeded = [model.generate(ids, 30, temperature=1.0).tolist() for _ in range(2)]
    assert unseeded[0] != unseeded[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: words(outputs=TOKENS + 1).generate([[1]], 3), "takes ids below 7"),
        (lambda: words().generate([[TOKENS]], 3), "7"),
        (lambda: words().generate([[0.5]], 3), "int32"),
        (lambda: words(softmax=False).generate([[1]], 3), "from_logits"),
        (lambda: words().generate([[1]], -1), "steps"),
        (lambda: words().generate([[1]], 2.5), "steps"),
        (lambda: words().generate([[1]], 3, temperature=-1.0), "temperature"),
        (lambda: words().generate([[1]], 3, temperature=float("nan")), "temperature"),
        (lambda: words().generate([[1]], 3, top_k=0), "top_k"),
        (lambda: words().generate([[1]], 3, seed=-1), "seed"),
        (lambda: words().generate([[1]], 3, window=0), "window"),
        (lambda: words().generate([[1]], 3, window=2), "at least 2 timesteps, got 1"),
        (lambda: words().generate(np.zeros((1, 0), int), 3), "at least one"),
        (lambda: chain(layers.GRU(2)).generate(np.zeros((1, 2, 3)), 3), "cannot be its next input"),
        (lambda: constant_model([np.nan] * TOKENS).generate([[1]], 3), "NaN"),
        (lambda: two_outputs().generate(np.zeros((1, 2, 3)), 3), "one input and one output"),
    ],
)
def test_what_cannot_be_generated_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def two_outputs():
    x = Input((None, 3))
    return Model(x, [layers.GRU(3)(x), layers.LSTM(3)(x)])
