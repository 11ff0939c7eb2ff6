# SPDX-License-Identifier: MIT
"""Every allocation of a call fails in turn; the same call after it gives the right bits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("g++") is None,
    reason="needs LD_PRELOAD and a compiler",
)


@pytest.fixture(scope="module")
def failing_memory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("failing") / "failing_memory.so"
    source = HERE / "failing_memory.cc"
    command = ["g++", "-std=c++17", "-O1", "-fPIC", "-shared", str(source), "-o", str(library), "-ldl"]
    subprocess.run(command, check=True)
    return library


@pytest.mark.parametrize(
    "call",
    [
        "predict",
        "predict_with_two_threads",
        "new_stream",
        "step_of_a_stream",
        "block_of_a_stream",
        "new_client_of_a_pool",
        "step_of_a_pool",
        "generate",
        "generate_from_a_window",
    ],
)
def test_a_call_after_one_that_ran_out_of_memory_gives_the_right_bits(
    failing_memory: Path, call: str
) -> None:
    result = subprocess.run(
        [sys.executable, str(HERE / "failing_calls.py"), call, str(failing_memory)],
        env={**os.environ, "LD_PRELOAD": str(failing_memory)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 3
