# SPDX-License-Identifier: MIT
"""Both weight layouts fill a tree of layers, wholly or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from unrolled.errors import ModelFileError
from unrolled.formats import read_model, read_weights

from . import fake
from .fake import Layer, Variable, dense, lstm, random_array


def arrays_for(layer: Layer, seed: int = 0) -> list[Any]:
    return [random_array(variable.shape, seed + number) for number, variable in enumerate(layer.variables())]


def assert_filled(model: Layer, *expected: list[Any]) -> None:
    for value, wanted in zip(model.values(), [array for arrays in expected for array in arrays], strict=True):
        np.testing.assert_array_equal(value, wanted)


def test_keras_archive_fills_the_model(tmp_path: Path) -> None:
    model = fake.small_model()
    read_model(fake.write_keras(tmp_path / "m.keras")).weights.load_into(model)
    arrays = fake.small_arrays()
    assert_filled(model, arrays["layers/lstm/cell"], arrays["layers/dense"])


def test_unzipped_folder_fills_the_model(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(fake.write_keras(tmp_path / "m.keras")) as archive:
        archive.extractall(tmp_path / "folder")
    model = fake.small_model()
    file = read_model(tmp_path / "folder")
    file.weights.load_into(model)
    assert file.format == ".keras folder"
    assert all(value is not None for value in model.values())


def test_whole_h5_and_weights_for_an_existing_model_agree(tmp_path: Path) -> None:
    first, second = fake.small_model(), fake.small_model()
    path = fake.write_h5(tmp_path / "m.h5")
    read_model(path).weights.load_into(first)
    read_weights(path).load_into(second)
    assert_filled(second, first.values())


def test_counters_count_per_class_and_container(tmp_path: Path) -> None:
    inner = fake.functional("inner", Layer("InputLayer", "i"), dense("a", 2, 2))
    model = fake.functional(
        "m", Layer("InputLayer", "x"), dense("p", 4, 3), inner, dense("q", 2, 2), lstm("r", 2, 2)
    )
    parts = {
        "layers/dense": arrays_for(model.tracked["layers"][1], 1),
        "layers/functional/layers/dense": arrays_for(inner, 2),
        "layers/dense_1": arrays_for(model.tracked["layers"][3], 3),
        "layers/lstm/cell": arrays_for(model.tracked["layers"][4], 4),
    }
    read_weights(fake.write_tree(tmp_path / "w.weights.h5", parts)).load_into(model)
    assert_filled(model, *parts.values())


def test_tf_keras_2_12_counts_layers_with_weights_twice(tmp_path: Path) -> None:
    model = fake.functional("m", dense("a", 2, 2), Layer("Dropout", "d"), dense("b", 2, 2), lstm("c", 2, 2))
    root = "_layer_checkpoint_dependencies"
    parts = {
        f"{root}/dense": arrays_for(dense("a", 2, 2), 1),
        f"{root}/dense_2": arrays_for(dense("b", 2, 2), 2),
        f"{root}/lstm/cell": arrays_for(lstm("c", 2, 2), 3),
    }
    read_weights(fake.write_tree(tmp_path / "w.h5", parts)).load_into(model)
    assert_filled(model, *parts.values())


def test_windows_backslashes_in_group_names_are_separators(tmp_path: Path) -> None:
    model = fake.sequential("m", lstm("a", 2, 3), dense("b", 3, 1))
    parts = {"layers\\lstm\\cell": arrays_for(lstm("a", 2, 3)), "layers\\dense": arrays_for(dense("b", 3, 1))}
    read_weights(fake.write_tree(tmp_path / "w.h5", parts)).load_into(model)
    assert_filled(model, *parts.values())


def test_more_than_nine_arrays_of_one_layer_are_ordered_as_numbers(tmp_path: Path) -> None:
    layer = Layer("Custom", "c", *[Variable(f"v{number}", (1,)) for number in range(12)])
    parts = {"layers/custom": [np.full(1, number, np.float32) for number in range(12)]}
    read_weights(fake.write_tree(tmp_path / "w.h5", parts)).load_into(fake.sequential("m", layer))
    assert [float(value[0]) for value in layer.values()] == list(range(12))


def test_attributes_with_an_underscore_are_the_same_attribute(tmp_path: Path) -> None:
    attention = Layer(
        "MultiHeadAttention", "m", query_dense=dense("query", 2, 2), key_dense=dense("key", 2, 2)
    )
    parts = {
        "layers/multi_head_attention/_query_dense": arrays_for(dense("q", 2, 2), 1),
        "layers/multi_head_attention/_key_dense": arrays_for(dense("k", 2, 2), 5),
    }
    read_weights(fake.write_tree(tmp_path / "w.h5", parts)).load_into(fake.sequential("s", attention))
    assert_filled(attention, *parts.values())


def test_a_shared_layer_is_stored_once_and_counted_or_not_as_its_version_does(tmp_path: Path) -> None:
    def model() -> tuple[Layer, Layer, Layer]:
        shared, own = dense("shared", 2, 2), dense("own", 2, 2)
        inner = fake.functional("inner", shared)
        return fake.functional("m", inner, shared, own), shared, own

    for name, number in (("dense_1", "counted"), ("dense", "skipped")):
        outer, shared, own = model()
        parts = {
            "layers/functional/layers/dense": arrays_for(shared, 1),
            f"layers/{name}": arrays_for(own, 2),
        }
        read_weights(fake.write_tree(tmp_path / f"{number}.h5", parts)).load_into(outer)
        for layer, arrays in zip((shared, own), parts.values(), strict=True):
            assert_filled(layer, arrays)


def test_layers_that_were_one_object_are_filled_from_the_group_stored_once(tmp_path: Path) -> None:
    twins = [dense("shared", 2, 2), dense("shared", 2, 2)]
    wrappers = [Layer("TimeDistributed", f"t{number}", layer=twin) for number, twin in enumerate(twins)]
    parts = {"layers/time_distributed/layer": arrays_for(twins[0])}
    read_weights(fake.write_tree(tmp_path / "w.h5", parts)).load_into(fake.sequential("m", *wrappers))
    for twin in twins:
        assert_filled(twin, *parts.values())


def test_a_layer_shared_between_nested_and_outer_model_is_filled_in_both(tmp_path: Path) -> None:
    for other in ("dense", "dense_1"):  # counted or not where it is not written again
        twins = [dense("shared", 2, 2), dense("shared", 2, 2)]
        own = dense("own", 2, 3)
        inner = fake.functional("inner", twins[1], own)
        parts = {
            "layers/dense": arrays_for(twins[0], 1),
            f"layers/functional/layers/{other}": arrays_for(own, 2),
        }
        path = fake.write_tree(tmp_path / f"{other}.h5", parts)
        read_weights(path).load_into(fake.functional("m", twins[0], inner))
        for twin in twins:
            assert_filled(twin, parts["layers/dense"])
        assert_filled(own, arrays_for(own, 2))


def test_shards_are_merged_by_group(tmp_path: Path) -> None:
    parts = fake.small_arrays()
    lstm_arrays, dense_arrays = parts["layers/lstm/cell"], parts["layers/dense"]
    for number, content in enumerate([{0: lstm_arrays[0]}, {1: lstm_arrays[1], 2: lstm_arrays[2]}]):
        with h5py.File(tmp_path / f"w_0000{number}.weights.h5", "w") as file:
            for key, value in content.items():
                file[f"layers/lstm/cell/vars/{key}"] = value
            if number:
                for key, value in enumerate(dense_arrays):
                    file[f"layers/dense/vars/{key}"] = value
    names = [f"w_0000{number}.weights.h5" for number in range(2)]
    index = {"weight_map": {"/layers/lstm/cell/vars": names, "/layers/dense/vars": names[1]}}
    (tmp_path / "w.weights.json").write_text(json.dumps(index))
    model = fake.small_model()
    read_weights(tmp_path / "w.weights.json").load_into(model)
    assert_filled(model, lstm_arrays, dense_arrays)


def test_nested_model_lists_trainable_weights_first(tmp_path: Path) -> None:
    frozen = Layer("Embedding", "e", Variable("embeddings", (5, 2)), trainable=False)
    inner = fake.sequential(
        "inner", frozen, lstm("l", 2, 2), fake.batch_normalization("b", 2), lstm("f", 2, 2)
    )
    inner.tracked["layers"][3].trainable = False
    order = ["l/kernel", "l/recurrent_kernel", "l/bias", "b/gamma", "b/beta", "e/embeddings", "b/moving_mean",
             "b/moving_variance", "f/kernel", "f/recurrent_kernel", "f/bias"]  # fmt: skip
    by_name = {}
    for layer in inner.tracked["layers"]:
        for seed, variable in enumerate(layer.variables()):
            by_name[f"{layer.name}/{variable.name}"] = random_array(variable.shape, seed + 7 * len(by_name))
    stored = [(f"{name}:0", by_name[name]) for name in order]
    anonymous = [(f"weight_{number}", array) for number, (_, array) in enumerate(stored)]
    for number, weights in enumerate((stored, anonymous)):
        path = fake.write_lists(tmp_path / f"{number}.h5", {"inner": weights})
        read_weights(path).load_into(fake.sequential("m", inner))
        for layer in inner.tracked["layers"]:
            for variable in layer.variables():
                np.testing.assert_array_equal(variable.value, by_name[f"{layer.name}/{variable.name}"])


def test_names_tell_layers_apart_where_the_order_is_not_that_of_the_flags(tmp_path: Path) -> None:
    first, second = dense("first", 2, 2), dense("second", 2, 2)
    inner = fake.sequential("inner", first, second)
    arrays = {layer.name: arrays_for(layer, seed) for seed, layer in ((1, first), (5, second))}
    stored = [
        (f"{name}/{variable}:0", arrays[name][number])
        for name in ("second", "first")
        for number, variable in enumerate(("kernel", "bias"))
    ]
    read_weights(fake.write_lists(tmp_path / "w.h5", {"inner": stored})).load_into(
        fake.sequential("m", inner)
    )
    assert_filled(first, arrays["first"])
    assert_filled(second, arrays["second"])


def test_names_in_chunks_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    layers = [dense(f"dense_{number}", 1, 1) for number in range(4)]
    with h5py.File(path, "w") as file:
        for start in (0, 2):
            file.attrs[f"layer_names{start // 2}"] = [
                layer.name.encode() for layer in layers[start : start + 2]
            ]
        file.attrs["keras_version"] = "2.4.0"
        for number, layer in enumerate(layers):
            group = file.create_group(layer.name)
            group.attrs["weight_names0"] = [b"kernel:0"]
            group.attrs["weight_names1"] = [b"bias:0"]
            group["kernel:0"], group["bias:0"] = np.full((1, 1), number, "f4"), np.full(1, -number, "f4")
    read_weights(path).load_into(fake.sequential("m", *layers))
    assert [float(layer.values()[0][0, 0]) for layer in layers] == [0, 1, 2, 3]


def keras_1_gates(kernels: list[Any], order: list[int]) -> list[tuple[str, Any]]:
    """Fused kernel, recurrent kernel and bias as Keras 1 stored them, gate by gate."""
    gates = [np.split(array, len(order), axis=-1) for array in kernels]
    return [
        (f"lstm_1_{letter}_{gate}", gates[kind][gate])
        for gate in order
        for kind, letter in enumerate(("W", "U", "b"))
    ]


@pytest.mark.parametrize(("class_name", "order"), [("LSTM", [0, 2, 1, 3]), ("GRU", [0, 1, 2])])
def test_keras_1_gates_are_fused(tmp_path: Path, class_name: str, order: list[int]) -> None:
    layer = fake.recurrent(class_name, "r", 3, 2, bias=(2 * len(order),))
    arrays = arrays_for(layer)
    path = fake.write_lists(
        tmp_path / "w.h5", {"r": keras_1_gates(arrays, order)}, version=None, backend=None
    )
    read_weights(path).load_into(fake.sequential("m", layer))
    assert_filled(layer, arrays)


def test_keras_1_bidirectional_halves_are_forward_and_backward(tmp_path: Path) -> None:
    halves = [lstm("forward_l", 3, 2), lstm("backward_l", 3, 2)]
    layer = Layer("Bidirectional", "b", forward_layer=halves[0], backward_layer=halves[1])
    arrays = [arrays_for(half, seed) for seed, half in enumerate(halves)]
    stored = [
        (f"{side}_{name}", array)
        for side, half in zip(("f", "b"), arrays, strict=True)
        for name, array in keras_1_gates(half, [0, 2, 1, 3])
    ]
    read_weights(fake.write_lists(tmp_path / "w.h5", {"b": stored}, version=None, backend=None)).load_into(
        fake.sequential("m", layer)
    )
    assert_filled(layer, *arrays)


@pytest.mark.parametrize(("names", "flipped"), [(("k:0", "b:0"), False), (("k", "b"), True)])
def test_keras_1_convolution_loses_an_axis_and_theano_flips_it(
    tmp_path: Path, names: tuple[str, str], flipped: bool
) -> None:
    layer = Layer("Conv1D", "c", Variable("kernel", (3, 2, 4)), Variable("bias", (4,)))
    kernel, bias = arrays_for(layer)
    stored = [(names[0], kernel[:, None]), (names[1], bias)]
    read_weights(fake.write_lists(tmp_path / "w.h5", {"c": stored}, version=None, backend=None)).load_into(
        fake.sequential("m", layer)
    )
    assert_filled(layer, [kernel[::-1] if flipped else kernel, bias])


def test_cudnn_lstm_biases_are_added(tmp_path: Path) -> None:
    layer = lstm("l", 4, 4)
    kernel, recurrent, bias = arrays_for(layer)
    blocks = [block.reshape(block.shape, order="A") for block in np.split(kernel, 4, axis=1)]
    stored_kernel = np.hstack([block.reshape(block.T.shape, order="F").T for block in blocks])
    stored_recurrent = np.hstack([block.T for block in np.split(recurrent, 4, axis=1)])
    stored = [("l/kernel:0", stored_kernel), ("l/recurrent_kernel:0", stored_recurrent),
              ("l/bias:0", np.concatenate([bias / 4, bias * 3 / 4]))]  # fmt: skip
    read_weights(fake.write_lists(tmp_path / "w.h5", {"l": stored})).load_into(fake.sequential("m", layer))
    np.testing.assert_allclose(layer.values()[2], bias, rtol=1e-6)
    np.testing.assert_array_equal(layer.values()[1], recurrent)


def test_bias_of_two_rows_decides_reset_after_where_the_config_does_not(tmp_path: Path) -> None:
    config = {
        "class_name": "Sequential",
        "config": [{"class_name": "GRU", "config": {"name": "g", "units": 2}}],
    }
    for rows, expected in (((6,), False), ((2, 6), True)):
        weights = [
            ("g/kernel:0", np.zeros((3, 6))),
            ("g/recurrent_kernel:0", np.zeros((2, 6))),
            ("g/bias:0", np.zeros(rows)),
        ]
        path = fake.write_lists(tmp_path / f"{len(rows)}.h5", {"g": weights}, version="2.1.2", config=config)
        assert read_model(path).spec.layers[0].config["reset_after"] is expected


def quantised(name: str, inputs: int, units: int) -> Layer:
    return Layer("Dense", name, Variable("bias", (units,)), Variable("kernel", (inputs, units), False),
                 Variable("kernel_scale", (units,), False))  # fmt: skip


def test_quantised_kernels_stay_integers_in_both_orders(tmp_path: Path) -> None:
    kernel, bias, scale = np.arange(6, dtype=np.int8).reshape(3, 2), np.ones(2, "f4"), np.full(2, 3, "f4")
    tree, listed = quantised("d", 3, 2), quantised("d", 3, 2)
    read_weights(fake.write_tree(tmp_path / "t.h5", {"layers/dense": [kernel, bias, scale]})).load_into(
        fake.sequential("m", tree)
    )
    stored = [("d/bias", bias), ("d/kernel", kernel), ("d/kernel_scale", scale)]
    read_weights(fake.write_lists(tmp_path / "l.h5", {"d": stored}, version="3.1.0")).load_into(
        fake.sequential("m", listed)
    )
    for layer in (tree, listed):
        assert_filled(layer, [bias, kernel, scale])
        assert layer.values()[1].dtype == np.int8


def test_bfloat16_float16_and_float64_become_float32(tmp_path: Path) -> None:
    layer = Layer("Custom", "c", *[Variable(name, (3,)) for name in "abc"])
    values = np.array([1.0, -2.5, 0.15625], "f4")
    bfloat16 = (values.view("u4") >> 16).astype("u2").view("V2")
    parts = {"layers/custom": [bfloat16, values.astype("f2"), values.astype(">f8")]}
    read_weights(fake.write_tree(tmp_path / "w.h5", parts)).load_into(fake.sequential("m", layer))
    assert_filled(layer, [values] * 3)
    assert {value.dtype for value in layer.values()} == {np.dtype("f4")}


def test_gzip_chunks_of_other_tools_are_read(tmp_path: Path) -> None:
    layer = dense("d", 50, 3)
    kernel, bias = arrays_for(layer)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("layers/dense/vars")
        group.create_dataset("0", data=kernel, compression="gzip", shuffle=True, chunks=(16, 2))
        group.create_dataset("1", data=bias, chunks=(2,))
    read_weights(tmp_path / "w.h5").load_into(fake.sequential("m", layer))
    assert_filled(layer, [kernel, bias])


def test_random_states_metrics_and_optimizer_are_not_weights(tmp_path: Path) -> None:
    parts = fake.small_arrays() | {
        "layers/dropout/seed_generator": [np.zeros(2, "u4")],
        "optimizer": [np.zeros(3)],
        "metrics/mean": [np.zeros(())],
    }
    model = fake.small_model()
    model.tracked["layers"].append(Layer("Dropout", "dropout"))
    read_weights(fake.write_tree(tmp_path / "w.h5", parts)).load_into(model)


# ------------------------------------------------------------ nothing half-done


def refused(path: Path, model: Layer, *words: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        read_weights(path).load_into(model)
    for word in words:
        assert word in str(caught.value)
    assert all(value is None for value in model.values())


def test_a_wrong_shape_is_refused_and_nothing_is_assigned(tmp_path: Path) -> None:
    parts = fake.small_arrays()
    parts["layers/dense"][1] = np.zeros(7, "f4")
    path = fake.write_tree(tmp_path / "w.h5", parts)
    refused(path, fake.small_model(), "'dense'", "bias", "(2,)", "(7,)", "/layers/dense/vars")


def test_a_missing_group_is_refused_and_nothing_is_assigned(tmp_path: Path) -> None:
    parts = fake.small_arrays()
    del parts["layers/dense"]
    refused(fake.write_tree(tmp_path / "w.h5", parts), fake.small_model(), "'dense'", "layers/dense")


def test_weights_left_over_are_refused_and_nothing_is_assigned(tmp_path: Path) -> None:
    parts = fake.small_arrays() | {"layers/dense_1": [np.zeros((2, 2), "f4")]}
    refused(
        fake.write_tree(tmp_path / "w.h5", parts), fake.small_model(), "layers/dense_1", "belong to no layer"
    )


def test_a_list_with_other_layers_is_refused_and_nothing_is_assigned(tmp_path: Path) -> None:
    path = fake.write_lists(tmp_path / "w.h5", {"other": [("other/kernel:0", np.zeros((4, 12)))]})
    refused(path, fake.small_model(), "1 layers", "2 layers", "lstm", "other")


def test_a_name_that_contradicts_the_config_is_refused(tmp_path: Path) -> None:
    inner = fake.write_tree(tmp_path / "w.h5", fake.small_arrays(), names={"layers/dense": "somebody_else"})
    path = fake.write_keras(tmp_path / "m.keras", weights=inner.read_bytes())
    with pytest.raises(ModelFileError, match="somebody_else"):
        read_model(path).weights.load_into(fake.small_model())
