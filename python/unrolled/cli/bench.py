# SPDX-License-Identifier: MIT
"""``unrolled bench``: the time of a model, beside that of others."""

from __future__ import annotations

import argparse

from unrolled.cli.common import OK, Commands, add_command, positive, say


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "bench",
        run,
        "time a model on random inputs, beside Keras and ONNX Runtime where they are installed",
    )
    command.add_argument("--batch", type=positive, default=1, metavar="N", help="rows of a call (default: 1)")
    command.add_argument(
        "--timesteps", type=positive, metavar="N", help="timesteps where the model leaves them open (default: 100)"
    )  # fmt: skip
    command.add_argument(
        "--threads", type=positive, metavar="N", help="for every program (default: the processors)"
    )
    command.add_argument(
        "--seconds", type=float, default=2.0, metavar="S", help="spent on each program (default: 2)"
    )
    command.add_argument("--no-peers", action="store_true", help="unrolled alone: Keras never sees the file")


def run(options: argparse.Namespace) -> int:
    """Time the model and print the table."""
    from unrolled import _core
    from unrolled.cli.benchmark import benchmark

    if options.threads is not None:
        _core.set_num_threads(options.threads)
    result = benchmark(
        options.file,
        weights=options.weights,
        batch=options.batch,
        timesteps=options.timesteps,
        seconds=options.seconds,
        peers=not options.no_peers,
    )
    say(result.text())
    return OK
