# SPDX-License-Identifier: MIT
"""What every command shares: exit codes, the options that name a model, and loading it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from unrolled.errors import escaped

if TYPE_CHECKING:
    from unrolled.models import Model

OK, BAD_MODEL, BAD_USAGE = 0, 1, 2
EXIT_CODES = (
    "exit codes: 0 done; 1 the model file is broken or needs what unrolled does not support; "
    "2 a wrong command line, a file that cannot be read or written, or an input that does not fit; "
    "130 interrupted (Ctrl-C)"
)
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class UsageError(Exception):
    """What the user gave does not do; the message says why."""


def say(text: str) -> None:
    """Print our own lines, of which parts may have come from a file."""
    print(escaped(text, keep="\n"))


def fail(message: str, code: int) -> int:
    """Say on the standard error what went wrong; gives ``code``."""
    print(escaped(f"unrolled: {message}", keep="\n"), file=sys.stderr)
    return code


def add_command(
    commands: Commands, name: str, run: Any, summary: str, epilog: str = ""
) -> argparse.ArgumentParser:
    """A command whose first argument is a model.

    Parameters
    ----------
    commands : object
        Where it is added.
    name : str
        What the user types.
    run : callable
        Takes the parsed command line and gives the exit code.
    summary : str
        For the list of commands.
    epilog : str
        What stands at the end of its help, before the exit codes.
    """
    added = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"{epilog}{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter if epilog else argparse.HelpFormatter,
    )
    added.set_defaults(run=run)
    added.add_argument(
        "file",
        metavar="FILE",
        help="a model of any Keras version: .keras, .h5, .json, a SavedModel folder, model.json, .pkl, ...",
    )
    added.add_argument(
        "--weights", metavar="FILE", help="the weights-only file or checkpoint that belongs to a .json model"
    )
    return added


def positive(text: str) -> int:
    """A positive integer of the command line."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


positive.__name__ = "positive integer"  # argparse's messages name the type


def load(options: argparse.Namespace) -> Model:
    """The model of the command line."""
    from unrolled.formats import read_model
    from unrolled.models.exported import is_plan_file, open_plan_file
    from unrolled.models.loading import build_from_file

    if options.weights is None and is_plan_file(options.file):
        return open_plan_file(options.file)
    return build_from_file(read_model(options.file, options.weights))


def lacks_weights(model: Model) -> bool:
    """Whether the model's file holds none of the weights that it needs."""
    return model.source is not None and model.source.weights is None and model.count_params() > 0


def load_with_weights(options: argparse.Namespace) -> Model:
    """The model of the command line, for commands that compute with it."""
    model = load(options)
    if lacks_weights(model):
        raise UsageError(f"{options.file}: holds no weights; --weights names the file that has them")
    return model
