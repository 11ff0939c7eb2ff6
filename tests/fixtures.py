# SPDX-License-Identifier: MIT
"""Access to the stored fixtures of ``tests/data`` (see ``tests/data/make_fixtures.py``)."""

from __future__ import annotations

import functools
import json
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parent / "data"
SEMANTICS = {"keras3": "keras3", "tf_keras": "keras2"}


@dataclass(frozen=True)
class Fixture:
    """A model file that Keras wrote, with what Keras computed from it.

    Attributes
    ----------
    archive : str
        "keras3" or "tf_keras".
    entry : dict
        Its row of the index: name, file, weights, seed, recipe and so on.
    """

    archive: str
    entry: dict = field(hash=False, compare=False)
    name: str = ""

    def __str__(self):
        return f"{self.archive}-{self.name}"

    @property
    def recipe(self):
        return self.entry["recipe"]

    @property
    def semantics(self):
        return SEMANTICS[self.archive]

    @property
    def tolerance_class(self):
        return self.entry.get("tolerance", "default")

    @property
    def path(self):
        """The model file, unpacked."""
        return unpacked(self.archive) / self.entry["file"]

    @property
    def weights_path(self):
        """The weights file of a ``.json``, else None."""
        name = self.entry["weights"]
        return None if name is None else unpacked(self.archive) / name

    def arrays(self):
        """All arrays of its ``.npz`` by name."""
        with np.load(unpacked(self.archive) / f"{self.name}.npz") as arrays:
            return dict(arrays)

    def weights(self):
        arrays = self.arrays()
        return [arrays[f"w{i}"] for i in range(sum(key.startswith("w") for key in arrays))]

    def calls(self):
        """Inputs and lists of outputs of the successive calls."""
        arrays = self.arrays()
        result = []
        for call in range(self.entry.get("calls", 1)):
            suffix = f"_{call}" if call else ""
            outputs = []
            while f"y{len(outputs)}{suffix}" in arrays:
                outputs.append(arrays[f"y{len(outputs)}{suffix}"])
            result.append((arrays[f"x{suffix}"], outputs))
        return result


@functools.cache
def index(archive):
    """The whole index of an archive."""
    return json.loads((DATA / f"index_{archive}.json").read_text())


@functools.cache
def all_fixtures():
    """Every fixture of both archives."""
    return [
        Fixture(archive, entry, entry["name"])
        for archive in SEMANTICS
        for entry in index(archive)["fixtures"]
    ]


def fixture(archive, name):
    """One fixture by name."""
    return next(f for f in all_fixtures() if f.archive == archive and f.name == name)


_scratch: dict[str, tempfile.TemporaryDirectory] = {}


def unpacked(archive):
    """A folder with all files of an archive, made once a process and removed at its end."""
    if archive not in _scratch:
        _scratch[archive] = tempfile.TemporaryDirectory(prefix=f"unrolled-{archive}-")
        with tarfile.open(DATA / f"{archive}.tar.xz") as stored:
            # Python 3.10 and 3.11 have filters from 3.10.12 and 3.11.4 on.
            filters = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            stored.extractall(_scratch[archive].name, **filters)
    return Path(_scratch[archive].name)


@functools.cache
def call_arrays(archive):
    """The shared arrays and outputs of the layer calls (``tests/data/calls.py``)."""
    with np.load(unpacked(archive) / "calls.npz") as arrays:
        return dict(arrays)


def call_cases():
    """``(archive, entry)`` of every layer call."""
    return [(archive, entry) for archive in SEMANTICS for entry in index(archive)["calls"]]


def call_outputs(archive, entry):
    arrays = call_arrays(archive)
    outputs = []
    while f"{entry['name']}/y{len(outputs)}" in arrays:
        outputs.append(arrays[f"{entry['name']}/y{len(outputs)}"])
    return outputs


def call_inputs(archive, entry):
    """x, weights, mask or None, initial states or None."""
    from tests.data.calls import state_count

    arrays = call_arrays(archive)
    cell = entry["cell"]
    weights = [arrays[f"{cell}/w{i}"] for i in range(6 if cell == "bidirectional" else 3)]
    mask = arrays["mask"] if entry["mask"] else None
    states = [arrays[f"s{i}"] for i in range(state_count(cell))] if entry["initial_state"] else None
    return arrays["x"], weights, mask, states
