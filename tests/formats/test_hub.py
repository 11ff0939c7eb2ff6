# SPDX-License-Identifier: MIT
"""Models on the Hugging Face Hub, from a local cache: nothing here uses the network."""

from __future__ import annotations

import shutil
import sys

import pytest

import unrolled
from tests import containers

COMMIT = "f" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache as huggingface_hub lays it out: files are links from a snapshot to blobs."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def add(repository, files):
        folder = tmp_path / ("models--" + repository.replace("/", "--"))
        for number, (name, source) in enumerate(files.items()):
            blob = folder / "blobs" / f"{number:040x}"
            blob.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, blob)
            link = folder / "snapshots" / COMMIT / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(COMMIT)

    return add


def tree(name):
    folder = containers.folder() / name
    return {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}


def test_a_repository_of_one_model_needs_no_more_than_its_name(cache):
    cache("owner/one", {"lstm.pkl": containers.folder() / "protocol4.pkl"})
    cache("owner/saved", tree("plain_lstm_saved"))
    cache("owner/web", tree("plain_lstm_tfjs"))
    for name in ("one", "saved", "web", "one@main", f"one@{COMMIT}"):
        assert [layer.class_name for layer in unrolled.load_model(f"hf://owner/{name}").layers] == [
            "LSTM",
            "Dense",
        ]


def test_a_file_or_folder_in_a_repository_is_named_behind_it(cache):
    files = {f"a/{name}": path for name, path in tree("plain_lstm_saved").items()}
    files |= {f"web/{name}": path for name, path in tree("plain_lstm_tfjs").items()}
    cache("owner/many", files | {"b.pkl": containers.folder() / "stacked_cells_3.pkl"})
    assert unrolled.load_model("hf://owner/many/a").layers[0].class_name == "LSTM"
    assert unrolled.load_model("hf://owner/many/web/model.json").layers[0].class_name == "LSTM"
    assert unrolled.load_model("hf://owner/many/b.pkl").layers[0].class_name == "RNN"
    with pytest.raises(unrolled.ModelFileError, match=r"holds 2 models; name one \(b\.pkl, a\)"):
        unrolled.load_model("hf://owner/many")
    with pytest.raises(FileNotFoundError):
        unrolled.load_model("hf://owner/many/none.keras")


def test_weights_come_from_the_hub_too(cache):
    cache("owner/weights", tree("plain_lstm_checkpoint"))
    model = unrolled.load_model(containers.folder() / "plain_lstm.json", weights="hf://owner/weights/cp.ckpt")
    assert len(model.get_weights()) == 5


@pytest.mark.parametrize("address", ["hf://", "hf://owner", "hf://owner/name/../../x", "hf://a b/c"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(unrolled.ModelFileError, match="expected hf://OWNER/NAME"):
        unrolled.load_model(address)


def test_without_huggingface_hub_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"unrolled\[hub\]"):
        unrolled.load_model("hf://owner/name")
