# SPDX-License-Identifier: MIT
"""Run recurrent networks trained in Keras, without TensorFlow.

>>> import unrolled
>>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(2, 10))])
>>> model.count_params()
42
"""

from __future__ import annotations

from typing import Any

from unrolled import activations, initializers, layers, models, ops, utils
from unrolled._core import available_isas, get_num_threads, isa, set_num_threads
from unrolled.errors import ModelFileError, StreamError, UnsupportedModelError
from unrolled.layers import Input
from unrolled.models import Model, Sequential, load_model, model_from_json
from unrolled.streaming import Stream, StreamPool

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``unrolled.batch`` and ``unrolled.mlflow``, imported when they are asked for."""
    if name == "batch":
        import unrolled.batch as batch

        return batch
    if name == "mlflow":
        import unrolled.mlflow as mlflow

        return mlflow
    raise AttributeError(f"module 'unrolled' has no attribute {name!r}")


__all__ = [
    "Input",
    "Model",
    "ModelFileError",
    "Sequential",
    "Stream",
    "StreamError",
    "StreamPool",
    "UnsupportedModelError",
    "activations",
    "available_isas",
    "get_num_threads",
    "initializers",
    "isa",
    "layers",
    "load_model",
    "model_from_json",
    "models",
    "ops",
    "set_num_threads",
    "utils",
]
