# SPDX-License-Identifier: MIT
"""Stand-ins for layers, and a writer of both weight layouts that knows Keras's rules independently."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np


class Variable:
    """A weight that remembers what was assigned."""

    def __init__(self, name: str, shape: tuple[int, ...], trainable: bool = True) -> None:
        self.name, self.shape, self.trainable = name, shape, trainable
        self.value: Any = None

    def assign_together(self, pairs: list[tuple[Variable, Any]]) -> None:
        for variable, value in pairs:
            variable.value = np.asarray(value)


class Layer:
    """Any object with weights below it."""

    def __init__(
        self, class_name: str, name: str, *variables: Variable, trainable: bool = True, **tracked: Any
    ) -> None:
        self.class_name, self.name, self.trainable = class_name, name, trainable
        self.own_variables, self.tracked = list(variables), tracked

    def variables(self) -> Iterator[Variable]:
        """All variables at and below, own ones first."""
        yield from self.own_variables
        for value in self.tracked.values():
            for child in value if isinstance(value, list) else [value]:
                yield from child.variables()

    def values(self) -> list[Any]:
        return [variable.value for variable in self.variables()]


def dense(name: str, inputs: int, units: int, trainable: bool = True) -> Layer:
    return Layer(
        "Dense", name, Variable("kernel", (inputs, units)), Variable("bias", (units,)), trainable=trainable
    )


def recurrent(
    class_name: str, name: str, inputs: int, units: int, bias: tuple[int, ...] | None = None
) -> Layer:
    gates = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}[class_name]
    columns = gates * units
    cell = Layer(
        f"{class_name}Cell",
        f"{class_name.lower()}_cell",
        Variable("kernel", (inputs, columns)),
        Variable("recurrent_kernel", (units, columns)),
        Variable("bias", bias or ((2, columns) if class_name == "GRU" else (columns,))),
    )
    return Layer(class_name, name, cell=cell)


def lstm(name: str, inputs: int, units: int) -> Layer:
    return recurrent("LSTM", name, inputs, units)


def batch_normalization(name: str, units: int) -> Layer:
    return Layer(
        "BatchNormalization",
        name,
        Variable("gamma", (units,)),
        Variable("beta", (units,)),
        Variable("moving_mean", (units,), trainable=False),
        Variable("moving_variance", (units,), trainable=False),
    )


def sequential(name: str, *layers: Layer) -> Layer:
    return Layer("Sequential", name, layers=list(layers))


def functional(name: str, *layers: Layer) -> Layer:
    return Layer("Functional", name, layers=list(layers))


def random_array(shape: tuple[int, ...], seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def write_tree(path: Path, arrays: dict[str, Any], names: dict[str, str] | None = None) -> Path:
    """``arrays``: {"layers/dense": [kernel, bias]}; ``names``: the same keys to layers' names."""
    with h5py.File(path, "w") as file:
        for group, values in arrays.items():
            variables = file.create_group(f"{group}/vars")
            for number, value in enumerate(values):
                variables[str(number)] = value
            if names and group in names:
                variables.attrs["name"] = names[group]
    return path


def write_lists(
    path: Path,
    layers: dict[str, list[tuple[str, Any]]],
    *,
    version: str | None = "2.15.0",
    backend: str | None = "tensorflow",
    config: dict[str, Any] | None = None,
) -> Path:
    """``layers``: {"dense": [("dense/kernel:0", array), ...]}, whole with ``config``, else weights only."""
    with h5py.File(path, "w") as file:
        group = file
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
            if version:
                file.attrs["keras_version"] = version
            group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in layers]
        if version:
            group.attrs["keras_version"] = version
        if backend:
            group.attrs["backend"] = backend
        for layer, weights in layers.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [name.encode() for name, _ in weights]
            for name, value in weights:
                inner[name] = value
    return path


LSTM_CONFIG = {
    "name": "lstm",
    "units": 3,
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "dtype": "float32",
}


def keras_3_layer(class_name: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": class_name, "config": config, "registered_name": None}


def small_config() -> dict[str, Any]:
    """InputLayer, LSTM(3), Dense(2), as Keras 3 writes them."""
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": "sequential",
            "layers": [
                keras_3_layer("InputLayer", name="input_layer", batch_shape=[None, 5, 4], dtype="float32"),
                keras_3_layer("LSTM", **LSTM_CONFIG),
                keras_3_layer("Dense", name="dense", units=2, activation="linear"),
            ],
        },
        "registered_name": None,
    }


def small_model() -> Layer:
    return sequential(
        "sequential", Layer("InputLayer", "input_layer"), lstm("lstm", 4, 3), dense("dense", 3, 2)
    )


def small_arrays() -> dict[str, Any]:
    shapes = {"layers/lstm/cell": [(4, 12), (3, 12), (12,)], "layers/dense": [(3, 2), (2,)]}
    return {
        group: [random_array(shape, seed) for seed, shape in enumerate(sizes)]
        for group, sizes in shapes.items()
    }


def write_keras(
    path: Path,
    config: Any = None,
    *,
    weights: bytes | None = None,
    version: str = "3.10.0",
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A `.keras` archive of the small model, or of another config and weights."""
    if weights is None:
        inner = write_tree(path.with_suffix(".inner.h5"), small_arrays())
        weights = inner.read_bytes()
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr(
            "config.json", config if isinstance(config, str | bytes) else json.dumps(config or small_config())
        )
        archive.writestr("model.weights.h5", weights)
    return path


def write_h5(path: Path, version: str = "3.10.0") -> Path:
    """A whole `.h5` of the small model."""
    arrays = small_arrays()
    cell, last = arrays["layers/lstm/cell"], arrays["layers/dense"]
    layers = {
        "lstm": list(zip(["lstm/kernel", "lstm/recurrent_kernel", "lstm/bias"], cell, strict=True)),
        "dense": list(zip(["dense/kernel", "dense/bias"], last, strict=True)),
    }
    return write_lists(path, layers, version=version, config=small_config())
