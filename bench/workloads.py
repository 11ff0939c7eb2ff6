# SPDX-License-Identifier: MIT
"""The models that are timed: names, shapes, batches, and seeded weights in Keras's layout.

A workload's layers are recipes as in ``tests/recipes.py``, so that one description builds the model in
Keras and in unrolled and drives the float64 reference of ``tests/reference``.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}
TINY_TIMESTEPS = 4096


@dataclasses.dataclass(frozen=True)
class Workload:
    """One model and the batch sizes at which it is timed.

    ``suite``: "models" (whole models as they are used), "layers" (one layer), "tiny" (one feature, a few
    units, thousands of timesteps).
    """

    name: str
    suite: str
    timesteps: int
    features: int
    layers: tuple[dict[str, Any], ...]
    batches: tuple[int, ...]

    @property
    def recipe(self) -> dict[str, Any]:
        """For ``tests.recipes.build_model``."""
        return {"layers": list(self.layers), "input_shape": (self.timesteps, self.features)}

    @property
    def key(self) -> str:
        """Names this model's files: another model of the same name has another key."""
        text = json.dumps([self.timesteps, self.features, self.layers], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    def inputs(self, batch: int) -> np.ndarray:
        """Random ``[batch, timesteps, features]``; row 0 is the same at every batch size."""
        rng = np.random.default_rng(1)
        return rng.standard_normal((batch, self.timesteps, self.features)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a layer of a workload is fed. ``timesteps`` is None behind the last recurrent layer."""

    recipe: dict[str, Any]
    timesteps: int | None
    features: int


def cell_of(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recurrent layer of a recipe: itself, or what Bidirectional wraps."""
    return recipe["layer"] if recipe["class"] == "Bidirectional" else recipe


def directions_of(recipe: dict[str, Any]) -> int:
    return 2 if recipe["class"] == "Bidirectional" else 1


def is_recurrent(recipe: dict[str, Any]) -> bool:
    return cell_of(recipe)["class"] in GATES


def shapes(workload: Workload) -> Iterator[Shape]:
    """Every layer with the shape of its input."""
    timesteps: int | None = workload.timesteps
    features = workload.features
    for recipe in workload.layers:
        yield Shape(recipe, timesteps, features)
        if is_recurrent(recipe):
            cell = cell_of(recipe)
            features = cell["units"] * directions_of(recipe)
            if not cell.get("return_sequences"):
                timesteps = None
        elif recipe["class"] == "Flatten":
            features *= timesteps or 1
            timesteps = None
        elif recipe["class"] == "Dense":
            features = recipe["units"]
        else:
            raise ValueError(f"workload {workload.name}: no rule for the shape of a {recipe['class']}")


# -------------------------------------------------------------------- weights


def make_weights(workload: Workload) -> list[np.ndarray]:
    """Seeded weights in the order of Keras's ``get_weights``: Keras's initializers, and biases as trained
    models have them (Keras starts them at zero, which would hide a bias in the wrong place)."""
    rng = np.random.default_rng(zlib.crc32(workload.key.encode()))
    weights: list[np.ndarray] = []
    for shape in shapes(workload):
        if is_recurrent(shape.recipe):
            for _ in range(directions_of(shape.recipe)):
                weights += _cell_weights(rng, cell_of(shape.recipe), shape.features)
        elif shape.recipe["class"] == "Dense":
            units = shape.recipe["units"]
            weights += [_glorot(rng, shape.features, units), rng.uniform(-0.1, 0.1, units)]
    return [np.ascontiguousarray(array, np.float32) for array in weights]


def _cell_weights(rng: np.random.Generator, cell: dict[str, Any], features: int) -> list[np.ndarray]:
    kind, units = cell["class"], cell["units"]
    columns = GATES[kind] * units
    bias = rng.uniform(-0.1, 0.1, (2, columns) if kind == "GRU" else columns)
    if kind == "LSTM":
        bias[units : 2 * units] += 1  # unit_forget_bias
    return [_glorot(rng, features, columns), _orthogonal(rng, units, columns), bias]


def _glorot(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    limit = np.sqrt(6 / (rows + columns))
    return rng.uniform(-limit, limit, (rows, columns))


def _orthogonal(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((columns, rows)))
    return (q * np.sign(np.diag(r))).T


def stored_weights(workload: Workload, folder: Path) -> list[np.ndarray]:
    """The weights from ``folder``, made and put there the first time."""
    path = folder / f"{workload.key}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, *make_weights(workload))
        temporary.replace(path)
    with np.load(path) as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]


# ------------------------------------------------------------------ the table


def _rnn(kind: str, units: int, sequences: bool = False) -> dict[str, Any]:
    return {"class": kind, "units": units, "return_sequences": sequences}


def _both(layer: dict[str, Any]) -> dict[str, Any]:
    return {"class": "Bidirectional", "layer": layer}


def _dense(units: int, activation: str = "linear") -> dict[str, Any]:
    return {"class": "Dense", "units": units, "activation": activation}


def _model(name: str, timesteps: int, features: int, layers: list[dict[str, Any]], batches: tuple[int, ...]):
    return Workload(name, "models", timesteps, features, tuple(layers), batches)


MODELS = (
    _model(
        "seed_lstm4",
        60,
        13,
        [
            *(_rnn("LSTM", units, sequences=True) for units in (1024, 512, 256, 128)),
            {"class": "Flatten"},
            _dense(64, "silu"),  # Keras's swish
            _dense(1, "sigmoid"),
        ],
        (1, 8, 32, 128),
    ),
    _model("seed_deeprnn", 10, 5, [_rnn("SimpleRNN", 128, sequences=True)] * 2, (1, 32, 256)),
    _model("seed_birnn", 10, 5, [_both(_rnn("SimpleRNN", 128, sequences=True))], (1, 32, 256)),
    _model("sensor_lstm64", 50, 8, [_rnn("LSTM", 64), _dense(1)], (1, 32, 1024)),
    _model(
        "nlp_bilstm256x2",
        100,
        128,
        [_both(_rnn("LSTM", 256, sequences=True)), _both(_rnn("LSTM", 256)), _dense(5, "softmax")],
        (1, 32),
    ),
    _model(
        "audio_gru128x2",
        100,
        64,
        [*([_rnn("GRU", 128, sequences=True)] * 2), _dense(64, "sigmoid")],
        (1, 32),
    ),
    _model("rnn512", 100, 128, [_rnn("SimpleRNN", 512), _dense(1)], (1, 32)),
    _model(
        "stream_lstm128x2",
        1,
        257,
        [*([_rnn("LSTM", 128, sequences=True)] * 2), _dense(257, "sigmoid")],
        (1,),
    ),
)

LAYERS = tuple(
    Workload(f"{kind.lower()}_{units}", "layers", 50, 64, (_rnn(kind, units, sequences=True),), (1, 32))
    for kind in ("SimpleRNN", "LSTM", "GRU")
    for units in (8, 16, 32, 64, 128, 256, 512, 1024)
)

TINY = tuple(
    Workload(
        f"tiny_{kind.lower()}_{units}", "tiny", TINY_TIMESTEPS, 1, (_rnn(kind, units, sequences=True),), (1,)
    )
    for kind in ("LSTM", "GRU")
    for units in (8, 16, 20, 32, 40, 64)
)

ALL = {workload.name: workload for workload in (*MODELS, *LAYERS, *TINY)}


def select(patterns: list[str]) -> list[Workload]:
    """Workloads whose name or suite matches a shell pattern, in the order of the table.

    Raises
    ------
    ValueError
        A pattern matches nothing.
    """
    chosen = set()
    for pattern in patterns:
        matching = {
            name
            for name, workload in ALL.items()
            if fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(workload.suite, pattern)
        }
        if not matching:
            raise ValueError(f"no workload or suite matches {pattern!r}; there are {', '.join(ALL)}")
        chosen |= matching
    return [workload for name, workload in ALL.items() if name in chosen]
