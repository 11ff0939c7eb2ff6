# SPDX-License-Identifier: MIT
"""``unrolled stream``: a model between two pipes."""

from __future__ import annotations

import argparse
import sys
from io import BufferedReader
from typing import cast

from unrolled.cli.common import BAD_MODEL, OK, Commands, UsageError, add_command, fail, load_with_weights
from unrolled.data.csv_rows import RULE

_STREAMS = f"""\
input, read from the standard input as it comes:
  CSV (the default): a row is a timestep, a blank line starts a new sequence
  --binary: a frame is a timestep, its features float32 in little-endian order (ids of an embedding: int32)
{RULE}output, written to the standard output at once:
  for each timestep one line, or one frame of float32: what the model predicts for all timesteps so far
"""


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(commands, "stream", run, "step a model through timesteps as they come", _STREAMS)
    command.add_argument("--binary", action="store_true", help="frames of float32 instead of lines")


def run(options: argparse.Namespace) -> int:
    """Answer every timestep."""
    from unrolled.errors import StreamError
    from unrolled.streaming.lines import run_frames, run_lines

    model = load_with_weights(options)
    step_all = run_frames if options.binary else run_lines
    try:
        step_all(model, cast(BufferedReader, sys.stdin.buffer), sys.stdout.buffer)
    except StreamError as error:
        return fail(str(error), BAD_MODEL)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
    return OK
