# SPDX-License-Identifier: MIT
"""Code that a file names stays out; the user's own functions and layers take its place."""

from __future__ import annotations

import json
import zipfile
from typing import Any

import h5py
import numpy as np
import pytest

import unrolled
from tests.test_shared_models import FOLDER
from unrolled import layers
from unrolled.engine.lowering import Flow, Lowering
from unrolled.formats import read_model
from unrolled.models.loading import build_from_file

RANDOM = np.random.default_rng(0)
DENSE = {"units": 2, "activation": "linear", "use_bias": True}


def shared(name: str) -> Any:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"no model file {path}")
    return path


def write_keras(path: Any, layers_: list[dict[str, Any]], arrays: dict[str, Any]) -> Any:
    """A Sequential file of Keras 3 with the given layers and ``vars`` groups."""
    config = {"class_name": "Sequential", "module": "keras", "config": {"name": "s", "layers": layers_}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
        archive.writestr("config.json", json.dumps(config))
        file = path.with_suffix(".h5")
        with h5py.File(file, "w") as weights:
            weights.create_group("layers")
            for key, array in arrays.items():
                weights[key] = array
        archive.write(file, "model.weights.h5")
    return path


def layer(class_name: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:
    registered = None if module else f"mine>{class_name}"
    return {"module": module, "class_name": class_name, "config": config, "registered_name": registered}


def input_layer(*shape: int | None) -> dict[str, Any]:
    return layer("InputLayer", batch_shape=[None, *shape], dtype="float32", name="x")


# ------------------------------------------------------------ files of others


@pytest.mark.parametrize("name", ["k2_lambda.h5", "k2_lambda.keras", "k3_lambda.h5", "k3_lambda.keras"])
def test_a_lambda_is_computed_by_the_function_given_for_its_name(name: str) -> None:
    path = shared(f"synthetic/{name}")
    model = unrolled.load_model(path, custom_objects={"lambda": lambda x: x * 2.0})
    reference = path.with_name("k2_lambda.h5.npz")
    if name.startswith("k2") and reference.exists():
        arrays = np.load(reference)
        np.testing.assert_allclose(model.predict(arrays["x0"]), arrays["y0"], atol=1e-6)
    x = RANDOM.normal(size=(3, 6, 4)).astype(np.float32)
    lstm = model.layers[-1] if "lstm" in model.layers[-1].name else model.layers[-2]
    rest = unrolled.Sequential([unrolled.Input((6, 4)), *model.layers[1:]])
    assert lstm in rest.layers
    np.testing.assert_array_equal(model.predict(x), rest.predict(x * 2))
    np.testing.assert_array_equal(model.predict(x, batch_size=2), model(x))


def test_custom_attention_of_a_real_file_is_computed_by_the_function_given_for_its_class() -> None:
    def attention_sum(inputs: Any) -> Any:
        weights, sequence = inputs
        return (weights * sequence).sum(axis=1)

    path = shared("tf213_vol_custom_attention_REJECT.h5")
    model = unrolled.load_model(path, custom_objects={"AttentionSum": attention_sum})
    assert model.output_shape == (None, 1)
    x = RANDOM.normal(size=(5, 10, 1)).astype(np.float32)
    inner = unrolled.Model(model.inputs, model.get_layer("lstm").nodes[0].outputs)
    sequence = inner.predict(x)
    logits = model.get_layer("dense")(sequence)
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = model.get_layer("dense_1")((weights * sequence).sum(axis=1))
    np.testing.assert_allclose(model.predict(x), expected, atol=1e-6)
    np.testing.assert_array_equal(model(x)[:2], model.predict(x[:2]))


def test_a_registered_class_is_found_by_its_full_name_too() -> None:
    path = shared("tf215_iam_ctc_custom_REJECT.keras")
    for name in ("CTCLayer", "Custom>CTCLayer", "ctc_loss"):
        model = unrolled.load_model(path, custom_objects={name: lambda y_true, y_pred: y_pred})
        shapes = [(1, *tensor.shape[1:]) for tensor in model.inputs]
        arrays = [RANDOM.random([size or 3 for size in shape]).astype(np.float32) for shape in shapes]
        by_name = {t.name: a for t, a in zip(model.inputs, arrays, strict=True)}
        y = model.predict(by_name)
        assert y.shape[-1] == 81
        np.testing.assert_allclose(y.sum(axis=-1), 1, atol=1e-5)


# ------------------------------------------------------------- files made here


def test_a_function_gets_the_weights_of_its_layer(tmp_path: Any) -> None:
    gain, shift = RANDOM.normal(size=4), RANDOM.normal(size=4)
    path = write_keras(
        tmp_path / "m.keras",
        [input_layer(4), layer("Scale", None, name="a", trainable=True), layer("Scale", None, name="b")],
        {
            "layers/scale/vars/0": gain,
            "layers/scale/inner/vars/0": shift,
            "layers/scale_1/vars/0": 2 * gain,
            "layers/scale_1/inner/vars/0": 2 * shift,
        },
    )
    model = unrolled.load_model(path, custom_objects={"Scale": lambda x, gain, shift: x * gain + shift})
    x = RANDOM.normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), (x * gain + shift) * 2 * gain + 2 * shift, rtol=1e-5)
    assert [w.shape for w in model.get_weights()] == [(4,)] * 4
    # New weights reach the function.
    model.set_weights([np.zeros(4)] * 4)
    np.testing.assert_array_equal(model.predict(x), np.zeros((3, 4)))
    model.load_weights(path)
    np.testing.assert_allclose(model.predict(x), (x * gain + shift) * 2 * gain + 2 * shift, rtol=1e-5)


def test_a_layer_class_with_its_own_lowering_takes_the_config_and_the_weights(tmp_path: Any) -> None:
    class Scale(layers.Layer):
        def __init__(self, factor: float = 1.0, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.factor = factor

        def build_weights(self, input_shape: Any) -> None:
            self.gain = self.add_weight("gain", input_shape[-1:], unrolled.initializers.Ones())

        def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
            gain = plan.ops.constant(plan.packed(self.gain) * np.float32(self.factor))
            return x.derive(plan.ops.binary("multiply", x.value, gain), x.shape)

    config = [input_layer(5, 4), layer("Scale", None, name="a", factor=3.0)]
    path = write_keras(tmp_path / "m.keras", config, {"layers/scale/vars/0": np.arange(4.0)})
    x = RANDOM.normal(size=(3, 5, 4)).astype(np.float32)
    model = unrolled.load_model(path, custom_objects={"Scale": Scale})
    np.testing.assert_allclose(model.predict(x), x * 3 * np.arange(4), rtol=1e-6)
    model = unrolled.load_model(path, custom_objects={"a": Scale(2.0)})
    np.testing.assert_allclose(model.predict(x), x * 2 * np.arange(4), rtol=1e-6)


def test_a_custom_activation_is_the_function_of_its_name(tmp_path: Any) -> None:
    function = {
        "class_name": "function",
        "module": "builtins",
        "config": "my_act",
        "registered_name": "my_act",
    }
    kernel, bias = RANDOM.normal(size=(4, 2)).astype(np.float32), np.ones(2, np.float32)
    config = [input_layer(4), layer("Dense", name="d", **DENSE | {"activation": function})]
    path = write_keras(
        tmp_path / "m.keras", config, {"layers/dense/vars/0": kernel, "layers/dense/vars/1": bias}
    )
    with pytest.raises(unrolled.UnsupportedModelError, match=r'custom_objects=\{"my_act"'):
        unrolled.load_model(path)
    x = RANDOM.normal(size=(3, 4)).astype(np.float32)
    model = unrolled.load_model(path, custom_objects={"my_act": lambda z: z**3})
    np.testing.assert_allclose(model.predict(x), (x @ kernel + bias) ** 3, rtol=1e-4)
    model = unrolled.load_model(path, custom_objects={"my_act": unrolled.activations.tanh})
    np.testing.assert_allclose(model.predict(x), np.tanh(x @ kernel + bias), rtol=1e-5)


def test_functions_run_inside_nested_models_and_time_distributed(tmp_path: Any) -> None:
    inner = layer("Lambda", name="l", trainable=True, function=None)
    nested = {
        "class_name": "Sequential",
        "module": "keras",
        "config": {"name": "n", "layers": [input_layer(4), layer("TimeDistributedless", None, name="c")]},
    }
    config = [
        input_layer(5, 4),
        layer("TimeDistributed", name="t", layer=inner),
        layer("LSTM", name="r", units=4),
    ]
    weights = [np.zeros((4, 16)), np.zeros((4, 16)), np.zeros(16)]
    groups = {f"layers/lstm/cell/vars/{i}": w for i, w in enumerate(weights)}
    path = write_keras(tmp_path / "m.keras", [*config, nested], groups)
    seen = []

    def square(x: Any) -> Any:
        seen.append(x.shape)
        return x**2

    model = unrolled.load_model(path, custom_objects={"l": square, "TimeDistributedless": np.cos})
    x = RANDOM.normal(size=(3, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(model.predict(x), np.ones((3, 4)))
    assert seen[-1] == (15, 4)
    with pytest.raises(unrolled.errors.StreamError, match="Python function"):
        model.stream()


def test_a_function_gets_the_mask_where_it_asks_for_it(tmp_path: Any) -> None:
    config = [
        input_layer(5, 4),
        layer("Masking", name="m", mask_value=0.0),
        layer("Pool", None, name="p"),
    ]
    path = write_keras(tmp_path / "m.keras", config, {})

    def pool(x: Any, mask: Any = None) -> Any:
        return (
            x.sum(axis=1) if mask is None else (x * mask[..., None]).sum(axis=1) / mask.sum(axis=1)[:, None]
        )

    x = RANDOM.normal(size=(3, 5, 4)).astype(np.float32)
    x[:, 3:] = 0
    model = unrolled.load_model(path, custom_objects={"Pool": pool})
    np.testing.assert_allclose(model.predict(x), x[:, :3].mean(axis=1), rtol=1e-5)


def test_several_functions_and_several_outputs_of_one(tmp_path: Any) -> None:
    def tensor(name: str, index: int = 0) -> dict[str, Any]:
        config = {"shape": [None, 4], "dtype": "float32", "keras_history": [name, 0, index]}
        return {"class_name": "__keras_tensor__", "config": config}

    def node(*args: Any) -> list[dict[str, Any]]:
        return [{"args": list(args), "kwargs": {}}]

    entries = [
        input_layer(4) | {"name": "x", "inbound_nodes": []},
        layer("Split", None, name="split") | {"name": "split", "inbound_nodes": node(tensor("x"))},
        layer("Add", name="add")
        | {"name": "add", "inbound_nodes": node([tensor("split"), tensor("split", 1)])},
        layer("Last", None, name="last")
        | {"name": "last", "inbound_nodes": node([tensor("add"), tensor("x")])},
    ]
    config = {
        "class_name": "Functional",
        "module": "keras.src.models.functional",
        "config": {"name": "f", "layers": entries, "input_layers": ["x", 0, 0],
                   "output_layers": [["last", 0, 0], ["split", 0, 1], ["add", 0, 0]]},
    }  # fmt: skip
    path = tmp_path / "m.keras"
    write_keras(path, [], {})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, json.dumps(config) if name == "config.json" else data)
    given = {"Split": lambda x: [x + 1, x * 2], "Last": lambda both: both[0] - both[1]}
    model = unrolled.load_model(path, custom_objects=given)
    x = RANDOM.normal(size=(3, 4)).astype(np.float32)
    last, twice, total = model.predict(x)
    np.testing.assert_allclose(total, 3 * x + 1, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last, 2 * x + 1, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(twice, 2 * x)


# -------------------------------------------------------------------- refusals


def test_what_cannot_be_done_is_said(tmp_path: Any) -> None:
    path = write_keras(tmp_path / "m.keras", [input_layer(4), layer("Mine", None, name="a")], {})
    with pytest.raises(unrolled.UnsupportedModelError, match=r'custom_objects=\{"Mine"'):
        unrolled.load_model(path)
    with pytest.raises(ValueError, match="nothing named 'Other'"):
        unrolled.load_model(path, custom_objects={"Other": np.cos, "Mine": np.cos})
    with pytest.raises(unrolled.ModelFileError, match="fails on zeros: ZeroDivisionError"):
        unrolled.load_model(path, custom_objects={"Mine": lambda x: 1 // 0})
    with pytest.raises(unrolled.UnsupportedModelError, match="expected a function"):
        unrolled.load_model(path, custom_objects={"Mine": 3})
    with pytest.raises(ValueError, match="dropout"):
        unrolled.load_model(path, dropout="on")  # type: ignore[arg-type]
    # A function in a recurrence would be called once for every timestep of every call.
    function = {"class_name": "function", "module": "builtins", "config": "act", "registered_name": "act"}
    config = [input_layer(5, 4), layer("LSTM", name="r", units=4, activation=function)]
    weights = {f"layers/lstm/cell/vars/{i}": np.zeros(s) for i, s in enumerate([(4, 16), (4, 16), (16,)])}
    path = write_keras(tmp_path / "m.keras", config, weights)
    model = unrolled.load_model(path, custom_objects={"act": np.tanh})
    with pytest.raises(ValueError, match="inside a recurrence"):
        model.predict(np.zeros((1, 5, 4)))


def test_what_a_function_gives_is_checked(tmp_path: Any) -> None:
    path = write_keras(tmp_path / "m.keras", [input_layer(4), layer("Mine", None, name="a")], {})
    model = unrolled.load_model(path, custom_objects={"Mine": lambda x: x if not x.any() else x[:, :2]})
    with pytest.raises(ValueError, match=r"layer 'a': the function given for it gave .*shape \(3, 2\)"):
        model.predict(np.ones((3, 4)))


@pytest.mark.parametrize("class_name", ["Dropout", "LSTM"])
def test_dropout_that_a_graph_calls_in_training_is_off_only_on_demand(tmp_path: Any, class_name: str) -> None:
    x = {"class_name": "__keras_tensor__", "config": {"shape": [None, 5, 4], "keras_history": ["x", 0, 0]}}
    options = {"rate": 0.5} if class_name == "Dropout" else {"units": 4, "dropout": 0.5}
    entries = [
        input_layer(5, 4) | {"name": "x", "inbound_nodes": []},
        layer(class_name, name="d", **options)
        | {"name": "d", "inbound_nodes": [{"args": [x], "kwargs": {"training": True}}]},
    ]
    config = {
        "class_name": "Functional",
        "module": "keras",
        "config": {"name": "f", "layers": entries, "input_layers": ["x", 0, 0], "output_layers": ["d", 0, 0]},
    }
    (tmp_path / "m.json").write_text(json.dumps(config))
    with pytest.raises(unrolled.UnsupportedModelError, match=r'training: found True; .*dropout="off"'):
        unrolled.load_model(tmp_path / "m.json")
    model = build_from_file(read_model(tmp_path / "m.json"), dropout_off=True)
    assert model.predict(np.ones((2, 5, 4))).shape[0] == 2
