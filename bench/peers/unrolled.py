# SPDX-License-Identifier: MIT
"""unrolled: the .keras file that Keras wrote where there is one, else the same model built by its API."""

from __future__ import annotations

from typing import Any

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
    return load(workload, weights, threads)


def prepare_step(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    return load(workload, weights, threads).stream(batch_size=batch).step


def prepare_pool(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    """Every client of a pool of ``batch``, in an order that is not that of their opening."""
    pool = load(workload, weights, threads).stream_pool(capacity=batch)
    ids = np.random.default_rng(0).permutation([pool.open() for _ in range(batch)])
    return lambda x: pool.step(ids, x)


def load(workload: Workload, weights: list[np.ndarray], threads: int) -> Any:
    """The model."""
    import unrolled
    from tests.recipes import build_model

    unrolled.set_num_threads(threads)
    file = paths.MODELS / f"{workload.key}.keras"
    if file.exists():
        return unrolled.load_model(file)
    model = build_model(unrolled, workload.recipe)
    model.set_weights(weights)
    return model
