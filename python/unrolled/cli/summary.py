# SPDX-License-Identifier: MIT
"""``unrolled summary``: the table of layers that Keras prints."""

from __future__ import annotations

import argparse

from unrolled.cli.common import OK, Commands, UsageError, add_command, load, positive


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(commands, "summary", run, "print the table of layers that Keras prints")
    command.add_argument("--line-length", type=positive, metavar="N", help="characters a line")
    command.add_argument("--expand-nested", action="store_true", help="show the layers of nested models")


def run(options: argparse.Namespace) -> int:
    """Print the summary."""
    model = load(options)
    try:
        model.summary(line_length=options.line_length, expand_nested=options.expand_nested)
    except ValueError as error:
        raise UsageError(f"--line-length: {error}") from error
    return OK
