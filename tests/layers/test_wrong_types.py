# SPDX-License-Identifier: MIT
"""Wrong values in a file are refused when it is loaded, by the two errors of loading, or change nothing that fails."""

from __future__ import annotations

import copy
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from unrolled import initializers
from unrolled.layers.registry import layer_classes
from unrolled.models.plain import plain

sys.path.insert(0, str(Path(__file__).parent))
from cases import CASES, inputs_of, make_layer

WRONG: list[Any] = [
    None, True, -1, 0, 3, 2**31, 2**70, 1e300, 0.5, -2.5, "text", "", [], [1], [0, -1], ["a", None], [[2, 3], [4]],
    {}, {"a": 1}, {"class_name": "Dense", "config": {}}, {"class_name": "Orthogonal", "config": {"gain": "text"}},
    {"class_name": "Constant", "config": {"value": [1, 2, 3]}},
]  # fmt: skip
REFUSALS = (unrolled.UnsupportedModelError, unrolled.ModelFileError)


def first_cases() -> dict[str, int]:
    """By class, its first case that a model can be made of."""
    found: dict[str, int] = {}
    for number, case in enumerate(CASES):
        if not case.get("spread") and not case.get("call"):
            found.setdefault(case["class_name"], number)
    return found


FIRST = first_cases()
SHARED = set(unrolled.layers.Layer.config_keys())


def document_of(number: int) -> tuple[dict[str, Any], list[Any]]:
    """A functional model of the layer of a case in Keras 3's words, and its inputs."""
    inputs = inputs_of(number)
    ends = [unrolled.Input(batch_shape=(None, *x.shape[1:])) for x in inputs]
    layer = make_layer(unrolled.layers, CASES[number])
    model = unrolled.Model(ends, layer(ends if len(ends) > 1 else ends[0]))
    serialized = {"module": "keras", "class_name": "Functional", "config": model.get_config()}
    return json.loads(json.dumps(plain(serialized))), inputs


def layer_entry(document: dict[str, Any], class_name: str) -> dict[str, Any]:
    return next(entry for entry in document["config"]["layers"] if entry["class_name"] == class_name)


def fails(document: dict[str, Any], inputs: list[Any]) -> str | None:
    """What went wrong otherwise than by an error of loading."""
    try:
        model = unrolled.model_from_json(json.dumps(document))
    except REFUSALS:
        return None
    except Exception as error:
        return f"loading raised {type(error).__name__}: {error}"
    if model.count_params() > 10**6 or any(
        size is not None and size > 10**4 for shape in [model.output_shape] for size in np.ravel(shape)
    ):
        return None  # large, but what the file says
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
    except ValueError as error:
        if "expected shape" in str(error) or "outside a table" in str(error):
            return None  # another input than that of the case
        return f"predict raised ValueError: {error}"
    except Exception as error:
        return f"predict raised {type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("name", sorted(set(layer_classes()) & set(FIRST)))
def test_a_wrong_value_of_any_key_is_refused_at_load_or_does_no_harm(name: str) -> None:
    document, inputs = document_of(FIRST[name])
    assert fails(document, inputs) is None
    keys = [key for key in layer_classes()[name].config_keys() if key != "name"]
    found = []
    turn = sorted(FIRST).index(name)
    for key in keys:
        # Keys of every layer are read by one constructor: each value of them is tried with every fourth layer.
        for value in WRONG[turn % 4 :: 4] if key in SHARED else WRONG:
            changed = copy.deepcopy(document)
            layer_entry(changed, name)["config"][key] = value
            what = fails(changed, inputs)
            if what is not None:
                found.append(f"{key}={value!r}: {what}")
    assert not found, "\n".join(found)


NUMBERS: dict[str, list[str]] = {
    "Constant": ["value"],
    "Identity": ["gain"],
    "Orthogonal": ["gain", "seed"],
    "RandomNormal": ["mean", "stddev", "seed"],
    "TruncatedNormal": ["mean", "stddev", "seed"],
    "RandomUniform": ["minval", "maxval", "seed"],
    "VarianceScaling": ["scale", "mode", "distribution", "seed", "input_axes", "output_axes"],
    **{
        name: ["seed", "input_axes", "output_axes"]
        for name in ("GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform")
    },
    "Ones": [],
    "Zeros": [],
}


def test_every_initializer_is_tried_with_wrong_values() -> None:
    assert set(NUMBERS) == set(initializers._CLASSES)


@pytest.mark.parametrize("key", ["kernel_initializer", "recurrent_initializer", "bias_initializer"])
@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_a_wrong_value_of_an_initializer_is_refused_at_load_or_does_no_harm(name: str, key: str) -> None:
    layer = unrolled.layers.LSTM(3, name="lstm", input_shape=(4, 2))
    serialized = {
        "module": "keras",
        "class_name": "Sequential",
        "config": unrolled.Sequential([layer]).get_config(),
    }
    document = json.loads(json.dumps(plain(serialized)))
    inputs = [np.ones((2, 4, 2), np.float32)]
    found = []
    for option in [*NUMBERS[name], "no_such_option"]:
        for value in WRONG:
            changed = copy.deepcopy(document)
            layer_entry(changed, "LSTM")["config"][key] = {
                "module": "keras.initializers", "class_name": name, "config": {option: value},
            }  # fmt: skip
            what = fails(changed, inputs)
            if what is not None:
                found.append(f"{option}={value!r}: {what}")
    assert not found, "\n".join(found)


STRAY: list[tuple[str, dict[str, Any], Any]] = [
    ("Dense", {"stray": 1}, None),
    ("LSTM", {"stray": {"a": 1}}, None),
    ("LSTM", {"mask": {"a": 1}}, None),
    ("LSTM", {"mask": "text"}, None),
    ("LSTM", {"mask": [1, "b"]}, None),
    ("LSTM", {"initial_state": {"a": 1}}, None),
    ("LSTM", {"initial_state": 3.0}, None),
    ("LSTM", {"initial_state": "text"}, None),
    ("LSTM", {}, {"a": 1}),
    ("LSTM", {}, "text"),
    ("Bidirectional", {"mask": {"a": 1}}, None),
    ("Bidirectional", {"initial_state": [1, "b"]}, None),
    ("Dense", {}, 3),
    ("Conv1D", {"padding": "same"}, None),
    ("Dropout", {}, True),
    ("TimeDistributed", {"stray": 1}, None),
    ("MultiHeadAttention", {"attention_mask": {"a": 1}}, None),
    ("Attention", {"mask": {"a": 1}}, None),
]


@pytest.mark.parametrize(("name", "kwargs", "second"), STRAY)
def test_a_stray_argument_of_a_call_in_a_file_is_refused_at_load(
    name: str, kwargs: dict[str, Any], second: Any
) -> None:
    made = {
        "Dense": lambda: unrolled.layers.Dense(3),
        "Dropout": lambda: unrolled.layers.Dropout(0.5),
        "LSTM": lambda: unrolled.layers.LSTM(3),
        "Conv1D": lambda: unrolled.layers.Conv1D(3, 2),
        "Bidirectional": lambda: unrolled.layers.Bidirectional(unrolled.layers.LSTM(3)),
        "TimeDistributed": lambda: unrolled.layers.TimeDistributed(unrolled.layers.Dense(3)),
        "MultiHeadAttention": lambda: unrolled.layers.MultiHeadAttention(2, 3),
        "Attention": lambda: unrolled.layers.Attention(),
    }
    x = unrolled.Input((4, 3))
    layer = made[name]()
    y = layer([x, x]) if name == "Attention" else layer(x, x) if name == "MultiHeadAttention" else layer(x)
    serialized = {"module": "keras", "class_name": "Functional", "config": unrolled.Model(x, y).get_config()}
    document = json.loads(json.dumps(plain(serialized)))
    unrolled.model_from_json(json.dumps(document))
    (node,) = layer_entry(document, name)["inbound_nodes"]
    node["kwargs"] |= kwargs
    if second is not None:
        node["args"].append(second)
    with pytest.raises(REFUSALS):
        unrolled.model_from_json(json.dumps(document))


@pytest.mark.parametrize("size", [2**70, 2**40, -1, "4", 1.5])
def test_an_impossible_batch_size_in_a_file_is_refused_at_load(size: Any) -> None:
    layer = unrolled.layers.LSTM(3, name="lstm", input_shape=(4, 2))
    serialized = {
        "module": "keras",
        "class_name": "Sequential",
        "config": unrolled.Sequential([layer]).get_config(),
    }
    document = json.loads(json.dumps(plain(serialized)))
    layer_entry(document, "InputLayer")["config"]["batch_shape"][0] = size
    with pytest.raises(REFUSALS):
        unrolled.model_from_json(json.dumps(document))


def test_an_impossible_batch_size_of_predict_is_a_value_error() -> None:
    model = unrolled.Sequential([unrolled.layers.LSTM(3, input_shape=(4, 2))])
    for size in (2**70, 2**63, 0, -1, "4"):
        with pytest.raises(ValueError, match="batch_size"):
            model.predict(np.zeros((2, 4, 2)), batch_size=size)
    assert model.predict(np.zeros((2, 4, 2)), batch_size=2**62).shape == (2, 3)
