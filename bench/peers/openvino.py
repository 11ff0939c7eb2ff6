# SPDX-License-Identifier: MIT
"""OpenVINO on the graph of ``_graph.py``, tuned for latency, in float32 (it would choose bfloat16)."""

from __future__ import annotations

import numpy as np

from bench.peers import Run
from bench.peers._graph import onnx_model
from bench.workloads import Workload

TITLE = "OpenVINO"
MODULES = ("onnx", "openvino")


def environment(threads: int) -> dict[str, str]:
    return {}


def version() -> str:
    import openvino

    return f"openvino {openvino.__version__.split('-')[0]}"


def prepare(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(onnx_model(workload, weights, batch)),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        },
    )
    request = compiled.create_infer_request()
    # Without copies: the output is a view that the next call overwrites.
    return lambda x: request.infer(x, share_inputs=True, share_outputs=True)[0]
