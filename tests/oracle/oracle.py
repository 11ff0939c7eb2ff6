# SPDX-License-Identifier: MIT
"""One random model through Keras, through the float64 reference and through unrolled."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from tests.recipes import build_model, random_input, randomize_weights, source_of
from tests.reference.model import Chain
from tests.tolerances import TOLERANCES

SEMANTICS = {"keras": "keras3", "tf_keras": "keras2"}


def as_list(y):
    return [np.asarray(array) for array in (y if isinstance(y, list | tuple) else [y])]


def inputs_of(case, rng):
    """The inputs of the successive calls."""
    recipe = case["recipe"]
    length = recipe.get("free_length")
    shape = recipe["input_shape"] if length is None else [length, *recipe["input_shape"][1:]]
    return [
        random_input(recipe | {"input_shape": shape}, rng, batch=case["batch"]) for _ in range(case["calls"])
    ]


def run_keras(keras, case, folder):
    """Keras's file, weights, inputs and outputs of a case."""
    rng = np.random.default_rng(case["seed"])
    keras.backend.clear_session()
    model = build_model(keras, case["recipe"])
    randomize_weights(model, rng)
    path = folder / f"model.{case['format']}"
    model.save(path)
    inputs = inputs_of(case, rng)
    outputs = [as_list(model(x)) for x in inputs]
    return path, model.get_weights(), inputs, outputs


def run_reference(keras_name, case, weights, inputs):
    chain = Chain(case["recipe"]["layers"], weights, SEMANTICS[keras_name])
    with np.errstate(all="ignore"):
        return [as_list(chain(x)) for x in inputs]


def run_unrolled(path, inputs):
    import unrolled

    model = unrolled.load_model(path)
    return [as_list(model.predict(x, verbose=0)) for x in inputs]


def scale_of(expected):
    finite = np.abs(expected[np.isfinite(expected)])
    return max(1.0, float(finite.max(initial=0)))


def compare(got, keras, reference, what, *, script, tolerance="oracle"):
    """Raise AssertionError, with the script, where ``got`` is farther from Keras than rounding explains.

    Rounding is measured, not guessed: what Keras's own float32 is away from the float64 reference, several
    times over, and the plain tolerance on top.
    """
    absolute, relative = TOLERANCES[tolerance]
    for call, (ys, ks, rs) in enumerate(zip(got, keras, reference, strict=True)):
        assert len(ys) == len(ks), f"{what}: {len(ys)} outputs, Keras has {len(ks)}\n{script}"
        for i, (y, k, r) in enumerate(zip(ys, ks, rs, strict=True)):
            assert y.shape == k.shape, f"{what}: output {i} has shape {y.shape}, Keras {k.shape}\n{script}"
            scale = scale_of(k)
            own_error = float(np.nanmax(np.abs(k - r), initial=0)) if np.isfinite(r).any() else 0.0
            allowed = absolute * scale + relative * np.abs(k) + 4 * min(own_error, 1e-3 * scale)
            same = (np.isnan(y) & np.isnan(k)) | (y == k)
            with np.errstate(invalid="ignore"):
                bad = ~same & ~(np.abs(y - k) <= allowed)
            if bad.any():
                where = tuple(int(n) for n in np.argwhere(bad)[0])
                raise AssertionError(
                    f"{what}: call {call}, output {i}, at {where}: {y[where]!r}, Keras {k[where]!r}, "
                    f"float64 {r[where]!r}; {bad.sum()} of {bad.size} differ\n{script}"
                )


def script_of(keras_name, case):
    """A small program that shows the difference."""
    recipe = case["recipe"]
    lines = [
        f"import numpy as np, {keras_name} as keras, unrolled",
        "from tests.oracle.oracle import inputs_of",
        "from tests.recipes import randomize_weights",
        source_of(recipe),
        f"rng = np.random.default_rng({case['seed']})",
        "randomize_weights(model, rng)",
        f"model.save('/tmp/case.{case['format']}')",
        f"case = {dict(case, recipe=recipe)!r}",
        f"mine = unrolled.load_model('/tmp/case.{case['format']}')",
        "for x in inputs_of(case, rng):",
        "    print(model(x), mine.predict(x), sep='\\n')",
    ]
    return "\n--- to reproduce ---\n" + "\n".join(lines) + "\n---"


def check(keras_name, keras, case, *, with_unrolled=True):
    """Keras, the reference and unrolled agree on a case."""
    script = script_of(keras_name, case)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            path, weights, inputs, expected = run_keras(keras, case, Path(scratch))
        except Exception as error:
            raise RuntimeError(f"{keras_name} itself cannot run this\n{script}") from error
        reference = run_reference(keras_name, case, weights, inputs)
        compare(reference, expected, expected, "reference", script=script, tolerance="oracle_reference")
        if with_unrolled:
            try:
                got = run_unrolled(path, inputs)
            except Exception as error:
                raise AssertionError(f"unrolled fails: {error}\n{script}") from error
            compare(got, expected, reference, "unrolled", script=script)


def cases_per_keras():
    return int(os.environ.get("UNROLLED_ORACLE_CASES", "260"))
