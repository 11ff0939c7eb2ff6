# SPDX-License-Identifier: MIT
"""``unrolled predict``: arrays of a file in, predictions out."""

from __future__ import annotations

import argparse
import math
import sys
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.cli import tables
from unrolled.cli.common import OK, Commands, UsageError, add_command, load_with_weights, positive, say
from unrolled.data.csv_rows import RULE, CSVError, RowParser, read_lines
from unrolled.errors import printable
from unrolled.files import replacing

if TYPE_CHECKING:
    from unrolled.models import Model

_LAYOUTS = f"""\
input files:
  .npy    one array, (batch, ...) as the model's input
  .npz    one array, or one for each input: named as the model's inputs, or saved in their order (arr_0, ...)
  .csv    one input only:
          input (batch, features), or ids (batch, timesteps): a row is a sample
          input (batch, timesteps, features): a row is a timestep and the columns are its features. Sequences
          follow one another, each as long as the model or --timesteps says; where neither says, blank lines
          separate them, and all have one length. Where the length is known, a row may also be a whole
          sequence: all features of its first timestep, then those of its second, ...
{RULE}output files:
  .npy, .csv (one output only; rows as above), .npz (keys: "output", or "output_0", "output_1", ...; the
  names of the outputs where the model's outputs are a dict). Without -o, CSV goes to the standard output.
  A file that exists is replaced once the new one is whole, and keeps its permissions.
{tables.LAYOUTS}"""


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(commands, "predict", run, "run a model on the numbers of a file", _LAYOUTS)
    command.add_argument(
        "input", metavar="INPUT", help="a .npy, .npz or .csv file; a table, a folder, a glob"
    )
    command.add_argument("-o", "--output", metavar="OUT", help="the file or folder to write")
    command.add_argument(
        "--batch-size", type=positive, metavar="N", help="rows computed together at most; never changes numbers"
    )  # fmt: skip
    command.add_argument(
        "--timesteps", type=positive, metavar="N", help="timesteps of every sequence in a .csv input"
    )
    command.add_argument(
        "--separator", metavar="C", help="what separates the fields of CSV: ';', '\\t' (default: a comma; .tsv: a tab)"
    )  # fmt: skip
    tables.add_options(command)


def run(options: argparse.Namespace) -> int:
    """Predict, and write or print the outputs."""
    if options.separator is not None:
        options.separator = _checked_separator(options.separator)
    if tables.is_table(options):
        return tables.run(options)
    if options.output is not None:
        _check_suffix(options.output, "-o")
    _check_suffix(options.input, "INPUT")
    if options.timesteps is not None and Path(options.input).suffix.lower() != ".csv":
        raise UsageError("--timesteps: goes with a .csv input; arrays have a shape of their own")
    model = load_with_weights(options)
    inputs = _read_inputs(Path(options.input), model, options.timesteps, options.separator or ",")
    started = time.perf_counter()
    try:
        result = model.predict(inputs, batch_size=options.batch_size)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{options.input}: {error}") from error
    seconds = time.perf_counter() - started
    outputs = _name_outputs(result)
    if options.output is None:
        np.savetxt(sys.stdout, _as_table(outputs, "the standard output"), fmt="%.9g", delimiter=",")
        return OK
    _write(Path(options.output), outputs)
    shapes = ", ".join(str(array.shape) for array in outputs.values())
    say(f"{options.output}: {shapes} from {printable(model.name)!r} in {1000 * seconds:.1f} ms")
    return OK


def _checked_separator(text: str) -> str:
    separator = {"\\t": "\t", "tab": "\t"}.get(text, text)
    if len(separator.encode()) != 1 or separator in '"\r\n.-+' or separator.isalnum():
        raise UsageError(f"--separator: expected one character such as ';', got {text!r}")
    return separator


def _check_suffix(path: str, what: str) -> None:
    if Path(path).suffix.lower() not in (".npy", ".npz", ".csv"):
        raise UsageError(f"{what}: expected a name that ends in .npy, .npz or .csv, got {path!r}")


def _read_inputs(path: Path, model: Model, timesteps: int | None, separator: str) -> Any:
    """What ``model.predict`` takes, from a file."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            if len(model.inputs) != 1:
                raise UsageError(f"the model has {len(model.inputs)} inputs: give them in an .npz file")
            return _read_csv(path, model, timesteps, separator)
        with open(path, "rb") as file:
            # Never pickles: an object array is code.
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            return _match_names({key: loaded[key] for key in loaded.files}, model)
    except CSVError as error:
        raise UsageError(str(error)) from error
    except (OSError, UsageError, MemoryError):
        raise
    except Exception as error:  # NumPy, zipfile and zlib each have classes of their own for broken files
        raise UsageError(f"{path}: {error}") from error


def _match_names(arrays: dict[str, NDArray[Any]], model: Model) -> Any:
    names = [tensor.name for tensor in model.inputs]
    if len(arrays) != len(names):
        raise UsageError(f"expected {len(names)} arrays, one for each input {names}, got {list(arrays)}")
    if len(names) == 1:
        return next(iter(arrays.values()))
    if set(arrays) == {f"arr_{index}" for index in range(len(names))}:
        ordered = [arrays[f"arr_{index}"] for index in range(len(names))]
        structure = model.input
        return dict(zip(structure, ordered, strict=True)) if isinstance(structure, dict) else ordered
    return arrays  # predict matches the names, or says which it expects


def _read_csv(path: Path, model: Model, timesteps: int | None, separator: str) -> NDArray[Any]:
    """The numbers of a CSV file in the shape of the model's input; see ``unrolled predict --help``."""
    (tensor,) = model.inputs
    shape = list(tensor.shape[1:])
    if timesteps is not None:
        if len(shape) != 2:
            raise UsageError(f"--timesteps: the model's input {tensor.shape} has no features over timesteps")
        if shape[0] not in (None, timesteps):
            raise UsageError(f"--timesteps {timesteps}: the model takes {shape[0]} timesteps")
        shape[0] = timesteps
    dtype = model.input_dtype(tensor, np.zeros(0, np.int32))
    integers = dtype == "int32"
    table, lengths, lines = _read_rows(path, dtype, separator)
    rows, columns = table.shape
    if integers:
        table = table.astype(np.int64)
    if len(shape) == 1 and shape[0] in (None, columns):
        return table
    if len(shape) == 2 and shape[1] in (None, columns):
        length = _sequence_length(path, shape[0], lengths, lines)
        return table.reshape(rows // length, length, columns)
    if len(shape) > 1 and None not in shape and math.prod(size or 0 for size in shape) == columns:
        return table.reshape(rows, *(size or 0 for size in shape))
    raise UsageError(
        f"{path}: {rows} rows of {columns} columns do not fit the model's input {tensor.shape}; "
        "`unrolled predict --help` describes the layout"
    )


def _read_rows(path: Path, dtype: str, separator: str) -> tuple[NDArray[Any], list[int], list[int]]:
    """The numbers ``(rows, columns)``; the rows of each sequence that blank lines end, and its last line."""
    parser = RowParser(str(path), integers=dtype == "int32", separator=separator)
    # Kept as the model takes them: the file is text of many times that size.
    numbers = array("f" if dtype == "float32" else "d")
    lengths, lines = [0], [0]
    with open(path, "rb") as file:
        for line in read_lines(file, str(path)):
            row = parser.parse(line)
            if row is None:
                continue
            if row:
                numbers.extend(row)
                lengths[-1] += 1
                lines[-1] = parser.line
            elif lengths[-1]:
                lengths.append(0)
                lines.append(0)
    if not lengths[-1]:
        lengths.pop()
    if not numbers or parser.columns is None:
        raise UsageError(f"{path}: holds no numbers")
    return np.frombuffer(numbers, numbers.typecode).reshape(-1, parser.columns), lengths, lines


def _sequence_length(path: Path, known: int | None, lengths: list[int], lines: list[int]) -> int:
    """How many timesteps every sequence has: what the model says, or what blank lines say."""
    length = known or lengths[0]
    for rows, line in zip(lengths, lines, strict=False):
        if known is None and rows != length:
            raise UsageError(
                f"{path}, line {line}: a sequence of {rows} timesteps ends here, the first has {length}; "
                "give sequences of different lengths to `unrolled stream`, or one file each"
            )
        if rows % length:
            raise UsageError(
                f"{path}, line {line}: {rows} rows are no whole number of sequences of {length} timesteps"
            )
    return length


def _name_outputs(result: Any) -> dict[str, NDArray[Any]]:
    from unrolled.engine import tree

    if isinstance(result, np.ndarray):
        return {"output": result}
    if isinstance(result, dict) and all(isinstance(array, np.ndarray) for array in result.values()):
        return result
    return {f"output_{index}": array for index, array in enumerate(tree.leaves(result))}


def _as_table(outputs: dict[str, NDArray[Any]], where: str) -> NDArray[Any]:
    """The one output as rows of numbers: samples, or timesteps of one sequence after another."""
    if len(outputs) != 1:
        raise UsageError(f"the model has {len(outputs)} outputs, which do not fit {where}: use -o with .npz")
    (array,) = outputs.values()
    if array.ndim > 3:
        raise UsageError(f"an output of shape {array.shape} does not fit {where}: use -o with .npy or .npz")
    return array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array[:, None]


def _write(path: Path, outputs: dict[str, NDArray[Any]]) -> None:
    suffix = path.suffix.lower()
    if suffix == ".npy" and len(outputs) != 1:
        raise UsageError(f"the model has {len(outputs)} outputs, which do not fit .npy: use .npz")
    with replacing(path) as file:
        if suffix == ".npz":
            np.savez(file, **outputs)  # type: ignore[arg-type]  # keys are the model's names
        elif suffix == ".csv":
            # %.9g gives every float32 back exactly.
            np.savetxt(file, _as_table(outputs, ".csv"), fmt="%.9g", delimiter=",")
        else:
            np.save(file, next(iter(outputs.values())))
