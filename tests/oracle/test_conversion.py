# SPDX-License-Identifier: MIT
"""What ``model.save`` and ``unrolled convert`` write is loaded by live Keras and gives the same numbers there.

Every fixture, every case of a layer and every case of an operation where UNROLLED_CONVERSIONS=all is set. Else
every eighth of each, and the cases of attention: all of them take Keras more than seven minutes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from tests.fixtures import all_fixtures, unpacked
from tests.layers.test_operations import CASES as OPERATION_CASES
from tests.layers.test_operations import OPERATIONS
from tests.test_saving import assert_same, inputs_of, save
from unrolled import Input, Model, layers
from unrolled.engine import tree
from unrolled.models.saving import differing_layers

sys.path.insert(0, str(Path(__file__).parent.parent / "layers"))
from cases import CASES, make_layer, masks_of, ready

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

# Keras says that masks end at some layers.
pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning")


EVERY = 1 if os.environ.get("UNROLLED_CONVERSIONS") == "all" else 8


def assert_keras_agrees(model: Any, x: Any, path: Path, name: str) -> None:
    """Write ``model``, and have live Keras load the file and run it on ``x``."""
    if not save(model, path, name):
        return
    theirs = keras.models.load_model(path)
    assert_same(model.predict(x, verbose=0), plain(theirs(x, training=False)), name)
    keras.backend.clear_session()


def one_or_all(values: list[Any]) -> Any:
    return values if len(values) > 1 else values[0]


def plain(value: Any) -> Any:
    """Tensors as arrays, in structures that are not Keras's own."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return np.asarray(value)


@pytest.mark.parametrize("case", all_fixtures()[::EVERY], ids=str)
def test_keras_gives_the_numbers_of_every_converted_fixture(case: Any, tmp_path: Path) -> None:
    model = unrolled.load_model(case.path, weights=case.weights_path)
    assert_keras_agrees(model, inputs_of(case.arrays(), model), tmp_path / "new.keras", str(case))


ATTENTION = sorted(unpacked("attention_masks").glob("*.keras"))


@pytest.mark.parametrize("file", ATTENTION, ids=lambda file: file.stem)
def test_keras_gives_the_numbers_of_converted_attention_over_masked_tensors(
    file: Path, tmp_path: Path
) -> None:
    model = unrolled.load_model(file)
    with np.load(file.with_suffix(".npz")) as arrays:
        x = one_or_all([arrays[f"x{i}"] for i in range(len(model.inputs))])
    version = tuple(int(number) for number in file.stem.split("-")[0].split("."))
    if version < (3, 10) and differing_layers(model):
        with pytest.raises(
            unrolled.UnsupportedModelError, match="the rule for masks of the Keras that wrote"
        ):
            model.save(tmp_path / "new.keras")
        return
    assert_keras_agrees(model, x, tmp_path / "new.keras", file.stem)


def masked(x: Any, array: Any, mask: Any) -> Any:
    """``x`` under a mask, by a layer before it; ``array`` is changed to fit."""
    if mask is None or array.ndim != 3:
        return x
    array[~mask] = 0
    return layers.Masking()(x)


@pytest.mark.parametrize("number", range(0, len(CASES), EVERY), ids=lambda n: f"{n}-{CASES[n]['class_name']}")
def test_keras_gives_the_numbers_of_every_converted_layer(number: int, tmp_path: Path) -> None:
    case = CASES[number]
    layer = make_layer(layers, case)
    arguments, _ = ready(layer, number)
    arrays = list(tree.leaves(arguments))
    dtype = "int32" if case["class_name"] == "Embedding" else "float32"
    inputs = [Input(array.shape[1:], dtype=dtype) for array in arrays]
    if dtype == "int32":
        arrays = [array.astype(np.int32) for array in arrays]
    masks = masks_of(number) or [None] * len(inputs)
    tensors = [masked(*three) for three in zip(inputs, arrays, masks, strict=False)]
    tensors += inputs[len(tensors) :]
    call = case.get("call", {})
    y = layer(*tensors, **call) if case.get("spread") or len(tensors) == 1 else layer(tensors, **call)
    outputs = list(tree.leaves(y))
    if len(outputs[0].shape) == 3:
        # A layer that asks for the mask, if there is one.
        outputs.append(layers.GlobalAveragePooling1D()(outputs[0]))
    model = Model(*(one_or_all(tensors) for tensors in (inputs, outputs)))
    assert_keras_agrees(model, one_or_all(arrays), tmp_path / "new.keras", f"layer-{case['class_name']}")


@pytest.mark.parametrize(
    "number", range(0, len(OPERATION_CASES), EVERY), ids=lambda n: f"{n}-{OPERATION_CASES[n][0]}"
)
def test_keras_gives_the_numbers_of_every_converted_operation(number: int, tmp_path: Path) -> None:
    name, config, args, _ = OPERATION_CASES[number]
    inputs: list[Any] = []
    arrays: list[Any] = []

    def symbol(value: Any) -> Any:
        if isinstance(value, list) and isinstance(value[0], np.ndarray):
            return [symbol(item) for item in value]
        if not isinstance(value, np.ndarray) or value.ndim < 2:
            return value
        dtype = {"b": "bool", "i": "int32"}.get(value.dtype.kind, "float32")
        arrays.append(value.astype(dtype))
        inputs.append(Input(value.shape[1:], dtype=dtype))
        return inputs[-1]

    once, twice = OPERATIONS[name](**config), OPERATIONS[name](**config)
    given = [symbol(value) for value in args]
    model = Model(one_or_all(inputs), [once(*given), twice(*given)])
    assert_keras_agrees(model, one_or_all(arrays), tmp_path / "new.keras", f"operation-{name}")
