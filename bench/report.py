# SPDX-License-Identifier: MIT
"""What a run of ``python -m bench`` measured: its cells, and the ways in which they are shown."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import limits, paths, peers, tables
from bench.workloads import Workload

# No cell may be slower than the best peer by this, and the mean is aimed at.
CELL_TARGET, MEAN_TARGET = 1.03, 2.0


@dataclasses.dataclass
class Timing:
    """One peer in one cell."""

    error: float | None = None  # largest difference from float64
    failure: str = ""  # why it was not timed
    rounds: list[np.ndarray] = dataclasses.field(default_factory=list)  # seconds of calls, a round each

    @property
    def calls(self) -> np.ndarray:
        return np.concatenate(self.rounds) if self.rounds else np.array([])

    @property
    def median(self) -> float | None:
        return float(np.median(self.calls)) if self.rounds else None

    @property
    def p99(self) -> float | None:
        return float(np.quantile(self.calls, 0.99)) if self.rounds else None

    @property
    def p10(self) -> float | None:
        return float(np.quantile(self.calls, 0.1)) if self.rounds else None

    @property
    def round_medians(self) -> np.ndarray:
        return np.array([np.median(calls) for calls in self.rounds])


@dataclasses.dataclass
class Cell:
    """One workload at one batch size."""

    workload: Workload
    batch: int
    timings: dict[str, Timing]
    limit: float | None  # seconds

    @property
    def name(self) -> str:
        return f"{self.workload.name} b{self.batch}"

    @property
    def own(self) -> Timing:
        return self.timings.get("unrolled", Timing())

    @property
    def best_peer(self) -> str | None:
        timed = {
            name: timing.median
            for name, timing in self.timings.items()
            if name != "unrolled" and timing.median is not None
        }
        return min(timed, key=timed.__getitem__, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the best peer unrolled is."""
        if self.best_peer is None or self.own.median is None:
            return None
        return self.timings[self.best_peer].median / self.own.median

    @property
    def undisturbed_ratio(self) -> float | None:
        """``ratio`` of the fastest tenth of the calls, against the peer that is best by that."""
        others = [t.p10 for name, t in self.timings.items() if name != "unrolled" and t.p10 is not None]
        return min(others) / self.own.p10 if others and self.own.p10 is not None else None

    @property
    def noise(self) -> float | None:
        """Half the spread of the ratio between the quartiles of the rounds."""
        if self.ratio is None:
            return None
        ratios = self.timings[self.best_peer].round_medians / self.own.round_medians
        low, high = np.quantile(ratios, [0.25, 0.75])
        return float(high - low) / 2

    @property
    def share(self) -> float | None:
        return self.limit / self.own.median if self.limit and self.own.median else None


def load_average() -> list[float]:
    return [round(value, 2) for value in os.getloadavg()]


def describe_machine(threads: int, versions: dict[str, str]) -> dict[str, Any]:
    """All that a reader must know to judge the figures."""
    return {
        "commit": commit(),
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "cpu": limits.cpu_model(),
        "processors": limits.processors(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "threads": threads,
        "load_average": load_average(),
        "versions": versions,
    }


def commit() -> str:
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=paths.ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return run.stdout.strip()


def print_about(about: dict[str, Any]) -> None:
    print(f"command   {about['command']}   (commit {about['commit']}, {about['time']})")
    print(f"machine   {about['cpu']}, {about['processors']} processors, {about['system']}")
    print(f"threads   {about['threads']} for every peer; load average {about['load_average']}")
    print(f"versions  python {about['python']}, numpy {about['numpy']}")
    for name, version in about["versions"].items():
        print(f"          {name}: {version}")
    if about.get("machine"):
        for count, rates in about["machine"]["threads"].items():
            sizes = ", ".join(f"{size >> 10}K {speed:.0f}" for size, speed in rates["bandwidth"])
            print(
                f"limits    {count} thread(s): {rates['gflops']:.0f} GFLOP/s, barrier {rates['barrier_ns']:.0f} ns, "
                f"reads GB/s by bytes a thread: {sizes}"
            )
    print(flush=True)


def print_progress(cell: Cell) -> None:
    parts = [
        f"{name} {timing.failure or tables.milliseconds(timing.median)}"
        for name, timing in cell.timings.items()
    ]
    print(f"{cell.name}: {', '.join(parts)}", flush=True)


def report(cells: Sequence[Cell], names: Sequence[str]) -> None:
    print()
    rows = []
    for cell in cells:
        best = cell.timings.get(cell.best_peer, Timing())
        rows.append(
            [
                cell.name,
                cell.best_peer or "-",
                tables.milliseconds(cell.own.median),
                tables.milliseconds(cell.own.p99),
                tables.milliseconds(best.median),
                tables.milliseconds(best.p99),
                "-" if cell.ratio is None else f"{cell.ratio:.2f} ±{cell.noise:.2f}",
                "-" if cell.share is None else f"{cell.share:.0%}",
                tables.error(cell.own.error),
                tables.error(best.error),
            ]
        )
    columns = [
        "workload",
        "best peer",
        "unrolled",
        "p99",
        "peer",
        "p99",
        "ratio",
        "of limit",
        "error",
        "peer's",
    ]
    tables.show("unrolled and the best peer of each cell (ms; error against float64)", columns, rows, texts=2)
    tables.show(
        "median of every peer (ms)",
        ["workload", *names],
        [[c.name, *(tables.milliseconds(c.timings[n].median) for n in names)] for c in cells],
    )
    tables.show(
        "error of every peer against float64",
        ["workload", *names],
        [[c.name, *(tables.error(c.timings[n].error) for n in names)] for c in cells],
    )
    for cell in cells:
        for name, timing in cell.timings.items():
            if timing.failure:
                print(f"{cell.name}: {name} was not timed: {timing.failure}")
    for suite in dict.fromkeys(cell.workload.suite for cell in cells):
        summarise(suite, [cell for cell in cells if cell.workload.suite == suite and cell.ratio is not None])
    keras = [c for c in cells if c.own.error is not None and c.timings.get("keras_function", Timing()).error]
    if keras:
        ratios = [c.own.error / c.timings["keras_function"].error for c in keras]
        worst = keras[int(np.argmax(ratios))]
        print(
            f"error as a multiple of Keras's: geometric mean {geometric_mean(ratios):.2f}, "
            f"worst {max(ratios):.2f} ({worst.name})"
        )


def summarise(suite: str, cells: Sequence[Cell]) -> None:
    if not cells:
        return
    mean = geometric_mean([cell.ratio for cell in cells])
    print(f"{suite}: geometric mean of the ratios over {len(cells)} cells: {mean:.2f} (aim {MEAN_TARGET})")
    below = [f"{cell.name} {cell.ratio:.2f} ±{cell.noise:.2f}" for cell in cells if cell.ratio < CELL_TARGET]
    print(f"{suite}: cells below {CELL_TARGET}: {', '.join(below) or 'none'}")
    ceilings = [cell.ratio / cell.share for cell in cells if cell.share]
    if ceilings:
        print(f"{suite}: at the machine's limit in every cell it would be {geometric_mean(ceilings):.2f}")
    undisturbed = {cell.name: cell.undisturbed_ratio for cell in cells}
    below = [f"{name} {ratio:.2f}" for name, ratio in undisturbed.items() if ratio < CELL_TARGET]
    print(
        f"{suite}: by the fastest tenth of the calls, which load disturbs least: geometric mean "
        f"{geometric_mean(list(undisturbed.values())):.2f}, below {CELL_TARGET}: {', '.join(below) or 'none'}"
    )


def geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def write_json(path: Path, about: dict[str, Any], cells: Sequence[Cell]) -> None:
    content = about | {
        "cells": [
            {
                "workload": cell.workload.name,
                "suite": cell.workload.suite,
                "batch": cell.batch,
                "best_peer": cell.best_peer,
                "ratio": cell.ratio,
                "ratio_noise": cell.noise,
                "undisturbed_ratio": cell.undisturbed_ratio,
                "limit_seconds": cell.limit,
                "share_of_limit": cell.share,
                "peers": {
                    name: {
                        "median_seconds": timing.median,
                        "p99_seconds": timing.p99,
                        "p10_seconds": timing.p10,
                        "round_median_seconds": timing.round_medians.tolist(),
                        "calls": len(timing.calls),
                        "error": timing.error if timing.error is None or np.isfinite(timing.error) else "inf",
                        "failure": timing.failure,
                    }
                    for name, timing in cell.timings.items()
                },
            }
            for cell in cells
        ]
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote {path}")


def write_markdown(path: Path, cells: Sequence[Cell]) -> None:
    """The table of README."""
    columns = ["workload", "unrolled", "best peer", "", "ratio", "of limit", "error", "Keras's"]
    rows = []
    for cell in cells:
        if cell.ratio is None:
            continue
        keras = cell.timings.get("keras_function", Timing())
        rows.append(
            [
                cell.name,
                f"{tables.milliseconds(cell.own.median)} ms",
                f"{tables.milliseconds(cell.timings[cell.best_peer].median)} ms",
                peers.load(cell.best_peer).TITLE,
                f"**{cell.ratio:.2f}** ±{cell.noise:.2f}",
                "-" if cell.share is None else f"{cell.share:.0%}",
                tables.error(cell.own.error),
                tables.error(keras.error),
            ]
        )
    lines = [columns, ["---"] + ["---:"] * 2 + ["---"] + ["---:"] * 4, *rows]
    path.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
    print(f"wrote {path}")


def chart(folder: Path, about: dict[str, Any], cells: Sequence[Cell]) -> None:
    """Each cell's ratio to every peer, a log axis; the best peer is what the bar reaches to."""
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed: no chart")
        return
    cells = [cell for cell in cells if cell.ratio is not None]
    if not cells:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 1.6 + 0.3 * len(cells)), layout="constrained")
    places = np.arange(len(cells))[::-1]
    axes.barh(places, [cell.ratio for cell in cells], color="#9ecae1", height=0.7, label="best peer")
    for name in about["versions"]:
        if name == "unrolled":
            continue
        points = [
            (cell.timings[name].median / cell.own.median, place)
            for cell, place in zip(cells, places, strict=True)
            if cell.timings[name].median is not None
        ]
        if points:
            axes.scatter(*zip(*points, strict=True), s=14, label=peers.load(name).TITLE, zorder=3)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(places, [f"{cell.name}   {cell.ratio:.2f}" for cell in cells], fontsize=8)
    axes.set_ylim(-0.6, len(cells) - 0.4)
    axes.set_xlabel("time of the peer / time of unrolled (log scale; right of 1: unrolled is faster)")
    axes.set_title(f"{about['cpu']}, {about['threads']} thread(s), Python call included", fontsize=9)
    axes.xaxis.set_major_formatter("{x:g}")
    figure.legend(fontsize=8, ncols=4, loc="outside lower center")
    for suffix in ("png", "svg"):
        figure.savefig(folder / f"ratios.{suffix}", dpi=130)
    pyplot.close(figure)
    print(f"wrote {folder / 'ratios.png'} and ratios.svg")
