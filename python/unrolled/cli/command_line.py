# SPDX-License-Identifier: MIT
"""The command line as a whole: its parser, and errors as exit codes."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

import unrolled
from unrolled.cli import bench, check, convert, export, predict, serve, stream, summary
from unrolled.cli.common import BAD_MODEL, BAD_USAGE, EXIT_CODES, OK, UsageError, fail
from unrolled.errors import ModelFileError, UnsupportedModelError

# In the order of the help.
COMMANDS = (summary, check, convert, export, predict, stream, serve, bench)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; the process's own where absent.

    Returns
    -------
    int
        The exit code: 0 done, 1 a broken or unsupported model, 2 wrong usage, 130 interrupted.
    """
    for terminal in (sys.stdout, sys.stderr):
        if isinstance(terminal, io.TextIOWrapper):  # what the terminal cannot show is no reason to end
            terminal.reconfigure(errors="backslashreplace")
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as exit_:  # argparse has printed the help or the error
        return int(exit_.code or 0)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except (UnsupportedModelError, ModelFileError) as error:
        return fail(str(error), BAD_MODEL)
    except UsageError as error:
        return fail(str(error), BAD_USAGE)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _close_output()
        return OK
    except OSError as error:
        if error.filename is not None:
            return fail(f"{error.filename}: {error.strerror or error}", BAD_USAGE)
        # Whatever has a name was opened by it: this is what was open already.
        _close_output()
        return fail(f"the standard output: {error.strerror or error}", BAD_USAGE)
    except MemoryError:
        return fail("not enough memory; a smaller --batch-size needs less", BAD_USAGE)
    except KeyboardInterrupt:
        return fail("interrupted", 130)


def _close_output() -> None:
    """Send what is still to be written nowhere, so that Python's end does not fail on it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unrolled",
        description="Run recurrent networks trained in Keras, without TensorFlow.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"unrolled {unrolled.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
