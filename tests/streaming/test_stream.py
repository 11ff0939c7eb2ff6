# SPDX-License-Identifier: MIT
"""Streams give the bytes of predict, however the timesteps come; their states move, and errors change nothing."""

from __future__ import annotations

import functools
import multiprocessing
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import unrolled
from tests.streaming.causal_models import (
    FEATURES,
    MODELS,
    chain,
    expected,
    make,
    returns_sequences,
    sequences,
    several_inputs_and_outputs,
)
from unrolled import Sequential, layers

BATCH, TIMESTEPS = 3, 13


@functools.cache
def known(name):
    model = make(name)
    x = sequences(model, BATCH, TIMESTEPS)
    return model, x, expected(model, x)


def same_bytes(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", MODELS)
def test_a_step_gives_the_bytes_of_predict(name):
    model, x, wanted = known(name)
    stream = model.stream(BATCH)
    for t in range(TIMESTEPS):
        assert same_bytes(stream.step(x[:, t]), wanted[t])
    assert stream.timesteps_seen == TIMESTEPS


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(MODELS)),
    pieces=st.lists(st.integers(0, 6), min_size=1, max_size=13),
    data=st.data(),
)
def test_any_schedule_gives_the_bytes_of_predict(name, pieces, data):
    """Steps (0) and blocks, moves through a pickled state or a copy, and rows alone in between."""
    model, x, wanted = known(name)
    rows = data.draw(st.sampled_from([slice(0, 3), slice(0, 1), slice(1, 3)]))
    batch = rows.stop - rows.start
    stream = model.stream(batch)
    t = 0
    for piece in pieces:
        if t + max(piece, 1) > TIMESTEPS:
            break
        move = data.draw(st.sampled_from(["stay", "copy", "state"]))
        if move == "copy":
            stream = stream.copy()
        elif move == "state":
            state = pickle.loads(pickle.dumps(stream.get_state()))
            stream = model.stream(batch)
            stream.set_state(state)
        if piece == 0:
            assert same_bytes(stream.step(x[rows, t]), wanted[t][rows])
            t += 1
            continue
        y = stream.run(x[rows, t : t + piece])
        if returns_sequences(model):
            assert same_bytes(y, np.stack(wanted[t : t + piece], axis=1)[rows])
        else:
            assert same_bytes(y, wanted[t + piece - 1][rows])
        t += piece
    assert stream.timesteps_seen == t


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "name", ["lstm", "masked_lstm", "causal_convolutions", "masked_global_average", "wide"]
)
def test_threads_and_large_batches_change_no_byte(name, threads):
    before = unrolled.get_num_threads()
    unrolled.set_num_threads(threads)
    try:
        model = make(name)
        x = sequences(model, 200, 5)
        wanted = expected(model, x)
        stream = model.stream(200)
        for t in range(3):
            assert same_bytes(stream.step(x[:, t]), wanted[t])
        y = stream.run(x[:, 3:])
        last = y[:, -1] if returns_sequences(model) else y
        assert same_bytes(np.ascontiguousarray(last), wanted[4])
    finally:
        unrolled.set_num_threads(before)


def test_a_long_block_in_pieces_gives_the_same_bytes(monkeypatch):
    model = make("masked_gru_sequences")
    x = sequences(model, 2, 300)
    wanted = model.predict(x)
    monkeypatch.setattr("unrolled.streaming.stream.MAX_BLOCK_BYTES", 4096)
    assert model.stream(2)._longest_piece < 50
    assert same_bytes(model.stream(2).run(x), wanted)


def test_several_inputs_and_outputs():
    model = several_inputs_and_outputs()
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 7, 3), np.float32), rng.standard_normal((2, 7, 2), np.float32)
    stream = model.stream(2)
    for t in range(7):
        outputs = stream.step([a[:, t], b[:, t]]) if t % 2 else stream.step({"a": a[:, t], "b": b[:, t]})
        wanted = model.predict([a[:, : t + 1], b[:, : t + 1]])
        wanted[0] = np.ascontiguousarray(wanted[0][:, t])
        assert all(same_bytes(y, w) for y, w in zip(outputs, wanted, strict=True))
    outputs = model.stream(2).run([a, b])
    assert all(same_bytes(y, w) for y, w in zip(outputs, model.predict([a, b]), strict=True))
    out = [np.empty_like(y) for y in stream.step([a[:, 0], b[:, 0]])]
    stream.reset()
    assert stream.step([a[:, 0], b[:, 0]], out)[1] is out[1]
    with pytest.raises(ValueError, match="list of 2 inputs"):
        stream.step(a[:, 0])
    with pytest.raises(ValueError, match=r"input 1: expected shape \(2, 2\)"):
        stream.step([a[:, 0], b[:1, 0]])


# ------------------------------------------------------------------- what a step takes


@pytest.fixture
def stream():
    return make("lstm").stream(2)


def test_a_step_converts_what_it_can(stream):
    x = np.random.default_rng(0).standard_normal((2, FEATURES)).astype(np.float32)
    first = stream.copy().step(x)
    wide = np.asfortranarray(x)
    for same in (x.astype(np.float64), x.tolist(), wide, np.repeat(x, 2, axis=1)[:, ::2], x.astype(">f4")):
        assert same_bytes(stream.copy().step(same), first)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((1, FEATURES)),
        np.zeros((2, FEATURES + 1)),
        np.zeros((2, 1, FEATURES)),
        np.zeros(FEATURES),
        [["a"] * FEATURES] * 2,
        None,
    ],
)
def test_a_wrong_step_is_refused_and_changes_nothing(stream, x):
    before = pickle.dumps(stream.get_state())
    with pytest.raises(ValueError, match="expected"):
        stream.step(x)
    assert pickle.dumps(stream.get_state()) == before


def test_out_is_filled_and_returned(stream):
    x = np.ones((2, FEATURES), np.float32)
    wanted = stream.copy().step(x)
    out = np.empty((2, 2), np.float32)
    assert stream.step(x, out=out) is out
    assert same_bytes(out, wanted)


@pytest.mark.parametrize(
    "out",
    [np.empty((2, 3), np.float32), np.empty((2, 2)), np.empty((2, 4), np.float32)[:, ::2], [[0.0, 0.0]] * 2],
)
def test_a_wrong_out_is_refused(stream, out):
    with pytest.raises(ValueError, match="out"):
        stream.step(np.ones((2, FEATURES), np.float32), out=out)


def test_out_may_not_be_the_input_or_read_only():
    stream = chain(layers.Dense(FEATURES)).stream()
    x = np.ones((1, FEATURES), np.float32)
    with pytest.raises(ValueError, match="shares memory"):
        stream.step(x, out=x)
    out = np.empty((1, FEATURES), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        stream.step(x, out=out)


def test_an_empty_block():
    sequences_out, last_out = make("gru").stream(2), make("lstm").stream(2)
    empty = np.zeros((2, 0, FEATURES), np.float32)
    assert sequences_out.run(empty).shape == (2, 0, 3)
    with pytest.raises(ValueError, match="at least one timestep"):
        last_out.run(empty)
    with pytest.raises(ValueError, match=r"expected shape \(2, timesteps, 5\)"):
        last_out.run(np.zeros((3, 4, FEATURES)))


def test_an_id_out_of_range_changes_nothing():
    stream = make("embedding").stream(2)
    stream.step([3, 4])
    before = pickle.dumps(stream.get_state())
    with pytest.raises(ValueError, match="11"):
        stream.step([3, 11])
    with pytest.raises(ValueError, match="int32"):
        stream.step([0.5, 1])
    assert pickle.dumps(stream.get_state()) == before


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "2"])
def test_a_wrong_batch_size_is_refused(batch_size):
    with pytest.raises(ValueError, match="batch_size"):
        make("lstm").stream(batch_size)


# ------------------------------------------------------------------------------ states


def test_the_state_is_plain_arrays_by_layer_name():
    stream = chain(
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2, name="conv"),
        layers.LSTM(6, return_sequences=True, name="lstm"),
        layers.GRU(2, return_sequences=True, name="gru"),
        layers.GlobalAveragePooling1D(name="mean"),
    ).stream(3)
    stream.run(np.ones((3, 5, FEATURES)))
    shapes = {key: [(a.shape, str(a.dtype)) for a in arrays] for key, arrays in stream.get_state().items()}
    assert shapes == {
        "conv": [((3, 4, FEATURES), "float32")],
        "lstm": [((3, 6), "float32")] * 2,
        "gru": [((3, 2), "float32")],
        "mean": [((3, 2), "float64"), ((3, 1), "float64")],
        "timesteps_seen": [((3,), "int64")],
    }
    assert stream.get_state()["timesteps_seen"][0].tolist() == [5, 5, 5]


def test_a_running_mean_stays_right_after_more_timesteps_than_int32_counts():
    stream = chain(layers.GlobalAveragePooling1D(name="mean")).stream(2)
    stream.run(np.ones((2, 1, FEATURES)))
    state = stream.get_state()
    seen = 2**31 - 2
    sums, count = state["mean"]
    sums[:], count[:] = 3.0 * seen, seen
    stream.set_state(state)
    for _ in range(4):
        y = stream.step(np.full((2, FEATURES), 3.0, np.float32))
        np.testing.assert_array_equal(y, np.full((2, FEATURES), 3.0, np.float32))
    assert stream.get_state()["mean"][1].tolist() == [[seen + 4.0]] * 2


def test_a_state_whose_running_mean_still_counts_in_int32_is_refused_by_name():
    stream = chain(layers.GlobalAveragePooling1D(name="mean")).stream(2)
    state = stream.get_state()
    state["mean"][1] = state["mean"][1].astype(np.int32)
    with pytest.raises(ValueError, match=r"state of 'mean': expected float64 \(2, 1\), got int32 \(2, 1\)"):
        stream.set_state(state)


def test_a_lstm_state_is_what_return_state_gives():
    x = np.random.default_rng(0).standard_normal((2, 6, FEATURES)).astype(np.float32)
    layer = layers.LSTM(4, name="lstm", return_state=True)
    _, h, c = layer(x)
    stream = Sequential([unrolled.Input((None, FEATURES)), layer]).stream(2)
    stream.run(x)
    state = stream.get_state()["lstm"]
    assert same_bytes(state[0], h)
    assert same_bytes(state[1], c)


def test_calls_of_one_layer_and_layers_of_one_name_have_states_of_their_own():
    assert sorted(make("shared_layer").stream().get_state()) == ["gru", "gru#2", "timesteps_seen"]
    assert sorted(make("nested").stream().get_state()) == ["lstm", "lstm#2", "lstm_1", "timesteps_seen"]
    named = chain(layers.GRU(2, name="timesteps_seen")).stream()
    assert sorted(named.get_state()) == ["timesteps_seen", "timesteps_seen#2"]


def test_the_state_is_a_copy(stream):
    state = stream.get_state()
    state["lstm"][0][...] = 7
    assert not stream.get_state()["lstm"][0].any()


def spoil(state, key, value):
    if value is None:
        del state[key]
    else:
        state[key] = value
    return state


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lstm", None),
        ("other", [np.zeros((2, 4), np.float32)]),
        ("lstm", [np.zeros((2, 4), np.float32)]),
        ("lstm", [np.zeros((2, 4), np.float32)] * 3),
        ("lstm", [np.zeros((1, 4), np.float32)] * 2),
        ("lstm", [np.zeros((2, 4))] * 2),
        ("timesteps_seen", [np.array([1])]),
        ("timesteps_seen", [np.array([1, -1])]),
        ("timesteps_seen", None),
    ],
)
def test_a_wrong_state_is_refused_and_changes_nothing(stream, key, value):
    stream.step(np.ones((2, FEATURES), np.float32))
    before = pickle.dumps(stream.get_state())
    with pytest.raises(ValueError, match="state"):
        stream.set_state(spoil(stream.get_state(), key, value))
    with pytest.raises(ValueError, match="state"):
        stream.set_state([1, 2])
    assert pickle.dumps(stream.get_state()) == before


def test_reset_of_all_and_of_rows():
    model = make("masked_global_average")
    x = sequences(model, 3, 6)
    stream, fresh = model.stream(3), model.stream(3)
    stream.run(x[:, :4])
    stream.reset([2, 0])
    assert stream.get_state()["timesteps_seen"][0].tolist() == [0, 4, 0]
    after, anew, untouched = stream.step(x[:, 4]), fresh.step(x[:, 4]), model.predict(x[:, :5])
    assert same_bytes(after[[0, 2]], anew[[0, 2]])
    assert same_bytes(after[1], untouched[1])
    stream.reset(1)
    stream.reset()
    assert stream.timesteps_seen == 0
    assert same_bytes(stream.step(x[:, 4]), anew)
    with pytest.raises(ValueError, match="no row 3"):
        stream.reset([0, 3])
    assert stream.timesteps_seen == 1


def test_a_stream_keeps_the_weights_that_it_was_made_with():
    model = make("lstm")
    x = sequences(model, 1, 4)
    stream = model.stream()
    before = model.predict(x)
    model.set_weights([w + 1 for w in model.get_weights()])
    assert same_bytes(stream.run(x), before)
    assert same_bytes(model.stream().run(x), model.predict(x))


def test_a_stream_outlives_its_model():
    stream = make("lstm").stream()
    assert stream.step(np.ones((1, FEATURES))).shape == (1, 2)


def _go_on(state, x, results):
    stream = make("masked_lstm").stream(2)
    stream.set_state(state)
    results.put((stream.timesteps_seen, stream.run(x)))


def test_a_client_moves_to_another_process():
    model = make("masked_lstm")
    x = sequences(model, 2, 9)
    stream = model.stream(2)
    stream.run(x[:, :4])
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_go_on, args=(stream.get_state(), x[:, 4:], results))
    process.start()
    seen, y = results.get(timeout=60)
    process.join()
    assert seen == 4
    assert same_bytes(y, model.predict(x))
