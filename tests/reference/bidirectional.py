# SPDX-License-Identifier: MIT
"""Bidirectional in float64. Source: keras 3.15 ``layers/rnn/bidirectional.py``."""

from __future__ import annotations

import numpy as np

MERGE = {
    "concat": lambda forward, backward: np.concatenate([forward, backward], axis=-1),
    "sum": lambda forward, backward: forward + backward,
    "mul": lambda forward, backward: forward * backward,
    "ave": lambda forward, backward: (forward + backward) / 2,
}


def bidirectional(
    x,
    forward_layer,
    backward_layer,
    *,
    merge_mode="concat",
    return_sequences=False,
    return_state=False,
    mask=None,
    initial_state=None,
    time_major=False,
):
    """Two recurrent layers over one sequence, merged.

    ``forward_layer(x, mask=, initial_state=, zero_output_for_mask=)`` and ``backward_layer`` likewise give
    an output, or ``[output, *states]`` with ``return_state``. Keras sets ``zero_output_for_mask`` of both to
    ``return_sequences``, whatever they were made with.
    """
    half = len(initial_state) // 2 if initial_state is not None else 0
    forward = forward_layer(
        x,
        mask=mask,
        initial_state=initial_state[:half] if half else None,
        zero_output_for_mask=return_sequences,
    )
    backward = backward_layer(
        x,
        mask=mask,
        initial_state=initial_state[half:] if half else None,
        zero_output_for_mask=return_sequences,
    )
    states = []
    if return_state:
        states = [*forward[1:], *backward[1:]]
        forward, backward = forward[0], backward[0]
    if return_sequences:
        backward = np.flip(backward, axis=0 if time_major else 1)
    outputs = [forward, backward] if merge_mode is None else [MERGE[merge_mode](forward, backward)]
    result = outputs + states
    return result if len(result) > 1 else result[0]
