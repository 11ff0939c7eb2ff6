# SPDX-License-Identifier: MIT
"""One timestep of a cell as operations: for activations along the units, which the kernels do not fuse.

Equations: keras 3.15 ``layers/rnn/{simple_rnn,lstm,gru}.py``. The kernels run the same ones several times
faster; only softmax, log_softmax and sparsemax inside a cell come here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from unrolled import _core, activations
from unrolled.activations import Activation
from unrolled.engine.lowering import Flow, Lowering
from unrolled.layers.rnn.cells import Cell, GRUCell, LSTMCell, SimpleRNNCell

LINEAR = _core.Activation("linear")


def lower_step(plan: Lowering, cell: Cell) -> _core.Plan:
    """A plan from ``x_t`` and the states of ``cell`` to its output and new states.

    Parameters
    ----------
    plan : Lowering
        The plan that will hold the step.
    cell : Cell
        Built.

    Returns
    -------
    Plan
        Inputs ``x_t`` (batch, features), h and for LSTM c (batch, units); outputs h', h' and for LSTM c'.
    """
    step = plan.nested()
    x = step.ops.input("float32", 2)
    states = [step.ops.input("float32", 2) for _ in range(cell.state_count)]
    hidden, *rest = _STEPS[type(cell)](step, cell, x, states)
    return step.ops.finish([hidden, hidden, *rest])


def _dense(
    plan: Lowering, x: int, kernel: NDArray[np.float32], bias: NDArray[np.float32] | None = None
) -> int:
    return plan.ops.dense(x, np.ascontiguousarray(kernel), bias, LINEAR)


def _activate(plan: Lowering, value: int, units: int, activation: Activation) -> int:
    return activations.lower(plan, Flow(value, (None, units)), activation).value


def _block(plan: Lowering, value: int, index: int, units: int) -> int:
    return plan.ops.slice(value, axis=1, start=index * units, stop=(index + 1) * units)


def _weights(
    plan: Lowering, cell: Cell
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
    assert cell.kernel is not None
    assert cell.recurrent_kernel is not None
    return plan.packed(cell.kernel), plan.packed(cell.recurrent_kernel), plan.weights(cell.bias)


def _simple_rnn(plan: Lowering, cell: Cell, x: int, states: Sequence[int]) -> list[int]:
    kernel, recurrent_kernel, bias = _weights(plan, cell)
    total = plan.ops.binary("add", _dense(plan, x, kernel, bias), _dense(plan, states[0], recurrent_kernel))
    return [_activate(plan, total, cell.units, cell.activation)]


def _lstm(plan: Lowering, cell: Cell, x: int, states: Sequence[int]) -> list[int]:
    kernel, recurrent_kernel, bias = _weights(plan, cell)
    hidden, carry = states
    units, ops = cell.units, plan.ops
    total = ops.binary("add", _dense(plan, x, kernel, bias), _dense(plan, hidden, recurrent_kernel))
    # Gate blocks i, f, c, o.
    i, f, candidate, o = (
        _activate(plan, _block(plan, total, index, units), units, activation)
        for index, activation in enumerate(
            (cell.recurrent_activation, cell.recurrent_activation, cell.activation, cell.recurrent_activation)
        )
    )
    carry = ops.binary("add", ops.binary("multiply", f, carry), ops.binary("multiply", i, candidate))
    return [ops.binary("multiply", o, _activate(plan, carry, units, cell.activation)), carry]


def _gru(plan: Lowering, cell: Cell, x: int, states: Sequence[int]) -> list[int]:
    assert isinstance(cell, GRUCell)
    kernel, recurrent_kernel, bias = _weights(plan, cell)
    hidden = states[0]
    units, ops = cell.units, plan.ops
    # Blocks z, r, h; with reset_after the bias has an input row and a recurrent row.
    after = cell.reset_after
    x_part = _dense(plan, x, kernel, bias[0] if after and bias is not None else bias)
    columns = recurrent_kernel if after else recurrent_kernel[:, : 2 * units]
    h_part = _dense(plan, hidden, columns, bias[1] if after and bias is not None else None)
    z, r = (
        _activate(
            plan,
            ops.binary("add", _block(plan, x_part, index, units), _block(plan, h_part, index, units)),
            units,
            cell.recurrent_activation,
        )
        for index in (0, 1)
    )
    if after:
        recurrent = ops.binary("multiply", r, _block(plan, h_part, 2, units))
    else:
        recurrent = _dense(plan, ops.binary("multiply", r, hidden), recurrent_kernel[:, 2 * units :])
    candidate = _activate(
        plan, ops.binary("add", _block(plan, x_part, 2, units), recurrent), units, cell.activation
    )
    # z h + (1 - z) candidate
    one = ops.constant(np.ones((), np.float32))
    kept = ops.binary("multiply", z, hidden)
    return [ops.binary("add", kept, ops.binary("multiply", ops.binary("subtract", one, z), candidate))]


_STEPS: dict[type[Cell], Callable[[Lowering, Cell, int, Sequence[int]], list[int]]] = {
    SimpleRNNCell: _simple_rnn,
    LSTMCell: _lstm,
    GRUCell: _gru,
}
