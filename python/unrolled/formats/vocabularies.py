# SPDX-License-Identifier: MIT
"""Vocabularies that `.keras` files keep beside the config: `assets/layers/text_vectorization/vocabulary.txt`.

Sources: keras 3.15 and tf_keras 2.21 ``saving/saving_lib.py`` (the folders are those of the weights) and
``layers/preprocessing/index_lookup.py`` (``save_assets``; the weights of "tf_idf" lie with the weights).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from unrolled.errors import ModelFileError, printable
from unrolled.formats.archive import Archive
from unrolled.formats.hdf5 import HDF5File
from unrolled.formats.weights.tree import IDF_WEIGHTS, ROOT, snake_case
from unrolled.spec import LayerSpec, ModelSpec

CLASSES = ("TextVectorization", "StringLookup", "IntegerLookup")


def fill_vocabularies(spec: ModelSpec, archive: Archive, open_weights: Callable[[], HDF5File]) -> None:
    """Give the configs of lookup layers the vocabularies that the archive keeps for them.

    Raises
    ------
    ModelFileError
        A vocabulary is no text of UTF-8, or no integers where they are expected.
    """
    for layer, path in _lookups(spec, ()):
        if layer.config.get("vocabulary") is not None:
            continue
        member = "/".join(("assets", *path, "vocabulary.txt"))
        if member not in archive:
            continue
        where = f"{archive.title}, {printable(member)!r}"
        try:
            text = archive.read(member).decode("utf-8")
        except UnicodeDecodeError:
            raise ModelFileError(f"{where}: is no UTF-8") from None
        # Lines as Python reads them: Windows writes two characters at their ends.
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        while lines and not lines[-1]:
            lines.pop()
        layer.config["vocabulary"] = _integers(lines, where) if layer.class_name == "IntegerLookup" else lines
        if layer.config.get("output_mode") in ("tf_idf", "tf-idf"):
            layer.config["idf_weights"] = _weights(open_weights, path)


def _lookups(spec: ModelSpec, above: tuple[str, ...]) -> Iterator[tuple[LayerSpec, tuple[str, ...]]]:
    """The lookup layers of a model with the folders that Keras keeps their files in."""
    counters: dict[str, int] = {}
    for layer in spec.layers:
        is_input = layer.class_name == "InputLayer"
        if layer.origin == "keras.ops" or (is_input and spec.kind == "Sequential"):
            continue
        if layer.model is None:
            name = snake_case(layer.class_name)
        else:
            name = "sequential" if layer.model.kind == "Sequential" else "functional"
        number = counters.get(name, -1) + 1
        counters[name] = number
        path = (*above, ROOT, name if number == 0 else f"{name}_{number}")
        if layer.model is not None:
            yield from _lookups(layer.model, path)
        elif layer.class_name in CLASSES:
            yield layer, path


def _integers(lines: list[str], where: str) -> list[int]:
    # Of at most so many digits, as Python's conversion takes quadratic time.
    if not all(len(line) <= 20 and line.removeprefix("-").isdecimal() for line in lines):
        raise ModelFileError(f"{where}: a line is no integer")
    return [int(line) for line in lines]


def _weights(open_weights: Callable[[], HDF5File], path: tuple[str, ...]) -> list[float] | None:
    """The weights of tokens, special ones and padding counted; None where the file has none."""
    file = open_weights()
    try:
        place = (*path, "vars", IDF_WEIGHTS)
        if not file.contains(place):
            return None
        values: list[float] = np.asarray(file.stored(place).read(), np.float64).reshape(-1).tolist()
        return values
    finally:
        file.close()
