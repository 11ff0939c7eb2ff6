# SPDX-License-Identifier: MIT
"""ONNX Runtime on the graph of ``_graph.py``."""

from __future__ import annotations

import numpy as np

from bench.peers import Run
from bench.peers._graph import onnx_model
from bench.workloads import Workload

TITLE = "ONNX Runtime"
MODULES = ("onnx", "onnxruntime")


def environment(threads: int) -> dict[str, str]:
    return {}


def version() -> str:
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def prepare(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx_model(workload, weights, batch), options, providers=["CPUExecutionProvider"]
    )
    outputs = ["y"]
    return lambda x: session.run(outputs, {"x": x})[0]
