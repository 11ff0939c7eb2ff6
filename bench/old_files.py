# SPDX-License-Identifier: MIT
"""Which model files of a folder today's Keras and unrolled load, and whose numbers are right.

    python -m bench.old_files FOLDER

Needs Keras. The folder holds model files with, beside each, a ``.npz`` of inputs (``x0``, ``x1``, ...) and of
the outputs (``y0``, ...) that the Keras version that wrote the file computes. Counts files by the major
version of their writer; right means within 1e-5 plus 1e-4 of the number.
"""

from __future__ import annotations

import os
import sys
from collections import Counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if len(sys.argv) > 1:
    os.environ["UNROLLED_SHARED_MODELS"] = sys.argv[1]

import keras
import numpy as np

import unrolled
from tests.test_shared_models import FILES, is_refused
from unrolled.formats import read_model


def with_keras(path, weights, x):
    if weights is None:
        model = keras.models.load_model(path, compile=False)
    else:
        model = keras.models.model_from_json(path.read_text())
        model.load_weights(weights)
    return model.predict(x, verbose=0)


def with_unrolled(path, weights, x):
    return unrolled.load_model(path, weights=weights).predict(x, verbose=0)


def outcome(run, path, weights, arrays):
    """ "right", "wrong numbers" or "does not load"."""
    x = [arrays[f"x{i}"] for i in range(sum(key.startswith("x") for key in arrays.files))]
    want = [arrays[f"y{i}"] for i in range(sum(key.startswith("y") for key in arrays.files))]
    try:
        y = run(path, weights, x[0] if len(x) == 1 else x)
    except Exception as error:  # whatever it is, it is no model
        return f"does not load ({type(error).__name__})"
    y = list(y.values()) if isinstance(y, dict) else y if isinstance(y, list) else [y]
    right = len(y) == len(want) and all(
        np.shape(a) == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
        for a, b in zip(y, want, strict=True)
    )
    return "right" if right else "wrong numbers"


def main():
    counts = {"Keras": Counter(), "unrolled": Counter()}
    writers = Counter()
    for name, (path, weights, reference) in FILES.items():
        if reference is None or is_refused(name) or name.startswith("synthetic/"):
            continue
        try:
            version = read_model(path, weights).keras_version
        except unrolled.UnsupportedModelError:
            version = "unknown"
        writer = "Keras 3" if version.startswith("3") else "Keras 1, 2, tf.keras"
        writers[writer] += 1
        arrays = np.load(reference)
        for which, run in (("Keras", with_keras), ("unrolled", with_unrolled)):
            result = outcome(run, path, weights, arrays)
            counts[which][writer, result.split(" (")[0]] += 1
            if result != "right":
                print(f"{name} (Keras {version}): {which}: {result}", file=sys.stderr)
    print("| written by | files | by | load | right numbers |\n|---|---|---|---|---|")
    for writer, files in sorted(writers.items()):
        for which, count in counts.items():
            right, wrong = count[writer, "right"], count[writer, "wrong numbers"]
            label = f"Keras {keras.__version__}" if which == "Keras" else f"unrolled {unrolled.__version__}"
            print(f"| {writer} | {files} | {label} | {right + wrong} | {right} |")


if __name__ == "__main__":
    main()
