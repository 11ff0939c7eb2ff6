# SPDX-License-Identifier: MIT
"""Access to the models in ``tests/data/containers.tar.xz`` (see ``tests/data/make_containers.py``)."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

import unrolled
from tests import fixtures


@functools.cache
def folder() -> Path:
    """All files, unpacked once a process."""
    return fixtures.unpacked("containers")


def entries() -> list[dict]:
    """What there is to load, each with its kind, path, weights, reference and why it is refused."""
    return json.loads((folder() / "index.json").read_text())


def title(entry: dict) -> str:
    return entry["path"] + (f" + {entry['weights']}" if entry["weights"] else "")


def load(entry: dict) -> unrolled.Model:
    weights = None if entry["weights"] is None else folder() / entry["weights"]
    return unrolled.load_model(folder() / entry["path"], weights=weights)


def reference(entry: dict) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and outputs."""
    with np.load(folder() / f"{entry['reference']}.npz") as arrays:
        return tuple([arrays[key] for key in sorted(arrays) if key[0] == letter] for letter in "xy")
