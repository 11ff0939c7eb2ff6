# SPDX-License-Identifier: MIT
"""The command ``unrolled serve``: its names, errors and what it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.serving.running import running, save
from unrolled.cli.serve import split_model


@pytest.mark.parametrize(
    ("text", "name", "file"),
    [
        ("model.keras", "model", "model.keras"),
        ("folder/a.weights.h5", "a", "folder/a.weights.h5"),
        ("x=folder/model.keras", "x", "folder/model.keras"),
        ("x=a=b.keras", "x", "a=b.keras"),
        ("folder/a=b.keras", "a=b", "folder/a=b.keras"),
    ],
)
def test_a_model_is_named_by_its_file_or_as_told(text, name, file):
    assert split_model(text) == (name, file)


def unrolled(*arguments):
    command = [sys.executable, "-m", "unrolled", "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        ([], 2, "MODEL"),
        (["absent.keras"], 2, "absent.keras"),
        (["{lstm}", "{lstm}"], 2, "two models are named 'lstm'"),
        (["a b={lstm}"], 2, "NAME=FILE"),
        (["{lstm}", "--host", "0.0.0.0"], 2, "--api-key-file"),
        (["{lstm}", "--port", "99999"], 2, "port"),
        (["{lstm}", "--api-key-file", "absent"], 2, "absent"),
        (["{broken}"], 1, "broken.keras"),
    ],
)
def test_a_wrong_command_line_is_an_error_that_says_why(tmp_path, arguments, code, part):
    pytest.importorskip("uvicorn")
    save(tmp_path, "lstm")
    (tmp_path / "broken.keras").write_bytes(b"broken")
    files = {"{lstm}": tmp_path / "lstm.keras", "{broken}": tmp_path / "broken.keras"}
    done = unrolled(
        *(str(files.get(part_, part_)).replace("{lstm}", str(files["{lstm}"])) for part_ in arguments)
    )
    assert done.returncode == code
    assert part in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("missing", "options"), [("starlette", []), ("grpc", ["--grpc-port", "0"])])
def test_without_the_extra_the_command_names_it(tmp_path, missing, options):
    if missing == "grpc":
        pytest.importorskip("uvicorn")
    (path,) = save(tmp_path, "lstm")
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from unrolled.cli import main; "
        f"sys.exit(main(['serve', {str(path)!r}, *{options!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "pip install 'unrolled[" in done.stderr


def test_the_command_line_imports_nothing_of_the_extra():
    code = "import sys, unrolled.cli, unrolled.serving; unrolled.cli.main(['--version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"starlette", "uvicorn", "grpc", "asyncio", "uvloop"} & set(done.stdout.split())


def test_logs_are_json_lines_and_requests_are_logged_where_asked(tmp_path):
    pytest.importorskip("uvicorn")
    with running(*save(tmp_path, "lstm"), "--access-log") as service:
        service.ask("/v2/models/lstm/infer", {"inputs": []})
        service.wait_for_log("request")
        (entry,) = service.logged("request")
        assert (entry["model"], entry["code"], entry["level"]) == ("lstm", "400", "info")
        service.stop()
        assert all(line.startswith("{") for line in service.lines)
