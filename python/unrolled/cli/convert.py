# SPDX-License-Identifier: MIT
"""``unrolled convert``: any model as a file of Keras 3."""

from __future__ import annotations

import argparse
from pathlib import Path

from unrolled.cli.common import OK, Commands, UsageError, add_command, lacks_weights, load, say
from unrolled.errors import printable


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "convert",
        run,
        "write a model as a Keras 3 file that gives the same numbers in Keras 3",
        "The file is written only if Keras 3 can express the model; the reasons why not are listed.\n\n",
    )
    command.add_argument("new", metavar="NEW", help="the .keras file to write; replaced where it exists")
    command.add_argument(
        "--approximate",
        action="store_true",
        help="write the nearest that Keras 3 has where it cannot express the model, and say so",
    )


def run(options: argparse.Namespace) -> int:
    """Write the new file."""
    if Path(options.new).suffix != ".keras":
        raise UsageError(f"{options.new}: the new file's name must end in .keras")
    model = load(options)
    for note in model.save(options.new, approximate=options.approximate):
        say(note)
    if lacks_weights(model):
        say(
            f"{options.file} holds no weights: those written are fresh; --weights names the file that has them"
        )
    what = f"{model.class_name} {printable(model.name)!r}, {model.count_params():,} parameters"
    say(f"{options.new}: {what}, as a file of Keras 3")
    return OK
