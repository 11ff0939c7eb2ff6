# SPDX-License-Identifier: MIT
"""This machine's limits, measured, and the least time that a workload can take on it.

``machine.cc`` measures the float32 FMA rate, the read bandwidth by working set, the cost of an activation
and that of a barrier. A layer's limit is then

    max(operations / FMA rate, weight bytes read / bandwidth of their working set) + activations (+ barriers)

with the recurrent matrix read once a timestep for the whole batch and the other matrices once a call; the
least over the ways to divide a layer (one thread, by units with a barrier a timestep, by batch rows, one
direction a thread). What Python and memory for the data cost is left out: the share of the limit that a
program reaches is a lower bound of how well it computes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from bench import paths
from bench.workloads import GATES, Shape, Workload, cell_of, directions_of, is_recurrent, shapes

SOURCE = Path(__file__).with_name("machine.cc")
# Activations of one unit in one timestep.
ACTIVATIONS = {"SimpleRNN": 1, "GRU": 3, "LSTM": 5}


@dataclasses.dataclass(frozen=True)
class Rates:
    """Of a number of threads together."""

    threads: int
    flops: float  # per second
    barrier: float  # seconds
    bandwidth: tuple[tuple[float, float], ...]  # (bytes a thread, bytes a second)

    def read_seconds(self, size: float, working_set: float) -> float:
        """For ``size`` bytes in all, out of a working set of ``working_set`` bytes."""
        sizes, speeds = zip(*self.bandwidth, strict=True)
        each = max(working_set / self.threads, sizes[0])
        return size / float(np.interp(math.log(each), np.log(sizes), speeds))


@dataclasses.dataclass(frozen=True)
class Machine:
    activation: float  # seconds an element, one thread
    rates: dict[int, Rates]  # by threads: 1, and as many as are used
    measured: dict[str, Any]


def measure(threads: int) -> Machine | None:
    """Compile and run ``machine.cc``; None where there is no C++ compiler or it fails."""
    program = _compile()
    if program is None:
        return None
    try:
        run = subprocess.run([program, str(threads)], capture_output=True, check=True, timeout=300)
        measured = json.loads(run.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    rates = {
        int(count): Rates(
            int(count),
            each["gflops"] * 1e9,
            each["barrier_ns"] * 1e-9,
            tuple((size, speed * 1e9) for size, speed in each["bandwidth"]),
        )
        for count, each in measured["threads"].items()
    }
    return Machine(measured["activation_ns"] * 1e-9, rates, measured)


def _compile() -> Path | None:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        return None
    key = hashlib.sha256(SOURCE.read_bytes() + compiler.encode() + cpu_model().encode()).hexdigest()[:10]
    program = paths.OUTPUT / f"machine-{key}"
    if not program.exists():
        paths.OUTPUT.mkdir(parents=True, exist_ok=True)
        flags = ["-std=c++20", "-O3", "-march=native", "-ffp-contract=fast", "-pthread"]
        try:
            subprocess.run([compiler, *flags, SOURCE, "-o", program], capture_output=True, check=True)
        except subprocess.SubprocessError:
            return None
    return program


def processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def limit_seconds(machine: Machine, workload: Workload, batch: int) -> float:
    """The least time of one call."""
    return sum(
        _recurrent_limit(machine, shape, batch)
        if is_recurrent(shape.recipe)
        else _dense_limit(machine, shape, batch)
        for shape in shapes(workload)
        if shape.recipe["class"] != "Flatten"
    )


def _recurrent_limit(machine: Machine, shape: Shape, batch: int) -> float:
    cell, directions = cell_of(shape.recipe), directions_of(shape.recipe)
    units, steps = cell["units"], shape.timesteps or 1
    columns = GATES[cell["class"]] * units
    flops = 2.0 * batch * steps * (shape.features + units) * columns
    activations = machine.activation * ACTIVATIONS[cell["class"]] * units * batch * steps
    recurrent = 4.0 * units * columns
    kernel = 4.0 * shape.features * columns

    def one_direction(rates: Rates, parts: int, copies: int, barriers: bool) -> float:
        """``parts`` threads share it, ``copies`` of them at once (each reads all weights that it uses)."""
        reading = rates.read_seconds(copies * steps * recurrent, copies * recurrent)
        reading += rates.read_seconds(copies * kernel, copies * kernel)
        meeting = steps * rates.barrier if barriers else 0
        return max(copies * flops / rates.flops, reading) + activations / parts + meeting

    single = directions * one_direction(machine.rates[1], 1, 1, False)
    ways = [single]
    for threads, rates in machine.rates.items():
        if threads == 1:
            continue
        ways.append(directions * one_direction(rates, threads, 1, True))  # by units
        if batch >= threads:  # by rows: each thread reads the whole matrices
            reading = rates.read_seconds(threads * steps * recurrent, threads * recurrent)
            reading += rates.read_seconds(threads * kernel, threads * kernel)
            ways.append(directions * (max(flops / rates.flops, reading) + activations / threads))
        if directions == 2 and threads == 2:
            ways.append(one_direction(rates, 1, 2, False))
    return min(ways)


def _dense_limit(machine: Machine, shape: Shape, batch: int) -> float:
    rows = batch * (shape.timesteps or 1)
    weights = 4.0 * shape.features * shape.recipe["units"]
    flops = 2.0 * rows * shape.features * shape.recipe["units"]
    return min(
        max(flops / rates.flops, rates.read_seconds(weights, weights)) for rates in machine.rates.values()
    )
