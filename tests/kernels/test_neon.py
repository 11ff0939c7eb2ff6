# SPDX-License-Identifier: MIT
"""The kernels alone, by the program check.cc: right, and the same bits on every ISA with FMA, NEON included.

NEON is cross-compiled and emulated where g++-aarch64-linux-gnu and qemu-user (packages of Debian and Ubuntu)
are installed. The programs of this machine are those that `cmake --preset dev` and `release` build.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CROSS_BUILD = ROOT / "build" / "aarch64"
CROSS_TOOLS = ("cmake", "aarch64-linux-gnu-g++", "qemu-aarch64")
MISSING = [tool for tool in CROSS_TOOLS if shutil.which(tool) is None]
PROGRAMS = [
    program
    for preset in ("dev", "release")
    for name in ("kernel_check", "kernel_check.exe")
    if (program := ROOT / "build" / preset / name).is_file()
]

needs_program = pytest.mark.skipif(
    not PROGRAMS, reason="no kernel_check under build/: cmake --preset dev && cmake --build --preset dev"
)


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def hashes(*command: str | Path) -> dict[str, str]:
    """Hash by instruction set; the program fails if an output is wrong or depends on batch, team or split."""
    return {line.split()[0]: line.split()[1] for line in run(*command).splitlines()}


def with_fma(found: dict[str, str]) -> dict[str, str]:
    return {isa: value for isa, value in found.items() if isa != "baseline"}


def newest_program() -> Path:
    return max(PROGRAMS, key=lambda path: path.stat().st_mtime)


@needs_program
def test_kernels_are_right_and_give_one_hash_on_every_isa_with_fma() -> None:
    found = hashes(newest_program())
    assert found, "no instruction set"
    assert len(set(with_fma(found).values())) <= 1, found


@needs_program
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="NEON is native here, or unknown")
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_neon_gives_the_bits_of_avx2() -> None:
    native = with_fma(hashes(newest_program()))
    if not native:
        pytest.skip("this processor has no fused multiply-add to compare with")
    run(
        "cmake", "-S", ROOT, "-B", CROSS_BUILD,
        f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake' / 'aarch64-linux-gnu.cmake'}",
        "-DUNROLLED_BUILD_MODULE=OFF", "-DUNROLLED_BUILD_LIBRARY=OFF", "-DUNROLLED_BUILD_KERNEL_CHECK=ON",
    )  # fmt: skip
    run("cmake", "--build", CROSS_BUILD, "--target", "kernel_check")
    found = hashes("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", CROSS_BUILD / "kernel_check")
    assert set(found) == {"neon"}
    assert set(found.values()) == set(native.values())
