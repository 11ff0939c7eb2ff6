# SPDX-License-Identifier: MIT
"""Many threads on models of mixed shapes, first calls and changed weights among them: ``python -m tests.soak``.

Every result is compared, bit for bit, with what a lone thread computed before. Weights are set beside
predictions; a result must then be that of one of the sets of weights, whole.

    python -m tests.soak --threads 64 --minutes 10
"""

from __future__ import annotations

import argparse
import copy
import random
import sys
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from tests.random_models import as_bytes, random_model, random_weights

SETS_OF_WEIGHTS = 3
# After so many calls a fresh copy takes a model's place, whose next call is a first one.
CALLS_OF_A_MODEL = 200


@dataclass
class Report:
    """What a soak saw."""

    calls: int = 0
    first_calls: int = 0
    changes: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        self.calls += other.calls
        self.first_calls += other.first_calls
        self.changes += other.changes
        self.wrong += other.wrong


class Subject:
    """A model, sets of weights for it, and what it gives with each of them for several batches."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.original, x = random_model(seed, hidden=6 if seed % 4 else 40)
        self.inputs = [x, x[:1], np.concatenate([x] * 7)]
        self.weights = [random_weights(self.original, 10 * seed + n) for n in range(SETS_OF_WEIGHTS)]
        self.allowed: list[list[list[bytes]]] = [[] for _ in self.inputs]
        for weights in self.weights:
            self.original.set_weights(weights)
            for results, batch in zip(self.allowed, self.inputs, strict=True):
                results.append(as_bytes(self.original.predict(batch, verbose=0)))
        self.model = copy.deepcopy(self.original)
        self.calls = 0


def _work(subjects: list[Subject], stop: threading.Event, seed: int, report: Report) -> None:
    rng = random.Random(seed)
    while not stop.is_set():
        subject = rng.choice(subjects)
        model = subject.model
        action = rng.random()
        try:
            if action < 0.02:
                model.set_weights(rng.choice(subject.weights))
                report.changes += 1
                continue
            subject.calls += 1
            if subject.calls > CALLS_OF_A_MODEL:
                subject.calls = 0
                model = subject.model = copy.deepcopy(subject.original)
                report.first_calls += 1
            number = rng.randrange(len(subject.inputs))
            batch = subject.inputs[number]
            if action < 0.5:
                y = model(batch)
            else:
                y = model.predict(batch, batch_size=rng.choice((None, 1, 3)), verbose=0)
            report.calls += 1
            if as_bytes(y) not in subject.allowed[number]:
                report.wrong.append(f"model {subject.seed}, batch {number}")
        except Exception as error:
            report.wrong.append(f"model {subject.seed}: {type(error).__name__}: {error}")


def run(threads: int, seconds: float, models: int) -> Report:
    """Soak ``models`` models for so long."""
    subjects = [Subject(seed) for seed in range(models)]
    stop = threading.Event()
    reports = [Report(first_calls=models if number == 0 else 0) for number in range(threads)]
    workers = [
        threading.Thread(target=_work, args=(subjects, stop, number, reports[number]), daemon=True)
        for number in range(threads)
    ]
    for worker in workers:
        worker.start()
    time.sleep(seconds)
    stop.set()
    for worker in workers:
        worker.join()
    total = Report()
    for report in reports:
        total.add(report)
    # What is left in the caches is right, too: each model with a known set of weights.
    for subject in subjects:
        subject.model.set_weights(subject.weights[0])
        for batch, allowed in zip(subject.inputs, subject.allowed, strict=True):
            for y in (subject.model(batch), subject.model(batch), subject.model.predict(batch, verbose=0)):
                if as_bytes(y) != allowed[0]:
                    total.wrong.append(f"model {subject.seed}: a plan of old weights was kept")
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--models", type=int, default=100)
    options = parser.parse_args()
    sys.setswitchinterval(1e-5)
    report = run(options.threads, 60 * options.minutes, options.models)
    print(
        f"{options.threads} threads, {options.minutes:g} minutes, {options.models} models: {report.calls} calls, "
        f"{report.first_calls} first calls, {report.changes} changes of weights, {len(report.wrong)} wrong"
    )
    for line in report.wrong[:20]:
        print(line)
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
