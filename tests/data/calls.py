# SPDX-License-Identifier: MIT
"""Recurrent layers called on arrays, in all combinations of the options that meet a mask.

All cases of a cell share weights and inputs; every case returns its states.
"""

from __future__ import annotations

import itertools
import zlib

import numpy as np

from tests.data.cases import CELLS
from tests.recipes import build_layer, padding_patterns

BATCH, TIMESTEPS, FEATURES, UNITS = 5, 4, 3, 4
STATES = {"simple_rnn": 1, "lstm": 2, "gru": 1, "gru_reset_before": 1}


def entries(which):
    """The index of all calls: which cell, which options, whether with mask and initial state."""
    del which
    result = []
    flags = (False, True)
    for cell, sequences, backwards, unroll in itertools.product(CELLS, flags, flags, flags):
        for masked, zero, initial in itertools.product(flags, flags, flags):
            if zero and (not masked or (unroll and not sequences)):
                continue  # Keras itself fails on the second: its mask has more timesteps than the output
            options = {
                "return_sequences": sequences,
                "go_backwards": backwards,
                "unroll": unroll,
                "zero_output_for_mask": zero,
            }
            words = [cell, *(key for key, on in options.items() if on)]
            words += ["mask"] * masked + ["initial_state"] * initial
            recipe = CELLS[cell] | {"units": UNITS, "return_state": True}
            result.append(
                {
                    "name": "-".join(words),
                    "cell": cell,
                    "recipe": recipe | {key: on for key, on in options.items() if on},
                    "mask": masked,
                    "initial_state": initial,
                }
            )
    for mode, sequences, masked in itertools.product(("concat", "sum", "mul", "ave", None), flags, flags):
        inner = CELLS["lstm"] | {"units": UNITS, "return_state": True, "return_sequences": sequences}
        words = ["bidirectional", str(mode).lower()] + ["return_sequences"] * sequences + ["mask"] * masked
        result.append(
            {
                "name": "-".join([*words, "initial_state"]),
                "cell": "bidirectional",
                "recipe": {"class": "Bidirectional", "layer": inner, "merge_mode": mode},
                "mask": masked,
                "initial_state": True,
            }
        )
    return result


def write(keras, which):
    """Arrays and index of all calls, computed by ``keras``."""
    rng = np.random.default_rng(zlib.crc32(b"calls"))
    arrays = {
        "x": rng.standard_normal((BATCH, TIMESTEPS, FEATURES)).astype(np.float32),
        "mask": padding_patterns(BATCH, TIMESTEPS, rng),
    }
    for i in range(4):
        arrays[f"s{i}"] = rng.standard_normal((BATCH, UNITS)).astype(np.float32)
    index = entries(which)
    for entry in index:
        layer = build_layer(keras.layers, entry["recipe"])
        layer.build((None, TIMESTEPS, FEATURES))
        cell = entry["cell"]
        if f"{cell}/w0" not in arrays:
            for i, weight in enumerate(layer.get_weights()):
                arrays[f"{cell}/w{i}"] = (0.6 * rng.standard_normal(weight.shape)).astype(np.float32)
        count = len(layer.get_weights())
        layer.set_weights([arrays[f"{cell}/w{i}"] for i in range(count)])
        kwargs = {"mask": arrays["mask"]} if entry["mask"] else {}
        if entry["initial_state"]:
            kwargs["initial_state"] = [
                keras.backend.constant(arrays[f"s{i}"]) if which == "tf_keras" else arrays[f"s{i}"]
                for i in range(state_count(cell))
            ]
        outputs = layer(keras.backend.constant(arrays["x"]) if which == "tf_keras" else arrays["x"], **kwargs)
        for i, y in enumerate(outputs):
            arrays[f"{entry['name']}/y{i}"] = np.asarray(y)
    return arrays, index


def state_count(cell):
    return 4 if cell == "bidirectional" else STATES[cell]
