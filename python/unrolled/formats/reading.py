# SPDX-License-Identifier: MIT
"""Reading of model files: which format it is, who wrote it, its description and its weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from unrolled.errors import ModelFileError, printable
from unrolled.formats.archive import Archive, FolderArchive, ZipArchive, read_file, regular_size
from unrolled.formats.checks import JSON_BYTES, MEMBERS, converted, mapping, sequence, text
from unrolled.formats.config.json_text import parse_object
from unrolled.formats.config.models import Decoder, decode_model
from unrolled.formats.config.versions import KERAS_1, KERAS_3_UNKNOWN, Writer, parse_version
from unrolled.formats.hdf5 import SIGNATURE, HDF5File
from unrolled.formats.weights.lists import ListWeights, has_names
from unrolled.formats.weights.tree import ROOT, ROOT_2_12, TreeWeights
from unrolled.spec import LayerSpec, ModelFile, ModelSpec, WeightSource

_ZIP = b"PK\x03\x04"
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def read_model_file(path: Path, weights: Path | None) -> ModelFile:
    """See ``unrolled.formats.read_model``."""
    kind = _kind(path)
    if kind == "json":
        return _read_json(path, weights)
    if weights is not None:
        raise ModelFileError(
            f"{printable(path.name)}: has weights of its own; weights= (--weights) goes with a JSON architecture"
        )
    if kind == "hdf5":
        return _read_whole_hdf5(path)
    return _read_archive(FolderArchive(path) if kind == "folder" else ZipArchive(path))


def read_architecture(document: str) -> ModelFile:
    """See ``unrolled.formats.read_json``."""
    return _architecture(parse_object(document, "JSON"), "JSON", None)


def read_serialized(serialized: dict[str, Any]) -> ModelSpec:
    """See ``unrolled.formats.read_config``."""
    return _decode(serialized, KERAS_3_UNKNOWN, "config")[0]


def read_weights_file(path: Path) -> WeightSource:
    """See ``unrolled.formats.read_weights``."""
    kind = _kind(path)
    if kind in ("folder", "zip"):
        return _archive_weights(FolderArchive(path) if kind == "folder" else ZipArchive(path), None)
    if kind == "json":
        return _sharded_weights(path)
    return _hdf5_weights(partial(HDF5File, path, printable(path.name)), None)


def _kind(path: Path) -> str:
    """The kind of a file by its content: "folder", "zip", "hdf5" or "json"."""
    if path.is_dir():
        return "folder"
    regular_size(path)
    with open(path, "rb") as file:
        start = file.read(512)
    if start.startswith(SIGNATURE):
        return "hdf5"
    if start.startswith(_ZIP):
        return "zip"
    if start.lstrip().startswith(b"{"):
        return "json"
    text = start.lstrip().lower()
    hint = ""
    if not start:
        hint = "; the file is empty"
    elif text.startswith(b"version https://git-lfs"):
        hint = "; this is a pointer of Git LFS: `git lfs pull` fetches the model itself"
    elif text.startswith((b"<!doctype html", b"<html")):
        hint = "; this is a web page: download the file itself (on GitHub or Hugging Face its raw form)"
    raise ModelFileError(
        f"{printable(path.name)}: neither a zip archive (.keras), nor HDF5 (.h5), nor a JSON object{hint}"
    )


# ------------------------------------------------------------- .keras archives


def _read_archive(archive: Archive) -> ModelFile:
    metadata = (
        parse_object(archive.read(_METADATA), f"{archive.title}, {_METADATA}") if _METADATA in archive else {}
    )
    version = metadata.get("keras_version")
    writer = parse_version(version) if isinstance(version, str) else KERAS_3_UNKNOWN
    part = f"{archive.title}, {_CONFIG}"
    spec, _ = _decode(parse_object(archive.read(_CONFIG), part), writer, part)
    weights = _archive_weights(archive, writer)
    kind = ".keras folder" if isinstance(archive, FolderArchive) else ".keras"
    return ModelFile(spec, weights, kind, writer.text, writer.semantics)


def _archive_weights(archive: Archive, writer: Writer | None) -> TreeWeights:
    if _WEIGHTS not in archive:
        raise ModelFileError(f"{archive.title}: has no member {_WEIGHTS!r}")
    opener = partial(_open_member, archive)
    # Opened at once, so that a broken file is reported when it is read.
    with closing(opener()) as file:
        if not any(root in name.split("\\") for name in file.children(()) for root in (ROOT, ROOT_2_12)):
            raise ModelFileError(f"{file.title}: has no group {ROOT!r}")
    same_model = writer is not None
    repeated = (True, False) if writer is None else (writer.counts_repeated_layers,)
    return TreeWeights([opener], repeated, same_model=same_model)


def _open_member(archive: Archive) -> HDF5File:
    part = f"{archive.title}, {_WEIGHTS}"
    if isinstance(archive, FolderArchive):
        return HDF5File(archive.member(_WEIGHTS), part)
    return HDF5File(archive.read(_WEIGHTS), part)


# ------------------------------------------------------------------------ HDF5


def _read_whole_hdf5(path: Path) -> ModelFile:
    name = printable(path.name)
    opener = partial(HDF5File, path, name)
    with closing(opener()) as file:
        config = file.attribute((), "model_config")
        version = file.attribute((), "keras_version")
    if config is None:
        raise ModelFileError(
            f"{name}: holds weights only; give the JSON architecture, and this file as its weights (weights=, --weights)"
        )
    if not isinstance(config, str):
        raise ModelFileError(f"{name}: attribute 'model_config' is a list, expected JSON")
    part = f"{name}, attribute 'model_config'"
    document = parse_object(config, part)
    writer = parse_version(version) if isinstance(version, str) else KERAS_1
    spec, undecided = _decode(document, writer, part)
    weights = _hdf5_weights(opener, writer)
    settle_reset_after(undecided, weights)
    return ModelFile(spec, weights, "whole .h5", writer.text, writer.semantics)


def _hdf5_weights(opener: Callable[[], HDF5File], writer: Writer | None) -> WeightSource:
    """The weights of an HDF5 file of any layout; ``writer`` where the file describes the model as well."""
    with closing(opener()) as file:
        base: tuple[str, ...] = ("model_weights",) if file.contains(("model_weights",)) else ()
        if has_names(file, base, "layer_names"):
            version, backend = (
                file.attribute(base, key) or (file.attribute((), key) if base else None)
                for key in ("keras_version", "backend")
            )
            stored = parse_version(version) if isinstance(version, str) else KERAS_1
            return ListWeights(
                opener,
                base,
                stored,
                backend if isinstance(backend, str) else None,
                same_model=writer is not None,
            )
        names = {part for name in file.children(()) for part in name.split("\\")[:1]}
        if names & {ROOT, ROOT_2_12}:
            return TreeWeights([opener])
        raise ModelFileError(f"{file.title}: holds no weights of a Keras model")


# ------------------------------------------------------------------------ JSON


def _read_json(path: Path, weights: Path | None) -> ModelFile:
    name = printable(path.name)
    document = parse_object(read_file(path, JSON_BYTES), name)
    if "weight_map" in document and "class_name" not in document:
        raise ModelFileError(
            f"{name}: holds weights only; give the JSON architecture, and this file as its weights (weights=, --weights)"
        )
    return _architecture(document, name, weights)


def _architecture(document: dict[str, Any], name: str, weights: Path | None) -> ModelFile:
    version = document.get("keras_version")
    if isinstance(version, str):
        writer = parse_version(version)
    else:
        # Keras 3 says no version but a module; Keras 1 wrote the version from 1.1 on.
        writer = KERAS_3_UNKNOWN if "module" in document else KERAS_1
    spec, undecided = _decode(document, writer, name)
    source = None if weights is None else read_weights_file(weights)
    settle_reset_after(undecided, source)
    return ModelFile(
        spec, source, "JSON" if source is None else "JSON + weights", writer.text, writer.semantics
    )


def _sharded_weights(path: Path) -> WeightSource:
    """Weights split over files that a `.weights.json` lists, next to it."""
    name = printable(path.name)
    document = parse_object(read_file(path, JSON_BYTES), name)
    shards: dict[str, None] = {}
    for key, files in mapping(document.get("weight_map"), f"{name}, weight_map").items():
        for file in [files] if isinstance(files, str) else sequence(files, f"{name}, {printable(key)!r}"):
            shards[text(file, f"{name}, {printable(key)!r}")] = None
    if len(shards) > MEMBERS:
        raise ModelFileError(f"{name}: {len(shards)} files (at most {MEMBERS})")
    openers = []
    for shard in shards:
        # Only files of the same folder: a path would let a file name any other of this machine.
        if not re.fullmatch(r"[^/\\:\x00]+\.weights\.h5", shard):
            raise ModelFileError(f"{name}: {printable(shard)!r} is no name of a weights file next to it")
        target = path.parent / shard
        with converted(f"{name}: file {printable(shard)!r}"):
            if not target.exists():
                raise ModelFileError(f"{name}: its file {printable(shard)!r} is missing")
            regular_size(target)
        openers.append(partial(HDF5File, target, printable(shard)))
    if not openers:
        raise ModelFileError(f"{name}: lists no files")
    return TreeWeights(openers)


# -------------------------------------------------------------------- decoding


def _decode(document: dict[str, Any], writer: Writer, part: str) -> tuple[ModelSpec, list[LayerSpec]]:
    """The model of a document, and its GRUs whose config does not say ``reset_after``."""
    with converted(f"{part}: not a config that Keras writes"):
        decoder = Decoder(writer)
        return decode_model(document, decoder, part), decoder.undecided


def settle_reset_after(undecided: list[LayerSpec], weights: WeightSource | None) -> None:
    """Let the weights decide on ``reset_after`` where configs do not: its bias has two rows.

    Files of Keras up to 2.1.4 have no such key and no such bias; later ones have the key.
    """
    if isinstance(weights, ListWeights):
        for layer in undecided:
            if layer.config.get("use_bias", True) and weights.bias_rank(layer.name) == 2:
                layer.config["reset_after"] = True


def all_layers(spec: ModelSpec) -> Iterator[LayerSpec]:
    """All layers of a model, those of nested models and inside of layers included."""
    waiting: list[Any] = list(spec.layers)
    while waiting:
        value = waiting.pop()
        if isinstance(value, LayerSpec):
            yield value
            waiting += value.config.values()
            waiting += value.model.layers if value.model is not None else []
        elif isinstance(value, list):
            waiting += value
