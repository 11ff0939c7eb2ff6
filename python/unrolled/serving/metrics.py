# SPDX-License-Identifier: MIT
"""Counters, gauges and histograms in the text format of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


@dataclass(frozen=True)
class Family:
    """A name of the exposition, its help text and the names of its labels; buckets where it is a histogram."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


REQUESTS = Family("unrolled_requests_total", "counter", "Requests answered.", ("model", "protocol", "code"))
ROWS_TOTAL = Family("unrolled_rows_total", "counter", "Rows computed.", ("model",))
LATENCY = Family(
    "unrolled_request_seconds", "histogram", "From a request's arrival to its answer.", ("model", "protocol"), SECONDS
)  # fmt: skip
BATCH_ROWS = Family("unrolled_batch_rows", "histogram", "Rows computed together.", ("model",), ROWS)
BATCH_SECONDS = Family("unrolled_batch_seconds", "histogram", "Time of one batch.", ("model",), SECONDS)
EXPIRED = Family("unrolled_sequences_expired_total", "counter", "Sequences closed as idle.", ("model",))
SEQUENCES = Family("unrolled_sequences", "gauge", "Open sequences.", ("model",))
QUEUE = Family("unrolled_queue", "gauge", "Requests that wait for a batch.", ("model",))
CONNECTIONS = Family("unrolled_connections", "gauge", "Open connections.")
WORKERS = Family("unrolled_workers", "gauge", "Workers that answered this scrape.")
FAMILIES = {
    family.name: family
    for family in (
        REQUESTS, ROWS_TOTAL, LATENCY, BATCH_ROWS, BATCH_SECONDS, EXPIRED, SEQUENCES, QUEUE, CONNECTIONS, WORKERS
    )
}  # fmt: skip

# [family, labels, value] or [family, labels, [count of each bucket ..., sum]]
Sample = list[Any]


class Metrics:
    """What one worker counts; threads may use it at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._numbers: dict[tuple[str, tuple[str, ...]], float] = {}
        self._histograms: dict[tuple[str, tuple[str, ...]], list[float]] = {}

    def request(self, model: str, protocol: str, code: str, seconds: float) -> None:
        """A request was answered."""
        with self._lock:
            self._add(REQUESTS, (model, protocol, code), 1)
            self._observe(LATENCY, (model, protocol), seconds)

    def batch(self, model: str, rows: int, seconds: float) -> None:
        """Rows were computed together."""
        with self._lock:
            self._add(ROWS_TOTAL, (model,), rows)
            self._observe(BATCH_ROWS, (model,), rows)
            self._observe(BATCH_SECONDS, (model,), seconds)

    def expired(self, model: str, count: int) -> None:
        """Idle sequences were closed."""
        with self._lock:
            self._add(EXPIRED, (model,), count)

    def _add(self, family: Family, labels: tuple[str, ...], value: float) -> None:
        key = (family.name, labels)
        self._numbers[key] = self._numbers.get(key, 0.0) + value

    def _observe(self, family: Family, labels: tuple[str, ...], value: float) -> None:
        counts = self._histograms.get((family.name, labels))
        if counts is None:
            counts = self._histograms[family.name, labels] = [0.0] * (len(family.buckets) + 2)
        counts[bisect_left(family.buckets, value)] += 1
        counts[-1] += value

    def samples(self, gauges: Iterable[tuple[Family, tuple[str, ...], float]] = ()) -> list[Sample]:
        """Everything counted so far and the gauges given, as JSON can carry it."""
        with self._lock:
            found: list[Sample] = [
                [name, list(labels), value] for (name, labels), value in self._numbers.items()
            ]
            found += [
                [name, list(labels), list(counts)] for (name, labels), counts in self._histograms.items()
            ]
        return found + [[family.name, list(labels), value] for family, labels, value in gauges]


def render(samples: Iterable[Sample]) -> str:
    """The samples of all workers, summed, as Prometheus reads them."""
    sums: dict[str, dict[tuple[str, ...], Any]] = {name: {} for name in FAMILIES}
    for name, labels, value in samples:
        known = sums[name]
        key = tuple(labels)
        if isinstance(value, list):
            known[key] = [a + b for a, b in zip(known.get(key, [0.0] * len(value)), value, strict=True)]
        else:
            known[key] = known.get(key, 0.0) + value
    lines = []
    for name, known in sums.items():
        family = FAMILIES[name]
        lines += [f"# HELP {name} {family.text}", f"# TYPE {name} {family.kind}"]
        for key, value in sorted(known.items()):
            labels = [f'{label}="{_escaped(text)}"' for label, text in zip(family.labels, key, strict=True)]
            if family.kind == "histogram":
                lines += _histogram(family, labels, value)
            else:
                lines.append(f"{name}{_braced(labels)} {value:.17g}")
    return "\n".join(lines) + "\n"


def _histogram(family: Family, labels: list[str], counts: Sequence[float]) -> list[str]:
    lines, total = [], 0.0
    for bound, count in zip(
        [*(f"{bucket:g}" for bucket in family.buckets), "+Inf"], counts[:-1], strict=True
    ):
        total += count
        within = _braced([*labels, f'le="{bound}"'])
        lines.append(f"{family.name}_bucket{within} {total:.17g}")
    lines.append(f"{family.name}_sum{_braced(labels)} {counts[-1]:.17g}")
    lines.append(f"{family.name}_count{_braced(labels)} {total:.17g}")
    return lines


def _braced(labels: Sequence[str]) -> str:
    return "{" + ",".join(labels) + "}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
