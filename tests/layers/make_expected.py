# SPDX-License-Identifier: MIT
"""Write what Keras gives for every case. Run where keras, tf_keras and tensorflow are installed:

python tests/layers/make_expected.py [keras|tf_keras]

``expected.npz`` is of Keras 3, ``expected_tf_keras.npz`` of tf_keras, without the cases that it refuses.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from cases import CASES, inputs_of, make_layer, masks_of, weights_of

TARGETS = {"keras": "expected.npz", "tf_keras": "expected_tf_keras.npz"}


def expected_of(keras: Any, number: int) -> dict[str, Any]:
    """Outputs, masks and weights of a case by key."""
    import tensorflow as tf

    case = CASES[number]
    layer = make_layer(keras.layers, case)
    dtype = "int64" if case["class_name"] in ("CategoryEncoding", "IntegerLookup") else "float32"

    def call() -> Any:
        tensors = [tf.convert_to_tensor(x.astype(dtype)) for x in inputs_of(number)]
        # Masks travel on the tensors, as from an Embedding before.
        for tensor, mask in zip(tensors, masks_of(number) or [], strict=False):
            if mask is not None:
                tensor._keras_mask = tf.convert_to_tensor(mask)
        args = tensors if case.get("spread") or len(tensors) == 1 else [tensors]
        return layer(*args, **case.get("call", {}))

    call()  # makes the weights
    weights = layer.weights
    names = [getattr(w, "path", w.name).rsplit("/", 1)[-1].removesuffix(":0") for w in weights]
    layer.set_weights(weights_of(number, [tuple(w.shape) for w in weights], names))
    if case["class_name"] == "Normalization":
        layer.finalize_state()
    result = call()
    found = {}
    for index, output in enumerate(result if isinstance(result, list | tuple) else [result]):
        found[f"{number}/{index}"] = np.asarray(output)
        mask = getattr(output, "_keras_mask", None)
        if mask is not None:
            found[f"{number}/{index}/mask"] = np.asarray(mask)
    for index, (weight, name) in enumerate(zip(weights, names, strict=True)):
        found[f"{number}/weight/{index}"] = np.array([name, str(tuple(weight.shape))])
    return found


def main(packages: list[str]) -> None:
    for package in packages or list(TARGETS):
        keras = importlib.import_module(package)
        expected = {"keras_version": np.array(keras.__version__)}
        for number, case in enumerate(CASES):
            try:
                expected |= expected_of(keras, number)
            except Exception as error:
                if package == "keras":
                    raise
                print(f"refused: {number} {case['class_name']} {case['config']}: {str(error)[:100]!r}")
        np.savez_compressed(Path(__file__).parent / TARGETS[package], **expected)


if __name__ == "__main__":
    main(sys.argv[1:])
