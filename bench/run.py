# SPDX-License-Identifier: MIT
"""unrolled beside every installed peer: ``python -m bench``.

Each peer runs in a process of its own; in every round each is timed once, in rotating order, so that what
disturbs the machine disturbs all. Before that each peer's output is checked against float64; a wrong peer
is reported and not timed. All times include the call from Python.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import limits, paths, peers, reference, report
from bench.report import Cell, Timing
from bench.worker import Worker, WorkerError
from bench.workloads import Workload, select, stored_weights

# Between two peers: threads that spin after their work must have gone to sleep before the next one starts.
SETTLE_SECONDS = 0.03


@dataclasses.dataclass(frozen=True)
class Effort:
    rounds: int
    seconds: float  # one peer's share of a round
    suites: tuple[str, ...]


EFFORTS = {
    "quick": Effort(3, 0.06, ("models",)),
    "normal": Effort(5, 0.25, ("models",)),
    "full": Effort(9, 0.4, ("models", "layers", "tiny")),
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    effort = EFFORTS[options.effort]
    try:
        chosen = select(options.workload or list(effort.suites))
        names = [name for name in peers.NAMES if not options.peer or name in options.peer]
        unknown = set(options.peer or []) - set(peers.NAMES)
        if unknown:
            raise ValueError(f"no peer {sorted(unknown)}; the peers are {', '.join(peers.NAMES)}")
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2

    machine = None if options.no_limit else limits.measure(options.threads)
    if machine is None and not options.no_limit:
        print("no C++ compiler: the machine's limit is not measured")
    write_keras_files(chosen)
    workers = start(names, options.threads)
    try:
        about = report.describe_machine(
            options.threads, {name: worker.version for name, worker in workers.items()}
        )
        about["command"] = " ".join(["python", "-m", "bench", *sys.argv[1:]])
        about |= {"rounds": effort.rounds, "seconds_a_round": effort.seconds}
        about["machine"] = machine.measured if machine else None
        report.print_about(about)
        cells = []
        for workload in chosen:
            for batch in workload.batches:
                if options.batch and batch not in options.batch:
                    continue
                cell = measure(workload, batch, workers, effort)
                cell.limit = limits.limit_seconds(machine, workload, batch) if machine else None
                cells.append(cell)
                report.print_progress(cell)
    finally:
        for worker in workers.values():
            worker.stop()
    if not cells:
        print("no cell has such a batch size", file=sys.stderr)
        return 2
    about["load_average_at_end"] = report.load_average()
    report.report(cells, list(workers))
    options.output.mkdir(parents=True, exist_ok=True)
    report.write_json(options.output / "results.json", about, cells)
    report.write_markdown(options.output / "ratios.md", cells)
    report.chart(options.output, about, cells)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--workload", action="append", metavar="PATTERN", help="a name or suite, * and ? allowed; repeatable")
    add("--batch", action="append", type=int, help="only this batch size; repeatable")
    add("--peer", action="append", metavar="NAME", help=f"one of {', '.join(peers.NAMES)}; repeatable")
    add("--quick", dest="effort", action="store_const", const="quick", help="whole models, a glance at each")
    add("--full", dest="effort", action="store_const", const="full", help="all suites, long enough to quote")
    add("--threads", type=int, default=limits.processors(), help="for every peer (default: all)")
    add("--output", type=Path, default=paths.OUTPUT / "results", help="folder for results.json and the chart")
    add("--no-limit", action="store_true", help="do not measure the machine's limit")
    parser.set_defaults(effort="normal")
    return parser.parse_args(arguments)


def write_keras_files(chosen: Sequence[Workload]) -> None:
    """Have Keras, where it is installed, save each model once, for unrolled to load the real file."""
    keras = peers.load("keras_predict")
    for workload in chosen:
        stored_weights(workload, paths.MODELS)
    absent = [w.name for w in chosen if not (paths.MODELS / f"{w.key}.keras").exists()]
    if absent and not peers.missing(keras):
        subprocess.run(
            [sys.executable, "-m", "bench.save_models", *absent],
            cwd=paths.ROOT,
            env=os.environ | keras.environment(1),
            check=True,
            stderr=subprocess.DEVNULL,
        )


def start(names: Sequence[str], threads: int) -> dict[str, Worker]:
    """A worker for each peer that is installed; says which are not."""
    workers = {}
    for name in names:
        absent = [] if name == "unrolled" else peers.missing(peers.load(name))
        if absent:
            print(f"{name}: not installed ({', '.join(absent)})")
            continue
        try:
            workers[name] = Worker(name, threads)
        except WorkerError as problem:
            print(f"{name}: does not start: {problem}")
    return workers


def measure(workload: Workload, batch: int, workers: dict[str, Worker], effort: Effort) -> Cell:
    """Check every peer, then time them in turns."""
    weights = stored_weights(workload, paths.MODELS)
    expected = reference.expected_output(workload, weights, batch)
    timings = {name: Timing() for name in workers}
    for name, worker in workers.items():
        timing = timings[name]
        try:
            timing.error = reference.largest_error(worker.prepare(workload, batch), expected, batch)
            if timing.error > reference.TOLERANCE:
                timing.failure = f"wrong: differs from float64 by {timing.error:.1e}"
        except WorkerError as problem:
            timing.failure = str(problem)
    running = [name for name, timing in timings.items() if not timing.failure]
    for number in range(effort.rounds):
        shift = number % max(len(running), 1)
        for name in running[shift:] + running[:shift]:
            time.sleep(SETTLE_SECONDS)
            try:
                timings[name].rounds.append(workers[name].time(effort.seconds))
            except WorkerError as problem:
                timings[name] = Timing(timings[name].error, str(problem))
                running = [other for other in running if other != name]
    return Cell(workload, batch, timings, None)


if __name__ == "__main__":
    raise SystemExit(main())
