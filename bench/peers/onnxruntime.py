# SPDX-License-Identifier: MIT
"""ONNX Runtime on the graph of ``_graph.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.peers import Run
from bench.peers._graph import onnx_model, state_shapes
from bench.workloads import Workload

if TYPE_CHECKING:
    import onnxruntime

TITLE = "ONNX Runtime"
MODULES = ("onnx", "onnxruntime")


def environment(threads: int) -> dict[str, str]:
    return {}


def version() -> str:
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def prepare(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    session = _session(onnx_model(workload, weights, batch), threads)
    outputs = ["y"]
    return lambda x: session.run(outputs, {"x": x})[0]


def prepare_step(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    session = _session(onnx_model(workload, weights, batch, stateful=True), threads)
    shapes = state_shapes(workload, batch)
    outputs = ["y", *(f"{name}_out" for name in shapes)]
    feeds = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}

    def run(x: np.ndarray) -> np.ndarray:
        feeds["x"] = x[:, None]
        y, *states = session.run(outputs, feeds)
        feeds.update(zip(shapes, states, strict=True))
        return y[:, 0]

    return run


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
