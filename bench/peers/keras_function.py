# SPDX-License-Identifier: MIT
"""Keras on TensorFlow, traced once for the fixed shape: what remains of Keras without ``predict``."""

from __future__ import annotations

import numpy as np

from bench.peers import Run, _keras
from bench.workloads import Workload, is_recurrent

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


def prepare_step(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    """States as further inputs and outputs of the model, kept as tensors between the calls."""
    import keras
    import tensorflow as tf

    from tests.recipes import build_layer

    x = keras.Input((1, workload.features), batch_size=batch)
    y, given, kept = x, [], []
    for recipe in workload.layers:
        if is_recurrent(recipe):
            count = 2 if recipe["class"] == "LSTM" else 1
            states = [keras.Input((recipe["units"],), batch_size=batch) for _ in range(count)]
            y, *after = build_layer(keras.layers, {**recipe, "return_state": True})(y, initial_state=states)
            given += states
            kept += after
        else:
            y = build_layer(keras.layers, recipe)(y)
    model = keras.Model([x, *given], [y, *kept])
    model.set_weights(weights)
    traced = tf.function(lambda *tensors: model(tensors, training=False)).get_concrete_function(
        *(tf.TensorSpec(tensor.shape, tf.float32) for tensor in model.inputs)
    )
    states = [tf.zeros(tensor.shape) for tensor in given]

    def run(x: np.ndarray) -> np.ndarray:
        nonlocal states
        y, *states = traced(tf.constant(x[:, None]), *states)
        return y.numpy()[:, 0]

    return run
