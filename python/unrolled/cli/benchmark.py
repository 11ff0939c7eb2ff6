# SPDX-License-Identifier: MIT
"""How fast a user's own model runs here, beside Keras and ONNX Runtime where those are installed.

The benchmark of the project itself, over many models and peers, is the folder ``bench`` of the repository.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import _core
from unrolled.engine import tree
from unrolled.models import Model, load_model

Run = Callable[[], Any]
_ROUNDS = 5
# Threads that spin after their work have gone to sleep by then.
_SETTLE_SECONDS = 0.03
_UNKNOWN_SIZE = 100  # of an axis that the model leaves open, timesteps as a rule
_LARGE_ID = 1000  # integer inputs that no Embedding limits


@dataclasses.dataclass
class Entry:
    """One program on the model. ``failure`` says why there are no times.

    ``ready_seconds`` is what loading and the first call take; ``difference`` the largest from unrolled's
    outputs on the same inputs, None for stateful models, whose outputs depend on the calls before.
    """

    name: str
    ready_seconds: float | None = None
    median_seconds: float | None = None
    p99_seconds: float | None = None
    calls: int = 0
    difference: float | None = None
    failure: str = ""


@dataclasses.dataclass
class Benchmark:
    """What ``benchmark`` measured; ``text()`` is what the command prints."""

    file: str
    model: Model
    shapes: list[tuple[int, ...]]
    threads: int
    entries: list[Entry]

    @property
    def batch(self) -> int:
        return self.shapes[0][0]

    def text(self) -> str:
        inputs = ", ".join(map(str, self.shapes))
        lines = [
            f"{self.file}: {self.model.count_params():,} parameters, random inputs {inputs}",
            f"threads: {self.threads}, kernels: {_core.isa()}; a call from Python to its outputs; "
            "ready: loading and the first call",
            "",
        ]
        header = ("", "median ms", "p99 ms", "sequences/s", "ready ms", "difference")
        rows = [header, *(self._row(entry) for entry in self.entries if entry.median_seconds is not None)]
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
        failed = [entry for entry in self.entries if entry.failure]
        if failed:
            lines += ["", *(f"{entry.name}: {entry.failure}" for entry in failed)]
        return "\n".join(lines)

    def _row(self, entry: Entry) -> tuple[str, ...]:
        median = entry.median_seconds or math.nan
        return (
            entry.name,
            _milliseconds(median),
            _milliseconds(entry.p99_seconds),
            f"{self.batch / median:,.0f}",
            _milliseconds(entry.ready_seconds),
            "" if entry.difference is None else f"{entry.difference:.1e}",
        )


def benchmark(
    path: str | PathLike[str],
    *,
    weights: str | PathLike[str] | None = None,
    batch: int = 1,
    timesteps: int | None = None,
    seconds: float = 2.0,
    peers: bool = True,
) -> Benchmark:
    """Time a model on random inputs.

    Parameters
    ----------
    path, weights
        As for ``load_model``.
    batch : int
        Rows of a call.
    timesteps : int, optional
        Size of the axes that the model leaves open; 100 where absent.
    seconds : float
        Spent on each program.
    peers : bool
        Whether to time Keras, and ONNX Runtime on what Keras exports, where they are installed and can load
        the file. They read the file by their own rules, once unrolled has accepted it.

    Returns
    -------
    Benchmark
        unrolled first; all timed in turns.

    Raises
    ------
    UnsupportedModelError, ModelFileError
        As ``load_model``.
    """
    before = time.perf_counter()
    model = load_model(path, weights=weights)
    inputs = random_inputs(model, batch, timesteps)
    x = tree.unflatten(model.input, iter(inputs))
    expected = list(tree.leaves(model(x)))
    own = Entry("unrolled", ready_seconds=time.perf_counter() - before)
    threads = _core.get_num_threads()
    stateful = any(getattr(layer, "stateful", False) for layer in model.walk())
    runs: list[tuple[Entry, Run]] = [(own, lambda: model(x))]
    failed: list[Entry] = []
    if peers and weights is None:
        for entry, run in _peers(path, inputs, x, threads):
            if run is None:
                failed.append(entry)
                continue
            if not stateful:
                entry.difference = _difference(list(tree.leaves(run())), expected)
            runs.append((entry, run))
    _time_in_turns(runs, seconds)
    entries = [entry for entry, _ in runs] + failed
    return Benchmark(str(path), model, [array.shape for array in inputs], threads, entries)


def random_inputs(model: Model, batch: int, timesteps: int | None = None) -> list[NDArray[Any]]:
    """Inputs of the model's shapes and dtypes, in flattened order.

    Numbers are normal; where the model has Embedding layers, inputs without a feature axis and inputs of
    integers are indices that all of those layers accept.
    """
    rng = np.random.default_rng(0)
    tables = [layer.input_dim for layer in model.walk() if layer.class_name == "Embedding"]  # type: ignore[attr-defined]
    largest = min(tables, default=_LARGE_ID)
    arrays: list[NDArray[Any]] = []
    for tensor in model.inputs:
        shape = (
            tensor.shape[0] or batch,
            *(timesteps or _UNKNOWN_SIZE if size is None else size for size in tensor.shape[1:]),
        )
        if tensor.dtype == "bool":
            arrays.append(rng.random(shape) < 0.5)
        elif tensor.dtype == "int32" or (tables and len(shape) <= 2):
            arrays.append(rng.integers(0, largest, shape).astype(tensor.dtype))
        else:
            arrays.append(rng.standard_normal(shape).astype(np.float32))
    return arrays


def _time_in_turns(runs: Sequence[tuple[Entry, Run]], seconds: float) -> None:
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(_ROUNDS):
        for index in [(turn + offset) % len(runs) for offset in range(len(runs))]:
            time.sleep(_SETTLE_SECONDS)
            times[index] += _calls(runs[index][1], seconds / _ROUNDS)
    for (entry, _), calls in zip(runs, times, strict=True):
        entry.calls = len(calls)
        entry.median_seconds = float(np.median(calls))
        entry.p99_seconds = float(np.quantile(calls, 0.99))


def _calls(run: Run, seconds: float) -> list[float]:
    """Seconds of each call, after one that does not count."""
    clock = time.perf_counter
    run()
    calls: list[float] = []
    gc.disable()
    try:
        end = clock() + seconds
        while not calls or clock() < end:
            before = clock()
            run()
            calls.append(clock() - before)
    finally:
        gc.enable()
    return calls


def _difference(outputs: Sequence[Any], expected: Sequence[NDArray[Any]]) -> float:
    return max(
        float(np.abs(np.asarray(output, np.float64) - other).max(initial=0.0))
        for output, other in zip(outputs, expected, strict=True)
    )


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    value = 1e3 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.4f}"


# ----------------------------------------------------------------------- peers


def _peers(
    path: str | PathLike[str], inputs: Sequence[NDArray[Any]], x: Any, threads: int
) -> list[tuple[Entry, Run | None]]:
    """Entries with what runs them, or with the reason why nothing does."""
    predict = Entry("Keras predict")
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))
    try:
        import keras
    except ImportError as error:
        predict.failure = f"not installed ({error})"
        return [(predict, None)]
    try:
        before = time.perf_counter()
        model = keras.models.load_model(path, compile=False)
        batch = len(inputs[0])
        model.predict(x, batch_size=batch, verbose=0)
    except Exception as error:  # Keras raises anything on files of other versions
        predict.failure = f"cannot run this file: {_reason(error)}"
        return [(predict, None)]
    predict.ready_seconds = time.perf_counter() - before
    predict.name = f"Keras {keras.__version__} predict ({keras.backend.backend()})"
    entries: list[tuple[Entry, Run | None]] = [
        (predict, lambda: model.predict(x, batch_size=batch, verbose=0))
    ]
    if keras.backend.backend() == "tensorflow":
        entries.append(_keras_function(model, inputs, x))
    entries.append(_onnxruntime(model, inputs, threads))
    return entries


def _keras_function(model: Any, inputs: Sequence[NDArray[Any]], x: Any) -> tuple[Entry, Run | None]:
    entry = Entry("Keras tf.function")
    try:
        import tensorflow as tf

        before = time.perf_counter()
        traced = tf.function(lambda given: model(given, training=False))

        def run() -> Any:
            return [output.numpy() for output in tree.leaves(traced(tree.map_leaves(tf.constant, x)))]

        run()
    except Exception as error:
        entry.failure = _reason(error)
        return entry, None
    entry.ready_seconds = time.perf_counter() - before
    return entry, run


def _onnxruntime(model: Any, inputs: Sequence[NDArray[Any]], threads: int) -> tuple[Entry, Run | None]:
    """ONNX Runtime on the graph that Keras exports."""
    entry = Entry("ONNX Runtime")
    try:
        import onnxruntime
    except ImportError as error:
        entry.failure = f"not installed ({error})"
        return entry, None
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            model.export(file, format="onnx", verbose=False)
            before = time.perf_counter()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        given = dict(zip((each.name for each in session.get_inputs()), inputs, strict=True))
        session.run(None, given)
    except Exception as error:
        entry.failure = f"cannot run what Keras exports: {_reason(error)}"
        return entry, None
    entry.ready_seconds = time.perf_counter() - before
    entry.name = f"ONNX Runtime {onnxruntime.__version__}"
    return entry, lambda: session.run(None, given)


def _reason(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"
