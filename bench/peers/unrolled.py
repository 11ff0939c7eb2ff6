# SPDX-License-Identifier: MIT
"""unrolled: the .keras file that Keras wrote where there is one, else the same model built by its API."""

from __future__ import annotations

import numpy as np

from bench import paths
from bench.peers import Run
from bench.workloads import Workload

TITLE = "unrolled"
MODULES = ("unrolled",)


def environment(threads: int) -> dict[str, str]:
    return {}


def version() -> str:
    import unrolled

    return f"unrolled {unrolled.__version__} ({unrolled.isa()})"


def prepare(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    import unrolled
    from tests.recipes import build_model

    unrolled.set_num_threads(threads)
    file = paths.MODELS / f"{workload.key}.keras"
    if file.exists():
        return unrolled.load_model(file)
    model = build_model(unrolled, workload.recipe)
    model.set_weights(weights)
    return model
