# SPDX-License-Identifier: MIT
"""Objects compiled for one instruction set export their kernel table and nothing else.

An inline function or template that leaked from such an object could be the copy that the linker keeps for
every other one, and the baseline would then execute AVX-512. And no other object holds instructions of AVX.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[1] / "build"
NM = shutil.which("nm") or shutil.which("llvm-nm")
# Sanitizers add symbols and constructors of their own; what is cross-compiled is another machine's.
NOT_SHIPPED = {"asan", "tsan", "aarch64"}
OBJECTS = sorted(
    path
    for path in BUILD.glob("**/kernels_*.dir/**/kernels.cc.o*")
    if path.suffix in (".o", ".obj") and path.relative_to(BUILD).parts[0] not in NOT_SHIPPED
)

# C functions that compilers call for copies and clears, and what stack protection adds.
ALLOWED_UNDEFINED = re.compile(r"_?(mem(cpy|set|move)|_GLOBAL_OFFSET_TABLE_|__stack_chk_(fail|guard))$")

OBJDUMP = shutil.which("objdump")
# All else that the module and the check of the kernels consist of.
OTHER_OBJECTS = sorted(
    path
    for path in BUILD.glob("*/CMakeFiles/**/*.cc.o")
    if "kernels_avx" not in str(path) and path.relative_to(BUILD).parts[0] not in NOT_SHIPPED
)
AVX_OBJECTS = [path for path in OBJECTS if "kernels_avx" in str(path)]
# Mnemonics with VEX and EVEX encodings begin with v; mask registers have their own.
AVX = re.compile(r"\tv[a-z]|\tk(mov|or|ortest|and|xor|not|test|unpck)[bwdq]|%[yz]mm")

pytestmark = [
    pytest.mark.skipif(NM is None, reason="nm is not installed"),
    pytest.mark.skipif(not OBJECTS, reason="no kernel objects under build/"),
]


def symbols(path: Path) -> list[tuple[str, str]]:
    """(type letter, name) of every external symbol; upper case, or weak in either case, is external."""
    assert NM is not None
    text = subprocess.run([NM, "-P", "-g", str(path)], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in text.splitlines()]
    return [(row[1], row[0]) for row in rows if len(row) >= 2]


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: "-".join(path.relative_to(BUILD).parts[:3:2]))
def test_kernel_object_exports_only_its_table(path: Path) -> None:
    isa = re.search(r"kernels_(\w+)\.dir", str(path))
    assert isa is not None
    table = re.compile(rf"_?_ZN8unrolled7kernels{len(isa[1])}{isa[1]}12kernel_tableE$")
    defined = [(kind, name) for kind, name in symbols(path) if kind not in "Uwv"]
    assert [name for _, name in defined if not table.match(name)] == []
    assert [kind for kind, _ in defined] in (["D"], ["R"]), "one table, constant-initialised"


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: "-".join(path.relative_to(BUILD).parts[:3:2]))
def test_kernel_object_needs_nothing_from_other_objects(path: Path) -> None:
    undefined = [name for kind, name in symbols(path) if kind in "Uwv"]
    assert [name for name in undefined if not ALLOWED_UNDEFINED.match(name)] == []


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: "-".join(path.relative_to(BUILD).parts[:3:2]))
def test_kernel_object_runs_nothing_while_loading(path: Path) -> None:
    assert NM is not None
    text = subprocess.run([NM, "-P", str(path)], capture_output=True, text=True, check=True).stdout
    assert "_GLOBAL__sub_I" not in text


needs_objdump = pytest.mark.skipif(
    OBJDUMP is None or platform.machine() != "x86_64", reason="objdump is not installed, or AVX unknown here"
)


def avx_instructions(path: Path) -> list[str]:
    assert OBJDUMP is not None
    command = [OBJDUMP, "-d", "--no-show-raw-insn", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line for line in text.splitlines() if AVX.search(line)]


@needs_objdump
@pytest.mark.parametrize("path", OTHER_OBJECTS, ids=lambda path: "-".join(path.relative_to(BUILD).parts))
def test_no_other_object_holds_instructions_of_avx(path: Path) -> None:
    assert avx_instructions(path) == []


@needs_objdump
@pytest.mark.parametrize("path", AVX_OBJECTS, ids=lambda path: "-".join(path.relative_to(BUILD).parts[:3:2]))
def test_instructions_of_avx_would_be_found(path: Path) -> None:
    assert avx_instructions(path)
