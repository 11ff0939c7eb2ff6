# SPDX-License-Identifier: MIT
"""Run by test_failed_allocations.py with failing_memory.cc preloaded: every allocation of a call fails once."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import unrolled
from unrolled import _core, layers

memory = ctypes.CDLL(sys.argv[2])


def with_memory(make: Callable[..., Any]) -> Callable[..., Any]:
    """``make`` while nothing fails: pybind11 3.0 cannot do without the memory in which it registers an object.

    An exception there leaves its C function for a new object, and frees the object of a shared pointer.
    """

    def made(*given: Any, **named: Any) -> Any:
        memory.pause_failing(1)
        try:
            return make(*given, **named)
        finally:
            memory.pause_failing(0)

    return made


_core.PlanBuilder.finish = with_memory(_core.PlanBuilder.finish)  # type: ignore[method-assign]
for name in ("PlanBuilder", "Activation", "Direction", "Stream", "StreamPool"):
    setattr(_core, name, with_memory(getattr(_core, name)))

random = np.random.default_rng(1)
x = random.normal(size=(70, 40, 6)).astype(np.float32)
step = random.normal(size=(2, 6)).astype(np.float32)


def model(**settings: Any) -> unrolled.Sequential:
    made = unrolled.Sequential(
        [
            layers.Input((None, 6)),
            layers.LSTM(9, return_sequences=True),
            layers.GRU(32, return_sequences=True),
            layers.Dense(6, activation="softmax"),
        ]
    )
    shapes = np.random.default_rng(2)
    made.set_weights([shapes.normal(size=w.shape).astype(np.float32) / 4 for w in made.get_weights()])
    return made


Made = tuple[Any, Callable[[Any], list[Any]]]


def predict() -> Made:
    return model(), lambda made: [made.predict(x)]


def predict_with_two_threads() -> Made:
    unrolled.set_num_threads(2)
    return model(), lambda made: [made.predict(x)]


def new_stream() -> Made:
    return model(), lambda made: [made.stream(batch_size=2).step(step)]


def step_of_a_stream() -> Made:
    many = np.repeat(step, 1000, axis=0)  # so many that it is a run of its own
    return model().stream(batch_size=2000), lambda stream: [stream.step(many)]


def block_of_a_stream() -> Made:
    return model().stream(batch_size=70), lambda stream: [stream.run(x)]


def new_client_of_a_pool() -> Made:
    pool = model().stream_pool(1)
    pool.open()
    return pool, lambda pool: [pool.step([pool.open()], step[:1])]


def step_of_a_pool() -> Made:
    pool = model().stream_pool(2)
    ids = [pool.open(), pool.open()]
    return pool, lambda pool: [pool.step(ids, step)]


def generate() -> Made:
    return model(), lambda made: [made.generate(x[:2], 5)]


def generate_from_a_window() -> Made:
    return model(), lambda made: [made.generate(x[:2], 5, window=10)]


def main() -> None:
    make = globals()[sys.argv[1]]
    subject, call = make()
    expected = call(subject)
    failures = 0
    for count in range(100_000):
        subject, call = make()
        memory.fail_after(count)
        try:
            got = call(subject)
        except MemoryError:
            got = None
        has_failed = memory.stop_failing()
        failures += got is None
        if got is None:
            got = call(subject)
        for mine, right in zip(got, expected, strict=True):
            assert np.array_equal(mine, right), f"other bits after allocation {count} failed"
        if not has_failed:
            break
    assert failures > 3, failures
    print(failures)


main()
