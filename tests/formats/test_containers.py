# SPDX-License-Identifier: MIT
"""Models in SavedModel folders, checkpoints, TensorFlow.js files and pickles give the numbers of their writer."""

from __future__ import annotations

import io
import re
import shutil

import numpy as np
import pytest

import unrolled
from tests import containers
from tests.tolerances import assert_close
from unrolled.cli import main

ENTRIES = containers.entries()
WITH_NUMBERS = [entry for entry in ENTRIES if entry["refused"] is None]
REFUSED = [entry for entry in ENTRIES if entry["refused"] is not None]


def outputs(model, inputs):
    y = model.predict(inputs[0] if len(inputs) == 1 else inputs, verbose=0)
    return y if isinstance(y, list) else [y]


@pytest.mark.parametrize("entry", WITH_NUMBERS, ids=containers.title)
def test_a_model_in_any_container_gives_the_numbers_of_its_writer(entry):
    model = containers.load(entry)
    inputs, expected = containers.reference(entry)
    for number, (got, want) in enumerate(zip(outputs(model, inputs), expected, strict=True)):
        assert_close(got, want, "default", f"{containers.title(entry)}, output {number}")


@pytest.mark.parametrize("entry", REFUSED, ids=containers.title)
def test_what_holds_no_layers_or_other_ones_is_refused_with_the_reason(entry):
    with pytest.raises((unrolled.ModelFileError, unrolled.UnsupportedModelError), match=entry["refused"]):
        containers.load(entry)


def test_every_kind_of_container_is_among_the_fixtures():
    assert {entry["kind"] for entry in ENTRIES} == {"savedmodel", "checkpoint", "exported", "tfjs", "pickle"}
    assert len(WITH_NUMBERS) > 35


@pytest.mark.parametrize("weights", ["plain_lstm_checkpoint/cp.ckpt", "exported_saved", "plain_lstm_tfjs"])
def test_weights_of_any_container_load_into_a_model_that_was_built_here(weights):
    layers = unrolled.layers
    model = unrolled.Sequential(
        [unrolled.Input((4, 3)), layers.LSTM(3, recurrent_activation="hard_sigmoid"), layers.Dense(2)]
    )
    model.load_weights(containers.folder() / weights)
    expected = unrolled.load_model(containers.folder() / "plain_lstm_saved")
    for got, want in zip(model.get_weights(), expected.get_weights(), strict=True):
        assert np.array_equal(got, want)


def test_weights_that_do_not_fit_change_nothing():
    model = unrolled.Sequential([unrolled.Input((4, 3)), unrolled.layers.LSTM(3), unrolled.layers.Dense(5)])
    before = model.get_weights()
    for weights in ("plain_lstm_checkpoint/cp.ckpt", "exported_saved", "plain_lstm_tfjs"):
        with pytest.raises(unrolled.ModelFileError, match=r"[Dd]ense"):
            model.load_weights(containers.folder() / weights)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_checkpoint_without_an_architecture_is_listed_layer_by_layer():
    with pytest.raises(unrolled.ModelFileError) as caught:
        unrolled.load_model(containers.folder() / "plain_lstm_checkpoint" / "cp.ckpt")
    assert "cell/recurrent_kernel (3, 12)" in str(caught.value)
    assert "kernel (3, 2)" in str(caught.value)


def test_the_folder_the_index_and_the_data_file_name_the_same_checkpoint(tmp_path):
    shutil.copytree(containers.folder() / "plain_lstm_checkpoint", tmp_path / "c")
    model = unrolled.load_model(containers.folder() / "plain_lstm_saved")
    for name in ("", "cp.ckpt", "cp.ckpt.index", "cp.ckpt.data-00000-of-00001", "checkpoint"):
        model.load_weights(tmp_path / "c" / name)
    (tmp_path / "c" / "checkpoint").write_text('model_checkpoint_path: "/home/her/work/cp.ckpt"\n')
    model.load_weights(tmp_path / "c")


def test_a_saved_model_is_found_by_its_folder_and_by_its_file():
    folder = containers.folder() / "plain_lstm_saved"
    assert unrolled.load_model(folder).source.format.startswith("SavedModel of TensorFlow 2.")
    assert unrolled.load_model(folder / "saved_model.pb").source.keras_version.startswith("2.")


def test_a_left_over_keras_metadata_does_not_outdo_what_saved_model_pb_says(tmp_path):
    from tests.formats import tensorflow_files as tf

    source = containers.folder() / "plain_lstm_saved"
    folder = tmp_path / "m"
    shutil.copytree(source, folder)
    metadata = tf.root_metadata(source)
    (folder / "saved_model.pb").write_bytes(
        tf.saved_model(metadata=metadata, identifier="_tf_keras_sequential")
    )
    shutil.copy(
        containers.folder() / "masked_bigru_saved" / "keras_metadata.pb", folder / "keras_metadata.pb"
    )
    assert [layer.class_name for layer in unrolled.load_model(folder).layers] == ["LSTM", "Dense"]


@pytest.mark.parametrize("name", ["protocol4.pkl", "plain_lstm_3.pkl", "model.joblib", "saved.pkl"])
def test_a_model_is_read_from_bytes_and_from_an_open_file(name):
    path = containers.folder() / name
    expected = unrolled.load_model(path).get_weights()
    with open(path, "rb") as file:
        models = [unrolled.load_model(path.read_bytes()), unrolled.load_model(io.BytesIO(path.read_bytes())),
                  unrolled.load_model(file)]  # fmt: skip
    for model in models:
        assert all(np.array_equal(a, b) for a, b in zip(expected, model.get_weights(), strict=True))


def test_text_files_and_names_as_bytes_are_told_from_contents(tmp_path):
    path = tmp_path / "m.json"
    shutil.copy(containers.folder() / "plain_lstm.json", path)
    with open(path, encoding="utf-8") as file, pytest.raises(TypeError, match="binary"):
        unrolled.load_model(file)
    with pytest.raises(unrolled.ModelFileError, match="give its name as text"):
        unrolled.load_model(b"models/lstm.h5")
    weights = containers.folder() / "plain_lstm_checkpoint"
    assert unrolled.load_model(path.read_bytes(), weights=weights).layers


def test_what_needs_files_beside_it_cannot_come_as_bytes():
    content = (containers.folder() / "plain_lstm_tfjs" / "model.json").read_bytes()
    with pytest.raises(unrolled.ModelFileError, match="give its path"):
        unrolled.load_model(content)


@pytest.mark.parametrize(
    "entry", [e for e in WITH_NUMBERS if e["kind"] != "checkpoint"][::4], ids=containers.title
)
def test_a_model_of_any_container_is_converted_to_a_keras_file_with_the_same_numbers(entry, tmp_path):
    model = containers.load(entry)
    model.save(tmp_path / "m.keras", approximate=True)
    inputs, _ = containers.reference(entry)
    for got, want in zip(
        outputs(unrolled.load_model(tmp_path / "m.keras"), inputs), outputs(model, inputs), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_every_format_says_who_wrote_it():
    said = {entry["kind"]: containers.load(entry).source.format for entry in WITH_NUMBERS}
    assert re.match(r"SavedModel of TensorFlow 2\.\d+", said["savedmodel"])
    assert said["checkpoint"] == "JSON + weights"
    assert said["tfjs"] == "TensorFlow.js layers model"
    assert said["pickle"].startswith("pickle of a ")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("plain_lstm_saved", r"SavedModel of TensorFlow 2\.\d+\.\d+, written by Keras 2\."),
        ("javascript_tfjs", r"TensorFlow\.js layers model, written by TensorFlow\.js 4\.22\.0"),
        ("plain_lstm_3_tfjs/model.json", r"TensorFlow\.js layers model, written by Keras 3\."),
        ("model.joblib", r"pickle of a \.keras, written by Keras 2\."),
        ("saved.pkl", r"pickle of a SavedModel of TensorFlow 2\.\d+\.\d+, written by Keras 2\."),
    ],
)
def test_check_says_who_wrote_a_file_and_what_differs(path, line, capsys):
    assert main(["check", str(containers.folder() / path)]) == 0
    shown = capsys.readouterr().out
    assert re.search("format +" + line, shown)
    assert ("hard_sigmoid of" in shown) == ("_3_" not in path)


def test_convert_writes_a_keras_file_of_any_container(tmp_path):
    for path in ("stacked_cells_saved", "nested_tfjs", "inside.pkl"):
        target = tmp_path / f"{path}.keras"
        assert main(["convert", str(containers.folder() / path), str(target), "--approximate"]) == 0
        assert unrolled.load_model(target).source.format == ".keras"
