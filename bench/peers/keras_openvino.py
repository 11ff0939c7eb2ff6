# SPDX-License-Identifier: MIT
"""Keras on its OpenVINO backend: the rival that needs no TensorFlow either."""

from __future__ import annotations

import os

import numpy as np

from bench.peers import Run, _keras
from bench.workloads import Workload

TITLE = "Keras OpenVINO"
MODULES = ("keras", "openvino", "scipy")


def environment(threads: int) -> dict[str, str]:
    return {"KERAS_BACKEND": "openvino"}


def version() -> str:
    import keras
    import openvino

    return f"keras {keras.__version__}, openvino {openvino.__version__.split('-')[0]}"


def prepare(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    # Keras gives no way to set OpenVINO's threads; it starts as many as the process may use processors.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    use_float32()
    model = _keras.build(workload, weights)
    return model.predict_on_batch


def use_float32() -> None:
    """Keep Keras's ``predict`` from computing in bfloat16 where the processor has it.

    Keras compiles the model without a precision, and OpenVINO then chooses for speed.
    """
    import openvino
    from keras.src.backend.openvino import trainer

    def compile_model(model: openvino.Model, device: str) -> openvino.CompiledModel:
        return openvino.compile_model(model, device, config={"INFERENCE_PRECISION_HINT": "f32"})

    class Proxy:
        """The module openvino, with compile_model as above."""

        def __getattr__(self, name: str) -> object:
            return compile_model if name == "compile_model" else getattr(openvino, name)

    trainer.ov = Proxy()
