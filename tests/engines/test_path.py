# SPDX-License-Identifier: MIT
"""The five commands from a ``.keras`` file and a folder of Parquet to a cluster, as docs/tables.md has them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.engines.conftest import FILES, ROOT, ROWS

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("distributed")

PAGE = ROOT / "docs" / "tables.md"
README = ROOT / "README.md"


def commands():
    """The lines of the block."""
    text = PAGE.read_text(encoding="utf-8")
    return re.search(r"<!-- path: five commands -->\n```sh\n(.*?)```", text, re.DOTALL)[1].splitlines()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_the_readme_has_the_same_commands_where_it_has_them():
    text = README.read_text(encoding="utf-8")
    if "--dask" in text:
        assert "\n".join(commands()) in text


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_five_commands_lead_from_a_file_to_predictions_on_a_cluster(work, tmp_path):
    lines = commands()
    assert len(lines) == 5
    (extra,) = re.fullmatch(r'pip install "unrolled\[(\w+)\]"', lines[0]).groups()
    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    (tmp_path / "model.keras").symlink_to(work.model)
    (tmp_path / "data").symlink_to(work.data)
    # The commands of this interpreter, and a port that is free.
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, module in (("unrolled", "unrolled"), ("dask", "dask")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (tools / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    port = str(free_port())

    def run(line, **options):
        line = line.replace("8786", port)
        return subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True, **options
        )  # fmt: skip

    assert "Supported" in run(lines[1]).stdout
    run(lines[2])
    shell = shutil.which("sh")
    with open(tmp_path / "log", "wb") as log:
        line = lines[3].replace("8786", port).removesuffix("&") + "& wait"
        cluster = subprocess.Popen(
            [shell, "-c", line], cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        run(lines[4], timeout=300)
    finally:
        os.killpg(cluster.pid, signal.SIGTERM)
        cluster.wait(60)
    for folder in ("out", "cluster"):
        parts = sorted(Path(tmp_path, folder).glob("part-*.parquet"))
        table = pa.concat_tables([pq.read_table(part) for part in parts])
        np.testing.assert_array_equal(table["id"].to_numpy(), np.arange(FILES * ROWS))
        np.testing.assert_array_equal(table["output"].to_numpy(), work.expected)
