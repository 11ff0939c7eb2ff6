# SPDX-License-Identifier: MIT
"""Write ``expected.npz``: what Keras gives for every case. Run where keras and tensorflow are installed:

python tests/layers/make_expected.py
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from cases import CASES, inputs_of, masks_of, weights_of


def main() -> None:
    expected = {"keras_version": np.array(keras.__version__)}
    for number, case in enumerate(CASES):
        layer = getattr(keras.layers, case["class_name"])(**case["config"])
        inputs = inputs_of(number)
        single = inputs[0] if len(inputs) == 1 else inputs
        spread = case.get("spread", False)
        if spread:
            layer.build(*[x.shape for x in inputs])
        else:
            layer.build(single.shape if len(inputs) == 1 else [x.shape for x in inputs])
        weights = layer.weights
        values = weights_of(number, [tuple(w.shape) for w in weights], [w.path for w in weights])
        layer.set_weights(values)
        if case["class_name"] == "Normalization":
            layer.finalize_state()
        # Masks travel on the tensors, as from an Embedding before.
        dtype = "int64" if case["class_name"] in ("CategoryEncoding", "IntegerLookup") else "float32"
        tensors = [keras.ops.convert_to_tensor(x.astype(dtype)) for x in inputs]
        for tensor, mask in zip(tensors, masks_of(number) or [], strict=False):
            if mask is not None:
                keras.src.backend.set_keras_mask(tensor, keras.ops.convert_to_tensor(mask))
        args = tensors if spread or len(tensors) == 1 else [tensors]
        result = layer(*args, **case.get("call", {}))
        for index, output in enumerate(result if isinstance(result, list | tuple) else [result]):
            expected[f"{number}/{index}"] = np.asarray(output)
            mask = getattr(output, "_keras_mask", None)
            if mask is not None:
                expected[f"{number}/{index}/mask"] = np.asarray(mask)
        for index, weight in enumerate(weights):
            expected[f"{number}/weight/{index}"] = np.array(
                [weight.path.rsplit("/", 1)[-1], str(weight.shape)]
            )
    np.savez_compressed(Path(__file__).parent / "expected.npz", **expected)
    print(len(CASES), "cases")


if __name__ == "__main__":
    main()
