# SPDX-License-Identifier: MIT
"""Every attack known from Keras's loaders, with a file made here: refused at once, with the part named."""

from __future__ import annotations

import base64
import io
import json
import marshal
import os
import struct
import sys
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from unrolled.errors import ModelFileError, UnsupportedModelError
from unrolled.formats import read_model, read_weights
from unrolled.spec import UnsupportedValue

from . import fake

SECONDS = 1.0
MEBIBYTES = 64


@contextmanager
def bounded() -> Iterator[None]:
    """What happens inside takes no longer than a second of the processor and no more than 64 MiB."""
    tracemalloc.start()
    start = time.process_time()  # other processes may keep a machine busy
    try:
        yield
    finally:
        elapsed, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert elapsed < 3 * SECONDS  # tracing slows Python down several times
    assert peak < MEBIBYTES << 20


def load(path: Path, model: fake.Layer) -> None:
    file = read_model(path)
    if file.weights is not None:
        file.weights.load_into(model)


def refused(path: Path, *words: str) -> None:
    """Reading the model, and its weights into the small model, ends in ``ModelFileError``."""
    model = fake.small_model()
    with bounded(), pytest.raises(ModelFileError) as caught:
        load(path, model)
    assert all(value is None for value in model.values())
    for word in words:
        assert word in str(caught.value)


def weights_refused(path: Path, *words: str) -> None:
    """The same for a file of weights."""
    with bounded(), pytest.raises(ModelFileError) as caught:
        read_weights(path).load_into(fake.small_model())
    for word in words:
        assert word in str(caught.value)


def config_of(*layers: dict[str, Any]) -> dict[str, Any]:
    config = fake.small_config()
    config["config"]["layers"][1:] = list(layers)
    return config


# -------------------------------------------------------------- code in configs


def bytecode() -> str:
    code = compile("open('/tmp/unrolled_was_here', 'w')", "x", "exec")
    return base64.b64encode(marshal.dumps(code)).decode()


def test_lambda_bytecode_is_never_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(*_: Any) -> None:
        raise AssertionError("marshal.loads was called")

    read_model(fake.write_keras(tmp_path / "warm.keras"))  # imports use marshal themselves
    read_model(fake.write_h5(tmp_path / "warm.h5"))
    function = {"class_name": "__lambda__", "config": {"code": bytecode(), "defaults": None, "closure": None}}
    archive = fake.write_keras(
        tmp_path / "m.keras", config_of(fake.keras_3_layer("Lambda", name="l", function=function))
    )
    layer = {
        "class_name": "Lambda",
        "config": {"name": "l", "function": [bytecode(), None, None], "function_type": "lambda"},
    }
    whole = fake.write_lists(tmp_path / "m.h5", {}, config={"class_name": "Sequential", "config": [layer]})
    hidden = bytecode()[:20]
    monkeypatch.setattr(marshal, "loads", loads)
    for path in (archive, whole):
        found = read_model(path).spec.layers[-1]
        assert found.class_name == "Lambda"
        assert isinstance(found.config["function"], UnsupportedValue)
        assert hidden not in repr(found)


def test_code_as_an_activation_is_never_decoded(tmp_path: Path) -> None:
    for value in (
        {"value": [bytecode(), None, None]},
        {"class_name": "__lambda__", "config": {"value": bytecode()}},
        {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"},
        {"module": "os", "class_name": "function", "config": "system"},
    ):
        path = fake.write_keras(
            tmp_path / "m.keras", config_of(fake.keras_3_layer("Dense", name="d", units=2, activation=value))
        )
        assert isinstance(read_model(path).spec.layers[-1].config["activation"], UnsupportedValue)


def test_modules_and_functions_that_a_config_names_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "evil_module.py").write_text("raise AssertionError('imported')")
    layer = {
        "module": "evil_module",
        "class_name": "Dense",
        "config": {"name": "d", "units": 2},
        "registered_name": None,
    }
    before = set(sys.modules)
    sys.path.insert(0, str(tmp_path))
    try:
        found = read_model(fake.write_keras(tmp_path / "m.keras", config_of(layer))).spec.layers[-1]
    finally:
        sys.path.remove(str(tmp_path))
    assert found.origin == "evil_module"
    assert "evil_module" not in set(sys.modules) - before


def test_registered_custom_classes_do_not_pass_for_keras_ones(tmp_path: Path) -> None:
    layer = fake.keras_3_layer("Dense", name="d", units=2) | {"registered_name": "package>Dense"}
    assert (
        read_model(fake.write_keras(tmp_path / "m.keras", config_of(layer))).spec.layers[-1].origin
        == "package"
    )


def test_a_config_cannot_switch_safety_off(tmp_path: Path) -> None:
    enable = {"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"}
    layer = fake.keras_3_layer("Dense", name="d", units=2, activation=enable)
    found = read_model(fake.write_keras(tmp_path / "m.keras", config_of(layer))).spec.layers[-1]
    assert found.config["activation"] == "enable_unsafe_deserialization"  # a name that no activation has


def test_a_model_class_that_is_code_is_unsupported(tmp_path: Path) -> None:
    config = {
        "module": "mine",
        "class_name": "MyModel",
        "config": {"layers": [], "output_layers": []},
        "registered_name": "x>MyModel",
    }
    with pytest.raises(UnsupportedModelError, match="MyModel"):
        read_model(fake.write_keras(tmp_path / "m.keras", config))


# ---------------------------------------------------------------------- HDF5


def h5_weights(tmp_path: Path) -> tuple[Path, h5py.File]:
    path = fake.write_tree(tmp_path / "w.h5", fake.small_arrays())
    file = h5py.File(path, "r+")
    del file["layers/dense/vars/1"]
    return path, file


def test_external_links_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["bias"] = np.ones(2, "f4")
    path, file = h5_weights(tmp_path)
    file["layers/dense/vars/1"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/bias")
    file.close()
    weights_refused(path, "/layers/dense/vars/1", "link")


def test_soft_links_are_not_followed(tmp_path: Path) -> None:
    path, file = h5_weights(tmp_path)
    file["layers/dense/vars/1"] = h5py.SoftLink("/layers/dense/vars/0")
    file.close()
    weights_refused(path, "/layers/dense/vars/1", "link")


def test_external_storage_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"12345678")
    path, file = h5_weights(tmp_path)
    file.create_dataset("layers/dense/vars/1", (2,), "f4", external=[(str(tmp_path / "secret"), 0, 8)])
    file.close()
    weights_refused(path, "/layers/dense/vars/1", "other files")


def test_virtual_datasets_are_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["bias"] = np.ones(2, "f4")
    path, file = h5_weights(tmp_path)
    layout = h5py.VirtualLayout(shape=(2,), dtype="f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "bias", shape=(2,))
    file.create_virtual_dataset("layers/dense/vars/1", layout)
    file.close()
    weights_refused(path, "/layers/dense/vars/1")


@pytest.mark.parametrize("options", [{}, {"chunks": (1 << 16,)}, {"chunks": (4,), "compression": "gzip"}])
def test_shape_bombs_are_refused_before_allocating(tmp_path: Path, options: dict[str, Any]) -> None:
    path, file = h5_weights(tmp_path)
    file.create_dataset("layers/dense/vars/1", (1 << 40,), "f4", **options)
    file.close()
    assert path.stat().st_size < 1 << 20
    weights_refused(path, "/layers/dense/vars/1", "declares")


def test_decompression_bombs_stop_at_the_declared_size(tmp_path: Path) -> None:
    path, file = h5_weights(tmp_path)
    dataset = file.create_dataset("layers/dense/vars/1", (2,), "f4", chunks=(2,), compression="gzip")
    # Packed it is below 2^16 bytes: HDF5 2 writes no larger chunk of two numbers.
    dataset.id.write_direct_chunk((0,), zlib.compress(bytes(60 << 20), 9))
    file.close()
    weights_refused(path, "/layers/dense/vars/1", "chunk")


def test_unknown_filters_are_refused(tmp_path: Path) -> None:
    path, file = h5_weights(tmp_path)
    file.create_dataset("layers/dense/vars/1", data=np.ones(2, "f4"), chunks=(2,), scaleoffset=3)
    file.close()
    weights_refused(path, "/layers/dense/vars/1", "filters", "h5py")


def test_strings_objects_and_compounds_are_no_weights(tmp_path: Path) -> None:
    for value in (np.array([b"ab", b"cd"]), np.zeros(2, [("a", "f4"), ("b", "f4")])):
        path, file = h5_weights(tmp_path)
        file["layers/dense/vars/1"] = value
        file.close()
        weights_refused(path, "/layers/dense/vars/1")


def test_groups_that_contain_themselves_are_refused(tmp_path: Path) -> None:
    path, file = h5_weights(tmp_path)
    file["layers/dense/again"] = file["layers"]
    file.close()
    weights_refused(path, "two places")


def test_names_that_share_one_long_text_are_not_multiplied(tmp_path: Path) -> None:
    path = fake.write_h5(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        names = [b"x" * 500_000] + [b"y"] * 2_000
        file["model_weights"].attrs.create("layer_names", names, dtype=h5py.string_dtype())
    data = bytearray(path.read_bytes())
    # Let every short name refer to the long one.
    long_reference = data.find(struct.pack("<I", 500_000))
    reference = data[long_reference : long_reference + 16]
    for number in range(1, 2_001):
        data[long_reference + 16 * number : long_reference + 16 * (number + 1)] = reference
    path.write_bytes(data)
    refused(path, "layer_names", "exceeds")


def test_a_group_nested_thousands_deep_is_refused(tmp_path: Path) -> None:
    path, file = h5_weights(tmp_path)
    group = file["layers"]
    for _ in range(300):
        group = group.create_group("g")
    file.close()
    weights_refused(path, "deep")


# ----------------------------------------------------------------------- zip


def test_zip_members_that_declare_too_much_are_refused_before_reading(tmp_path: Path) -> None:
    path = fake.write_keras(tmp_path / "m.keras", weights=bytes(100 << 20), compression=zipfile.ZIP_DEFLATED)
    refused(path, "model.weights.h5", "declares")


def test_config_bombs_are_refused_before_reading(tmp_path: Path) -> None:
    path = fake.write_keras(tmp_path / "m.keras", b" " * (40 << 20), compression=zipfile.ZIP_DEFLATED)
    refused(path, "config.json", "declares")


def test_members_that_lie_about_their_size_are_refused(tmp_path: Path) -> None:
    path = fake.write_keras(tmp_path / "m.keras", compression=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    central = data.find(b"PK\x01\x02", data.find(b"PK\x01\x02") + 4)
    data[central + 24 : central + 28] = struct.pack("<I", 20)  # config.json: uncompressed size
    path.write_bytes(data)
    refused(path, "config.json")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_repeated_members_are_refused(tmp_path: Path) -> None:
    path = fake.write_keras(tmp_path / "m.keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    refused(path, "config.json", "twice")


def test_nothing_is_extracted_whatever_members_are_called(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = fake.write_keras(folder / "m.keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../escaped", "x")
        archive.writestr("assets/../../escaped", "x")
        link = zipfile.ZipInfo("assets/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    before = {file.name for file in tmp_path.rglob("*")}
    read_model(path).weights.load_into(fake.small_model())
    assert {file.name for file in tmp_path.rglob("*")} == before


def test_links_that_leave_an_unzipped_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with zipfile.ZipFile(fake.write_keras(tmp_path / "m.keras")) as archive:
        archive.extractall(folder)
    (folder / "config.json").unlink()
    (tmp_path / "outside.json").write_text(json.dumps(fake.small_config()))
    (folder / "config.json").symlink_to(tmp_path / "outside.json")
    refused(folder, "config.json", "link")


def test_shards_outside_the_folder_are_refused(tmp_path: Path) -> None:
    for name in ("../x.weights.h5", "/etc/x.weights.h5", "a/b.weights.h5", "C:\\x.weights.h5", "passwd"):
        (tmp_path / "w.weights.json").write_text(json.dumps({"weight_map": {"/layers/dense/vars": name}}))
        weights_refused(tmp_path / "w.weights.json", "no name of a weights file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.keras")
    refused(tmp_path / "m.keras", "regular file")


# ---------------------------------------------------------------------- JSON


def test_deep_json_is_refused_before_decoding(tmp_path: Path) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)  # with which json.loads would overflow the C stack
    try:
        for document in (b"[" * 200_000, b'{"a":' * 100_000, b'{"\\\\":' * 100_000):
            refused(fake.write_keras(tmp_path / "m.keras", b"{" + b'"x":' + document), "deep")
    finally:
        sys.setrecursionlimit(limit)


def test_nested_models_thousands_deep_are_refused(tmp_path: Path) -> None:
    config = fake.small_config()
    for _ in range(100):
        config = fake.small_config() | {"config": {"name": "m", "layers": [config]}}
    refused(fake.write_keras(tmp_path / "m.keras", config), "deep")


def test_too_many_values_are_refused_before_decoding(tmp_path: Path) -> None:
    refused(fake.write_keras(tmp_path / "m.keras", b'{"a": [' + b"[]," * 1_100_000 + b"[]]}"), "values")


def test_too_many_layers_are_refused(tmp_path: Path) -> None:
    layers = [fake.keras_3_layer("Flatten", name=f"f{number}") for number in range(10_001)]
    refused(fake.write_keras(tmp_path / "m.keras", config_of(*layers)), "10000 layers")


def test_numbers_out_of_range_reach_the_layer_as_unsupported(tmp_path: Path) -> None:
    for number in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000):
        config = json.dumps(config_of(fake.keras_3_layer("Dropout", name="d", rate="RATE"))).replace(
            '"RATE"', number
        )
        found = read_model(fake.write_keras(tmp_path / "m.keras", config)).spec.layers[-1]
        assert isinstance(found.config["rate"], UnsupportedValue)


def test_absurd_sizes_stay_plain_numbers_for_the_layer_to_refuse(tmp_path: Path) -> None:
    layer = fake.keras_3_layer("Dense", name="d", units=2**63)
    assert (
        read_model(fake.write_keras(tmp_path / "m.keras", config_of(layer))).spec.layers[-1].config["units"]
        == 2**63
    )


def graph(*layers: dict[str, Any]) -> dict[str, Any]:
    config = {"name": "m", "layers": list(layers), "input_layers": ["x", 0, 0], "output_layers": ["a", 0, 0]}
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": config,
        "registered_name": "Functional",
    }


def call(name: str, source: str, node: int = 0) -> dict[str, Any]:
    tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": [source, node, 0]}}
    return fake.keras_3_layer("Flatten", name=name) | {
        "name": name,
        "inbound_nodes": [{"args": [tensor], "kwargs": {}}],
    }


INPUT = fake.keras_3_layer("InputLayer", name="x", batch_shape=[None, 2]) | {"name": "x", "inbound_nodes": []}


def test_graphs_that_lead_back_into_themselves_are_refused(tmp_path: Path) -> None:
    refused(
        fake.write_keras(tmp_path / "m.keras", graph(INPUT, call("a", "b"), call("b", "a"))), "its own result"
    )


def test_graphs_that_name_missing_tensors_are_refused(tmp_path: Path) -> None:
    for layer in (call("a", "nobody"), call("a", "x", 1)):
        refused(fake.write_keras(tmp_path / "m.keras", graph(INPUT, layer)), "takes")


def test_two_layers_of_one_name_are_refused(tmp_path: Path) -> None:
    refused(
        fake.write_keras(tmp_path / "m.keras", graph(INPUT, call("a", "x"), call("a", "x"))),
        "two layers named 'a'",
    )


def test_names_are_escaped_and_cut_in_messages(tmp_path: Path) -> None:
    for name in ("\x1b[31mred\x07\r\n", "a" * 1_000):
        path = fake.write_keras(tmp_path / "m.keras", graph(INPUT, call(name, "x"), call(name, "x")))
        with pytest.raises(ModelFileError) as caught:
            read_model(path)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 600
    refused(fake.write_keras(tmp_path / "m.keras", graph(INPUT, call("n" * 1_000_000, "x"))), "characters")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        b"\x89HDF\r\n\x1a\n",
        b"{",
        b"[1]",
        b"\x80\x04\x95pickle",
        b"PK\x05\x06" + bytes(18),
    ],
)
def test_other_files_are_no_models(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.keras").write_bytes(content)
    refused(tmp_path / "m.keras")


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_model(tmp_path / "none.keras")


def test_importing_the_readers_imports_neither_h5py_nor_pickle_users() -> None:
    import subprocess

    code = "import sys, unrolled.formats; assert 'h5py' not in sys.modules, 'h5py'"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


def test_a_stream_of_bytes_is_never_mistaken_for_more_than_it_holds() -> None:
    from unrolled.formats.hdf5 import HDF5File

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["a"] = np.ones(1000, "f4")
    data = buffer.getvalue()
    with pytest.raises(ModelFileError, match="outside the file"):
        HDF5File(data[: len(data) // 2], "cut").stored(("a",))
