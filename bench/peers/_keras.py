# SPDX-License-Identifier: MIT
"""What the peers that run Keras share."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.workloads import Workload


def build(workload: Workload, weights: list[np.ndarray]) -> Any:
    """The model in Keras, of the backend that KERAS_BACKEND names."""
    import keras

    from tests.recipes import build_model

    model = build_model(keras, workload.recipe)
    model.set_weights(weights)
    return model


def tensorflow_environment(threads: int) -> dict[str, str]:
    return {
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
    }


def tensorflow_version() -> str:
    import keras
    import tensorflow

    return f"keras {keras.__version__}, tensorflow {tensorflow.__version__}"
