# SPDX-License-Identifier: MIT
"""The recurrent kernels alone, in the units in which they were designed: ``python -m bench.kernels``.

Three tables: microseconds a timestep of one LSTM at batch 1, GFLOP/s of a batched LSTM, nanoseconds a
timestep of tiny models. A timestep's cost is the slope over the number of timesteps, so that it holds
neither the call nor what a call does once. Beside each stands the prototype's figure on a two-core Emerald
Rapids machine; compare it only on such a machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import limits, tables
from bench.report import load_average

if TYPE_CHECKING:
    import unrolled

# Design study: LSTM step at batch 1 by units, microseconds, and the threads that it used.
STUDY_STEP = {
    64: (0.62, 1),
    128: (1.71, 2),
    256: (5.45, 2),
    512: (27.2, 2),
    768: (128.0, 2),
    1024: (254.0, 2),
}
# Best pure GEMM step of the study, GFLOP/s, by (batch, units): one core, two cores. Ours has the activations.
STUDY_BATCHED = {
    (4, 128): (179, 344),
    (4, 1024): (61, 130),
    (8, 256): (178, 361),
    (8, 1024): (110, 236),
    (16, 1024): (170, 310),
    (32, 256): (179, 345),
    (32, 1024): (176, 346),
    (128, 256): (185, 367),
    (128, 1024): (182, 344),
}
# Tiny models, one feature, nanoseconds a timestep: (best of the study, RTNeural's best build).
STUDY_TINY = {
    ("LSTM", 8): (61, 73),
    ("LSTM", 16): (76, 91),
    ("LSTM", 20): (105, 220),
    ("LSTM", 32): (122, 157),
    ("LSTM", 40): (207, 315),
    ("LSTM", 64): (542, 680),
    ("GRU", 8): (60, 84),
    ("GRU", 16): (71, 87),
    ("GRU", 40): (147, 229),
    ("GRU", 64): (282, None),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.kernels", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    parser.add_argument("--threads", type=int, default=limits.processors())
    parser.add_argument("--table", action="append", choices=["step", "batched", "tiny"], help="repeatable")
    options = parser.parse_args(arguments)
    use_this_checkout()
    import unrolled

    seconds = 0.05 if options.quick else 0.5
    print(
        f"{limits.cpu_model()}, isa {unrolled.isa()}, at most {options.threads} thread(s), "
        f"load average {load_average()}"
    )
    for name in options.table or ["step", "batched", "tiny"]:
        {"step": step_table, "batched": batched_table, "tiny": tiny_table}[name](options.threads, seconds)
    return 0


def use_this_checkout() -> None:
    """Import ``unrolled`` from this checkout where it is built."""
    import sys

    from bench.worker import built_package

    folder: Path | None = built_package()
    if folder is not None:
        sys.path.insert(0, str(folder))


def layer(kind: str, units: int, features: int, *, sequences: bool) -> unrolled.Model:
    """A model of one recurrent layer with seeded weights and any number of timesteps."""
    import unrolled

    unrolled.utils.set_random_seed(1)
    recurrent = getattr(unrolled.layers, kind)(units, return_sequences=sequences)
    return unrolled.Sequential([unrolled.Input((None, features)), recurrent])


def seconds_a_step(model: unrolled.Model, batch: int, steps: tuple[int, int], seconds: float) -> float:
    """The slope between two lengths, each the best of three medians, in turns."""
    rng = np.random.default_rng(0)
    features = model.input_shape[-1]
    inputs = [rng.standard_normal((batch, count, features)).astype(np.float32) for count in steps]
    best = [float("inf")] * 2
    for _ in range(3):
        for index, x in enumerate(inputs):
            best[index] = min(best[index], median_seconds(model, x, seconds / 6))
    return (best[1] - best[0]) / (steps[1] - steps[0])


def median_seconds(run: Callable[[np.ndarray], np.ndarray], x: np.ndarray, seconds: float) -> float:
    run(x)
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        before = time.perf_counter()
        run(x)
        times.append(time.perf_counter() - before)
    return float(np.median(times))


def step_table(threads: int, seconds: float) -> None:
    import unrolled

    rows = []
    for units, (study, study_threads) in STUDY_STEP.items():
        model = layer("LSTM", units, 1, sequences=False)
        cells = [str(units)]
        for count in dict.fromkeys((1, threads)):
            unrolled.set_num_threads(count)
            value = seconds_a_step(model, 1, (20, 120), seconds)
            cells += [f"{value * 1e6:.2f}", f"{16 * units * units / value * 1e-9:.0f}"]
        rows.append([*cells, f"{study:.2f} ({study_threads})"])
    columns = ["units", "1 thread", "GB/s"]
    if threads > 1:
        columns += [f"<= {threads} threads", "GB/s"]
    tables.show("LSTM, batch 1: microseconds a timestep", [*columns, "study (threads)"], rows)


def batched_table(threads: int, seconds: float) -> None:
    import unrolled

    rows = []
    for (batch, units), study in STUDY_BATCHED.items():
        model = layer("LSTM", units, 1, sequences=False)
        cells = [f"{batch} x {units}"]
        for count in dict.fromkeys((1, threads)):
            unrolled.set_num_threads(count)
            value = seconds_a_step(model, batch, (5, 25), seconds)
            cells.append(f"{8 * batch * units * units / value * 1e-9:.0f}")
        rows.append([*cells, f"{study[0]} / {study[1]}"])
    columns = ["batch x units", "1 thread"] + ([f"<= {threads} threads"] if threads > 1 else [])
    title = "LSTM, batched: GFLOP/s of the recurrence, activations included"
    tables.show(title, [*columns, "study, GEMM alone (1 / 2)"], rows)


def tiny_table(threads: int, seconds: float) -> None:
    import unrolled

    unrolled.set_num_threads(threads)
    rows = []
    for (kind, units), (study, rtneural) in STUDY_TINY.items():
        model = layer(kind, units, 1, sequences=True)
        x = np.random.default_rng(0).standard_normal((1, 4096, 1)).astype(np.float32)
        whole = min(median_seconds(model, x, seconds / 3) for _ in range(3)) / 4096
        rows.append([f"{kind} {units}", f"{whole * 1e9:.0f}", str(study), str(rtneural or "-")])
    title = "tiny models, one feature, 4096 timesteps: nanoseconds a timestep, the call included"
    tables.show(title, ["layer", "unrolled", "study", "RTNeural"], rows)


if __name__ == "__main__":
    raise SystemExit(main())
