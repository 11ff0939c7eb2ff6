# SPDX-License-Identifier: MIT
"""Operations as data: plans give back what they were made of, and nothing given to a builder crashes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from unrolled import _core
from unrolled._core import Activation, Direction, PlanBuilder

RELU = Activation("relu", float("inf"))
OPERATIONS = {operation["name"]: operation for operation in _core.operations()}


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def direction(cell: str = "lstm", gates: int = 4) -> Direction:
    return Direction(
        cell=cell,
        kernel=data(3, gates * 2),
        recurrent_kernel=data(2, gates * 2),
        bias=data(gates * 2),
        activation=Activation("tanh"),
        recurrent_activation=Activation("sigmoid"),
        write_reversed=True,
    )


def step_plan() -> _core.Plan:
    b = PlanBuilder()
    x, h = b.input("float32", 2), b.input("float32", 2)
    y = b.binary("add", b.dense(x, data(3, 2), None, RELU), h)
    return b.finish([y, y])


# By operation, its arguments from the ids of x [batch, time, 3], a mask [batch, time] and integers [batch, time].
CASES: dict[str, Callable[[int, int, int], dict[str, Any]]] = {
    "dense": lambda x, m, i: {"x": x, "kernel": data(3, 2), "bias": None, "activation": RELU},
    "recurrent": lambda x, m, i: {"x": x, "directions": [direction(), direction("simple_rnn", 1)], "mask": m},
    "scan": lambda x, m, i: {"x": x, "step": step_plan(), "state_shapes": [[2]], "return_sequences": True},
    "embedding": lambda x, m, i: {"ids": i, "table": data(9, 2)},
    "convolution": lambda x, m, i: {
        "x": x, "kernel": data(2, 3, 4), "bias": data(4), "strides": [1], "padding": "causal",
        "dilation": [2], "groups": 1, "activation": RELU,
    },
    "pool": lambda x, m, i: {"x": x, "kind": "max", "size": [2], "strides": [1], "padding": "same"},
    "reduce": lambda x, m, i: {"x": x, "kind": "mean", "axes": [-1], "keepdims": True},
    "masked_mean": lambda x, m, i: {"x": x, "mask": m, "keepdims": True},
    "activate": lambda x, m, i: {"x": x, "activation": Activation("elu", 0.5)},
    "softmax": lambda x, m, i: {"x": x, "axis": 1, "logarithm": True},
    "sparsemax": lambda x, m, i: {"x": x, "axis": -1},
    "binary": lambda x, m, i: {"kind": "multiply", "a": x, "b": x},
    "logical_not": lambda x, m, i: {"x": m},
    "select": lambda x, m, i: {"condition": m, "a": i, "b": i},
    "apply_mask": lambda x, m, i: {"x": x, "mask": m},
    "batch_normalization": lambda x, m, i: {
        "x": x, "axis": 2, "mean": data(3), "variance": data(3) ** 2, "gamma": None, "beta": data(3), "epsilon": 0.125,
    },
    "layer_normalization": lambda x, m, i: {
        "x": x, "axes": [2], "gamma": data(3), "beta": None, "epsilon": 0.125, "root_mean_square": True,
    },
    "reshape": lambda x, m, i: {"x": x, "target": [-1, 1]},
    "merge_time": lambda x, m, i: {"x": x},
    "split_time": lambda x, m, i: {"x": x, "like": x},
    "expand_dims": lambda x, m, i: {"x": x, "axis": 1},
    "squeeze": lambda x, m, i: {"x": x, "axis": 1},
    "transpose": lambda x, m, i: {"x": x, "permutation": [0, 2, 1]},
    "slice": lambda x, m, i: {"x": x, "axis": 1, "start": -1, "stop": None, "step": -(2**63)},
    "pad": lambda x, m, i: {"x": x, "axis": 1, "before": 1, "after": 2},
    "repeat": lambda x, m, i: {"x": x, "axis": 2, "count": 3},
    "concatenate": lambda x, m, i: {"xs": [x, x], "axis": 1},
    "matmul": lambda x, m, i: {"a": x, "b": x, "transpose_b": True},
    "cast": lambda x, m, i: {"x": i, "dtype": "float32"},
    "ones_like": lambda x, m, i: {"x": x, "dtype": "bool"},
}  # fmt: skip
CASES["running_mean"] = lambda x, m, i: {"x": x, "sums": i, "count": i, "mask": m}


def start() -> tuple[PlanBuilder, tuple[int, int, int]]:
    b = PlanBuilder()
    return b, (b.input("float32", 3), b.input("bool", 2), b.input("int32", 2))


def plain(value: Any) -> Any:
    """Arguments as values that compare."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, Activation | Direction):
        return plain(value.described())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def test_there_is_a_case_for_every_operation() -> None:
    assert set(CASES) == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_plan_gives_back_what_its_operations_were_made_with(name: str) -> None:
    b, values = start()
    given = CASES[name](*values)
    results = getattr(b, name)(**given)
    results = results if OPERATIONS[name]["gives_list"] else [results]
    (node,) = b.finish(results).operations()
    assert (node["name"], node["results"]) == (name, results)
    defaults = {p["name"]: p["default"] for p in OPERATIONS[name]["parameters"] if "default" in p}
    assert plain(node["arguments"]) == plain(defaults | given)
    assert list(node["arguments"]) == [parameter["name"] for parameter in OPERATIONS[name]["parameters"]]


@pytest.mark.parametrize(
    "name", [n for n in OPERATIONS if n not in ("running_mean", "squeeze", "split_time")]
)
def test_a_plan_made_anew_from_what_it_gives_back_has_the_same_bits(name: str) -> None:
    b, values = start()
    results = getattr(b, name)(**CASES[name](*values))
    plan = b.finish(results if isinstance(results, list) else [results])
    again, _ = start()
    for node in plan.operations():
        results = getattr(again, node["name"])(**node["arguments"])
    other = again.finish(results if isinstance(results, list) else [results])
    mask = np.array([[True, False, True, True], [True] * 4])
    inputs = [data(2, 4, 3), mask, np.arange(8, dtype=np.int32).reshape(2, 4)]
    for a, b_ in zip(plan.run(inputs), other.run(inputs), strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b_.dtype, b_.shape, b_.tobytes())


def test_arrays_that_change_later_do_not_change_what_a_plan_is_made_of() -> None:
    b, (x, *_) = start()
    kernel = data(3, 2)
    plan = b.finish([b.dense(x, kernel, None, RELU)])
    before = kernel.copy()
    kernel[:] = 0.0
    kept = plan.operations()[0]["arguments"]["kernel"]
    np.testing.assert_array_equal(kept, before)
    assert not kept.flags.writeable
    del plan, b
    np.testing.assert_array_equal(kept, before)  # an array of its own keeps the memory


class Hostile:
    """Has what the protocols ask for, and raises."""

    def __index__(self) -> int:
        raise RuntimeError("index")

    def __float__(self) -> float:
        raise RuntimeError("float")

    def __len__(self) -> int:
        raise RuntimeError("len")

    def __getitem__(self, item: int) -> int:
        raise RuntimeError("getitem")


WRONG: list[Any] = [
    None, True, -1, 0, 3, 999, 2**31, 2**40, 2**63 - 1, -(2**63), 2**80, 0.5, float("nan"), "", "x", "float32",
    "\ud800", b"x", [], (), [None], [[None]], [0], [999], [2**40], [-(2**63)], [2**80], [[2**62, 2**62]], [[-1]],
    ["x"], {}, {1: 2}, object(), Hostile(), [Hostile()], np.zeros(0), np.zeros((2,) * 9), np.zeros((3, 0)),
    np.zeros((0, 4)), np.zeros(3, complex), np.array(["a"]), np.array([None]), np.zeros((2, 3, 4), np.int8)[:, ::2],
    np.float64(2), np.bool_(True), RELU, PlanBuilder, PlanBuilder(), Direction, lambda: 0,
]  # fmt: skip


def attempt(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a call gives, None where it ends in one of the exceptions that are meant to end it."""
    try:
        return call(*args, **kwargs)
    except (TypeError, ValueError, RuntimeError, MemoryError):
        return None


@pytest.mark.parametrize("name", OPERATIONS)
def test_wrong_arguments_end_in_an_exception_or_a_plan_that_runs_or_refuses(name: str) -> None:
    shapes = [(2, 4, 3), (2, 4), (2, 4)]
    inputs = [data(*shapes[0]), np.ones(shapes[1], bool), np.arange(8, dtype=np.int32).reshape(shapes[2])]
    wrong = [*WRONG, direction(), [direction(), direction("gru_reset_before", 3)], step_plan()]
    for parameter in OPERATIONS[name]["parameters"]:
        for value in wrong:
            b, values = start()
            arguments = CASES[name](*values) | {parameter["name"]: value}
            results = attempt(getattr(b, name), **arguments)
            if results is None:
                continue
            plan = b.finish(results if isinstance(results, list) else [results])
            sizes = attempt(plan.output_shapes, shapes)
            if sizes is not None and sum(np.prod(size, dtype=float) for size in sizes) < 1e6:
                attempt(plan.run, inputs)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_wrong_number_of_arguments_is_told_by_operation_and_argument(name: str) -> None:
    b, values = start()
    method, given = getattr(b, name), CASES[name](*values)
    with pytest.raises(TypeError, match=f"{name}: .*missing"):
        method()
    with pytest.raises(TypeError, match=f"{name}: expected at most"):
        method(*range(20))
    with pytest.raises(TypeError, match=f"{name}: no parameter 'typo'"):
        method(**given, typo=1)
    with pytest.raises(TypeError, match=f"{name}: {next(iter(given))}: given twice"):
        method(next(iter(given.values())), **given)
    required = [p["name"] for p in OPERATIONS[name]["parameters"] if "default" not in p]
    for left_out in required:
        with pytest.raises(TypeError, match=f"{name}: {left_out}: missing"):
            method(**{key: value for key, value in given.items() if key != left_out})


def test_nothing_given_to_the_rest_of_the_module_crashes() -> None:
    b, _ = start()
    entries: list[Callable[..., Any]] = [
        b.input, b.constant, b.finish, Direction, Activation, _core.Plan, _core.Stream, _core.StreamPool,
        PlanBuilder.__new__(PlanBuilder).dense, _core.generate_from_window,
    ]  # fmt: skip
    for value in WRONG:
        for entry in entries:
            for arguments in ((), (value,), (value, value)):
                attempt(entry, *arguments)
        for key in ("cell", "kernel", "recurrent_kernel", "bias", "activation", "read_reversed"):
            attempt(Direction, **direction().described() | {key: value})


def test_none_among_the_directions_is_refused() -> None:
    b, (x, *_) = start()
    with pytest.raises(TypeError, match="recurrent: directions: expected a Direction, got NoneType"):
        b.recurrent(x, [None])


def test_threads_may_share_a_builder() -> None:
    b, (x, *_) = start()
    found: list[list[int]] = [[], [], [], []]

    def work(own: list[int]) -> None:
        for _ in range(200):
            own.append(b.dense(x, data(3, 2), None, RELU))

    threads = [threading.Thread(target=work, args=(own,)) for own in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [value for own in found for value in own]
    assert sorted(every) == list(range(3, 803))
    assert len(b.finish(every).operations()) == 800
