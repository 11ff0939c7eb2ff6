# SPDX-License-Identifier: MIT
"""Threads that call, save and change one model at once: every result has the bits that a lone caller gets."""

# ruff: noqa: B023 - threads end within the iteration that starts them

from __future__ import annotations

import copy
import pickle
import sys
import threading

import numpy as np
import pytest

import unrolled
from tests import soak
from tests.random_models import as_bytes, random_model, random_weights
from unrolled import layers
from unrolled.engine.variables import MAX_CACHED_PLANS, PlanCache
from unrolled.layers.base import Layer
from unrolled.models import saving
from unrolled.semantics import Semantics

# As tf.keras 2 has them, as far as masks go: every model has something that Keras 3 does otherwise.
OLD = Semantics(bidirectional_zero_output=False, time_distributed_mask="inner", masked_output="state")


@pytest.fixture(autouse=True)
def threads_take_turns_all_the_time():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(*tasks):
    """Run the tasks in threads of their own, started together; their results."""
    start = threading.Barrier(len(tasks))
    results, errors = [None] * len(tasks), []

    def run(number, task):
        try:
            start.wait()
            results[number] = task()
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=run, args=item) for item in enumerate(tasks)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return results


@pytest.mark.parametrize("block", range(10))
def test_four_first_calls_at_once_give_the_bits_of_one(block):
    for seed in range(50 * block, 50 * (block + 1)):
        lone, x = random_model(seed)
        expected = as_bytes(lone.predict(x, verbose=0))
        model, _ = random_model(seed)
        calls = [lambda: model.predict(x, verbose=0), lambda: model(x)] * 2
        assert [as_bytes(y) for y in at_once(*calls)] == [expected] * 4, seed
        assert as_bytes(model.predict(x, verbose=0)) == expected, seed  # what was kept is right, too


def test_first_calls_of_a_layer_that_is_not_built_build_it_once():
    for seed in range(50):
        x = np.random.default_rng(seed).standard_normal((2, 5, 3)).astype(np.float32)
        layer = layers.Bidirectional(layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)]))
        results = at_once(*[lambda: as_bytes(layer(x))] * 4)
        assert results == [results[0]] * 4
        assert len(layer.weights) == len({id(v) for v in layer.weights}) == 12


def test_first_calls_of_a_model_that_is_not_built_build_it_once():
    for _ in range(30):
        model = unrolled.Sequential([layers.LSTM(3, return_sequences=True), layers.Dense(2)])
        x = np.ones((2, 5, 3), np.float32)
        results = at_once(*[lambda: as_bytes(model.predict(x, verbose=0))] * 4)
        assert results == [results[0]] * 4
        assert len(model.weights) == 5


def test_saving_beside_predictions_changes_none_of_them(tmp_path):
    for seed in range(25):
        model, x = random_model(seed)
        for layer in model.walk():
            layer.semantics = OLD
        expected = as_bytes(random_old(seed).predict(x, verbose=0))
        path = tmp_path / f"{seed}.keras"
        results = at_once(
            lambda: model.save(path, approximate=True),
            lambda: [as_bytes(model.predict(x, verbose=0)) for _ in range(5)],
            lambda: [as_bytes(model(x)) for _ in range(5)],
        )
        assert results[1] == results[2] == [expected] * 5, seed
        assert all(layer.semantics == OLD for layer in model.walk())


def random_old(seed):
    model, _ = random_model(seed)
    for layer in model.walk():
        layer.semantics = OLD
    return model


def test_lowering_by_other_rules_writes_to_no_layer(monkeypatch):
    model = next(model for model in map(random_old, range(50)) if saving.differing_layers(model))
    written = []
    original = Layer.__setattr__

    def watch(layer, name, value):
        written.append((layer.name, name))
        original(layer, name, value)

    monkeypatch.setattr(Layer, "__setattr__", watch)
    assert saving.differing_layers(model)
    model.predict(np.zeros((2, *model.input_shape[1:]), np.float32), verbose=0)
    assert not written


def test_weights_set_beside_predictions_give_old_or_new_results_and_stay():
    for seed in range(60):
        model, x = random_model(seed)
        sets = [random_weights(model, 1000 * seed + number) for number in range(4)]
        allowed = []
        for weights in sets:
            model.set_weights(weights)
            allowed.append(as_bytes(model.predict(x, verbose=0)))

        def change(model=model, sets=sets):
            for weights in sets:
                model.set_weights(weights)

        def look(model=model, x=x):
            return [as_bytes(model(x)) for _ in range(6)]

        _, *results = at_once(change, look, look, lambda m=model, x=x: [as_bytes(m.predict(x, verbose=0))])
        assert all(y in allowed for result in results for y in result), seed
        assert as_bytes(model.predict(x, verbose=0)) == allowed[-1], seed
        assert as_bytes(model(x)) == allowed[-1], seed
        assert as_bytes(model(x)) == allowed[-1], seed


def test_options_set_beside_predictions_leave_no_plan_of_the_old_ones():
    x = np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32)
    for _ in range(40):
        layer = layers.Dense(3)
        model = unrolled.Sequential([unrolled.Input((5, 4)), layer])

        def change(layer=layer):
            for name in ("relu", "tanh", "sigmoid"):
                layer.activation = name

        at_once(change, *[lambda m=model: [m(x) for _ in range(5)]] * 2)
        y = model(x)
        np.testing.assert_array_equal(y, model.predict(x, verbose=0))
        assert ((y > 0) & (y < 1)).all()


def test_a_cache_that_many_threads_fill_keeps_its_size_and_what_is_current():
    cache = PlanCache()
    compiled = []

    def fill(first):
        for number in range(300):
            key = (first + number) % 40
            assert cache.get_or_compile(key, lambda key=key: compiled.append(key) or key) == key

    at_once(*[lambda first=first: fill(first) for first in range(0, 40, 10)])
    assert len(cache._plans) <= MAX_CACHED_PLANS
    assert all(key == plan for key, plan in cache._plans.items())


def test_a_plan_that_was_compiled_while_something_changed_is_given_but_not_kept():
    cache = PlanCache()

    def compile_plan():
        cache.invalidate(options=False)
        return "old"

    assert cache.get_or_compile("key", compile_plan) == "old"
    assert cache.get("key") is None
    assert cache.get_or_compile("key", lambda: "new") == cache.get("key") == "new"


def test_a_plan_is_compiled_once_however_many_threads_ask():
    for _ in range(20):
        cache, count = PlanCache(), []
        at_once(*[lambda c=cache, n=count: c.get_or_compile("key", lambda: n.append(1) or "plan")] * 8)
        assert count == [1]


def test_no_plan_is_made_of_some_old_and_some_new_weights():
    model = unrolled.Sequential([layers.Dense(1, input_shape=(1,), use_bias=True)])
    x = np.ones((1, 1), np.float32)
    stop = threading.Event()

    def change():
        for number in range(400):
            model.set_weights([np.full((1, 1), float(number)), np.full(1, -float(number))])
        stop.set()

    def look():
        found = []
        while not stop.is_set():
            found.append(float(model(x)[0, 0]))
        return found

    model.set_weights([np.zeros((1, 1)), np.zeros(1)])
    _, *results = at_once(change, look, look)
    assert {value for result in results for value in result} <= {0.0}


def of_opposites(number):
    """Weights that give 0 together, and something else with the other half of another number."""
    return [np.full((1, 1), float(number)), np.full(1, -float(number))]


def test_no_prediction_sees_some_old_weights_and_some_that_load_weights_has_read(tmp_path):
    model = unrolled.Sequential([layers.Dense(1, input_shape=(1,))])
    x = np.ones((1, 1), np.float32)
    for number in range(4):
        model.set_weights(of_opposites(number))
        model.save(tmp_path / f"{number}.keras")
    stop = threading.Event()

    def change():
        for number in range(80):
            model.load_weights(tmp_path / f"{number % 4}.keras")
        stop.set()

    def look():
        found = set()
        while not stop.is_set():
            found |= {float(model(x)[0, 0]), float(sum(weight.sum() for weight in model.get_weights()))}
        return found

    _, *results = at_once(change, look, look)
    assert set().union(*results) == {0.0}


@pytest.mark.parametrize("way", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
@pytest.mark.parametrize("is_layer", [False, True])
def test_a_copy_made_while_weights_are_set_has_those_of_one_moment(way, is_layer):
    model = unrolled.Sequential([unrolled.Input((1,)), *(layers.Dense(1) for _ in range(20))])
    subject = model.layers[0] if is_layer else model
    count = len(subject.weights) // 2
    stop = threading.Event()

    def change():
        for number in range(400):
            subject.set_weights(of_opposites(number) * count)
        stop.set()

    def make_copies():
        found = []
        while not stop.is_set():
            found.append({abs(float(weight.sum())) for weight in way(subject).get_weights()})
        return found

    subject.set_weights(of_opposites(0) * count)
    _, *results = at_once(change, make_copies, make_copies)
    assert all(len(values) == 1 for result in results for values in result)


def test_a_short_soak_of_many_threads_shows_no_wrong_bit():
    report = soak.run(threads=8, seconds=4, models=24)
    assert report.wrong == []
    assert report.calls > 100
    assert report.changes > 10
    assert report.first_calls > 10
