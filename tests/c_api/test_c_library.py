# SPDX-License-Identifier: MIT
"""The C library: built without Python, it gives Python's bits; its streams suit a thread with a deadline."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest

import unrolled
from tests.c_api import build
from tests.streaming import causal_models

pytestmark = pytest.mark.skipif(not build.CAN_BUILD, reason=build.REASON)
LINUX = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
# A stream of these takes one input of float32 and gives one output.
STREAMED = sorted(
    name
    for name in causal_models.MODELS
    if name
    not in ("stateful", "several_inputs_and_outputs", "embedding", "masked_embedding", "ids_to_numbers")
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")

    def export(name):
        path = folder / f"{name}.unrolled"
        model = causal_models.make(name)
        if not path.exists():
            model.export(path)
        return model, path

    return export


def floats(data):
    return np.frombuffer(data, np.float32)


def test_the_sensor_example_prints_the_bits_of_the_python_stream(exported):
    model, path = exported("lstm")
    x = causal_models.sequences(model, 1, 37)
    text = "\n".join(" ".join(float(value).hex() for value in row) for row in x[0])
    printed = build.run(build.example("c"), path, input=text.encode()).decode()
    got = [[float.fromhex(word) for word in line.split()] for line in printed.splitlines()]
    stream = model.stream()
    expected = np.concatenate([stream.step(x[:, t]) for t in range(x.shape[1])])
    assert np.asarray(got, np.float32).tobytes() == expected.tobytes()


def test_the_audio_example_gives_the_bits_of_predict(tmp_path):
    model = unrolled.Sequential(
        [
            unrolled.Input((None, 1)),
            unrolled.layers.LSTM(16, return_sequences=True),
            unrolled.layers.Dense(1),
        ]
    )
    model.export(tmp_path / "amp.unrolled")
    x = np.random.default_rng(3).standard_normal((1, 3000, 1)).astype(np.float32)
    wet = build.run(build.example("cpp"), tmp_path / "amp.unrolled", input=x.tobytes())
    assert wet == model.predict(x, verbose=0).tobytes()


@pytest.mark.parametrize("batch", [0, 1, 3, 70])
@pytest.mark.parametrize(
    "name", ["lstm", "masked_lstm", "conv_lstm", "embedding", "branches", "decoder_after_the_end"]
)
def test_a_batch_has_the_bits_of_predict(exported, name, batch):
    model, path = exported(name)
    x = causal_models.sequences(model, batch, 9)
    got = build.run(build.program("calls.c"), "run", path, *map(str, x.shape), input=x.tobytes())
    assert got == model.predict(x, verbose=0).tobytes()


@pytest.mark.parametrize("name", ["gru", "causal_convolutions", "softmax_in_the_cell", "masked_embedding"])
def test_steps_a_block_and_a_copied_state_have_the_bits_of_the_python_stream(exported, name):
    model, path = exported(name)
    x = causal_models.sequences(model, 1, 21)
    got = build.run(build.program("calls.c"), "stream", path, "21", input=x.tobytes())
    assert got == model.predict(x, verbose=0).tobytes()


def test_wrong_calls_are_refused_and_change_nothing(exported):
    _, path = exported("lstm")
    version = build.run(build.program("calls.c"), "refuse", path).decode()
    assert version == unrolled.__version__


@pytest.mark.skipif(not LINUX, reason="needs glibc and seccomp")
@pytest.mark.parametrize("name", STREAMED)
def test_a_step_allocates_nothing_locks_nothing_and_makes_no_system_call(exported, name):
    model, path = exported(name)
    x = causal_models.sequences(model, 1, 50)
    program = build.program("realtime.cc", "-ldl")
    result = subprocess.run([program, path, "50", "-"], input=x.tobytes(), capture_output=True, check=False)
    if result.returncode == 77:
        pytest.skip("no seccomp here")
    assert result.returncode == 0, result.stderr
    counts, _, outputs = result.stdout.partition(b"\n")
    assert counts == b"0 0 1"
    stream = model.stream()
    expected = np.concatenate([np.ravel(stream.step(x[:, t])) for t in range(50)])
    assert outputs == expected.tobytes()


@pytest.mark.skipif(not LINUX, reason="needs glibc and seccomp")
def test_the_watch_on_allocations_sees_them(exported):
    model, path = exported("lstm")
    x = causal_models.sequences(model, 1, 2)
    result = subprocess.run(
        [build.program("realtime.cc", "-ldl"), path, "2", "allocate"],
        input=x.tobytes(),
        capture_output=True,
        check=False,
    )
    if result.returncode == 77:
        pytest.skip("no seccomp here")
    assert result.stdout.split(b"\n")[0] == b"2 0 1"


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("nm") is None, reason="needs nm")
def test_the_shared_library_exports_the_functions_of_its_header_alone():
    symbols = build.run("nm", "-D", "--defined-only", build.library(".so")).decode().splitlines()
    names = {line.split()[-1].split("@")[0] for line in symbols}
    header = (build.ROOT / "include" / "unrolled.h").read_text()
    declared = {
        word.split("(")[0].lstrip("*")
        for line in header.splitlines()
        if line.startswith("UNROLLED_API")
        for word in line.split()
        if "(" in word and word.split("(")[0].lstrip("*").startswith("unrolled_")
    }
    assert names == declared
    assert len(declared) > 15


@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="no pkg-config")
def test_pkg_config_knows_the_library(monkeypatch, tmp_path):
    folder = next(build.installed().rglob("pkgconfig"))
    monkeypatch.setenv("PKG_CONFIG_PATH", str(folder))
    assert build.run("pkg-config", "--modversion", "unrolled").decode().strip() == unrolled.__version__
    flags = build.run("pkg-config", "--cflags", "--libs", "unrolled").decode().split()
    assert "-lunrolled" in flags


def test_the_header_is_plain_c(tmp_path):
    source = tmp_path / "header.c"
    source.write_text("#include <unrolled.h>\nint main(void) { return unrolled_version() == 0; }\n")
    header = build.ROOT / "include"
    build.run(
        "cc",
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        f"-I{header}",
        "-c",
        source,
        "-o",
        tmp_path / "o",
    )
