# SPDX-License-Identifier: MIT
"""Live streams beside the peers: ``python -m bench.streaming``.

Two tables: the latency of one step of one stream, and the client-steps a second of many clients that are
stepped together. The peers carry the states themselves: PyTorch and Keras as inputs and outputs of a call,
ONNX Runtime as inputs and outputs of the graph, OpenVINO as its variables. All are checked over several
steps against float64, and timed in turns; the call from Python is included.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import paths, peers, reference, tables
from bench.report import describe_machine, print_about
from bench.run import SETTLE_SECONDS, write_keras_files
from bench.worker import Worker, WorkerError, stepped
from bench.workloads import ALL, Workload, stored_weights

WORKLOAD = "stream_lstm128x2"
STEPPED = ("unrolled", "keras_function", "torch", "onnxruntime", "openvino")
CLIENTS = (1, 10, 100, 1000, 10_000)
ROUNDS = 10
# A round of the pool's table, seconds a peer.
ROUND_SECONDS = {"quick": 0.05, "full": 0.4}
LATENCY_CALLS = {"quick": 2_000, "full": 100_000}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.streaming", description=__doc__)
    add = parser.add_argument
    add("--quick", dest="effort", action="store_const", const="quick", help="a glance")
    add(
        "--full", dest="effort", action="store_const", const="full", help="100,000 steps a peer (the default)"
    )
    add("--table", action="append", choices=["latency", "pool"], help="repeatable")
    add("--peer", action="append", choices=STEPPED, help="repeatable")
    add("--threads", type=int, default=1, help="for every peer (default: 1)")
    add("--output", type=Path, default=paths.OUTPUT / "results", help="folder for streaming.json")
    parser.set_defaults(effort="full")
    options = parser.parse_args(arguments)

    workload = ALL[WORKLOAD]
    write_keras_files([workload])
    workers: dict[str, Worker] = {}
    content: dict[str, Any] = {}
    try:
        for name in options.peer or STEPPED:
            absent = [] if name == "unrolled" else peers.missing(peers.load(name))
            if absent:
                print(f"{name}: not installed ({', '.join(absent)})")
                continue
            workers[name] = Worker(name, options.threads, label=f"stream {name}")
        about = describe_machine(options.threads, {name: worker.version for name, worker in workers.items()})
        about["command"] = " ".join(["python", "-m", "bench.streaming", *sys.argv[1:]])
        print_about(about)
        wanted = options.table or ["latency", "pool"]
        if "latency" in wanted:
            content["latency"] = latency(workload, workers, LATENCY_CALLS[options.effort])
        if "pool" in wanted:
            for extra in ("unrolled pool", "unrolled predict"):
                if "unrolled" in workers:
                    workers[extra] = Worker("unrolled", options.threads, label=extra)
            content["pool"] = pool(workload, workers, ROUND_SECONDS[options.effort])
    except WorkerError as problem:
        print(problem, file=sys.stderr)
        return 1
    finally:
        for worker in workers.values():
            worker.stop()
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "streaming.json"
    path.write_text(json.dumps(about | content, indent=1) + "\n")
    print(f"wrote {path}")
    return 0


def prepared(workload: Workload, workers: dict[str, Worker], batch: int) -> dict[str, float]:
    """Have each worker make its model; the errors of those that are right, the others are reported."""
    weights = stored_weights(workload, paths.MODELS)
    errors = {}
    for name, worker in workers.items():
        mode = {"unrolled pool": "pool", "unrolled predict": "call"}.get(name, "step")
        checked = workload if mode == "call" else stepped(workload)
        try:
            output = worker.prepare(workload, batch, mode)
        except WorkerError as problem:
            print(f"{name}, {batch} clients: {problem}")
            continue
        expected = reference.expected_output(checked, weights, batch)
        error = reference.largest_error(output, expected, batch)
        if error > reference.TOLERANCE:
            print(f"{name}, {batch} clients: wrong, differs from float64 by {error:.1e}")
            continue
        errors[name] = error
    return errors


def in_turns(
    workers: dict[str, Worker], names: Sequence[str], seconds: float, least_calls: int
) -> dict[str, np.ndarray]:
    """Seconds of all calls, by worker."""
    calls: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for number in range(ROUNDS):
        shift = number % max(len(names), 1)
        for name in [*names[shift:], *names[:shift]]:
            time.sleep(SETTLE_SECONDS)
            calls[name].append(workers[name].time(seconds, least_calls))
    return {name: np.concatenate(each) for name, each in calls.items()}


def latency(workload: Workload, workers: dict[str, Worker], calls: int) -> dict[str, Any]:
    errors = prepared(workload, workers, 1)
    timed = in_turns(workers, list(errors), 0.0, calls // ROUNDS)
    quantiles = {name: np.quantile(each, [0.5, 0.99, 0.999]) for name, each in timed.items()}
    own = quantiles.get("unrolled")
    rows = [
        [
            peers.load(name).TITLE,
            *(f"{value * 1e6:.1f}" for value in values),
            "" if own is None or name == "unrolled" else f"{values[0] / own[0]:.2f}",
            tables.error(errors[name]),
        ]
        for name, values in quantiles.items()
    ]
    columns = ["", "p50", "p99", "p99.9", "ratio", "error"]
    tables.show(f"one step of one stream, {WORKLOAD}: microseconds over {calls:,} calls", columns, rows)
    return {
        name: {"p50_seconds": values[0], "p99_seconds": values[1], "p99.9_seconds": values[2],
               "calls": len(timed[name]), "error": errors[name]}
        for name, values in quantiles.items()
    }  # fmt: skip


def pool(workload: Workload, workers: dict[str, Worker], seconds: float) -> dict[str, Any]:
    rates: dict[int, dict[str, float]] = {}
    for clients in CLIENTS:
        timed = in_turns(workers, list(prepared(workload, workers, clients)), seconds, 3)
        rates[clients] = {name: clients / float(np.median(each)) for name, each in timed.items()}
        print(f"{clients:,} clients: {', '.join(f'{n} {rate:,.0f}' for n, rate in rates[clients].items())}")
    rows = [
        [f"{clients:,}", *(f"{each[name]:,.0f}" if name in each else "-" for name in workers)]
        for clients, each in rates.items()
    ]
    title = f"client-steps a second, {WORKLOAD} (unrolled: a stream of that batch, a pool, one timestep by predict)"
    tables.show(title, ["clients", *workers], rows)
    return {str(clients): each for clients, each in rates.items()}


if __name__ == "__main__":
    raise SystemExit(main())
