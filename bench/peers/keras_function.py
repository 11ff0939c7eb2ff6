# SPDX-License-Identifier: MIT
"""Keras on TensorFlow, traced once for the fixed shape: what remains of Keras without ``predict``."""

from __future__ import annotations

import numpy as np

from bench.peers import Run, _keras
from bench.workloads import Workload

TITLE = "Keras tf.function"
MODULES = ("keras", "tensorflow")

environment = _keras.tensorflow_environment
version = _keras.tensorflow_version


def prepare(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    import tensorflow as tf

    model = _keras.build(workload, weights)
    shape = (batch, workload.timesteps, workload.features)
    traced = tf.function(lambda x: model(x, training=False)).get_concrete_function(
        tf.TensorSpec(shape, tf.float32)
    )
    return lambda x: traced(tf.constant(x)).numpy()
