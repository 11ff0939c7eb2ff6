# SPDX-License-Identifier: MIT
"""Load mutants of model files and see that nothing bad happens.

    python -m tests.fuzz --count 2000 --seed 1                      all formats, 2,000 of each
    python -m tests.fuzz --count 150000 --format h5 --state h5.json goes on where the last run with this file stopped
    python -m tests.fuzz --format tfjs --seed 1 --only 1234         one mutant in this process, with its traceback

Every mutant is loaded, and predicts something small where it loads. Loading may raise ``ModelFileError``,
``UnsupportedModelError`` and nothing else, predicting ``ValueError``. A crash of the interpreter, more than 5 seconds of
the processor, and more than 1 GiB of memory beyond what the process has before are failures as well. A mutant is made
from seed, format and number alone. The exit status is 1 if there was a failure.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np

import unrolled
from tests.fuzz.formats import FORMATS
from unrolled.engine import tree

SECONDS = 5
MEMORY = 1 << 30
BATCH = 500
# A damaged size may ask for more than a mutant should compute.
MOST_VALUES = 20_000


class TooSlowError(BaseException):
    """More processor time than a mutant may take; no ``Exception``, so that no reader can hide it."""


def run_one(name: str, seed: int, number: int, folder: Path) -> str:
    """Make and load one mutant: "refused", "loaded" or "predicted"; raises what must not be raised."""
    given, weights = FORMATS[name](random.Random(f"{seed} {name} {number}"), folder)
    try:
        if name == "json":
            model = unrolled.models.model_from_json(given.decode("utf-8", "replace"))
        else:
            model = unrolled.load_model(given, weights=weights)
    except (unrolled.ModelFileError, unrolled.UnsupportedModelError) as error:
        if not str(error).replace("\n", "").isprintable():
            raise AssertionError(f"unprintable message: {str(error)!r}") from error
        return "refused"
    shapes = [[3 if size is None else size for size in tensor.shape] for tensor in model.inputs]
    outputs = [size for size in tree.leaves([model.output_shape]) if isinstance(size, int)]
    if (
        sum(map(math.prod, shapes)) > MOST_VALUES
        or math.prod(outputs) > MOST_VALUES
        or model.count_params() > 10 * MOST_VALUES
    ):
        return "loaded"
    try:
        model.predict([np.ones(shape, np.float32) for shape in shapes], verbose=0)
    except ValueError:
        return "loaded"
    return "predicted"


def _alarm(signum: int, frame: object) -> None:
    raise TooSlowError(f"more than {SECONDS} seconds")


def _work(name: str, seed: int, start: int, stop: int, current: object, results: object) -> None:
    """Mutants from ``start`` to ``stop`` in a process of its own."""
    signal.signal(signal.SIGPROF, _alarm)
    counts: dict[str, int] = {}
    failures = []
    slowest = 0.0
    with tempfile.TemporaryDirectory(
        prefix="unrolled-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    ) as scratch:
        folder = Path(scratch) / "m"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        for number in range(start, stop):
            current.value = number
            started = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                outcome = run_one(name, seed, number, folder)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                outcome = "failed"
                last = traceback.extract_tb(error.__traceback__)[-1]
                failures.append(
                    (number, f"{type(error).__name__}: {str(error)[:300]} ({last.filename}:{last.lineno})")
                )
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            counts[outcome] = counts.get(outcome, 0) + 1
            slowest = max(slowest, time.process_time() - started)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
            if grown > MEMORY:
                failures.append((number, f"memory grew by {grown} bytes"))
                break
    grown = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before, 0)
    results.put((counts, failures, slowest, grown))


class Tally:
    """What a format's mutants have come to so far, kept in a file where one is named."""

    def __init__(self, name: str, seed: int, path: Path | None) -> None:
        self.name, self.seed, self._path = name, seed, path
        self.next = 0
        self.counts: dict[str, int] = {}
        self.failures: list[tuple[int, str]] = []
        self.slowest, self.memory = 0.0, 0
        if path is not None and path.exists():
            stored = json.loads(path.read_text()).get(f"{name} {seed}")
            if stored:
                self.__dict__ |= stored

    def add(
        self, stop: int, counts: dict[str, int], failures: list[tuple[int, str]], slowest: float, memory: int
    ) -> None:
        self.next = stop
        for key, count in counts.items():
            self.counts[key] = self.counts.get(key, 0) + count
        self.failures += failures
        self.slowest, self.memory = max(self.slowest, slowest), max(self.memory, memory)
        if self._path is not None:
            everything = json.loads(self._path.read_text()) if self._path.exists() else {}
            keys = ("next", "counts", "failures", "slowest", "memory")
            everything[f"{self.name} {self.seed}"] = {key: getattr(self, key) for key in keys}
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps(everything, indent=1))
            fresh.replace(self._path)

    def line(self) -> str:
        parts = ", ".join(f"{count:,} {key}" for key, count in sorted(self.counts.items()))
        return f"{self.name}: {self.next:,} mutants ({parts}), slowest {self.slowest:.2f} s, memory {self.memory >> 20} MiB"


def run_format(name: str, seed: int, count: int, state: Path | None) -> Tally:
    """All mutants of a format that have not run yet, in batches, each in a fresh process."""
    tally = Tally(name, seed, state)
    with tempfile.TemporaryDirectory() as scratch:  # the originals are read once, by this process
        FORMATS[name](random.Random(0), Path(scratch) / "m")
    context = multiprocessing.get_context("fork")
    while tally.next < count:
        start, stop = tally.next, min(tally.next + BATCH, count)
        current, results = context.Value("q", start), context.SimpleQueue()
        worker = context.Process(target=_work, args=(name, seed, start, stop, current, results))
        worker.start()
        worker.join(BATCH * 2 + 60)
        if worker.is_alive():
            worker.kill()
            worker.join()
            tally.add(current.value + 1, {"failed": 1}, [(current.value, "hangs outside of Python")], 0, 0)
        elif worker.exitcode != 0 or results.empty():
            tally.add(
                current.value + 1,
                {"failed": 1},
                [(current.value, f"the process died ({worker.exitcode})")],
                0,
                0,
            )
        else:
            counts, failures, slowest, memory = results.get()
            done = start + sum(counts.values())
            tally.add(done, counts, failures, slowest, memory)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=2000, help="mutants of each format")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--format", action="append", choices=FORMATS, help="one or several; all where not given"
    )
    parser.add_argument("--state", type=Path, help="a file that keeps what has run, to go on from there")
    parser.add_argument("--only", type=int, help="this mutant alone, in this process")
    options = parser.parse_args()
    names = options.format or list(FORMATS)
    if options.only is not None:
        with tempfile.TemporaryDirectory() as scratch:
            print(run_one(names[0], options.seed, options.only, Path(scratch) / "m"))
        return 0
    failed = False
    for name in names:
        tally = run_format(name, options.seed, options.count, options.state)
        print(tally.line(), flush=True)
        for number, what in tally.failures[:20]:
            print(f"  --format {name} --seed {options.seed} --only {number}: {what}", flush=True)
        failed = failed or bool(tally.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
