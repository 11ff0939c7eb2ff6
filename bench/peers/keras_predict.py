# SPDX-License-Identifier: MIT
"""Keras on TensorFlow, called as its documentation says: ``model.predict``."""

from __future__ import annotations

import numpy as np

from bench.peers import Run, _keras
from bench.workloads import Workload

TITLE = "Keras predict"
MODULES = ("keras", "tensorflow")

environment = _keras.tensorflow_environment
version = _keras.tensorflow_version


def prepare(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    model = _keras.build(workload, weights)
    return lambda x: model.predict(x, batch_size=batch, verbose=0)
