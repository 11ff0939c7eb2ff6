# SPDX-License-Identifier: MIT
"""The twenty rules of Keras's files and masks that a reader gets wrong most easily, each by a file or a call.

Expected numbers are worked out by hand: a SimpleRNN of one linear unit with weights of 1 adds up what it
reads, GlobalAveragePooling1D over a mask tells how many steps the mask keeps.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from tests.formats import fake
from unrolled import layers

h5py = pytest.importorskip("h5py")

KERAS_1, KERAS_2, TF_KERAS = "1.2.2", "2.2.4", "2.15.0"
ADDING_RNN = {"units": 1, "activation": "linear", "use_bias": False}
ONE = np.ones((1, 1), np.float32)


def column(*values: float) -> Any:
    """One row of steps of one feature."""
    return np.array(values, np.float32).reshape(1, -1, 1)


# ------------------------------------------------------------------ small files


def reference(name: str, node: int = 0, index: int = 0) -> Any:
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None, None, 1], "dtype": "float32", "keras_history": [name, node, index]},
    }


def call(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """A call as Keras 3 writes it; strings name layers."""

    def tensor(value: Any) -> Any:
        if isinstance(value, list):
            return [tensor(item) for item in value]
        return reference(value) if isinstance(value, str) else value

    return {
        "args": [tensor(value) for value in args],
        "kwargs": {key: tensor(value) for key, value in kwargs.items()},
    }


def layer(class_name: str, name: str, *calls: Any, module: str = "keras.layers", **config: Any) -> Any:
    return fake.keras_3_layer(class_name, name=name, **config) | {
        "module": module,
        "name": name,
        "inbound_nodes": list(calls),
    }


def graph(entries: list[Any], inputs: Any, outputs: Any, name: str = "model") -> dict[str, Any]:
    """A functional model; of any version, as both write the same keys."""
    config = {"name": name, "layers": entries, "input_layers": inputs, "output_layers": outputs}
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": config,
        "registered_name": "Functional",
    }


def chain(*entries: Any) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "chain", "layers": list(entries)}}


def old_layer(class_name: str, name: str, *calls: Any, **config: Any) -> dict[str, Any]:
    """A layer as Keras 2 writes it."""
    return {
        "class_name": class_name,
        "name": name,
        "config": {"name": name, **config},
        "inbound_nodes": list(calls),
    }


def load_keras(path: Path, config: Any, weights: Any = None, version: str = "3.15.1") -> Any:
    """The model of a `.keras` file; ``weights`` by group."""
    weights = weights or {"layers/input_layer": []}
    inner = fake.write_tree(path.with_suffix(".inner.h5"), weights).read_bytes()
    return unrolled.load_model(fake.write_keras(path, config, weights=inner, version=version))


def load_h5(path: Path, config: Any, weights: Any, version: str | None) -> Any:
    """The model of an `.h5` file; ``weights`` by layer, of names and arrays."""
    return unrolled.load_model(fake.write_lists(path, weights, version=version, config=config))


def load_graph(path: Path, version: str, entries: list[tuple[Any, ...]], inputs: Any, output: str) -> Any:
    """A graph of layers without weights, written by ``version``: (class, name, list of inputs, config)."""
    if version.startswith("3"):
        new = [
            layer(c, n, *([call(x if len(x) > 1 else x[0])] if x else []), **options)
            for c, n, x, options in entries
        ]
        return load_keras(
            path, graph(new, [[name, 0, 0] for name in inputs], [output, 0, 0]), version=version
        )
    old = [
        old_layer(
            c, n, *([[[name, 0, 0, {}] for name in x]] if x else []),
            **{"batch_input_shape" if key == "batch_shape" else key: value for key, value in options.items()},
        )
        for c, n, x, options in entries
    ]  # fmt: skip
    config = graph(old, [[name, 0, 0] for name in inputs], [[output, 0, 0]])
    return load_h5(path, config, {name: [] for _, name, _, _ in entries}, version)


# ------------------------------------------------------------------------ rules


def test_rule_01_hard_sigmoid_depends_on_the_writer(tmp_path: Path) -> None:
    for version, expected in ((KERAS_2, 0.7), (TF_KERAS, 0.7), ("3.15.1", 1 / 6 + 0.5)):
        first = {"batch_input_shape": [None, 1]} if version[0] == "2" else {"batch_shape": [None, 1]}
        config = chain(
            fake.keras_3_layer("InputLayer", name="x", **first),
            fake.keras_3_layer("Activation", name="a", activation="hard_sigmoid"),
        )
        model = load_h5(tmp_path / "m.h5", config, {"a": []}, version)
        np.testing.assert_allclose(model.predict([[1.0]]), [[expected]], rtol=1e-6)


def test_rule_02_gru_without_reset_after_has_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, W, U = (rng.normal(size=shape).astype(np.float32) for shape in ((1, 2, 1), (1, 3), (1, 3)))
    bias = rng.normal(size=(2, 3)).astype(np.float32)

    def sigmoid(z: Any) -> Any:
        return 1 / (1 + np.exp(-z))

    def gru(b: Any, after: bool) -> float:
        h = 0.0
        for t in range(2):
            a = x[0, t, 0] * W[0] + (b[0] if after else b)
            s = h * U[0] + (b[1] if after else 0)
            z, r = sigmoid(a[0] + s[0]), sigmoid(a[1] + s[1])
            h = z * h + (1 - z) * np.tanh(a[2] + (r * s[2] if after else r * h * U[0, 2]))
        return h

    config = chain(
        fake.keras_3_layer("GRU", name="g", units=1, batch_input_shape=[None, 2, 1], activation="tanh",
                           recurrent_activation="sigmoid")
    )  # fmt: skip
    for b, after in ((bias[0], False), (bias, True)):
        weights = {"g": [("g/kernel:0", W), ("g/recurrent_kernel:0", U), ("g/bias:0", b)]}
        model = load_h5(tmp_path / "m.h5", config, weights, "2.1.2")
        np.testing.assert_allclose(model.predict(x), [[gru(b, after)]], rtol=1e-5)


def test_rule_03_backslashes_of_windows_are_separators(tmp_path: Path) -> None:
    arrays = {key.replace("/", "\\"): value for key, value in fake.small_arrays().items()}
    model = load_keras(tmp_path / "m.keras", fake.small_config(), arrays, version="2.14.0")
    for got, wanted in zip(
        model.get_weights(), [a for group in fake.small_arrays().values() for a in group], strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


def test_rule_04_tf_keras_2_12_counts_layers_with_weights_twice(tmp_path: Path) -> None:
    config = chain(
        fake.keras_3_layer("InputLayer", name="x", batch_input_shape=[None, 1]),
        fake.keras_3_layer("Dense", name="a", units=1, use_bias=False),
        fake.keras_3_layer("Dense", name="b", units=1, use_bias=False),
    )
    root = "_layer_checkpoint_dependencies"
    weights = {f"{root}/dense": [2 * ONE], f"{root}/dense_2": [5 * ONE]}
    model = load_keras(tmp_path / "m.keras", config, weights, version="2.12.0")
    assert [float(w[0, 0]) for w in model.get_weights()] == [2, 5]


def test_rule_05_groups_are_named_by_class_and_operations_are_not_counted(tmp_path: Path) -> None:
    entries = [
        layer("InputLayer", "x", batch_shape=[None, 1]),
        layer("Dense", "dense_9", call("x"), units=1, use_bias=False),
        layer("Add", "plus", call("dense_9", 1.0), module="keras.src.ops.numpy"),
        layer("Dense", "dense", call("plus"), units=1, use_bias=False),
    ]
    weights = {"layers/input_layer": [], "layers/dense": [2 * ONE], "layers/dense_1": [5 * ONE]}
    model = load_keras(tmp_path / "m.keras", graph(entries, ["x", 0, 0], ["dense", 0, 0]), weights)
    assert model.predict([[3.0]]) == 5 * (2 * 3 + 1)
    assert [entry.name for entry in model.layers] == ["x", "dense_9", "dense"]


def test_rule_06_the_input_layer_has_a_group_in_functional_models_only(tmp_path: Path) -> None:
    functional = graph(
        [
            layer("InputLayer", "x", batch_shape=[None, 1]),
            layer("Dense", "d", call("x"), units=1, use_bias=False),
        ],
        ["x", 0, 0],
        ["d", 0, 0],
    )
    sequential = chain(
        fake.keras_3_layer("InputLayer", name="x", batch_shape=[None, 1]),
        fake.keras_3_layer("Dense", name="d", units=1, use_bias=False),
    )
    groups = {"layers/dense": [2 * ONE]}
    for config, weights, count in (
        (functional, {"layers/input_layer": []} | groups, 2),
        (sequential, groups, 1),
    ):
        model = load_keras(tmp_path / "m.keras", config, weights)
        assert model.predict([[3.0]]) == 6
        assert len(model.layers) == count


def merged_steps(path: Path, version: str, merge: str, masked: tuple[bool, bool]) -> Any:
    """How many of the steps (0, 0), (0, 1), (1, 0), (1, 1) the mask of a merged pair keeps."""
    entries = [("InputLayer", name, [], {"batch_shape": [None, 4, 1]}) for name in "ab"]
    names = list("ab")
    for i in range(2):
        if masked[i]:
            entries.append(("Masking", f"masked_{names[i]}", [names[i]], {"mask_value": 0.0}))
            names[i] = f"masked_{names[i]}"
    entries.append((merge, "merged", names, {}))
    # A mask is told by the mean of the steps that it keeps; these give every sum of steps another one.
    entries.append(("GlobalAveragePooling1D", "mean", ["merged"], {}))
    model = load_graph(path, version, entries, "ab", "mean")
    a, b = column(0, 0, 16, 16), column(0, 4, 0, 4)
    return model.predict([a, b], verbose=0)[0].tolist()


def test_rule_07_masks_of_merge_layers_changed_in_keras_3_4(tmp_path: Path) -> None:
    # a + b is 0, 4, 16, 20.
    both, one = {}, {}
    for version in (KERAS_2, TF_KERAS, "3.3.3", "3.4.0", "3.15.1"):
        both[version] = merged_steps(tmp_path / f"{version}.file.keras" if version[0] == "3" else tmp_path / "m.h5",
                                     version, "Add", (True, True))  # fmt: skip
        one[version] = merged_steps(tmp_path / "n.keras" if version[0] == "3" else tmp_path / "n.h5",
                                    version, "Add", (True, False))  # fmt: skip
    every, only_both, any_of_both, only_a = [40 / 4], [20.0], [40 / 3], [36 / 2]
    # 3.0 to 3.3 give no mask at all: their layers do not see the masks of a list (measured with 3.3.3).
    assert [pytest.approx(both[v]) for v in both] == [only_both, only_both, every, any_of_both, any_of_both]
    assert [pytest.approx(one[v]) for v in one] == [only_a, only_a, every, every, every]


def test_rule_07_concatenate_of_masked_and_unmasked_keeps_the_mask_in_keras_2(tmp_path: Path) -> None:
    for version, expected in ((TF_KERAS, [16.0, 2.0]), ("3.15.1", [8.0, 2.0])):
        path = tmp_path / ("m.keras" if version[0] == "3" else "m.h5")
        assert merged_steps(path, version, "Concatenate", (True, False)) == pytest.approx(expected)


def test_rule_08_time_distributed_embedding_masks_in_keras_2_only(tmp_path: Path) -> None:
    table = np.array([[9], [1], [3]], np.float32)
    ids = np.array([[[1, 0], [2, 2]]])
    embedding = {"name": "e", "input_dim": 3, "output_dim": 1, "mask_zero": True}
    masked, unmasked = [[1.0], [3.0]], [[5.0], [3.0]]
    for version, batch, expected in (
        (TF_KERAS, None, masked),
        (TF_KERAS, 1, masked),
        (KERAS_2, None, masked),
        (KERAS_2, 1, unmasked),  # with a fixed batch size it passes on the mask that came in: none
        ("3.15.1", None, unmasked),
    ):
        shape = {"batch_input_shape" if version[0] == "2" else "batch_shape": [batch, 2, 2]}
        config = chain(
            fake.keras_3_layer("InputLayer", name="x", dtype="int32", **shape),
            fake.keras_3_layer(
                "TimeDistributed", name="t", layer=fake.keras_3_layer("Embedding", **embedding)
            ),
            fake.keras_3_layer(
                "TimeDistributed", name="u", layer=fake.keras_3_layer("GlobalAveragePooling1D", name="p")
            ),
        )
        model = load_h5(tmp_path / "m.h5", config, {"t": [("t/embeddings:0", table)], "u": []}, version)
        np.testing.assert_allclose(model.predict(ids)[0], expected)


def test_rule_09_bidirectional_zeroes_masked_steps_in_tf_keras_and_keras_3(tmp_path: Path) -> None:
    x = column(1, 0, 3)
    for version, expected in (
        (KERAS_2, [[1, 4], [1, 3], [4, 3]]),  # the previous outputs are carried over the masked step
        (TF_KERAS, [[1, 4], [0, 0], [4, 3]]),
        ("3.15.1", [[1, 4], [0, 0], [4, 3]]),
    ):
        shape = {"batch_input_shape" if version[0] == "2" else "batch_shape": [None, 3, 1]}
        rnn = fake.keras_3_layer("SimpleRNN", name="r", return_sequences=True, **ADDING_RNN)
        config = chain(
            fake.keras_3_layer("InputLayer", name="x", **shape),
            fake.keras_3_layer("Masking", name="m", mask_value=0.0),
            fake.keras_3_layer("Bidirectional", name="b", layer=rnn, merge_mode="concat"),
        )
        weights = [
            (f"b/{direction}/{kind}:0", ONE)
            for direction in ("forward_r", "backward_r")
            for kind in ("kernel", "recurrent_kernel")
        ]
        model = load_h5(tmp_path / "m.h5", config, {"m": [], "b": weights}, version)
        np.testing.assert_allclose(model.predict(x)[0], expected)


def adding(**options: Any) -> Any:
    rnn = layers.SimpleRNN(1, activation="linear", use_bias=False, **options)
    rnn.build((None, None, 1))
    rnn.set_weights([ONE, ONE])
    return rnn


def test_rule_10_masked_steps_before_the_first_valid_one_give_zeros() -> None:
    rnn = adding(return_sequences=True, return_state=True)
    mask, state = np.array([[False, True, False]]), np.array([[10.0]], np.float32)
    output, final = rnn(column(1, 2, 3), mask=mask, initial_state=state)
    np.testing.assert_array_equal(output[0, :, 0], [0, 12, 12])
    np.testing.assert_array_equal(final, [[12]])
    output, final = rnn(column(1, 2, 3), mask=np.zeros((1, 3), bool), initial_state=state)
    np.testing.assert_array_equal(output[0, :, 0], [0, 0, 0])
    np.testing.assert_array_equal(final, state)


def test_rule_11_an_unrolled_backward_loop_zeroes_by_the_mask_as_it_was() -> None:
    mask = np.array([[True, True, False]])
    options = {"go_backwards": True, "zero_output_for_mask": True, "return_sequences": True}
    rolled = adding(**options)(column(1, 2, 3), mask=mask)
    unrolled_loop = adding(unroll=True, **options)(column(1, 2, 3), mask=mask)
    np.testing.assert_array_equal(rolled[0, :, 0], [0, 2, 3])
    # The outputs, last step first, are 0 (masked), 2, 3; the mask is that of the steps as they came.
    np.testing.assert_array_equal(unrolled_loop[0, :, 0], [0, 2, 0])


@pytest.mark.parametrize("version", ["3.0.0", "3.15.1", "3.16.0"])
def test_rule_12_recurrent_layers_and_wrappers_pass_the_mask_on(tmp_path: Path, version: str) -> None:
    rnn = {"return_sequences": True, "name": "r", **ADDING_RNN}
    for number, (entry, group) in enumerate(
        (
            (fake.keras_3_layer("SimpleRNN", **rnn), "layers/simple_rnn/cell"),
            (
                fake.keras_3_layer(
                    "Bidirectional", name="b", layer=fake.keras_3_layer("SimpleRNN", **rnn), merge_mode="sum"
                ),
                "layers/bidirectional/{}_layer/cell",
            ),
            (
                fake.keras_3_layer(
                    "TimeDistributed", name="t", layer=fake.keras_3_layer("Activation", name="a", activation="linear")
                ),
                "",
            ),
        )
    ):  # fmt: skip
        config = chain(
            fake.keras_3_layer("InputLayer", name="x", batch_shape=[None, 3, 1]),
            fake.keras_3_layer("Masking", name="m", mask_value=0.0),
            entry,
            fake.keras_3_layer("GlobalAveragePooling1D", name="mean"),
        )
        directions = ("forward", "backward") if "{}" in group else ("",)
        weights = {group.format(way): [ONE, ONE] for way in directions} if group else {}
        model = load_keras(tmp_path / f"{number}.keras", config, weights, version)
        # With the mask: over the two steps that are not 0, whose outputs are (1, 3), (1 + 3, 2 + 3), (1, 2).
        expected = [(1 + 3) / 2, (1 + 3 + 3 + 2) / 2, (1 + 2) / 2][number]
        np.testing.assert_allclose(model.predict(column(1, 2, 0)), [[expected]])


def test_rule_13_calls_of_nested_models_are_counted_by_version(tmp_path: Path) -> None:
    inner_entries = [
        layer("InputLayer", "i", batch_shape=[None, 1]),
        layer("Rescaling", "r", call("i"), scale=2.0, offset=0.0),
    ]
    inner = graph(inner_entries, ["i", 0, 0], ["r", 0, 0], name="n")
    nested = inner | {"name": "n", "inbound_nodes": [call("x"), call("f")]}
    entries = [
        layer("InputLayer", "x", batch_shape=[None, 1]),
        nested,
        layer("Rescaling", "f", call("n"), scale=10.0, offset=0.0),
    ]
    # In Keras 3 the model's outputs count a nested Functional's calls from 1, its layers from 0.
    model = load_keras(tmp_path / "m.keras", graph(entries, ["x", 0, 0], [["n", 1, 0], ["n", 2, 0]]))
    assert [float(y[0, 0]) for y in model.predict([[1.0]], verbose=0)] == [2, 40]

    old_inner = graph(
        [
            old_layer("InputLayer", "i", batch_input_shape=[None, 1]),
            old_layer("Rescaling", "r", [["i", 0, 0, {}]], scale=2.0, offset=0.0),
        ],
        [["i", 0, 0]],
        [["r", 0, 0]],
        name="n",
    )
    # In Keras 2 a nested model's first outer call is its second everywhere.
    old = [
        old_layer("InputLayer", "x", batch_input_shape=[None, 1]),
        {"class_name": "Functional", "name": "n", "config": old_inner["config"],
         "inbound_nodes": [[["x", 0, 0, {}]], [["f", 0, 0, {}]]]},
        old_layer("Rescaling", "f", [["n", 1, 0, {}]], scale=10.0, offset=0.0),
    ]  # fmt: skip
    config = graph(old, [["x", 0, 0]], [["n", 1, 0], ["n", 2, 0]])
    model = load_h5(tmp_path / "m.h5", config, {"n": [], "f": []}, TF_KERAS)
    assert [float(y[0, 0]) for y in model.predict([[1.0]], verbose=0)] == [2, 40]


def test_rule_14_outputs_of_a_model_are_a_tree(tmp_path: Path) -> None:
    entries = [
        layer("InputLayer", "x", batch_shape=[None, 1]),
        layer("Rescaling", "a", call("x"), scale=2.0, offset=0.0),
        layer("Rescaling", "b", call("x"), scale=3.0, offset=0.0),
    ]
    a, b = ["a", 0, 0], ["b", 0, 0]
    for number, (tree, expected) in enumerate(
        ((a, 2.0), ([a], 2.0), ([a, b], [2.0, 3.0]), ({"z": a, "y": b}, {"z": 2.0, "y": 3.0}), ([[a], [b]], [[2.0], [3.0]]))
    ):  # fmt: skip
        model = load_keras(tmp_path / f"{number}.keras", graph(entries, [["x", 0, 0]], tree))
        got = unrolled.engine.tree.map_leaves(lambda y: float(y[0, 0]), model.predict([[1.0]], verbose=0))
        assert got == expected


def test_rule_15_masks_are_operations_of_the_graph_and_explicit_ones_win(tmp_path: Path) -> None:
    ids = np.array([[1, 2, 0]])
    table = np.array([[7], [1], [3]], np.float32)
    for mask, expected in (("not_2", 1 + 7), (None, 1 + 3)):
        entries = [
            layer("InputLayer", "x", batch_shape=[None, 3], dtype="int32"),
            layer("Embedding", "e", call("x"), input_dim=3, output_dim=1, mask_zero=True),
            layer("NotEqual", "not_2", call("x", 2), module="keras.src.ops.numpy"),
            layer("SimpleRNN", "r", call("e", mask=mask, training=False), **ADDING_RNN),
        ]
        config = graph(entries, ["x", 0, 0], ["r", 0, 0])
        weights = {
            "e": [("e/embeddings", table)],
            "r": [("r/kernel", ONE), ("r/recurrent_kernel", ONE)],
        }
        model = load_h5(tmp_path / "m.h5", config, weights, "3.15.1")
        np.testing.assert_allclose(model.predict(ids), [[expected]])


def test_rule_16_dropout_that_stays_on_is_refused(tmp_path: Path) -> None:
    entries = [
        layer("InputLayer", "x", batch_shape=[None, 1]),
        layer("Dropout", "d", call("x", training=True), rate=0.5),
    ]
    with pytest.raises((ValueError, unrolled.UnsupportedModelError), match="training"):
        load_keras(tmp_path / "m.keras", graph(entries, ["x", 0, 0], ["d", 0, 0])).predict([[1.0]])


def test_rule_17_bfloat16_is_two_opaque_bytes(tmp_path: Path) -> None:
    value = np.array([[1.5]], np.float32)
    opaque = (value.view(np.uint32) >> 16).astype(np.uint16).view("V2")
    config = chain(
        fake.keras_3_layer("InputLayer", name="x", batch_shape=[None, 1]),
        fake.keras_3_layer("Dense", name="d", units=1, use_bias=False, dtype="bfloat16"),
    )
    without_attribute = load_h5(tmp_path / "m.h5", config, {"d": [("d/kernel", opaque)]}, "3.15.1")
    path = fake.write_tree(tmp_path / "w.h5", {"layers/dense": [opaque]})
    with h5py.File(path, "a") as file:
        file["layers/dense/vars/0"].attrs["dtype"] = "bfloat16"
    with_attribute = unrolled.load_model(
        fake.write_keras(tmp_path / "m.keras", config, weights=path.read_bytes())
    )
    for model in (without_attribute, with_attribute):
        assert model.get_weights()[0] == 1.5


def test_rule_18_names_may_be_empty_floats_bytes_or_text_with_or_without_zero(tmp_path: Path) -> None:
    config = chain(
        old_layer("Dense", "d", units=1, use_bias=False, batch_input_shape=[None, 1]),
        old_layer("Dropout", "o", rate=0.5),
    )
    for number, (names, stored) in enumerate(
        (([b"d/kernel:0"], "d/kernel:0"), (["d/kernel:0"], "d/kernel:0"), ([b"d_W"], "d_W"))
    ):
        path = fake.write_lists(
            tmp_path / f"{number}.h5", {"d": [(stored, 3 * ONE)], "o": []}, version=TF_KERAS, config=config
        )
        with h5py.File(path, "a") as file:
            file["model_weights/d"].attrs["weight_names"] = names
            file["model_weights/o"].attrs["weight_names"] = np.array([], np.float64)
        assert unrolled.load_model(path).predict([[2.0]]) == 6
    # Without a version it is Keras 1, whose Dense has an output_dim.
    keras_1 = {
        "class_name": "Sequential",
        "config": [
            {"class_name": "Dense", "config": {"name": "d", "output_dim": 1, "bias": False, "activation": "linear",
                                               "batch_input_shape": [None, 1]}}
        ],
    }  # fmt: skip
    path = fake.write_lists(tmp_path / "1.h5", {"d": [("d_W", 3 * ONE)]}, version=None, config=keras_1)
    assert unrolled.load_model(path).predict([[2.0]]) == 6


def test_rule_19_custom_losses_are_never_looked_for(tmp_path: Path) -> None:
    loss = {"module": "no_such_module", "class_name": "Loss", "config": {}, "registered_name": "mine>Loss"}
    config = fake.small_config() | {
        "compile_config": {"optimizer": "adam", "loss": loss, "metrics": ["mine"]}
    }
    assert load_keras(tmp_path / "m.keras", config, fake.small_arrays()).output_shape == (None, 2)
    path = fake.write_h5(tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        file.attrs["training_config"] = json.dumps({"loss": loss, "optimizer_config": {"class_name": "Mine"}})
    assert unrolled.load_model(path).output_shape == (None, 2)


def test_rule_20_only_stateful_layers_need_the_batch_size_of_the_file(tmp_path: Path) -> None:
    for stateful in (False, True):
        config = chain(
            fake.keras_3_layer("InputLayer", name="x", batch_shape=[8, 3, 1]),
            fake.keras_3_layer("SimpleRNN", name="r", stateful=stateful, **ADDING_RNN),
        )
        model = load_keras(
            tmp_path / f"{stateful}.keras", config, {"layers/simple_rnn/cell": [ONE, ONE]}, "3.15.1"
        )
        x = np.ones((5, 3, 1), np.float32)
        if stateful:
            with pytest.raises(ValueError, match="batch"):
                model(x)
            assert model(np.ones((8, 3, 1), np.float32)).tolist() == [[3.0]] * 8
        else:
            assert model.predict(x).tolist() == [[3.0]] * 5


def test_a_transposed_convolution_without_output_padding_in_its_config_has_the_length_that_keras_gives() -> (
    None
):
    # Keras before 3.15 does not write the option, and loads such a file itself as having none.
    x = np.zeros((2, 5, 2), np.float32)
    for padding, length in (("valid", 11), ("same", 10)):
        layer = layers.Conv1DTranspose(3, 3, strides=2, padding=padding)
        config = {key: value for key, value in layer.get_config().items() if key != "output_padding"}
        assert layers.Conv1DTranspose.from_config(config)(x).shape == (2, length, 3)
