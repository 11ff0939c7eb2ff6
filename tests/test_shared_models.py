# SPDX-License-Identifier: MIT
"""Real model files of other people, and the synthetic ones beside them, load and give Keras's numbers.

The folder is no part of the repository: ``UNROLLED_SHARED_MODELS`` names it, or it lies at
``../shared/models`` beside the repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import unrolled
from tests.tolerances import assert_close

FOLDER = Path(
    os.environ.get("UNROLLED_SHARED_MODELS") or Path(__file__).resolve().parents[2] / "shared" / "models"
)
MODEL_SUFFIXES = (".h5", ".keras", ".hdf5")

# Strict: a file that starts to pass fails the test, so that its row goes away with the work that made it pass.
NEEDS_ISSUE_4: dict[str, str] = {}
# Files whose Keras computed in 16 bits; unrolled computes in float32.
SIXTEEN_BITS = ("_mixed",)


def model_files():
    """Name to (model file, weights file or None, npz file or None)."""
    found = {}
    for folder, prefix in ((FOLDER, ""), (FOLDER / "synthetic", "synthetic/")):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            name = path.name
            if name.endswith(".weights.json"):
                # The shards hold the weights of the model k3_compiled.
                found[prefix + name] = (folder / "k3_compiled.json", path, folder / "k3_compiled.keras.npz")
            if not name.endswith(MODEL_SUFFIXES) or "_shard_0" in name:
                continue
            stem = name.rsplit(".", 1)[0]
            base = stem.removesuffix("_w").removesuffix(".weights").removesuffix(".weights_old")
            architecture = folder / f"{base}.json"
            if base != stem and not architecture.exists():
                continue  # weights without any description of their layers
            names = (name, stem, f"{base}.keras", f"{base}.h5")
            references = [folder / f"{candidate}.npz" for candidate in names]
            reference = next((npz for npz in references if npz.exists()), None)
            model = (path, None) if base == stem else (architecture, path)
            found[prefix + name] = (*model, reference)
    return found


FILES = model_files()
if not FILES:
    pytest.skip(f"no model files at {FOLDER}", allow_module_level=True)


def is_refused(name):
    return "_REJECT" in name or "_lambda" in name


def marked(name):
    if name in NEEDS_ISSUE_4:
        return pytest.param(name, marks=pytest.mark.xfail(reason=NEEDS_ISSUE_4[name], strict=True))
    return name


def check(model, arrays, tolerance, what):
    x = [arrays[f"x{i}"] for i in range(sum(key.startswith("x") for key in arrays.files))]
    y = model.predict(x[0] if len(x) == 1 else x, verbose=0)
    got = list(y.values()) if isinstance(y, dict) else y if isinstance(y, list) else [y]
    expected = [arrays[f"y{i}"] for i in range(sum(key.startswith("y") for key in arrays.files))]
    assert len(got) == len(expected)
    for i, (array, want) in enumerate(zip(got, expected, strict=True)):
        assert_close(array, want, tolerance, f"{what}, output {i}")


WITH_NUMBERS = [name for name, (_, _, npz) in FILES.items() if npz is not None and not is_refused(name)]


@pytest.mark.parametrize("name", [marked(name) for name in WITH_NUMBERS])
def test_a_real_file_loads_and_gives_the_numbers_of_keras(name):
    path, weights, reference = FILES[name]
    model = unrolled.load_model(path, weights=weights)
    tolerance = "sixteen_bits" if any(word in name for word in SIXTEEN_BITS) else "shared_models"
    check(model, np.load(reference), tolerance, name)


# Its numbers are nearly its inputs, up to 94, which no order of gates of the weights in the file gives.
OF_OTHER_WEIGHTS = {"k20_dl4j_lstm_tf.original_io.npz"}
ORIGINAL = [
    pytest.param(path, marks=[pytest.mark.xfail(strict=True)] * (path.name in OF_OTHER_WEIGHTS), id=path.name)
    for path in sorted(FOLDER.glob("*.original_io.npz"))
]


@pytest.mark.parametrize("reference", ORIGINAL)
def test_a_file_of_an_old_keras_gives_what_that_keras_gave(reference):
    model = unrolled.load_model(FOLDER / reference.name.replace(".original_io.npz", ".h5"))
    arrays = np.load(reference)
    y = model.predict(arrays["x0"], verbose=0)
    np.testing.assert_allclose(y, arrays["y0"].reshape(y.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in FILES if is_refused(name) and FILES[name][1] is None])
def test_a_file_with_code_of_its_author_is_refused_by_the_name_of_the_layer(name):
    with pytest.raises(unrolled.UnsupportedModelError) as caught:
        unrolled.load_model(FILES[name][0])
    assert caught.value.problems
    classes = {problem.class_name for problem in caught.value.problems}
    expected = {
        "tf213_vol_custom_attention_REJECT.h5": "AttentionSum",
        "tf215_iam_ctc_custom_REJECT.keras": "CTCLayer",
    }.get(name, "Lambda")
    assert expected in classes
    (problem,) = (p for p in caught.value.problems if p.class_name == expected)
    assert problem.layer
    assert problem.layer in str(caught.value)
