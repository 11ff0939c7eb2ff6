# SPDX-License-Identifier: MIT
"""A live sensor loop: forecast the readings to come, and report those that were not expected.

``python examples/streaming/sensor.py`` plays the readings of ``examples/mackey_glass``, one of them disturbed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import unrolled

FOLDER = Path(__file__).resolve().parents[1] / "mackey_glass"
HORIZON = 17  # the model forecasts so many readings ahead
SETTLED = 100  # readings before it is trusted
SURPRISE = 0.2


def readings() -> Iterator[float]:
    """What would come from the sensor."""
    values = np.loadtxt(FOLDER / "test.csv", dtype=np.float32)
    values[300] += 0.5
    yield from values.tolist()


def main() -> None:
    model = unrolled.load_model(FOLDER / "mackey_glass.keras")
    stream = model.stream()
    x, y = np.empty((1, 1), np.float32), np.empty((1, 1), np.float32)
    expected: deque[float] = deque(maxlen=HORIZON)
    spent, surprises = 0.0, 0
    for reading in readings():
        if stream.timesteps_seen > SETTLED and abs(reading - expected[0]) > SURPRISE:
            surprises += 1
            print(f"reading {stream.timesteps_seen}: got {reading:.3f}, expected {expected[0]:.3f}")
        x[0, 0] = reading
        started = time.perf_counter()
        stream.step(x, out=y)  # allocates nothing
        spent += time.perf_counter() - started
        expected.append(float(y[0, 0]))
    count = stream.timesteps_seen
    print(f"{count} readings, {surprises} surprises, {1e6 * spent / count:.1f} microseconds a reading")


if __name__ == "__main__":
    main()
