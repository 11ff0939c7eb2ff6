# SPDX-License-Identifier: MIT
"""Models that this process has loaded, by content: many tasks of a worker use one."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from unrolled.models import Model

# A worker rarely alternates between more models; each keeps its weights twice.
MOST_MODELS = 4

_models: OrderedDict[str, Model] = OrderedDict()
_lock = threading.Lock()


def cached(digest: str, load: Callable[[], Model]) -> Model:
    """The model of this content; ``load`` is called where this process has none."""
    with _lock:
        model = _models.pop(digest, None)
        if model is None:
            model = load()
        _models[digest] = model
        while len(_models) > MOST_MODELS:
            _models.popitem(last=False)
        return model


def digest_of_path(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, or of everything in a folder.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    """
    total = hashlib.sha256()
    for name, file in _files(Path(path)):
        total.update(name.encode() + b"\0")
        with open(file, "rb") as opened:
            while block := opened.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield file.relative_to(path).as_posix(), file
    else:
        yield "", path


def digest_of_model(model: Model) -> str:
    """SHA-256 of a model's config, the rules of its Keras version, and its weights.

    A function in it (``custom_objects``) counts by its name and where it stands in memory, so that two
    processes do not take different ones for the same.
    """
    structure = [model.class_name, repr(model.semantics), model.get_config()]
    total = hashlib.sha256(json.dumps(structure, sort_keys=True, default=repr).encode())
    for weight in model.get_weights():
        total.update(f"{weight.dtype}{weight.shape}".encode() + np.ascontiguousarray(weight).tobytes())
    return total.hexdigest()
