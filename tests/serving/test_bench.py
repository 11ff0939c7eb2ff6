# SPDX-License-Identifier: MIT
"""The load test and the soak run, and find no wrong bit; no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("bench", reason="the folder bench is not here")
pytest.importorskip("uvloop")
pytest.importorskip("grpc")
ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")


def bench(folder, *arguments):
    command = [sys.executable, "-m", "bench.serving", *arguments, "--output", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    (written,) = folder.glob("serving-*.json")
    return done, json.loads(written.read_text())


def test_the_load_test_measures_every_protocol(tmp_path):
    done, result = bench(tmp_path, "load", "--clients", "3", "--seconds", "0.3", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert set(result) == {f"unrolled {kind} 3" for kind in ("binary", "json", "sequence", "grpc")}
    assert all(each["requests_per_second"] > 0 for each in result.values())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_soak_finds_no_wrong_bit_among_bad_requests(tmp_path, workers):
    arguments = ["--clients", "8", "--seconds", "3", "--bad", "0.3", "--workers", workers]
    done, result = bench(tmp_path, "soak", *arguments)
    assert result["good"] > 50, done.stdout + done.stderr
    assert result["bad"] > 10
    assert (result["wrong"], result["unexpected"], result["exit_code"]) == (0, 0, 0), done.stdout
