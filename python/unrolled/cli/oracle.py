# SPDX-License-Identifier: MIT
"""A model beside the Keras that wrote it: both on the same inputs, for ``unrolled check --oracle``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.engine import tree
from unrolled.errors import printable
from unrolled.layers.base import Layer
from unrolled.layers.core import Masking
from unrolled.layers.embedding import Embedding
from unrolled.layers.rnn.wrappers import TimeDistributed
from unrolled.layers.symbolic import KerasTensor
from unrolled.models import Model

BATCHES = (1, 5)
# Timesteps where the model leaves them open.
LENGTHS = (7, 12)
PADDINGS = ("none", "right", "left", "scattered")
SEED = 0


class OracleError(ValueError):
    """Keras cannot be asked; the message says why."""


@dataclass(frozen=True)
class Comparison:
    """One input for both.

    Parameters
    ----------
    batch, timesteps : int
        Rows, and timesteps where the model leaves them open (else 0).
    padding : str
        Where timesteps are masked: "none", "right", "left", "scattered".
    difference : float
        The largest absolute difference of any output; NaN against NaN counts as none.
    scale : float
        The largest absolute value of Keras's outputs.
    """

    batch: int
    timesteps: int
    padding: str
    difference: float
    scale: float


@dataclass(frozen=True)
class OracleReport:
    """What ``compare`` found: the Keras that ran, and every comparison."""

    keras: str
    comparisons: list[Comparison]


def compare(
    path: str | os.PathLike[str], weights: str | os.PathLike[str] | None, model: Model
) -> OracleReport:
    """Run a file in the line of Keras that wrote it and in unrolled.

    Parameters
    ----------
    path, weights : path-like
        As ``load_model`` takes them.
    model : Model
        Loaded from them: nothing in the file is code, so that Keras runs none.

    Returns
    -------
    OracleReport

    Raises
    ------
    OracleError
        That Keras is not installed, or does not load or run the file.
    """
    version = model.source.keras_version if model.source is not None else "3.x"
    keras = _keras(version)
    name = f"{keras.__name__} {keras.__version__}"
    try:
        theirs = _load(keras, path, weights)
    except Exception as error:
        raise OracleError(f"{name} does not load the file: {_first_line(error)}") from error
    comparisons = []
    for batch, timesteps, padding in _cases(model):
        x = _inputs(model, batch, timesteps, padding)
        model.reset_state()
        try:
            expected = _run(keras, theirs, x, model)
        except Exception as error:
            raise OracleError(f"{name} does not run the file: {_first_line(error)}") from error
        got = list(tree.leaves(model.predict(x, verbose=0)))
        comparisons.append(Comparison(batch, timesteps, padding, *_difference(got, expected)))
    return OracleReport(name, comparisons)


def _keras(version: str) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if version.startswith("3"):
        try:
            import keras
        except ImportError as error:
            raise OracleError("the file was written by Keras 3: `pip install keras tensorflow`") from error
        return keras
    try:
        import tf_keras
    except ImportError as error:
        raise OracleError("the file was written by Keras 1 or 2: `pip install tf_keras`") from error
    return tf_keras


def _load(keras: Any, path: str | os.PathLike[str], weights: str | os.PathLike[str] | None) -> Any:
    if weights is None:
        return keras.models.load_model(os.fspath(path), compile=False)
    with open(path, encoding="utf-8") as file:
        model = keras.models.model_from_json(file.read())
    model.load_weights(os.fspath(weights))
    return model


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {printable(str(error).strip().splitlines()[0] if str(error) else '')}"


def _run(keras: Any, theirs: Any, x: Any, model: Model) -> list[NDArray[Any]]:
    for layer in theirs.layers:
        reset = getattr(layer, "reset_state", None) or getattr(layer, "reset_states", None)
        if getattr(layer, "stateful", False) and reset is not None:
            reset()
    if isinstance(x, dict) and not isinstance(model.input, dict):
        x = [x[tensor.name] for tensor in model.inputs]
    result = theirs(x, training=False)
    return [np.asarray(array) for array in tree.leaves(_plain_containers(result))]


def _plain_containers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain_containers(item) for key, item in value.items()}
    return [_plain_containers(item) for item in value] if isinstance(value, list | tuple) else value


def _difference(got: list[NDArray[Any]], expected: list[NDArray[Any]]) -> tuple[float, float]:
    largest, scale = 0.0, 0.0
    for ours, theirs in zip(got, expected, strict=True):
        if ours.shape != theirs.shape:
            raise OracleError(f"an output has shape {ours.shape}, in Keras {theirs.shape}")
        theirs = theirs.astype(np.float32)
        both_nan = np.isnan(ours) & np.isnan(theirs)
        apart = np.where(both_nan, 0, np.abs(ours.astype(np.float64) - theirs))
        apart = np.where(ours == theirs, 0, apart)  # infinities
        largest = max(largest, float(np.max(apart, initial=0.0)))
        if np.isnan(apart).any():
            largest = float("nan")
        scale = max(scale, float(np.max(np.abs(theirs[np.isfinite(theirs)]), initial=0.0)))
    return largest, scale


# --------------------------------------------------------------------- inputs


def _cases(model: Model) -> Iterator[tuple[int, int, str]]:
    fixed = {tensor.shape[0] for tensor in model.inputs} - {None}
    open_length = any(tensor.ndim > 1 and tensor.shape[1] is None for tensor in model.inputs)
    masks = any(isinstance(layer, Masking) or getattr(layer, "mask_zero", False) for layer in model.walk())
    for batch in fixed or BATCHES:
        for timesteps in LENGTHS if open_length else (0,):
            for padding in PADDINGS if masks else PADDINGS[:1]:
                yield int(batch or 1), timesteps, padding


def _inputs(model: Model, batch: int, timesteps: int, padding: str) -> Any:
    random = np.random.default_rng([SEED, batch, timesteps, PADDINGS.index(padding)])
    value = next((layer.mask_value for layer in model.walk() if isinstance(layer, Masking)), 0.0)
    arrays: dict[str, NDArray[Any]] = {}
    kept: dict[int, NDArray[np.bool_]] = {}
    for tensor in model.inputs:
        shape = [batch, *(timesteps or LENGTHS[0] if size is None else size for size in tensor.shape[1:])]
        vocabulary = _vocabulary(model, tensor)
        if tensor.dtype == "bool":
            arrays[tensor.name] = random.random(shape) < 0.7
            continue
        array: NDArray[Any]
        if vocabulary is not None or tensor.dtype == "int32":
            array = random.integers(1, max(vocabulary or 2, 2), shape).astype(np.int32)
            array = np.minimum(array, (vocabulary or 2) - 1)
        else:
            array = random.normal(size=shape).astype(np.float32)
        if padding != "none" and len(shape) > 1:
            # Inputs of one length are padded alike, as the streams of one sequence.
            mask = kept.setdefault(shape[1], _kept(random, batch, shape[1], padding))
            array[~mask] = 0 if array.dtype == np.int32 else value
        arrays[tensor.name] = array
    if isinstance(model.input, dict):
        return dict(zip(sorted(model.input), arrays.values(), strict=True))
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _kept(random: Any, batch: int, timesteps: int, padding: str) -> NDArray[np.bool_]:
    """Which timesteps are there; the last of several rows has none."""
    if padding == "scattered":
        kept = random.random((batch, timesteps)) < 0.6
    else:
        lengths = random.integers(1, timesteps + 1, (batch, 1))
        kept = np.arange(timesteps) < lengths
        kept = kept[:, ::-1] if padding == "left" else kept
    kept = np.array(kept)
    if batch > 1:
        kept[-1] = False
    return kept


def _vocabulary(model: Model, tensor: KerasTensor) -> int | None:
    """How many ids an input may have; None where no Embedding reads it."""
    nodes = model.graph_nodes()
    readers: list[Layer] = model.layers[:1]
    if nodes is not None:
        readers = [node.layer for node in nodes if any(parent is tensor for parent in node.parents)]
    sizes = []
    for reader in readers:
        while isinstance(reader, TimeDistributed):
            reader = reader.layer
        if isinstance(reader, Embedding):
            sizes.append(reader.input_dim)
        elif isinstance(reader, Model):
            inner = [_vocabulary(reader, inside) for inside in reader.inputs]
            sizes += [size for size in inner if size is not None]
    return min(sizes) if sizes else None
