# SPDX-License-Identifier: MIT
"""``unrolled export``: any model as a plan file, which C programs run."""

from __future__ import annotations

import argparse
from pathlib import Path

from unrolled.cli.common import OK, Commands, add_command, load_with_weights, say
from unrolled.errors import printable


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands, "export", run, "write a model as a plan file, which opens in milliseconds and runs in C"
    )
    command.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the file to write; replaced where it exists"
    )


def run(options: argparse.Namespace) -> int:
    """Write the plan file."""
    model = load_with_weights(options)
    model.export(options.output)
    size = Path(options.output).stat().st_size
    say(f"{options.output}: {printable(model.name)!r} as a plan file of {size:,} bytes")
    return OK
