# SPDX-License-Identifier: MIT
"""Configs of every Keras come out in Keras 3's words, with the rules of their writer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.errors import ModelFileError
from unrolled.formats import read_model
from unrolled.formats.config.versions import parse_version
from unrolled.spec import LayerSpec, ModelFile, TensorReference, UnsupportedValue

from . import fake


def read(tmp_path: Path, document: dict[str, Any]) -> ModelFile:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(document))
    return read_model(path)


def one_layer(tmp_path: Path, class_name: str, config: dict[str, Any], version: str | None) -> LayerSpec:
    document = {
        "class_name": "Sequential",
        "config": [{"class_name": class_name, "config": {"name": "layer", **config}}],
    }
    if version:
        document["keras_version"] = version
    return read(tmp_path, document).spec.layers[-1]


@pytest.mark.parametrize(
    ("class_name", "old", "new_class", "new"),
    [
        ("LSTM", {"output_dim": 3, "inner_activation": "hard_sigmoid", "consume_less": "cpu", "input_dim": 4,
                  "forget_bias_init": "one", "inner_init": "orthogonal", "dropout_W": 0.5},
         "LSTM", {"units": 3, "recurrent_activation": "hard_sigmoid_v2", "recurrent_initializer": "orthogonal",
                  "dropout": 0.5}),
        ("GRU", {"output_dim": 3}, "GRU",
         {"units": 3, "recurrent_activation": "hard_sigmoid_v2", "reset_after": False}),
        ("TimeDistributedDense", {"output_dim": 3, "bias": True, "input_length": None}, "Dense",
         {"units": 3, "use_bias": True}),
        ("Convolution1D", {"nb_filter": 8, "filter_length": 3, "border_mode": "same", "subsample_length": 2}, "Conv1D",
         {"filters": 8, "kernel_size": [3], "padding": "same", "strides": 2}),
        ("Convolution2D", {"nb_filter": 8, "nb_row": 3, "nb_col": 2, "dim_ordering": "th"}, "Conv2D",
         {"filters": 8, "kernel_size": [3, 2], "data_format": "channels_first"}),
        ("MaxPooling1D", {"pool_length": 2, "stride": None, "border_mode": "valid"}, "MaxPooling1D",
         {"pool_size": 2, "strides": None, "padding": "valid"}),
        ("Dropout", {"p": 0.5}, "Dropout", {"rate": 0.5}),
        ("BatchNormalization", {"mode": 0, "epsilon": 1e-6}, "BatchNormalization", {"epsilon": 1e-6}),
        ("BatchNormalization", {"mode": 1}, "BatchNormalization", {"mode": 1}),
        ("Embedding", {"input_dim": 5, "output_dim": 2, "init": "uniform", "input_length": 7}, "Embedding",
         {"input_dim": 5, "output_dim": 2, "embeddings_initializer": "uniform"}),
        ("LeakyReLU", {"alpha": 0.2}, "LeakyReLU", {"negative_slope": 0.2}),
        ("Highway", {"init": "uniform"}, "Highway", {"init": "uniform"}),
    ],
)  # fmt: skip
def test_keras_1_names_become_those_of_keras_3(
    tmp_path: Path, class_name: str, old: dict[str, Any], new_class: str, new: dict[str, Any]
) -> None:
    layer = one_layer(tmp_path, class_name, old, None)
    assert layer.class_name == new_class
    assert layer.config == {"name": "layer", **new}


@pytest.mark.parametrize("version", ["2.1.2", "2.2.4-tf", "2.15.0"])
def test_hard_sigmoid_of_keras_2_is_another_function_than_today(tmp_path: Path, version: str) -> None:
    layer = one_layer(
        tmp_path, "LSTM", {"recurrent_activation": "hard_sigmoid", "activation": "tanh"}, version
    )
    assert (layer.config["recurrent_activation"], layer.config["activation"]) == ("hard_sigmoid_v2", "tanh")
    assert (
        one_layer(tmp_path, "Activation", {"activation": "hard_sigmoid"}, version).config["activation"]
        == "hard_sigmoid_v2"
    )
    inner = {"class_name": "GRU", "config": {"name": "g", "recurrent_activation": "hard_sigmoid"}}
    wrapper = one_layer(tmp_path, "Bidirectional", {"layer": inner}, version)
    assert wrapper.config["layer"].config["recurrent_activation"] == "hard_sigmoid_v2"


def test_hard_sigmoid_of_keras_3_keeps_its_name(tmp_path: Path) -> None:
    assert (
        one_layer(tmp_path, "Activation", {"activation": "hard_sigmoid"}, "3.4.1").config["activation"]
        == "hard_sigmoid"
    )


def test_gru_without_reset_after_is_that_of_its_writer(tmp_path: Path) -> None:
    assert one_layer(tmp_path, "GRU", {"units": 1}, "2.1.2").config["reset_after"] is False
    assert one_layer(tmp_path, "GRU", {"units": 1}, "3.0.0").config["reset_after"] is True


def test_cudnn_layers_become_plain_ones_with_their_activations(tmp_path: Path) -> None:
    layer = one_layer(tmp_path, "CuDNNGRU", {"units": 3, "time_major": False}, "2.2.4")
    assert layer.class_name == "GRU"
    assert layer.config["reset_after"] is True
    assert (layer.config["activation"], layer.config["recurrent_activation"]) == ("tanh", "sigmoid")
    assert layer.config["time_major"] is False


def test_unknown_keys_reach_the_layer(tmp_path: Path) -> None:
    for version in (None, "2.3.1", "2.15.0", "3.12.0"):
        assert one_layer(tmp_path, "Dense", {"units": 1, "invented": 7}, version).config["invented"] == 7


def test_input_shapes_of_first_layers_become_an_input_layer(tmp_path: Path) -> None:
    layers = [
        {"class_name": "LSTM", "config": {"name": "a", "units": 2, "batch_input_shape": [None, 5, 3]}},
        {"class_name": "Dense", "config": {"name": "b", "units": 2, "batch_input_shape": [None, None]}},
    ]
    spec = read(tmp_path, {"class_name": "Sequential", "config": layers, "keras_version": "2.2.0"}).spec
    assert [layer.class_name for layer in spec.layers] == ["InputLayer", "LSTM", "Dense"]
    assert spec.layers[0].config == {"name": "a_input", "batch_shape": [None, 5, 3], "dtype": "float32"}
    assert not any("batch_input_shape" in layer.config for layer in spec.layers)


def test_values_that_keras_serialises_are_decoded(tmp_path: Path) -> None:
    config = {
        "a": {"class_name": "__tuple__", "items": [1, [2]]},
        "b": {"class_name": "__numpy__", "config": {"value": [[1.5]], "dtype": "float32"}},
        "c": {"class_name": "__slice__", "config": {"start": None, "stop": -1, "step": 2}},
        "d": {"class_name": "__ellipsis__"},
        "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "mixed_float16"}},
        "activation": fake.keras_3_layer("LeakyReLU", name="act", negative_slope=0.1),
        "e": {"class_name": "__lambda__", "config": {"code": "x"}},
        "f": {"class_name": "Zeros", "config": {}},
    }
    found = one_layer(tmp_path, "Dense", config, "3.1.0").config
    assert (found["a"], found["c"], found["d"], found["dtype"]) == (
        (1, [2]),
        slice(None, -1, 2),
        ...,
        "mixed_float16",
    )
    np.testing.assert_array_equal(found["b"], np.array([[1.5]], np.float32))
    assert isinstance(found["activation"], LayerSpec)
    assert isinstance(found["e"], UnsupportedValue)
    assert found["f"] == {"class_name": "Zeros", "config": {}}


def test_quantised_dtype_policies_are_plain_strings(tmp_path: Path) -> None:
    policy = {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "source_name": "float32"}}
    assert one_layer(tmp_path, "Dense", {"dtype": policy}, "3.9.0").config["dtype"] == "int8_from_float32"


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.2.2", {"merge_masks": "all", "masked_output": "state", "bidirectional_zero_output": False}),
        ("2.2.4", {"merge_masks": "all", "masked_output": "state", "bidirectional_zero_output": False}),
        (
            "2.3.1",
            {
                "masked_output": "previous",
                "bidirectional_zero_output": False,
                "time_distributed_mask": "inner_of_any_batch",
                "states_hide_mask": False,
                "stored_states_win": False,
            },
        ),
        ("2.1.6", {"time_distributed_mask": "input"}),
        ("2.2.4-tf", {"masked_output": "previous", "bidirectional_zero_output": True}),
        ("2.15.0", {"time_distributed_mask": "inner", "stored_states_win": True, "lists_carry_masks": True}),
        (
            "3.3.0",
            {"lists_carry_masks": False, "states_hide_mask": True, "attention_takes_masks_away": False},
        ),
        ("3.7.0", {"lists_carry_masks": True, "attention_takes_masks_away": False}),
        ("3.8.0", {"attention_takes_masks_away": True, "explicit_mask_passes_on": False}),
        ("3.11.0", {"explicit_mask_passes_on": True}),
        ("2.4.0", {"bidirectional_zero_output": True, "rescaling_keeps_mask": False}),
        ("3.3.3", {"merge_masks": "all", "concatenate_masks": "all", "time_distributed_mask": "input"}),
        ("3.4.0", {"merge_masks": "any", "concatenate_masks": "any", "rescaling_keeps_mask": True}),
        ("3.9.2", {"merge_masks": "any", "softmax_zeroes_masked_rows": False}),
        ("3.10.0", {"softmax_zeroes_masked_rows": True}),
        ("3.15.1", {"merge_masks": "any"}),
        ("nonsense", {"merge_masks": "any"}),
    ],
)
def test_versions_have_their_rules(version: str, expected: dict[str, Any]) -> None:
    semantics = parse_version(version).semantics
    assert {key: getattr(semantics, key) for key in expected} == expected


# --------------------------------------------------------------------- graphs


def old_layer(name: str, class_name: str, calls: list[Any], **config: Any) -> dict[str, Any]:
    return {
        "class_name": class_name,
        "name": name,
        "config": {"name": name, **config},
        "inbound_nodes": calls,
    }


def old_model(layers: list[dict[str, Any]], inputs: Any, outputs: Any, name: str = "m") -> dict[str, Any]:
    config = {"name": name, "layers": layers, "input_layers": inputs, "output_layers": outputs}
    return {"class_name": "Model", "config": config, "keras_version": "2.9.0"}


def old_input(name: str) -> dict[str, Any]:
    return old_layer(name, "InputLayer", [], batch_input_shape=[None, 5, 4])


def nodes(file: ModelFile, name: str) -> list[Any]:
    layer = next(layer for layer in file.spec.layers if layer.name == name)
    return [(node.args, node.kwargs) for node in layer.nodes]


def test_states_among_keras_2_inputs_are_initial_states(tmp_path: Path) -> None:
    layers = [
        old_input("x"),
        old_layer("e", "LSTM", [[["x", 0, 0, {}]]], units=2, return_state=True),
        old_layer("d", "LSTM", [[["x", 0, 0, {}], ["e", 0, 1, {}], ["e", 0, 2, {}]]], units=2),
    ]
    file = read(tmp_path, old_model(layers, [["x", 0, 0]], [["d", 0, 0]]))
    x, h, c = TensorReference("x", 0, 0), TensorReference("e", 0, 1), TensorReference("e", 0, 2)
    assert nodes(file, "d") == [((x,), {"initial_state": [h, c]})]
    assert (file.spec.kind, file.spec.inputs, file.spec.outputs) == (
        "Functional",
        x,
        TensorReference("d", 0, 0),
    )


def test_tensors_among_keras_2_arguments_are_references(tmp_path: Path) -> None:
    layers = [
        old_input("x"),
        old_layer(
            "a", "MultiHeadAttention", [[["x", 0, 0, {"value": ["x", 0, 0], "use_causal_mask": True}]]]
        ),
    ]
    x = TensorReference("x", 0, 0)
    file = read(tmp_path, old_model(layers, [["x", 0, 0]], [["a", 0, 0]]))
    assert nodes(file, "a") == [((x,), {"value": x, "use_causal_mask": True})]


@pytest.mark.parametrize("first", [0, 1])
def test_calls_of_nested_keras_2_models_are_counted_from_zero(tmp_path: Path, first: int) -> None:
    inner = old_model(
        [old_input("i"), old_layer("f", "Flatten", [[["i", 0, 0, {}]]])], [["i", 0, 0]], [["f", 0, 0]], "n"
    )
    nested = {"class_name": "Model", "name": "n", "config": inner["config"],
              "inbound_nodes": [[["x", 0, 0, {}]], [["y", 0, 0, {}]]]}  # fmt: skip
    add = old_layer("a", "Add", [[["n", first, 0, {}], ["n", first + 1, 0, {}]]])
    layers = [old_input("x"), old_input("y"), nested, add]
    file = read(tmp_path, old_model(layers, [["x", 0, 0], ["y", 0, 0]], [["a", 0, 0]]))
    assert nodes(file, "a") == [(([TensorReference("n", 0, 0), TensorReference("n", 1, 0)],), {})]
    assert file.spec.layers[2].model is not None


def keras_3_tensor(name: str, node: int = 0, index: int = 0) -> dict[str, Any]:
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None], "keras_history": [name, node, index]},
    }


def keras_3_model(layers: list[dict[str, Any]], inputs: Any, outputs: Any, name: str = "m") -> dict[str, Any]:
    config = {"name": name, "layers": layers, "input_layers": inputs, "output_layers": outputs}
    return {"module": "keras.src.models.functional", "class_name": "Functional", "config": config,
            "registered_name": "Functional"}  # fmt: skip


def keras_3_call(
    class_name: str, name: str, *calls: dict[str, Any], module: str = "keras.layers", **config: Any
) -> Any:
    return {"module": module, "class_name": class_name, "config": {"name": name, **config}, "registered_name": None,
            "name": name, "inbound_nodes": list(calls)}  # fmt: skip


def test_nested_functional_outputs_of_keras_3_are_one_too_high(tmp_path: Path) -> None:
    inner = keras_3_model(
        [keras_3_call("InputLayer", "i", batch_shape=[None, 2])], ["i", 0, 0], ["i", 0, 0], "n"
    )
    nested = inner | {
        "name": "n",
        "inbound_nodes": [{"args": [keras_3_tensor("x")], "kwargs": {"mask": None}}],
    }
    after = keras_3_call("Flatten", "f", {"args": [keras_3_tensor("n")], "kwargs": {}})
    layers = [keras_3_call("InputLayer", "x", batch_shape=[None, 2]), nested, after]
    file = read(tmp_path, keras_3_model(layers, ["x", 0, 0], [["n", 1, 0], ["f", 0, 0]]))
    assert file.spec.outputs == [TensorReference("n", 0, 0), TensorReference("f", 0, 0)]
    assert nodes(file, "f") == [((TensorReference("n", 0, 0),), {})]


def test_outputs_may_be_any_tree(tmp_path: Path) -> None:
    layers = [keras_3_call("InputLayer", name, batch_shape=[None, 2]) for name in "ab"]
    a, b = TensorReference("a", 0, 0), TensorReference("b", 0, 0)
    for tree, expected in [
        (["a", 0, 0], a),
        ([["a", 0, 0]], a),
        ([["a", 0, 0], ["b", 0, 0]], [a, b]),
        ([[["a", 0, 0]], [["b", 0, 0]]], [[a], [b]]),
        ({"one": ["a", 0, 0], "two": [["b", 0, 0]]}, {"one": a, "two": [b]}),
    ]:
        assert read(tmp_path, keras_3_model(layers, ["a", 0, 0], tree)).spec.outputs == expected
    for tree in ([], {}, ["a"], ["a", 0], 3, None, ["a", -1, 0]):
        with pytest.raises(ModelFileError):
            read(tmp_path, keras_3_model(layers, ["a", 0, 0], tree))


def test_operations_of_keras_3_are_told_from_layers(tmp_path: Path) -> None:
    call = {"args": [keras_3_tensor("x"), 2.0], "kwargs": {}}
    layers = [
        keras_3_call("InputLayer", "x", batch_shape=[None, 2]),
        keras_3_call("Multiply", "m", call, module="keras.src.ops.numpy"),
        keras_3_call("GetItem", "g", {"args": [keras_3_tensor("m"), [{"class_name": "__slice__", "config":
            {"start": None, "stop": None, "step": None}}, -1]], "kwargs": {}}, module="keras.src.ops.numpy"),
    ]  # fmt: skip
    file = read(tmp_path, keras_3_model(layers, ["x", 0, 0], ["g", 0, 0]))
    assert [layer.origin for layer in file.spec.layers] == ["keras", "keras.ops", "keras.ops"]
    assert nodes(file, "g") == [((TensorReference("m", 0, 0), [slice(None, None, None), -1]), {})]


@pytest.mark.parametrize(
    ("function", "call", "class_name", "args", "options"),
    [
        ("math.multiply", ["x", 0, 0, {"y": 2.0, "name": None}], "Multiply", ["x", 2.0], {}),
        (
            "math.subtract",
            ["_CONSTANT_VALUE", -1, 1.0, {"y": ["x", 0, 0], "name": None}],
            "Subtract",
            [1.0, "x"],
            {},
        ),
        (
            "math.reduce_mean",
            ["x", 0, 0, {"axis": 1, "keepdims": True}],
            "Mean",
            ["x"],
            {"axis": 1, "keepdims": True},
        ),
        ("math.reduce_sum", ["x", 0, 0, {"axis": -1}], "Sum", ["x"], {"axis": -1, "keepdims": False}),
        (
            "compat.v1.transpose",
            ["x", 0, 0, {"perm": [0, 2, 1], "name": "transpose", "conjugate": False}],
            "Transpose",
            ["x"],
            {"axes": [0, 2, 1]},
        ),
        ("compat.v1.squeeze", ["x", 0, 0, {"axis": 1}], "Squeeze", ["x"], {"axis": 1}),
        (
            "clip_by_value",
            ["x", 0, 0, {"clip_value_min": -1.0, "clip_value_max": 2.0}],
            "Clip",
            ["x"],
            {"x_min": -1.0, "x_max": 2.0},
        ),
        ("expand_dims", ["x", 0, 0, {"axis": -1}], "ExpandDims", ["x"], {"axis": -1}),
        ("nn.relu", ["x", 0, 0, {"name": None}], "Relu", ["x"], {}),
        ("nn.gelu", ["x", 0, 0, {}], "Gelu", ["x"], {"approximate": False}),
        (
            "concat",
            [["x", 0, 0, {"axis": 1}], ["x", 0, 0, {"axis": 1}]],
            "Concatenate",
            [["x", "x"]],
            {"axis": 1},
        ),
        ("reshape", ["x", 0, 0, {"shape": [-1, 4]}], "Reshape", ["x"], {"newshape": [-1, 4]}),
        *(
            (
                "linalg.matmul",
                ["x", 0, 0, {"b": ["x", 0, 0], "transpose_b": flag}],
                "Matmul",
                ["x", "x"],
                {"transpose_b": flag},
            )
            for flag in (False, True)
        ),
        ("reverse", ["x", 0, 0, {"axis": [1]}], "Flip", ["x"], {"axis": [1]}),
    ],
)
def test_tensorflow_functions_become_operations(
    tmp_path: Path, function: str, call: Any, class_name: str, args: list[Any], options: dict[str, Any]
) -> None:
    layers = [old_input("x"), old_layer("f", "TFOpLambda", [call], function=function, dtype="float32")]
    file = read(tmp_path, old_model(layers, [["x", 0, 0]], [["f", 0, 0]]))

    def tensors(value: Any) -> Any:
        if isinstance(value, list):
            return [tensors(element) for element in value]
        return TensorReference("x", 0, 0) if value == "x" else value

    layer = file.spec.layers[1]
    assert (layer.class_name, layer.origin, layer.config) == (
        class_name,
        "keras.ops",
        {"name": "f", **options},
    )
    assert nodes(file, "f") == [(tuple(tensors(args)), {})]


@pytest.mark.parametrize(
    ("function", "call"),
    [
        ("image.resize", ["x", 0, 0, {"size": [2, 2]}]),
        ("math.multiply", ["x", 0, 0, {"y": 2.0, "invented": 1}]),
        ("linalg.matmul", ["x", 0, 0, {"b": ["x", 0, 0], "transpose_a": True}]),
    ],
)
def test_other_tensorflow_functions_stay_to_be_refused(tmp_path: Path, function: str, call: Any) -> None:
    layers = [old_input("x"), old_layer("f", "TFOpLambda", [call], function=function)]
    layer = read(tmp_path, old_model(layers, [["x", 0, 0]], [["f", 0, 0]])).spec.layers[1]
    assert (layer.class_name, layer.config["function"]) == ("TFOpLambda", function)


def test_tensorflow_slicing_becomes_get_item(tmp_path: Path) -> None:
    spec = [{"start": None, "stop": None, "step": None}, -1, {"class_name": "__ellipsis__"}]
    layers = [
        old_input("x"),
        old_layer(
            "s", "SlicingOpLambda", [["x", 0, 0, {"slice_spec": spec}]], function="__operators__.getitem"
        ),
    ]
    file = read(tmp_path, old_model(layers, [["x", 0, 0]], [["s", 0, 0]]))
    assert file.spec.layers[1].class_name == "GetItem"
    assert nodes(file, "s") == [((TensorReference("x", 0, 0), [slice(None, None, None), -1, ...]), {})]
