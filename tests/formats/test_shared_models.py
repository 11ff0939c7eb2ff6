# SPDX-License-Identifier: MIT
"""Real and synthetic model files, where the folder with them is at hand, are read to sound descriptions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unrolled.formats import read_model, read_weights
from unrolled.formats.reading import all_layers
from unrolled.spec import ModelFile, TensorReference, UnsupportedValue

ROOT = Path(
    os.environ.get("UNROLLED_SHARED_MODELS", Path(__file__).resolve().parents[3] / "shared" / "models")
)
# Other folders beside them hold files of other kinds, and models that are refused.
FILES = sorted(
    path
    for folder in (ROOT, ROOT / "synthetic")
    for path in folder.glob("*")
    if path.suffix in (".h5", ".keras")
)
WEIGHTS_ONLY = [path for path in FILES if ".weights" in path.name or path.stem.endswith("_w")]
WHOLE = [path for path in FILES if path not in WEIGHTS_ONLY]

pytestmark = pytest.mark.skipif(not FILES, reason="no folder of shared models")


def check(file: ModelFile) -> None:
    """Names, calls and values of a description are of the kinds that it promises."""
    layers = list(all_layers(file.spec))
    assert layers
    for layer in layers:
        assert layer.class_name
        assert layer.class_name not in ("Model", "TimeDistributedDense", "CuDNNLSTM", "CuDNNGRU")
        assert not {"batch_input_shape", "output_dim_", "inner_activation", "border_mode"} & set(layer.config)
        assert isinstance(layer.config.get("dtype", "float32"), str)
        for key in ("activation", "recurrent_activation"):
            assert not isinstance(layer.config.get(key), dict)
    names = [layer.name for layer in file.spec.layers]
    assert len(set(names)) == len(names)
    if file.spec.kind == "Functional":
        assert file.spec.inputs is not None
        assert file.spec.outputs is not None
    else:
        assert file.spec.layers[0].class_name == "InputLayer"


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_whole_files_are_read(path: Path) -> None:
    file = read_model(path)
    check(file)
    assert file.weights is not None
    assert file.keras_version[0] in "123"


@pytest.mark.parametrize("path", WEIGHTS_ONLY, ids=lambda path: path.name)
def test_weights_only_files_are_read(path: Path) -> None:
    if "_shard_0000" in path.name:
        pytest.skip("a part of the sharded file, which is read below")
    assert hasattr(read_weights(path), "load_into")
    architecture = path.with_name(path.name.split(".")[0] + ".json")
    if architecture.exists():
        check(read_model(architecture, weights=path))


def test_sharded_weights_are_read() -> None:
    path = ROOT / "synthetic" / "k3_shard.weights.json"
    if not path.exists():
        pytest.skip("not in this folder")
    assert hasattr(read_weights(path), "load_into")


@pytest.mark.parametrize(
    "path", [path for path in WHOLE if "lambda" in path.name], ids=lambda path: path.name
)
def test_lambdas_are_marked_and_not_decoded(path: Path) -> None:
    (layer,) = [layer for layer in all_layers(read_model(path).spec) if layer.class_name == "Lambda"]
    assert isinstance(layer.config["function"], UnsupportedValue)


def test_custom_layers_of_real_files_are_marked() -> None:
    found = {path.name: path for path in WHOLE if "REJECT" in path.name}
    if not found:
        pytest.skip("not in this folder")
    attention = read_model(found["tf213_vol_custom_attention_REJECT.h5"]).spec
    assert "AttentionSum" in [layer.class_name for layer in attention.layers]
    (loss,) = [
        layer
        for layer in read_model(found["tf215_iam_ctc_custom_REJECT.keras"]).spec.layers
        if layer.class_name == "CTCLayer"
    ]
    assert loss.origin != "keras"


def test_dict_outputs_of_both_keras_versions_are_the_same_tree() -> None:
    paths = [
        ROOT / "synthetic" / name
        for name in ("k2_dicts.h5", "k2_dicts.keras", "k3_dicts.h5", "k3_dicts.keras")
    ]
    if not all(path.exists() for path in paths):
        pytest.skip("not in this folder")
    for path in paths:
        spec = read_model(path).spec
        assert spec.inputs == {"enc": TensorReference("enc", 0, 0), "dec": TensorReference("dec", 0, 0)}
        assert spec.outputs == {"o1": TensorReference("g", 0, 0), "o2": TensorReference("bi", 0, 0)}
