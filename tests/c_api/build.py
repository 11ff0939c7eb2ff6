# SPDX-License-Identifier: MIT
"""Builds the C library as a user would, and programs against it; once for all tests of a process."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CAN_BUILD = (
    os.name == "posix"
    and all(map(shutil.which, ["cmake", "c++", "cc"]))
    and (ROOT / "CMakeLists.txt").exists()
    # Eigen of the system, or of the PyPI package cmeel-eigen for this Python.
    and any(
        Path(folder).is_dir()
        for folder in ["/usr/include/eigen3", *(f"{path}/cmeel.prefix/include/eigen3" for path in sys.path)]
    )
)
REASON = "no compiler, no CMake, or no Eigen"

_scratch: list[tempfile.TemporaryDirectory] = []


def run(*command, **options):
    """Run a command; its output is the error's where it fails."""
    result = subprocess.run(command, capture_output=True, check=False, **options)
    assert result.returncode == 0, (result.stdout + result.stderr).decode(errors="replace")[-4000:]
    return result.stdout


def generator():
    return ["-G", "Ninja"] if shutil.which("ninja") else []


@functools.cache
def installed():
    """Where the library is installed. Built without Python, with the flags of the preset ``dev``."""
    _scratch.append(tempfile.TemporaryDirectory(prefix="unrolled-c-"))
    folder = Path(_scratch[-1].name)
    options = [
        "-DUNROLLED_BUILD_MODULE=OFF",
        f"-DPython_EXECUTABLE={sys.executable}",  # which is asked where its Eigen is
        "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
        "-DUNROLLED_WARNINGS_AS_ERRORS=ON",
    ]
    run("cmake", *generator(), "-S", ROOT, "-B", folder / "build", *options)
    run("cmake", "--build", folder / "build", "-j", "2")
    run("cmake", "--install", folder / "build", "--prefix", folder / "prefix")
    return folder / "prefix"


@functools.cache
def example(name):
    """The program of ``examples/c`` or ``examples/cpp``, which finds the library by CMake."""
    folder = installed().parent / f"example-{name}"
    options = [f"-DCMAKE_PREFIX_PATH={installed()}", "-DCMAKE_BUILD_TYPE=Release"]
    run("cmake", *generator(), "-S", ROOT / "examples" / name, "-B", folder, *options)
    run("cmake", "--build", folder)
    return folder / {"c": "sensor", "cpp": "effect"}[name]


def library(suffix):
    """The path of ``libunrolled`` with this suffix."""
    return next(installed().rglob(f"libunrolled{suffix}"))


@functools.cache
def program(source, *flags):
    """A C or C++ program of tests/c_api against the shared library, by pkg-config's words where it is there."""
    output = installed().parent / Path(source).stem
    lib = library(".so").parent
    compiler = ["cc"] if source.endswith(".c") else ["c++", "-std=c++20"]
    run(*compiler, "-O1", "-g", Path(__file__).with_name(source), "-o", output, f"-I{installed() / 'include'}", f"-L{lib}",
        "-lunrolled", f"-Wl,-rpath,{lib}", *flags)  # fmt: skip
    return output
