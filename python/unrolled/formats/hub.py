# SPDX-License-Identifier: MIT
"""Models on the Hugging Face Hub: ``hf://OWNER/NAME[@REVISION][/FILE]``, brought in by huggingface_hub."""

from __future__ import annotations

import re
from pathlib import Path

from unrolled.errors import ModelFileError, printable
from unrolled.formats.checks import converted

SCHEME = "hf://"
# Files that models consist of; what else a repository holds is left there.
_MODEL_FILES = (".keras", ".h5", ".hdf5", ".pkl", ".pickle", ".joblib")
_MEMBERS = (
    *(f"*{suffix}" for suffix in _MODEL_FILES),
    "*.json", "*.pb", "*.index", "*.data-*", "*.bin", "group*", "checkpoint",
)  # fmt: skip


def download(address: str) -> Path:
    """The local copy of a model on the Hub; of a whole repository the one model in it.

    Raises
    ------
    ImportError
        huggingface_hub is not installed.
    ModelFileError
        No such address, or several models in the repository.
    FileNotFoundError
        The repository has no such file.
    """
    match = re.fullmatch(r"hf://([\w.\-]+/[\w.\-]+)(?:@([\w.\-]+))?(?:/(.+))?", address)
    if match is None or (match[3] and ".." in match[3].split("/")):
        raise ModelFileError(f"{printable(address)}: expected hf://OWNER/NAME or hf://OWNER/NAME/FILE")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            f"{printable(address)} needs huggingface_hub: pip install 'unrolled[hub]'"
        ) from error
    repository, revision, name = match[1], match[2], (match[3] or "").strip("/")
    patterns = list(_MEMBERS)
    if name:
        beside = name.rpartition("/")[0]
        patterns = [name, f"{name}/*", f"{name}.index", f"{name}.data-*"]
        if name.endswith("model.json"):  # of TensorFlow.js: its weights lie beside it
            patterns += [f"{beside}/{member}".lstrip("/") for member in ("*.bin", "group*")]
    # Whatever the network or the Hub says: no such repository, no access, no connection.
    with converted(f"{printable(address)}: not to be had"):
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    if name:
        return folder / name
    return _only_model(folder, address)


def _only_model(folder: Path, address: str) -> Path:
    """The one model of a repository."""
    if any((folder / name).exists() for name in ("saved_model.pb", "model.weights.h5", "model.json")):
        return folder
    found = sorted(path for path in folder.rglob("*") if path.suffix in _MODEL_FILES and path.is_file())
    found += sorted(path.parent for path in folder.rglob("saved_model.pb"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(printable(path.relative_to(folder), 80) for path in found[:8])
    raise ModelFileError(
        f"{printable(address)}: holds {len(found)} models; name one ({names})"
        if found
        else f"{printable(address)}: holds no file of a Keras model"
    )
