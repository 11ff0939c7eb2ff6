# SPDX-License-Identifier: MIT
"""The kinds of files that are mutated: their originals, and mutations that respect what each is made of."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import pickle
import random
import shutil
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py

from tests import containers, fixtures
from tests.formats import tensorflow_files as tf
from tests.fuzz.mutate import damage, damage_json
from unrolled.formats.tensorbundle.bundle import GRAPH_KEY
from unrolled.formats.tensorbundle.crc32c import masked_crc32c
from unrolled.formats.tensorbundle.table import read_table
from unrolled.formats.tensorbundle.wire import Budget, fields

# What load_model is given: a path or bytes, and weights or None.
Given = tuple[object, object]
Mutation = Callable[[random.Random, Path], Given]

# Files beyond this size would only slow the mutants down.
_LARGEST = 150_000


@dataclass(frozen=True)
class Original:
    """Files of one model, by their names in one folder, and what to load."""

    files: dict[str, bytes]
    path: str
    weights: str | None = None


def _folder_files(folder: Path, names: list[str]) -> dict[str, bytes]:
    found = {}
    for name in names:
        path = folder / name
        inner = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        found |= {file.relative_to(folder).as_posix(): file.read_bytes() for file in inner}
    return found


@functools.cache
def _keras_files(suffix: str) -> list[bytes]:
    paths = [fixture.path for fixture in fixtures.all_fixtures() if fixture.path.suffix == suffix]
    return [data for path in paths[::3] if len(data := path.read_bytes()) < _LARGEST]


@functools.cache
def _containers(kind: str) -> list[Original]:
    found = []
    for entry in containers.entries():
        if entry["kind"] != kind or entry["refused"]:
            continue
        names = [entry["path"]] + ([entry["weights"]] if entry["weights"] else [])
        if kind == "checkpoint" and not entry["weights"].endswith("ckpt"):
            continue
        names = [name.split("/")[0] for name in names]
        found.append(Original(_folder_files(containers.folder(), names), entry["path"], entry["weights"]))
    return found


def _write(original: Original, changed: dict[str, bytes], folder: Path) -> Given:
    """The files laid out, changed ones in place of the originals."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in (original.files | changed).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / original.path, None if original.weights is None else folder / original.weights


# ------------------------------------------------------------------ .keras, .h5


def _mutate_zip(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return damage(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    members[name] = (damage_json if name.endswith(".json") else damage)(members[name], rng)
    target = io.BytesIO()
    with zipfile.ZipFile(
        target, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as archive:
        for key, value in members.items():
            archive.writestr(key, value)
    return target.getvalue()


def keras(rng: random.Random, folder: Path) -> Given:
    return _mutate_zip(rng.choice(_keras_files(".keras")), rng), None


def h5(rng: random.Random, folder: Path) -> Given:
    return damage(rng.choice(_keras_files(".h5")), rng), None


@functools.cache
def _rewritten() -> list[bytes]:
    """Files of Keras as other tools write them: newer structures, every filter."""
    found = []
    options = [
        {},
        {"compression": "gzip", "shuffle": True},
        {"compression": "lzf"},
        {"fletcher32": True},
        {"chunks": True},
    ]
    for number, data in enumerate(_keras_files(".h5")[:30]):
        target = io.BytesIO()
        bounds = ("earliest", "v108", "latest")[number % 3]
        block = (0, 512)[number % 2]
        with h5py.File(io.BytesIO(data)) as old, h5py.File(
            target, "w", libver=(bounds, "latest"), userblock_size=block, track_order=number % 4 == 0
        ) as new:  # fmt: skip
            for key, value in old.attrs.items():
                new.attrs[key] = value

            def copy(name: str, found: object, new: h5py.File = new, number: int = number) -> None:
                if isinstance(found, h5py.Dataset):
                    extra = options[number % len(options)] if found.ndim and found.size else {}
                    made = new.create_dataset(name, data=found[()], **extra)
                else:
                    made = new.require_group(name)
                for key, value in found.attrs.items():
                    made.attrs[key] = value

            old.visititems(copy)
            for extra in range(12 if number % 5 == 0 else 0):
                new.attrs[f"more{extra}"] = "text"
        found.append(target.getvalue())
    return found


def h5_newer(rng: random.Random, folder: Path) -> Given:
    return damage(rng.choice(_rewritten()), rng), None


def architecture(rng: random.Random, folder: Path) -> Given:
    return damage_json(rng.choice(_architectures()), rng), None


@functools.cache
def _architectures() -> list[bytes]:
    found = []
    for data in _keras_files(".keras"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found.append(archive.read("config.json"))
    return found + [
        path.read_bytes() for path in containers.folder().glob("*.json") if path.name != "index.json"
    ]


# ------------------------------------------------------------------ TensorFlow


def _mutate_index(files: dict[str, bytes], prefix: str, rng: random.Random) -> dict[str, bytes]:
    """Entries of a checkpoint damaged under right checksums, so that readers get to see them."""
    index, data = f"{prefix}.index", f"{prefix}.data-00000-of-00001"
    if data not in files or rng.random() < 0.3:
        name = rng.choice([name for name in files if name.startswith(prefix)])
        return {name: damage(files[name], rng)}
    pairs = read_table(files[index])
    content = bytearray(files[data])
    key = rng.choice([*pairs, GRAPH_KEY.encode()])
    if key == GRAPH_KEY.encode():
        parts = {number: value for number, value in fields(pairs[key], Budget()) if isinstance(value, int)}
        old = bytes(content[parts.get(4, 0) : parts.get(4, 0) + parts[5]])
        text = old[old.index(b"\x0a", 5) :] if b"\x0a" in old[5:] else old
        fresh, checksum = tf.string_tensor(damage(text, rng))
        offset = len(content)
        content += fresh
        pairs[key] = tf.entry(7, (), 0, offset, len(fresh), checksum)
    elif rng.random() < 0.5 or not key:
        pairs[key] = damage(pairs[key], rng) or b"\0"
    else:
        pairs[key] = tf.entry(
            rng.choice((1, 1, 1, 3, 7, 9, 14, 19, 200)),
            [rng.choice((0, 1, 2, 3, 12, 16, 1 << 20, 1 << 40, -1)) for _ in range(rng.randrange(4))],
            rng.choice((0, 0, 0, 1, 1 << 31)),
            rng.choice((0, 4, len(content), 1 << 40, (1 << 64) - 1)),
            rng.choice((0, 4, 48, len(content), 1 << 40, (1 << 64) - 1)),
            rng.choice((0, masked_crc32c(bytes(content)))),
        )
    if rng.random() < 0.1:
        pairs[b"k" * rng.randrange(1, 3000)] = pairs[key]
    return {index: tf.table(sorted(pairs.items())), data: bytes(content)}


def checkpoint(rng: random.Random, folder: Path) -> Given:
    original = rng.choice(_containers("checkpoint"))
    assert original.weights is not None
    if rng.random() < 0.1:
        return _write(original, {original.path: damage_json(original.files[original.path], rng)}, folder)
    return _write(original, _mutate_index(original.files, original.weights, rng), folder)


def savedmodel(rng: random.Random, folder: Path) -> Given:
    original = rng.choice(_containers("savedmodel"))
    base = original.path
    chosen = rng.random()
    if chosen < 0.35:
        changed = _mutate_index(original.files, f"{base}/variables/variables", rng)
    elif chosen < 0.7:
        metadata = damage_json(_metadata(original), rng)
        if rng.random() < 0.5:
            changed = {f"{base}/keras_metadata.pb": tf.keras_metadata(metadata)}
        else:
            changed = {f"{base}/saved_model.pb": tf.saved_model(metadata)}
    else:
        name = rng.choice([f"{base}/saved_model.pb", f"{base}/keras_metadata.pb"])
        changed = {name: damage(original.files[name], rng)}
    return _write(original, changed, folder)


@functools.cache
def _metadata_of(path: str) -> bytes:
    return tf.root_metadata(containers.folder() / path)


def _metadata(original: Original) -> bytes:
    return _metadata_of(original.path)


# --------------------------------------------------------- TensorFlow.js, pickle


def tfjs(rng: random.Random, folder: Path) -> Given:
    original = rng.choice(_containers("tfjs"))
    name = next(name for name in original.files if name.endswith("model.json"))
    if rng.random() < 0.8:
        return _write(original, {name: damage_json(original.files[name], rng)}, folder)
    other = rng.choice(list(original.files))
    return _write(original, {other: damage(original.files[other], rng)}, folder)


def pickled(rng: random.Random, folder: Path) -> Given:
    data = rng.choice(_pickles())
    chosen = rng.random()
    if chosen < 0.4:
        start = data.find(b"PK\x03\x04")
        if start >= 0 and rng.random() < 0.5:  # the opcodes around the archive
            head, end = damage(data[:start], rng), damage(data[-40:], rng)
            data = head + data[start:-40] + end
        else:
            data = damage(data, rng)
    elif chosen < 0.8:
        with zipfile.ZipFile(io.BytesIO(rng.choice(_keras_files(".keras")))) as archive:
            inner = io.BytesIO()
            with zipfile.ZipFile(inner, "w") as fresh:
                for name in archive.namelist():
                    member = archive.read(name)
                    if rng.random() < 0.4:
                        member = (damage_json if name.endswith(".json") else damage)(member, rng)
                    fresh.writestr(name, member)
        data = pickle.dumps((inner.getvalue(), 1.5, ["text"]), protocol=rng.choice((2, 3, 4, 5)))
    elif chosen < 0.9:
        data = pickle.dumps([data] * rng.randrange(3))
    packed = rng.random()
    if packed < 0.2:
        pack = rng.choice((zlib.compress, gzip.compress, bz2.compress, lzma.compress))
        data = pack(data)
        if packed < 0.08:
            data = damage(data, rng)
    return data, None


@functools.cache
def _pickles() -> list[bytes]:
    paths = [entry["path"] for entry in containers.entries() if entry["kind"] == "pickle"]
    return [(containers.folder() / path).read_bytes() for path in paths]


def recognised(rng: random.Random, folder: Path) -> Given:
    """The starts of all formats, mixed: which reader gets a file."""
    starts = (b"PK\x03\x04", b"PK\x05\x06", b"\x89HDF\r\n\x1a\n", b"{", b"\x80\x04", b"\x1f\x8b", b"x\x9c", b"BZh9", b"\xfd7zXZ\x00",
              b"\x1c\0\0\0TFL3", b"\x08\x07\x12\x07pytorch", b"\x08\x01\x12", b"\x0a\x10\x0a\x01x\x12\x0bPlaceholder",
              b"version https://git-lfs", b"\x93NUMPY", b"<html>", b"")  # fmt: skip
    return rng.choice(starts) + damage(rng.randbytes(rng.choice((16, 600, 3000))), rng), None


FORMATS: dict[str, Mutation] = {
    "keras": keras,
    "h5": h5,
    "h5-newer": h5_newer,
    "json": architecture,
    "savedmodel": savedmodel,
    "checkpoint": checkpoint,
    "tfjs": tfjs,
    "pickle": pickled,
    "recognition": recognised,
}
