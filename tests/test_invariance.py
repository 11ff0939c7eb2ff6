# SPDX-License-Identifier: MIT
"""The same bytes for any batch, threads, split and instruction set with fused multiply-add; near float64 too.

Run as a script it prints a hash for every case, which the test over instruction sets compares.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from unrolled import _core
from unrolled._core import Activation, Direction, PlanBuilder

GATES = {"simple_rnn": 1, "lstm": 4, "gru_reset_after": 3, "gru_reset_before": 3}
ACTIVATIONS = {
    "standard": (Activation("tanh"), Activation("sigmoid")),
    "other": (Activation("softsign"), Activation("hard_sigmoid", alpha=0.2, beta=0.5)),
}
# Below, at and above the lanes of every instruction set, the blocks and panels of units, a chunk of k (64).
UNITS = (1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 49, 64, 65, 100)
FEATURES = (1, 2, 5, 13, 64, 70)
BATCH = 17
TIMESTEPS = 9


@dataclass(frozen=True)
class Case:
    cell: str
    units: int
    features: int
    use_bias: bool
    activations: str
    reverse: bool

    def __str__(self) -> str:
        bias = "bias" if self.use_bias else "no_bias"
        return f"{self.cell}-{self.units}-{self.features}-{bias}-{self.activations}-{self.reverse}"


def make_cases() -> list[Case]:
    rng = np.random.default_rng(0)
    return [
        Case(
            cell, units, int(rng.choice(FEATURES)), i % 4 != 3, ("standard", "other")[i % 3 == 2], i % 2 == 1
        )
        for cell in GATES
        for i, units in enumerate(UNITS)
    ]


CASES = make_cases()


@dataclass(frozen=True)
class Numbers:
    kernel: np.ndarray
    recurrent_kernel: np.ndarray
    bias: np.ndarray | None
    x: np.ndarray
    mask: np.ndarray
    states: list[np.ndarray]


@cache
def numbers(case: Case) -> Numbers:
    rng = np.random.default_rng([case.units, case.features, len(case.cell)])
    columns = GATES[case.cell] * case.units

    def draw(*shape: int, scale: float) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    bias_shape = (2, columns) if case.cell == "gru_reset_after" else (columns,)
    return Numbers(
        draw(case.features, columns, scale=(case.features + 1) ** -0.5),
        draw(case.units, columns, scale=case.units**-0.5),
        draw(*bias_shape, scale=0.1) if case.use_bias else None,
        draw(BATCH, TIMESTEPS, case.features, scale=1.0),
        rng.random((BATCH, TIMESTEPS)) < 0.7,
        [draw(BATCH, case.units, scale=0.5) for _ in range(2 if case.cell == "lstm" else 1)],
    )


def plan_for(case: Case, *, masked: bool, continues: bool = False) -> _core.Plan:
    n = numbers(case)
    activation, recurrent_activation = ACTIVATIONS[case.activations]
    direction = Direction(
        cell=case.cell,
        kernel=n.kernel,
        recurrent_kernel=n.recurrent_kernel,
        bias=n.bias,
        activation=activation,
        recurrent_activation=recurrent_activation,
        read_reversed=case.reverse,
        write_reversed=case.reverse,
        masked_output_is_state=continues,
    )
    builder = PlanBuilder()
    x = builder.input("float32", 3)
    mask = builder.input("bool", 2) if masked else None
    states = [builder.input("float32", 2) for _ in n.states]
    outputs = builder.recurrent(
        x, [direction], mask=mask, initial_states=states, return_sequences=True, return_state=True
    )
    return builder.finish(outputs)


def inputs_of(case: Case, *, masked: bool) -> list[np.ndarray]:
    n = numbers(case)
    return [n.x, *([n.mask] if masked else []), *n.states]


def assert_same_bytes(a: np.ndarray, b: np.ndarray) -> None:
    assert np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_batch_and_threads_do_not_change_a_bit(case: Case) -> None:
    for masked in (False, True):
        plan = plan_for(case, masked=masked)
        inputs = inputs_of(case, masked=masked)
        whole = plan.run(inputs, threads=1)
        for max_rows, threads in itertools.product((0, 5), (2, 3)):
            for a, b in zip(whole, plan.run(inputs, max_rows, threads), strict=True):
                assert_same_bytes(a, b)
        row = 0
        for rows in (1, 2, 3, 4, 7):
            part = plan.run([np.ascontiguousarray(v[row : row + rows]) for v in inputs], threads=1)
            for a, b in zip(whole, part, strict=True):
                assert_same_bytes(a[row : row + rows], b)
            row += rows


@pytest.mark.parametrize("case", [case for case in CASES if not case.reverse], ids=str)
def test_splitting_a_sequence_does_not_change_a_bit(case: Case) -> None:
    for masked in (False, True):
        plan = plan_for(case, masked=masked, continues=True)
        n = numbers(case)
        for rows in (1, BATCH):
            batch = [np.ascontiguousarray(v[:rows]) for v in inputs_of(case, masked=masked)]
            whole = plan.run(batch, threads=1)
            states = [s[:rows] for s in n.states]
            for begin, end in itertools.pairwise((0, 1, 3, 4, 8, TIMESTEPS)):
                sequences = [np.ascontiguousarray(v[:, begin:end]) for v in batch[: 1 + masked]]
                output, *states = plan.run([*sequences, *states], threads=1)
                assert_same_bytes(whole[0][:, begin:end], output)
            for a, b in zip(whole[1:], states, strict=True):
                assert_same_bytes(a, b)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


FLOAT64 = {
    "standard": (np.tanh, sigmoid),
    "other": (
        lambda x: x / (1.0 + np.abs(x)),
        lambda x: np.clip(np.float64(np.float32(0.2)) * x + 0.5, 0, 1),
    ),
}


def float64_outputs(case: Case, *, masked: bool) -> list[np.ndarray]:
    """Sequence output and final states by the textbook loop (Keras 3.15 keras/src/layers/rnn)."""
    n = numbers(case)
    f, g = FLOAT64[case.activations]
    w, u, x = (v.astype(np.float64) for v in (n.kernel, n.recurrent_kernel, n.x))
    bias = np.zeros((2, w.shape[1]))
    if n.bias is not None:
        bias[: np.atleast_2d(n.bias).shape[0]] = n.bias
    states = [s.astype(np.float64) for s in n.states]
    output = np.zeros((BATCH, TIMESTEPS, case.units))
    previous = np.zeros((BATCH, case.units))
    gates = GATES[case.cell]
    for t in range(TIMESTEPS)[:: -1 if case.reverse else 1]:
        h = states[0]
        a = np.split(x[:, t] @ w + bias[0], gates, axis=1)
        s = np.split(h @ u + bias[1], gates, axis=1)
        if case.cell == "simple_rnn":
            new = [f(a[0] + s[0])]
        elif case.cell == "lstm":
            i, forget, candidate, o = (p + q for p, q in zip(a, s, strict=True))
            c = g(forget) * states[1] + g(i) * f(candidate)
            new = [g(o) * f(c), c]
        else:
            z, r = g(a[0] + s[0]), g(a[1] + s[1])
            after = case.cell == "gru_reset_after"
            candidate = f(a[2] + (r * s[2] if after else (r * h) @ u[:, 2 * case.units :]))
            new = [z * h + (1.0 - z) * candidate]
        keep = n.mask[:, t, None] if masked else np.ones((BATCH, 1), dtype=bool)
        previous = np.where(keep, new[0], previous)
        states = [np.where(keep, p, q) for p, q in zip(new, states, strict=True)]
        output[:, t] = previous
    return [output, *states]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sweep_is_near_float64(case: Case) -> None:
    for masked in (False, True):
        got = plan_for(case, masked=masked).run(inputs_of(case, masked=masked))
        for a, b in zip(got, float64_outputs(case, masked=masked), strict=True):
            # About 10 roundings of numbers of order 1, carried over 9 steps.
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


def hashes() -> dict[str, str]:
    found = {}
    for case, masked in itertools.product(CASES, (False, True)):
        digest = hashlib.sha256()
        for rows in (1, BATCH):
            batch = [np.ascontiguousarray(v[:rows]) for v in inputs_of(case, masked=masked)]
            for output in plan_for(case, masked=masked).run(batch, threads=1):
                digest.update(output.tobytes())
        found[f"{case}-{'masked' if masked else 'plain'}"] = digest.hexdigest()
    x = np.linspace(-20, 20, 4001, dtype=np.float32)[None]
    for kind in _core.activation_kinds():
        builder = PlanBuilder()
        value = builder.input("float32", 2)
        activation = Activation(kind, alpha=0.5, beta=0.25, gamma=0.125)
        plan = builder.finish([builder.activate(value, activation), builder.softmax(value, axis=-1)])
        found[kind] = hashlib.sha256(b"".join(y.tobytes() for y in plan.run([x]))).hexdigest()
    return found


def test_instruction_sets_do_not_change_a_bit() -> None:
    isas = [isa for isa in _core.available_isas() if isa != "baseline"]  # no fused multiply-add there
    if len(isas) < 2:
        pytest.skip("this processor has fewer than two instruction sets with fused multiply-add")
    found = {}
    for isa in isas:
        environment = {**os.environ, "UNROLLED_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.run(
            [sys.executable, __file__], env=environment, capture_output=True, text=True, check=True
        )
        found[isa] = json.loads(run.stdout)
    first = found.pop(isas[0])
    for other in found.values():
        assert other == first


def test_unknown_instruction_set_is_an_error_that_lists_what_there_is() -> None:
    environment = {**os.environ, "UNROLLED_ISA": "mmx", "PYTHONPATH": os.pathsep.join(sys.path)}
    code = "from unrolled import _core; _core.isa()"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.returncode != 0
    assert "'mmx'" in run.stderr
    for isa in _core.available_isas():
        assert isa in run.stderr


if __name__ == "__main__":
    print(json.dumps(hashes()))
