# SPDX-License-Identifier: MIT
"""Every layer and model is made again from its config, and JSON gives a model with fresh weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import unrolled
from tests import fixtures
from unrolled import layers
from unrolled.layers.registry import layer_classes, operation_classes
from unrolled.models.plain import plain

sys.path.insert(0, str(Path(__file__).parent / "layers"))
from cases import CASES, make_layer, ready


def as_bytes(y):
    return [part.tobytes() for part in (y if isinstance(y, list | tuple) else [y])]


def load(fixture):
    return unrolled.load_model(fixture.path, weights=fixture.weights_path)


@pytest.mark.parametrize("fixture", fixtures.all_fixtures(), ids=str)
def test_a_model_made_again_from_its_config_gives_the_same_bits(fixture):
    model = load(fixture)
    x = fixture.calls()[0][0]
    config = model.get_config()
    for other in (unrolled.Model.from_config(config), type(model).from_config(config)):
        assert type(other) is type(model)
        assert repr(other.get_config()) == repr(config)
        other.set_weights(model.get_weights())
        if fixture.entry.get("calls", 1) > 1:
            model.reset_state()
        run = [
            as_bytes(m(x) if fixture.entry.get("call") else m.predict(x, verbose=0)) for m in (model, other)
        ]
        assert run[0] == run[1]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_layer_made_again_from_its_config_gives_the_same_bits(number):
    layer = make_layer(layers, CASES[number])
    args, call = ready(layer, number)
    config = layer.get_config()
    other = type(layer).from_config(config)
    assert repr(other.get_config()) == repr(config)
    ready(other, number)
    assert as_bytes(other(*args, **call)) == as_bytes(layer(*args, **call))


def test_every_registered_layer_is_in_a_case_or_a_fixture():
    found = {case["class_name"] for case in CASES}
    found |= {layer.class_name for fixture in fixtures.all_fixtures() for layer in load(fixture).walk()}
    found |= {"StringLookup", "TextVectorization"}  # tests/text
    assert set(layer_classes()) <= found | {"InputLayer", "StackedRNNCells"}


def test_input_layers_and_stacked_cells_are_made_again_from_their_configs():
    entry = layers.InputLayer(batch_shape=(2, None, 3), dtype="int32", name="ids")
    other = layers.InputLayer.from_config(entry.get_config())
    assert other.get_config() == entry.get_config()
    cells = layers.StackedRNNCells([layers.GRUCell(3, reset_after=False), layers.LSTMCell(2)])
    other = layers.StackedRNNCells.from_config(cells.get_config())
    assert repr(other.get_config()) == repr(cells.get_config())


def test_a_graph_of_operations_and_of_shared_and_nested_layers_is_made_again():
    entry = unrolled.Input((4, 3))
    shared = layers.Dense(3, activation="tanh")
    inner = unrolled.Sequential([unrolled.Input((4, 3)), layers.GRU(3, return_sequences=True)], name="inner")
    inner_entry = unrolled.Input((4, 3))
    graph = unrolled.Model(inner_entry, layers.Add()([shared(inner_entry), inner_entry]), name="graph")
    x = layers.Concatenate()([inner(shared(entry)), graph(entry), inner(entry), shared(shared(entry))])
    model = unrolled.Model({"a": entry}, [layers.LSTM(2)(x), graph(inner(entry))])
    other = unrolled.Model.from_config(model.get_config())
    assert [layer.name for layer in other.layers] == [layer.name for layer in model.layers]
    assert [tuple(node.parents[0].shape) for node in other.graph_nodes() if node.parents] == [
        tuple(node.parents[0].shape) for node in model.graph_nodes() if node.parents
    ]
    assert other.output_shape == model.output_shape


def test_a_layer_around_a_model_is_made_again():
    inner = unrolled.Sequential([layers.Dense(3, input_shape=(4,)), layers.Dense(2)])
    layer = layers.TimeDistributed(inner)
    x = np.ones((2, 5, 4), np.float32)
    expected = layer(x)
    other = layers.TimeDistributed.from_config(layer.get_config())
    assert isinstance(other.layer, unrolled.Sequential)
    other(x)
    other.set_weights(layer.get_weights())
    assert as_bytes(other(x)) == as_bytes(expected)


@pytest.mark.parametrize("name", sorted(operation_classes()))
def test_an_operation_says_where_keras_has_it(name):
    cls = operation_classes()[name]
    try:
        operation = cls()
    except (TypeError, ValueError):
        return  # needs options; the fixtures have it
    module, registered = operation.serialized_as
    assert module.startswith("keras.src.ops.") or (name in ("ReLU", "Mish") and "activations" in module)
    assert registered == operation.class_name == name


def test_the_rules_of_an_old_keras_stand_in_the_config_and_not_in_a_saved_file(tmp_path):
    fixture = next(f for f in fixtures.all_fixtures() if f.archive == "tf_keras")
    model = load(fixture)
    again = unrolled.Model.from_config(model.get_config())
    assert model.semantics == again.semantics
    assert all(a.semantics == b.semantics for a, b in zip(model.walk(), again.walk(), strict=True))
    assert "semantics" in model.get_config()
    again.set_weights(model.get_weights())
    again.save(tmp_path / "new.keras", approximate=True)
    assert b'"semantics"' not in (tmp_path / "new.keras").read_bytes()
    assert "semantics" not in unrolled.Sequential([layers.Dense(2, input_shape=(3,))]).get_config()


def test_functions_of_the_user_pass_through_a_config_by_reference():
    activation = unrolled.activations.custom("mine", np.tanh)
    model = unrolled.Sequential([layers.Dense(3, activation=activation, input_shape=(4,))])
    other = unrolled.Sequential.from_config(model.get_config())
    assert other.layers[0].activation.function is np.tanh
    wrapped = layers.Bidirectional(layers.LSTM(3))
    assert wrapped.backward_layer.go_backwards


def test_a_clone_has_new_layers_of_the_same_options_and_fresh_weights():
    model = unrolled.Sequential([layers.LSTM(5, recurrent_activation="hard_sigmoid", input_shape=(3, 2))])
    other = unrolled.models.clone_model(model)
    assert repr(other.get_config()) == repr(model.get_config())
    assert other.layers[0] is not model.layers[0]
    assert [w.shape for w in other.weights] == [w.shape for w in model.weights]


# ------------------------------------------------------------------- without weights


def architecture():
    model = unrolled.Sequential([layers.LSTM(5, input_shape=(3, 2)), layers.Dense(1)])
    return json.dumps(plain({"module": "keras", "class_name": "Sequential", "config": model.get_config()}))


def test_an_architecture_without_weights_is_refused_by_an_error_that_says_how_to_name_them(tmp_path):
    path = tmp_path / "arch.json"
    path.write_text(architecture())
    with pytest.raises(unrolled.ModelFileError, match=r"weights=.*model_from_json"):
        unrolled.load_model(path)
    weights = tmp_path / "new.keras"
    unrolled.model_from_json(architecture()).save(weights)
    assert unrolled.load_model(path, weights=weights).count_params() == 166


def test_an_architecture_of_no_weights_needs_none(tmp_path):
    model = unrolled.Sequential([layers.Flatten(input_shape=(3, 2))])
    path = tmp_path / "arch.json"
    path.write_text(
        json.dumps(plain({"module": "keras", "class_name": "Sequential", "config": model.get_config()}))
    )
    assert unrolled.load_model(path).predict(np.zeros((1, 3, 2))).shape == (1, 6)


def test_model_from_json_builds_a_model_with_fresh_weights():
    model = unrolled.models.model_from_json(architecture())
    assert model.predict(np.ones((4, 3, 2))).shape == (4, 1)
    assert all(weight.any() for weight in model.get_weights()[:2])
    assert unrolled.model_from_json is unrolled.models.model_from_json


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"class_name": "Sequential"}', "not JSON", '{"config": 3}']
)
def test_json_that_is_no_model_is_a_model_file_error(text):
    with pytest.raises(unrolled.ModelFileError):
        unrolled.model_from_json(text)


@pytest.mark.parametrize("config", [None, [], "text", {}, {"layers": 3}, {"input_layers": 1, "layers": []}])
def test_a_config_that_is_none_is_refused_by_an_error_of_loading(config):
    with pytest.raises((unrolled.ModelFileError, unrolled.UnsupportedModelError)):
        unrolled.Model.from_config(config)
