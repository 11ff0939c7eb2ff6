# SPDX-License-Identifier: MIT
"""Plans with calls of Python functions in between: operations are recorded, then cut into plans at the calls.

A ``Recorder`` stands in for the C++ builder. What it recorded is run as one plan per segment, or hashed to
tell whether two ways of lowering compute the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import _core
from unrolled.engine.locks import ForkSafeLock

# By operation, the names of its parameters in order, and of those that take values.
PARAMETERS: dict[str, tuple[str, ...]] = {}
VALUES: dict[str, tuple[str, ...]] = {}
for _operation in _core.operations():
    PARAMETERS[_operation["name"]] = tuple(item["name"] for item in _operation["parameters"])
    VALUES[_operation["name"]] = tuple(
        item["name"] for item in _operation["parameters"] if item["kind"] in ("operand", "operands")
    )


@dataclass
class Step:
    """One recorded call: of the builder's ``method``, or of ``function`` with the arrays of ``operands``."""

    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: list[int]
    operands: list[int]
    function: Callable[..., Sequence[NDArray[Any]]] | None = None
    level: int = 0


@dataclass
class _Segment:
    """The steps between two rounds of Python calls, with what they take from before and give to later."""

    steps: list[Step] = field(default_factory=list)
    takes: list[int] = field(default_factory=list)
    gives: list[int] = field(default_factory=list)
    calls: list[Step] = field(default_factory=list)
    plan: _core.Plan | None = None


class Recorder:
    """Takes the calls of a ``PlanBuilder`` and remembers them; see the stub of ``_core`` for the methods."""

    def __init__(self) -> None:
        # Gives the ids, and checks arguments where they are given.
        self._builder = _core.PlanBuilder()
        self.steps: list[Step] = []
        self.inputs: list[int] = []
        self._declared: dict[int, tuple[str, int]] = {}
        self._outer: Recorder | None = None
        # By id, the plans that operations took, and their digests.
        self._plans: dict[int, tuple[_core.Plan, bytes]] = {}

    def input(self, dtype: str, rank: int) -> int:
        value = self._builder.input(_plan_dtype(dtype), rank)
        self.inputs.append(value)
        self._declared[value] = (dtype, rank)
        return value

    def __getattr__(self, method: str) -> Callable[..., Any]:
        function = getattr(self._builder, method)

        def record(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            results = list(result) if isinstance(result, list) else [result]
            self.steps.append(Step(method, args, kwargs, results, _operands(method, args, kwargs)))
            return result

        return record

    def call(
        self,
        function: Callable[..., Sequence[NDArray[Any]]],
        operands: Sequence[int],
        outputs: Sequence[tuple[str, int]],
    ) -> list[int]:
        """A call of ``function`` on the arrays of ``operands``, giving arrays of these dtypes and ranks.

        Raises
        ------
        ValueError
            Inside a nested plan.
        """
        if self._outer is not None:
            raise ValueError("a Python function cannot run inside a recurrence")
        results = [self._builder.input(_plan_dtype(dtype), rank) for dtype, rank in outputs]
        self.steps.append(Step("call", (), {}, results, list(operands), function))
        return results

    def finish(self, outputs: Sequence[int]) -> Any:
        """What runs the recorded steps: a plan, or several where Python functions are called."""
        if any(step.function is not None for step in self.steps):
            return SegmentedPlan(self, outputs)
        plan = self._builder.finish(outputs)
        if self._outer is not None:
            self._outer._plans[id(plan)] = (plan, b"".join(self.digests(outputs)))
        return plan

    def digests(self, outputs: Sequence[int]) -> list[bytes]:
        """A hash for each output: equal where equal operations on equal constants give it."""
        hasher = _Hasher({key: digest for key, (_, digest) in self._plans.items()})
        known: dict[int, bytes] = {
            value: hasher.digest(["input", number, *self._declared[value]])
            for number, value in enumerate(self.inputs)
        }
        for step in self.steps:
            whole = hasher.step(step, *_map_operands(step, lambda value: known[value]))
            for number, value in enumerate(step.results):
                known[value] = hasher.digest([whole, number])
        return [known[value] for value in outputs]

    def nested(self) -> Recorder:
        """A recorder of a plan that an operation of this one takes; it takes no Python calls."""
        inner = Recorder()
        inner._outer = self
        return inner


class SegmentedPlan:
    """The plans between calls of Python functions; has ``run`` of ``_core.Plan``."""

    def __init__(self, recorder: Recorder, outputs: Sequence[int]) -> None:
        self._inputs = list(recorder.inputs)
        self._outputs = list(outputs)
        self._segments = _cut(recorder.steps, self._inputs, self._outputs)
        self._lock = ForkSafeLock()

    def run(self, inputs: Sequence[NDArray[Any]], max_rows: int = 0, threads: int = 0) -> list[NDArray[Any]]:
        """The outputs; at most ``max_rows`` rows go through all plans and functions together."""
        rows = inputs[0].shape[0]
        if not 0 < max_rows < rows:
            return self._run_rows(inputs)
        parts = [
            self._run_rows([array[start : start + max_rows] for array in inputs])
            for start in range(0, rows, max_rows)
        ]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _run_rows(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        arrays = dict(zip(self._inputs, inputs, strict=True))
        for segment in self._segments:
            if segment.gives:
                if segment.plan is None:
                    with self._lock:
                        segment.plan = segment.plan or _build(segment, arrays)
                results = segment.plan.run([arrays[value] for value in segment.takes])
                arrays.update(zip(segment.gives, results, strict=True))
            for step in segment.calls:
                assert step.function is not None
                given = step.function(*(arrays[value] for value in step.operands))
                arrays.update(zip(step.results, given, strict=True))
        return [arrays[value] for value in self._outputs]


def _plan_dtype(dtype: str) -> str:
    """A dtype of plans for the id of a value: strings go from Python call to Python call, and into no plan."""
    return "int32" if dtype == "string" else dtype


def _cut(steps: Sequence[Step], inputs: Sequence[int], outputs: Sequence[int]) -> list[_Segment]:
    """Segments by how many Python calls lie before a step on the longest way from the inputs."""
    levels = dict.fromkeys(inputs, 0)
    constants: dict[int, Step] = {}
    for step in steps:
        step.level = max((levels[value] for value in step.operands), default=0)
        after = step.level + (step.function is not None)
        levels.update(dict.fromkeys(step.results, after))
        if step.method == "constant":
            constants[step.results[0]] = step
    segments = [_Segment() for _ in range(max(levels.values(), default=0) + 1)]
    made_in: dict[int, int] = {}
    for step in steps:
        if step.function is not None:
            segments[step.level].calls.append(step)
        elif step.method != "constant":
            segments[step.level].steps.append(step)
            made_in.update(dict.fromkeys(step.results, step.level))
    needed: list[tuple[int, int]] = [(value, len(segments)) for value in outputs]
    for number, segment in enumerate(segments):
        used: dict[int, None] = {}
        for step in segment.steps:
            used.update(dict.fromkeys(step.operands))
        needed += [(value, len(segments)) for step in segment.calls for value in step.operands]
        for value in used:
            if value in constants:
                segment.steps.insert(0, constants[value])  # cheap to have in every plan that needs it
            elif made_in.get(value) != number:
                segment.takes.append(value)
                needed.append((value, number))
    for value, number in needed:
        source = made_in.get(value)
        if value in constants:
            raise ValueError("a Python function cannot be called on a constant")
        if source is not None and source != number and value not in segments[source].gives:
            segments[source].gives.append(value)
    return segments


def _build(segment: _Segment, arrays: dict[int, NDArray[Any]]) -> _core.Plan:
    """The plan of a segment, for arrays of these dtypes and ranks."""
    builder = _core.PlanBuilder()
    values = {value: builder.input(str(arrays[value].dtype), arrays[value].ndim) for value in segment.takes}
    for step in segment.steps:
        args, kwargs = _map_operands(step, lambda value: values[value])
        result = getattr(builder, step.method)(*args, **kwargs)
        values.update(zip(step.results, result if isinstance(result, list) else [result], strict=True))
    return builder.finish([values[value] for value in segment.gives])


def _operands(method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int]:
    wanted = VALUES.get(method, ())
    found: list[int] = []
    for name, given in [*zip(PARAMETERS.get(method, ()), args, strict=False), *kwargs.items()]:
        if name in wanted and given is not None:
            found += given if isinstance(given, list | tuple) else [given]
    return found


def _map_operands(step: Step, change: Callable[[int], Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a step with its operands changed."""
    if step.function is not None:
        return [change(value) for value in step.operands], {}
    wanted = VALUES.get(step.method)
    if wanted is None:  # a constant
        return list(step.args), step.kwargs

    def mapped(name: str, given: Any) -> Any:
        if name not in wanted or given is None:
            return given
        return [change(value) for value in given] if isinstance(given, list | tuple) else change(given)

    args = [mapped(name, given) for name, given in zip(PARAMETERS[step.method], step.args, strict=False)]
    return args, {name: mapped(name, given) for name, given in step.kwargs.items()}


# What a mask, and initial states, must be there for to matter.
_MASK_OPTIONS = ("zero_output_for_mask", "masked_output_is_state")


def _relevant(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a sweep over time without the options that cannot matter: no mask, states of zero."""
    drop: tuple[str, ...] = _MASK_OPTIONS if kwargs.get("mask") is None else ()
    if kwargs.get("mask") is not None and not kwargs.get("initial_states"):
        drop = _MASK_OPTIONS[1:]
    return {key: value for key, value in kwargs.items() if key not in drop}


class _Hasher:
    """Hashes trees of values; ``plans`` has the digests of nested plans."""

    def __init__(self, plans: dict[int, bytes]) -> None:
        self._plans = plans

    def digest(self, value: Any) -> bytes:
        hasher = hashlib.blake2b(digest_size=16)
        self._feed(hasher, value)
        return hasher.digest()

    def step(self, step: Step, args: list[Any], kwargs: dict[str, Any]) -> bytes:
        if step.method in ("recurrent", "scan"):
            options = {key: kwargs.get(key) for key in ("mask", "initial_states")}
            kwargs = _relevant(kwargs)
            args = [
                [_relevant(item.described() | options) for item in argument]
                if isinstance(argument, list | tuple) and step.method == "recurrent"
                else argument
                for argument in args
            ]
        return self.digest(
            [step.method, None if step.function is None else hash(step.function), args, kwargs]
        )

    def _feed(self, hasher: Any, value: Any) -> None:
        if isinstance(value, np.ndarray):
            hasher.update(f"array {value.dtype} {value.shape}".encode())
            hasher.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, list | tuple):
            hasher.update(f"list {len(value)}".encode())
            for item in value:
                self._feed(hasher, item)
        elif isinstance(value, dict):
            self._feed(hasher, [[key, value[key]] for key in sorted(value)])
        elif isinstance(value, bytes):
            hasher.update(b"bytes" + value)
        elif isinstance(value, _core.Activation | _core.Direction):
            self._feed(hasher, value.described())
        elif id(value) in self._plans:
            hasher.update(self._plans[id(value)])
        else:
            hasher.update(f"{type(value).__name__} {value!r};".encode())
