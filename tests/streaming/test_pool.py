# SPDX-License-Identifier: MIT
"""Pools give every client the bytes of predict on its own timesteps, whoever is stepped beside it."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import unrolled
from tests.streaming.causal_models import FEATURES, MODELS, make, sequences, several_inputs_and_outputs
from tests.streaming.test_stream import TIMESTEPS, known, same_bytes


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(sorted(MODELS)), seed=st.integers(0, 2**32 - 1))
def test_clients_in_any_order_get_the_bytes_of_predict(name, seed):
    """Clients open, close, start anew and move between pool and stream while others go on."""
    model, x, wanted = known(name)
    rng = np.random.default_rng(seed)
    pool = model.stream_pool(capacity=int(rng.integers(1, 4)))
    clients: dict[int, list[int]] = {}  # id to the row of x that it plays and its timestep
    for _ in range(12):
        if len(clients) < 6:
            clients[pool.open()] = [int(rng.integers(len(x))), 0]
        ids = [int(i) for i in rng.permutation(list(clients))[: rng.integers(1, 7)]]
        ids = [i for i in ids if clients[i][1] < TIMESTEPS]
        y = pool.step(ids, np.stack([x[clients[i][0], clients[i][1]] for i in ids]) if ids else x[:0, 0])
        for client, own in zip(ids, y, strict=True):
            row, t = clients[client]
            assert same_bytes(own, wanted[t][row])
            clients[client][1] += 1
        client = int(rng.choice(list(clients)))
        event = rng.integers(5)
        if event == 0:
            pool.close(client)
            del clients[client]
        elif event == 1:
            pool.reset(client)
            clients[client][1] = 0
        elif event == 2:
            stream = model.stream()
            stream.set_state(pickle.loads(pickle.dumps(pool.state(client))))
            assert stream.timesteps_seen == clients[client][1]
            clients[pool.open(stream.get_state())] = clients.pop(client)
            pool.close(client)
        elif event == 3:
            pool.set_state(client, pool.state(client))
    assert len(pool) == len(clients)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["lstm", "masked_lstm", "causal_convolutions", "wide"])
def test_many_clients_over_threads(name, threads):
    before = unrolled.get_num_threads()
    unrolled.set_num_threads(threads)
    try:
        model = make(name)
        x = sequences(model, 500, 3)
        pool = model.stream_pool(500)
        ids = np.array([pool.open() for _ in range(500)])
        order = np.random.default_rng(0).permutation(500)
        for t in range(3):
            y = pool.step(ids[order], x[order, t])
        wanted = model.predict(x)
        assert same_bytes(y, np.ascontiguousarray(wanted[:, -1] if wanted.ndim > 2 else wanted)[order])
    finally:
        unrolled.set_num_threads(before)


def test_several_inputs_and_outputs():
    model = several_inputs_and_outputs()
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 3), np.float32), rng.standard_normal((2, 4, 2), np.float32)
    pool = model.stream_pool()
    ids = [pool.open(), pool.open()]
    for t in range(4):
        outputs = pool.step(ids, {"a": a[:, t], "b": b[:, t]})
    wanted = model.predict([a, b])
    wanted[0] = np.ascontiguousarray(wanted[0][:, -1])
    assert all(same_bytes(y, w) for y, w in zip(outputs, wanted, strict=True))


@pytest.fixture
def pool():
    return make("lstm").stream_pool(capacity=2)


def steps(count):
    return np.ones((count, FEATURES), np.float32)


def test_room_doubles_when_it_is_full(pool):
    ids = [pool.open() for _ in range(2)]
    first = pool.step(ids, steps(2))
    assert pool.capacity == 2
    ids += [pool.open() for _ in range(3)]
    assert (pool.capacity, len(pool)) == (8, 5)
    assert len(set(ids)) == 5
    y = pool.step(ids, steps(5))
    assert same_bytes(y[2:4], first)


def test_ids_are_never_given_twice_and_rooms_are(pool):
    seen = set()
    for _ in range(100):
        client = pool.open()
        assert client not in seen
        seen.add(client)
        pool.step([client], steps(1))
        pool.close(client)
    assert pool.capacity == 2
    fresh = pool.open()
    assert not pool.state(fresh)["lstm"][0].any()


def test_wrong_clients_are_refused_before_anything_moves(pool):
    a, b = pool.open(), pool.open()
    pool.step([a, b], steps(2))
    before = pickle.dumps([pool.state(a), pool.state(b)])
    closed = pool.open()
    pool.close(closed)
    for ids, message in [
        ([a, b, 99], "no client 99"),
        ([a, -1], "no client -1"),
        ([a, 1 << 62], "no client"),
        ([a, closed], f"client {closed} is closed"),
        ([a, b, a], f"client {a} is there twice"),
        ([a, 1.5], "list of client ids"),
        ([[a, b]], "list of client ids"),
        (a, "list of client ids"),
    ]:
        with pytest.raises(ValueError, match=message):
            pool.step(ids, steps(np.size(ids)))
    with pytest.raises(ValueError, match="expected shape"):
        pool.step([a, b], steps(3))
    for method in (pool.close, pool.reset, pool.state):
        with pytest.raises(ValueError, match="closed"):
            method(closed)
        with pytest.raises(ValueError, match="no client"):
            method(12345)
    with pytest.raises(ValueError, match="closed"):
        pool.set_state(closed, pool.state(a))
    with pytest.raises(ValueError, match="state of 'lstm'"):
        pool.set_state(a, pool.state(a) | {"lstm": []})
    with pytest.raises(ValueError, match="expected a dict"):
        pool.open({})
    assert len(pool) == 2
    assert pickle.dumps([pool.state(a), pool.state(b)]) == before


def test_an_id_out_of_range_moves_no_client():
    pool = make("embedding").stream_pool()
    ids = [pool.open() for _ in range(300)]
    pool.step(ids, np.arange(300) % 11)
    before = pickle.dumps([pool.state(i) for i in ids])
    x = np.arange(300) % 11
    x[299] = 11
    with pytest.raises(ValueError, match="11"):
        pool.step(ids, x)
    assert pickle.dumps([pool.state(i) for i in ids]) == before


def test_no_clients_at_all(pool):
    assert pool.step([], steps(0)).shape == (0, 2)


@pytest.mark.parametrize("capacity", [0, -3, 2.5, True])
def test_a_wrong_capacity_is_refused(capacity):
    with pytest.raises(ValueError, match="capacity"):
        make("lstm").stream_pool(capacity)


def test_many_threads_share_a_pool():
    """Each thread has clients of its own; they open, step and close while the pool grows under them."""
    model = make("lstm")
    x = sequences(model, 8, 20)
    wanted = model.predict(x)
    pool = model.stream_pool(capacity=1)
    failures = []

    def work(row):
        try:
            for _ in range(5):
                client = pool.open()
                for t in range(20):
                    y = pool.step([client], x[row : row + 1, t])
                pool.close(client)
                assert same_bytes(y[0], wanted[row])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(row,)) for row in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(pool) == 0


def test_a_stream_that_two_threads_run_at_once_says_so():
    model = make("lstm")
    stream = model.stream(2000)
    x = sequences(model, 2000, 50)
    outcomes = []

    def work():
        try:
            for _ in range(20):
                stream.run(x)
            outcomes.append("ran")
        except RuntimeError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any("another thread" in outcome for outcome in outcomes)


@pytest.mark.parametrize("name", ["gru", "embedding"])
def test_no_clients_and_an_empty_list_are_an_empty_batch(name):
    pool = make(name).stream_pool()
    client = pool.open()
    x = sequences(make(name), 1, 1)[:, 0]
    assert pool.step([], []).shape == (0, *pool.step([client], x).shape[1:])
    assert len(pool) == 1
    with pytest.raises(ValueError, match="shape"):
        pool.step([client], [])
