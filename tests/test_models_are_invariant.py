# SPDX-License-Identifier: MIT
"""Whole models give the same bytes for a row whatever its batch, the threads, the callers and the ISA."""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import unrolled
from tests import fixtures
from tests.tolerances import TOLERANCES


def is_row_wise(fixture):
    return not fixture.entry.get("call") and "batch_size" not in fixture.recipe


def loadable(fixture):
    try:
        return unrolled.load_model(fixture.path, weights=fixture.weights_path)
    except unrolled.UnsupportedModelError:
        return None


def as_list(y):
    return list(y) if isinstance(y, list | tuple) else [y]


def assert_same_bytes(got, expected):
    for a, b in zip(as_list(got), as_list(expected), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.fixture
def threads():
    """Sets the number of threads; the test leaves it as it found it."""
    before = unrolled.get_num_threads()
    yield unrolled.set_num_threads
    unrolled.set_num_threads(before)


ROW_WISE = [fixture for fixture in fixtures.all_fixtures() if is_row_wise(fixture)]


@pytest.mark.parametrize("fixture", ROW_WISE, ids=str)
def test_a_row_alone_and_in_any_batch_gives_the_same_bytes(fixture):
    model = loadable(fixture)
    if model is None:
        pytest.skip("refused, see test_fixtures.py")
    x, _ = fixture.calls()[0]
    whole = as_list(model.predict(x, verbose=0))
    assert_same_bytes(model.predict(x, batch_size=2, verbose=0), whole)
    order = np.arange(len(x))[::-1].repeat(7)
    many = as_list(model.predict(x[order], verbose=0))
    for part, all_rows in zip(many, whole, strict=True):
        assert part.tobytes() == all_rows[order].tobytes()
    for row in range(len(x)):
        alone = as_list(model.predict(x[row : row + 1], verbose=0))
        for part, all_rows in zip(alone, whole, strict=True):
            assert part.tobytes() == all_rows[row : row + 1].tobytes()


BUSY = [
    "deep_lstm_with_flatten_and_dense",
    "conv_pool_lstm_classifier",
    "bidirectional_lstm_concat_sequences",
]


@pytest.mark.parametrize("name", BUSY)
def test_the_number_of_threads_does_not_change_a_byte(name, threads):
    fixture = fixtures.fixture("keras3", name)
    model = loadable(fixture)
    x = np.resize(fixture.calls()[0][0], (257, *fixture.calls()[0][0].shape[1:]))
    threads(1)
    alone = model.predict(x, verbose=0)
    for count in (2, 3, 8):
        threads(count)
        assert_same_bytes(model.predict(x, verbose=0), alone)


@pytest.mark.parametrize("name", [*BUSY, "lstm_masked_by_embedding"])
def test_many_threads_calling_one_model_get_what_one_gets_alone(name):
    fixture = fixtures.fixture("keras3", name)
    model = loadable(fixture)
    x = fixture.calls()[0][0]
    batches = [np.roll(x, shift, axis=0)[: 1 + shift % len(x)] for shift in range(24)]
    expected = [model(batch) for batch in batches]
    start = threading.Barrier(8)

    def client(number):
        start.wait()
        return [(i, model(batches[i])) for _ in range(20) for i in range(number, len(batches), 3)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for results in pool.map(client, range(8)):
            for i, got in results:
                assert_same_bytes(got, expected[i])


def test_a_layer_called_by_many_threads_gives_each_its_own_result():
    layer = unrolled.layers.LSTM(9, return_sequences=True)
    xs = [np.full((2, 5 + n % 3, 4), 0.1 * n, np.float32) for n in range(12)]
    layer.build(xs[0].shape)
    expected = [layer(x) for x in xs]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for got, want in zip(pool.map(layer, xs * 20), expected * 20, strict=True):
            assert_same_bytes(got, want)


def test_the_gil_is_free_while_a_model_computes():
    model = unrolled.Sequential(
        [
            unrolled.Input((200, 64)),
            unrolled.layers.LSTM(256, return_sequences=True),
            unrolled.layers.LSTM(256),
        ]
    )
    x = np.zeros((64, 200, 64), np.float32)
    model.predict(x[:1], verbose=0)
    ticks = 0
    done = threading.Event()

    def predict():
        model.predict(x, verbose=0)
        done.set()

    # Without a switch interval to force it, this thread runs only while the other has let go of the GIL.
    before = sys.getswitchinterval()
    worker = threading.Thread(target=predict)
    sys.setswitchinterval(100)
    try:
        worker.start()
        while not done.is_set():
            ticks += 1
            done.wait(0.0005)
    finally:
        sys.setswitchinterval(before)
        worker.join()
    assert ticks > 3


def report_on(isa):
    """``tests.accuracy_report --json`` on one ISA: fixture to (hash, distance from Keras)."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.accuracy_report", "--json"],
        env=os.environ | {"UNROLLED_ISA": isa},
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(process.stdout)
    assert report["isa"] == isa
    return {row["fixture"]: row for row in report["rows"]}


def test_every_instruction_set_is_near_keras_and_those_with_fused_multiply_add_give_the_same_bytes():
    reports = {isa: report_on(isa) for isa in unrolled.available_isas()}
    absolute, relative = TOLERANCES["default"]
    for isa, rows in reports.items():
        assert len(rows) > 600
        far = {
            name: row["unrolled_keras"]
            for name, row in rows.items()
            if row["unrolled_keras"] > absolute + relative
        }
        assert not far, isa
    fused = [rows for isa, rows in reports.items() if isa != "baseline"]
    for rows in fused[1:]:
        different = [name for name, row in rows.items() if row["sha256"] != fused[0][name]["sha256"]]
        assert not different


def test_unrolled_is_no_farther_from_float64_than_keras_is():
    from tests.accuracy_report import measure_all

    rows = measure_all()
    # Single fixtures may round either way; all together show who is nearer.
    mine = np.mean([row.unrolled_float64 for row in rows])
    keras = np.mean([row.keras_float64 for row in rows])
    assert mine <= keras
