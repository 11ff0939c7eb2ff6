# SPDX-License-Identifier: MIT
"""Models, layers, streams and pools are pickled, copied and sent to other processes, and compute the same bits."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle

import cloudpickle
import joblib
import numpy as np
import pytest

import unrolled
from tests import fixtures
from unrolled import layers

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


def out_of_band(value):
    """Through protocol 5 with the buffers beside the pickle."""
    buffers = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[buffer.raw() for buffer in buffers])


def through_joblib(value):
    file = io.BytesIO()
    joblib.dump(value, file)
    file.seek(0)
    return joblib.load(file)


WAYS = {
    **{f"pickle {p}": lambda value, p=p: pickle.loads(pickle.dumps(value, protocol=p)) for p in PROTOCOLS},
    "out of band": out_of_band,
    "deepcopy": copy.deepcopy,
    "cloudpickle": lambda value: pickle.loads(cloudpickle.dumps(value)),
    "joblib": through_joblib,
}
# The protocols below the default one, and buffers beside it, differ in how pickle writes what it is given, not
# in what that is: every fixture goes through the other ways and one of these in turn.
IN_TURN = [name for name in WAYS if name in ("pickle 2", "pickle 3", "pickle 4", "out of band")]


def load(fixture):
    return unrolled.load_model(fixture.path, weights=fixture.weights_path)


def as_bytes(y):
    return [part.tobytes() for part in (y if isinstance(y, list | tuple) else [y])]


def call(fixture, model, number=0):
    x = fixture.calls()[number][0]
    return as_bytes(model(x) if fixture.entry.get("call") else model.predict(x, verbose=0))


def is_stateful(fixture):
    return fixture.entry.get("calls", 1) > 1


@pytest.mark.parametrize(("number", "fixture"), list(enumerate(fixtures.all_fixtures())), ids=str)
def test_copies_made_before_and_after_predict_give_the_bits_of_the_model(number, fixture):
    model = load(fixture)
    left_out = set(IN_TURN) - {IN_TURN[number % len(IN_TURN)]}
    ways = {name: way for name, way in WAYS.items() if name not in left_out}
    before = {name: way(model) for name, way in ways.items()}
    shallow = None if is_stateful(fixture) else copy.copy(model)
    expected = call(fixture, model)
    for name, other in before.items():
        assert call(fixture, other) == expected, name
    if shallow is not None:
        assert call(fixture, shallow) == expected
        assert call(fixture, copy.copy(model)) == expected
    # The states of a stateful model go on from where they are.
    after = {name: way(model) for name, way in ways.items()}
    expected = call(fixture, model, fixture.entry.get("calls", 1) - 1)
    for name, other in after.items():
        assert call(fixture, other, fixture.entry.get("calls", 1) - 1) == expected, name


@pytest.mark.parametrize("fixture", fixtures.all_fixtures()[::40], ids=str)
def test_a_copy_has_its_own_weights_and_the_original_keeps_its(fixture):
    model = load(fixture)
    expected = call(fixture, load(fixture))
    for name, way in WAYS.items():
        other = way(model)
        other.set_weights([np.zeros_like(weight) for weight in other.get_weights()])
        call(fixture, other)
        assert all(not weight.any() for weight in other.get_weights()), name
    assert call(fixture, model) == expected


def test_a_pickle_does_not_grow_by_predictions():
    model = unrolled.Sequential([layers.LSTM(64, input_shape=(5, 64))])
    model.count_params()
    before = len(pickle.dumps(model))
    for dtype in (np.float32, np.float64, np.int32):
        model.predict(np.zeros((2, 5, 64), dtype))
        model(np.zeros((2, 5, 64), dtype))
    model.stream()
    assert len(pickle.dumps(model)) <= before + 64


def test_weights_out_of_band_are_neither_copied_out_nor_in():
    model = unrolled.Sequential([layers.Dense(512, input_shape=(512,))])
    kernel = model.layers[0].kernel.numpy()
    buffers = []
    data = pickle.dumps(model, protocol=5, buffer_callback=buffers.append)
    assert len(data) < 10_000
    raw = [buffer.raw() for buffer in buffers]
    assert any(np.shares_memory(np.frombuffer(part, np.uint8), kernel) for part in raw)
    received = pickle.loads(data, buffers=raw)
    assert np.shares_memory(received.layers[0].kernel.numpy(), kernel)
    with pytest.raises(ValueError, match="read-only"):
        received.layers[0].kernel.numpy()[0] = 1
    received.layers[0].kernel.assign(np.zeros((512, 512)))
    assert model.layers[0].kernel.numpy().any()


def test_a_deep_graph_and_a_long_chain_are_pickled_without_recursion():
    tensor = entry = unrolled.Input((3,))
    shared = layers.Dense(3)
    for _ in range(800):
        tensor = layers.Add()([shared(tensor), tensor])
        tensor = layers.UnitNormalization()(tensor)
    graph = unrolled.Model(entry, tensor)
    chain = unrolled.Sequential([layers.Dense(2, input_shape=(3,)), *(layers.Dense(2) for _ in range(2000))])
    x = np.ones((2, 3), np.float32)
    for model in (graph, chain):
        expected = as_bytes(model.predict(x))
        for way in (WAYS["pickle 5"], copy.deepcopy):
            assert as_bytes(way(model).predict(x)) == expected


def test_models_that_share_a_layer_still_share_it_when_they_are_copied_together():
    entry = unrolled.Input((4, 3))
    shared = layers.GRU(3, return_sequences=True)
    middle = shared(entry)
    first, second = unrolled.Model(entry, middle), unrolled.Model(entry, layers.LSTM(2)(shared(middle)))
    for name, way in WAYS.items():
        one, two = way((first, second))
        assert one.layers[1] is two.get_layer(shared.name), name
        one.layers[1].set_weights([np.zeros_like(w) for w in shared.get_weights()])
        x = np.ones((1, 4, 3), np.float32)
        assert not one.predict(x).any()
        assert as_bytes(two.predict(x)) != as_bytes(second.predict(x))


def test_a_nested_model_and_inputs_from_the_middle_of_a_graph_are_copied():
    entry = unrolled.Input((4, 3))
    middle = layers.LSTM(3, return_sequences=True)(entry)
    inner = unrolled.Model(entry, layers.Dense(2)(middle))
    outer_entry = unrolled.Input((4, 3))
    outer = unrolled.Model(outer_entry, layers.Add()([inner(outer_entry), inner(outer_entry)]))
    tail = unrolled.Model(middle, layers.Dense(2)(middle))
    x = np.ones((2, 4, 3), np.float32)
    for model in (outer, tail):
        for name, way in WAYS.items():
            assert as_bytes(way(model).predict(x)) == as_bytes(model.predict(x)), name
        again = way(model)
        assert again.output_shape == model.output_shape
        assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]


def test_a_shallow_copy_shares_layers_and_nothing_else():
    model = unrolled.Sequential([layers.Dense(2, input_shape=(3,))])
    other = copy.copy(model)
    other.add(layers.Dense(5))
    assert (len(model.layers), len(other.layers)) == (1, 2)
    assert model.predict(np.zeros((1, 3))).shape == (1, 2)
    other.layers[0].set_weights([np.zeros((3, 2)), np.ones(2)])
    assert (model.predict(np.zeros((1, 3))) == 1).all()


def cube(x):
    return x**3


def test_functions_of_the_user_are_pickled_by_reference():
    def make(function):
        activation = unrolled.activations.custom("cube", function)
        return unrolled.Sequential([layers.Dense(3, activation=activation, input_shape=(4,))])

    x = np.ones((2, 4), np.float32)
    model = make(cube)
    other = pickle.loads(pickle.dumps(model))
    assert other.layers[0].activation.function is cube
    assert as_bytes(other.predict(x)) == as_bytes(model.predict(x))
    local = make(lambda z: z**2)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(local)
    assert as_bytes(pickle.loads(cloudpickle.dumps(local)).predict(x)) == as_bytes(local.predict(x))
    assert as_bytes(copy.deepcopy(local).predict(x)) == as_bytes(local.predict(x))


@pytest.mark.parametrize("name", sorted(WAYS))
def test_a_layer_is_copied_before_it_is_built_and_after_it_was_called(name):
    x = np.ones((2, 5, 3), np.float32)
    fresh = WAYS[name](layers.Bidirectional(layers.GRU(4, return_sequences=True)))
    assert fresh(x).shape == (2, 5, 8)
    layer = layers.LSTM(4, stateful=True, return_state=True)
    layer(x)
    other = WAYS[name](layer)
    assert as_bytes(other(x)) == as_bytes(layer(x))


@pytest.mark.parametrize("name", [*sorted(WAYS), "copy"])
def test_a_stream_goes_on_from_its_state_in_the_copy(name):
    way = WAYS.get(name, copy.copy)
    model = unrolled.Sequential(
        [layers.Conv1D(3, 2, padding="causal", input_shape=(None, 2)), layers.LSTM(4)]
    )
    x = np.random.default_rng(1).standard_normal((3, 9, 2)).astype(np.float32)
    stream = model.stream(batch_size=3)
    stream.run(x[:, :4])
    other = way(stream)
    assert other.timesteps_seen == 4
    expected = stream.run(x[:, 4:])
    assert as_bytes(other.run(x[:, 4:])) == as_bytes(expected) == as_bytes(model.predict(x))


@pytest.mark.parametrize("name", [*sorted(WAYS), "copy"])
def test_a_pool_keeps_its_clients_under_their_ids_in_the_copy(name):
    way = WAYS.get(name, copy.copy)
    model = unrolled.Sequential([layers.GRU(4, input_shape=(None, 2))])
    x = np.random.default_rng(2).standard_normal((4, 6, 2)).astype(np.float32)
    pool = model.stream_pool(capacity=2)
    closed = [pool.open() for _ in range(3)]
    ids = [pool.open() for _ in range(4)]
    for id in closed:
        pool.close(id)
    for t in range(3):
        pool.step(ids, x[:, t])
    other = way(way(pool))
    assert len(other) == len(pool) == 4
    given = {*closed, *ids}
    for id in closed:
        with pytest.raises(ValueError, match="client"):
            other.step([id], x[:1, 0])
    new = other.open()
    assert new not in given
    other.close(new)
    assert other.open() not in {*given, new}
    for t in range(3, 6):
        mine, theirs = pool.step(ids[::-1], x[::-1, t]), other.step(np.array(ids[::-1]), x[::-1, t])
        assert as_bytes(mine) == as_bytes(theirs)
    for id in ids:
        assert pool.state(id)["timesteps_seen"] == other.state(id)["timesteps_seen"] == [6]
        other.reset(id)
        other.set_state(id, pool.state(id))
        other.close(id)


def test_a_stream_is_copied_with_the_weights_that_it_was_made_with():
    model = unrolled.Sequential([layers.GRU(4, input_shape=(None, 2))])
    x = np.ones((1, 5, 2), np.float32)
    stream, pool = model.stream(), model.stream_pool()
    client = pool.open()
    expected = as_bytes(model.predict(x))
    model.set_weights([0 * weight for weight in model.get_weights()])
    for way in (*WAYS.values(), copy.copy):
        assert as_bytes(way(stream).run(x)) == expected
        other = way(pool)
        for t in range(5):
            y = other.step([client], x[:, t])
        assert as_bytes(y) == expected
    assert not model.predict(x).any()
    model.layers[0].activation = "relu"
    with pytest.raises(ValueError, match="has been changed since"):
        pickle.dumps(stream)


def predict_elsewhere(job):
    data, x, called = job
    model = pickle.loads(data)
    return as_bytes(model(x) if called else model.predict(x, verbose=0))


def test_models_of_many_kinds_predict_the_same_in_processes_started_by_spawn():
    chosen = fixtures.all_fixtures()
    jobs, expected = [], []
    for fixture in chosen:
        model = load(fixture)
        x, called = fixture.calls()[0][0], bool(fixture.entry.get("call"))
        before = pickle.dumps(model)
        expected.append(call(fixture, model))
        jobs.append((before, x, called))
        if not is_stateful(fixture):
            expected.append(expected[-1])
            jobs.append((pickle.dumps(model), x, called))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(predict_elsewhere, jobs) == expected


def test_joblib_runs_a_model_in_its_workers():
    model = unrolled.Sequential([layers.LSTM(4, input_shape=(5, 2))])
    x = np.random.default_rng(0).standard_normal((4, 3, 5, 2)).astype(np.float32)
    expected = [as_bytes(model.predict(part)) for part in x]
    results = joblib.Parallel(n_jobs=2)(joblib.delayed(model.predict)(part) for part in x)
    assert [as_bytes(y) for y in results] == expected


@pytest.mark.parametrize("make", [lambda m: m, lambda m: m.layers[0], lambda m: m.stream()])
def test_equality_of_models_layers_and_streams_is_identity(make):
    model = unrolled.Sequential([layers.LSTM(4, input_shape=(None, 2))])
    one = make(model)
    assert one == one
    assert one != copy.deepcopy(one)
