# SPDX-License-Identifier: MIT
"""Every operation of PlanBuilder against NumPy: values, shapes, errors, and the same bytes however it runs."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from unrolled import _core
from unrolled._core import Activation, Direction, PlanBuilder

LINEAR = Activation("linear")
DTYPES = {"f": "float32", "i": "int32", "b": "bool"}

Build = Callable[..., Any]


def data(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def plan_of(build: Build, inputs: Sequence[np.ndarray]) -> _core.Plan:
    builder = PlanBuilder()
    values = [builder.input(DTYPES[x.dtype.kind], x.ndim) for x in inputs]
    outputs = build(builder, *values)
    return builder.finish(outputs if isinstance(outputs, list) else [outputs])


def run_all(build: Build, *inputs: np.ndarray) -> list[np.ndarray]:
    """Outputs, the same bytes for every thread count and block size, and for each row alone."""
    plan = plan_of(build, inputs)
    first = plan.run(list(inputs), threads=1)
    assert [y.shape for y in first] == plan.output_shapes([x.shape for x in inputs])
    for max_rows, threads in itertools.product((0, 1, 3), (1, 2, 3)):
        for a, b in zip(first, plan.run(list(inputs), max_rows, threads), strict=True):
            assert (a.dtype, a.tobytes()) == (b.dtype, b.tobytes()), (max_rows, threads)
    return first


def run(build: Build, *inputs: np.ndarray) -> np.ndarray:
    return run_all(build, *inputs)[0]


def close(actual: np.ndarray, expected: np.ndarray, atol: float = 2e-6) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=atol)


def same(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


# Dense


@pytest.mark.parametrize("columns", [1, 3, 16, 17, 33, 130])
@pytest.mark.parametrize("rows", [1, 2, 7, 25])
@pytest.mark.parametrize("depth", [1, 5, 64])
def test_dense_is_a_matrix_product(rows: int, depth: int, columns: int) -> None:
    kernel, bias, x = data(depth, columns), data(columns), data(rows, depth)
    close(run(lambda b, x: b.dense(x, kernel, bias, LINEAR), x), x @ kernel + bias, 2e-5)


def test_dense_works_on_the_last_axis_of_any_rank_and_without_bias() -> None:
    kernel, x = data(4, 6), data(3, 2, 5, 4)
    relu = Activation("relu", float("inf"))
    close(run(lambda b, x: b.dense(x, kernel, None, relu), x), np.maximum(x @ kernel, 0))


def test_dense_takes_weights_of_any_float_dtype_and_layout() -> None:
    kernel, x = data(6, 4).astype(np.float64).T, data(3, 4)
    close(run(lambda b, x: b.dense(x, kernel, None, LINEAR), x), x @ kernel)


def test_dense_refuses_weights_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"bias of shape \(3,\), got \(4,\)"):
        plan_of(lambda b, x: b.dense(x, data(2, 3), data(4), LINEAR), [data(1, 2)])
    with pytest.raises(ValueError, match=r"kernel of rank 2, got \(2,\)"):
        plan_of(lambda b, x: b.dense(x, data(2), None, LINEAR), [data(1, 2)])
    with pytest.raises(ValueError, match=r"last axis of 3, got \(1, 2\)"):
        run(lambda b, x: b.dense(x, data(3, 3), None, LINEAR), data(1, 2))


# Recurrent


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def reference_step(
    cell: str, x: np.ndarray, states: list[np.ndarray], kernel: Any, recurrent: Any, bias: Any
) -> list[np.ndarray]:
    h = states[0]
    if cell == "simple_rnn":
        return [np.tanh(x @ kernel + bias + h @ recurrent)]
    if cell == "lstm":
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
        c = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(c), c]
    units = h.shape[1]
    if cell == "gru_reset_after":
        a, s = x @ kernel + bias[0], h @ recurrent + bias[1]
        z, r = sigmoid(a[:, :units] + s[:, :units]), sigmoid(a[:, units:-units] + s[:, units:-units])
        g = np.tanh(a[:, -units:] + r * s[:, -units:])
    else:
        a, s = x @ kernel + bias, h @ recurrent
        z, r = sigmoid(a[:, :units] + s[:, :units]), sigmoid(a[:, units:-units] + s[:, units:-units])
        g = np.tanh(a[:, -units:] + (r * h) @ recurrent[:, -units:])
    return [z * h + (1 - z) * g]


def reference_sweep(
    cell: str,
    x: np.ndarray,
    weights: tuple[np.ndarray, ...],
    states: list[np.ndarray],
    mask: np.ndarray | None = None,
    backwards: bool = False,
    zero_output: bool = False,
) -> tuple[np.ndarray, list[np.ndarray]]:
    wide = [w.astype(np.float64) for w in weights]
    states = [s.astype(np.float64) for s in states]
    previous = np.zeros_like(states[0])
    outputs = []
    timesteps = range(x.shape[1])
    for t in reversed(timesteps) if backwards else timesteps:
        new = reference_step(cell, x[:, t].astype(np.float64), states, *wide)
        output = new[0]
        if mask is not None:
            keep = mask[:, t, None]
            output = np.where(keep, output, 0 if zero_output else previous)
            new = [np.where(keep, a, b) for a, b in zip(new, states, strict=True)]
        states, previous = new, output
        outputs.append(output)
    return np.stack(outputs, axis=1), states


CELLS = {"simple_rnn": 1, "lstm": 4, "gru_reset_after": 3, "gru_reset_before": 3}


def cell_weights(cell: str, features: int, units: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    columns = CELLS[cell] * units
    bias = data(2, columns, seed=seed) if cell == "gru_reset_after" else data(columns, seed=seed)
    scale = np.float32(0.5 / np.sqrt(units))
    return data(features, columns, seed=seed) * scale, data(units, columns, seed=seed + 1) * scale, bias


def direction(cell: str, weights: tuple[np.ndarray, ...], **options: bool) -> Direction:
    return Direction(
        cell=cell,
        kernel=weights[0],
        recurrent_kernel=weights[1],
        bias=weights[2],
        activation=Activation("tanh"),
        recurrent_activation=Activation("sigmoid"),
        **options,
    )


def state_total(cell: str) -> int:
    return 2 if cell == "lstm" else 1


@pytest.mark.parametrize("units", [1, 7, 16, 33])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_returns_sequences_and_states(cell: str, units: int) -> None:
    x = data(9, 6, 5)
    weights = cell_weights(cell, 5, units)
    outputs = run_all(
        lambda b, x: b.recurrent(x, [direction(cell, weights)], return_sequences=True, return_state=True), x
    )
    sequence, states = reference_sweep(cell, x, weights, [np.zeros((9, units))] * state_total(cell))
    for actual, expected in zip(outputs, [sequence, *states], strict=True):
        close(actual, expected)


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_last_output_is_the_last_of_the_sequence(cell: str) -> None:
    x, weights = data(3, 4, 5), cell_weights(cell, 5, 6)
    last = run(lambda b, x: b.recurrent(x, [direction(cell, weights)]), x)
    whole = run(lambda b, x: b.recurrent(x, [direction(cell, weights)], return_sequences=True), x)
    same(last, whole[:, -1])


@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_two_directions_with_mask_and_initial_states_fill_one_output(cell: str, zero_output: bool) -> None:
    units, batch = (7, 4), 10
    x = data(batch, 6, 5)
    mask = np.random.default_rng(1).random((batch, 6)) < 0.6
    mask[0], mask[1] = True, False
    weights = [cell_weights(cell, 5, u, seed=u) for u in units]
    count = state_total(cell)
    states = [data(batch, u, seed=9 + i) for u in units for i in range(count)]

    def build(b: PlanBuilder, x: int, mask: int, *initial: int) -> list[int]:
        directions = [
            direction(cell, weights[0], zero_output_for_mask=zero_output),
            direction(
                cell, weights[1], read_reversed=True, write_reversed=True, zero_output_for_mask=zero_output
            ),
        ]
        return b.recurrent(
            x,
            directions,
            mask=mask,
            initial_states=initial,
            return_sequences=True,
            return_state=True,
            concatenate=True,
        )

    output, *finals = run_all(build, x, mask, *states)
    forward, forward_states = reference_sweep(
        cell, x, weights[0], states[:count], mask, zero_output=zero_output
    )
    backward, backward_states = reference_sweep(
        cell, x, weights[1], states[count:], mask, backwards=True, zero_output=zero_output
    )
    close(output, np.concatenate([forward, backward[:, ::-1]], axis=2))
    for actual, expected in zip(finals, [*forward_states, *backward_states], strict=True):
        close(actual, expected)


@pytest.mark.parametrize("batch", [1, 2, 5, 60])
def test_large_cells_give_the_same_bytes_on_every_split(batch: int) -> None:
    weights = cell_weights("lstm", 19, 131)
    backward = direction("lstm", weights, read_reversed=True, write_reversed=True)
    for directions in ([direction("lstm", weights)], [direction("lstm", weights), backward]):
        output = run(
            lambda b, x, d=directions: b.recurrent(x, d, return_sequences=True, concatenate=True),
            data(batch, 3, 19),
        )
        expected, _ = reference_sweep("lstm", data(batch, 3, 19), weights, [np.zeros((batch, 131))] * 2)
        close(output[..., :131], expected)


def test_a_row_does_not_depend_on_its_batch() -> None:
    weights, x = cell_weights("gru_reset_after", 5, 33), data(70, 6, 5)
    plan = plan_of(lambda b, x: b.recurrent(x, [direction("gru_reset_after", weights)]), [x])
    whole = plan.run([x])[0]
    for row in (0, 1, 47, 69):
        assert plan.run([x[row : row + 1]])[0].tobytes() == whole[row].tobytes()


def test_recurrent_refuses_what_does_not_fit() -> None:
    weights = cell_weights("lstm", 5, 6)
    build = lambda b, x: b.recurrent(x, [direction("lstm", weights)])  # noqa: E731
    with pytest.raises(ValueError, match=r"expected \(batch, timesteps, 5\), got \(2, 3, 4\)"):
        run(build, data(2, 3, 4))
    with pytest.raises(ValueError, match="at least one timestep"):
        run(build, data(2, 0, 5))
    with pytest.raises(ValueError, match=r"recurrent_kernel of shape \(6, 24\), got \(6, 23\)"):
        direction("lstm", (weights[0], weights[1][:, 1:], weights[2]))
    with pytest.raises(ValueError, match=r"bias of shape \(24,\), got \(2, 24\)"):
        direction("lstm", (weights[0], weights[1], data(2, 24)))
    with pytest.raises(ValueError, match="expected cell simple_rnn"):
        direction("gru", weights)
    with pytest.raises(ValueError, match="expected 2 initial states or none, got 1"):
        plan_of(
            lambda b, x, h: b.recurrent(x, [direction("lstm", weights)], initial_states=[h]),
            [data(2, 3, 5), data(2, 6)],
        )
    with pytest.raises(ValueError, match=r"expected mask bool \(2, 3\), got bool \(2, 4\)"):
        run(
            lambda b, x, m: b.recurrent(x, [direction("lstm", weights)], mask=m),
            data(2, 3, 5),
            np.ones((2, 4), bool),
        )


def test_a_batch_of_zero_gives_empty_outputs() -> None:
    weights = cell_weights("lstm", 5, 6)

    def build(b: PlanBuilder, x: int) -> list[int]:
        sequence, h, c = b.recurrent(
            x, [direction("lstm", weights)], return_sequences=True, return_state=True
        )
        flat = b.dense(b.reshape(sequence, [-1]), data(18, 2), None, LINEAR)
        return [sequence, h, c, b.softmax(flat, axis=-1), b.reduce(sequence, kind="mean", axes=[1])]

    outputs = run_all(build, data(0, 3, 5))
    assert [y.shape for y in outputs] == [(0, 3, 6), (0, 6), (0, 6), (0, 2), (0, 6)]


# Embedding


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_embedding_looks_rows_up(dtype: type) -> None:
    table, ids = data(11, 6), np.random.default_rng(0).integers(0, 11, (5, 7)).astype(dtype)
    same(run(lambda b, x: b.embedding(x, table), ids), table[ids.astype(int)])


def test_embedding_truncates_float_ids_toward_zero() -> None:
    table, ids = data(4, 2), np.array([[0.9, 3.99, -0.5]], np.float32)
    same(run(lambda b, x: b.embedding(x, table), ids), table[[[0, 3, 0]]])


@pytest.mark.parametrize("bad", [-1, 4, 2**31 - 1, 4.0, -1.0, np.nan, np.inf, -np.inf, 1e30])
def test_embedding_refuses_ids_outside_its_table(bad: float) -> None:
    ids = np.zeros((2, 3), np.int32 if isinstance(bad, int) else np.float32)
    ids[1, 2] = bad
    with pytest.raises(ValueError, match=r"id \S+ is outside a table of 4 rows"):
        run(lambda b, x: b.embedding(x, data(4, 2)), ids)


# Convolution and pooling


def reference_windows(
    x: np.ndarray, size: Sequence[int], strides: Sequence[int], dilation: Sequence[int], padding: str
) -> tuple[np.ndarray, np.ndarray]:
    """[batch, out..., size..., channels] and whether each cell is real; padding is NaN."""
    spatial = x.shape[1:-1]
    pads, outs = [], []
    for n, k, s, d in zip(spatial, size, strides, dilation, strict=True):
        extent = (k - 1) * d + 1
        if padding == "valid":
            pads.append((0, 0))
            outs.append((n - extent) // s + 1)
            continue
        outs.append(-(-n // s))
        total = max((outs[-1] - 1) * s + extent - n, 0)
        before = extent - 1 if padding == "causal" else total // 2
        pads.append((before, max(total, extent)))
    padded = np.pad(x.astype(np.float64), [(0, 0), *pads, (0, 0)], constant_values=np.nan)
    windows = np.empty((x.shape[0], *outs, *size, x.shape[-1]))
    for at in itertools.product(*map(range, outs)):
        for cell in itertools.product(*map(range, size)):
            source = tuple(p * s + c * d for p, s, c, d in zip(at, strides, cell, dilation, strict=True))
            windows[(slice(None), *at, *cell)] = padded[(slice(None), *source)]
    return np.nan_to_num(windows), ~np.isnan(windows)


CONVOLUTIONS = [
    ((9,), (3,), (1,), (1,), "valid", 1),
    ((9,), (3,), (1,), (1,), "same", 1),
    ((9,), (4,), (2,), (1,), "same", 1),
    ((10,), (4,), (3,), (1,), "same", 1),
    ((9,), (4,), (1,), (1,), "causal", 1),
    ((9,), (3,), (2,), (1,), "causal", 1),
    ((9,), (3,), (1,), (3,), "causal", 1),
    ((2,), (5,), (1,), (1,), "same", 1),
    ((1,), (5,), (1,), (1,), "causal", 1),
    ((150,), (5,), (1,), (1,), "same", 1),
    ((9,), (3,), (1,), (2,), "same", 2),
    ((9,), (1,), (2,), (1,), "valid", 3),
    ((7, 8), (3, 2), (1, 1), (1, 1), "same", 1),
    ((7, 8), (3, 2), (2, 3), (1, 1), "valid", 3),
    ((9, 8), (3, 3), (1, 1), (2, 2), "same", 1),
    ((5, 4, 6), (2, 3, 3), (1, 2, 1), (1, 1, 1), "same", 2),
]


@pytest.mark.parametrize(("spatial", "size", "strides", "dilation", "padding", "groups"), CONVOLUTIONS)
def test_convolution_is_a_product_of_windows(
    spatial: tuple[int, ...],
    size: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: str,
    groups: int,
) -> None:
    channels, filters = 2 * groups, 5 * groups
    x, kernel, bias = data(3, *spatial, channels), data(*size, 2, filters), data(filters)
    actual = run(
        lambda b, x: b.convolution(
            x,
            kernel,
            bias,
            strides=strides,
            padding=padding,
            dilation=dilation,
            groups=groups,
            activation=Activation("tanh"),
        ),
        x,
    )
    windows, _ = reference_windows(x, size, strides, dilation, padding)
    parts = []
    for g in range(groups):
        part = windows[..., 2 * g : 2 * g + 2].reshape(*windows.shape[: len(size) + 1], -1)
        parts.append(part @ kernel[..., 5 * g : 5 * g + 5].reshape(-1, 5).astype(np.float64))
    close(actual, np.tanh(np.concatenate(parts, axis=-1) + bias))


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize(
    ("spatial", "size", "strides", "padding"),
    [
        ((9,), (2,), (2,), "valid"),
        ((9,), (3,), (2,), "same"),
        ((5,), (2,), (3,), "same"),
        ((1,), (4,), (4,), "same"),
        ((7, 6), (3, 2), (2, 1), "same"),
        ((4, 5, 6), (2, 2, 3), (1, 2, 2), "valid"),
    ],
)
def test_pool_takes_only_real_cells(
    kind: str, spatial: tuple[int, ...], size: tuple[int, ...], strides: tuple[int, ...], padding: str
) -> None:
    x = data(3, *spatial, 130)
    windows, real = reference_windows(x, size, strides, (1,) * len(size), padding)
    axes = tuple(range(len(size) + 1, 2 * len(size) + 1))
    if kind == "max":
        expected = np.where(real, windows, -np.inf).max(axes)
    else:
        expected = windows.sum(axes) / real.sum(axes)
    close(run(lambda b, x: b.pool(x, kind=kind, size=size, strides=strides, padding=padding), x), expected)


def test_windows_that_do_not_fit_are_refused() -> None:
    def convolve(b: PlanBuilder, x: int, **changes: Any) -> int:
        options = {"strides": [1], "padding": "valid", "dilation": [1], "groups": 1, **changes}
        return b.convolution(x, data(3, 2, 4), None, activation=LINEAR, **options)

    with pytest.raises(ValueError, match="window of 3 does not fit"):
        run(convolve, data(1, 2, 2))
    with pytest.raises(ValueError, match="expected 2 channels"):
        run(convolve, data(1, 4, 3))
    with pytest.raises(ValueError, match="padding full is not defined"):
        run(lambda b, x: convolve(b, x, padding="full"), data(1, 4, 2))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        run(lambda b, x: convolve(b, x, strides=[0]), data(1, 4, 2))
    with pytest.raises(ValueError, match="3 groups do not divide"):
        run(lambda b, x: convolve(b, x, groups=3), data(1, 4, 6))
    with pytest.raises(ValueError, match="expected kind max or average"):
        run(lambda b, x: b.pool(x, kind="sum", size=[1], strides=[1], padding="same"), data(1, 4, 2))


# Reductions, softmax, normalisation


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axes", [(1,), (-1,), (2,), (1, 2), (1, 3), (0,), (0, 2), (0, 1, 2, 3), ()])
@pytest.mark.parametrize("kind", ["sum", "mean", "max", "min"])
def test_reduce_is_numpys(kind: str, axes: tuple[int, ...], keepdims: bool) -> None:
    x = data(4, 3, 7, 5)
    expected = getattr(np, kind)(x.astype(np.float64), axis=axes, keepdims=keepdims)
    close(run(lambda b, x: b.reduce(x, kind=kind, axes=axes, keepdims=keepdims), x), np.asarray(expected))


def test_reduce_of_integers_and_booleans() -> None:
    integers = np.random.default_rng(0).integers(-(2**31), 2**31, (3, 200, 2)).astype(np.int32)
    with np.errstate(over="ignore"):
        expected = integers.sum(axis=1, dtype=np.int32)
    same(run(lambda b, x: b.reduce(x, kind="sum", axes=[1]), integers), expected)
    same(run(lambda b, x: b.reduce(x, kind="max", axes=[1]), integers), integers.max(axis=1))
    flags = np.random.default_rng(0).random((5, 3, 2)) < 0.5
    same(run(lambda b, x: b.reduce(x, kind="any", axes=[1]), flags), flags.any(axis=1))
    same(run(lambda b, x: b.reduce(x, kind="all", axes=[2]), flags), flags.all(axis=2))
    with pytest.raises(ValueError, match="mean: not defined for dtype int32"):
        run(lambda b, x: b.reduce(x, kind="mean", axes=[1]), integers)


def test_reduce_of_nan_and_of_nothing() -> None:
    x = data(2, 3)
    x[1, 0] = np.nan
    same(run(lambda b, x: b.reduce(x, kind="max", axes=[1]), x), x.max(axis=1))
    same(run(lambda b, x: b.reduce(x, kind="sum", axes=[1]), data(2, 0, 3)), np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="at least one element"):
        run(lambda b, x: b.reduce(x, kind="max", axes=[1]), data(2, 0, 3))


@pytest.mark.parametrize("keepdims", [False, True])
def test_masked_mean_counts_unmasked_steps_only(keepdims: bool) -> None:
    x, mask = data(4, 6, 131), np.random.default_rng(0).random((4, 6)) < 0.5
    mask[2] = False
    with np.errstate(invalid="ignore"):
        expected = (x.astype(np.float64) * mask[..., None]).sum(1, keepdims=keepdims) / mask.sum(1).reshape(
            (4, 1, 1) if keepdims else (4, 1)
        )
    assert np.isnan(expected[2]).all()
    close(run(lambda b, x, m: b.masked_mean(x, m, keepdims=keepdims), x, mask), expected)


@pytest.mark.parametrize("axis", [-1, 1, 2, 0])
def test_softmax_is_over_any_axis(axis: int) -> None:
    x = data(4, 9, 19) * np.float32(5)
    wide = np.exp(x.astype(np.float64) - x.max(axis=axis, keepdims=True))
    expected = wide / wide.sum(axis=axis, keepdims=True)
    close(run(lambda b, x: b.softmax(x, axis=axis), x), expected)
    close(run(lambda b, x: b.softmax(x, axis=axis, logarithm=True), x), np.log(expected))


@pytest.mark.parametrize("axis", [-1, 1])
def test_sparsemax_is_keras_s(axis: int) -> None:
    x = data(4, 9, 5)
    ordered = -np.sort(-x, axis=axis)
    cumulative = np.cumsum(ordered, axis=axis)
    shape = [1, 1, 1]
    shape[axis] = -1
    rank = np.arange(1, x.shape[axis] + 1).reshape(shape)
    support = ordered - (cumulative - 1) / rank > 0
    tau = ((cumulative * support).sum(axis, keepdims=True) - 1) / support.sum(axis, keepdims=True)
    close(run(lambda b, x: b.sparsemax(x, axis=axis), x), np.maximum(x - tau, 0))
    x[0, 0] = np.nan
    run(lambda b, x: b.sparsemax(x, axis=axis), x)


@pytest.mark.parametrize("axis", [-1, 1, 2, 0])
@pytest.mark.parametrize("has_weights", [True, False])
def test_batch_normalization_uses_stored_statistics(axis: int, has_weights: bool) -> None:
    x = data(6, 5, 7)
    n = x.shape[axis]
    mean, variance = data(n), np.abs(data(n, seed=1))
    gamma, beta = (data(n, seed=2), data(n, seed=3)) if has_weights else (None, None)
    shape = [1, 1, 1]
    shape[axis] = -1
    expected = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + 1e-3)
    if gamma is not None and beta is not None:
        expected = expected * gamma.reshape(shape) + beta.reshape(shape)
    actual = run(
        lambda b, x: b.batch_normalization(
            x, axis=axis, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=1e-3
        ),
        x,
    )
    close(actual, expected, 2e-5)


@pytest.mark.parametrize("root_mean_square", [False, True])
@pytest.mark.parametrize("axes", [(-1,), (1,), (1, 2), (1, 3), (2, 3), (0,)])
def test_layer_normalization_is_over_any_axes(axes: tuple[int, ...], root_mean_square: bool) -> None:
    x = data(3, 4, 5, 6) + np.float32(10)
    shape = tuple(x.shape[a] for a in axes)
    spread = tuple(x.shape[i] if i in [a % 4 for a in axes] else 1 for i in range(4))
    gamma, beta = data(*shape), data(*shape, seed=1)
    wide = x.astype(np.float64)
    if not root_mean_square:
        wide = wide - wide.mean(axis=axes, keepdims=True)
    expected = wide / np.sqrt((wide**2).mean(axis=axes, keepdims=True) + 1e-3)
    expected = expected * gamma.reshape(spread) + beta.reshape(spread)
    actual = run(
        lambda b, x: b.layer_normalization(
            x, axes=axes, gamma=gamma, beta=beta, epsilon=1e-3, root_mean_square=root_mean_square
        ),
        x,
    )
    close(actual, expected)


def test_normalizations_refuse_weights_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"variance of shape \(3,\), got \(4,\)"):
        run(
            lambda b, x: b.batch_normalization(
                x, axis=-1, mean=data(3), variance=data(4), gamma=None, beta=None, epsilon=1e-3
            ),
            data(2, 3),
        )
    with pytest.raises(ValueError, match=r"normalised axes \(4,\), got \(2, 3\)"):
        run(
            lambda b, x: b.layer_normalization(x, axes=[1], gamma=data(4), beta=None, epsilon=1e-3),
            data(2, 3),
        )


# Elementwise


@pytest.mark.parametrize("count", [1, 15, 1030, 5000])
def test_activate_works_on_every_element(count: int) -> None:
    close(run(lambda b, x: b.activate(x, Activation("tanh")), data(3, count)), np.tanh(data(3, count)))


def test_activation_kinds_can_all_be_made_and_others_cannot() -> None:
    for kind in _core.activation_kinds():
        Activation(kind, 0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="no kind 'leaky'"):
        Activation("leaky")


BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}
SHAPES = [
    ((5, 4), (5, 4)),
    ((5, 4, 3), (5, 1, 3)),
    ((5, 1, 3), (5, 4, 1)),
    ((5, 4, 3), (5, 1, 1)),
    ((5, 2, 4, 3), (5, 1, 4, 1)),
    ((5, 4), (1, 4)),
    ((5, 4, 3), (4, 3)),
    ((5, 2000), (5, 1)),
]


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("shapes", SHAPES)
def test_binary_broadcasts_as_numpy(kind: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = np.round(data(*shapes[0])), np.round(data(*shapes[1], seed=1))
    with np.errstate(all="ignore"):
        same(run(lambda p, a, b: p.binary(kind, a, b), a, b), BINARY[kind](a, b))
        same(run(lambda p, a, b: p.binary(kind, b, a), a, b), BINARY[kind](b, a))


@pytest.mark.parametrize("shape", [(), (4,), (3, 4), (1, 3, 4), (3, 1)])
def test_binary_takes_constants(shape: tuple[int, ...]) -> None:
    x, constant = data(5, 3, 4), data(*shape)
    same(run(lambda b, x: b.binary("subtract", x, b.constant(constant)), x), x - constant)
    same(run(lambda b, x: b.binary("subtract", b.constant(constant), x), x), constant - x)


def test_binary_of_integers_booleans_and_nan() -> None:
    a = np.array([[2**31 - 1, -5]], np.int32)
    with np.errstate(over="ignore"):
        same(run(lambda b, x: b.binary("add", x, x), a), a + a)
    flags = np.array([[True, True, False, False]]), np.array([[True, False, True, False]])
    same(run(lambda b, x, y: b.binary("and", x, y), *flags), flags[0] & flags[1])
    same(run(lambda b, x, y: b.binary("or", x, y), *flags), flags[0] | flags[1])
    same(run(lambda b, x, y: b.binary("not_equal", x, y), *flags), flags[0] != flags[1])
    same(run(lambda b, x: b.logical_not(x), flags[0]), ~flags[0])
    x, y = np.array([[np.nan, 1, 2]], np.float32), np.array([[1, np.nan, 3]], np.float32)
    same(run(lambda b, x, y: b.binary("maximum", x, y), x, y), np.maximum(x, y))
    same(run(lambda b, x, y: b.binary("minimum", x, y), x, y), np.minimum(x, y))


def test_binary_refuses_what_does_not_broadcast() -> None:
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 4\)"):
        run(lambda b, x, y: b.binary("add", x, y), data(2, 3), data(2, 4))
    with pytest.raises(ValueError, match="expected float32, got int32"):
        run(lambda b, x, y: b.binary("add", x, y), data(2, 3), np.zeros((2, 3), np.int32))
    with pytest.raises(ValueError, match="batch axis"):
        run(lambda b, x: b.binary("add", x, b.constant(data(2, 3))), data(2, 3))
    with pytest.raises(ValueError, match="expected one of add subtract"):
        run(lambda b, x: b.binary("power", x, x), data(2, 3))
    with pytest.raises(ValueError, match="not defined for dtype bool"):
        run(lambda b, x: b.binary("add", x, x), np.ones((2, 3), bool))


def test_select_broadcasts_its_condition_and_values() -> None:
    condition = np.random.default_rng(0).random((5, 4, 1)) < 0.5
    a, b = data(5, 4, 3), data(5, 1, 3)
    same(run(lambda p, c, a, b: p.select(c, a, b), condition, a, b), np.where(condition, a, b))
    expected = np.where(condition, a, np.float32(-1e9))
    same(run(lambda p, c, a: p.select(c, a, p.constant(np.float32(-1e9))), condition, a), expected)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_apply_mask_zeroes_masked_steps(axes: int) -> None:
    x = data(4, 5, 3)
    mask = np.random.default_rng(0).random(x.shape[:axes]) < 0.5
    spread = mask.reshape(mask.shape + (1,) * (3 - axes))
    same(run(lambda b, x, m: b.apply_mask(x, m), x, mask), np.where(spread, x, np.float32(0)))
    doubled = run(lambda b, x, m: b.apply_mask(b.binary("add", x, x), m), x, mask)
    same(doubled, np.where(spread, x + x, np.float32(0)))
    with pytest.raises(ValueError, match="leading axes"):
        run(lambda b, x, m: b.apply_mask(x, m), x, np.ones((4, 6), bool))


@pytest.mark.parametrize("target", ["float32", "int32", "bool"])
def test_cast_and_ones_like(target: str) -> None:
    floats = np.array([[-1.9, -0.0, 0.3, 1.9, 7]], np.float32)
    for x in (floats, floats.astype(np.int32), floats.astype(bool)):
        same(run(lambda b, x: b.cast(x, target), x), x.astype(target))
        same(run(lambda b, x: b.ones_like(x, target), x), np.ones(x.shape, target))
    with pytest.raises(ValueError, match="got float64"):
        run(lambda b, x: b.cast(x, "float64"), floats)


# Shapes


def test_reshape_keeps_the_batch() -> None:
    x = data(4, 6, 2)
    same(run(lambda b, x: b.reshape(x, [3, -1]), x), x.reshape(4, 3, 4))
    same(run(lambda b, x: b.reshape(b.binary("add", x, x), [12]), x), (x + x).reshape(4, 12))
    with pytest.raises(ValueError, match=r"rows of \(4, 6, 2\) do not fit"):
        run(lambda b, x: b.reshape(x, [5, -1]), x)
    with pytest.raises(ValueError, match="at most one -1"):
        run(lambda b, x: b.reshape(x, [-1, -1]), x)


def test_time_merges_into_the_batch_and_back() -> None:
    x, kernel = data(5, 3, 4), data(4, 2)

    def build(b: PlanBuilder, x: int) -> list[int]:
        merged = b.merge_time(x)
        rows = b.dense(merged, kernel, None, LINEAR)
        return [merged, b.split_time(rows, x)]

    merged, split = run_all(build, x)
    same(merged, x.reshape(15, 4))
    close(split, x @ kernel)
    with pytest.raises(ValueError, match="not batch \\* time"):
        run(lambda b, x, y: b.split_time(x, y), data(7, 2), data(2, 3))


@pytest.mark.parametrize("axis", [0, 1, 3, -1, -2])
def test_expand_dims_and_squeeze_undo_each_other(axis: int) -> None:
    x = data(4, 5, 6)
    same(run(lambda b, x: b.expand_dims(x, axis), x), np.expand_dims(x, axis))
    same(run(lambda b, x: b.squeeze(b.expand_dims(x, axis), axis), x), x)
    with pytest.raises(ValueError, match="expected axis 1 of size 1"):
        run(lambda b, x: b.squeeze(x, 1), x)


@pytest.mark.parametrize("permutation", list(itertools.permutations(range(3))))
def test_transpose_moves_any_axes(permutation: tuple[int, ...]) -> None:
    for x in (data(5, 4, 3), data(5, 4, 3) > 0):
        same(run(lambda b, x: b.transpose(x, permutation), x), x.transpose(permutation))
    with pytest.raises(ValueError, match="every axis once"):
        run(lambda b, x: b.transpose(x, [0, 0, 1]), data(2, 3, 4))


SLICES = [
    slice(None), slice(1, None), slice(None, -1), slice(-2, None), slice(2, 5), slice(None, None, 2),
    slice(None, None, -1), slice(5, 1, -2), slice(-1, None, -1), slice(9, -9, -1), slice(4, 2), slice(-20, 20),
]  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("part", SLICES, ids=str)
def test_slice_follows_pythons_rules(axis: int, part: slice) -> None:
    x = data(6, 7, 8)
    index: list[slice] = [slice(None)] * 3
    index[axis] = part
    actual = run(lambda b, x: b.slice(x, axis=axis, start=part.start, stop=part.stop, step=part.step or 1), x)
    same(actual, x[tuple(index)])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_pad_repeat_and_concatenate_along_any_axis(axis: int) -> None:
    x, y = data(5, 4, 3), data(5, 4, 3, seed=1)
    width = [(0, 0)] * 3
    width[axis] = (2, 1)
    same(run(lambda b, x: b.pad(x, axis=axis, before=2, after=1), x), np.pad(x, width))
    same(run(lambda b, x: b.repeat(x, axis=axis, count=3), x), x.repeat(3, axis))
    same(run(lambda b, x, y: b.concatenate([x, y, x], axis=axis), x, y), np.concatenate([x, y, x], axis=axis))
    with pytest.raises(ValueError, match="values alike but for axis 1"):
        run(lambda b, x, y: b.concatenate([x, y], axis=1), x, data(5, 4, 2))
    with pytest.raises(ValueError, match="axis 3 of a tensor of rank 3"):
        run(lambda b, x: b.pad(x, axis=3, before=1, after=0), x)


MATMULS = [
    ((5, 3, 4), (5, 4, 6)),
    ((5, 2, 3, 4), (5, 2, 4, 17)),
    ((5, 2, 3, 4), (5, 1, 4, 2)),
    ((1, 40, 4), (1, 4, 33)),
    ((5, 4), (4, 3)),
    ((5, 3, 4), (4, 2)),
]


@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("shapes", MATMULS)
def test_matmul_batches_over_leading_axes(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], transpose_b: bool
) -> None:
    x, y = data(*shapes[0]), data(*shapes[1], seed=1)
    given = np.ascontiguousarray(y.swapaxes(-1, -2)) if transpose_b else y
    expected = x.astype(np.float64) @ y
    close(run(lambda b, x, y: b.matmul(x, y, transpose_b=transpose_b), x, given), expected)
    if y.ndim == 2:
        close(run(lambda b, x: b.matmul(x, b.constant(given), transpose_b=transpose_b), x), expected)


def test_matmul_refuses_matrices_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"got \(2, 3, 4\) and \(2, 5, 4\)"):
        run(lambda b, x, y: b.matmul(x, y), data(2, 3, 4), data(2, 5, 4))


# Plans


def test_a_plan_refuses_inputs_of_another_dtype_rank_or_number() -> None:
    plan = plan_of(lambda b, x: b.dense(x, data(3, 2), None, LINEAR), [data(1, 3)])
    with pytest.raises(ValueError, match=r"input 0: expected float32 of rank 2, got float64 \(1, 3\)"):
        plan.run([np.zeros((1, 3))])
    with pytest.raises(ValueError, match=r"expected float32 of rank 2, got float32 \(1, 2, 3\)"):
        plan.run([data(1, 2, 3)])
    with pytest.raises(ValueError, match="expected a NumPy array"):
        plan.run([[[1.0, 2.0, 3.0]]])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="expected 1 inputs, got 2"):
        plan.run([data(1, 3), data(1, 3)])
    with pytest.raises(ValueError, match="expected 1 inputs, got 0"):
        plan.output_shapes([])


def test_a_plan_reads_arrays_of_any_layout() -> None:
    plan = plan_of(lambda b, x: b.dense(x, data(3, 2), None, LINEAR), [data(1, 3)])
    x = data(3, 8)
    expected = plan.run([np.ascontiguousarray(x.T[::2])])[0]
    same(plan.run([x.T[::2]])[0], expected)


def test_outputs_may_be_inputs_constants_views_and_each_other() -> None:
    x, constant = data(5, 6), data(2)

    def build(b: PlanBuilder, x: int) -> list[int]:
        y = b.binary("add", x, x)
        z = b.activate(y, Activation("tanh"))
        return [x, b.reshape(x, [3, 2]), y, y, b.reshape(y, [2, 3]), z, b.constant(constant)]

    outputs = run_all(build, x)
    expected = [x, x.reshape(5, 3, 2), x + x, x + x, (x + x).reshape(5, 2, 3), np.tanh(x + x), constant]
    for actual, wanted in zip(outputs, expected, strict=True):
        close(actual, wanted)
    outputs[0][:] = 0
    assert x.any()


def test_values_live_as_long_as_they_are_read() -> None:
    def build(b: PlanBuilder, x: int) -> int:
        values = [b.binary("add", x, b.constant(np.float32(i))) for i in range(6)]
        chained = [b.activate(b.reshape(v, [2, 3]), Activation("relu", float("inf"))) for v in values]
        total = chained[0]
        for value in reversed(chained[1:]):
            total = b.binary("add", b.binary("multiply", total, value), b.reshape(values[2], [2, 3]))
        return total

    x = data(5, 6)
    chained = [np.maximum(x + np.float32(i), 0).reshape(5, 2, 3) for i in range(6)]
    total = chained[0]
    for value in reversed(chained[1:]):
        total = total * value + (x + np.float32(2)).reshape(5, 2, 3)
    close(run(build, x), total, 1e-3)


def test_a_finished_builder_and_unknown_values_are_refused() -> None:
    builder = PlanBuilder()
    x = builder.input("float32", 2)
    for bad in (-1, x + 1):
        with pytest.raises(ValueError, match="no value"):
            builder.reshape(bad, [1])
        with pytest.raises(ValueError, match="no value"):
            builder.finish([bad])
    builder.finish([x])
    with pytest.raises(ValueError, match="finished"):
        builder.reshape(x, [1])
    with pytest.raises(ValueError, match="dtype float32, int32 or bool, got float16"):
        PlanBuilder().input("float16", 2)


def test_one_plan_runs_in_many_threads_at_once() -> None:
    weights = cell_weights("lstm", 5, 24)
    plan = plan_of(
        lambda b, x: b.recurrent(x, [direction("lstm", weights)], return_sequences=True), [data(1, 1, 5)]
    )
    inputs = [data(1 + i % 5, 3 + i % 4, 5, seed=i) for i in range(40)]
    expected = [plan.run([x])[0].tobytes() for x in inputs]
    failures: list[int] = []

    def work() -> None:
        for _ in range(10):
            for i, x in enumerate(inputs):
                if plan.run([x], threads=1 + i % 2)[0].tobytes() != expected[i]:
                    failures.append(i)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_number_of_threads_is_checked() -> None:
    before = _core.get_num_threads()
    try:
        _core.set_num_threads(3)
        assert _core.get_num_threads() == 3
        with pytest.raises(ValueError, match="1 to 1024 threads, got 0"):
            _core.set_num_threads(0)
    finally:
        _core.set_num_threads(before)


def test_a_forked_child_runs_on_one_thread() -> None:
    os = pytest.importorskip("os")
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    weights = cell_weights("lstm", 5, 24)
    x = data(64, 10, 5)
    plan = plan_of(lambda b, x: b.recurrent(x, [direction("lstm", weights)]), [x])
    expected = plan.run([x], threads=2)[0].tobytes()
    child = os.fork()
    if child == 0:
        is_right = plan.run([x], threads=2)[0].tobytes() == expected and _core.get_num_threads() == 1
        os._exit(0 if is_right else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_isa_is_one_of_those_available() -> None:
    assert _core.isa() in _core.available_isas()


def test_numbers_too_small_for_full_precision_count_as_zero():
    """As in TensorFlow; a state that fades in silence would make every step a hundred times slower."""
    x = np.array([[1e-30, 1e-39, 2e-38, -1e-39]], np.float32)
    scaled, as_it_is = (
        run_all(lambda b, v, k=k: b.binary("multiply", v, b.constant(np.array(k, np.float32))), x)[0]
        for k in (1e-10, 1.0)
    )
    assert scaled.tolist() == [[0.0, 0.0, 0.0, 0.0]]
    assert as_it_is.tolist() == [[np.float32(1e-30), 0.0, np.float32(2e-38), 0.0]]
    # The caller's own arithmetic keeps them.
    assert np.float32(1e-30) * np.float32(1e-10) > 0
