# SPDX-License-Identifier: MIT
"""The recipes of docs/tables.md, as the tests run them: what stands there is what is tested."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tables.md"


def recipe(name):
    """The Python of one recipe."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^<!-- recipe: {name} -->\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/tables.md has no recipe {name}"
    assert found[1].count("\n") <= 12
    return found[1]


def run(name, work, folder, before="", **environment):
    """Run a recipe, in a process and a folder that has the model and the data under the names of the page."""
    (folder / "model.keras").symlink_to(work.model)
    (folder / "data").symlink_to(work.data)
    done = subprocess.run(
        [sys.executable, "-c", before + recipe(name)], cwd=folder, env=os.environ | environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
