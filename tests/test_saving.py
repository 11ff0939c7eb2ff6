# SPDX-License-Identifier: MIT
"""Any model written as a Keras 3 file: read again here, and by live Keras where it is installed."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import unrolled
from tests.fixtures import all_fixtures, fixture, unpacked
from tests.test_cli import keras_2, run
from tests.test_shared_models import FILES, is_refused
from tests.tolerances import assert_close
from unrolled import Input, Model, Sequential, layers
from unrolled.engine import tree
from unrolled.layers.registry import operation_classes

# Keras says that masks end at some layers.
pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning")
RANDOM = np.random.default_rng(0)
SHARED = [name for name, (_, _, npz) in FILES.items() if npz is not None and not is_refused(name)]
# What Keras 3 cannot express, by a part of the name, with a part of the reason.
REFUSED = {
    "time_major": "takes the batch first",
    "tf27_delft_ner": "mask",
    "k2_big": "'concatenate' \\(Concatenate\\)",
    "tf_keras-lstm_activation_hard_sigmoid": "hard_sigmoid",
    "tf_keras-time_distributed_embedding_with_mask_zero": "mask",
    "tf_keras-rescaling_and_the_mask": "mask",
    "tf_keras-normalization_and_the_mask": "mask",
}


def inputs_of(arrays: Any, model: Any) -> Any:
    x = [arrays[key] for key in sorted(arrays) if key == "x" or (key[0] == "x" and key[1:].isdigit())]
    if len(x) == 1:
        return x[0]
    keys = sorted(model.input) if isinstance(model.input, dict) else [t.name for t in model.inputs]
    return dict(zip(keys, x, strict=True))


def save(model: Any, path: Path, name: str) -> bool:
    """Whether the model was written; refused where it must be."""
    reason = next((reason for part, reason in REFUSED.items() if part in name), None)
    if reason is None:
        model.save(path)
        return True
    with pytest.raises(unrolled.UnsupportedModelError, match=reason):
        model.save(path)
    assert not path.exists()
    return False


def assert_same(got: Any, expected: Any, name: str) -> None:
    sixteen = "mixed" in name or "16" in name
    tolerance = "sixteen_bits" if sixteen else "shared_models"
    for ours, theirs in zip(tree.leaves(got), tree.leaves(expected), strict=True):
        assert_close(ours, theirs, tolerance, name)


@pytest.mark.parametrize("case", all_fixtures(), ids=str)
def test_every_fixture_is_written_and_read_again(case: Any, tmp_path: Path) -> None:
    model = unrolled.load_model(case.path, weights=case.weights_path)
    if not save(model, tmp_path / "new.keras", str(case)):
        return
    x = inputs_of(case.arrays(), model)
    again = unrolled.load_model(tmp_path / "new.keras")
    assert_same(again.predict(x, verbose=0), model.predict(x, verbose=0), str(case))
    assert again.count_params() == model.count_params()


@pytest.mark.parametrize("name", SHARED)
def test_every_real_file_is_written_and_read_again(name: str, tmp_path: Path) -> None:
    path, weights, reference = FILES[name]
    model = unrolled.load_model(path, weights=weights)
    if save(model, tmp_path / "new.keras", name):
        x = inputs_of(np.load(reference), model)
        again = unrolled.load_model(tmp_path / "new.keras")
        assert_same(again.predict(x, verbose=0), model.predict(x, verbose=0), name)


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras = pytest.importorskip("keras")
    # Other tests of this process may have let functions run eagerly, of which TensorFlow warns.
    pytest.importorskip("tensorflow").config.run_functions_eagerly(False)
    return keras


@pytest.mark.parametrize("name", SHARED)
def test_keras_3_gives_the_numbers_of_every_converted_real_file(
    name: str, keras: Any, tmp_path: Path
) -> None:
    path, weights, reference = FILES[name]
    model = unrolled.load_model(path, weights=weights)
    if not save(model, tmp_path / "new.keras", name):
        return
    x = inputs_of(np.load(reference), model)
    theirs = keras.models.load_model(tmp_path / "new.keras")
    rows = len(next(tree.leaves(x)))
    assert_same(model.predict(x, verbose=0), theirs.predict(x, verbose=0, batch_size=rows), name)
    keras.backend.clear_session()


def test_stacked_cells_inside_stacked_cells_keep_their_groups(tmp_path: Path) -> None:
    inner = layers.StackedRNNCells([layers.LSTMCell(3), layers.GRUCell(2)])
    model = Sequential([Input((4, 5)), layers.RNN([inner, layers.SimpleRNNCell(2)])])
    flat = Sequential(
        [Input((4, 5)), layers.RNN([layers.LSTMCell(3), layers.GRUCell(2), layers.SimpleRNNCell(2)])]
    )
    flat.set_weights(model.get_weights())
    x = RANDOM.normal(size=(3, 4, 5))
    np.testing.assert_array_equal(model.predict(x), flat.predict(x))
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        (tmp_path / "w.h5").write_bytes(archive.read("model.weights.h5"))
    with h5py.File(tmp_path / "w.h5") as file:
        assert "layers/rnn/cell/cells/stacked_rnn_cells/cells/lstm_cell/vars/0" in file
    np.testing.assert_array_equal(unrolled.load_model(tmp_path / "m.keras").predict(x), model.predict(x))


# ------------------------------------------------------- Keras 2's hard_sigmoid

GATED = [
    ("LSTM", {"units": 3, "recurrent_activation": "hard_sigmoid_v2"}),
    ("GRU", {"units": 3, "recurrent_activation": "hard_sigmoid_v2", "activation": "hard_sigmoid_v2"}),
    ("GRU", {"units": 3, "recurrent_activation": "hard_sigmoid_v2", "reset_after": False}),
    ("GRU", {"units": 3, "activation": "hard_sigmoid_v2", "reset_after": False}),
    ("SimpleRNN", {"units": 3, "activation": "hard_sigmoid_v2"}),
    ("ConvLSTM1D", {"filters": 2, "kernel_size": 2, "recurrent_activation": "hard_sigmoid_v2"}),
    ("Dense", {"units": 3, "activation": "hard_sigmoid_v2"}),
    ("Conv1D", {"filters": 3, "kernel_size": 2, "activation": "hard_sigmoid_v2"}),
    ("SeparableConv1D", {"filters": 3, "kernel_size": 2, "activation": "hard_sigmoid_v2"}),
    ("DepthwiseConv1D", {"kernel_size": 2, "activation": "hard_sigmoid_v2"}),
    ("Activation", {"activation": "hard_sigmoid_v2"}),
]


@pytest.mark.parametrize(("class_name", "config"), GATED, ids=str)
def test_the_old_hard_sigmoid_is_given_by_scaled_weights(
    class_name: str, config: Any, tmp_path: Path
) -> None:
    shape = (5, 4, 2) if class_name == "ConvLSTM1D" else (5, 4)
    model = Sequential([Input(shape), getattr(layers, class_name)(**config)])
    model.set_weights([RANDOM.normal(size=w.shape) for w in model.get_weights()])
    before = model.get_weights()
    notes = model.save(tmp_path / "new.keras")
    assert "hard_sigmoid" in notes[0]
    with zipfile.ZipFile(tmp_path / "new.keras") as archive:
        assert "hard_sigmoid_v2" not in archive.read("config.json").decode()
    again = unrolled.load_model(tmp_path / "new.keras")
    x = RANDOM.normal(size=(6, *shape)).astype(np.float32) * 2
    np.testing.assert_allclose(again.predict(x), model.predict(x), atol=2e-6)
    for array, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_what_no_weights_make_up_for_is_refused_or_approximated(tmp_path: Path) -> None:
    model = Sequential([Input((5, 4)), layers.LSTM(3, activation="hard_sigmoid_v2")])
    with pytest.raises(unrolled.UnsupportedModelError, match="no weights here could make up for it"):
        model.save(tmp_path / "new.keras")
    assert list(tmp_path.iterdir()) == []
    notes = model.save(tmp_path / "new.keras", approximate=True)
    assert "Keras 3 has clip" in notes[0]
    again = unrolled.load_model(tmp_path / "new.keras")
    assert again.layers[-1].cell.activation.name == "hard_sigmoid"


# ------------------------------------------------------------------- structure


def shared_and_nested() -> Any:
    x = Input((6, 3), name="x")
    lstm = layers.LSTM(4, return_sequences=True, return_state=True, name="shared")
    first, h, c = lstm(x)
    second, *_ = lstm(x, initial_state=[h, c])
    inner_x = Input((6, 4))
    inner = Model(inner_x, [layers.Dense(4)(inner_x), layers.GRU(2)(inner_x)], name="inner")
    a, b = inner(layers.Add()([first, second]))
    _, d = inner(first)
    chain = Sequential([layers.Dense(5, activation="relu"), layers.Dense(2)], name="chain")
    pooled = layers.GlobalMaxPooling1D()(a)
    return Model(x, {"b": chain(layers.Concatenate()([b, d, pooled])), "c": d}, name="outer")


def test_shared_layers_nested_models_and_dicts_stay_what_they_are(tmp_path: Path, keras_or_none: Any) -> None:
    model = shared_and_nested()
    model.save(tmp_path / "new.keras")
    x = RANDOM.normal(size=(4, 6, 3)).astype(np.float32)
    expected = model.predict(x)
    again = unrolled.load_model(tmp_path / "new.keras")
    assert_same(again.predict(x), expected, "again")
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert again.get_layer("inner").count_params() == model.get_layer("inner").count_params()
    if keras_or_none is not None:
        theirs = keras_or_none.models.load_model(tmp_path / "new.keras")
        assert_same(theirs(x), expected, "Keras")
        assert theirs.count_params() == model.count_params()


@pytest.fixture(scope="module")
def keras_or_none() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
    except ImportError:
        return None
    return keras


def test_groups_are_named_as_keras_3_names_them(tmp_path: Path) -> None:
    shared_and_nested().save(tmp_path / "new.keras")
    found = []
    with zipfile.ZipFile(tmp_path / "new.keras") as archive:
        assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        assert json.loads(archive.read("metadata.json"))["keras_version"].startswith("3.")
        with archive.open("model.weights.h5") as member, h5py.File(member) as file:
            file.visititems(
                lambda name, value: found.append(name) if isinstance(value, h5py.Dataset) else None
            )
            assert file["layers/lstm/cell/vars"].attrs["name"].decode() == "lstm_cell"
    assert sorted(found) == sorted(
        [f"layers/lstm/cell/vars/{i}" for i in range(3)]
        + [f"layers/functional/layers/gru/cell/vars/{i}" for i in range(3)]
        + [f"layers/functional/layers/dense/vars/{i}" for i in range(2)]
        + [f"layers/sequential/layers/{dense}/vars/{i}" for dense in ("dense", "dense_1") for i in range(2)]
    )


def test_a_file_is_replaced_in_one_step_or_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new.keras"
    path.write_text("kept")
    model = Sequential([Input((4,)), layers.Dense(2)])

    def fail(*args: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "writestr", fail)
        with pytest.raises(OSError, match="no space"):
            model.save(path)
    assert path.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [path]
    model.save(path)
    assert unrolled.load_model(path).count_params() == 10
    with pytest.raises(ValueError, match=r"ends in \.keras"):
        model.save(tmp_path / "new.h5")
    with pytest.raises(ValueError, match="built"):
        Sequential([layers.Dense(2)]).save(path)


# --------------------------------------------------------------- command lines


def test_convert_writes_the_file_and_says_what_it_changed(capsys: Any, tmp_path: Path) -> None:
    gru = {"units": 3, "recurrent_activation": "hard_sigmoid", "batch_input_shape": [None, 5, 2]}
    old = keras_2(tmp_path / "old.json", [("GRU", gru)])
    code, out, _ = run(capsys, "convert", old, tmp_path / "new.keras")
    assert code == 0
    assert "layer 'gru': weights of recurrent_activation are scaled by 1.2" in out
    assert "holds no weights: those written are fresh" in out
    assert f"{tmp_path / 'new.keras'}: Sequential 'sequential', 54 parameters, as a file of Keras 3" in out
    assert unrolled.load_model(tmp_path / "new.keras").source.keras_version.startswith("3.")
    code, _, err = run(capsys, "convert", old, tmp_path / "new.h5")
    assert (code, "must end in .keras" in err) == (2, True)
    lstm = {"units": 3, "activation": "hard_sigmoid", "batch_input_shape": [None, 5, 2]}
    old = keras_2(tmp_path / "old.json", [("LSTM", lstm)])
    code, _, err = run(capsys, "convert", old, tmp_path / "other.keras")
    assert code == 1
    assert "Keras 3 cannot express 1 thing of the model (--approximate" in err
    assert "layer 'lstm' (LSTMCell), activation: found Keras 2's hard_sigmoid" in err
    code, out, _ = run(capsys, "convert", old, tmp_path / "other.keras", "--approximate")
    assert (code, "approximated: layer 'lstm' (LSTMCell)" in out) == (0, True)
    code, _, err = run(capsys, "convert", old, tmp_path / "nowhere" / "new.keras", "--approximate")
    assert (code, f"{tmp_path / 'nowhere' / 'new.keras'}: No such file" in err) == (2, True)


def test_convert_says_which_rule_for_masks_keras_3_does_not_have(capsys: Any, tmp_path: Path) -> None:
    old = fixture("tf_keras", "time_distributed_embedding_with_mask_zero").path
    code, _, err = run(capsys, "convert", old, tmp_path / "new.keras")
    assert code == 1
    assert "(TimeDistributed)" in err
    assert "Keras 3: the mask that came in" in err


def test_check_with_the_oracle_says_what_keras_gives(capsys: Any, keras: Any) -> None:
    case = next(c for c in all_fixtures() if c.archive == "keras3" and c.path.suffix == ".keras")
    code, out, _ = run(capsys, "check", case.path, "--oracle")
    assert code == 0
    assert "largest differences" in out
    code, out, _ = run(capsys, "check", case.path, "--oracle", "--json")
    report = json.loads(out)
    assert report["oracle"]["keras"].startswith("keras 3")
    assert all(comparison["difference"] < 1e-5 for comparison in report["oracle"]["comparisons"])


def test_check_without_keras_says_what_to_install(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "keras", None)
    case = next(c for c in all_fixtures() if c.archive == "keras3" and c.path.suffix == ".keras")
    code, out, _ = run(capsys, "check", case.path, "--oracle")
    assert code == 2
    assert "pip install keras" in out


@pytest.mark.parametrize(
    ("archive", "name", "difference"),
    [
        (
            "tf_keras",
            "time_distributed_embedding_with_mask_zero",
            "TimeDistributed 'time_distributed': the mask",
        ),
        ("tf_keras", "rescaling_and_the_mask", "Rescaling 'rescaling': drops the mask"),
    ],
)
def test_check_names_only_the_rules_that_a_mask_reaches(
    archive: str, name: str, difference: str, capsys: Any
) -> None:
    _, out, _ = run(capsys, "check", fixture(archive, name).path)
    assert difference in out


def test_rules_that_matter_only_together_are_found(tmp_path: Path) -> None:
    """The first attention takes a mask away, which the second asks for; each alone changes nothing."""
    file = unpacked("attention_masks") / "3.7.0-two_attentions_on_one_tensor.keras"
    model = unrolled.load_model(file)
    with pytest.raises(unrolled.UnsupportedModelError, match=r"(?s)'multi_head_attention'.*_attention_1'"):
        model.save(tmp_path / "new.keras")


def test_names_that_keras_gives_to_operations_on_masks_are_not_written(tmp_path: Path, keras: Any) -> None:
    x, y = Input((4, 3), name="x"), Input((4, 3), name="y")
    masks = layers.Masking(name="first")(x), layers.Masking(name="second")(y)
    joined = layers.Concatenate(name="concatenate")(masks)
    joined = layers.Concatenate(name="concatenate_1")([joined, joined])
    model = Model([x, y], [layers.GlobalAveragePooling1D(name="mean")(joined), joined])
    notes = model.save(tmp_path / "new.keras")
    assert "layer 'concatenate' is named 'concatenate_layer'" in notes[0]
    arrays = [np.where(RANDOM.random((5, 4, 1)) < 0.5, RANDOM.normal(size=(5, 4, 3)), 0) for _ in "xy"]
    expected = model.predict(arrays)
    assert_same(unrolled.load_model(tmp_path / "new.keras").predict(arrays), expected, "again")
    keras.backend.clear_session()
    theirs = keras.models.load_model(tmp_path / "new.keras")
    assert_same([np.asarray(array) for array in theirs(arrays)], expected, "Keras")


def test_options_of_tf_keras_that_keras_3_lacks_are_written_in_its_words(tmp_path: Path, keras: Any) -> None:
    x = Input((5, 4))
    operations = operation_classes()
    product = operations["Matmul"](transpose_b=True)
    outputs = [
        product(x, operations["Identity"]()(x)),
        product(x, np.arange(12, dtype=np.float32).reshape(3, 4)),
        operations["Reshape"]([None, -1, 2])(x),
        operations["GetItem"]()(x, slice(None)),
        operations["ReLU"](negative_slope=0.5)(x),
        layers.SeparableConv1D(3, 2, kernel_initializer="zeros")(x),
    ]
    model = Model(x, outputs)
    model.save(tmp_path / "new.keras")
    array = RANDOM.normal(size=(3, 5, 4)).astype(np.float32)
    expected = model.predict(array)
    assert_same(unrolled.load_model(tmp_path / "new.keras").predict(array), expected, "again")
    theirs = keras.models.load_model(tmp_path / "new.keras")
    assert_same([np.asarray(y) for y in theirs(array)], expected, "Keras")
