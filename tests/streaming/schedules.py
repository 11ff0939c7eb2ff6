# SPDX-License-Identifier: MIT
"""A model of any shape, played in steps, blocks and pools, against predict."""

from __future__ import annotations

import numpy as np

from unrolled import StreamError
from unrolled.engine import tree
from unrolled.models.model import Model

TIMESTEPS = 7
ROWS = 3


def same_bytes(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def random_inputs(model: Model, rng: np.random.Generator) -> list[np.ndarray]:
    """One array for each input; ids stay small enough for every embedding of the model."""
    vocabulary = min([11, *(getattr(layer, "input_dim", 11) for layer in model.walk())])
    arrays = []
    for tensor in model.inputs:
        shape = (tensor.shape[0] or ROWS, tensor.shape[1] or TIMESTEPS, *tensor.shape[2:])
        if model.input_dtype(tensor, np.zeros(0, np.int32)) == "int32":
            arrays.append(rng.integers(0, vocabulary, shape).astype(np.int32))
        else:
            arrays.append(rng.standard_normal(shape).astype(np.float32))
    return arrays


def check_streams(model: Model, seed: int) -> bool:
    """Whether the model can be streamed; if so, steps, blocks and a pool must give the bytes of predict."""
    try:
        stream = model.stream((model.inputs[0].shape[0] if model.built else None) or ROWS)
    except StreamError:
        return False
    rng = np.random.default_rng(seed)
    x = random_inputs(model, rng)
    rows, timesteps = x[0].shape[:2]
    model.reset_state()
    whole = list(tree.leaves(model.predict(tree.unflatten(model.input, iter(x)), verbose=0)))
    by_time = stream._compiled.sequence_outputs

    def at(t):
        return tree.unflatten(model.input, iter([array[:, t] for array in x]))

    def check(outputs, start, stop):
        """Outputs for timesteps [start, stop), or of the one step."""
        for got, wanted, is_sequence in zip(tree.leaves(outputs), whole, by_time, strict=True):
            if is_sequence:
                assert same_bytes(
                    np.ascontiguousarray(got).reshape(wanted[:, start:stop].shape),
                    np.ascontiguousarray(wanted[:, start:stop]),
                )
            elif stop == timesteps:
                assert same_bytes(got, wanted)

    t = 0
    while t < timesteps:
        count = int(rng.integers(0, 4))
        if count == 0 or t + count > timesteps:
            check(stream.step(at(t)), t, t + 1)
            t += 1
        else:
            block = tree.unflatten(model.input, iter([array[:, t : t + count] for array in x]))
            check(stream.run(block), t, t + count)
            t += count

    pool = model.stream_pool(capacity=2)
    clients = np.array([pool.open() for _ in range(rows)])
    ages = np.zeros(rows, int)
    while (ages < timesteps).any():
        chosen = rng.permutation(np.flatnonzero(ages < timesteps))[: rng.integers(1, rows + 1)]
        part = tree.unflatten(model.input, iter([array[chosen, ages[chosen]] for array in x]))
        outputs = pool.step(clients[chosen], part)
        for got, wanted, is_sequence in zip(tree.leaves(outputs), whole, by_time, strict=True):
            for i, row in enumerate(chosen):
                if is_sequence:
                    assert same_bytes(got[i], np.ascontiguousarray(wanted[row, ages[row]]))
                elif ages[row] == timesteps - 1:
                    assert same_bytes(got[i], wanted[row])
        ages[chosen] += 1
    return True
