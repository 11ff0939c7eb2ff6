# SPDX-License-Identifier: MIT
"""Checkpoints and SavedModel folders made to do harm, or damaged: refused by one of the two errors, within bounds."""

from __future__ import annotations

import json
import os
import random
import time
import tracemalloc

import numpy as np
import pytest

import unrolled
from tests.formats import tensorflow_files as tf
from tests.formats.test_corrupted import flip_bits, replace_fields, swap_fields, truncate
from unrolled.formats.archive import DiskFiles
from unrolled.formats.tensorbundle.bundle import GRAPH_KEY, Bundle
from unrolled.formats.tensorbundle.crc32c import crc32c, mask, masked_crc32c

KERNEL, BIAS = tf.DENSE
MUTATIONS = 150


def refused(path, weights=None, match=""):
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises((unrolled.ModelFileError, unrolled.UnsupportedModelError), match=match) as caught:
            unrolled.load_model(path, weights=weights)
    finally:
        elapsed, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert elapsed < 5.0
    assert peak < 128 << 20
    assert str(caught.value).replace("\n", "").isprintable()


def load_or_refuse(path, weights=None):
    message = ""
    try:
        unrolled.load_model(path, weights=weights)
    except (unrolled.ModelFileError, unrolled.UnsupportedModelError) as error:
        message = str(error)
    assert message.replace("\n", "").isprintable()


def test_the_files_made_here_are_sound(tmp_path):
    architecture, weights = tf.write_dense(tmp_path)
    kernel, bias = unrolled.load_model(architecture, weights=weights).get_weights()
    assert np.array_equal(kernel, tf.DENSE[KERNEL])
    assert np.array_equal(bias, tf.DENSE[BIAS])
    model = unrolled.load_model(tf.write_saved_dense(tmp_path / "saved"))
    assert np.array_equal(model.get_weights()[0], kernel)


def test_the_checksum_is_crc_32c():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert masked_crc32c(b"123456789") == mask(0xE3069283)
    data = np.random.default_rng(0).integers(0, 256, 70_001, dtype=np.uint8).tobytes()
    for size in (0, 1, 3, 4, 63, 64, 65, 127, 4096, 65_535, 65_536, 65_537, 70_001):
        state = 0xFFFFFFFF
        for byte in data[:size]:
            state ^= byte
            for _ in range(8):
                state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
        assert crc32c(data[:size]) == state ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        pytest.param({"graph": [tf.node({"layer-0": 0})]}, "has weights for 0 layers", id="a child that is its parent"),
        pytest.param({"graph": [tf.node({"layer-0": 1}), tf.node({"cell": 0, "kernel": 9})]}, "object 9 of 2", id="node_id out of range"),
        pytest.param({"graph": [tf.node([("layer-0", 1), ("layer-0", 1)]), tf.node()]}, "two children", id="duplicate children"),
        pytest.param({"shards": 1 << 31}, "data files", id="2^31 shards"),
        pytest.param({"shards": 3, KERNEL.replace("/", "_"): {"shard": 2}}, "missing", id="a shard that is not there"),
        pytest.param({KERNEL.replace("/", "_"): {"offset": (1 << 64) - 8}}, "bytes at", id="offset and size overflow"),
        pytest.param({KERNEL.replace("/", "_"): {"offset": 1 << 40}}, "bytes at", id="offset behind the file"),
        pytest.param({KERNEL.replace("/", "_"): {"size": 20}}, "declares 20 bytes", id="a size that is not the shape's"),
        pytest.param({KERNEL.replace("/", "_"): {"shape": (1 << 20, 1 << 20)}}, "declares", id="a shape bomb"),
        pytest.param({KERNEL.replace("/", "_"): {"shape": (-1, 2)}}, "shape", id="an unknown size"),
        pytest.param({KERNEL.replace("/", "_"): {"dtype": 23}}, "declares", id="another dtype"),
        pytest.param({KERNEL.replace("/", "_"): {"dtype": 8}}, "dtype", id="a dtype of complex numbers"),
        pytest.param({KERNEL.replace("/", "_"): {"checksum": 5}}, "checksum", id="a wrong checksum"),
        pytest.param({KERNEL.replace("/", "_"): {"more": tf.field(7, b"")}}, "partitioned", id="a partitioned variable"),
        pytest.param({KERNEL.replace("/", "_"): {"shard": 4}}, "data file 4", id="a shard out of range"),
        pytest.param({KERNEL.replace("/", "_"): b"\x0b"}, "unknown type", id="a group of fields"),
        pytest.param({KERNEL.replace("/", "_"): b"\xff" * 11}, "more than 10 bytes", id="a number without an end"),
        pytest.param({GRAPH_KEY: {"dtype": 1}}, "single string", id="a graph of numbers"),
        pytest.param({"table": {"restarts": b"\xff\xff\xff\x7f"}}, "restarts", id="2^31 restarts"),
        pytest.param({"table": {"shared": 4000}}, "runs out", id="a key that shares more than there is"),
        pytest.param({"table": {"kind": b"\x01"}}, "compressed", id="a compressed block"),
        pytest.param({"table": {"footer": tf.varint(1 << 40) * 4 + bytes(16)}}, "outside", id="handles outside the file"),
        pytest.param({"table": {"footer": bytes(40)}}, "index", id="an empty footer"),
    ],
)  # fmt: skip
def test_a_hostile_checkpoint_is_refused(tmp_path, changes, match):
    architecture, weights = tf.write_dense(tmp_path, **changes)
    refused(architecture, weights, match)


def test_duplicate_keys_are_refused(tmp_path):
    architecture, weights = tf.write_dense(tmp_path)
    pairs = [(b"", tf.header()), (b"a", tf.entry()), (b"a", tf.entry())]
    weights.with_name("cp.ckpt.index").write_bytes(tf.table(pairs))
    refused(architecture, weights, "occur twice")


def test_two_numberings_of_layers_that_disagree_are_refused(tmp_path):
    graph = tf.dense_graph()
    graph[0] = tf.node({"layer-0": 4, "layer_with_weights-0": 1})
    architecture, weights = tf.write_dense(tmp_path, graph=[*graph, tf.node()])
    refused(architecture, weights, "different layers")


def test_weights_of_a_layer_that_the_architecture_lacks_are_refused(tmp_path):
    graph = tf.dense_graph()
    graph[1] = tf.node({"kernel": 2, "bias": 3, "scale": 4})
    graph.append(tf.node({}, {"VARIABLE_VALUE": BIAS}))
    architecture, weights = tf.write_dense(tmp_path, graph=graph)
    refused(architecture, weights, "'scale' for it, which the layer lacks")


def test_a_chain_of_objects_thousands_deep_is_walked_without_recursion(tmp_path):
    deep = [tf.node({"layer-0": 1})] + [tf.node({"a": number + 2}) for number in range(20_000)] + [tf.node()]
    architecture, weights = tf.write_dense(tmp_path, graph=deep)
    refused(architecture, weights, "has weights for 0 layers")


def test_many_tensors_that_share_their_bytes_are_not_multiplied(tmp_path):
    big = np.zeros(1 << 20, "float32")
    tf.write_bundle(tmp_path / "b", {"k": big})
    place = tf.entry(1, big.shape, size=big.nbytes, checksum=masked_crc32c(big.tobytes()))
    keys = [f"k{number:02}" for number in range(60)]
    pairs = [(b"", tf.header()), *((key.encode(), place) for key in keys)]
    (tmp_path / "b.index").write_bytes(tf.table(pairs))
    bundle = Bundle(DiskFiles(tmp_path, "t"), "b")

    def read_all():
        for key in keys:
            bundle.tensor(key)

    with pytest.raises(unrolled.ModelFileError, match="exceeds 16 times"):
        read_all()


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_a_data_file_that_is_a_link_out_of_the_folder_is_refused(tmp_path):
    architecture, weights = tf.write_dense(tmp_path / "in")
    data = weights.with_name("cp.ckpt.data-00000-of-00001")
    (tmp_path / "secret").write_bytes(data.read_bytes())
    data.unlink()
    data.symlink_to(tmp_path / "secret")
    refused(architecture, weights, "leaves the folder")
    folder = tf.write_saved_dense(tmp_path / "saved")
    (folder / "variables").rename(tmp_path / "elsewhere")
    (folder / "variables").symlink_to(tmp_path / "elsewhere")
    refused(folder, None, "leaves the folder")


def test_a_cache_of_the_hub_may_link_to_its_blobs(tmp_path):
    architecture, weights = tf.write_dense(tmp_path / "models--a--b" / "snapshots" / "f00")
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir()
    data = weights.with_name("cp.ckpt.data-00000-of-00001")
    data.rename(blobs / "1234")
    data.symlink_to("../../blobs/1234")
    assert unrolled.load_model(architecture, weights=weights).layers


def test_a_git_lfs_pointer_is_named(tmp_path):
    architecture, weights = tf.write_dense(tmp_path)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    weights.with_name("cp.ckpt.data-00000-of-00001").write_bytes(pointer)
    refused(architecture, weights, "Git LFS")
    weights.with_name("cp.ckpt.index").write_bytes(pointer)
    refused(architecture, weights, "Git LFS")
    folder = tf.write_saved_dense(tmp_path / "saved")
    (folder / "saved_model.pb").write_bytes(pointer)
    refused(folder, None, "Git LFS")


def test_a_checkpoint_by_names_of_tensorflow_1_is_refused_as_that(tmp_path):
    prefix = tf.write_bundle(tmp_path / "model.ckpt", {"lstm/kernel": np.zeros((2, 8), "float32")})
    refused(prefix, None, "tf.train.Saver")


def test_a_checkpoint_of_tensorflow_1_that_carries_its_config_loads_alone(tmp_path):
    graph = tf.dense_graph()
    key = ".ATTRIBUTES/OBJECT_CONFIG_JSON"
    graph[0] = tf.node({"layer-0": 1, "layer_with_weights-0": 1}, {"OBJECT_CONFIG_JSON": key})
    config = {name: tf.DENSE_CONFIG[name] for name in ("class_name", "config")}
    prefix = tf.write_bundle(tmp_path / "ckpt_10", tf.DENSE | {key: json.dumps(config).encode()}, graph)
    model = unrolled.load_model(prefix)
    assert np.array_equal(model.get_weights()[0], tf.DENSE[KERNEL])
    assert model.source.keras_version == "2.2.4-tf"


@pytest.mark.parametrize(
    ("metadata", "match"),
    [
        pytest.param(b'{"a":' + b" " * (100 << 20) + b"1}", "bytes", id="100 MB"),
        pytest.param(b"[" * 10_000 + b"]" * 10_000, "levels deep", id="10^4 levels"),
        pytest.param(b"{", "JSON", id="cut"),
        pytest.param(b"[]", "object", id="no object"),
        pytest.param(b'{"class_name": "Own", "config": {"layer was saved without config": true}}', "subclassed", id="subclassed"),
        pytest.param(b"", "export", id="none"),
    ],
)  # fmt: skip
def test_hostile_metadata_of_a_saved_model_is_refused(tmp_path, metadata, match):
    folder = tf.write_saved_dense(tmp_path / "m", metadata)
    tracemalloc.start()
    with pytest.raises((unrolled.ModelFileError, unrolled.UnsupportedModelError), match=match):
        unrolled.load_model(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 512 << 20


def test_a_graph_of_operations_is_passed_over_by_its_length(tmp_path):
    folder = tf.write_saved_dense(tmp_path / "m")
    (folder / "saved_model.pb").write_bytes(tf.saved_model(graph_def=b"\xff" * (32 << 20)))
    tracemalloc.start()
    unrolled.load_model(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_saved_model_of_endless_fields_is_refused(tmp_path):
    folder = tf.write_saved_dense(tmp_path / "m")
    (folder / "saved_model.pb").write_bytes(b"\x08\x01" * 1_200_000)
    refused(folder, None, "fields")


@pytest.mark.parametrize(
    "mutate", [truncate, flip_bits, replace_fields, swap_fields], ids=lambda f: f.__name__
)
@pytest.mark.parametrize(
    "name", ["cp.ckpt.index", "cp.ckpt.data-00000-of-00001", "saved_model.pb", "keras_metadata.pb"]
)
def test_damaged_files_of_tensorflow_are_read_or_refused(tmp_path, name, mutate):
    architecture, weights = tf.write_dense(tmp_path)
    saved = tf.write_saved_dense(tmp_path / "m")
    is_saved = name.endswith(".pb")
    path = saved / name if is_saved else tmp_path / name
    original = path.read_bytes()
    rng = random.Random(f"{name} {mutate.__name__}")
    tracemalloc.start()
    slowest = 0.0
    for _ in range(MUTATIONS):
        data = bytearray(original)
        mutate(data, rng)
        path.write_bytes(data)
        started = time.process_time()
        load_or_refuse(saved if is_saved else architecture, None if is_saved else weights)
        slowest = max(slowest, time.process_time() - started)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert slowest < 2.0
    assert peak < 32 << 20
