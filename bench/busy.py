# SPDX-License-Identifier: MIT
"""Calls while other processes use every processor: ``python -m bench.busy``.

For some of the models: the times of calls on one thread and on all, with as many busy processes as there are
processors and with none. Threads that wait for one another lose most then, since any of them may wait for a time
slice of another process; unrolled falls back to one thread where that is faster.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from bench import limits, tables
from bench.worker import Worker
from bench.workloads import ALL

CELLS = (
    ("seed_birnn", 1),
    ("stream_lstm128x2", 1),
    ("rnn512", 1),
    ("audio_gru128x2", 1),
    ("audio_gru128x2", 32),
    ("nlp_bilstm256x2", 1),
    ("seed_lstm4", 1),
    ("seed_lstm4", 8),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.busy", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each of the four ways of a cell")
    parser.add_argument("--threads", type=int, default=limits.processors())
    options = parser.parse_args(arguments)
    if options.threads < 2:
        parser.error("one thread waits for no other: there is nothing to compare")
    print(f"{limits.cpu_model()}, {limits.processors()} processors, {options.threads} threads against 1")
    workers = {count: Worker("unrolled", count, label=f"busy-{count}") for count in (1, options.threads)}
    try:
        for hogs in (0, limits.processors()):
            show(hogs, measure(workers, hogs, options.seconds))
    finally:
        for worker in workers.values():
            worker.stop()
    return 0


def measure(workers: dict[int, Worker], hogs: int, seconds: float) -> list[list[str]]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(hogs)]
    try:
        rows = []
        for name, batch in CELLS:
            calls = []
            for worker in workers.values():
                worker.prepare(ALL[name], batch)
                calls.append(worker.time(seconds))
            alone, shared = calls
            rows.append(
                [
                    f"{name} b{batch}",
                    *(tables.milliseconds(float(f(times))) for f in FIGURES for times in calls),
                    f"{shared.mean() / alone.mean():.2f}",
                ]
            )
        return rows
    finally:
        for process in processes:
            process.kill()
            process.wait()


def p99(times: np.ndarray) -> float:
    return float(np.quantile(times, 0.99))


FIGURES = (np.median, np.mean, p99)


def show(hogs: int, rows: list[list[str]]) -> None:
    title = f"{hogs} other busy processes: ms a call, on one thread / on all"
    columns = ["workload", "median", "", "mean", "", "p99", "", "mean, all / one"]
    tables.show(title, columns, rows)


if __name__ == "__main__":
    sys.exit(main())
