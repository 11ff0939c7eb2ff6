# SPDX-License-Identifier: MIT
"""Names of a file may hold anything; a terminal, a log and a JSON reader see none of it raw."""

from __future__ import annotations

import copy
import io
import json
import pickle
import sys
import traceback
import zipfile
from pathlib import Path

import numpy as np
import pytest

import unrolled
from unrolled.cli import main
from unrolled.errors import ConfigError, ModelFileError, Problem, StreamError, UnsupportedModelError
from unrolled.formats.hdf5.writing import Group, write_hdf5

NAMES = {
    "escape": "\x1b[31mred\x1b[2J",
    "lines": "a\r\nunrolled: b\x85c\u2028d",
    "bidi": "\u202eevil\u2066\u200f",
    "surrogate": "half\ud800",
    "quotes": "'\"`$(x)\\",
    "nothing": "\x00\x07\x7f\x9b31m",
    "brackets": "{} {0} %s %n",
    "megabyte": "x\x1b" * 500_000,
    "long": "y\x1b" * 500,
}


def layers_of(name):
    """A small recurrent model, its places for names and values."""
    return [
        {"class_name": "InputLayer", "module": "keras.layers",
         "config": {"name": "x", "batch_shape": [None, 4, 2], "dtype": "float32"}},
        {"class_name": "SimpleRNN", "module": "keras.layers",
         "config": {"name": "rnn", "units": 3, "activation": "tanh"}},
        {"class_name": "Dense", "module": "keras.layers", "config": {"name": "dense", "units": 2}},
    ]  # fmt: skip


def document(layers, name="m"):
    return {"class_name": "Sequential", "module": "keras", "config": {"name": name, "layers": layers}}


def reference(name):
    config = {"shape": [None, 2], "dtype": "float32", "keras_history": [name, 0, 0]}
    return {"class_name": "__keras_tensor__", "config": config}


def places(text):
    """Documents with ``text`` in every place where a name or a value can stand."""
    for index in range(3):
        for change in (
            {"class_name": text},
            {"class_name": f"My>{text}", "registered_name": f"{text}>My"},
            {"module": text, "class_name": "Mine"},
            {"registered_name": f"{text}>Mine", "module": "mine"},
        ):
            layers = layers_of(text)
            layers[index] |= change
            yield document(layers)
        for change in (
            {"name": text},
            {text: 1},
            {"invented": text},
            {"invented": {text: [text]}},
            {"dtype": text},
            {"dtype": {"class_name": text, "config": {"name": text}}},
            {"units": text},
            {"batch_shape": [None, text, 2]},
            {"activation": text},
            {
                "activation": {
                    "class_name": "function",
                    "module": text,
                    "config": text,
                    "registered_name": text,
                }
            },
            {"activation": {"class_name": text, "module": text, "config": {"name": text}}},
            {"kernel_initializer": text},
            {"kernel_initializer": {"class_name": text, "module": text, "config": {text: text}}},
            {"kernel_initializer": {"class_name": "Orthogonal", "config": {"gain": text}}},
            {"kernel_regularizer": text},
        ):
            layers = layers_of(text)
            layers[index]["config"] |= change
            yield document(layers)
    yield document(layers_of(text), text)
    yield document(layers_of(text)) | {"class_name": text}
    yield document(layers_of(text)) | {"module": text, "registered_name": text}
    yield document(layers_of(text)) | {"keras_version": text, "backend": text}
    yield {text: text}
    yield text
    layers = layers_of(text)
    layers[1] = {"class_name": "Lambda", "module": "keras.layers", "config": {"name": text, "function": text}}
    yield document(layers)
    layers = layers_of(text)
    layers[1] = {"class_name": "Bidirectional", "module": "keras.layers",
                 "config": {"name": text, "merge_mode": text, "layer": layers[1]}}  # fmt: skip
    yield document(layers)
    layers = layers_of(text)
    layers[1:] = [{"class_name": "TextVectorization", "module": "keras.layers", "config": {"name": text}},
                  {"class_name": "Dense", "module": "keras.layers", "config": {"name": text, "units": 2}}]  # fmt: skip
    yield document(layers)
    for wrong in (text, "b"):
        functional = [
            {"class_name": "InputLayer", "module": "keras.layers", "name": text, "inbound_nodes": [],
             "config": {"name": text, "batch_shape": [None, 2]}},
            {"class_name": "Dense", "module": "keras.layers", "name": "b", "config": {"name": "b", "units": 1},
             "inbound_nodes": [{"args": [reference(wrong)], "kwargs": {text: text}}]},
        ]  # fmt: skip
        for ends in (text, "b"):
            yield {"class_name": "Functional", "module": "keras.src.models.functional",
                   "config": {"name": text, "layers": copy.deepcopy(functional), "input_layers": [[text, 0, 0]],
                              "output_layers": [[ends, 0, 0]]}}  # fmt: skip


def weights_of(text):
    """Weights files with ``text`` among their names."""
    for place in range(4):
        root = Group()
        group = root.at("layers", *([text] if place == 0 else ["simple_rnn"]), "cell", "vars")
        group.attributes["name"] = text[:1000]
        group.children[text if place == 1 else "0"] = np.ones((2, 3), np.float32)
        group.children["1"] = np.ones((3, 3), np.float32)
        if place == 2:
            root.at(text)
        yield root


def write_weights(root):
    try:
        return write_hdf5(root)
    except (ValueError, UnicodeEncodeError):  # such a name is none of HDF5
        return None


def assert_shown_well(text):
    bad = {character for character in text if not character.isprintable() and character != "\n"}
    assert not bad, f"{bad} in {text[:300]!r}"
    assert "Traceback" not in text
    # A newline of a file would begin a line that looks like one of ours.
    assert not any(line.startswith("unrolled: b") for line in text.split("\n"))
    assert len(text) < 100_000


def run_all(capsys, monkeypatch, path, tmp_path, loads, turn):
    """Run every command on a file that loads. Where it does not, all but ``check`` show the one error of
    ``load_model``: one of them is run, another one each turn."""
    x = tmp_path / "x.npy"
    commands = (
        ["summary", path],
        ["summary", path, "--expand-nested"],
        ["convert", path, tmp_path / "new.keras"],
        ["predict", path, x],
        ["predict", path, x, "-o", tmp_path / "y.npz"],
        ["predict", path, tmp_path / "x.npz"],
        ["stream", path],
        ["bench", path, "--no-peers", "--seconds", "0.001"],
    )
    shown = commands if loads else [commands[turn % len(commands)]]
    for arguments in (["check", path], ["check", "--json", path], *shown):
        with monkeypatch.context() as context:
            context.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1,2\n")))
            code = main([str(argument) for argument in arguments])
        assert code in (0, 1, 2)
        out, err = capsys.readouterr()
        if "--json" in arguments and out:
            assert out.isascii()
            assert_no_surrogates(
                json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
            )
            out = ""
        assert_shown_well(out)
        assert_shown_well(err)


def assert_no_surrogates(value):
    json.dumps(value, ensure_ascii=False).encode()


def assert_errors_show_well(path, **options):
    """Load a file; whether that succeeds."""
    loads = False
    try:
        model = unrolled.load_model(path, **options)
        loads = True
        text = repr(model) + "".join(map(repr, model.layers))
    except (UnsupportedModelError, ModelFileError, ValueError) as error:
        again = str(pickle.loads(pickle.dumps(error)))
        text = "" if again == str(error) else pytest.fail(f"{again} is not {error}")
        text += str(error) + "".join(map(str, getattr(error, "problems", ())))
        shown = "".join(traceback.format_exception_only(error))
        assert_shown_well(shown)
        whole = "".join(traceback.format_exception(error)).replace("Traceback (most recent call last)", "")
        assert "\x1b" not in whole
    assert_shown_well(text)
    return loads


@pytest.fixture(autouse=True)
def inputs(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 4, 2), np.float32))
    np.savez(tmp_path / "x.npz", np.ones((1, 4, 2), np.float32), np.ones((1, 4, 2), np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_file_reaches_the_terminal_raw(capsys, monkeypatch, tmp_path, name):
    text = NAMES[name]
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(document(layers_of(""))))
    weights = write_hdf5(next(weights_of("vars")))
    for number, found in enumerate(places(text)):
        written = json.dumps(found)
        path = tmp_path / "m.json"
        path.write_text(written)
        loads = assert_errors_show_well(path)
        if name == "megabyte" and number % 10:
            continue  # each takes seconds
        run_all(capsys, monkeypatch, path, tmp_path, loads, number)
        archive = tmp_path / "m.keras"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("config.json", written)
            file.writestr("metadata.json", json.dumps({"keras_version": text if number % 2 else "3.15.1"}))
            file.writestr("model.weights.h5", weights)
        loads = assert_errors_show_well(archive)
        run_all(capsys, monkeypatch, archive, tmp_path, loads, number)
    for root in weights_of(text):
        data = write_weights(root)
        if data is None:
            continue
        (tmp_path / "w.h5").write_bytes(data)
        assert_errors_show_well(plain, weights=tmp_path / "w.h5")
        assert main(["check", str(plain), "--weights", str(tmp_path / "w.h5")]) in (0, 1)
        assert_shown_well("".join(capsys.readouterr()))


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_an_h5_file_reaches_the_terminal_raw(capsys, monkeypatch, tmp_path, name):
    h5py = pytest.importorskip("h5py")
    text = NAMES[name]
    for number, found in enumerate(places(text)):
        if number % 4:
            continue
        path = tmp_path / "m.h5"
        with h5py.File(path, "w") as file:
            written = json.dumps(found)
            if len(written) > 60_000:
                file.attrs["model_config"] = "{}"
            else:
                file.attrs["model_config"] = written
            clean = text.encode("utf-8", "replace").replace(b"\0", b"") or b"x"
            file.attrs["keras_version"] = clean[:1000] if number % 8 else b"2.4.0"
            group = file.create_group("model_weights")
            group.attrs["layer_names"] = np.array([clean[:500]])
            inner = group.create_group(clean[:500].replace(b"/", b"").replace(b".", b""))
            inner.attrs["weight_names"] = np.array([clean[:500]])
        loads = assert_errors_show_well(path)
        run_all(capsys, monkeypatch, path, tmp_path, loads, number // 4)


@pytest.mark.parametrize("name", NAMES)
def test_our_exceptions_show_no_control_characters_and_pickle(name):
    text = NAMES[name]
    problem = Problem(text, text, text, text, text)
    errors = [
        ModelFileError(text),
        StreamError(text),
        ConfigError(text, text, text),
        UnsupportedModelError([problem] * 60),
    ]
    for error in errors:
        assert_shown_well(str(error))
        assert_shown_well(str(pickle.loads(pickle.dumps(error))))
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert "\n" not in "".join(map(str, [problem, *errors[:3]]))


def test_what_a_terminal_cannot_show_ends_no_command(monkeypatch, capsys, tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(document(layers_of(""), "mödel")))
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["summary", str(path)]) == 0
    out.flush()
    assert b"m\\xf6del" in out.buffer.getvalue()


def test_file_names_are_shown_escaped(capsys, tmp_path):
    for name in ("\x1b[31m.keras", "a\nb.json"):
        path = Path(tmp_path) / name
        path.write_bytes(b"{}")
        for arguments in (
            ["check", path],
            ["check", "--json", path],
            ["summary", path],
            ["predict", path, path],
        ):
            assert main([str(argument) for argument in arguments]) in (1, 2)
            out, err = capsys.readouterr()
            assert_shown_well(out if "--json" not in arguments else "")
            assert_shown_well(err)
