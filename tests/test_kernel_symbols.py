# SPDX-License-Identifier: MIT
"""Objects compiled for one instruction set export their kernel table and nothing else.

An inline function or template that leaked from such an object could be the copy that the linker keeps for
every other one, and the baseline would then execute AVX-512.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[1] / "build"
NM = shutil.which("nm") or shutil.which("llvm-nm")
OBJECTS = sorted(
    path for path in BUILD.glob("**/kernels_*.dir/**/kernels.cc.o*") if path.suffix in (".o", ".obj")
)

# C functions that compilers call for copies and clears, and what sanitizers and stack protection add.
ALLOWED_UNDEFINED = re.compile(
    r"_?(mem(cpy|set|move)|_GLOBAL_OFFSET_TABLE_|__stack_chk_(fail|guard)|__[aut]b?san_\w+|__sanitizer_\w+)$"
)

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
