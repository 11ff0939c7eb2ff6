# SPDX-License-Identifier: MIT
"""Two commits of this project in one run: ``python -m bench.compare BASE HEAD``.

Both are built from scratch into temporary folders and timed in turns, a process each; ``.`` stands for this
checkout as it is built. BASE runs twice: what its two processes differ by is noise.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bench import limits, paths, reference, tables
from bench.report import geometric_mean, load_average
from bench.run import EFFORTS, SETTLE_SECONDS, write_keras_files
from bench.worker import Worker, WorkerError, built_package
from bench.workloads import Workload, select, stored_weights

# Sides of the comparison, in the order of the first round.
SIDES = ("base", "head", "base again")


@dataclasses.dataclass
class Comparison:
    """One workload at one batch size; medians of the rounds, in seconds, by side."""

    name: str
    rounds: dict[str, np.ndarray]
    errors: dict[str, float]

    @property
    def ratio(self) -> float:
        """How many times as fast as BASE HEAD is."""
        return float(np.median(self.base / self.rounds["head"]))

    @property
    def base(self) -> np.ndarray:
        return (self.rounds["base"] + self.rounds["base again"]) / 2

    @property
    def noise(self) -> float:
        """What BASE differs from itself by, or the rounds from each other, whichever is more."""
        between = abs(float(np.median(self.rounds["base"] / self.rounds["base again"])) - 1)
        low, high = np.quantile(self.base / self.rounds["head"], [0.25, 0.75])
        return max(between, float(high - low) / 2)

    @property
    def verdict(self) -> str:
        if abs(self.ratio - 1) <= max(2 * self.noise, 0.01):
            return ""
        return "faster" if self.ratio > 1 else "slower"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    add = parser.add_argument
    add("base", help="a commit, or . for this checkout")
    add("head", help="a commit, or . for this checkout")
    add("--workload", action="append", metavar="PATTERN", help="a name or suite, * and ? allowed; repeatable")
    add("--batch", action="append", type=int, help="only this batch size; repeatable")
    add("--quick", dest="effort", action="store_const", const="quick")
    add("--full", dest="effort", action="store_const", const="full")
    add("--threads", type=int, default=limits.processors())
    add("--output", type=Path, default=paths.OUTPUT / "results", help="folder for compare.json")
    parser.set_defaults(effort="normal")
    options = parser.parse_args(arguments)
    effort = EFFORTS[options.effort]
    chosen = select(options.workload or list(effort.suites))
    write_keras_files(chosen)

    results = []
    with contextlib.ExitStack() as stack:
        built: dict[str, Path] = {}
        for commit in (options.base, options.head):
            if commit not in built:
                built[commit] = stack.enter_context(package_of(commit))
        sides = dict(zip(SIDES, (options.base, options.head, options.base), strict=True))
        try:
            workers = {
                side: stack.enter_context(
                    Worker("unrolled", options.threads, package=built[commit], label=f"compare {side}")
                )
                for side, commit in sides.items()
            }
        except WorkerError as problem:
            print(problem, file=sys.stderr)
            return 1
        print(f"{limits.cpu_model()}, {options.threads} thread(s), load average {load_average()}")
        print(f"base {describe(options.base)}, head {describe(options.head)}", flush=True)
        for workload in chosen:
            for batch in workload.batches:
                if options.batch and batch not in options.batch:
                    continue
                try:
                    result = compare(workload, batch, workers, effort.rounds, effort.seconds)
                except WorkerError as problem:
                    print(f"{workload.name} b{batch}: {problem}", file=sys.stderr)
                    continue
                results.append(result)
                print(f"{result.name}: {result.ratio:.3f} ±{result.noise:.3f} {result.verdict}", flush=True)
    if not results:
        return 1
    report(results)
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "compare.json", options, results)
    return 0


def compare(
    workload: Workload, batch: int, workers: dict[str, Worker], rounds: int, seconds: float
) -> Comparison:
    expected = reference.expected_output(workload, stored_weights(workload, paths.MODELS), batch)
    errors = {
        side: reference.largest_error(worker.prepare(workload, batch), expected, batch)
        for side, worker in workers.items()
    }
    medians: dict[str, list[float]] = {side: [] for side in workers}
    names = list(workers)
    for number in range(rounds):
        shift = number % len(names)
        for side in names[shift:] + names[:shift]:
            time.sleep(SETTLE_SECONDS)
            medians[side].append(float(np.median(workers[side].time(seconds))))
    return Comparison(
        f"{workload.name} b{batch}", {side: np.array(each) for side, each in medians.items()}, errors
    )


@contextlib.contextmanager
def package_of(commit: str) -> Iterator[Path]:
    """The folder that holds the package ``unrolled`` of ``commit``, built; removed afterwards."""
    if commit == ".":
        package = built_package()
        if package is None:
            raise SystemExit(
                "this checkout is not built: cmake --preset release && cmake --build --preset release"
            )
        yield package
        return
    folder = Path(tempfile.mkdtemp(prefix="unrolled-"))
    tree = folder / "tree"
    try:
        _run("git", "-C", paths.ROOT, "worktree", "add", "--detach", tree, commit)
        flags = [
            "-DCMAKE_BUILD_TYPE=Release",
            "-DUNROLLED_INSIDE_SOURCE=ON",
            f"-DPython_EXECUTABLE={sys.executable}",
        ]
        if shutil.which("ccache"):
            flags.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
        if shutil.which("ninja"):
            flags += ["-G", "Ninja"]
        print(f"building {commit}", flush=True)
        _run("cmake", "-S", tree, "-B", folder / "build", *flags)
        _run("cmake", "--build", folder / "build", "--parallel")
        yield tree / "python"
    finally:
        subprocess.run(
            ["git", "-C", str(paths.ROOT), "worktree", "remove", "--force", str(tree)], capture_output=True
        )
        shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str | Path) -> None:
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")


def describe(commit: str) -> str:
    if commit == ".":
        return "this checkout"
    run = subprocess.run(
        ["git", "log", "-1", "--format=%h (%s)", commit], cwd=paths.ROOT, capture_output=True, text=True
    )
    return run.stdout.strip() or commit


def report(results: Sequence[Comparison]) -> None:
    rows = [
        [
            result.name,
            result.verdict,
            tables.milliseconds(float(np.median(result.base))),
            tables.milliseconds(float(np.median(result.rounds["head"]))),
            f"{result.ratio:.3f}",
            f"±{result.noise:.3f}",
            tables.error(result.errors["base"]),
            tables.error(result.errors["head"]),
        ]
        for result in results
    ]
    columns = ["workload", "head is", "base", "head", "base / head", "noise", "error", "head's"]
    print()
    tables.show("two commits (ms; above 1: head is faster; error against float64)", columns, rows, texts=2)
    print(f"geometric mean {geometric_mean([result.ratio for result in results]):.3f}")


def write_json(path: Path, options: argparse.Namespace, results: Sequence[Comparison]) -> None:
    content = {
        "base": describe(options.base),
        "head": describe(options.head),
        "cpu": limits.cpu_model(),
        "threads": options.threads,
        "cells": [
            {
                "cell": result.name,
                "ratio": result.ratio,
                "noise": result.noise,
                "round_median_seconds": {side: each.tolist() for side, each in result.rounds.items()},
                "errors": result.errors,
            }
            for result in results
        ],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    raise SystemExit(main())
