# SPDX-License-Identifier: MIT
"""Real SavedModel folders, checkpoints, TensorFlow.js models and pickles of other people give their writers' numbers.

The folder is no part of the repository: ``UNROLLED_MORE_MODELS`` names it, or it lies at ``../shared/models/more``
beside the repository. Its ``manifest.json`` says what to load and what is expected; files that are not there are
skipped.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import unrolled

FOLDER = Path(
    os.environ.get("UNROLLED_MORE_MODELS")
    or Path(__file__).resolve().parents[2] / "shared" / "models" / "more"
)
if not (FOLDER / "manifest.json").is_file():
    pytest.skip(f"no model files at {FOLDER}", allow_module_level=True)
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())


def location(key):
    """The model file and its weights, or None."""
    load = MANIFEST[key]["load"]
    base = FOLDER if key.startswith("synthetic/") else FOLDER / key.split("/")[0]
    if "path" in load:
        return base / load["path"], None
    architecture = FOLDER / f"{key}.json" if load["json"] is True else base / load["json"]
    return architecture, base / load["weights"]


def is_here(key):
    """Whether the files are there: a checkpoint is what the names of its files start with."""
    return all(
        file is None or file.exists() or file.with_name(f"{file.name}.index").exists()
        for file in location(key)
    )


def load(key):
    if not is_here(key):
        pytest.skip("not fetched")
    path, weights = location(key)
    return unrolled.load_model(path, weights=weights)


MATCH = [key for key, entry in MANIFEST.items() if entry["expected"] == "match"]
REFUSED = [key for key, entry in MANIFEST.items() if entry["expected"] != "match"]


@pytest.mark.parametrize("key", MATCH)
def test_a_model_gives_the_numbers_of_its_writer(key):
    model = load(key)
    for name in MANIFEST[key]["references"]:
        arrays = np.load(FOLDER / key.split("/")[0] / name)
        x, y = (
            [arrays[f"{letter}{i}"] for i in range(sum(k[0] == letter for k in arrays.files))]
            for letter in "xy"
        )
        for layer in model.layers:
            if getattr(layer, "stateful", False):
                layer.reset_state()
        found = model.predict(x[0] if len(x) == 1 else x, verbose=0)
        if isinstance(found, dict):
            found = [found[output] for output in MANIFEST[key].get("outputs") or found]
        found = found if isinstance(found, list) else [found]
        for got, want in zip(found, y, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("key", REFUSED)
def test_a_file_without_layers_is_refused_for_the_reason_that_the_manifest_has(key, capsys):
    with pytest.raises(
        (unrolled.ModelFileError, unrolled.UnsupportedModelError), match=MANIFEST[key]["says"]
    ):
        load(key)
    assert capsys.readouterr().out == ""
