# SPDX-License-Identifier: MIT
"""TensorFlow.js models and pickles made to do harm, or damaged: refused by one of the two errors, within bounds."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import shutil
import tarfile
import time
import tracemalloc
import zlib

import numpy as np
import pytest

import unrolled
from tests import containers
from tests.formats.test_corrupted import flip_bits, replace_fields, swap_fields, truncate
from tests.formats.test_hostile_tensorflow import load_or_refuse, refused

MUTATIONS = 150


@pytest.fixture
def tfjs(tmp_path):
    shutil.copytree(containers.folder() / "plain_lstm_tfjs", tmp_path / "m")
    return tmp_path / "m"


def rewrite(folder, change):
    """Change the document of a `model.json`."""
    path = folder / "model.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


def group(document):
    return document["weightsManifest"][0]


@pytest.mark.parametrize(
    "name",
    [
        "../secret.bin",
        "/etc/passwd",
        "a/b.bin",
        "..\\secret.bin",
        "C:secret",
        "http://x.org/a",
        "..",
        ".",
        "a\0b",
        "",
    ],
)
def test_shard_paths_never_leave_the_folder(tfjs, tmp_path, name):
    shutil.copy(next(tfjs.glob("group*")), tmp_path / "secret.bin")
    path = rewrite(tfjs, lambda document: group(document).update(paths=[name]))
    refused(path, match="no name of a file beside model.json")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_a_shard_that_is_a_link_out_of_the_folder_is_refused(tfjs, tmp_path):
    shard = next(tfjs.glob("group*"))
    shard.rename(tmp_path / "secret")
    shard.symlink_to(tmp_path / "secret")
    refused(tfjs, match="leaves the folder")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        pytest.param(lambda d: group(d)["weights"][0].update(shape=[1 << 30, 1 << 30]), "weights of", id="a shape bomb"),
        pytest.param(lambda d: group(d)["weights"][0].update(shape=[-1, 4]), "shape", id="a negative size"),
        pytest.param(lambda d: group(d)["weights"][0].update(shape="3"), "expected a list", id="a shape that is text"),
        pytest.param(lambda d: group(d)["weights"][0].update(dtype="string"), "dtype", id="strings"),
        pytest.param(lambda d: group(d)["weights"][0].update(dtype=["float32"]), "dtype", id="a dtype that is a list"),
        pytest.param(lambda d: group(d)["weights"][0].update(quantization={"dtype": "uint8"}), "scale", id="no scale"),
        pytest.param(lambda d: group(d)["weights"][0].update(quantization={"dtype": "uint8", "scale": float("nan"), "min": 0}), "scale", id="a scale that is no number"),
        pytest.param(lambda d: group(d)["weights"][0].update(quantization={"dtype": "int4"}), "quantized", id="another width"),
        pytest.param(lambda d: group(d).update(paths=group(d)["paths"] * 2), "twice", id="a file listed twice"),
        pytest.param(lambda d: group(d)["weights"].pop(), "files of", id="bytes left over"),
        pytest.param(lambda d: group(d).update(paths=["none.bin"]), "missing", id="a missing file"),
        pytest.param(lambda d: d.update(format="graph-model"), "graph model", id="a graph model by its format"),
        pytest.param(lambda d: d.update(modelTopology={"node": []}), "graph model", id="a graph model by its nodes"),
        pytest.param(lambda d: d.update(modelTopology=None), "modelTopology", id="no topology"),
        pytest.param(lambda d: group(d)["weights"][0].update(name="elsewhere/nothing"), "belongs to no layer", id="a weight of no layer"),
    ],
)  # fmt: skip
def test_a_hostile_manifest_is_refused(tfjs, change, match):
    refused(rewrite(tfjs, change), match=match)


def test_a_shard_that_was_not_fetched_from_git_lfs_is_named(tfjs):
    next(tfjs.glob("group*")).write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    )
    refused(tfjs, match="Git LFS")


@pytest.mark.parametrize(
    "mutate", [truncate, flip_bits, replace_fields, swap_fields], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("name", ["model.json", "group1-shard1of1.bin"])
def test_a_damaged_tensorflow_js_model_is_read_or_refused(tfjs, name, mutate):
    damaged(tfjs / name, lambda: load_or_refuse(tfjs), mutate)


def damaged(path, load, mutate):
    original = path.read_bytes()
    rng = random.Random(f"{path.name} {mutate.__name__}")
    tracemalloc.start()
    slowest = 0.0
    for _ in range(MUTATIONS):
        data = bytearray(original)
        mutate(data, rng)
        path.write_bytes(data)
        started = time.process_time()
        load()
        slowest = max(slowest, time.process_time() - started)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert slowest < 2.0
    assert peak < 32 << 20


# --------------------------------------------------------------------- pickles


def write(tmp_path, data):
    path = tmp_path / "m.pkl"
    path.write_bytes(data)
    return path


class Printing:
    """What a hostile pickle calls when it is unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_nothing_that_a_pickle_names_is_called(tmp_path, capsys, protocol):
    refused(write(tmp_path, pickle.dumps(Printing(), protocol)), match="without a Keras model")
    archive = containers.folder() / "plain_lstm_3.pkl"
    both = pickle.dumps(
        [Printing(), archive.read_bytes()[archive.read_bytes().index(b"PK\x03\x04") :]], protocol
    )
    load_or_refuse(write(tmp_path, both))
    assert capsys.readouterr().out == ""


def test_two_models_in_one_pickle_are_refused(tmp_path):
    first = b"PK\x03\x04" + bytes(30)
    refused(write(tmp_path, pickle.dumps([first, first + b"1"])), match="2 models")


def test_a_pickle_without_a_model_is_refused(tmp_path):
    refused(
        write(tmp_path, pickle.dumps({"mean": 1.5, "names": ["a", "b"], "big": 1 << 200})),
        match="without a Keras model",
    )
    refused(write(tmp_path, pickle.dumps(np.arange(3.0))), match="without a Keras model")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x80\x04]", id="no end"),
        pytest.param(b"\x80\x04\x8e" + b"\xff" * 8 + b".", id="a length of 2^64"),
        pytest.param(b"\x80\x04\xff.", id="an unknown opcode"),
        pytest.param(b"\x80\x04cnothing", id="a line without an end"),
        pytest.param(b"\x80\x04" + b"0" * 6_000_000, id="millions of opcodes"),
    ],
)
def test_a_hostile_pickle_is_refused(tmp_path, data):
    refused(write(tmp_path, data), match="broken pickle")


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress], ids=lambda f: f.__module__)
def test_a_decompression_bomb_is_cut_off(tmp_path, pack):
    bomb = pack(b"\x80\x04" + b"0" * (256 << 20))
    tracemalloc.start()
    with pytest.raises(unrolled.ModelFileError, match="holds more than"):
        unrolled.load_model(write(tmp_path, bomb))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 256 * len(bomb) + (8 << 20)


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "variables/variables.index"])
def test_members_of_a_tar_archive_are_never_extracted(tmp_path, name):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for _ in range(2):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"evil"))
    refused(write(tmp_path, pickle.dumps((buffer.getvalue(),))), match="twice")
    assert [path.name for path in tmp_path.iterdir()] == ["m.pkl"]


@pytest.mark.parametrize(
    "mutate", [truncate, flip_bits, replace_fields, swap_fields], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("name", ["protocol2.pkl", "plain_lstm_3.pkl", "model.joblib", "saved.pkl"])
def test_a_damaged_pickle_is_read_or_refused(tmp_path, name, mutate):
    path = tmp_path / name
    shutil.copy(containers.folder() / name, path)
    damaged(path, lambda: load_or_refuse(path), mutate)
