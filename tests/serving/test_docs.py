# SPDX-License-Identifier: MIT
"""What docs/serving.md tells a reader to type works."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import unrolled
from tests.serving.running import running
from unrolled.serving import Options

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "serving.md").read_text("utf-8")
MODEL = ROOT / "examples" / "mackey_glass" / "mackey_glass.keras"
PYTHON = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
EXPECTED = unrolled.load_model(MODEL).predict(np.array([[[0.1], [0.5], [0.9]]], np.float32))


@pytest.fixture(scope="module")
def service():
    pytest.importorskip("uvicorn")
    with running(MODEL) as started:
        yield started


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_the_python_of_the_guide_gives_the_bits_of_predict(service, number):
    pytest.importorskip("tritonclient.http")
    code = PYTHON[number].replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")
    names = {}
    exec(compile(code, f"docs/serving.md, block {number}", "exec"), names)
    names["client"].close()
    np.testing.assert_array_equal(names["y"].reshape(-1)[-1:], EXPECTED.reshape(-1)[-1:])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_first_curl_of_the_guide_gives_the_bits_of_predict(service):
    command = re.search(r"```sh\n(curl -d .*?)```", GUIDE, re.DOTALL)[1]
    command = command.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    data = json.loads(done.stdout)["outputs"][0]["data"]
    np.testing.assert_array_equal(np.float32(data), EXPECTED.ravel())


def test_the_defaults_of_the_guide_are_those_of_the_options():
    rows = re.findall(r"^\| `(--[a-z-]+)`(?:, `--[a-z-]+`)? \| ([^|]*) \|", GUIDE, re.MULTILINE)
    assert len(rows) >= 10
    units = {"MiB": 1 << 20, "KiB": 1 << 10, "s": 1, "": 1}
    for option, text in rows:
        default = getattr(Options, option[2:].replace("-", "_"))
        first = text.split(";")[0].replace(",", "").strip()
        number, _, unit = first.partition(" ")
        assert default == (None if first == "none" else float(number) * units[unit]), option
