# SPDX-License-Identifier: MIT
"""Which model files of a folder today's Keras and unrolled load, and whose numbers are right.

    python -m bench.old_files FOLDER

Needs Keras. The folder holds model files with, beside each, a ``.npz`` of inputs (``x0``, ``x1``, ...) and of
the outputs (``y0``, ...) that the Keras version that wrote the file computes; and may have a folder ``more`` with
SavedModel folders, checkpoints, TensorFlow.js models and pickles, which its ``manifest.json`` lists. Counts files by
kind and writer; right means within 1e-5 plus 1e-4 of the number.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if len(sys.argv) > 1:
    os.environ["UNROLLED_SHARED_MODELS"] = sys.argv[1]
    os.environ.setdefault("UNROLLED_MORE_MODELS", str(Path(sys.argv[1]) / "more"))

import keras
import numpy as np

import unrolled
from tests.test_shared_models import FILES, is_refused
from unrolled.formats import read_model

KINDS = {
    "savedmodel": "SavedModel folder",
    "checkpoint": "checkpoint",
    "tfjs": "TensorFlow.js",
    "pickle": "pickle",
}


def with_keras(path, weights, x):
    if weights is None:
        model = keras.models.load_model(path, compile=False)
    else:
        model = keras.models.model_from_json(path.read_text())
        model.load_weights(weights)
    return model.predict(x, verbose=0)


def with_unrolled(path, weights, x):
    return unrolled.load_model(path, weights=weights).predict(x, verbose=0)


def outcome(run, path, weights, references, outputs):
    """ "right", "wrong numbers" or "does not load"."""
    calls, expected = [], []
    for reference in references:
        arrays = np.load(reference)
        x, y = (
            [arrays[f"{letter}{i}"] for i in range(sum(k[0] == letter for k in arrays.files))]
            for letter in "xy"
        )
        calls.append(x[0] if len(x) == 1 else x)
        expected.append(y)
    try:
        found = [run(path, weights, x) for x in calls]  # each from fresh states
    except Exception as error:  # whatever it is, it is no model
        return f"does not load ({type(error).__name__})"
    for y, want in zip(found, expected, strict=True):
        if isinstance(y, dict):
            y = [y[name] for name in outputs or y]
        y = list(y) if isinstance(y, list) else [y]
        right = len(y) == len(want) and all(
            np.shape(a) == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
            for a, b in zip(y, want, strict=True)
        )
        if not right:
            return "wrong numbers"
    return "right"


def cases():
    """Kind and writer, name, path, weights, references and names of outputs of every file with numbers."""
    for name, (path, weights, reference) in FILES.items():
        if reference is None or is_refused(name) or name.startswith("synthetic/"):
            continue
        try:
            version = read_model(path, weights).keras_version
        except unrolled.UnsupportedModelError:
            version = "unknown"
        writer = "Keras 3" if version.startswith("3") else "Keras 1, 2, tf.keras"
        yield f".keras, .h5, JSON of {writer}", name, path, weights, [reference], None
    try:
        from tests import test_more_models as more
    except BaseException as error:  # the module skips itself where there is no such folder
        print(f"no models of other containers: {error}", file=sys.stderr)
        return
    for key in more.MATCH:
        entry = more.MANIFEST[key]
        kind = key.split("/")[0]
        if kind == "synthetic" or not more.is_here(key):
            continue
        references = [more.FOLDER / kind / name for name in entry["references"]]
        yield KINDS[kind], key, *more.location(key), references, entry.get("outputs")


def main():
    counts = {"Keras": Counter(), "unrolled": Counter()}
    kinds = Counter()
    for kind, name, path, weights, references, outputs in cases():
        kinds[kind] += 1
        for which, run in (("Keras", with_keras), ("unrolled", with_unrolled)):
            result = outcome(run, path, weights, references, outputs)
            counts[which][kind, result.split(" (")[0]] += 1
            if result != "right":
                print(f"{name}: {which}: {result}", file=sys.stderr)
    print("| files | number | by | load | right numbers |\n|---|---|---|---|---|")
    for kind, files in sorted(kinds.items()):
        for which, count in counts.items():
            right, wrong = count[kind, "right"], count[kind, "wrong numbers"]
            label = f"Keras {keras.__version__}" if which == "Keras" else f"unrolled {unrolled.__version__}"
            print(f"| {kind} | {files} | {label} | {right + wrong} | {right} |")


if __name__ == "__main__":
    main()
