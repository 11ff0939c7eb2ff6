# SPDX-License-Identifier: MIT
"""OpenVINO on the graph of ``_graph.py``, tuned for latency, in float32 (it would choose bfloat16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.peers import Run
from bench.peers._graph import onnx_model, state_shapes
from bench.workloads import Workload

if TYPE_CHECKING:
    import openvino

TITLE = "OpenVINO"
MODULES = ("onnx", "openvino")


def environment(threads: int) -> dict[str, str]:
    return {}


def version() -> str:
    import openvino

    return f"openvino {openvino.__version__.split('-')[0]}"


def prepare(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    import openvino

    request = _compile(openvino.Core().read_model(onnx_model(workload, weights, batch)), threads)
    # Without copies: the output is a view that the next call overwrites.
    return lambda x: request.infer(x, share_inputs=True, share_outputs=True)[0]


def prepare_step(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    """States as OpenVINO's own variables, which stay inside from call to call."""
    import openvino
    from openvino._offline_transformations import apply_make_stateful_transformation

    model = openvino.Core().read_model(onnx_model(workload, weights, batch, stateful=True))
    pairs = {name: f"{name}_out" for name in state_shapes(workload, batch)}
    apply_make_stateful_transformation(model, pairs)
    request = _compile(model, threads)
    return lambda x: request.infer(x[:, None], share_inputs=True, share_outputs=True)[0][:, 0]


def _compile(model: openvino.Model, threads: int) -> openvino.InferRequest:
    import openvino

    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
