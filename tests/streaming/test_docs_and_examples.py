# SPDX-License-Identifier: MIT
"""The Python of docs/streaming.md and docs/processes.md runs, and so do the examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import unrolled

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = [
    (name, block)
    for name in ("docs/streaming.md", "docs/processes.md")
    for block in re.findall(r"```python\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)
]


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_python_of_the_guides_runs(number, monkeypatch):
    monkeypatch.chdir(ROOT)
    name, block = BLOCKS[number]
    exec(compile(block, f"{name}, block {number}", "exec"), {})


@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("sensor.py", [], "1 surprises"),
        ("load_test.py", ["--clients", "20", "--timesteps", "10"], "the same as predict: True"),
        ("text.py", ["--length", "20", "--seed", "1"], "once upon a time"),
    ],
)
def test_an_example_runs(script, arguments, expected):
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "streaming" / script), *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(unrolled.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert expected in result.stdout
