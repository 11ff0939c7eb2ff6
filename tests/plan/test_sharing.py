# SPDX-License-Identifier: MIT
"""Whether runs are shared among threads, decided from simulated times (sharing_check.cc)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILER = shutil.which(os.environ.get("CXX", "c++"))

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    program = tmp_path_factory.mktemp("sharing") / "sharing_check"
    source = Path(__file__).with_name("sharing_check.cc")
    subprocess.run([COMPILER, "-std=c++20", f"-I{ROOT / 'cpp'}", source, "-o", program], check=True)
    return lambda name: subprocess.run([program, name], check=False).returncode


SENTENCES = {
    "burst": "short runs one after the other are shared once that is found to be faster",
    "pauses": "short runs with pauses between them are never shared",
    "no_gain": "where sharing is slower it is tried less and less often",
    "long_run": "long runs are shared from the first one on",
    "long_run_without_gain": "long runs that sharing slows down are run alone",
    "paced": "long runs with pauses between them are run alone where sharing is slower",
    "paced_gain": "long runs with pauses between them are shared where that is faster",
    "outlier": "one slow run changes nothing",
    "busy": "on a busy machine runs are alone, and shared again once it is free",
    "no_second_thread": "runs that found no free thread tell nothing",
}


@pytest.mark.parametrize("name", SENTENCES, ids=SENTENCES.values())
def test_sharing(check, name):
    assert check(name) == 0
