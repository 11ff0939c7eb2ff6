# SPDX-License-Identifier: MIT
"""What it costs to start: the size of a wheel, the time of an import, of loading and of a first prediction.

    python bench/startup.py [--wheel FILE] [--keras-python PATH] [--model FILE] [--repeat N]

Every time is that of a fresh process, over ``--repeat`` of them after one that warms the file cache; the start
of the interpreter is measured and subtracted. The load average is printed: on a busy machine wall times mean
little, processor times more. Keras is measured with the interpreter that ``--keras-python`` names, and left
out without one. Prints a Markdown table. Linux and macOS.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMPORT_NUMPY = "import numpy"
IMPORT_UNROLLED = "import numpy, unrolled"
# Input: one sequence of 100 timesteps. Keras's own way to predict, and its fastest.
PREDICT = """
import numpy as np
{start}
model = {load}({path!r})
x = np.zeros((1, 100, 1), np.float32)
y = model.predict(x, verbose=0)
assert np.asarray(y).shape == (1, 100, 1)
"""


# Installed packages have compiled bytecode; without it every import would compile again.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT["TF_CPP_MIN_LOG_LEVEL"] = "3"


def times(python: str, code: str, repeat: int) -> tuple[float, float, float]:
    """Median and smallest wall time, and median processor time, of a fresh process that runs ``code``."""
    wall, processor_time = [], []
    for _ in range(repeat + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        subprocess.run([python, "-c", code], check=True, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        wall.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor_time.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(wall[1:]), min(wall[1:]), statistics.median(processor_time[1:])


def output(python: str, code: str) -> str:
    return subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True, env=ENVIRONMENT
    ).stdout.strip()  # fmt: skip


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what it costs to start.")
    parser.add_argument("--wheel", type=Path, help="a wheel, whose size is printed")
    parser.add_argument("--keras-python", help="an interpreter that has Keras")
    parser.add_argument("--model", default=str(ROOT / "examples/mackey_glass/mackey_glass.keras"))
    parser.add_argument("--repeat", type=int, default=15)
    options = parser.parse_args()

    rows: list[tuple[str, ...]] = []

    def measure(what: str, python: str, code: str, repeat: int) -> None:
        start = times(python, "pass", repeat)
        found = times(python, code, repeat)
        rows.append((what, *(f"{1000 * (a - b):.0f} ms" for a, b in zip(found, start, strict=True))))

    if options.wheel is not None:
        rows.append((f"wheel `{options.wheel.name}`", f"{options.wheel.stat().st_size / 1e6:.2f} MB", "", ""))
    measure("`import numpy`", sys.executable, IMPORT_NUMPY, options.repeat)
    measure("`import numpy, unrolled`", sys.executable, IMPORT_UNROLLED, options.repeat)
    code = PREDICT.format(start="import unrolled", load="unrolled.load_model", path=options.model)
    measure("unrolled: import, load, first `predict`", sys.executable, code, options.repeat)
    versions = output(
        sys.executable, "import numpy, unrolled; print('unrolled', unrolled.__version__, 'on', unrolled.isa(), "
        "'numpy', numpy.__version__, unrolled.get_num_threads(), 'threads')"
    )  # fmt: skip
    if options.keras_python is not None:
        code = PREDICT.format(start="import keras", load="keras.models.load_model", path=options.model)
        measure(
            "Keras: import, load, first `predict`", options.keras_python, code, max(3, options.repeat // 3)
        )
        versions += "; " + output(
            options.keras_python,
            "import keras; print('keras', keras.__version__, 'on', keras.backend.backend())",
        )
    print("| | median | best | processor time |\n|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(f"\n{versions}; Python {platform.python_version()}; {os.cpu_count()} processors, {processor()}")
    if hasattr(os, "getloadavg"):
        print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
