# SPDX-License-Identifier: MIT
"""The command ``unrolled``: what it prints and writes, its exit codes, and errors without a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import unrolled
from unrolled.cli import main
from unrolled.cli.oracle import OracleError

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "mackey_glass"
MODEL = EXAMPLE / "mackey_glass.keras"


def run(capsys, *arguments):
    """Exit code, standard output, standard error; no traceback ever."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def edited(path, change):
    """The example's model at ``path`` with its config changed by ``change(layers)``."""
    with zipfile.ZipFile(MODEL) as source, zipfile.ZipFile(path, "w") as target:
        for member in source.namelist():
            data = source.read(member)
            if member == "config.json":
                config = json.loads(data)
                change(config["config"]["layers"])
                data = json.dumps(config).encode()
            target.writestr(member, data)
    return path


def with_lambda(path):
    def change(layers):
        layers.insert(
            2, {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "mine", "function": "x"}}
        )
        layers[1]["config"]["invented"] = 1

    return edited(path, change)


# -------------------------------------------------------------------- general


@pytest.mark.parametrize("command", [[], ["summary"], ["check"], ["predict"]])
def test_every_command_has_help(capsys, command):
    code, out, _ = run(capsys, *command, "--help")
    assert code == 0
    assert "exit codes" in out


def test_the_version_is_that_of_the_package(capsys):
    code, out, _ = run(capsys, "--version")
    assert (code, out) == (0, f"unrolled {unrolled.__version__}\n")


def test_a_module_run_gives_the_exit_code():
    done = subprocess.run(
        [sys.executable, "-m", "unrolled", "check", "missing.keras"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "unrolled: missing.keras: No such file or directory\n"


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_closed_pipe_is_no_error():
    command = f'"{sys.executable}" -m unrolled predict "{MODEL}" "{EXAMPLE / "test.csv"}" | head -n 1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert float(done.stdout)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["invent", MODEL],
        ["predict", MODEL],
        ["predict", MODEL, EXAMPLE / "test.csv", "--batch-size", "0"],
        ["predict", MODEL, EXAMPLE / "test.csv", "-o", "out.txt"],
        ["predict", MODEL, EXAMPLE / "train.py"],
        ["predict", MODEL, EXAMPLE / "missing.csv"],
        ["predict", MODEL, EXAMPLE / "test.csv", "-o", EXAMPLE / "missing" / "out.csv"],
        ["predict", MODEL, EXAMPLE / "test.csv", "--timesteps", "7"],
        ["summary", EXAMPLE / "missing.keras"],
        ["summary", MODEL, "--line-length", "3"],
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(capsys, arguments):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert "unrolled" in err


@pytest.mark.parametrize("command", ["summary", "check", "predict"])
def test_a_broken_model_exits_with_1_and_says_which_part(capsys, tmp_path, command):
    path = tmp_path / "broken.keras"
    path.write_bytes(MODEL.read_bytes()[:20000])
    code, out, err = run(capsys, command, path, *([EXAMPLE / "test.csv"] if command == "predict" else []))
    assert (code, out) == (1, "")
    assert "broken.keras" in err


# -------------------------------------------------------------- summary, check


def test_summary_prints_what_the_model_prints(capsys):
    lines = []
    unrolled.load_model(MODEL).summary(print_fn=lines.append, line_length=70)
    code, out, _ = run(capsys, "summary", MODEL, "--line-length", "70")
    assert (code, out) == (0, lines[0])


def test_check_says_who_wrote_the_file_and_what_it_uses(capsys):
    code, out, _ = run(capsys, "check", MODEL)
    assert code == 0
    assert ".keras, written by Keras 3.15" in out
    assert "gru: GRU(return_sequences=True, units=32)" in out
    assert "dense: Dense(units=1)" in out
    assert out.endswith("Supported: everything in the file; the weights fit.\n")


def test_check_lists_everything_unsupported_at_once(capsys, tmp_path):
    code, out, _ = run(capsys, "check", with_lambda(tmp_path / "m.keras"))
    assert code == 1
    assert "NOT SUPPORTED, 2 problems" in out
    assert "'mine' (Lambda)" in out
    assert "'gru' (GRU), invented" in out


def test_check_writes_json(capsys, tmp_path):
    code, out, _ = run(capsys, "check", "--json", MODEL)
    report = json.loads(out)
    assert code == 0
    assert report["supported"] is True
    assert report["model"]["parameters"] == 3393
    assert report["model"]["inputs"] == [
        {"name": "input_layer", "shape": [None, None, 1], "dtype": "float32"}
    ]
    assert [layer["class_name"] for layer in report["layers"]] == ["InputLayer", "GRU", "Dense"]
    assert report["differences_from_keras_3"] == report["problems"] == []

    code, out, _ = run(capsys, "check", "--json", with_lambda(tmp_path / "m.keras"))
    report = json.loads(out)
    assert (code, report["supported"], report["model"]) == (1, False, None)
    assert {problem["class_name"] for problem in report["problems"]} == {"Lambda", "GRU"}

    (tmp_path / "broken.h5").write_bytes(b"nothing")
    code, out, err = run(capsys, "check", "--json", tmp_path / "broken.h5")
    assert (code, err) == (1, "")
    assert "broken.h5" in json.loads(out)["error"]


def keras_2(path, layers):
    config = {
        "class_name": "Sequential",
        "keras_version": "2.1.3",
        "backend": "tensorflow",
        "config": [
            {"class_name": name, "config": {"name": name.lower(), **config}} for name, config in layers
        ],
    }
    path.write_text(json.dumps(config))
    return path


def test_check_names_what_todays_keras_would_compute_differently(capsys, tmp_path):
    masked = {"mask_value": 0.0, "batch_input_shape": [None, 5, 2]}
    gru = {"units": 3, "activation": "tanh", "recurrent_activation": "hard_sigmoid"}
    path = keras_2(tmp_path / "old.json", [("Masking", masked), ("GRU", gru)])
    code, out, _ = run(capsys, "check", path)
    assert code == 0
    assert "written by Keras 2.1.3" in out
    assert "hard_sigmoid of 'gru' is clip(0.2 x + 0.5, 0, 1)" in out
    assert "GRU 'gru' has reset_after=False" in out
    # Masked steps at the start give the initial state in this version: zeros, as today.
    assert "initial state" not in out

    path = keras_2(tmp_path / "plain.json", [("LSTM", {"units": 3, "batch_input_shape": [None, 5, 2],
                                                       "recurrent_activation": "sigmoid"})])  # fmt: skip
    _, out, _ = run(capsys, "check", path)
    assert "differently" not in out


def test_text_of_the_file_reaches_the_terminal_escaped(capsys, tmp_path):
    def change(layers):
        layers[1]["config"]["name"] = "\x1b[31mred"
        layers[1]["config"]["invented"] = "\x1b[2J"

    for command in ("check", "summary"):
        _, out, err = run(capsys, command, edited(tmp_path / "m.keras", change))
        assert "\x1b" not in out + err


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "this is a web page"),
        (b"", "the file is empty"),
        (MODEL.read_bytes()[:5000], "a download that was cut short"),
    ],
)
def test_a_download_that_is_no_model_says_what_it_is(capsys, tmp_path, content, hint):
    (tmp_path / "m.keras").write_bytes(content)
    code, _, err = run(capsys, "check", tmp_path / "m.keras")
    assert code == 1
    assert hint in err


def test_weights_given_to_a_whole_file_are_named_as_on_the_command_line(capsys):
    code, _, err = run(capsys, "check", MODEL, "--weights", MODEL)
    assert code == 1
    assert "--weights" in err


def test_an_oracle_that_was_not_asked_is_no_pass(capsys, monkeypatch):
    def fail(*_):
        raise OracleError("Keras is not installed")

    monkeypatch.setattr("unrolled.cli.oracle.compare", fail)
    code, out, _ = run(capsys, "check", MODEL, "--oracle")
    assert code == 2
    assert "NOT COMPARED: Keras is not installed" in out
    code, out, _ = run(capsys, "check", MODEL, "--oracle", "--json")
    assert (code, json.loads(out)["oracle"]) == (2, {"error": "Keras is not installed"})


def test_text_layers_of_keras_are_not_called_custom_code(capsys, tmp_path):
    def change(layers):
        layers[1] |= {"class_name": "TextVectorization", "config": {"name": "text"}}
        layers[2] |= {"class_name": "MyL", "module": None, "registered_name": "MyL"}

    _, out, _ = run(capsys, "check", edited(tmp_path / "m.keras", change))
    text = next(line for line in out.splitlines() if "TextVectorization" in line and "found" in line)
    assert "custom" not in text
    assert "feed it ids" in text
    mine = next(line for line in out.splitlines() if "MyL" in line and "found" in line)
    assert "MyL from MyL" not in mine
    assert "custom_objects" in mine


# -------------------------------------------------------------------- predict


def test_predict_gives_the_forecast_of_keras(capsys, tmp_path):
    target = tmp_path / "forecast.csv"
    code, out, _ = run(capsys, "predict", MODEL, EXAMPLE / "test.csv", "-o", target)
    assert code == 0
    assert out.startswith(f"{target}: (1, 1000, 1) from 'mackey_glass' in ")
    keras = np.loadtxt(EXAMPLE / "keras_forecast.csv")
    np.testing.assert_allclose(np.loadtxt(target), keras, rtol=0, atol=2e-6)


def test_predict_writes_the_same_numbers_in_every_format(capsys, tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 9, 1)).astype(np.float32)
    expected = unrolled.load_model(MODEL).predict(x)
    np.save(tmp_path / "x.npy", x)
    np.savez_compressed(tmp_path / "x.npz", anything=x)
    np.savetxt(tmp_path / "x.csv", x.reshape(-1, 1), fmt="%.9g")
    names = ",".join(f"step {t}" for t in range(9))
    np.savetxt(tmp_path / "rows.csv", x.reshape(4, 9), fmt="%.9g", delimiter=",", header=names, comments="")
    for name in ("x.npy", "x.npz", "x.csv", "rows.csv"):
        timesteps = ("--timesteps", 9) if name.endswith("csv") else ()
        for out in ("y.npy", "y.npz", "y.csv"):
            command = ("predict", MODEL, tmp_path / name, "-o", tmp_path / out, "--batch-size", 3, *timesteps)
            assert run(capsys, *command)[0] == 0
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)
        np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["output"], expected)
        table = np.loadtxt(tmp_path / "y.csv", dtype=np.float32)
        np.testing.assert_array_equal(table, expected.reshape(-1))


def dense_model(path, layers):
    config = {"class_name": "Sequential", "module": "keras", "config": {"name": "m", "layers": layers}}
    path.write_text(json.dumps(config))
    return path


def layer(class_name, **config):
    return {
        "class_name": class_name,
        "module": "keras.layers",
        "config": {"name": class_name.lower(), **config},
    }


@pytest.mark.parametrize("command", ["predict", "stream"])
def test_a_file_without_weights_predicts_nothing(capsys, tmp_path, command):
    gru = {"units": 3, "batch_input_shape": [None, 5, 2]}
    path = keras_2(tmp_path / "old.json", [("GRU", gru)])
    code, out, err = run(capsys, command, path, *(["x.npy"] if command == "predict" else []))
    assert (code, out) == (2, "")
    assert "holds no weights; --weights names the file that has them" in err
    _, out, _ = run(capsys, "check", path)
    assert out.endswith("Supported: everything in the file, which holds no weights.\n")


def test_check_shows_what_a_file_says_and_nothing_usual(capsys, tmp_path):
    path = keras_2(
        tmp_path / "old.json",
        [
            ("Conv1D", {"filters": 2, "kernel_size": 3, "data_format": "channels_last", "dtype": "float32",
                        "batch_input_shape": [None, 5, 2]}),
            ("LSTM", {"units": 3, "recurrent_activation": "hard_sigmoid", "dtype": "float16"}),
        ],
    )  # fmt: skip
    _, out, _ = run(capsys, "check", path)
    assert "Conv1D(filters=2, kernel_size=3)" in out
    assert "LSTM(units=3, recurrent_activation=hard_sigmoid, dtype=float16)" in out


def test_csv_rows_are_samples_where_the_input_has_no_time(capsys, tmp_path):
    model = dense_model(tmp_path / "m.json", [layer("InputLayer", batch_shape=[None, 3]),
                                              layer("Rescaling", scale=2.0, offset=1.0)])  # fmt: skip
    (tmp_path / "x.csv").write_text("a,b,c\n1,2,3\n\n4,5,6\n")
    code, out, _ = run(capsys, "predict", model, tmp_path / "x.csv")
    assert (code, out) == (0, "3,5,7\n9,11,13\n")


def test_csv_rows_are_whole_samples_where_the_model_fixes_the_timesteps(capsys, tmp_path):
    model = dense_model(tmp_path / "m.json", [layer("InputLayer", batch_shape=[None, 2, 2]),
                                              layer("Rescaling", scale=2.0, offset=0.0)])  # fmt: skip
    (tmp_path / "rows.csv").write_text("1,2,3,4\n5,6,7,8\n")
    (tmp_path / "steps.csv").write_text("1,2\n3,4\n5,6\n7,8\n")
    for name in ("rows.csv", "steps.csv"):
        code, out, _ = run(capsys, "predict", model, tmp_path / name)
        assert (code, out) == (0, "2,4\n6,8\n10,12\n14,16\n")
    (tmp_path / "odd.csv").write_text("1,2\n3,4\n5,6\n")
    code, _, err = run(capsys, "predict", model, tmp_path / "odd.csv")
    assert code == 2
    assert "3 rows are no whole number of sequences of 2 timesteps" in err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("words.csv", b"1\n2\nthree\n"),
        ("ragged.csv", b"1\n2,3\n"),
        ("empty.csv", b""),
        ("wide.csv", b"1,2\n3,4\n"),
        ("bytes.csv", b"\xff\xfe\x00"),
        ("broken.npy", b"\x93NUMPY\x01\x00"),
        ("broken.npz", b"PK\x03\x04 nothing"),
        ("text.npy", b"hello"),
    ],
)
def test_an_input_that_is_broken_or_does_not_fit_exits_with_2(capsys, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    code, out, err = run(capsys, "predict", MODEL, tmp_path / name)
    assert (code, out) == (2, "")
    assert name in err


def test_pickles_are_never_loaded(capsys, tmp_path):
    class Attack:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "run",))

    np.save(tmp_path / "x.npy", np.array([Attack()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([Attack()], dtype=object))
    (tmp_path / "run").unlink(missing_ok=True)
    for name in ("x.npy", "x.npz"):
        code, _, _ = run(capsys, "predict", MODEL, tmp_path / name)
        assert code == 2
    assert not (tmp_path / "run").exists()


def test_several_inputs_and_outputs_go_through_npz(capsys, tmp_path):
    def reference(name):
        return {"class_name": "__keras_tensor__", "config": {"shape": [None, 4, 2], "dtype": "float32",
                                                            "keras_history": [name, 0, 0]}}  # fmt: skip

    def node(name, class_name, *inputs, **config):
        nodes = [{"args": [reference(inputs[0]) if len(inputs) == 1 else list(map(reference, inputs))],
                  "kwargs": {}}] if inputs else []  # fmt: skip
        return {"class_name": class_name, "module": "keras.layers", "name": name,
                "config": {"name": name, **config}, "inbound_nodes": nodes}  # fmt: skip

    layers = [
        node("a", "InputLayer", batch_shape=[None, 4, 2]),
        node("b", "InputLayer", batch_shape=[None, 4, 2]),
        node("twice", "Rescaling", "a", scale=2.0, offset=0.0),
        node("more", "Rescaling", "b", scale=1.0, offset=1.0),
    ]
    config = {"name": "m", "layers": layers, "input_layers": [["a", 0, 0], ["b", 0, 0]],
              "output_layers": [["twice", 0, 0], ["more", 0, 0]]}  # fmt: skip
    model = tmp_path / "m.json"
    model.write_text(json.dumps({"class_name": "Functional", "module": "keras.src.models.functional",
                                 "config": config}))  # fmt: skip
    a, b = np.random.default_rng(1).normal(size=(2, 3, 4, 2)).astype(np.float32)
    np.savez(tmp_path / "named.npz", b=b, a=a)
    np.savez(tmp_path / "ordered.npz", a, b)
    for name in ("named.npz", "ordered.npz"):
        code, _, err = run(capsys, "predict", model, tmp_path / name, "-o", tmp_path / "y.npz")
        assert (code, err) == (0, "")
        y = np.load(tmp_path / "y.npz")
        np.testing.assert_array_equal(y["output_0"], 2 * a)
        np.testing.assert_array_equal(y["output_1"], b + 1)
    np.savez(tmp_path / "wrong.npz", a=a, c=b)
    np.savez(tmp_path / "one.npz", a=a)
    for name in ("wrong.npz", "one.npz"):
        code, _, err = run(capsys, "predict", model, tmp_path / name, "-o", tmp_path / "y.npz")
        assert code == 2
        assert "'b'" in err
    for name in ("y.npy", "y.csv"):
        code, _, err = run(capsys, "predict", model, tmp_path / "named.npz", "-o", tmp_path / name)
        assert code == 2
        assert ".npz" in err


# -------------------------------------------------------------------- example


def test_the_example_is_better_than_persistence_and_plots(tmp_path):
    pytest.importorskip("matplotlib")
    done = subprocess.run(
        [sys.executable, EXAMPLE / "evaluate.py", EXAMPLE / "keras_forecast.csv", "--plot", tmp_path / "f.png"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    values = {line[:22].strip(): line[22:].split()[0] for line in done.stdout.splitlines()}
    assert float(values["RMSE"]) < 0.02
    assert float(values["RMSE of persistence"]) > 0.3
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
