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
from unrolled.formats import pickles, tfjs
from unrolled.formats.archive import (
    Archive,
    DiskFiles,
    Files,
    FolderArchive,
    MemoryFiles,
    ZipArchive,
    read_content,
    regular_size,
)
from unrolled.formats.checks import JSON_BYTES, MEMBERS, converted, mapping, sequence, text
from unrolled.formats.config.json_text import parse_object
from unrolled.formats.config.models import Decoder, decode_model
from unrolled.formats.config.versions import KERAS_1, KERAS_3_UNKNOWN, TENSORFLOW_1, Writer, parse_version
from unrolled.formats.hdf5 import HDF5File
from unrolled.formats.recognition import Kind, Source, recognise
from unrolled.formats.tensorbundle import checkpoints, saved_model
from unrolled.formats.tensorbundle.bundle import Bundle
from unrolled.formats.tensorbundle.weights import ObjectWeights, OrderedWeights
from unrolled.formats.vocabularies import fill_vocabularies
from unrolled.formats.weights.lists import ListWeights, has_names
from unrolled.formats.weights.manifest import manifest_weights
from unrolled.formats.weights.tree import ROOT, ROOT_2_12, TreeWeights
from unrolled.spec import LayerSpec, ModelFile, ModelSpec, WeightSource

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

Content = Path | bytes
# Opens an HDF5 file, or its content, under a title.
OpenHDF5 = Callable[[Content, str], HDF5File]


def read_architecture(document: str) -> ModelFile:
    """See ``unrolled.formats.read_json``."""
    return _read_json(parse_object(document, "JSON"), "JSON", None)


def read_serialized(serialized: dict[str, Any]) -> ModelSpec:
    """See ``unrolled.formats.read_config``."""
    return _decode(serialized, KERAS_3_UNKNOWN, "config")[0]


class Reader:
    """Reads model files and weights.

    Parameters
    ----------
    open_hdf5 : callable
        How HDF5 files are read.
    """

    def __init__(self, open_hdf5: OpenHDF5 = HDF5File) -> None:
        self._open = open_hdf5

    def read_model(self, content: Content, title: str | None, weights: WeightSource | None) -> ModelFile:
        """See ``unrolled.formats.read_model``."""
        source = recognise(content, title)
        if source.kind is Kind.JSON:
            document = _parse(source)
            if not tfjs.is_model(document):
                return _read_json(document, source.title, weights)
            source = Source(Kind.TFJS, source.content, source.title)
        if weights is not None:
            raise ModelFileError(
                f"{source.title}: has weights of its own; weights= (--weights) goes with a JSON architecture"
            )
        if source.kind is Kind.KERAS_FOLDER:
            return self._read_archive(FolderArchive(source.path), ".keras folder")
        if source.kind is Kind.KERAS_ARCHIVE:
            return self._read_archive(ZipArchive(source.content, source.title), ".keras")
        if source.kind is Kind.HDF5:
            return self._read_whole_hdf5(source)
        if source.kind is Kind.SAVED_MODEL:
            return _read_saved_model(DiskFiles(source.path, source.title), "SavedModel")
        if source.kind is Kind.CHECKPOINT:
            return _read_checkpoint(source)
        if source.kind is Kind.TFJS:
            return _read_tfjs(source)
        inside = pickles.find_model(source.content, source.title)
        if inside.members is not None:
            return _read_saved_model(MemoryFiles(inside.members, source.title), "pickle of a SavedModel")
        return self._read_archive(ZipArchive(inside.data, source.title), "pickle of a .keras")

    def read_weights(self, content: Content, title: str | None) -> WeightSource:
        """See ``unrolled.formats.read_weights``."""
        source = recognise(content, title)
        if source.kind is Kind.KERAS_FOLDER:
            return self._archive_weights(FolderArchive(source.path), None)
        if source.kind is Kind.KERAS_ARCHIVE:
            return self._archive_weights(ZipArchive(source.content, source.title), None)
        if source.kind is Kind.HDF5:
            return _hdf5_weights(partial(self._open, source.content, source.title), None)
        if source.kind is Kind.SAVED_MODEL:
            return _saved_weights(DiskFiles(source.path, source.title))
        if source.kind is Kind.CHECKPOINT:
            opener = _checkpoint_opener(source)
            opener()
            return ObjectWeights(opener)
        if source.kind is Kind.PICKLE:
            inside = pickles.find_model(source.content, source.title)
            if inside.members is not None:
                return _saved_weights(MemoryFiles(inside.members, source.title))
            return self._archive_weights(ZipArchive(inside.data, source.title), None)
        document = _parse(source)
        if source.kind is Kind.TFJS or tfjs.is_model(document):
            model = tfjs.read_model(document, source.title, _folder(source))
            if model.manifest is None:
                raise ModelFileError(f"{source.title}: a TensorFlow.js model without weights")
            return manifest_weights(model.manifest)
        return self._sharded_weights(source, document)

    # --------------------------------------------------------- .keras archives

    def _read_archive(self, archive: Archive, kind: str) -> ModelFile:
        metadata = (
            parse_object(archive.read(_METADATA), f"{archive.title}, {_METADATA}")
            if _METADATA in archive
            else {}
        )
        version = metadata.get("keras_version")
        writer = parse_version(version) if isinstance(version, str) else KERAS_3_UNKNOWN
        part = f"{archive.title}, {_CONFIG}"
        spec, _ = _decode(parse_object(archive.read(_CONFIG), part), writer, part)
        weights = self._archive_weights(archive, writer)
        fill_vocabularies(spec, archive, partial(self._open_member, archive))
        return ModelFile(spec, weights, kind, writer.text, writer.semantics)

    def _archive_weights(self, archive: Archive, writer: Writer | None) -> TreeWeights:
        if _WEIGHTS not in archive:
            raise ModelFileError(f"{archive.title}: has no member {_WEIGHTS!r}")
        opener = partial(self._open_member, archive)
        # Opened at once, so that a broken file is reported when it is read.
        with closing(opener()) as file:
            if not any(root in name.split("\\") for name in file.children(()) for root in (ROOT, ROOT_2_12)):
                raise ModelFileError(f"{file.title}: has no group {ROOT!r}")
        same_model = writer is not None
        repeated = (True, False) if writer is None else (writer.counts_repeated_layers,)
        return TreeWeights([opener], repeated, same_model=same_model)

    def _open_member(self, archive: Archive) -> HDF5File:
        part = f"{archive.title}, {_WEIGHTS}"
        if isinstance(archive, FolderArchive):
            return self._open(archive.member(_WEIGHTS), part)
        return self._open(archive.read(_WEIGHTS), part)

    # -------------------------------------------------------------------- HDF5

    def _read_whole_hdf5(self, source: Source) -> ModelFile:
        name = source.title
        opener = partial(self._open, source.content, name)
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

    def _sharded_weights(self, source: Source, document: dict[str, Any]) -> WeightSource:
        """Weights split over files that a `.weights.json` lists, next to it."""
        name = source.title
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
            target = source.path.parent / shard
            with converted(f"{name}: file {printable(shard)!r}"):
                if not target.exists():
                    raise ModelFileError(f"{name}: its file {printable(shard)!r} is missing")
                regular_size(target)
            openers.append(partial(self._open, target, printable(shard)))
        if not openers:
            raise ModelFileError(f"{name}: lists no files")
        return TreeWeights(openers)


# ------------------------------------------------------------------------ HDF5


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


def _parse(source: Source) -> dict[str, Any]:
    return parse_object(read_content(source.content, JSON_BYTES, source.title), source.title)


def _read_json(document: dict[str, Any], name: str, weights: WeightSource | None) -> ModelFile:
    if "weight_map" in document and "class_name" not in document:
        raise ModelFileError(
            f"{name}: holds weights only; give the JSON architecture, and this file as its weights (weights=, --weights)"
        )
    version = document.get("keras_version")
    if isinstance(version, str):
        writer = parse_version(version)
    else:
        # Keras 3 says no version but a module; Keras 1 wrote the version from 1.1 on.
        writer = KERAS_3_UNKNOWN if "module" in document else KERAS_1
    spec, undecided = _decode(document, writer, name)
    if isinstance(weights, ObjectWeights):
        weights.spec = spec
    settle_reset_after(undecided, weights)
    kind = "JSON" if weights is None else "JSON + weights"
    return ModelFile(spec, weights, kind, writer.text, writer.semantics)


# ------------------------------------------------------------------ TensorFlow


def _read_saved_model(files: Files, kind: str) -> ModelFile:
    config = saved_model.read_config(files)
    writer = parse_version(config.keras_version or config.tensorflow_version)
    spec, undecided = _decode(config.document, writer, f"{files.title}, model_config")
    opener = partial(saved_model.open_variables, files)
    opener()
    weights = ObjectWeights(opener, spec)
    settle_reset_after(undecided, weights)
    if config.tensorflow_version:
        kind += f" of TensorFlow {printable(config.tensorflow_version)}"
    return ModelFile(spec, weights, kind, writer.text, writer.semantics)


def _saved_weights(files: Files) -> WeightSource:
    opener = partial(saved_model.open_variables, files)
    opener()
    return OrderedWeights(opener) if saved_model.is_exported(files) else ObjectWeights(opener)


def _checkpoint_opener(source: Source) -> Callable[[], Bundle]:
    prefix = source.path
    return partial(Bundle, DiskFiles(prefix.parent, source.title), prefix.name)


def _read_checkpoint(source: Source) -> ModelFile:
    opener = _checkpoint_opener(source)
    document = checkpoints.read_config(opener())
    spec, _ = _decode(document, TENSORFLOW_1, source.title)
    return ModelFile(
        spec, ObjectWeights(opener, spec), Kind.CHECKPOINT.value, TENSORFLOW_1.text, TENSORFLOW_1.semantics
    )


def _folder(source: Source) -> Path | None:
    return None if isinstance(source.content, bytes) else source.content.parent


def _read_tfjs(source: Source) -> ModelFile:
    model = tfjs.read_model(_parse(source), source.title, _folder(source))
    writer = parse_version(model.version) if model.version else KERAS_1
    spec, undecided = _decode(model.document, writer, f"{source.title}, modelTopology")
    weights = None if model.manifest is None else manifest_weights(model.manifest)
    settle_reset_after(undecided, weights)
    return ModelFile(spec, weights, "TensorFlow.js layers model", writer.text, writer.semantics)


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
