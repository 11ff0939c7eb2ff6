# SPDX-License-Identifier: MIT
"""``unrolled serve``: models behind HTTP and gRPC. Nothing of the extra is imported before ``run``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from unrolled.cli.common import EXIT_CODES, Commands, UsageError, lacks_weights
from unrolled.serving.options import Options

if TYPE_CHECKING:
    from unrolled.models import Model

_EPILOG = """\
MODEL is a file that load_model reads; NAME is what clients call it (the file's name without its ending where
absent). The service speaks the Open Inference Protocol, version 2:

  curl -d '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 1], "data": [0.5]}]}' \\
    http://127.0.0.1:8000/v2/models/NAME/infer

and shows its models at http://127.0.0.1:8000/. Sequences, WebSocket, gRPC, limits, containers: docs/serving.md.
SIGTERM and Ctrl+C end it when all requests are answered.

"""
# Option, field, type, metavar, help.
_OPTIONS = [
    ("--host", str, "ADDRESS", "address to listen on; other machines need --api-key-file"),
    ("--port", int, "PORT", "of HTTP and WebSocket; 0 takes a free one"),
    ("--grpc-port", int, "PORT", "of gRPC (needs the extra grpc); 0 takes a free one; off where absent"),
    ("--workers", int, "N", "processes that share the packed weights"),
    ("--threads", int, "N", "that one prediction of a worker uses; more pay for large models only"),
    ("--api-key-file", str, "FILE", "keys that requests must bring, one a line"),
    ("--rate-limit", float, "N", "requests a second of one client, in each worker; unlimited where absent"),
    ("--max-body-bytes", int, "N", "of a request"),
    ("--max-json-bytes", int, "N", "of the JSON in a request; tensors may follow it as bytes"),
    ("--max-header-bytes", int, "N", "of the head of a request"),
    ("--max-rows", int, "N", "in one request"),
    ("--max-timesteps", int, "N", "in one request, of all its rows together"),
    ("--max-connections", int, "N", "at once, in each worker"),
    ("--max-sequences", int, "N", "at once, of each model in each worker"),
    ("--max-waiting", int, "N", "requests that wait for one model in each worker; more are refused"),
    ("--sequence-idle", float, "SECONDS", "until an unused sequence is forgotten"),
    ("--request-timeout", float, "SECONDS", "from the first byte of a request to its last"),
    ("--write-timeout", float, "SECONDS", "until a client that does not read its answer is given up"),
    ("--idle-timeout", float, "SECONDS", "until an unused connection is closed"),
    ("--drain-timeout", float, "SECONDS", "for requests under way when the service is told to stop"),
]
LOG_LEVELS = ["debug", "info", "warning", "error"]


def add(commands: Commands) -> None:
    """Add the command."""
    summary = "answer requests for models over HTTP and gRPC"
    command = commands.add_parser(
        "serve",
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=_EPILOG + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    command.add_argument(
        "models", metavar="[NAME=]MODEL", nargs="+", help="a model, and what clients call it"
    )
    for option, kind, metavar, text in _OPTIONS:
        default = getattr(Options, _field(option))
        shown = "" if default is None else " (default: %(default)s)"
        command.add_argument(option, type=kind, metavar=metavar, default=default, help=text + shown)
    levels = ["debug", "info", "warning", "error"]
    command.add_argument(
        "--log-level", choices=levels, default=Options.log_level, help="(default: %(default)s)"
    )
    command.add_argument("--access-log", action="store_true", help="log every request to run a model")


def _field(option: str) -> str:
    """The field of ``Options`` that an option sets."""
    return option[2:].replace("-", "_")


def run(options: argparse.Namespace) -> int:
    """Load the models and serve them until a signal."""
    names = [*(_field(option) for option, *_ in _OPTIONS), "log_level", "access_log"]
    try:
        chosen = Options(**{name: getattr(options, name) for name in names})
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        from unrolled.serving import workers
    except ImportError as error:
        raise UsageError(f"serve needs the extra serve ({error}): pip install 'unrolled[serve]'") from error
    if chosen.grpc_port is not None:
        try:
            from unrolled.serving import grpc_server  # noqa: F401
        except ImportError as error:
            raise UsageError(
                f"--grpc-port needs the extra grpc ({error}): pip install 'unrolled[grpc]'"
            ) from error
    models = load_models(options.models)
    try:
        return workers.run(models, chosen)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        if error.filename is not None:
            raise
        where = f"{chosen.host}, port {chosen.port}"
        raise UsageError(f"cannot listen on {where}: {error.strerror or error}") from error


def load_models(texts: list[str]) -> dict[str, Model]:
    """The models of the command line, by name.

    Raises
    ------
    UsageError
        Two have one name, or a file holds no weights.
    """
    from unrolled.models import load_model

    models: dict[str, Model] = {}
    for text in texts:
        name, file = split_model(text)
        if name in models:
            raise UsageError(f"two models are named {name!r}: NAME=MODEL gives one another name")
        models[name] = load_model(file)
        if lacks_weights(models[name]):
            raise UsageError(f"{file}: holds no weights")
    return models


def split_model(text: str) -> tuple[str, str]:
    """Name and file of ``[NAME=]MODEL``."""
    name, separator, file = text.partition("=")
    if separator and "/" not in name and not Path(text).exists():
        return name, file
    return Path(text).name.partition(".")[0], text
