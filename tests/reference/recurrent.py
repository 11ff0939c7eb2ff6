# SPDX-License-Identifier: MIT
"""SimpleRNN, LSTM and GRU in float64: one cell a function, one loop over time for all three.

Shapes: x [batch, timesteps, features], states [batch, units], mask [batch, timesteps], True where valid.
Source: keras 3.15 ``layers/rnn/{rnn,simple_rnn,lstm,gru}.py`` and ``backend/tensorflow/rnn.py``.
"""

from __future__ import annotations

import numpy as np

from tests.reference import activations


def simple_rnn_cell(x, states, weights, *, activation=np.tanh):
    kernel, recurrent_kernel, bias = weights
    (h,) = states
    h = activation(x @ kernel + bias + h @ recurrent_kernel)
    return h, [h]


def lstm_cell(x, states, weights, *, activation=np.tanh, recurrent_activation=activations.sigmoid):
    """Gate blocks i, f, c, o."""
    kernel, recurrent_kernel, bias = weights
    h, c = states
    z_i, z_f, z_c, z_o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
    i = recurrent_activation(z_i)
    f = recurrent_activation(z_f)
    o = recurrent_activation(z_o)
    c = f * c + i * activation(z_c)
    h = o * activation(c)
    return h, [h, c]


def gru_cell_reset_after(x, states, weights, *, activation=np.tanh, recurrent_activation=activations.sigmoid):
    """Gate blocks z, r, h; bias [2, 3 * units]: of the input and of the recurrence."""
    kernel, recurrent_kernel, bias = weights
    (h,) = states
    x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3, axis=-1)
    h_z, h_r, h_h = np.split(h @ recurrent_kernel + bias[1], 3, axis=-1)
    z = recurrent_activation(x_z + h_z)
    r = recurrent_activation(x_r + h_r)
    candidate = activation(x_h + r * h_h)
    h = z * h + (1 - z) * candidate
    return h, [h]


def gru_cell_reset_before(
    x, states, weights, *, activation=np.tanh, recurrent_activation=activations.sigmoid
):
    """Gate blocks z, r, h; bias [3 * units]."""
    kernel, recurrent_kernel, bias = weights
    (h,) = states
    u_z, u_r, u_h = np.split(recurrent_kernel, 3, axis=-1)
    x_z, x_r, x_h = np.split(x @ kernel + bias, 3, axis=-1)
    z = recurrent_activation(x_z + h @ u_z)
    r = recurrent_activation(x_r + h @ u_r)
    candidate = activation(x_h + (r * h) @ u_h)
    h = z * h + (1 - z) * candidate
    return h, [h]


def loop(
    step,
    x,
    initial_state,
    *,
    mask=None,
    go_backwards=False,
    zero_output_for_mask=False,
    return_sequences=False,
    unroll=False,
):
    """Run ``step(x_t, states) -> output, states`` over time; the output(s) and the final states.

    Outputs stand in the order of processing: reversed in time with ``go_backwards``.
    """
    timesteps = x.shape[1]
    order = range(timesteps - 1, -1, -1) if go_backwards else range(timesteps)
    # Keras's unrolled loop carries outputs over masked steps and zeroes them afterwards.
    zero_inside = zero_output_for_mask and not unroll
    states = list(initial_state)
    previous = None
    outputs = []
    for t in order:
        output, new_states = step(x[:, t], states)
        if previous is None:
            previous = np.zeros_like(output)
        if mask is not None:
            valid = mask[:, t, None]
            output = np.where(valid, output, np.zeros_like(output) if zero_inside else previous)
            new_states = [np.where(valid, new, old) for new, old in zip(new_states, states, strict=True)]
        states = new_states
        previous = output
        outputs.append(output)
    last = outputs[-1]
    sequence = np.stack(outputs, axis=1)
    if mask is not None and zero_output_for_mask and unroll:
        last = np.where(mask[:, order[-1], None], last, 0)
        # Keras's quirk: this mask is not reversed, although the outputs are.
        sequence = np.where(mask[:, :, None], sequence, 0)
    return (sequence if return_sequences else last), states


def _run(
    cell,
    x,
    weights,
    state_count,
    *,
    use_bias,
    bias_shape,
    initial_state=None,
    return_state=False,
    time_major=False,
    mask=None,
    cell_options,
    **loop_options,
):
    x = np.asarray(x, np.float64)
    kernel, recurrent_kernel, *bias = (np.asarray(w, np.float64) for w in weights)
    weights = kernel, recurrent_kernel, bias[0] if use_bias else np.zeros(bias_shape)
    if time_major:
        x = np.swapaxes(x, 0, 1)
        mask = None if mask is None else np.swapaxes(mask, 0, 1)
    units = recurrent_kernel.shape[0]
    if initial_state is None:
        initial_state = [np.zeros((x.shape[0], units))] * state_count
    initial_state = [np.asarray(state, np.float64) for state in initial_state]

    def step(x_t, states):
        return cell(x_t, states, weights, **cell_options)

    output, states = loop(step, x, initial_state, mask=mask, **loop_options)
    if time_major and loop_options.get("return_sequences"):
        output = np.swapaxes(output, 0, 1)
    return [output, *states] if return_state else output


def simple_rnn(x, weights, *, activation=np.tanh, use_bias=True, **options):
    """The layer SimpleRNN; options: those of ``loop``, initial_state, return_state, time_major, mask."""
    units = np.shape(weights[1])[0]
    return _run(
        simple_rnn_cell,
        x,
        weights,
        1,
        use_bias=use_bias,
        bias_shape=(units,),
        cell_options={"activation": activation},
        **options,
    )


def lstm(
    x,
    weights,
    *,
    activation=np.tanh,
    recurrent_activation=activations.sigmoid,
    use_bias=True,
    **options,
):
    """The layer LSTM; options as of ``simple_rnn``; states h, c."""
    units = np.shape(weights[1])[0]
    return _run(
        lstm_cell,
        x,
        weights,
        2,
        use_bias=use_bias,
        bias_shape=(4 * units,),
        cell_options={"activation": activation, "recurrent_activation": recurrent_activation},
        **options,
    )


def gru(
    x,
    weights,
    *,
    activation=np.tanh,
    recurrent_activation=activations.sigmoid,
    use_bias=True,
    reset_after=True,
    **options,
):
    """The layer GRU; options as of ``simple_rnn``."""
    units = np.shape(weights[1])[0]
    return _run(
        gru_cell_reset_after if reset_after else gru_cell_reset_before,
        x,
        weights,
        1,
        use_bias=use_bias,
        bias_shape=(2, 3 * units) if reset_after else (3 * units,),
        cell_options={"activation": activation, "recurrent_activation": recurrent_activation},
        **options,
    )
