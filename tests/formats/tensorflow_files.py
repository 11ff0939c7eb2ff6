# SPDX-License-Identifier: MIT
"""Files as TensorFlow writes them, made byte by byte, so that tests can make any that TensorFlow would not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from unrolled.formats.archive import DiskFiles
from unrolled.formats.tensorbundle.bundle import GRAPH_KEY
from unrolled.formats.tensorbundle.crc32c import masked_crc32c
from unrolled.formats.tensorbundle.saved_model import _find_metadata
from unrolled.formats.tensorbundle.table import MAGIC

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, value: int | bytes | str) -> bytes:
    """A field of a message; numbers of 0 are left out, as TensorFlow does."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fixed32(number: int, value: int) -> bytes:
    return varint(number << 3 | 5) + value.to_bytes(4, "little")


def entry(dtype=1, shape=(), shard=0, offset=0, size=0, checksum=0, more=b"") -> bytes:
    """BundleEntryProto."""
    sizes = b"".join(field(2, field(1, length) or b"\x08\x00") for length in shape)
    return (
        field(1, dtype) + field(2, sizes) + field(3, shard) + field(4, offset) + field(5, size)
        + fixed32(6, checksum) + more
    )  # fmt: skip


def block(
    pairs: list[tuple[bytes, bytes]], restarts: bytes | None = None, shared: int | None = None
) -> bytes:
    data, last = b"", b""
    for key, value in pairs:
        same = next(
            (i for i, (a, b) in enumerate(zip(key, last, strict=False)) if a != b), min(len(key), len(last))
        )
        claimed = same if shared is None or not last else shared
        data += varint(claimed) + varint(len(key) - same) + varint(len(value)) + key[same:] + value
        last = key
    return data + (bytes(4) + (1).to_bytes(4, "little") if restarts is None else restarts)


def table(
    pairs: list[tuple[bytes, bytes]], *, footer: bytes | None = None, kind: bytes = b"\0", **options
) -> bytes:
    """A LevelDB table with one data block."""

    def add(content: bytes) -> bytes:
        nonlocal data
        handle = varint(len(data)) + varint(len(content))
        data += content + kind + masked_crc32c(content + kind).to_bytes(4, "little")
        return handle

    data = b""
    first = add(block(pairs, **options))
    meta = add(block([]))
    index = add(block([(b"w", first)]))
    return data + (footer if footer is not None else (meta + index).ljust(40, b"\0")) + MAGIC


def header(shards: int = 1, order: int = 0) -> bytes:
    return field(1, shards) + field(2, order) + field(3, field(1, 1))


def string_tensor(text: bytes) -> tuple[bytes, int]:
    """The bytes of a tensor of one string, and its checksum."""
    length = len(text).to_bytes(4, "little")
    mark = masked_crc32c(length).to_bytes(4, "little")
    return varint(len(text)) + mark + text, masked_crc32c(length + mark + text)


def node(
    children: dict[str, int] | list[tuple[str, int]] = (),
    tensors: dict[str, str] | None = None,
    name: str = "",
) -> bytes:
    """TrackableObject."""
    pairs = children.items() if isinstance(children, dict) else children
    data = b"".join(field(1, field(1, target) + field(2, key)) for key, target in pairs)
    return data + b"".join(
        field(2, field(1, kind) + field(2, name) + field(3, key)) for kind, key in (tensors or {}).items()
    )


def write_bundle(
    prefix: Path, tensors: dict[str, object], graph: list[bytes] | None = None, **changes
) -> Path:
    """A checkpoint of arrays and texts. ``changes`` by key replace an entry (``bytes``) or its parts (a dict)."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    if graph is not None:
        tensors = tensors | {GRAPH_KEY: b"".join(field(1, each) for each in graph)}
    shards = changes.pop("shards", 1)
    options = changes.pop("table", {})
    data, pairs = b"", {b"": header(shards)}
    for key, value in tensors.items():
        if isinstance(value, bytes):
            content, checksum = string_tensor(value)
            parts = {"dtype": 7, "shape": ()}
        else:
            value = np.asarray(value)
            content, checksum = value.tobytes(), masked_crc32c(value.tobytes())
            parts = {"dtype": DTYPES[str(value.dtype)], "shape": value.shape}
        parts |= {"offset": len(data), "size": len(content), "checksum": checksum}
        data += content
        change = changes.get(key.replace("/", "_"), {})
        pairs[key.encode()] = change if isinstance(change, bytes) else entry(**(parts | change))
    prefix.with_name(prefix.name + ".index").write_bytes(table(sorted(pairs.items()), **options))
    prefix.with_name(f"{prefix.name}.data-00000-of-{shards:05d}").write_bytes(data)
    return prefix


DENSE = {
    "layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE": np.arange(6, dtype="float32").reshape(3, 2),
    "layer_with_weights-0/bias/.ATTRIBUTES/VARIABLE_VALUE": np.ones(2, "float32"),
}


def dense_graph() -> list[bytes]:
    """The objects of a model of one Dense layer."""
    kernel, bias = DENSE
    return [
        node({"layer-0": 1, "layer_with_weights-0": 1}),
        node({"kernel": 2, "bias": 3}),
        node({}, {"VARIABLE_VALUE": kernel}, "dense/kernel"),
        node({}, {"VARIABLE_VALUE": bias}, "dense/bias"),
    ]


DENSE_CONFIG = {
    "class_name": "Sequential",
    "config": {
        "name": "m",
        "layers": [
            {"class_name": "Dense", "config": {"name": "dense", "units": 2, "batch_input_shape": [None, 3]}}
        ],
    },
    "keras_version": "2.8.0",
    "backend": "tensorflow",
}


def write_dense(folder: Path, **changes) -> tuple[Path, Path]:
    """An architecture and a checkpoint of one Dense layer."""
    folder.mkdir(parents=True, exist_ok=True)
    architecture = folder / "m.json"
    architecture.write_text(json.dumps(DENSE_CONFIG))
    graph = changes.pop("graph", dense_graph())
    return architecture, write_bundle(folder / "cp.ckpt", dict(DENSE), graph, **changes)


def saved_model(
    metadata: bytes = b"", identifier: str = "_tf_keras_sequential", graph_def: bytes = bytes(100)
) -> bytes:
    """`saved_model.pb` with metadata at its root object."""
    root = field(4, field(1, identifier) + field(3, metadata))
    meta_graph = (
        field(1, field(4, "serve") + field(5, "2.8.0")) + field(2, graph_def) + field(7, field(1, root))
    )
    return field(1, 1) + field(2, meta_graph)


def keras_metadata(metadata: bytes, identifier: str = "_tf_keras_sequential") -> bytes:
    return field(1, field(2, 0) + field(3, "root") + field(4, identifier) + field(5, metadata))


def write_saved_dense(folder: Path, metadata: bytes | None = None, **changes) -> Path:
    """A SavedModel folder of one Dense layer."""
    config = {**DENSE_CONFIG, "model_config": {k: DENSE_CONFIG[k] for k in ("class_name", "config")}}
    metadata = json.dumps(config).encode() if metadata is None else metadata
    write_bundle(folder / "variables" / "variables", dict(DENSE), dense_graph(), **changes)
    (folder / "saved_model.pb").write_bytes(saved_model())
    (folder / "keras_metadata.pb").write_bytes(keras_metadata(metadata))
    return folder


def root_metadata(folder: Path) -> bytes:
    """The JSON of the root object of a SavedModel folder."""
    return _find_metadata(DiskFiles(folder, "m")).metadata
