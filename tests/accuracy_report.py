# SPDX-License-Identifier: MIT
"""How far unrolled is from Keras over all fixtures: ``python -m tests.accuracy_report [--json]``.

Prints the worst absolute difference from Keras's float32 numbers (relative above 1), and, beside it, how far
both are from the float64 reference.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import asdict, dataclass

import numpy as np

import unrolled
from tests import fixtures
from tests.reference.model import Chain


@dataclass(frozen=True)
class Row:
    """One fixture: differences are absolute up to values of 1, relative above."""

    fixture: str
    unrolled_keras: float
    unrolled_float64: float
    keras_float64: float
    sha256: str


def difference(a, b):
    """The largest difference, measured in max(1, |b|); NaN in both is none."""
    both = np.isfinite(a) & np.isfinite(b)
    same_kind = np.array_equal(np.isnan(a), np.isnan(b))
    if not same_kind:
        return float("inf")
    distance = np.abs(np.float64(a[both]) - np.float64(b[both])) / np.maximum(1, np.abs(np.float64(b[both])))
    return float(distance.max(initial=0))


def as_list(y):
    return list(y) if isinstance(y, list | tuple) else [y]


def measure(fixture):
    """The row of a fixture; None where unrolled refuses the file."""
    try:
        model = unrolled.load_model(fixture.path, weights=fixture.weights_path)
    except unrolled.UnsupportedModelError:
        return None
    chain = Chain(fixture.recipe["layers"], fixture.weights(), fixture.semantics)
    digest = hashlib.sha256()
    worst = [0.0, 0.0, 0.0]
    for x, expected in fixture.calls():
        got = as_list(model(x) if fixture.entry.get("call") else model.predict(x, verbose=0))
        exact = as_list(chain(x))
        for y, keras, float64 in zip(got, expected, exact, strict=True):
            digest.update(y.tobytes())
            pairs = ((y, keras), (y, float64), (keras, float64))
            worst = [max(w, difference(a, b)) for w, (a, b) in zip(worst, pairs, strict=True)]
    return Row(str(fixture), *worst, digest.hexdigest())


def measure_all():
    rows = [measure(fixture) for fixture in fixtures.all_fixtures()]
    return [row for row in rows if row is not None]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="every fixture, with a hash of its outputs")
    arguments = parser.parse_args()
    rows = measure_all()
    if arguments.json:
        json.dump({"isa": unrolled.isa(), "rows": [asdict(row) for row in rows]}, sys.stdout, indent=1)
        return
    refused = len(fixtures.all_fixtures()) - len(rows)
    versions = " and ".join(
        f"{fixtures.index(a)['writer']} {fixtures.index(a)['keras']}" for a in fixtures.SEMANTICS
    )
    print(f"{len(rows)} model files written by {versions}; kernels: {unrolled.isa()}; {refused} refused")
    for name, label in (
        ("unrolled_keras", "unrolled from Keras"),
        ("unrolled_float64", "unrolled from the float64 reference"),
        ("keras_float64", "Keras from the float64 reference"),
    ):
        worst = max(rows, key=lambda row: getattr(row, name))
        print(f"worst difference of {label}: {getattr(worst, name):.2e} ({worst.fixture})")


if __name__ == "__main__":
    main()
