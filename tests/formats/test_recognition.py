# SPDX-License-Identifier: MIT
"""What a file is, is told by its content; what is no model is named."""

from __future__ import annotations

import io
import shutil
import zipfile

import numpy as np
import pytest

import unrolled
from tests import containers, fixtures
from tests.formats import tensorflow_files as tf


def zipped(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def node(name, operation):
    return tf.field(1, tf.field(1, name) + tf.field(2, operation))


ONNX = tf.field(1, 8) + tf.field(2, "tf2onnx") + tf.field(3, "1.16.0") + tf.field(7, bytes(300))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        (zipped("archive/data.pkl", "archive/data/0"), "PyTorch"),
        (zipped("kernel.npy", "bias.npy"), "NumPy archive"),
        (zipped("my/saved_model.pb", "my/variables/variables.index"), "unpack it"),
        (zipped("word/document.xml"), "no Keras model: it has no 'config.json'"),
        (zipped(), "no Keras model"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "TensorFlow Lite"),
        (ONNX, "ONNX"),
        (node("Placeholder", "Placeholder") + node("lstm/kernel", "Const") + tf.field(4, b"\x08\x01"), "frozen TensorFlow graph"),
        (tf.saved_model(), "saved_model.pb; give the folder"),
        (b"\x93NUMPY\x01\0", "NumPy array"),
        (b"<!DOCTYPE html><html>404</html>", "this is a web page"),
        (b"", "the file is empty"),
        (b"hello", "neither a zip archive"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_named(tmp_path, content, match):
    for name in ("m.keras", "m.h5", "model", "m.pkl"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(unrolled.ModelFileError, match=match):
            unrolled.load_model(tmp_path / name)
    with pytest.raises(unrolled.ModelFileError, match=match):
        unrolled.load_model(content)


def test_the_name_of_a_file_says_nothing(tmp_path):
    keras = fixtures.fixture("keras3", fixtures.all_fixtures()[0].name).path
    for source, name in (
        (keras, "a.h5"),
        (containers.folder() / "protocol4.pkl", "b.keras"),
        (containers.folder() / "model.joblib", "c.json"),
    ):
        shutil.copy(source, tmp_path / name)
        assert unrolled.load_model(tmp_path / name).layers


def test_a_folder_is_told_by_what_it_holds(tmp_path):
    with pytest.raises(unrolled.ModelFileError, match="neither a SavedModel, nor"):
        unrolled.load_model(tmp_path)
    tf.write_dense(tmp_path)
    with pytest.raises(unrolled.ModelFileError, match=r"give one of them: 'cp\.ckpt'"):
        unrolled.load_model(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "cp.ckpt"\n')
    with pytest.raises(unrolled.ModelFileError, match="without the architecture"):
        unrolled.load_model(tmp_path)


def test_a_missing_file_is_a_missing_file(tmp_path):
    for name in ("none", "none.keras", "folder/none"):
        with pytest.raises(FileNotFoundError) as caught:
            unrolled.load_model(tmp_path / name)
        assert caught.value.filename == str(tmp_path / name)


def test_a_checkpoint_without_its_index_is_named(tmp_path):
    _, weights = tf.write_dense(tmp_path)
    weights.with_name("cp.ckpt.index").unlink()
    with pytest.raises(unrolled.ModelFileError, match=r"'cp\.ckpt\.index' is missing"):
        unrolled.load_model(weights)


def test_names_of_paths_as_bytes_like_objects_of_the_system_work(tmp_path):
    class Path:
        def __fspath__(self):
            return str(containers.folder() / "protocol4.pkl")

    assert unrolled.load_model(Path()).layers
    assert np.isfinite(
        unrolled.load_model(bytearray((containers.folder() / "protocol4.pkl").read_bytes())).get_weights()[0]
    ).all()
