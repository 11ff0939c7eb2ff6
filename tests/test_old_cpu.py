# SPDX-License-Identifier: MIT
"""An emulated processor without AVX: no instruction of a newer one is executed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unrolled

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "mackey_glass"
QEMU = shutil.which("qemu-x86_64")
# Convolutions, matrix products, reductions, softmax and every cell, beside the example's LSTM.
PROGRAM = """
import sys
import numpy as np
import unrolled
from unrolled import layers
assert unrolled.isa() == "baseline", unrolled.isa()
model = unrolled.load_model(sys.argv[1])
x = np.linspace(-1, 1, 40, dtype=np.float32).reshape(2, 20, 1)
print(model.predict(x, verbose=0).tobytes().hex())
others = unrolled.Sequential([
    layers.Conv1D(9, 3, activation="gelu"), layers.LSTM(17, return_sequences=True),
    layers.Bidirectional(layers.GRU(5, return_sequences=True)), layers.LayerNormalization(),
    layers.SimpleRNN(3, return_sequences=True), layers.GlobalAveragePooling1D(),
    layers.Dense(4, activation="softmax"),
])
assert np.isfinite(others.predict(x, verbose=0)).all()
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="about x86-64")
@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="a sanitized module does not run emulated")
@pytest.mark.skipif(QEMU is None, reason="qemu-x86_64 is not installed (Debian, Ubuntu: qemu-user)")
def test_a_processor_without_avx_predicts_as_the_baseline() -> None:
    assert QEMU is not None
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("UNROLLED_ISA", None)
    program = [sys.executable, "-c", PROGRAM, str(EXAMPLE / "mackey_glass.keras")]
    # NumPy's wheels ask for SSE4.2, which Nehalem has; AVX it has not. The OpenBLAS inside NumPy must be told:
    # it takes qemu's Nehalem for a newer processor and runs instructions of that.
    environment["OPENBLAS_CORETYPE"] = "Nehalem"
    emulated = subprocess.run(
        [QEMU, "-cpu", "Nehalem", *program], env=environment, capture_output=True, text=True, check=False
    )
    assert emulated.returncode == 0, emulated.stderr
    got = np.frombuffer(bytes.fromhex(emulated.stdout), dtype=np.float32)
    x = np.linspace(-1, 1, 40, dtype=np.float32).reshape(2, 20, 1)
    expected = unrolled.load_model(EXAMPLE / "mackey_glass.keras").predict(x, verbose=0)
    np.testing.assert_allclose(got, expected.ravel(), rtol=1e-5, atol=1e-6)
